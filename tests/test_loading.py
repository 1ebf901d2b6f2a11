"""What loading means: hyperparameters, moving between containers and dtypes, parts by name, and damaged states."""

import copy
import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from interrupts import interrupted, needs_faithful_traces
from pyfastlr import schedules as S
from pyfastlr.optimizers import registry
from states import plainly

CLASSES = [cls for cls in registry if cls.__module__.startswith("pyfastlr.optimizers.")]


def params(dtype="float64"):
    return {"w": np.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3), "b": np.ones(3, dtype)}


def gradient(k, dtype="float64"):
    rng = np.random.default_rng(k)
    return {"w": rng.standard_normal((2, 3)).astype(dtype), "b": rng.standard_normal(3).astype(dtype)}


def stepped(opt, steps=3):
    for k in range(steps):
        opt.step(gradient(k, opt._parameters.dtype))
    return opt


# --- Hyperparameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSES)
def test_every_hyperparameter_that_is_set_by_hand_comes_back(cls):
    """Each is moved a little, in the base group and in another one; a new optimizer then has the same numbers."""
    opt = cls(params(), groups=[{"params": "b"}], **({} if cls is flr.Rprop else {"lr": 0.1}))
    for row, group in enumerate(opt.groups):
        for key in list(group):
            value = group[key]
            if key in ("params", "decay", "lr_scale") or key in opt._hyper.fixed:
                continue
            factor = 0.875 if key in ("beta", "alpha", "momentum", "rho") else 1.0625 + row
            moved = (
                tuple(x * 0.875 if x < 1 else x * 1.0625 for x in value) if isinstance(value, tuple) else value * factor
            )
            group[key] = moved
    opt.clip_norm, opt.groups[1]["clip_value"], opt.groups[1]["ema_decay"] = math.inf, 0.5, 0.25
    opt.groups[1]["lr_scale"] = 0.5
    other = cls(params(), groups=[{"params": "b"}], **({} if cls is flr.Rprop else {"lr": 1.0}))
    loaded = other.load_state_dict(stepped(opt).state_dict())
    assert loaded == flr.Loaded((), ())
    assert [dict(group) for group in other.groups] == [dict(group) for group in opt.groups]
    assert plainly(other.state_dict()) == plainly(opt.state_dict())


def test_what_is_saved():
    controller = S.Plateau(0.1)
    opt = flr.AdamW(
        params(), lr=0.5 * S.Constant(0.1), betas=(S.Linear(0.8, 0.9, 5), 0.5), eps=np.float32(0.5), clip_norm=np.inf,
        groups=[{"params": "b", "lr": controller, "weight_decay": lambda n: 0.0, "lr_scale": np.ones(3)}],
    )  # fmt: skip
    base, group = opt.state_dict()["hyperparameters"]
    constant = {"type": "Constant", "lr": 0.1}
    assert base == {
        "params": ["w"],
        "lr": {"schedule": {"type": "Product", "left": constant, "right": {"type": "Constant", "lr": 0.5}}},
        "betas": [{"schedule": {"type": "Linear", "start": 0.8, "end": 0.9, "steps": 5}}, 0.5],
        "eps": 0.5, "weight_decay": 0.01, "decay": "decoupled", "lr_scale": 1.0, "clip_norm": math.inf,
        "clip_norm_each": None, "clip_value": None, "ema_decay": None,
    }  # fmt: skip
    assert group == {
        "params": ["b"], "lr": {"controller": "Plateau"}, "lr_scale": {"arrays": True},
        "weight_decay": {"callable": "test_what_is_saved.<locals>.<lambda>"},
    }  # fmt: skip


def made(lr=0.1, **options):
    return flr.SGD(params(), lr=lr, momentum=0.5, **options)


def test_the_saved_value_wins_also_over_a_callable():
    """As in torch. With hyperparameters=False the constructor's stay."""
    state = stepped(made(S.Linear(0.1, 0.0, 10))).state_dict()
    for rate in (0.5, S.Constant(0.5), lambda n: 0.5):
        opt = made(rate)
        opt.load_state_dict(state)
        assert opt.groups[0]["lr"] == S.Linear(0.1, 0.0, 10)
        opt = made(rate)
        opt.load_state_dict(state, hyperparameters=False)
        assert (opt.lr, opt.steps) == (0.5, 3)


def test_an_equal_schedule_stays_the_same_object_and_the_step_is_not_built_again():
    schedule = S.Linear(0.1, 0.0, 10)
    state = stepped(made(S.Linear(0.1, 0.0, 10))).state_dict()
    opt = stepped(made(schedule))
    launch = opt._engine.launch
    opt.momentum = 0.25
    opt.load_state_dict(state)
    assert opt.groups[0]["lr"] is schedule
    assert opt._engine.launch is launch
    assert opt.momentum == 0.5


@pytest.mark.parametrize("saved", [0.0, 0.5])
def test_a_rate_factor_becomes_zero_or_not(saved):
    state = made(lr_scale=saved).state_dict()
    opt = stepped(made(lr_scale=0.5 - saved))
    opt.load_state_dict(state)
    before = opt.params["w"].copy()
    opt.step(gradient(9))
    assert (opt.params["w"] == before).all() == (saved == 0.0)


def rate(n):
    return 0.1


NEEDED = {
    "callable": (
        lambda: rate,
        [0.1, S.Constant(0.1).warmup(3)],
        r"needs a callable, because 'rate' cannot be saved, got 0.1",
    ),
    "custom": (lambda: 0.5 * S.as_schedule(rate), [0.1], "needs a callable, because 'Product' cannot be saved"),
    "controller": (
        lambda: S.Plateau(0.1),
        [0.1, rate, S.Constant(0.1), S.Adjustable(0.1)],
        "needs a controller of type 'Plateau', got",
    ),
}


@pytest.mark.parametrize("kind", NEEDED)
def test_what_cannot_be_saved_must_be_there(kind):
    make, others, words = NEEDED[kind]
    state = stepped(made(make())).state_dict()
    for k, other in enumerate(others):
        opt = made(other)
        before = plainly(opt.state_dict())
        if kind == "callable" and k == 1:
            opt.load_state_dict(state)  # a schedule is a callable
            assert opt.groups[0]["lr"] is other
            continue
        with pytest.raises(ValueError, match=rf"`state\['hyperparameters'\]\[0\]\['lr'\]` {words}"):
            opt.load_state_dict(state)
        assert plainly(opt.state_dict()) == before
    opt = made(make())
    mine = opt.groups[0]["lr"]
    opt.load_state_dict(state)
    assert opt.groups[0]["lr"] is mine


def test_in_the_same_place():
    """A callable or controller of another group or of the other beta does not count."""
    state = flr.Adam(params(), 0.1, betas=(rate, 0.5)).state_dict()
    with pytest.raises(ValueError, match=r"\['betas'\]\[0\]` needs a callable"):
        flr.Adam(params(), 0.1, betas=(0.5, rate)).load_state_dict(state)
    state = made(groups=[{"params": "b", "lr": rate}]).state_dict()
    with pytest.raises(ValueError, match=r"\[1\]\['lr'\]` needs a callable, because 'rate' cannot be saved, got none"):
        made(rate, groups=[{"params": "b"}]).load_state_dict(state)


@pytest.mark.parametrize("saved", [0.1, S.Constant(0.1), rate])
def test_a_controller_is_not_lost(saved):
    state = made(saved).state_dict()
    opt = made(S.Adjustable(0.1))
    with pytest.raises(ValueError, match=r"callable|must be a controller, got .*: the optimizer has the controller A"):
        opt.load_state_dict(state)
    state = made(groups=[{"params": "b"}]).state_dict()
    opt = made(groups=[{"params": "b", "lr": S.Adjustable(0.1)}])
    with pytest.raises(ValueError, match=r"\[1\]\['lr'\]` must be a controller, got none"):
        opt.load_state_dict(state)


def test_controllers_keep_their_identity():
    def make():
        shared, second = S.Adjustable(0.1), S.Plateau(S.Adjustable(0.2), patience=1)
        groups = [{"params": "b", "lr": second, "momentum": 0.25}]
        return shared, second, flr.SGD(params(), lr=shared, momentum=0.5, weight_decay=shared, groups=groups)

    shared, second, opt = make()
    shared.observe(scale=0.5)
    for _ in range(4):
        second.observe(1.0)
    first, other, resumed = make()
    resumed.load_state_dict(stepped(opt).state_dict())
    assert resumed.groups[0]["lr"] is resumed.groups[0]["weight_decay"] is first
    assert resumed.groups[1]["lr"] is other
    assert resumed.lrs == opt.lrs
    assert (first.scale, other.reductions) == (0.5, second.reductions)


def test_controllers_may_be_left_out_without_the_hyperparameters():
    """The error for a missing controller advises this."""
    opt = made(S.Plateau(0.1), groups=[{"params": "b", "lr": S.Adjustable(0.1)}])
    state = stepped(opt).state_dict()
    other, kept = made(0.5, groups=[{"params": "b", "lr": S.Adjustable(0.3)}]), made(0.5, groups=[{"params": "b"}])
    of_another_kind = made(S.Adjustable(0.5), groups=[{"params": "b", "lr": S.Plateau(0.3)}])
    for resumed in (other, kept, of_another_kind):
        with pytest.raises(ValueError, match=r"needs a controller of type 'Plateau'.*load with hyperparameters=False"):
            resumed.load_state_dict(state)
        resumed.load_state_dict(state, hyperparameters=False)
        assert (resumed.steps, resumed.lr) == (opt.steps, 0.5)
    old = {key: x for key, x in state.items() if key not in ("used_lr", "hyperparameters", "maximize")}
    with pytest.raises(ValueError, match="needs a controller for 'lr' of group 0"):  # it cannot say what it was
        kept.load_state_dict({**old, "format": 3}, hyperparameters=False)


def test_arrays_of_rates_must_be_there_and_are_the_users():
    state = made(lr_scale={"w": np.full((2, 3), 0.5), "b": np.zeros(3)}).state_dict()
    with pytest.raises(ValueError, match=r"\['lr_scale'\]` needs arrays, which are not saved, got 1.0"):
        made().load_state_dict(state)
    mine = {"w": np.full((2, 3), 0.25), "b": np.ones(3)}
    opt = made(lr_scale=mine)
    opt.load_state_dict(state)
    assert opt.lr_scale is mine
    opt = made(lr_scale=mine)
    opt.load_state_dict(made(lr_scale=0.5).state_dict())
    assert opt.lr_scale == 0.5


def test_maximize():
    state = stepped(made(maximize=True)).state_dict()
    with pytest.raises(ValueError, match=r"`state\['maximize'\]` must be False, got True.*hyperparameters=False"):
        made().load_state_dict(state)
    made().load_state_dict(state, hyperparameters=False)


def test_groups_are_matched_by_their_arrays():
    three = {"a": np.ones(1), "b": np.ones(2), "c": np.ones(3)}
    one = flr.SGD(copy.deepcopy(three), lr=0.1, groups=[{"params": "b", "lr": 0.2}, {"params": "c", "lr": 0.3}])
    two = flr.SGD(copy.deepcopy(three), lr=9.0, groups=[{"params": "c"}, {"params": "b"}])
    two.load_state_dict(one.state_dict())
    assert two.lrs == [0.1, 0.3, 0.2]
    for groups in ([], [{"params": ["b", "c"]}], [{"params": "a"}, {"params": "b"}], [{"params": "c"}]):
        three_groups = flr.SGD(copy.deepcopy(three), lr=9.0, groups=groups)
        with pytest.raises(ValueError, match=r"`state\['hyperparameters'\]` must have groups with the same arrays"):
            three_groups.load_state_dict(one.state_dict())
        assert set(three_groups.lrs) == {9.0}
        three_groups.load_state_dict(one.state_dict(), hyperparameters=False)


@pytest.mark.parametrize("hyperparameters", [True, False])
def test_controllers_follow_the_arrays_of_their_groups(hyperparameters):
    def made(*order):
        groups = {name: {"params": name, "lr": S.Adjustable(0.5)} for name in "bc"}
        arrays = {"a": np.ones(1), "b": np.ones(2), "c": np.ones(3)}
        return flr.SGD(arrays, lr=0.1, groups=[groups[name] for name in order])

    one, two = made("b", "c"), made("c", "b")
    one.groups[1]["lr"].observe(scale=0.25)
    two.load_state_dict(one.state_dict(), hyperparameters=hyperparameters)
    assert two.lrs == [0.1, 0.5, 0.125]
    arrays = {"a": np.ones(1), "b": np.ones(2), "c": np.ones(3)}
    merged = flr.SGD(arrays, lr=0.1, groups=[{"params": ["b", "c"], "lr": S.Adjustable(0.5)}])
    merged.load_state_dict(one.state_dict(), hyperparameters=False)
    assert merged.lrs == [0.1, 0.5]  # it is neither the one nor the other


def test_a_group_without_arrays_of_its_own():
    """All its arrays are in the group before it."""
    groups = [{"params": "b", "lr": 0.2}, {"params": ["b"], "lr": 0.3}]
    opt = flr.SGD(params(), lr=0.1, groups=groups)
    other = flr.SGD(params(), lr=9.0, groups=[{"params": "b"}, {"params": "b"}])
    other.load_state_dict(opt.state_dict())
    assert other.lrs == [0.1, 0.2, 0.3]


def test_arguments_are_flags():
    opt = made()
    for name in ("hyperparameters", "strict", "cast"):
        with pytest.raises(TypeError, match=f"`{name}` must be True or False"):
            opt.load_state_dict(opt.state_dict(), **{name: 1})


# --- Moving -----------------------------------------------------------------------------------------------------------

ARRAYS = [("0", (2, 3)), ("1", ()), ("2", (0, 4)), ("3", (1100,))]
KINDS = {
    "dict": dict,
    "dict with integers": lambda x: {int(name): value for name, value in x.items()},
    "list": lambda x: list(x.values()),
    "flat": flr.Flat,
    "flat of a list": lambda x: flr.Flat(list(x.values())),
    "dict in another order": lambda x: dict(reversed(x.items())),
}


def container(kind, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return KINDS[kind]({name: np.asarray(rng.standard_normal(shape).astype(dtype)) for name, shape in ARRAYS})


def by_name(x):
    if isinstance(x, list):
        return {str(k): value for k, value in enumerate(x)}
    return {str(key): value for key, value in x.items()}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_from_every_container_to_every_other(source, target):
    def make(kind):
        return flr.NAdam(container(kind), lr=0.1, ema_decay=0.5, accumulate=2, groups=[{"params": "3", "lr": 0.2}])

    one, two = make(source), make(target)
    for k in range(3):
        one.step(container(source, seed=k))
    two.load_state_dict(one.state_dict())
    for name, x in by_name(one.params).items():
        by_name(two.params)[name][...] = x
    for k in range(5):
        one.step(container(source, seed=9 + k))
        two.step(container(target, seed=9 + k))
    for name, x in by_name(one.params).items():
        assert by_name(two.params)[name].tobytes() == x.tobytes()
    assert {name: x.tobytes() for name, x in by_name(two.ema).items()} == {
        name: x.tobytes() for name, x in by_name(one.ema).items()
    }


@pytest.mark.parametrize("flatten", [False, True])
def test_a_single_array_and_a_flat_of_one(flatten):
    for make in (lambda: np.ones((2, 3)), lambda: flr.Flat({"w": np.ones((2, 3))}), lambda: flr.Flat([np.ones(3)])):
        opt = flr.Adam(make(), lr=0.1)
        opt.step(make())
        state = opt.state_dict()
        other = flr.Adam(make(), lr=0.1)
        other.load_state_dict(flr.unflatten_state(flr.flatten_state(state)) if flatten else state)
        assert plainly(other.state_dict()) == plainly(opt.state_dict())


def test_float32_and_float64():
    narrow, wide = flr.NAdam(params("f4"), lr=0.1, ema_decay=0.5), flr.NAdam(params("f8"), lr=0.1)
    stepped(narrow)
    state = narrow.state_dict()
    state["counts"], state["steps"] = state["counts"] + 2**53, 2**53 + 3
    before = plainly(wide.state_dict())
    with pytest.raises(ValueError, match=r"`state\['dtype'\]` must be 'float64', got 'float32': cast=True"):
        wide.load_state_dict(state)
    assert plainly(wide.state_dict()) == before
    wide.load_state_dict(state, cast=True)
    assert wide.steps == 2**53 + 3
    found = wide.state_dict()
    assert found["counts"].tolist() == state["counts"].tolist()
    assert found["carry"].tobytes() == state["carry"].tobytes()
    assert wide.state["exp_avg"]["w"].tolist() == narrow.state["exp_avg"]["w"].tolist()
    assert wide.ema["b"].tolist() == narrow.ema["b"].tolist()
    back = flr.NAdam(params("f4"), lr=0.1)
    back.load_state_dict(found, cast=True)
    assert plainly(back.state_dict()) == plainly({**state, "used_lr": state["used_lr"]})


def test_a_number_beyond_float32_is_refused():
    wide, narrow = stepped(flr.Adam(params("f8"), lr=0.1)), flr.Adam(params("f4"), lr=0.1)
    wide.state["exp_avg_sq"]["w"][1, 1] = 1e300
    before = plainly(narrow.state_dict())
    with pytest.raises(ValueError, match=r"\['exp_avg_sq'\]\['w'\]` must have numbers in the range of float32, got 1e"):
        narrow.load_state_dict(wide.state_dict(), cast=True)
    assert plainly(narrow.state_dict()) == before
    wide.state["exp_avg_sq"]["w"][1, 1] = np.inf  # it was infinite before
    narrow.load_state_dict(wide.state_dict(), cast=True)
    assert narrow.state["exp_avg_sq"]["w"][1, 1] == np.inf


@pytest.mark.parametrize("dtype", ["float16", "int8", "", None, 4, ["float32"]])
def test_other_dtypes_are_refused(dtype):
    opt = made()
    with pytest.raises(ValueError, match=r"`state\['dtype'\]` must be 'float64'"):
        opt.load_state_dict({**opt.state_dict(), "dtype": dtype}, cast=True)


def test_a_part_by_name():
    """The common arrays are loaded. The others keep state and counts, and their average."""
    options = {"lr": 0.1, "ema_decay": 0.5, "accumulate": 2}
    one = flr.Adam({"a": np.ones(2), "old": np.ones(3)}, **options)
    two = flr.Adam({"new": np.full(4, 7.0), "a": np.ones(2)}, **options)
    for k in range(5):
        one.step({"a": np.full(2, float(k)), "old": np.ones(3)})
    before = plainly(two.state_dict())
    with pytest.raises(ValueError, match=r"missing names \['new'\] and unknown names \['old'\]: strict=False loads"):
        two.load_state_dict(one.state_dict())
    assert plainly(two.state_dict()) == before
    loaded = two.load_state_dict(one.state_dict(), strict=False)
    assert loaded == (("new",), ("old",))
    assert (loaded.missing, loaded.unexpected) == (("new",), ("old",))
    state, source = two.state_dict(), one.state_dict()
    assert (two.steps, state["counts"].tolist(), state["accumulated"]["used"].tolist()) == (2, [0, 2], [False, True])
    for slot in ("exp_avg", "exp_avg_sq"):
        assert state["state"][slot]["a"].tobytes() == source["state"][slot]["a"].tobytes()
        assert not state["state"][slot]["new"].any()
    assert two.ema["a"].tolist() == one.ema["a"].tolist()
    assert two.ema["new"].tolist() == [7.0] * 4
    two.params["a"][:] = one.params["a"]
    one.step({"a": np.ones(2), "old": np.ones(3)})
    two.step({"a": np.ones(2), "new": np.ones(4)})
    assert two.params["a"].tobytes() == one.params["a"].tobytes()
    assert two.state_dict()["counts"].tolist() == [1, 3]
    ema = two.ema["new"].copy()
    two.load_state_dict(source, strict=False)
    assert two.ema["new"].tobytes() == ema.tobytes()


def test_a_part_between_updates_without_its_gradients():
    one = flr.SGD({"a": np.ones(2), "b": np.ones(2)}, lr=1.0, accumulate=2)
    one.step({"a": None, "b": np.ones(2)})
    two = flr.SGD({"a": np.ones(2)}, lr=1.0, accumulate=2)
    two.load_state_dict(one.state_dict(), strict=False)
    assert two.state_dict()["accumulated"] is None
    for _ in range(2):
        two.step({"a": np.ones(2)})
    assert two.params["a"].tolist() == [0.0] * 2


def test_groups_and_controllers_of_a_part():
    one = flr.SGD(
        {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}, lr=0.1,
        groups=[{"params": "a", "lr": S.Adjustable(0.2)}, {"params": "b", "lr": S.Adjustable(0.3)}],
    )  # fmt: skip
    one.groups[2]["lr"].observe(scale=0.5)
    two = flr.SGD(
        {"d": np.ones(1), "b": np.ones(2)}, lr=9.0,
        groups=[{"params": "d", "lr": 0.75}, {"params": "b", "lr": S.Adjustable(0.3)}],
    )  # fmt: skip
    assert two.load_state_dict(one.state_dict(), strict=False) == (("d",), ("a", "c"))
    assert two.lrs == [0.1, 0.75, 0.15]


@pytest.mark.parametrize("strict", [True, False])
def test_another_shape_is_always_refused(strict):
    one, two = flr.SGD({"a": np.ones((2, 3))}, momentum=0.5), flr.SGD({"a": np.ones((3, 2))}, momentum=0.5)
    with pytest.raises(ValueError, match=r"`state\['structure'\]` must have 'a' of shape \(3, 2\), got \(2, 3\)$"):
        two.load_state_dict(one.state_dict(), strict=strict)


def test_nothing_in_common_is_refused():
    one, two = flr.SGD({"a": np.ones(2)}), flr.SGD({"b": np.ones(2)})
    with pytest.raises(ValueError, match=r"must have an array of .*'b'.*got .*'a'"):
        two.load_state_dict(one.state_dict(), strict=False)


@needs_faithful_traces
@pytest.mark.parametrize("change", ["a schedule", "numbers"])
def test_an_interrupted_load_leaves_the_old_or_the_new(change):
    """State and hyperparameters together, also where the step must be built again."""
    opt = stepped(made(S.Linear(0.5, 0.0, 9) if change == "a schedule" else 0.5, groups=[{"params": "b"}]))
    old = opt.state_dict()
    opt.lr, opt.momentum = 0.25, 0.75
    new = stepped(opt).state_dict()
    expected = {"old": plainly(old), "new": plainly(new)}
    outcomes = set()
    for k in range(0, 10_000, 5):
        opt.load_state_dict(old)
        place = interrupted(lambda: opt.load_state_dict(new), k)
        found = plainly(opt.state_dict())
        outcomes |= {name for name, state in expected.items() if state == found} or {"torn"}
        opt.step(gradient(0))
        assert opt.stats.lr in (0.25, 0.5 - 0.5 / 3, 0.5)
        if place is None:
            break
    assert outcomes == {"old", "new"}
    assert k > 20


def test_large_arrays_are_read_without_a_copy(monkeypatch):
    """A state from a file that is mapped takes no memory of its own."""
    import tracemalloc

    opt = flr.Adam(np.ones(2_000_000), lr=0.1)
    state = opt.state_dict()
    state["state"]["exp_avg"][:] = 1.0
    tracemalloc.start()
    opt.load_state_dict(state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (opt.state["exp_avg"] == 1.0).all()
    assert peak < 1_000_000


# --- Damaged states ---------------------------------------------------------------------------------------------------


def whole():
    """An optimizer with everything that a state may have."""
    opt = flr.NAdam(
        params(), lr=S.Plateau(0.5 * S.Cosine(0.1, 50).warmup(3)), betas=(S.Linear(0.8, 0.9, 9), 0.99), clip_norm=1.0,
        ema_decay=0.5, accumulate=2, loss_scale=flr.LossScale(2.0**4), groups=[{"params": "b", "lr": rate, "eps": 0.5}],
    )  # fmt: skip
    return stepped(opt, 5)


def paths(x, path=()):
    yield path
    if isinstance(x, dict):
        for key, value in x.items():
            yield from paths(value, (*path, key))
    elif isinstance(x, list | tuple):
        for k, value in enumerate(x):
            yield from paths(value, (*path, k))


def replaced(x, path, value):
    if not path:
        return value
    if isinstance(x, dict):
        return {key: replaced(y, path[1:], value) if key == path[0] else y for key, y in x.items()}
    return [replaced(y, path[1:], value) if k == path[0] else y for k, y in enumerate(x)]


def without(x, path):
    if len(path) == 1:
        items = list(x.items()) if isinstance(x, dict) else list(enumerate(x))
        left = [(key, value) for key, value in items if key != path[0]]
        return dict(left) if isinstance(x, dict) else [value for _, value in left]
    if isinstance(x, dict):
        return {key: without(y, path[1:]) if key == path[0] else y for key, y in x.items()}
    return [without(y, path[1:]) if k == path[0] else y for k, y in enumerate(x)]


def nested(depth):
    x = []
    for _ in range(depth):
        x = [x]
    return x


STATE = whole().state_dict()
PATHS = [path for path in paths(STATE) if path]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([-1, 0, 1, 2**62, 2**63, 2**200]),
    st.floats(), st.text(max_size=3), st.sampled_from(["lr", "Plateau", "float32", "NAdam", "schedule"]),
    st.sampled_from([nested(10_000), [], {}, (), set(), b"", object(), rate, S.Constant(0.1), S.Plateau(0.1)]),
    st.sampled_from([np.float64(0.1), np.int64(-1), np.array([np.nan]), np.array([1, 2]), np.ones(3), np.ones((2, 3))]),
    st.sampled_from([np.array([2, -1]), np.array([2**62 + 1, 1]), np.full((2, 1), np.nan), np.array([None, 1])]),
    st.sampled_from([{"schedule": {"type": "Constant"}}, {"schedule": nested(9)}, {"callable": ""}, {"controller": 1}]),
    st.sampled_from([{"schedule": {"type": "Constant", "lr": -1.0}}, {"schedule": {"type": "X"}}, {"arrays": True}]),
)  # fmt: skip
_target = {}


def target():
    if not _target:
        _target["opt"] = whole()
    return _target["opt"]


@settings(deadline=None, max_examples=600)
@given(st.sampled_from(PATHS), VALUES, st.booleans(), st.booleans(), st.booleans())
def test_any_damage_is_refused_by_name_or_harmless(path, value, hyperparameters, strict, cast):
    opt = target()
    before = plainly(opt.state_dict())
    try:
        opt.load_state_dict(replaced(STATE, path, value), hyperparameters, strict, cast)
    except (TypeError, ValueError) as error:
        assert "state" in str(error) or path[-1] in str(error), error  # noqa: PT017
        assert plainly(opt.state_dict()) == before
    else:
        with suppress(ValueError):  # a schedule whose value is out of range
            opt.step(gradient(1))
        _target.clear()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_anything_left_out_is_refused_or_harmless(path):
    opt = target()
    before = plainly(opt.state_dict())
    try:
        opt.load_state_dict(without(STATE, path))
    except (TypeError, ValueError) as error:
        assert str(error)  # noqa: PT017
        assert plainly(opt.state_dict()) == before
    else:
        assert path[0] in ("controllers", "hyperparameters")
        _target.clear()


def group(k, **values):
    return lambda state: state["hyperparameters"][k].update(values)


WRONG = {
    "a group less": (lambda s: s["hyperparameters"].pop(), ValueError, "each array in one group"),
    "no list": (lambda s: s.update(hyperparameters={}), TypeError, "must be a list of dicts"),
    "no names": (group(0, params="w"), TypeError, r"\[0\]\['params'\]` must be a list"),
    "a name twice": (group(0, params=["w", "w"]), ValueError, "each array in one group"),
    "a name more": (group(0, params=["w", "x"]), ValueError, "each array in one group"),
    "unknown": (group(1, momentum=1.0), ValueError, r"unknown keys \['momentum'\]"),
    "missing": (lambda s: s["hyperparameters"][0].pop("eps"), ValueError, r"missing keys \['eps'\]"),
    "range": (group(1, eps=-1.0), ValueError, r"\[1\]\['eps'\]` must be"),
    "NaN": (group(1, eps=math.nan), ValueError, r"\[1\]\['eps'\]` must be"),
    "huge": (group(1, eps=10**400), ValueError, r"\[1\]\['eps'\]` must be"),
    "flag": (group(1, eps=True), TypeError, r"\[1\]\['eps'\]` must be"),
    "off": (group(1, eps=None), TypeError, r"\[1\]\['eps'\]` must be"),
    "pair": (group(0, betas=0.9), TypeError, r"\[0\]\['betas'\]` must be a list of two"),
    "pair of one": (group(0, betas=[0.9]), TypeError, "list of two"),
    "beta": (group(0, betas=[0.9, 1.5]), ValueError, r"\['betas'\]\[1\]` must be"),
    "decay": (group(0, decay="often"), ValueError, r"\[0\]\['decay'\]` must be"),
    "two keys": (group(1, eps={"schedule": 1, "x": 2}), ValueError, "must have one key"),
    "another key": (group(1, eps={"pickle": ""}), ValueError, "schedule, callable"),
    "type": (
        group(1, eps={"schedule": {"type": "os.system"}}),
        ValueError,
        r"\['eps'\]\['type'\]` must be the name of a schedule",
    ),
    "argument": (
        group(1, eps={"schedule": {"type": "Constant", "lr": -1.0}}),
        ValueError,
        r"\['eps'\]` must be a Constant: `lr`",
    ),
    "used rate": (lambda s: s.update(used_lr=math.nan), ValueError, "used_lr"),
    "used rate of text": (lambda s: s.update(used_lr="0.1"), TypeError, "used_lr"),
    "maximize": (lambda s: s.update(maximize=0), ValueError, "maximize"),
    "deep": (lambda s: s.update(structure=nested(10_000)), ValueError, "structure"),
    "deep slot": (lambda s: s["state"].update(exp_avg=nested(10_000)), ValueError, "nested so deeply"),
    "deep schedule": (group(1, eps={"schedule": nested(10_000)}), TypeError, "eps"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_states_are_refused_by_name(name):
    damage, error, words = WRONG[name]
    opt, state = whole(), whole().state_dict()
    damage(state)
    before = plainly(opt.state_dict())
    with pytest.raises(error, match=words):
        opt.load_state_dict(state)
    assert plainly(opt.state_dict()) == before
