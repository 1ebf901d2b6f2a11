"""Controllers: rates that react to the run, in optimizers, state and copies; what stagnation is."""

import copy
import json
import math
import pickle
import threading

import numpy as np
import pytest
from scipy import stats

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.schedules.stagnation import falls, student_t

from .interrupts import interrupted, needs_faithful_traces

KINDS = {
    "plateau": lambda: S.Plateau(0.1, factor=0.5, patience=1),
    "slope": lambda: S.Plateau(S.Cosine(0.1, steps=50), patience=3, convention="slope", average=2),
    "restart": lambda: S.RestartOnPlateau(S.Cosine(0.1, steps=5), patience=1, factor=0.5),
    "adjustable": lambda: S.Adjustable(S.Plateau(0.1, patience=0)),
    "hypergradient": lambda: S.Hypergradient(S.Cosine(0.1, steps=50), beta=0.1),
    "additive": lambda: S.Hypergradient(0.1, 0.01, "additive", low=1e-3, high=0.4),
    "direction": lambda: S.Hypergradient(S.Plateau(0.1, patience=3), beta=0.03, high=1.0),
    "cosine": lambda: S.GradientCosine(S.Linear(0.1, 0.0, steps=60), down=0.5, smoothing=0.5),
    "polyak": lambda: S.Polyak(S.Linear(0.9, 0.5, steps=50), c=0.5, low=1e-4),
    "bb": lambda: S.BarzilaiBorwein(S.Plateau(0.1, patience=3), "alternating", growth=2.0, high=1.0),
    "noise": lambda: S.NoiseScale(0.1, batch_size=64, warmup=2, smoothing=0.9),
}


class Own(S.Controller):
    """A user's: halves the rate at each alarm."""

    def __init__(self, lr=0.1):
        self.lr, self.state = lr, {"alarms": 0, "last": 1.0}

    def __call__(self, n):
        return self.lr * 0.5 ** self.state["alarms"]

    def observe(self, *, alarm=False, **others):
        self.state = {**self.state, "alarms": self.state["alarms"] + bool(alarm)}


class Duck:
    """Another user's, which has no base."""

    def __init__(self):
        self.level = 1.0

    def __call__(self, n):
        return self.level

    def observe(self, **what):
        self.level *= 0.5

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, d):
        self.level = d["level"]


def stirred(rate):
    """Some observations, so that something has changed."""
    for k, loss in enumerate((1.0, 1.0, 1.0, 1.5, 1.5, 1.5, 1.5)):
        if isinstance(rate, S.Adjustable):
            rate.observe(scale=0.5, limit=loss)
        else:
            grads = np.array([1.0, 2.0, 0.5 * k], np.float32)
            rate.observe(loss=loss, grads=grads, parts=[grads - 0.5, grads + 0.5])
    return rate


def frozen(state):
    """A state as text, which can be compared: arrays as lists."""
    return json.dumps(state, default=lambda x: x.tolist())


# --- In an optimizer --------------------------------------------------------------------------------------------------


def test_lr_is_the_next_rate_and_stats_have_the_last():
    rate = S.Plateau(0.5, factor=0.5, patience=0)
    p = np.zeros(2)
    opt = flr.SGD(p, lr=rate)
    rate.observe(1.0)
    opt.step(np.ones(2))
    rate.observe(1.0)
    assert (opt.lr, opt.stats.lr, p.tolist()) == (0.25, 0.5, [-0.5, -0.5])
    opt.step(np.ones(2))
    assert (opt.stats.lr, p.tolist()) == (0.25, [-0.75, -0.75])


@pytest.mark.parametrize("make", [*KINDS.values(), Own, Duck])
def test_an_optimizer_holds_the_object_itself(make):
    rate = make()
    opt = flr.SGD({"a": np.ones(2), "b": np.ones(2)}, lr=rate, groups=[{"params": "b", "lr": rate}])
    assert opt.groups[0]["lr"] is rate
    assert opt.groups[1]["lr"] is rate
    opt.groups[1]["lr"] = 0.5
    opt.lr = rate
    assert opt.groups[0]["lr"] is rate


def test_any_hyperparameter_takes_one():
    momentum = S.Adjustable(0.8)
    p, q = np.zeros(1), np.zeros(1)
    opt, plain = flr.SGD(p, lr=1.0, momentum=momentum), flr.SGD(q, lr=1.0, momentum=0.8)
    for k in range(4):
        if k == 2:
            momentum.observe(scale=0.5)
            plain.momentum = 0.4
        opt.step(np.ones(1))
        plain.step(np.ones(1))
    assert p == q
    assert opt.momentum == 0.4


def test_a_rate_out_of_range_stops_the_step_and_changes_nothing():
    rate = Own(math.nan)
    p = np.ones(3)
    opt = flr.SGD(p, lr=rate)
    with pytest.raises(ValueError, match="`lr` must be a finite number >= 0, got nan"):
        opt.step(np.ones(3))
    assert (p.tolist(), opt.steps) == ([1.0] * 3, 0)


def test_a_probe_of_another_update_does_not_begin_a_restart():
    rate = S.RestartOnPlateau(S.Linear(1.0, 0.0, steps=10), patience=0)
    opt = flr.SGD(np.ones(1), lr=rate)
    for _ in range(4):
        opt.step(np.ones(1))
    assert (rate.observe(1.0), rate.observe(1.0)) == (False, True)
    assert rate(1000) == opt.lr == 1.0
    opt.step(np.ones(1))
    assert opt.stats.lr == 1.0
    assert opt.lr == 0.9
    assert rate(4 + 5) == 0.5


# --- Saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*KINDS.values(), Own, Duck])
def test_a_resumed_run_goes_on_bit_for_bit(make):
    rng = np.random.default_rng(0)
    losses, grads = rng.normal(size=40), rng.normal(size=(40, 3))

    def run(rate, opt, steps):
        for k in steps:
            opt.step(grads[k])
            if make is KINDS["direction"]:
                rate.observe(grads=grads[k], params=opt.params)
                rate.base.observe(loss=losses[k])
                continue
            parts = [grads[k], grads[k - 1]]
            rate.observe(
                loss=losses[k], alarm=losses[k] > 1, scale=1 / (1 + k), limit=0.3 / (1 + k), grads=grads[k], parts=parts
            )

    whole, rate = np.ones(3), make()
    opt = flr.SGD(whole, lr=rate)
    run(rate, opt, range(40))
    p, first = np.ones(3), make()
    opt = flr.SGD(p, lr=first)
    run(first, opt, range(17))
    saved = json.loads(frozen(opt.state_dict()["controllers"]))  # numbers, strings and lists
    state = {**opt.state_dict(), "controllers": saved}
    second = make()
    opt = flr.SGD(p, lr=second)
    opt.load_state_dict(state)
    assert opt.groups[0]["lr"] is second
    assert frozen(second.state_dict()) == frozen(first.state_dict())
    run(second, opt, range(17, 40))
    assert p.tolist() == whole.tolist()
    assert frozen(second.state_dict()) == frozen(rate.state_dict())


@pytest.mark.parametrize("make", [*KINDS.values(), Own])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_have_a_state_of_their_own(make, how):
    opt = flr.SGD({"a": np.ones(2), "b": np.ones(2)}, lr=stirred(make()), groups=[{"params": "b"}])
    opt.groups[1]["lr"] = opt.groups[0]["lr"]
    twin = how(opt)
    mine, others = opt.groups[0]["lr"], twin.groups[0]["lr"]
    assert others is not mine
    assert twin.groups[1]["lr"] is others
    before = frozen(mine.state_dict())
    assert frozen(others.state_dict()) == before
    stirred(others).observe(loss=9.0, alarm=True, scale=0.1, grads=np.ones(3), parts=[np.ones(3), np.zeros(3)])
    assert frozen(others.state_dict()) != before
    assert frozen(mine.state_dict()) == before


BAD = [
    lambda s: [],
    lambda s: {**s, "type": "Other"},
    lambda s: {x: v for x, v in s.items() if x != "bad"},
    lambda s: {**s, "more": 1},
    lambda s: {**s, "bad": -1},
    lambda s: {**s, "bad": 1.5},
    lambda s: {**s, "bad": True},
    lambda s: {**s, "best": "x"},
    lambda s: {**s, "mean": None},
    lambda s: {**s, "count": 7},
    lambda s: {**s, "window": [1.0, 2.0]},
    lambda s: {**s, "window": "ab"},
    lambda s: {**s, "reductions": None},
    lambda s: {**s, "n": -1},
    lambda s: {**s, "base": {}},
    lambda s: {**s, "kept": [np.ones(3)]},
]


def test_a_state_of_another_convention_is_refused():
    """Without a best value torch's rule would fail at the next loss, and a window would stay for ever."""
    keras, slope = S.Plateau(0.1, convention="keras"), S.Plateau(0.1, convention="slope")
    slope.observe(1.0)
    for other in (keras, slope):
        rate = S.Plateau(0.1)
        with pytest.raises(ValueError, match="must be of torch's convention"):
            rate.load_state_dict(other.state_dict())
        assert not rate.observe(1.0)


def test_a_controller_that_observes_in_another_thread_can_be_copied():
    rate = stirred(S.Plateau(0.1))
    for k in range(20_000):
        rate.history.append((float(k), False))
    ended = threading.Event()

    def observe():
        while not ended.is_set():
            rate.observe(1.0)

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        for copier in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))) * 3:
            assert len(copier(rate).history) > 20_000
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("spoil", BAD)
def test_a_bad_state_changes_nothing(spoil):
    p, rate = np.ones(3), S.Plateau(0.1, factor=0.5, patience=1)
    opt = flr.SGD(p, lr=rate, momentum=0.9)
    opt.step(np.ones(3))
    before, saved = pickle.dumps(opt.state_dict()), opt.state_dict()
    stirred(rate)
    other = opt.state_dict()
    other["controllers"][0]["state"] = spoil(other["controllers"][0]["state"])
    rate.load_state_dict(saved["controllers"][0]["state"])
    opt.step(np.ones(3))
    opt.load_state_dict(saved)
    with pytest.raises((TypeError, ValueError), match="state"):
        opt.load_state_dict(other)
    assert pickle.dumps(opt.state_dict()) == before


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"group": 1, "name": "lr", "state": {"type": "Plateau"}}], "needs a controller for 'lr' of group 1"),
        ([{"group": 0, "name": "momentum", "state": {}}], "needs a controller for 'momentum' of group 0"),
        ([{"group": [], "name": {}, "state": {}}], "needs a controller"),
        ([{"group": 0, "name": "lr"}], "entries with group, name and state"),
        ([3], "entries with group, name and state"),
        (None, "must be a list"),
    ],
)
def test_entries_that_do_not_fit_are_refused(entries, words):
    opt = flr.SGD(np.ones(3), lr=S.Plateau(0.1))
    state = {**opt.state_dict(), "controllers": entries}
    with pytest.raises((TypeError, ValueError), match=words):
        opt.load_state_dict(state)


def test_a_controller_whose_state_was_not_saved_stays_as_it_is():
    rate = stirred(S.Plateau(0.1, factor=0.5, patience=1))
    opt = flr.SGD(np.ones(3), lr=rate)
    state = flr.SGD(np.ones(3), lr=0.1).state_dict()
    with pytest.raises(ValueError, match=r"\['lr'\]` must be a controller, got 0.1: the optimizer has .*Plateau"):
        opt.load_state_dict(state)
    opt.load_state_dict(state, hyperparameters=False)
    assert rate.reductions > 0


def test_a_users_controller_that_refuses_at_the_second_look_changes_nothing():
    class Late(Duck):
        calls = 0

        def __deepcopy__(self, memo):
            raise TypeError("not to be copied")

        def load_state_dict(self, d):
            super().load_state_dict(d)
            if d["level"] < 0:
                raise ValueError("level")

    first, second = Duck(), Late()
    opt = flr.SGD({"a": np.ones(2), "b": np.ones(2)}, lr=first, groups=[{"params": "b", "lr": second}])
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    before = pickle.dumps(opt.state_dict())
    state = opt.state_dict()
    state["controllers"][0]["state"], state["controllers"][1]["state"] = {"level": 0.5}, {"level": -1.0}
    state["steps"] = 5
    with pytest.raises(ValueError, match="level"):
        opt.load_state_dict(state)
    assert pickle.dumps(opt.state_dict()) == before


@needs_faithful_traces
def test_an_interrupted_load_leaves_the_old_or_the_new():
    rate = S.Plateau(0.1, factor=0.5, patience=1)
    opt = flr.SGD(np.ones(3), lr=rate, momentum=0.9)
    old = opt.state_dict()
    opt.step(np.ones(3))
    stirred(rate)
    new = opt.state_dict()
    outcomes = {}
    for k in range(10_000):
        opt.load_state_dict(old)
        place = interrupted(lambda: opt.load_state_dict(new), k)
        found = pickle.dumps(opt.state_dict())
        outcomes[found] = outcomes.get(found, 0) + 1
        if place is None:
            break
    opt.load_state_dict(old)
    expected = {pickle.dumps(opt.state_dict())}
    opt.load_state_dict(new)
    assert set(outcomes) == expected | {pickle.dumps(opt.state_dict())}
    assert k > 20


# --- What a controller is not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [*KINDS.values(), Own])
def test_no_algebra_no_compiled_form_no_arrays(make):
    rate = make()
    for attempt in (
        lambda: rate * 2, lambda: 2 * rate, lambda: rate + 1.0, lambda: np.float64(2) * rate, lambda: rate.warmup(5),
        lambda: rate.then(0.1, at=3), lambda: rate.clip(low=0.0, high=1.0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="cannot be part of a schedule"):
            attempt()
    for attempt in (
        lambda: S.as_schedule(rate), lambda: S.Constant(1.0) * rate, lambda: S.Constant(1.0).then(rate, at=3),
        lambda: S.join([rate], []),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="controller"):
            attempt()
    with pytest.raises(TypeError, match="cannot be compiled"):
        rate.compiled  # noqa: B018
    assert rate == rate
    assert rate != make()
    assert len({rate, rate}) == 1


@pytest.mark.parametrize("make", KINDS.values())
def test_json_has_the_arguments_and_not_the_state(make):
    rate = make()
    written = json.loads(json.dumps(stirred(make()).to_dict()))
    again = S.from_dict(written)
    assert type(again) is type(rate)
    assert again.to_dict() == rate.to_dict()
    assert again.state_dict() == rate.state_dict()
    assert repr(again) == repr(rate)


@pytest.mark.parametrize("n", [-1, 1.0, True, "1", np.arange(3), None])
def test_an_index_is_an_integer(n):
    with pytest.raises((TypeError, ValueError), match="`n` must be"):
        S.Plateau(0.1)(n)


@pytest.mark.parametrize("loss", [None, "1", True, 1j, np.ones(2), [1.0], b"1"])
@pytest.mark.parametrize("make", [KINDS["plateau"], KINDS["restart"]])
def test_a_loss_is_a_number(loss, make):
    rate = make()
    before = rate.state_dict()
    with pytest.raises(TypeError, match="`loss` must be a number"):
        rate.observe(loss)
    assert rate.state_dict() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"factor": 1.0}, "`factor`"), ({"factor": 0}, "`factor`"), ({"patience": -1}, "`patience`"),
        ({"patience": 1.5}, "`patience`"), ({"threshold": -1}, "`threshold`"),
        ({"threshold_mode": "x"}, "`threshold_mode`"),
        ({"cooldown": -1}, "`cooldown`"), ({"min_lr": -1}, "`min_lr`"), ({"mode": "x"}, "`mode`"),
        ({"convention": "x"}, "`convention`"), ({"average": 0}, "`average`"), ({"probability": 1}, "`probability`"),
        ({"eps": -1}, "`eps`"), ({"params": 3}, "`params`"), ({"convention": "slope", "patience": 2}, "`patience`"),
        ({"convention": "keras", "threshold_mode": "rel"}, "`threshold_mode`"),
        ({"convention": "optax", "mode": "max"}, "`mode`"), ({"convention": "optax", "threshold": 0.0}, "`threshold`"),
        ({"convention": "optax", "threshold": 2.0}, "`threshold`"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        S.Plateau(0.1, **arguments)


@pytest.mark.parametrize("base", [None, "x", -1.0, math.nan, []])
def test_a_base_is_a_rate(base):
    with pytest.raises((TypeError, ValueError), match="`base`"):
        S.Plateau(base)


@pytest.mark.parametrize("what", [{"scale": -1}, {"scale": None}, {"scale": "1"}, {"limit": -1}, {"limit": "1"},
                                  {"limit": math.nan}, {"scale": 0.5, "limit": -1}])  # fmt: skip
def test_an_adjustable_refuses_and_keeps_what_it_had(what):
    rate = S.Adjustable(0.1)
    with pytest.raises((TypeError, ValueError), match=r"`scale`|`limit`"):
        rate.observe(**what)
    assert rate.state_dict() == S.Adjustable(0.1).state_dict()


def test_an_adjustable_bounds_what_is_inside():
    rate = S.Adjustable(S.Plateau(0.4, factor=0.5, patience=0), limit=0.3)
    assert rate(0) == 0.3
    rate.base.observe(1.0)
    rate.base.observe(1.0)
    assert rate(0) == 0.2
    rate.observe(limit=math.inf, scale=3)
    assert (rate.scale, rate.limit, rate(0)) == (3.0, None, 3.0 * 0.2)


# --- Best parameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: np.zeros(3), lambda: flr.Flat({"a": np.zeros(3)}),
                                  lambda: {"a": np.zeros(2, np.float32), "b": [np.zeros(1, np.float32)]}])  # fmt: skip
def test_a_reduction_returns_to_the_best_parameters(make):
    params = make()
    rate = S.Plateau(0.1, patience=1, params=params)
    arrays = rate._parameters.arrays
    for value, loss in ((1.0, 3.0), (2.0, 1.0), (3.0, 2.0)):
        for x in arrays:
            x[...] = value
        assert not rate.observe(loss)
    assert {float(x[0]) for x in arrays} == {3.0}
    assert rate.observe(math.nan)
    assert {y for x in arrays for y in x.tolist()} == {2.0}
    assert rate.best == 1.0


def test_kept_parameters_are_saved_and_checked():
    p = np.zeros(3)
    rate = S.Plateau(0.1, patience=0, params=p)
    opt = flr.SGD(p, lr=rate)
    p[:] = 7.0
    rate.observe(1.0)
    state = opt.state_dict()
    p[:] = 8.0
    again = S.Plateau(0.1, patience=0, params=p)
    flr.SGD(p, lr=again).load_state_dict(state)
    assert again.observe(2.0)
    assert p.tolist() == [7.0] * 3
    with pytest.raises(ValueError, match="needs `params`"):
        S.Plateau(0.1, patience=0).load_state_dict(state["controllers"][0]["state"])
    for kept in ([np.zeros(2)], [np.zeros(3, np.float32)], [np.zeros(3), np.zeros(3)], [3.0], "abc"):
        bad = {**state["controllers"][0]["state"], "kept": kept}
        with pytest.raises((TypeError, ValueError), match="kept"):
            again.load_state_dict(bad)
    twin_p, twin = copy.deepcopy((p, opt))
    twin_p[:] = 1.0
    twin.groups[0]["lr"].observe(3.0)
    assert twin_p.tolist() == [7.0] * 3


# --- When a run stagnates ---------------------------------------------------------------------------------------------


def test_student_t():
    """scipy.stats.t."""
    for degrees in (*range(1, 40), 1000):
        for t in (-40.0, -3.0, -1.0, -0.1, 0.0, 0.5, 2.0, 9.0):
            assert student_t(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), abs=1e-13)


@pytest.mark.parametrize("n", [3, 4, 10, 57])
def test_the_slope_is_linregress(n):
    """scipy.stats.linregress with the alternative "less"."""
    rng = np.random.default_rng(n)
    for trend in (-0.5, 0.0, 0.3):
        for _ in range(50):
            y = rng.normal(size=n) + trend * np.arange(n)
            p = stats.linregress(np.arange(n), y, alternative="less").pvalue
            if p > 1 - 1e-6:
                assert not falls(y, 0.999)
                continue
            assert falls(y, p * (1 + 1e-6) + 1e-12)
            assert not falls(y, p * (1 - 1e-6) - 1e-12)


def test_the_slope_of_what_has_no_noise():
    assert falls([3.0, 2.0, 1.0], 1e-9)
    assert not falls([1.0, 2.0, 3.0], 0.9)
    assert not falls([1.0, 1.0, 1.0], 0.9)
    assert not falls([3.0, math.nan, 1.0], 0.9)
    assert not falls([3.0, 2.0, -math.inf], 0.9)
    assert falls([3e300, 2e300, 1e300, 0.5e300], 0.05)
    assert falls([3e-300, 2e-300, 1e-300, 0.5e-300], 0.05)


@pytest.mark.parametrize("probability", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("noise", ["normal", "uniform"])
def test_pure_noise_passes_for_progress_as_often_as_stated(probability, noise):
    """10,000 runs without a trend: the share that keeps the rate is the probability, within four standard errors."""
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(10_000, 12)) if noise == "normal" else rng.uniform(size=(10_000, 12))
    kept = 0
    for losses in draws.tolist():
        rate = S.Plateau(0.1, patience=12, convention="slope", probability=probability)
        kept += not any(map(rate.observe, losses))
    error = math.sqrt(probability * (1 - probability) / 10_000)
    tolerance = (
        4 * error if noise == "normal" else 4 * error + 0.1 * probability
    )  # the t-test is exact for normal noise
    assert abs(kept / 10_000 - probability) < tolerance


def test_a_loss_that_falls_keeps_the_rate():
    rng = np.random.default_rng(1)
    rate = S.Plateau(0.1, patience=20, convention="slope")
    assert not any(rate.observe(5 - 0.2 * k + rng.normal()) for k in range(200))
    assert any(rate.observe(5 + rng.normal()) for k in range(200))


def test_mode_max_is_mode_min_of_the_negative_loss():
    rng = np.random.default_rng(2)
    for convention in ("torch", "keras", "slope"):
        a = S.Plateau(0.1, patience=3, threshold_mode="abs", convention=convention)
        b = S.Plateau(0.1, patience=3, threshold_mode="abs", convention=convention, mode="max")
        for loss in rng.normal(size=60):
            assert a.observe(loss) == b.observe(-loss)
        assert a(0) == b(0) < 0.1


def test_plot():
    from matplotlib.figure import Figure

    for rate in (stirred(make()) for make in KINDS.values()):
        ax = rate.plot(Figure().add_subplot(), lw=3)
        assert ax.lines[0].get_linewidth() == 3
        assert ax.get_xlabel() == "observation (from 1)"
        assert len(ax.lines) == 1 + sum(acted for _, acted in rate.history) + isinstance(rate, S.NoiseScale)
    S.Plateau(0.1).plot(Figure().add_subplot())
    with pytest.raises(TypeError, match="`ax`"):
        S.Plateau(0.1).plot(3)
