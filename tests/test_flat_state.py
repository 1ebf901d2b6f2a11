"""`flatten_state` and `unflatten_state`: exact through npz, safetensors and JSON, and no trust in what is read."""

import io
import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.optimizers.saving import plain
from pyfastlr.optimizers.saving.flat_state import join, split
from states import plainly

CONTAINERS = {
    "array": lambda dtype: np.linspace(0, 1, 6, dtype=dtype).reshape(2, 3),
    "scalar": lambda dtype: np.array(2.0, dtype),
    "list": lambda dtype: [np.ones(2, dtype), np.ones((0, 3), dtype), np.ones((), dtype)],
    "dict": lambda dtype: {"layer": {"w": np.ones((5, 7), dtype), "b": np.zeros(7, dtype)}, "out": np.ones(3, dtype)},
    "int keys": lambda dtype: {0: np.ones(2, dtype), 1: [np.ones(3, dtype), {"ä.b": np.ones(1, dtype)}]},
    "flat": lambda dtype: flr.Flat(
        {"l": {"w": np.ones((2, 3), dtype), "e": np.ones((0, 4), dtype)}, "b": np.ones(3, dtype)}
    ),
    "flat of one": lambda dtype: flr.Flat({"w": np.ones(3, dtype)}),
}


def gradient(p, k, absent=False):
    if isinstance(p, flr.Flat):
        g = p.like()
        g.buffer[:] = np.arange(g.buffer.size) + k
        return g
    if isinstance(p, dict):
        return {
            key: None if absent and n == 0 and isinstance(x, np.ndarray) and len(p) > 1 else gradient(x, k + n, absent)
            for n, (key, x) in enumerate(p.items())
        }
    if isinstance(p, list):
        return [gradient(x, k + n) for n, x in enumerate(p)]
    return (np.arange(p.size, dtype=p.dtype) + k).reshape(p.shape)


def trained(make, dtype="float32", cls=flr.NAdam):
    """An optimizer in the middle of an update, with everything that a state may have."""
    p = make(dtype)
    opt = cls(
        p, S.Plateau(0.1, patience=3), ema_decay=0.9, accumulate=2, loss_scale=flr.LossScale(interval=3), clip_norm=1.0
    )
    for k in range(7):
        opt.step(gradient(p, k, k % 2 == 0))
    return opt


def through_npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return np.load(file)  # allow_pickle=False is the default


def through_safetensors(arrays):
    numpy = pytest.importorskip("safetensors.numpy")
    return numpy.load(numpy.save(arrays))


def through_json(arrays):
    return json.loads(json.dumps({name: x.tolist() for name, x in arrays.items()}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("through", [dict, through_npz, through_safetensors, through_json])
@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
def test_exact_through_every_format(make, through, dtype):
    opt = trained(make, dtype)
    state = opt.state_dict()
    again = flr.unflatten_state(through(flr.flatten_state(state)))
    assert plainly(again) == plainly(state)
    other = trained(make, dtype)
    other.step(gradient(other.params, 50))
    other.load_state_dict(again)
    assert plainly(other.state_dict()) == plainly(state)


def test_names_of_the_arrays():
    arrays = flr.flatten_state(trained(CONTAINERS["dict"], cls=flr.Adam).state_dict())
    names = ["layer.w", "layer.b", "out"]
    expected = [
        f"{prefix}.{x}" for prefix in ("state.exp_avg", "state.exp_avg_sq", "average", "accumulated") for x in names
    ]
    assert sorted(arrays) == sorted([*expected, "counts", "carry", "accumulated_used", "__state__"])
    single = flr.flatten_state(trained(CONTAINERS["array"], cls=flr.SGD).state_dict())
    assert sorted(single) == ["__state__", "accumulated", "accumulated_used", "average", "carry", "counts"]
    data = json.loads(bytes(arrays["__state__"]))
    assert (data["class"], data["steps"], data["structure"][1]) == ("Adam", 3, ["layer.b", [7]])
    assert data["container"] == {"dict": [["layer", {"dict": [["w", "array"], ["b", "array"]]}], ["out", "array"]]}


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
def test_parts_are_the_live_arrays_and_the_same_data(make):
    opt = trained(make)
    data, arrays = split(*opt._live_state())
    flat = flr.flatten_state(opt.state_dict())
    assert {name: x.tobytes() for name, x in arrays.items()} == {
        name: x.tobytes() for name, x in flat.items() if name != "__state__"
    }
    assert bytes(plain.dump(data, "state")) == bytes(flat["__state__"])
    before = {name: x.copy() for name, x in arrays.items()}
    opt.step(gradient(opt.params, 9))
    opt.step(gradient(opt.params, 9))
    big = {name for name, x in arrays.items() if x.size and not name.startswith("accumulated")}
    assert {name for name in big if arrays[name].tobytes() != before[name].tobytes()} >= {
        name for name in big if name.startswith(("state.", "average"))
    }
    assert plainly(join(*split(opt.state_dict()))) == plainly(opt.state_dict())


def test_a_flat_is_read_without_a_copy():
    opt = trained(CONTAINERS["flat"])
    data, arrays = split(opt.state_dict())
    state = join(data, arrays, buffers=False)
    assert state["state"]["exp_avg"]["l.w"] is arrays["state.exp_avg.l.w"]
    other = trained(CONTAINERS["flat"])
    other.step(gradient(other.params, 50))
    other.load_state_dict(state)
    assert plainly(other.state_dict()) == plainly(opt.state_dict())


def test_structure_without_state_arrays():
    """Plain SGD has none, so the parameters' structure is known only to the optimizer."""
    opt = flr.SGD({"a": [np.ones(2)], "b": np.ones(3)}, lr=0.1)
    data, arrays = split(*opt._live_state())
    assert data["container"] == {"dict": [["a", {"list": ["array"]}], ["b", "array"]]}
    assert sorted(arrays) == ["carry", "counts"]
    opt.load_state_dict(flr.unflatten_state(flr.flatten_state(opt.state_dict())))


def test_other_names_of_a_file_are_left_out():
    opt = trained(CONTAINERS["dict"])
    arrays = flr.flatten_state(opt.state_dict())
    more = {"params.layer.w": np.ones(2), "params": np.ones(3), "extra.epoch": np.array(3), "__checksums__": np.ones(2)}
    assert plainly(flr.unflatten_state({**arrays, **more})) == plainly(opt.state_dict())


class Gathered(S.Controller):
    """A user's controller with every kind of value."""

    def __init__(self):
        self.state = {
            "array": np.arange(6, dtype="i2").reshape(2, 3),
            "scalar": np.float32(0.1),
            "inf": np.inf,
            "nan": np.nan,
            "big": 2**80,
            "none": None,
            "flag": True,
            "nested": [1, (2.5, "x"), {"float": "inf"}, {3: "three"}],
            "text": "ä\ud800 inf",
            "a.b": np.ones(1),
            "a": {"b": np.zeros(1)},
            "minus": -0.0,
        }

    def __call__(self, n):
        return 0.1


@pytest.mark.parametrize("through", [dict, through_npz, through_json])
def test_every_kind_of_value(through):
    opt = flr.SGD(np.ones(3), lr=Gathered())
    state = opt.state_dict()
    again = flr.unflatten_state(through(flr.flatten_state(state)))
    assert plainly(again) == plainly(state)


def test_values_that_json_cannot_have():
    state = flr.SGD(np.ones(3), lr=0.1).state_dict()
    for value in (object(), b"bytes", 1j, np.array([object()]), {1, 2}):
        with pytest.raises(TypeError, match=r"`state\['controllers'\]\[0\]\['x'\]` must be numbers"):
            flr.flatten_state({**state, "controllers": [{"x": value}]})


def without(x, key):
    return {k: value for k, value in x.items() if k != key}


def nested(depth):
    x = []
    for _ in range(depth):
        x = [x]
    return x


def key(name, value):
    """Damage that replaces one key of the text."""
    return lambda arrays: with_text(arrays, lambda data: {**data, name: value(data)})


def with_text(arrays, change):
    data = json.loads(bytes(arrays["__state__"]))
    text = change(data)
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return {**arrays, "__state__": np.frombuffer(text, np.uint8)}


DAMAGED = {
    "no mapping": (lambda a: [1], TypeError, "`arrays` must be a mapping"),
    "no text": (lambda a: without(a, "__state__"), ValueError, "__state__"),
    "text of floats": (lambda a: {**a, "__state__": a["__state__"] * 1.0}, ValueError, "__state__.*uint8"),
    "text of what": (lambda a: {**a, "__state__": "{}"}, TypeError, "__state__"),
    "no UTF-8": (lambda a: with_text(a, lambda d: b'"\xff"'), ValueError, "UTF-8"),
    "no JSON": (lambda a: with_text(a, lambda d: b"{"), ValueError, "JSON"),
    "no object": (lambda a: with_text(a, lambda d: [1]), ValueError, "JSON object"),
    "doubled key": (lambda a: with_text(a, lambda d: b'{"format": 1, "format": 2}'), ValueError, "twice"),
    "NaN": (lambda a: with_text(a, lambda d: b'{"format": NaN}'), ValueError, "NaN"),
    "1e999": (lambda a: with_text(a, lambda d: b'{"format": 1e999}'), ValueError, "1e999"),
    "many digits": (lambda a: with_text(a, lambda d: b'{"format": ' + b"1" * 10_000 + b"}"), ValueError, "JSON"),
    "deep": (lambda a: with_text(a, lambda d: b"[" * 10_000 + b"]" * 10_000), ValueError, "nested so deeply"),
    "deep container": (
        lambda a: with_text(a, lambda d: b'{"container": ' + b'{"list":[' * 10_000 + b"]}" * 10_000 + b"}"),
        ValueError,
        "nested so deeply",
    ),
    "key missing": (lambda a: with_text(a, lambda d: without(d, "state")), ValueError, r"missing keys \['state'\]"),
    "array missing": (lambda a: without(a, "state.exp_avg.out"), ValueError, "state.exp_avg.out"),
    "array unknown": (
        lambda a: {**a, "state.exp_avg.x": np.ones(1)},
        ValueError,
        r"unknown keys \['state.exp_avg.x'\]",
    ),
    "array of objects": (lambda a: {**a, "counts": np.array([None] * 3)}, TypeError, "counts"),
    "shape": (lambda a: {**a, "state.exp_avg.out": np.ones(4, "f4")}, ValueError, r"state.exp_avg.out.*float32\[3\]"),
    "dtype": (lambda a: {**a, "state.exp_avg.out": np.ones(3)}, ValueError, r"state.exp_avg.out.*float32\[3\]"),
    "list of strings": (lambda a: {**a, "state.exp_avg.out": ["1", "2", "3"]}, ValueError, "state.exp_avg.out"),
    "list not exact": (
        lambda a: {**a, "state.exp_avg.out": [0.1, 0.2, 0.3]},
        ValueError,
        "state.exp_avg.out.*float32 numbers",
    ),
    "list too deep": (lambda a: {**a, "state.exp_avg.out": nested(10_000)}, ValueError, "state.exp_avg.out"),
    "counts of floats": (lambda a: {**a, "counts": [1.5, 2.0, 3.0]}, ValueError, "counts"),
    "structure": (key("structure", lambda d: 3), ValueError, r"\['structure'\]"),
    "structure empty": (key("structure", lambda d: []), ValueError, r"\['structure'\]"),
    "structure doubled": (key("structure", lambda d: d["structure"] * 2), ValueError, r"\['structure'\]"),
    "shape of text": (key("structure", lambda d: [["out", "abc"]]), ValueError, r"\['structure'\]"),
    "shape below zero": (key("structure", lambda d: [["out", [-1]]]), ValueError, r"\['structure'\]"),
    "huge shape": (
        key("structure", lambda d: [[n, [2**61] * 30] for n, _ in d["structure"]]),
        ValueError,
        "shape|must be",
    ),
    "container": (key("container", lambda d: {"dict": [["x", "array"]]}), ValueError, r"\['container'\]"),
    "container of what": (key("container", lambda d: {"set": []}), ValueError, r"\['container'\]"),
    "slots": (key("state", lambda d: [1]), ValueError, r"\['state'\]"),
    "dtype of a slot": (key("state", lambda d: {"exp_avg": "O"}), ValueError, r"\['exp_avg'\].*dtype"),
    "a wrong array": (key("controllers", lambda d: {"array": ["counts", "float32", [3]]}), ValueError, "counts"),
    "an array twice": (key("controllers", lambda d: {"array": ["counts", "int64", [3]]}), ValueError, "counts"),
    "an unknown float": (key("controllers", lambda d: {"float": "1.0"}), ValueError, "controllers"),
    "a dict with lists as keys": (key("controllers", lambda d: {"dict": [[[1], 2]]}), ValueError, "controllers"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_states_are_refused_by_name(name):
    damage, error, match = DAMAGED[name]
    arrays = flr.flatten_state(trained(CONTAINERS["dict"]).state_dict())
    with pytest.raises(error, match=match):
        flr.unflatten_state(damage(arrays))


def test_which_gradients_were_accumulated_has_one_entry_per_array():
    opt = flr.SGD([np.ones(2), np.ones(3)], lr=0.1, accumulate=2)
    opt.step([np.ones(2), None])
    arrays = flr.flatten_state(opt.state_dict())
    for used in (np.ones(1, bool), np.ones(3, bool), np.ones((2, 1), bool), np.ones(2, np.int8)):
        with pytest.raises((TypeError, ValueError), match=r"arrays\['accumulated_used'\]"):
            flr.unflatten_state({**arrays, "accumulated_used": used})


def test_wrong_states_are_refused_by_name():
    state = trained(CONTAINERS["dict"]).state_dict()
    for change, error, match in [
        (lambda s: 3, TypeError, "`state` must be a dict"),
        (lambda s: {}, ValueError, "missing keys"),
        (lambda s: {**s, "container": 1}, ValueError, "container"),
        (lambda s: {**s, 3: 1}, ValueError, "the key 3"),
        (lambda s: {**s, "state": {"exp_avg": np.ones(3, "f4")}}, ValueError, "exp_avg"),
        (lambda s: {**s, "state": {"exp_avg": {"out": np.ones(3)}}}, ValueError, "exp_avg.*names"),
        (lambda s: {**s, "counts": [1, 2, 3]}, TypeError, "counts"),
        (lambda s: {**s, "average": {"values": 3}}, ValueError, "average"),
        (lambda s: {**s, "average": {**s["average"], "updates": 1.5}}, TypeError, "updates"),
        (lambda s: {**s, "controllers": nested(10_000)}, ValueError, "nested so deeply"),
        (lambda s: {**s, "state": {"exp_avg": nested(10_000)}}, ValueError, "nested so deeply"),
    ]:
        with pytest.raises(error, match=match):
            flr.flatten_state(change(state))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=64) | st.text(max_size=5),
    lambda x: (
        st.lists(x, max_size=3)
        | st.tuples(x, x)
        | st.dictionaries(
            st.text(max_size=3) | st.integers() | st.sampled_from(["float", "array", "dict", "tuple"]), x, max_size=3
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(_values)
def test_any_plain_value_is_exact(value):
    state = {**flr.SGD(np.ones(3), lr=0.1).state_dict(), "controllers": value}
    assert plainly(flr.unflatten_state(through_json(flr.flatten_state(state)))["controllers"]) == plainly(value)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["flat", "array", "w", "float32", "counts", "inf", "dict", "list"]),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dict", "list", "array", "scalar", "tuple", "float", "exp_avg", "w"]), x, max_size=3
        )
    ),
    max_leaves=8,
)
_FUZZED = flr.flatten_state(trained(CONTAINERS["dict"]).state_dict())
_KEYS = sorted(json.loads(bytes(_FUZZED["__state__"])))


@cache
def _target():
    opt = trained(CONTAINERS["dict"])
    return opt, plainly(opt.state_dict())


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(_KEYS), _json)
def test_fuzzed_text_is_refused_or_harmless(key, value):
    """Whatever one key becomes, reading and loading give a TypeError or ValueError, or work."""
    arrays = with_text(_FUZZED, lambda d: {**d, key: value})
    opt, before = _target()
    try:
        opt.load_state_dict(flr.unflatten_state(arrays))
    except (TypeError, ValueError):
        assert plainly(opt.state_dict()) == before
    else:
        opt.load_state_dict(flr.unflatten_state(_FUZZED))
