"""State, counts, copies and files: everything that an exact resume needs is saved, and nothing else is accepted."""

import copy
import gc
import json
import pickle
import weakref

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S

RNG = np.random.default_rng(0)


def model(dtype="float32"):
    rng = np.random.default_rng(1)
    return {
        "layer": {"w": rng.standard_normal((5, 7)).astype(dtype), "b": np.zeros(7, dtype)},
        "out": np.ones(3, dtype),
    }


def gradient(params, seed):
    rng = np.random.default_rng(seed)
    return {
        key: gradient(x, seed + 1) if isinstance(x, dict) else rng.standard_normal(x.shape).astype(x.dtype)
        for key, x in params.items()
    }


def trained(**options):
    p = model()
    opt = flr.NAdam(p, S.Cosine(0.1, 50).warmup(3), **options)
    for n in range(5):
        opt.step(gradient(p, n))
    return p, opt


def test_state_is_live_and_like_the_parameters():
    p, opt = trained()
    assert list(opt.state) == ["exp_avg", "exp_avg_sq"]
    view = opt.state["exp_avg"]["layer"]["w"]
    assert view.shape == (5, 7)
    before = view.copy()
    opt.step(gradient(p, 9))
    assert (view != before).all()
    view[:] = 0
    assert (opt.state["exp_avg"]["layer"]["w"] == 0).all()


@pytest.mark.parametrize(
    "make", [lambda: np.ones((2, 3)), lambda: [np.ones(2), np.ones(3)], model, lambda: flr.Flat(model())]
)
def test_state_dict_goes_through_pickle_and_back(make):
    p = make()
    opt = flr.Adam(p, lr=0.1)
    g = p.like() if isinstance(p, flr.Flat) else copy.deepcopy(p)
    opt.step(g)
    state = pickle.loads(pickle.dumps(opt.state_dict()))
    other = flr.Adam(make(), lr=0.1)
    other.load_state_dict(state)
    assert pickle.dumps(other.state_dict()) == pickle.dumps(opt.state_dict())
    assert other.steps == 1


def test_state_dict_is_a_copy_without_parameters_and_callables():
    p, opt = trained()
    state = opt.state_dict()
    assert sorted(state) == sorted(
        [
            "format",
            "class",
            "convention",
            "rule",
            "dtype",
            "structure",
            "steps",
            "counts",
            "carry",
            "state",
            "controllers",
            "average",
            "accumulated",
            "loss_scale",
            "used_lr",
            "hyperparameters",
            "maximize",
        ]
    )
    kept = state["state"]["exp_avg"]["out"].copy()
    opt.step(gradient(p, 9))
    assert (state["state"]["exp_avg"]["out"] == kept).all()
    assert state["counts"].tolist() == [5, 5, 5]
    assert state["carry"].shape == (3, 1)


def test_structure_of_a_single_array_in_errors():
    state = flr.SGD(np.ones(3), momentum=0.9).state_dict()
    with pytest.raises(ValueError, match=r"must be a single array of shape \(2,\), got \(3,\)"):
        flr.SGD(np.ones(2), momentum=0.9).load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"must have an array of the optimizer, \['w'\], got a single array of shape \(3,\)"
    ):
        flr.SGD({"w": np.ones(3)}, momentum=0.9).load_state_dict(state)


def test_structure_may_come_from_json():
    _, opt = trained()
    state = opt.state_dict()
    state["structure"] = json.loads(json.dumps(state["structure"]))
    opt.load_state_dict(state)


WRONG = {
    "no dict": (lambda s: 3, TypeError, "must be a dict"),
    "missing": (lambda s: {k: v for k, v in s.items() if k != "counts"}, ValueError, "missing keys ['counts']"),
    "unknown": (lambda s: {**s, "ema": 1}, ValueError, "unknown keys ['ema']"),
    "format": (lambda s: {**s, "format": 5}, ValueError, "format"),
    "class": (lambda s: {**s, "class": "Adam"}, ValueError, "'NAdam', got 'Adam'"),
    "convention": (lambda s: {**s, "convention": "keras"}, ValueError, "convention"),
    "dtype": (lambda s: {**s, "dtype": "float64"}, ValueError, "dtype"),
    "structure": (lambda s: {**s, "structure": s["structure"][:-1]}, ValueError, "structure"),
    "structure twice": (lambda s: {**s, "structure": s["structure"] * 2}, ValueError, "structure"),
    "structure of another shape": (
        lambda s: {**s, "structure": [*s["structure"][:-1], ("out", (4,))]},
        ValueError,
        "structure",
    ),
    "structure of nothing": (lambda s: {**s, "structure": None}, ValueError, "structure"),
    "steps": (lambda s: {**s, "steps": -1}, ValueError, "steps"),
    "steps too many": (lambda s: {**s, "steps": 2**63 - 1}, ValueError, "steps"),
    "steps of a float": (lambda s: {**s, "steps": 5.0}, TypeError, "steps"),
    "counts too short": (lambda s: {**s, "counts": s["counts"][:1]}, ValueError, "counts"),
    "counts too many": (lambda s: {**s, "counts": np.array([5, 5, 2**62 + 1])}, ValueError, "from 0 to 2**62"),
    "steps above the counts' limit": (lambda s: {**s, "steps": 2**62 + 1}, ValueError, "from 0 to 2**62"),
    "counts of floats": (lambda s: {**s, "counts": s["counts"] * 1.0}, ValueError, "counts"),
    "counts below zero": (lambda s: {**s, "counts": s["counts"] - 7}, ValueError, "counts"),
    "carry": (lambda s: {**s, "carry": s["carry"] * np.nan}, ValueError, "carry"),
    "slots": (lambda s: {**s, "state": {"exp_avg": s["state"]["exp_avg"]}}, ValueError, "state"),
    "slots of nothing": (lambda s: {**s, "state": None}, ValueError, "state"),
    "shape": (lambda s: with_out(s, np.ones(4, "f4")), ValueError, "float32[3]"),
    "dtype of one": (lambda s: with_out(s, np.ones(3)), TypeError, "float32[3]"),
    "no array": (lambda s: with_out(s, [1.0, 2.0, 3.0]), TypeError, "float32[3]"),
}


def with_out(state, x):
    slots = {**state["state"], "exp_avg_sq": {**state["state"]["exp_avg_sq"], "out": x}}
    return {**state, "state": slots}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_state_is_refused_and_nothing_is_written(name):
    change, error, words = WRONG[name]
    _, opt = trained()
    _, other = trained()
    other.step(gradient(model(), 99))
    before = pickle.dumps(opt.state_dict())
    with pytest.raises(error) as caught:
        opt.load_state_dict(change(other.state_dict()))
    assert words in str(caught.value)
    assert pickle.dumps(opt.state_dict()) == before


@pytest.mark.parametrize("make", [lambda: np.ones((2, 3)), model, lambda: flr.Flat(model())])
def test_state_of_live_views_is_copied_before_it_is_written(make):
    """Each slot gets the other's old values, although both are being written."""
    opt = flr.Adam(make(), lr=0.1)
    live = opt.state
    first, second = ([live[name].buffer] if is_flat(live[name]) else leaves(live[name]) for name in live)
    for k, (x, y) in enumerate(zip(first, second, strict=True)):
        x[...], y[...] = 1 + k, -1 - k
    state = opt.state_dict()
    state["state"] = {"exp_avg": live["exp_avg_sq"], "exp_avg_sq": live["exp_avg"]}
    opt.load_state_dict(state)
    for k, (x, y) in enumerate(zip(first, second, strict=True)):
        assert (x == -1 - k).all()
        assert (y == 1 + k).all()


def test_tensors_of_a_slot_may_change_places():
    """Parts of one buffer, with their names exchanged."""
    opt = flr.SGD({"a": np.ones(3), "b": np.ones(3)}, lr=0.1, momentum=0.5)
    live = opt.state["momentum_buffer"]
    live["a"][:], live["b"][:] = 1.0, 2.0
    opt.load_state_dict({**opt.state_dict(), "state": {"momentum_buffer": {"a": live["b"], "b": live["a"]}}})
    assert (live["a"].tolist(), live["b"].tolist()) == ([2.0] * 3, [1.0] * 3)


def is_flat(x):
    return isinstance(x, flr.Flat)


def leaves(x):
    if isinstance(x, np.ndarray):
        return [x]
    return [leaf for part in x.values() for leaf in leaves(part)]


def test_state_of_another_variant_is_refused():
    p = np.ones(4)
    with_buffer, without = flr.SGD(p, momentum=0.9), flr.SGD(p.copy())
    with pytest.raises(ValueError, match="rule"):
        without.load_state_dict(with_buffer.state_dict())


def test_counts_far_out_are_exact():
    """2**53 is where a float64 count would stop."""
    p = np.ones(4)
    opt = flr.Adam(p, lr=1e-3)
    opt.step(np.ones(4))
    state = opt.state_dict()
    for count in (2**24, 2**31, 2**53, 2**62):
        opt.load_state_dict({**state, "steps": count, "counts": np.array([count])})
        opt.step(np.ones(4))
        assert opt.steps == count + 1
        assert opt.state_dict()["counts"].tolist() == [count + 1]
        assert np.isfinite(p).all()


def test_reset():
    p, opt = trained()
    weights = p["layer"]["w"].copy()
    opt.reset()
    fresh = flr.NAdam(model(), S.Cosine(0.1, 50).warmup(3))
    assert pickle.dumps(opt.state_dict()) == pickle.dumps(fresh.state_dict())
    assert (p["layer"]["w"] == weights).all()
    assert opt.stats.lr is None


def test_reset_restores_the_initial_accumulator():
    p = np.ones(3)
    opt = flr.AdaGrad(p, initial_accumulator_value=0.1)
    assert opt.state["sum"].tolist() == [0.1] * 3
    opt.step(np.ones(3))
    opt.reset()
    assert opt.state["sum"].tolist() == [0.1] * 3


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize(
    "make", [lambda: np.ones((2, 3)), model, lambda: flr.Flat(model())], ids=["array", "dict", "flat"]
)
def test_copy_has_parameters_and_state_of_its_own(make, duplicate):
    p = make()
    scale = p.like() if isinstance(p, flr.Flat) else None
    options = {} if scale is None else {"lr_scale": scale}
    if scale is not None:
        scale.buffer[:] = RNG.uniform(0, 1, scale.buffer.size)
    g = p.like() if isinstance(p, flr.Flat) else copy.deepcopy(p)
    opt = flr.AdamW(p, S.Linear(0.1, 0.0, 10), groups=[], threads=2, maximize=True, **options)
    opt.step(g)
    q, twin = duplicate((p, opt))
    assert type(q) is type(p)
    opt.step(g)
    assert (opt.steps, twin.steps, twin.stats.lr) == (2, 1, 0.1)
    twin.step(g)
    assert raw(p) == raw(q)
    assert pickle.dumps(opt.state_dict()) == pickle.dumps(twin.state_dict())
    twin.step(g)
    assert raw(p) != raw(q)


def raw(x):
    if isinstance(x, np.ndarray):
        return x.tobytes()
    if isinstance(x, flr.Flat):
        return x.buffer.tobytes()
    return [raw(y) for y in x.values()]


def test_copy_keeps_rates_set_by_hand_and_groups():
    opt = flr.AdamW(
        {"w": np.ones(3), "b": np.ones(2)}, lr=0.1, groups=[{"params": "b", "weight_decay": 0.0, "lr": 0.5}]
    )
    opt.lr = 0.25
    opt.groups[1]["betas"] = (0.5, 0.75)
    twin = copy.deepcopy(opt)
    assert twin.lrs == [0.25, 0.5]
    assert twin.groups[1]["betas"] == (0.5, 0.75)
    twin.lr = 0.125
    assert opt.lr == 0.25


def test_callables_that_cannot_be_pickled_say_so():
    opt = flr.Adam(np.ones(3), lr=lambda n: 0.1)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(opt)


def test_stats_and_repr():
    opt = flr.Adam(np.ones((4, 5), "f4"), lr=S.Linear(0.5, 0.0, 10))
    assert opt.stats == flr.Stats()
    assert opt.lr == 0.5
    opt.step(np.ones((4, 5), "f4"))
    assert opt.stats == flr.Stats(lr=0.5)
    assert opt.lr == 0.45
    assert repr(opt).startswith("Adam(float32[20], steps=1, groups=[")


def test_unpickled_gradient_is_taken():
    """Its dtype equals numpy's own but may be another object."""
    p = np.ones(3)
    flr.SGD(p, lr=0.5).step(pickle.loads(pickle.dumps(np.ones(3))))
    assert p.tolist() == [0.5] * 3


def test_memmap_is_taken(tmp_path):
    p = np.memmap(tmp_path / "p", "f4", "w+", shape=(6,))
    g = np.memmap(tmp_path / "g", "f4", "w+", shape=(6,))
    g[:] = 1
    opt = flr.SGD(p, lr=0.5)
    opt.step(g)
    assert p.tolist() == [-0.5] * 6
    with pytest.raises(ValueError, match="read-only"):
        flr.SGD(np.memmap(tmp_path / "p", "f4", "r", shape=(6,)))


def test_dropped_optimizer_is_freed_at_once():
    """Its state may be gigabytes: no reference cycle may keep it until the next collection."""
    p = np.ones(5)
    opt = flr.Adam(p, S.Cosine(0.1, 10), betas=(lambda n: 0.9, 0.999), groups=[{"params": 0}])
    opt.step(np.ones(5))
    dead = weakref.ref(opt)
    gc.disable()
    try:
        del opt
        assert dead() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_parameters_stay_connected_only_to_an_optimizer_that_is_copied_with_them(copied):
    """README's gotcha."""
    params = np.ones(3)
    opt = flr.SGD(params, lr=0.5)
    together, its = copied((params, opt))
    its.step(np.ones(3))
    assert its.params is together
    assert together.tolist() == [0.5] * 3
    apart, its = copied(params), copied(opt)
    its.step(np.ones(3))
    assert (apart.tolist(), its.params.tolist()) == ([1.0] * 3, [0.5] * 3)
    base = np.ones(4)
    base_of_copy, its = pickle.loads(pickle.dumps((base, flr.SGD(base[:2], lr=0.5))))
    its.step(np.ones(2))
    assert (base_of_copy.tolist(), its.params.tolist()) == ([1.0] * 4, [0.5] * 2)
