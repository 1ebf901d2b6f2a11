"""Tools of pyfastlr.tune over optimizers with options: what they restore, zero, skip and record."""

import math
import pickle

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from step_options import moment

ALL = {"ema_decay": 0.5, "accumulate": 3, "clip_norm": 1.0, "clip_value": 0.5}


def made(calls=0, **options):
    """An optimizer over two arrays, after some calls, and its arrays of `copy_to`."""
    params = {"a": np.full(3, 2.0), "b": np.full(2, 2.0)}
    copies = {"a": np.zeros(3), "b": np.zeros(2)}
    opt = flr.Adam(params, 0.125, copy_to=copies, **options)
    for k in range(calls):
        opt.step(gradient(opt, k))
    return opt, copies


def gradient(opt, seed, factor=1.0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(0.5, 1.0, x.shape) * factor for name, x in opt.params.items()}


def everything(opt):
    return moment(opt), pickle.dumps(opt.state_dict())


# --- SpikeGuard -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [0, 4, 6])
def test_a_rollback_restores_what_options_have(calls):
    """Also in the middle of an update, and where there was no average yet."""
    opt, copies = made(calls, loss_scale=flr.LossScale(4.0, interval=1), zero_grad=True, **ALL)
    guard = tune.SpikeGuard(opt, "rollback")
    state, p = pickle.dumps(opt.state_dict()), {name: x.copy() for name, x in opt.params.items()}
    for k in range(7):
        assert guard.step(1.0, gradient(opt, k)) == "step"
    assert opt.loss_scale.scale > 4.0
    assert hasattr(opt, "ema")
    g = gradient(opt, 8)
    assert guard.step(math.nan, g) == "rollback"
    assert pickle.dumps(opt.state_dict()) == state
    assert hasattr(opt, "ema") == (calls >= 3)
    for name, x in opt.params.items():
        assert x.tobytes() == p[name].tobytes() == copies[name].tobytes()
        assert not g[name].any()
    twin, _ = made(calls, loss_scale=flr.LossScale(4.0, interval=1), **ALL)
    for k in range(5):
        guard.step(1.0, gradient(opt, k))
        twin.step(gradient(twin, k))
    assert everything(opt)[1] == everything(twin)[1]
    assert opt.params["a"].tobytes() == twin.params["a"].tobytes()


def test_a_rollback_checks_the_copies_first():
    opt, copies = made(3)
    guard = tune.SpikeGuard(opt, "rollback")
    guard.step(1.0, gradient(opt, 0))
    copies["b"].resize(100_000, refcheck=False)
    before = opt.params["a"].copy(), opt.steps
    with pytest.raises(ValueError, match=r"`copy_to\['b'\]` must stay as it was"):
        guard.step(math.nan, gradient(opt, 1))
    assert (opt.params["a"].tolist(), opt.steps) == (before[0].tolist(), before[1])


def test_no_rollback_while_the_average_is_swapped_in():
    opt, _ = made(6, **ALL)
    guard = tune.SpikeGuard(opt, ("rollback", "cut"))
    guard.step(1.0, gradient(opt, 0))
    with opt.averaged():
        before = {name: x.copy() for name, x in opt.params.items()}, opt.lr, guard.state_dict()["calls"]
        with pytest.raises(RuntimeError, match="swapped in"):
            guard.step(math.nan, gradient(opt, 1))
        assert all((opt.params[name] == x).all() for name, x in before[0].items())
        assert (opt.lr, guard.state_dict()["calls"]) == before[1:]


@pytest.mark.parametrize("action", ["skip", "rollback", ("skip", "cut")])
def test_gradients_are_zeroed_whatever_the_guard_does(action):
    """Where users add into them, they would stay NaN for ever."""
    opt, _ = made(zero_grad=True)
    guard = tune.SpikeGuard(opt, action)
    for k, (loss, bad) in enumerate([(1.0, 0.0), (math.nan, 0.0), (1.0, math.nan), (1.0, 0.0)]):
        g = {"a": np.full(3, 1.0 + bad), "b": None if k == 1 else np.ones(2)}
        guard.step(loss, g)
        assert not any(x.any() for x in g.values() if x is not None)
    g["a"].flags.writeable = False
    with pytest.raises(ValueError, match=r"`grads\['a'\]` must be writeable with zero_grad=True"):
        guard.step(math.nan, g)
    opt, _ = made()
    g = {"a": np.full(3, math.nan), "b": np.ones(2)}
    tune.SpikeGuard(opt, "skip").step(1.0, g)
    assert np.isnan(g["a"]).all()
    assert (g["b"] == 1).all()


def test_cosines_are_those_of_gradients_that_are_zeroed_since():
    found = []
    for zero_grad in (False, True):
        opt, _ = made(zero_grad=zero_grad)
        guard = tune.SpikeGuard(opt, "skip", watch=("loss", "cosine"))
        for k in range(20):
            guard.step(1.0, gradient(opt, k, (-1.0) ** k))
        found.append((guard.state["cosines"], [x.tolist() for x in guard.state["last"]]))
    assert found[0] == found[1]
    assert len(found[0][0]) == 19
    assert max(found[0][0]) < 0


def test_a_loss_scale_finds_its_scale_beside_a_guard():
    """A gradient that overflows is no spike of the run, however often it comes. The loss is watched as ever."""
    opt, _ = made(loss_scale=flr.LossScale(2.0**40, interval=1000))
    guard = tune.SpikeGuard(opt, ("skip", "rollback"), max_skips=3)
    for k in range(30):
        g = gradient(opt, k, opt.loss_scale.scale)
        if opt.loss_scale.scale > 2.0**16:
            g["a"][0] = math.inf
        assert guard.step(1.0, g) == ("skip" if k < 24 else "step")
    assert (opt.loss_scale.scale, opt.steps, guard.events) == (2.0**16, 6, [])
    for bad in (math.nan, 1e9):
        g["a"][0] = math.inf
        assert guard.step(bad, g) == "skip"
    assert [event.what for event in guard.events] == ["loss", "loss"]
    assert opt.loss_scale.scale == 2.0**16
    huge = {"a": np.full(3, 1e200), "b": np.ones(2)}  # finite, but its square is not: a spike
    assert guard.step(1.0, huge) == "skip"
    assert guard.events[-1].what == "grad_norm"


def test_norms_that_a_guard_compares_are_unscaled():
    """A scale that grows is no spike."""
    opt, _ = made(loss_scale=flr.LossScale(2.0, growth=2.0**20, interval=20))
    twin, _ = made()
    guards = [tune.SpikeGuard(x, "skip", oscillation=None) for x in (opt, twin)]
    for k in range(70):
        assert guards[0].step(1.0, gradient(opt, k, 4.0 * opt.loss_scale.scale), inv_scale=0.25) == "step"
        assert guards[1].step(1.0, gradient(twin, k)) == "step"
    assert guards[0].state["grad_norm"] == pytest.approx(guards[1].state["grad_norm"], rel=1e-12)
    assert opt.loss_scale.scale == 2.0**61


# --- Others -----------------------------------------------------------------------------------------------------------


def test_a_range_test_restores_what_options_have():
    opt, copies = made(4, loss_scale=flr.LossScale(4.0, interval=1), measure=("update_norm",), **ALL)
    before = everything(opt), repr(opt.stats), [x.tolist() for x in copies.values()]
    assert opt.stats.lr is not None
    seen = []

    def loss_and_grad(params, batch):
        seen.append([x.tolist() for x in copies.values()])
        return float(sum((x**2).sum() for x in params.values())), {name: 8.0 * x for name, x in params.items()}

    for repeats in (1, 2):
        tune.range_test(loss_and_grad, opt.params, lambda params: opt, [None] * 40, steps=20, repeats=repeats,
                        divergence=1e9)  # fmt: skip
        assert len(seen) == 20 * repeats
        assert seen[0] != seen[-1]
        assert (everything(opt), repr(opt.stats), [x.tolist() for x in copies.values()]) == before
        seen.clear()


def test_a_range_test_is_refused_while_the_average_is_swapped_in():
    opt, _ = made(6, **ALL)
    with opt.averaged(), pytest.raises(RuntimeError, match="swapped in"):
        tune.range_test(lambda p, batch: (1.0, p), opt.params, lambda params: opt, [None] * 5)
    assert opt.steps == 2


def test_a_monitor_measures_and_changes_nothing():
    opt, copies = made(4, loss_scale=flr.LossScale(4.0), zero_grad=True, **ALL)
    before = moment(opt), repr(opt.stats), [x.tolist() for x in copies.values()]

    def quadratic(p, batch):
        return 0.0, {name: 3.0 * x for name, x in p.items()}

    found = tune.StabilityMonitor(quadratic, every=1, action="cap").check(opt)
    assert (moment(opt), repr(opt.stats), [x.tolist() for x in copies.values()]) == before
    plain = flr.Adam({name: x.copy() for name, x in opt.params.items()}, 0.125)
    plain.load_state_dict(
        {**opt.state_dict(), "controllers": [], "average": None, "accumulated": None, "loss_scale": None},
        hyperparameters=False,
    )
    want = tune.StabilityMonitor(quadratic, every=1, action="cap").check(plain)
    assert (float(found), found.bound) == (float(want), want.bound)
    with opt.averaged():  # the curvature is the same everywhere
        assert tune.sharpness(quadratic, opt.params) == pytest.approx(3.0, rel=1e-2)


def test_a_recorder_has_the_norms_of_each_update():
    opt, _ = made(clip_norm=0.5, measure=("update_norm", "param_norm"), nonfinite="skip")
    recorder = tune.Recorder().watch(opt)
    wants = []
    for k in range(4):
        g = gradient(opt, k)
        if k == 2:
            g["a"][:] = math.nan
        opt.step(g)
        recorder.record(loss=1.0)
        wants.append([opt.stats.update_norm, opt.stats.param_norm])
    rows = list(recorder)
    assert wants[2] == [None, None]
    for k, step in ((0, 0), (1, 1), (3, 2)):
        (row,) = [x for x in rows if x["step"] == step and not math.isnan(x["grad_norm"])][-1:]
        assert [row["update_norm"], row["param_norm"]] == wants[k]
        assert row["grad_norm"] > 0.5


def test_a_controller_sees_updates_only():
    """It is asked once per update, restored by a rollback, and its options are as any schedule's."""
    opt, _ = made(accumulate=2)
    opt.clip_norm = S.Plateau(1.0, factor=0.5, patience=0)
    guard = tune.SpikeGuard(opt, "rollback")
    start = opt.state_dict()["controllers"]
    for k in range(4):
        guard.step(1.0, gradient(opt, k))
        opt.groups[0]["clip_norm"].observe(loss=1.0)
    assert opt.clip_norm < 1.0
    assert guard.step(math.nan, gradient(opt, 9)) == "rollback"
    assert opt.state_dict()["controllers"] == start
    assert opt.clip_norm == 1.0


# --- States of earlier versions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_state_of_an_earlier_version_has_no_options(version):
    """Average and accumulated gradient start anew, and the loss scale stays."""
    opt, _ = made(5, loss_scale=flr.LossScale(4.0, interval=1), **ALL)
    plain, _ = made(2)
    state = {
        name: x for name, x in plain.state_dict().items() if name not in ("used_lr", "hyperparameters", "maximize")
    }
    if version < 3:
        state = {name: x for name, x in state.items() if name not in ("average", "accumulated", "loss_scale")}
    if version < 2:
        state = {name: x for name, x in state.items() if name != "controllers"}
    scale = opt.loss_scale.scale
    opt.load_state_dict({**state, "format": version})
    assert (opt.steps, opt.loss_scale.scale, hasattr(opt, "ema")) == (2, scale, False)
    assert opt.state_dict()["accumulated"] is None
    for k in range(3):
        opt.step(gradient(opt, k))
    assert opt.steps == 3
    assert opt.ema["a"].tolist() == opt.params["a"].tolist()
    wrong = {**state, "format": version, "unknown": None}
    with pytest.raises(ValueError, match=r"unknown keys \['unknown'\]"):
        opt.load_state_dict(wrong)
