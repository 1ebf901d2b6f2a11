"""`save` and `load`: what is loaded is what was saved."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors

import pyfastlr as flr
from pyfastlr.files import Reader, write
from pyfastlr.optimizers.saving import plain
from saved_runs import CONTAINERS, leaves, make, moment, train


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.mark.parametrize("kind", ["adam", "groups", "nadam"])
@pytest.mark.parametrize("container", [*CONTAINERS])
def test_a_resumed_run_equals_the_uninterrupted_one(path, container, kind):
    """In new arrays, with the same number of updates at each place where it may stop."""
    if (container, kind) == ("array", "groups"):
        return
    for steps in (0, 1, 4, 5):
        params = CONTAINERS[container]()
        opt = make(params, kind)
        train(params, opt, steps)
        flr.save(path, params, opt, epoch=steps)
        then = moment(params, opt)
        train(params, opt, steps, steps + 7)
        saved = flr.load(path)
        assert type(saved.params) is type(params)
        assert saved.extra == {"epoch": steps}
        resumed = make(saved.params, kind)
        resumed.load_state_dict(saved.state)
        assert moment(saved.params, resumed) == then
        in_place = CONTAINERS[container]()
        again = make(in_place, kind)
        again.load(path)
        for x, y in zip(leaves(in_place), leaves(saved.params), strict=True):
            x[...] = y
        assert moment(in_place, again) == then
        for p, o in ((saved.params, resumed), (in_place, again)):
            train(p, o, steps, steps + 7)
            assert moment(p, o) == moment(params, opt)


def test_the_names_in_a_file(path):
    params = {"layer": {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    opt = flr.Adam(params, lr=0.1, ema_decay=0.5)
    train(params, opt, 1)
    flr.save(path, params, opt, seeds=np.arange(3), nested={"a": [np.ones(1)]})
    found = safetensors.load_file(path)
    assert set(found) == {
        "params.layer.weight", "params.layer.bias", "state.exp_avg.layer.weight", "state.exp_avg.layer.bias",
        "state.exp_avg_sq.layer.weight", "state.exp_avg_sq.layer.bias", "average.layer.weight", "average.layer.bias",
        "counts", "carry", "extra.seeds", "extra.nested.a.0", "__checksums__",
    }  # fmt: skip
    assert np.array_equal(found["params.layer.weight"], params["layer"]["weight"])
    assert np.array_equal(found["state.exp_avg.layer.weight"], opt.state["exp_avg"]["layer"]["weight"])
    with Reader(path) as file:
        assert json.loads(file.layout.metadata["state"])["steps"] == 1
    flr.save(path, np.ones(2))
    assert set(safetensors.load_file(path)) == {"params", "__checksums__"}


def test_parts_may_be_left_out(path):
    params = [np.ones(2)]
    flr.save(path, params)
    saved = flr.load(path)
    assert (saved.state, saved.extra) == (None, {})
    opt = flr.Adam([np.ones(2)], lr=0.1)
    with pytest.raises(ValueError, match=r"run\.safetensors: it must have the state of an optimizer, got"):
        opt.load(path)
    train(params, opt, 2)
    opt.save(path)
    saved = flr.load(path)
    assert (saved.params, saved.extra) == (None, {})
    assert saved.state["steps"] == 2


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ([{"state": {}}], {}, "`opt` must be an optimizer of pyfastlr or None, got dict"),
        ([], {"progress": 3}, "`progress` must be callable or None, got 3"),
        ([], {"seen": {1}}, r"`extra\['seen'\]` must be numbers, strings, None, numpy arrays, lists, .*, got \{1\}"),
        (
            [],
            {"x": np.array(["a"])},
            r"`extra\['x'\]` must be numbers, strings, None, numpy arrays, lists, .*, got <U1",
        ),
    ],
)
def test_wrong_arguments_write_nothing(path, arguments, options, said):
    params = [np.ones(2)]
    with pytest.raises(TypeError, match=said):
        flr.save(path, params, *arguments, **options)
    assert not path.exists()


def test_errors_say_what_to_pass_instead(path):
    params = {"w": np.ones(2), "b": np.ones(1)}
    opt = flr.Adam(params, lr=0.1)
    train(params, opt, 1)
    flr.save(path, params, opt)
    with pytest.raises(TypeError, match=r"got Saved: pass its attribute `state`$"):
        opt.load_state_dict(flr.load(path))
    for name in (path, str(path)):
        with pytest.raises(TypeError, match=r"got \w+: load\(path\) reads a file$"):
            opt.load_state_dict(name)
    for other, said in [
        (flr.Adam({"w": np.ones(2)}, lr=0.1), r"missing names \[\] and unknown names \['b'\]: strict=False loads"),
        (flr.Adam({"w": np.ones(3), "b": np.ones(1)}, lr=0.1), r"must have 'w' of shape \(3,\), got \(2,\)$"),
        (flr.Adam([np.ones(2)], lr=0.1), r"must have an array of the optimizer, \['0'\], got \['w', 'b'\]$"),
        (flr.Adam(np.ones(2), lr=0.1), r"a single array of shape \(2,\), got \['w', 'b'\]$"),
        (flr.SGD(params, lr=0.1), r"`state\['class'\]` must be 'SGD', got 'Adam'"),
    ]:
        with pytest.raises(ValueError, match=f"(?m){said}") as caught:
            other.load(path)
        assert caught.value.__notes__ == [f"`state` was read from the file {path}"]
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(flr.load(path).state)


def test_a_long_list_of_names_is_shortened():
    one, two = ({f"{name}{k}": np.ones(1) for k in range(500)} for name in "ab")
    two["a0"] = np.ones(1)
    state = flr.Adam(one, lr=0.1).state_dict()
    with pytest.raises(ValueError, match="missing names") as caught:
        flr.Adam(two, lr=0.1).load_state_dict(state)
    assert len(str(caught.value)) < 300


def test_parameters_of_other_kinds(path):
    params = {"half": np.ones(3, np.float16), "table": np.arange(4, dtype=">i2"), "turned": np.ones((3, 2), order="F"),
              "map": np.ones(3), "scalar": np.float32(2), "mask": np.array([True])}  # fmt: skip
    flr.save(path, params)
    found = flr.load(path).params
    assert {name: (x.dtype, x.shape, x.tolist()) for name, x in found.items()} == {
        name: (x.dtype.newbyteorder("="), x.shape, x.tolist()) for name, x in params.items()
    }
    flr.save(path, (np.ones(2), np.zeros(1)))
    assert [x.tolist() for x in flr.load(path).params] == [[1, 1], [0]]
    for bad, error, said in [
        (np.array(["a"]), TypeError, "`params` must have one of the dtypes bfloat16, float64, float32, .*got <U1"),
        ({"w": np.ones(2, "c16")}, TypeError, r"`params\.w` must have one of the dtypes"),
        ({"w": None}, TypeError, r"`params\['w'\]` must be an array, got None"),
        ({"w": [1.0]}, TypeError, r"`params\['w\.0'\]` must be an array, got float"),
        ({"w": np.ma.ones(2)}, TypeError, "subclass"),
        ({}, ValueError, "at least one array"),
        ({"..": np.ones(1)}, ValueError, r"name of a tensor must not have '\.\.'"),
        ({"a\n": np.ones(1)}, ValueError, "control characters"),
        (
            flr.Adam(np.ones(1), lr=0.1),
            TypeError,
            r"`params` must be arrays, got the optimizer Adam: save\(path, params",
        ),
    ]:
        with pytest.raises(error, match=said):
            flr.save(path, bad)
    assert [x.tolist() for x in flr.load(path).params] == [[1, 1], [0]]


def test_an_array_in_the_memory_of_a_device_is_read_in_parts(tmp_path):
    """With a stand-in: such an array has no memory that the host can read, only `copy`."""
    sizes = []

    class Elsewhere:
        def __init__(self, x):
            self._x, self.dtype, self.shape, self.ndim, self.nbytes = x, x.dtype, x.shape, x.ndim, x.nbytes
            self.size, self.itemsize = x.size, x.itemsize

        def reshape(self, n):
            return Elsewhere(self._x.reshape(n))

        def __getitem__(self, part):
            return Elsewhere(self._x[part])

        def copy(self):
            sizes.append(self.nbytes)
            return self._x.copy()

    x = np.arange(400_000.0).reshape(2, -1)
    write(tmp_path / "f", {"x": Elsewhere(x)}, {})
    with Reader(tmp_path / "f") as file:
        assert file.read()["x"].tobytes() == x.tobytes()
    assert max(sizes) == 1 << 20


def test_names_that_need_care(path):
    """Dots and slashes in names, a part called "extra", and an extra called "params"."""
    params = {"a.b": np.ones(1), "a": {"c": np.zeros(2)}, "x/y": np.ones(3), "extra": np.ones(4), "state": np.ones(5)}
    opt = flr.Adam(params, lr=0.1)
    train(params, opt, 2)
    extra = {"state": 1, "average": np.ones(2), "extra": {"extra": np.zeros(3)}, "__checksums__": 5, "float": 1.5}
    flr.save(path, params, opt, **extra)
    saved = flr.load(path)
    assert list(saved.params) == list(params)
    resumed = flr.Adam(saved.params, lr=0.1)
    resumed.load(path)
    assert moment(saved.params, resumed) == moment(params, opt)
    assert saved.extra["extra"]["extra"].tolist() == [0, 0, 0]
    assert (saved.extra["state"], saved.extra["__checksums__"], saved.extra["float"]) == (1, 5, 1.5)
    flr.save(path, params, opt, float=3)
    assert flr.load(path).extra == {"float": 3}
    assert plain.encode({"float": 3}, "x", "x", {}) == {"dict": [["float", 3]]}


def test_every_key_that_parameters_may_have(path):
    params = {
        True: np.ones(1),
        2: np.zeros(2),
        -3: np.ones(0),
        "": np.ones(3),
        "ü.☃": [],
        "x": {"": np.array(1.0), "y": {}},
    }
    opt = flr.Adam(params, lr=0.1)
    opt.step({True: np.ones(1), 2: None, -3: np.ones(0), "": np.ones(3), "ü.☃": [], "x": {"": np.array(1.0), "y": {}}})
    flr.save(path, params, opt)
    saved = flr.load(path)
    assert repr(saved.params) == repr(params)
    assert [type(key) for key in saved.params] == [type(key) for key in params]
    resumed = flr.Adam(saved.params, lr=0.1)
    resumed.load(path)
    assert moment(saved.params, resumed) == moment(params, opt)


# --- Extra values -----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(value=VALUES)
def test_any_plain_value_comes_back_equal(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    flr.save(path, np.ones(1), value=value, again=[value])
    assert repr(flr.load(path).extra) == repr({"value": value, "again": [value]})


def test_extra_arrays_and_random_generators(path):
    generators = [np.random.default_rng(0), np.random.Generator(np.random.MT19937(0))]
    for x in generators:
        x.random(7)
    extra = {
        "rng": [x.bit_generator.state for x in generators], "a.b": np.arange(3, dtype=np.uint32),
        "a": {"b": np.float32(2.5), "": np.zeros((0, 2))}, "ünï": np.array([True]), "inf": "inf", "big": 2**100,
    }  # fmt: skip
    flr.save(path, np.ones(1), **extra)
    found = flr.load(path).extra
    assert found["a.b"].dtype == np.uint32
    assert type(found["a"]["b"]) is np.float32
    assert (found["a"][""].shape, found["inf"], found["big"]) == ((0, 2), "inf", 2**100)
    for x, state in zip(generators, found["rng"], strict=True):
        y = np.random.Generator(type(x.bit_generator)())
        y.bit_generator.state = state
        assert x.random() == y.random()


@pytest.mark.parametrize(
    ("value", "said"),
    [(object(), r"`extra\['x'\]\['y'\]` must be numbers"), ({1, 2}, r"`extra\['x'\]\['y'\]` must be"),
     (np.array([object()]), r"`extra\['x'\]\['y'\]` must be"), (b"bytes", r"`extra\['x'\]\['y'\]` must be"),
     (1j, r"`extra\['x'\]\['y'\]` must be")],
)  # fmt: skip
def test_extra_values_that_cannot_be_saved(path, value, said):
    with pytest.raises(TypeError, match=said):
        flr.save(path, np.ones(1), x={"y": value})
    assert not path.exists()


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


CYCLE = []
CYCLE.append({"x": CYCLE})
LOST = {
    "cycle": (CYCLE, ValueError, "must not be nested so deeply"),
    "deep": (nested(1000), ValueError, "must not be nested so deeply"),
    "large": (10**5000, ValueError, r"`extra\['x'\]` must have integers of at most 4300 digits"),
    "negative": (-(10**5000), ValueError, r"`extra\['x'\]` must have integers of at most 4300 digits"),
    "mask": (np.ma.masked_array([1.0, 2.0], [0, 1]), TypeError, "MaskedArray"),
    "complex": (np.ones(2, np.complex128), TypeError, "complex128"),
    "dates": (np.array(["2020"], "M8[D]"), TypeError, "datetime64"),
    "record": (np.zeros(2, [("a", "f4")]), TypeError, r"`extra\['x'\]`"),
    "string of numpy": (np.str_("a"), TypeError, r"`extra\['x'\]`"),
}


@pytest.mark.parametrize("name", LOST)
def test_extra_values_that_would_be_lost_or_unreadable(path, name):
    value, error, said = LOST[name]
    with pytest.raises(error, match=said):
        flr.save(path, np.ones(1), x=value)
    assert not path.exists()


def test_extra_values_at_the_limits(path):
    nan = {float("nan"): 1, float("nan"): 2, True: 3, 0.5: 4, (1, "a"): 5}
    value = {"nan": nan, "deep": nested(190), "digits": -(10**4299), "surrogate": "\ud800", "zero": -0.0}
    flr.save(path, np.ones(1), x=value)
    assert repr(flr.load(path).extra) == repr({"x": value})


def test_a_key_that_is_there_twice(path):
    write(path, {}, {"extra": json.dumps({"extra": {"x": {"dict": [[1, 2], [1, 3]]}}})})
    with pytest.raises(flr.BadFile, match=r"`extra\['x'\]` must have each key once"):
        flr.load(path)
