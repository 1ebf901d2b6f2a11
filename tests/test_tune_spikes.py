"""`tune.SpikeGuard`: what it finds, how often it is wrong, what it does, and that it does all of it or nothing."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.tune.guarding.judge import BLOCK
from pyfastlr.tune.guarding.unrest import FEWEST, chance_of_turns, least_cosine, turning_points, upper_bound

from .interrupts import everywhere, interrupted, needs_faithful_traces

G = np.array([1.0, -2.0, 0.5])


def calm(guard, steps, seed=0, grads=G, level=1.0):
    """Good steps."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        assert guard.step(level * math.exp(0.05 * rng.normal()), grads * math.exp(0.05 * rng.normal())) == "step"


def built(action="skip", make=lambda p: flr.SGD(p, lr=0.01, momentum=0.9), **options):
    p = np.array([1.0, 2.0, 3.0])
    opt = make(p)
    return p, opt, tune.SpikeGuard(opt, action, **options)


def frozen(p, opt, guard):
    """All that may change, as text."""
    state = guard.state_dict()
    return json.dumps([p.tolist(), opt.state_dict(), opt.lrs, state], default=lambda x: x.tolist())


# --- What is a spike --------------------------------------------------------------------------------------------------


def test_the_bound_is_median_and_deviation():
    """scipy.stats.median_abs_deviation."""
    rng = np.random.default_rng(0)
    for n in (FEWEST, 33, 64, 101):
        for _ in range(10):
            x = rng.normal(size=n)
            x[n // 2 :] += 1.0  # does not fall
            expected = np.median(x) + 5 * stats.median_abs_deviation(x, scale="normal")
            assert upper_bound(x.tolist(), 5.0, 0.1, True, 4.0) == pytest.approx(expected, rel=1e-5)
        falling = 0.05 * rng.normal(size=n) - 0.2 * np.arange(n)
        bound = upper_bound(falling.tolist(), 8.0, 0.1, True, 4.0)
        assert -0.2 * 0.75 * n + 0.1 < bound < -0.2 * 0.75 * n + 1.2  # not by the 0.05·n that the fall makes of σ
    assert upper_bound([0.0] * 40, 8.0, 0.1, True, 4.0) == pytest.approx(math.log(1.1))
    assert upper_bound([-2.0] * 40, 8.0, 0.1, False, 4.0) == -1.8
    assert upper_bound([0.0, 0.5], 8.0, 0.1, True, 4.0) == 0.5 + math.log(4)
    for few in (([], True, 4.0), ([1.0] * 31, False, 4.0), ([1.0], True, None)):
        assert upper_bound(few[0], 8.0, 0.1, *few[1:]) == math.inf


@pytest.mark.parametrize(("n", "threshold", "share"), [(64, 4, 4e-4), (64, 6, 3e-6), (64, 8, 2e-8), (32, 8, 3e-6)])
def test_false_alarms_of_normal_noise_are_as_rare_as_stated(n, threshold, share):
    """The mean probability, over 20,000 windows, that a normal value passes their bound."""
    windows = np.random.default_rng(1).normal(size=(20_000, n))
    bounds = [upper_bound(x, threshold, 0.0, True, 4.0) for x in windows.tolist()]
    found = stats.norm.sf(bounds).mean()
    assert share / 2.5 < found < 1.5 * share  # few windows make most of the rarest


def test_a_thousand_calm_runs_have_no_alarm():
    """50,000 steps of the whole guard on noise of 20 % in loss and gradient."""
    draws = np.exp(0.2 * np.random.default_rng(2).normal(size=(1000, 50, 2)))
    opt = flr.SGD(np.ones(1), lr=1e-9)
    events = []
    for run in draws.tolist():
        guard = tune.SpikeGuard(opt)
        for loss, norm in run:
            guard.step(loss, np.array([norm]))
        events += guard.events
    assert events == []


@pytest.mark.parametrize("what", ["loss", "grad_norm"])
def test_a_spike_is_found_and_left_out(what):
    p, opt, guard = built()
    calm(guard, 40)
    before = p.tolist(), opt.steps
    loss, grads = (1.6, G) if what == "loss" else (1.0, 1.6 * G)
    assert guard.step(loss, grads) == "skip"
    assert (p.tolist(), opt.steps) == before
    (event,) = guard.events
    value = loss if what == "loss" else 1.6 * np.linalg.norm(G)
    assert event[:3] == (40, "spike", what)
    assert event.value == pytest.approx(value)
    assert value / 1.6 < event.bound < value
    assert event.actions == ("skip",)
    assert guard.step(1.1, G) == "step"


def test_what_is_not_watched_is_no_spike():
    p, _, guard = built(watch="loss")
    calm(guard, 40)
    assert guard.step(1.0, 100 * G) == "step"
    assert guard.step(100.0, G) == "skip"
    assert guard.step(1.0, math.nan * G) == "skip"  # always watched
    assert np.isfinite(p).all()


def test_a_norm_has_the_scale_of_the_gradient_taken_out():
    _, _, guard = built()
    calm(guard, 40)
    assert guard.step(1.0, 1024 * G, inv_scale=1 / 1024) == "step"
    assert guard.step(1.0, G, inv_scale=1024) == "skip"


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_spike_from_the_first_step(loss):
    p, opt, guard = built()
    assert guard.step(loss, G) == "skip"
    assert guard.step(1.0, np.array([1.0, math.inf, 0.0])) == "skip"
    assert (p.tolist(), opt.steps) == ([1.0, 2.0, 3.0], 0)
    assert [event.kind for event in guard.events] == ["not finite"] * 2
    assert [event.what for event in guard.events] == ["loss", "grad_norm"]


def test_early_spikes():
    assert built()[2].step(1e9, G) == "step"  # nothing is known
    for early, expected in ((4.0, "skip"), (None, "step")):
        _, _, guard = built(early=early)
        calm(guard, 2)
        assert guard.step(5.0, G) == expected


def test_losses_of_any_sign():
    _, _, guard = built(log=False, watch="loss")
    rng = np.random.default_rng(3)
    for _ in range(60):
        assert guard.step(-2 + 0.1 * rng.normal(), G) == "step"
    assert guard.step(0.0, G) == "skip"
    assert guard.step(-10.0, G) == "step"
    with pytest.raises(ValueError, match="pass log=False"):
        built()[2].step(-1.0, G)


def test_a_loss_of_zero_is_a_good_one():
    _, _, guard = built()
    calm(guard, 40)
    assert guard.step(0.0, 0 * G) == "step"
    assert guard.step(1.0, G) == "step"


@pytest.mark.parametrize("loss", np.random.default_rng(0).uniform(0.1, 3.0, 20))
def test_equal_losses_are_no_spikes_however_small_the_rise(loss):
    """The logarithm and back may end below where it began."""
    guard = tune.SpikeGuard(flr.SGD(np.ones(2), lr=0.1), rise=0.0)
    assert all(guard.step(loss, np.full(2, loss)) == "step" for _ in range(70))
    assert guard.step(1.001 * loss, np.full(2, loss)) == "skip"


def test_a_slow_divergence_is_found():
    """Growth by a tenth of a deviation per step would hide in a mean and a standard deviation."""
    _, _, guard = built(watch="loss", max_skips=100)
    rng = np.random.default_rng(4)
    found = [guard.step(math.exp(0.1 * rng.normal() + 0.1 * max(0, k - 64)), G) for k in range(100)]
    assert "skip" in found[66:80]


# --- Oscillation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_the_chance_of_turning_points_is_the_share_of_all_orders(n):
    orders = list(itertools.permutations(range(n)))
    counts = np.array([turning_points(order) for order in orders])
    for order, count in list(zip(orders, counts, strict=True))[:: max(1, len(orders) // 50)]:
        assert chance_of_turns(order) == pytest.approx((counts >= count).mean(), abs=1e-12)
    assert turning_points([1.0, 1.0, 1.0]) == turning_points([1.0, 2.0, 2.0, 1.0]) == 0


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
def test_noise_oscillates_as_rarely_as_stated(draw):
    """20,000 blocks: for any distribution, the fraction of probabilities up to q is at most q, and near it."""
    blocks = getattr(np.random.default_rng(5), draw)(size=(20_000, BLOCK))
    chances = np.array([chance_of_turns(x) for x in blocks.tolist()])
    for q in (0.3, 0.05, 0.01):
        reached = chances[chances <= q].max()
        assert (chances <= q).mean() == pytest.approx(reached, abs=4 * math.sqrt(q / 20_000))


@pytest.mark.parametrize("size", [1, 2, 10])
def test_gradients_of_noise_oppose_each_other_as_rarely_as_stated(size):
    g = np.random.default_rng(6).normal(size=(20_000, BLOCK + 1, size))
    g /= np.linalg.norm(g, axis=2, keepdims=True)
    means = (g[:, 1:] * g[:, :-1]).sum(axis=2).mean(axis=1)
    for probability in (0.1, 0.01, 1e-4):
        assert (means < least_cosine(BLOCK, probability)).mean() <= probability


def test_losses_that_go_up_and_down():
    _, opt, guard = built("cut", watch="loss")
    rng = np.random.default_rng(7)
    for k in range(3 * BLOCK):
        guard.step(1 + 0.05 * (-1) ** k + 0.01 * rng.normal(), G)
    assert [(e.call, e.kind, e.what, e.actions) for e in guard.events] == [
        (BLOCK * (k + 1) - 1, "oscillation", "loss", ("cut",)) for k in range(3)
    ]
    assert opt.lr == 0.01 / 8
    assert guard.scale == 1 / 8


def test_a_rate_above_two_over_the_curvature():
    """On a quadratic gradients are opposite, while the loss just grows."""
    p = np.array([1.0, 1.0])
    opt = flr.SGD(p, lr=0.201)
    guard = tune.SpikeGuard(opt, "cut", watch=("loss", "cosine"))
    g = np.zeros(2)  # the same memory for each
    for _ in range(5 * BLOCK):
        g[:] = 10 * p[0], p[1]
        guard.step(5 * p[0] ** 2 + 0.5 * p[1] ** 2, g)
    assert (guard.events[0].kind, guard.events[0].what) == ("oscillation", "cosine")
    assert guard.events[0].value < -0.9
    assert opt.lr < 0.2
    assert np.abs(p).max() < 0.01


def test_without_oscillation_none_is_found():
    for options in ({"oscillation": None}, {"action": "skip"}):
        _, opt, guard = built(**{"action": "cut", **options})
        for k in range(2 * BLOCK):
            guard.step(1 + 0.05 * (-1) ** k, G)
        assert [e.actions for e in guard.events] == [()] * (2 if "oscillation" not in options else 0)
        assert opt.lr == 0.01


# --- What it does -----------------------------------------------------------------------------------------------------


def test_good_steps_are_the_optimizers():
    p, _, guard = built(("skip", "rollback", "cut"), every=7, watch=("loss", "grad_norm", "cosine"))
    q = np.array([1.0, 2.0, 3.0])
    plain = flr.SGD(q, lr=0.01, momentum=0.9)
    rng = np.random.default_rng(8)
    for g in rng.normal(1, 0.1, size=(50, 3)):
        assert guard.step(1.0, g) == "step"
        plain.step(g)
    assert p.tolist() == q.tolist()


def test_rollback_returns_to_a_snapshot_that_good_steps_followed():
    rates = S.Cosine(0.01, steps=500)
    p, opt, guard = built("rollback", lambda p: flr.Adam(p, lr=rates), every=10)
    at = {}
    rng = np.random.default_rng(9)
    for k in range(1, 36):
        calm(guard, 1, seed=k, grads=rng.normal(size=3))
        at[k] = p.tolist(), opt.state_dict(), guard.state_dict()["loss"], guard.state_dict()["grad_norm"]
    assert guard.step(math.nan, G) == "rollback"  # snapshots at 20, confirmed at 30, and at 30
    assert p.tolist() == at[20][0]
    assert [guard.state_dict()[what] for what in ("loss", "grad_norm")] == list(at[20][2:])
    assert frozen(p, opt, guard).startswith(json.dumps([at[20][0], at[20][1]], default=lambda x: x.tolist())[:-1])
    assert opt.steps == 20
    assert opt.lr == rates(20)
    assert guard.events[-1].actions == ("rollback",)
    calm(guard, 9, seed=1)
    assert guard.step(math.nan, G) == "rollback"
    assert p.tolist() == at[20][0]
    calm(guard, 19, seed=2)
    assert guard.step(math.nan, G) == "rollback"
    assert p.tolist() == at[20][0]
    calm(guard, 20, seed=2)
    moved = p.tolist()
    calm(guard, 1, seed=3)
    assert guard.state["rollbacks"] == 0
    calm(guard, 10, seed=4)
    assert guard.step(math.inf, G) == "rollback"
    assert p.tolist() == moved


def test_the_first_snapshot_is_of_the_beginning():
    p, opt, guard = built("rollback")
    calm(guard, 5)
    assert guard.step(math.nan, G) == "rollback"
    assert (p.tolist(), opt.steps) == ([1.0, 2.0, 3.0], 0)


def test_a_rollback_is_of_the_controllers_too_but_the_cuts_stay():
    inner = S.Plateau(0.1, factor=0.5, patience=0)
    _p, opt, guard = built(("rollback", "cut"), lambda p: flr.SGD(p, lr=inner), factor=0.1, every=3)
    calm(guard, 6)
    inner.observe(1.0)
    inner.observe(1.0)
    assert opt.lr == 0.05
    assert guard.step(math.nan, G) == "rollback"
    assert (inner.reductions, opt.lr) == (0, pytest.approx(0.01))
    assert guard.step(math.nan, G) == "rollback"
    assert opt.lr == pytest.approx(0.001)
    assert guard.scale == pytest.approx(0.01)


def test_a_rollback_does_not_undo_a_limit():
    """Another tool may have set it since the snapshot."""
    rate = S.Adjustable(0.1)
    guard = tune.SpikeGuard(flr.SGD(np.ones(2), lr=rate), ("rollback", "cut"))
    guard.step(1.0, np.ones(2))
    rate.observe(limit=0.02)
    assert guard.step(math.nan, np.ones(2)) == "rollback"
    assert (rate.scale, rate.limit) == (0.5, 0.02)


def test_rollbacks_before_forget_do_not_count():
    guard = tune.SpikeGuard(flr.SGD(np.ones(2), lr=0.1), "rollback", max_rollbacks=1)
    for _ in range(3):
        assert guard.step(math.nan, np.ones(2)) == "rollback"
        guard.forget()


@pytest.mark.parametrize("action", ["skip", "rollback"])
def test_arrays_that_are_added_to_the_optimizer(action):
    params = {"w": np.zeros(3)}
    opt = flr.SGD(params, lr=0.01, momentum=0.9)
    guard = tune.SpikeGuard(opt, action, watch=("loss", "grad_norm", "cosine"), every=5)
    for k in range(40):
        assert guard.step(1.0 + 0.001 * (k % 3), {"w": G}) == "step"
    opt.add({"v": np.zeros(2)})
    grads = {"w": G, "v": np.full(2, 0.01)}  # no spike of the norm
    for k in range(40):
        assert guard.step(1.0 + 0.001 * (k % 3), grads) == "step"
    assert guard.step(math.nan, grads) == action
    opt.add({"u": np.zeros(2)})
    grads["u"] = np.full(2, 0.01)
    before = frozen(params["w"], opt, guard)
    if action == "rollback":  # the snapshot does not have them
        with pytest.raises(
            ValueError, match=r"got none of \['u'\], which were added later: call the guard's forget\(\)"
        ):
            guard.step(math.nan, grads)
        assert frozen(params["w"], opt, guard) == before
        guard.forget()
    assert guard.step(math.nan, grads) == action


def test_a_saved_state_does_not_share_its_arrays():
    p = np.ones(2)
    opt = flr.SGD(p, lr=0.1, momentum=0.9)
    guard = tune.SpikeGuard(opt, "rollback")
    state = guard.state_dict()
    for x in (*state["snapshot"]["params"], state["snapshot"]["optimizer"]["state"]["momentum_buffer"]):
        x += 7.0
    opt.step(np.ones(2))
    assert guard.step(math.nan, np.ones(2)) == "rollback"
    assert (p.tolist(), opt.state["momentum_buffer"].tolist()) == ([1.0, 1.0], [0.0, 0.0])


def test_skips_first_and_a_rollback_when_they_do_not_help():
    _p, opt, guard = built(("rollback", "skip", "cut"), max_skips=3, every=5)
    calm(guard, 40)
    found = [guard.step(9.0, G) for _ in range(5)]
    assert found == ["skip"] * 3 + ["rollback", "skip"]
    assert opt.steps == 35
    assert [e.actions for e in guard.events] == [("skip",)] * 3 + [("rollback", "cut"), ("skip",)]
    assert opt.lr == 0.005


def test_the_rate_recovers():
    _, opt, guard = built("cut", recovery=10, factor=0.25)
    assert guard.step(math.nan, G) == guard.step(math.nan, G) == "skip"
    assert opt.lr == 0.01 / 16
    rates = []
    for k in range(30):
        calm(guard, 1, seed=k)
        rates.append(opt.lr)
    assert rates == [0.01 / 16] * 9 + [0.01 / 4] * 10 + [0.01] * 11
    assert [(e.call, e.value) for e in guard.events if e.kind == "recovery"] == [(11, 0.25), (21, 1.0)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "skip", "max_skips": 3}, r"`max_skips` \(3\) steps in a row were skipped.*has a loss nan"),
        ({"action": "cut", "max_skips": 3}, r"`max_skips` \(3\).*call forget\(\)"),
        ({"action": "rollback", "max_rollbacks": 3}, r"`max_rollbacks` \(3\) times in a row.*lower the rate"),
        ({"action": ("skip", "rollback"), "max_rollbacks": 0, "max_skips": 3}, r"`max_rollbacks` \(0\)"),
    ],
)
def test_it_gives_up(options, words):
    p, opt, guard = built(**options)
    calm(guard, 5)
    for _ in range(3):
        guard.step(math.nan, G)
    before = frozen(p, opt, guard)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=words):
            guard.step(math.nan, G)
    assert frozen(p, opt, guard) == before
    assert guard.step(1.0, G) == "step"


def test_forget():
    p, _opt, guard = built(("skip", "rollback"), max_skips=2, every=5)
    calm(guard, 40)
    assert guard.step(50.0, G) == "skip"
    here = p.tolist()
    guard.forget()
    assert guard.step(50.0, G) == "step"
    calm(guard, 3, level=50.0)
    assert [guard.step(math.nan, G) for _ in range(3)] == ["skip", "skip", "rollback"]
    assert p.tolist() == here


# --- Groups and rates -------------------------------------------------------------------------------------------------


def test_every_rate_of_its_own_is_cut_once():
    shared, mine = S.Constant(0.5), S.Adjustable(0.25)
    params = {x: np.ones(1) for x in "abcde"}
    opt = flr.SGD(params, lr=shared, groups=[
        {"params": "b", "lr": shared}, {"params": "c", "lr": 0.125}, {"params": "d", "momentum": 0.5},
        {"params": "e", "lr": mine},
    ])  # fmt: skip
    guard = tune.SpikeGuard(opt, "cut")
    assert opt.lrs == [0.5, 0.5, 0.125, 0.5, 0.25]
    assert opt.groups[0]["lr"] is opt.groups[1]["lr"]
    assert opt.groups[4]["lr"] is mine
    guard.step(math.nan, {x: np.ones(1) for x in "abcde"})
    assert opt.lrs == [0.25, 0.25, 0.0625, 0.25, 0.125]
    assert tune.SpikeGuard(opt, "cut").opt.groups[4]["lr"] is mine


def test_a_rate_that_somebody_sets_is_taken():
    _p, opt, guard = built(("rollback", "cut"), recovery=5)
    guard.step(math.nan, G)
    assert opt.lr == 0.005
    opt.lr = 0.1
    calm(guard, 6)
    assert opt.lr == 0.1  # there is no cut of it to take back
    guard.step(math.nan, G)
    assert opt.lr == 0.05
    calm(guard, 20)
    assert opt.lr == 0.1
    assert guard.scale == 1.0
    for _ in range(2):
        guard.step(math.nan, G)
    opt.lr = 0.1
    guard.step(math.nan, G)
    assert (opt.lr, guard.scale) == (0.05, 0.5)


def test_a_controller_that_came_since_stays():
    p, opt, guard = built(("rollback", "cut"))
    opt.lr = S.Hypergradient(0.1)
    for k in range(3):
        opt.groups[0]["lr"].observe(grads=G * (k + 1))
        guard.step(1.0, G)
    assert guard.step(math.nan, G) == "rollback"
    assert (p.tolist(), opt.steps, opt.lr) == ([1.0, 2.0, 3.0], 0, 0.5 * 0.1 * 1.02 * 1.02)


def test_an_optimizer_whose_rate_is_fixed():
    opt = flr.Rprop(np.ones(3), lr=0.1)
    with pytest.raises(ValueError, match=r"`action` must not contain 'cut'.*`lr` of Rprop cannot be changed"):
        tune.SpikeGuard(opt, ("skip", "cut"))
    assert tune.SpikeGuard(opt, ("skip", "rollback")).step(1.0, np.ones(3)) == "step"


def test_skip_and_rollback_leave_the_rates_as_they_are():
    for action in ("skip", "rollback", ("skip", "rollback")):
        assert built(action)[1].groups[0]["lr"] == 0.01


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.ones(3, np.float32), lambda: {"a": np.ones(2), "b": [np.ones((2, 2))]},
        lambda: flr.Flat({"a": np.ones(2), "b": np.ones(3)}), lambda: [np.ones(0), np.ones(1)],
    ],
)  # fmt: skip
def test_parameters_in_any_container(make):
    params, grads = make(), make()
    opt = flr.Adam(params, lr=0.1)
    guard = tune.SpikeGuard(opt, ("rollback", "cut"), watch=("loss", "grad_norm", "cosine"))
    assert guard.step(1.0, grads) == "step"
    assert guard.step(math.nan, grads) == "rollback"
    assert [x.tolist() for x in opt._parameters.arrays] == [
        x.tolist() for x in flr.Adam(make(), lr=1)._parameters.arrays
    ]
    again = tune.SpikeGuard(opt, ("rollback", "cut"), watch=("loss", "grad_norm", "cosine"))
    again.load_state_dict(guard.state_dict())
    assert again.step(1.0, grads) == guard.step(1.0, grads) == "step"


def test_leaves_without_a_gradient():
    params = {"a": np.ones(2), "b": np.ones(1)}
    guard = tune.SpikeGuard(flr.SGD(params, lr=0.1), watch=("loss", "grad_norm", "cosine"))
    for _ in range(3):
        assert guard.step(1.0, {"a": np.ones(2), "b": None}) == "step"
    assert params["b"] == 1.0


# --- All or nothing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g: g.step("1", G), "`loss` must be a number"), (lambda g: g.step(None, G), "`loss`"),
        (lambda g: g.step(np.ones(2), G), "`loss`"), (lambda g: g.step(-1.0, G), "`loss` must be >= 0"),
        (lambda g: g.step(1.0, np.ones(2)), "`grads` must be"), (lambda g: g.step(1.0, None), "`grads` must be"),
        (lambda g: g.step(1.0, G.astype("f4")), "`grads` must be"), (lambda g: g.step(1.0, {"a": G}), "`grads`"),
        (lambda g: g.step(math.nan, np.ones(2)), "`grads` must be"),
        (lambda g: g.step(1.0, G, inv_scale=0.0), "`inv_scale`"),
    ],
)  # fmt: skip
def test_bad_input_changes_nothing(call, words):
    p, opt, guard = built(("skip", "rollback", "cut"))
    calm(guard, 3)
    before = frozen(p, opt, guard)
    with pytest.raises((TypeError, ValueError), match=words):
        call(guard)
    assert frozen(p, opt, guard) == before


def test_an_exception_of_a_schedule_changes_nothing():
    def rate(n):
        if n == 3:
            raise ZeroDivisionError("mine")
        return 0.1

    p, _opt, guard = built(("rollback", "cut"), lambda p: flr.SGD(p, lr=rate))
    calm(guard, 3)
    before = p.tolist(), guard.state
    with pytest.raises(ZeroDivisionError, match="mine"):
        guard.step(1.0, G)
    assert (p.tolist(), guard.state) == before


def test_parameters_that_cannot_be_written_stop_a_rollback():
    for spoil in (lambda params: params["a"].setflags(write=False), lambda params: params.update(a=np.ones(3))):
        params = {"a": np.zeros(3)}
        opt = flr.SGD(params, lr=0.1, momentum=0.9)
        guard = tune.SpikeGuard(opt, "rollback")
        for _ in range(3):
            guard.step(1.0, {"a": G})
        before = json.dumps([opt.state_dict(), guard.state_dict()], default=lambda x: x.tolist())
        spoil(params)
        with pytest.raises(ValueError, match=r"params\['a'\]"):
            guard.step(math.nan, {"a": G})
        assert json.dumps([opt.state_dict(), guard.state_dict()], default=lambda x: x.tolist()) == before


@needs_faithful_traces
@pytest.mark.parametrize("case", ["step", "skip", "rollback", "cut", "snapshot", "load", "forget"])
def test_an_interrupt_leaves_parameters_optimizer_and_guard_together(case):
    """Old or new state. Only the guard's note of a step may be missing; no other mixture is possible."""
    action = {"skip": "skip", "cut": "cut"}.get(case, ("rollback", "cut"))
    seen = set()

    def ready():
        p, opt, guard = built(action, every=4)
        calm(guard, 7)
        return p, opt, guard

    saved = ready()[2].state_dict()
    saved = {**saved, "cuts": 2}

    def work(opt, guard):
        if case == "load":
            guard.load_state_dict(saved)
        elif case == "forget":
            guard.forget()
        else:
            guard.step(1.0 if case in ("step", "snapshot") else math.nan, G)

    def attempt(k):
        p, opt, guard = ready()
        if case == "step":
            guard._every = 100
        place = interrupted(lambda: work(opt, guard), k)
        numbers, mine, rates, known = json.loads(frozen(p, opt, guard))
        for state in (mine, known["candidate"] and known["candidate"]["optimizer"]):
            for entry in state["controllers"] if state else ():
                entry["state"].pop("n")  # of the update that it was asked for last, which may not have been made
        seen.add((json.dumps([numbers, mine, rates]), json.dumps(known)))
        assert guard.step(1.0, G) == "step"
        return place

    assert everywhere(attempt) > 10
    others, states = {x[0] for x in seen}, {x[1] for x in seen}
    assert len(states) == 2
    assert len(others) == (1 if case in ("skip", "load", "forget") else 2)
    assert len(seen) <= (3 if case in ("step", "snapshot") else 2)


# --- Saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
@pytest.mark.parametrize("action", ["skip", "cut", "rollback", ("skip", "rollback", "cut")])
def test_a_resumed_run_goes_on_bit_for_bit(action, form):
    rng = np.random.default_rng(10)
    losses, grads = np.exp(0.1 * rng.normal(size=120)), rng.normal(1, 0.1, size=(120, 3))
    losses[[50, 51, 90]], losses[[70]] = math.nan, 30.0
    options = {
        "every": 6,
        "recovery": 11,
        "watch": ("loss", "grad_norm", "cosine"),
        "max_skips": 1 + (action == "skip"),
    }
    options["max_skips"] = 5 if isinstance(action, str) else 1

    def run(guard, steps):
        return [guard.step(losses[k], grads[k]) for k in steps]

    whole, opt, guard = built(action, **options)
    expected = run(guard, range(120))
    p, first, one = built(action, **options)
    found = run(one, range(75))
    saved, ours, at = form(first.state_dict()), form(one.state_dict()), p.copy()
    q, second, two = built(action, **options)
    q[:] = at
    second.load_state_dict(saved)
    two.load_state_dict(ours)
    assert frozen(q, second, two) == frozen(p, first, one)
    found += run(two, range(75, 120))
    assert found == expected
    assert frozen(q, second, two) == frozen(whole, opt, guard)
    assert set(expected) >= {"step"}
    assert len(guard.events) >= 4


def test_a_state_without_arrays_is_json():
    _p, _, guard = built(("skip", "cut"))
    calm(guard, 40)
    guard.step(9.0, G)
    _, _, again = built(("skip", "cut"))
    again.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    assert again.state_dict() == guard.state_dict()
    assert again.events == guard.events


BAD = [
    lambda s: [], lambda s: {**s, "type": "x"}, lambda s: {**s, "format": 2}, lambda s: {**s, "more": 1},
    lambda s: {x: v for x, v in s.items() if x != "loss"}, lambda s: {**s, "calls": -1}, lambda s: {**s, "cuts": 1.5},
    lambda s: {**s, "loss": ["x"]}, lambda s: {**s, "loss": [1.0] * 65}, lambda s: {**s, "block": [1.0] * 32},
    lambda s: {**s, "loss": None}, lambda s: {**s, "last": [np.ones(2)]}, lambda s: {**s, "last": 3},
    lambda s: {**s, "snapshot": None}, lambda s: {**s, "snapshot": 3},
    lambda s: {**s, "snapshot": {**s["snapshot"], "params": [np.ones(2)]}},
    lambda s: {**s, "snapshot": {**s["snapshot"], "params": [np.ones(3, "f4")]}},
    lambda s: {**s, "snapshot": {**s["snapshot"], "optimizer": {}}},
    lambda s: {**s, "snapshot": {**s["snapshot"], "levels": {}}},
    lambda s: {**s, "candidate": {**s["snapshot"], "levels": {"loss": "x", "grad_norm": []}}},
    lambda s: {**s, "events": [{}]}, lambda s: {**s, "events": 3},
]  # fmt: skip


@pytest.mark.parametrize("spoil", BAD)
def test_a_bad_state_changes_nothing(spoil):
    p, opt, guard = built("rollback", every=3)
    calm(guard, 10)
    guard.step(math.nan, G)
    calm(guard, 5)
    before = frozen(p, opt, guard)
    with pytest.raises((TypeError, ValueError), match="state"):
        guard.load_state_dict(spoil(guard.state_dict()))
    assert frozen(p, opt, guard) == before


def test_a_state_with_a_snapshot_is_for_a_guard_that_rolls_back():
    with pytest.raises(ValueError, match="no snapshot, because it never rolls back"):
        built("skip")[2].load_state_dict(built("rollback")[2].state_dict())


def test_a_copy_guards_the_copy():
    p, opt, guard = built(("rollback", "cut"))
    calm(guard, 3)
    q, twin, other = copy.deepcopy((p, opt, guard))
    assert other.opt is twin
    assert other.step(math.nan, G) == "rollback"
    assert (q.tolist(), twin.lr, opt.lr, guard.events) == ([1.0, 2.0, 3.0], 0.005, 0.01, [])
    assert p.tolist() != q.tolist()


# --- Arguments, picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"action": "x"}, "`action`"), ({"action": ()}, "`action`"), ({"action": ("skip", "skip")}, "`action`"),
        ({"action": None}, "`action`"), ({"action": ("skip", 3)}, "`action`"), ({"threshold": 0}, "`threshold`"),
        ({"rise": -1}, "`rise`"), ({"window": 31}, "`window`"), ({"log": 1}, "`log`"), ({"watch": "x"}, "`watch`"),
        ({"oscillation": 1e-7}, "`oscillation`"), ({"oscillation": 2}, "`oscillation`"), ({"early": 1.0}, "`early`"),
        ({"every": 0}, "`every`"), ({"factor": 1.0}, "`factor`"), ({"recovery": 0}, "`recovery`"),
        ({"max_skips": 0}, "`max_skips`"), ({"max_rollbacks": -1}, "`max_rollbacks`"),
    ],
)  # fmt: skip
def test_bad_arguments_leave_the_rate_as_it_is(options, words):
    opt = flr.SGD(np.ones(3), lr=0.1)
    with pytest.raises((TypeError, ValueError), match=words):
        tune.SpikeGuard(opt, **{"action": "cut", **options})
    assert opt.groups[0]["lr"] == 0.1
    with pytest.raises(TypeError, match="`opt` must be an optimizer"):
        tune.SpikeGuard(np.ones(3))


def test_plot():
    from matplotlib.figure import Figure

    from .pictures import assert_fits

    _, _, guard = built(("skip", "rollback", "cut"), max_skips=2, recovery=30)
    guard.plot(Figure().add_subplot())
    calm(guard, 40)
    for loss in (9.0, math.nan, 50.0):
        guard.step(loss, G)
    calm(guard, 60)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    ax = guard.plot(figure.add_subplot(), lw=3)
    assert ax.lines[0].get_linewidth() == 3
    assert {
        "loss",
        "bound for spikes",
        "step skipped (2)",
        "rollback (1)",
        "rate cut (1)",
        "cut undone (1)",
    } == {text.get_text() for text in ax.get_legend().get_texts()}
    assert "call of step (from 0)" in assert_fits(figure)
    with pytest.raises(TypeError, match="`ax`"):
        guard.plot(3)


# --- Something real ---------------------------------------------------------------------------------------------------


def trained(guarded, lr, cls=flr.SGD, spoiled=(), steps=400, **options):
    """Accuracy on unseen digits; batches at the given steps have pixels a thousand times too bright."""
    from pyfastlr.demo import digits, evaluate, initial, loss_and_gradient, mini_batches

    rng = np.random.default_rng(0)
    images, test = digits(0)
    p = flr.Flat(initial(32, rng))
    grads, opt = p.like(), cls(p, lr=lr)
    guard = tune.SpikeGuard(opt, **options) if guarded else None
    batches = mini_batches(images, 64, rng)
    with np.errstate(all="ignore"):
        for k in range(steps):
            x, y = next(batches)
            loss = loss_and_gradient(p, grads, x * 1000 if k in spoiled else x, y)
            guard.step(loss, grads) if guard else opt.step(grads)
    return evaluate(p, test)[1], guard


def test_digits_at_a_rate_that_diverges():
    assert trained(False, 0.3, flr.Adam)[0] < 0.7
    accuracy, guard = trained(True, 0.3, flr.Adam, action=("rollback", "cut"))
    assert accuracy > 0.9
    assert guard.scale < 1


@pytest.mark.parametrize("action", ["skip", "rollback", ("skip", "rollback")])
def test_digits_with_spoiled_batches(action):
    spoiled = (100, 200, 300)
    assert trained(False, 0.3, spoiled=spoiled)[0] < 0.5
    accuracy, guard = trained(True, 0.3, spoiled=spoiled, action=action, every=20)
    assert accuracy > 0.93
    assert [event.call for event in guard.events] == list(spoiled)
