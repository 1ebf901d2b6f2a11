"""`tune.StabilityMonitor`: when it measures, what it does, and real training at the edge of stability."""

import pickle
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from pictures import assert_fits
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.demo import digits
from pyfastlr.tune.stability.drawing import crossings

ROOT = Path(__file__).resolve().parents[1]
H = np.array([1.0, 10.0, 100.0])


def quadratic(p, batch):
    """Loss and gradient; the batch is a factor of the curvature, 1 if it is None."""
    h = H if batch is None else batch * H
    return 0.5 * float(h @ (p * p)), h * p


def monitor(**arguments):
    return tune.StabilityMonitor(quadratic, **{"every": 1, "tol": 1e-6, **arguments})


def test_later_measurements_take_the_step_that_the_first_found():
    """Parameters with an offset, in float32: the step that belongs to their size is too long."""
    p = (1e4 + np.pi + 0.1 * np.random.default_rng(0).standard_normal(30)).astype(np.float32)
    opt = flr.SGD(p, lr=0.1)
    m = tune.StabilityMonitor(lambda p, batch: (0.0, -np.sin(p - np.float32(1e4))), every=1)
    for _ in range(3):
        assert m.check(opt) == pytest.approx(1.0, rel=0.1)


# --- When it measures -------------------------------------------------------------------------------------------------


def test_it_measures_at_the_first_call_and_each_every_th():
    p = np.ones(3)
    opt, m = flr.SGD(p, lr=1e-3), monitor(every=4)
    found = []
    for _ in range(10):
        found.append(m.check(opt))
        opt.step(quadratic(p, None)[1])
    assert [x.update for x in m.history] == [0, 4, 8]
    assert found[3] is found[0] is m.history[0].sharpness
    assert found[-1] is m.latest is m.history[-1].sharpness


def test_what_a_measurement_costs():
    """The first measurement takes four gradients more, to check that they repeat and that the step fits."""
    rng = np.random.default_rng(0)
    h = np.concatenate([rng.uniform(0, 1, 500), [10.0]])
    p = np.ones(501)
    opt, m = flr.SGD(p, lr=1e-3), tune.StabilityMonitor(lambda p, batch: (0.0, h * p), every=1)
    for _ in range(5):
        m.check(opt)
    assert [x.sharpness.evaluations for x in m.history[1:]] == [10] * 4
    assert m.history[0].sharpness.evaluations == 2 * m.history[0].sharpness.iterations + 4


def test_another_direction_may_overtake():
    """The first stays at 10, the second rises from 5 to 20: a start at the vector of the first must not hide it."""
    rng = np.random.default_rng(0)
    h = np.concatenate([rng.uniform(0, 1, 2000), [10.0, 5.0]])
    p = np.ones(h.size)
    opt, m = flr.SGD(p, lr=1e-3), tune.StabilityMonitor(lambda p, batch: (0.0, h * p), every=1)
    for k in range(31):
        h[-1] = 5 + 0.5 * k
        L = m.check(opt)
        assert abs(L - max(10.0, h[-1])) <= 0.06 * max(10.0, h[-1])
    assert float(L) == pytest.approx(20.0, rel=0.01)


def in_float32(p, batch):
    return 0.0, (H * p).astype(np.float32)


def test_a_start_at_the_exact_vector_hides_nothing():
    """Without a random part it would be the only vector that the next measurement sees."""
    h = np.concatenate([np.random.default_rng(0).uniform(0, 1, 2000), [10.0, 5.0]])
    p = np.ones(h.size)
    m = tune.StabilityMonitor(lambda p, batch: (0.0, h * p), every=1, hvp=lambda p, batch, v: h * v, tol=1e-12)
    opt = flr.SGD(p, lr=1e-3)
    assert float(m.check(opt)) == pytest.approx(10.0)
    h[-1], m.tol = 20.0, 0.1
    assert float(m.check(opt)) == pytest.approx(20.0, rel=0.05)


def test_nothing_is_changed_by_watching():
    runs = []
    for watch in (False, True):
        rng = np.random.default_rng(0)
        p = rng.standard_normal(3).astype(np.float32)
        opt = flr.Adam(p, lr=1e-2)
        m = tune.StabilityMonitor(in_float32, every=1, action="record")
        for _ in range(5):
            if watch:
                m.check(opt)
            opt.step(in_float32(p, None)[1])
        runs.append(p.tobytes())
    assert runs[0] == runs[1]


# --- What it does -----------------------------------------------------------------------------------------------------


def test_it_warns_once_until_the_rate_was_below():
    p = np.ones(3)
    opt, m = flr.SGD(p, lr=1e-3), monitor()
    told = []
    for lr in (0.01, 0.03, 0.03, 0.019, 0.021, 0.025):
        opt.lr = lr
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            m.check(opt)
        told.append(len(caught))
    assert told == [0, 1, 0, 0, 1, 0]
    assert crossings(m.history) == [1, 4]


def test_the_warning_names_the_rate_and_the_bound_and_is_of_the_callers_line():
    opt = flr.SGD(np.ones(3), lr=0.03)
    with pytest.warns(RuntimeWarning, match=r"rate 0.03 is above 0.02\b.*SGD \(torch\).*sharpness 100\b") as caught:
        monitor().check(opt)
    assert caught[0].filename == __file__


def test_it_raises():
    m = monitor(action="raise")
    opt = flr.SGD(np.ones(3), lr=0.019)
    m.check(opt)
    opt.lr = 0.021
    with pytest.raises(FloatingPointError, match=r"above 0\.02"):
        m.check(opt)
    assert len(m.history) == 2


def test_it_caps_and_lets_go():
    p = np.ones(3)
    opt, m = flr.SGD(p, lr=S.Linear(0.1, 0.0, steps=100)), monitor(action="cap", margin=0.5)
    m.check(opt)
    assert isinstance(opt.groups[0]["lr"], S.Adjustable)
    assert opt.lr == pytest.approx(0.5 * 0.02)
    first = opt.groups[0]["lr"]
    m.check(opt, 0.1)  # a tenth of the curvature
    assert opt.groups[0]["lr"] is first
    assert opt.lr == pytest.approx(0.1)
    m.check(opt, -1.0)  # nothing curves upwards
    assert first.limit is None
    m.check(opt)
    for _ in range(95):
        opt.step(np.zeros(3))
    assert opt.lr == pytest.approx(0.1 * 5 / 100)  # below the limit the schedule goes on


def test_a_limit_of_the_user_stays_below_the_cap():
    opt, m = flr.SGD(np.ones(3), lr=S.Adjustable(0.1, limit=0.004)), monitor(action="cap")
    for curvature in (1.0, 0.1, -1.0):
        m.check(opt, curvature)
        assert opt.lr == 0.004
    m.check(opt, 100.0)
    assert opt.lr == pytest.approx(0.9 * 0.0002)
    m.check(opt, 1.0)
    assert opt.lr == 0.004


def test_a_limit_of_the_user_is_part_of_the_groups_ratio():
    params = {"a": np.ones(2), "b": np.ones(2)}
    opt = flr.SGD(params, lr=0.1, groups=[{"params": "b", "lr": S.Adjustable(3.0, limit=0.2)}])
    m = tune.StabilityMonitor(lambda p, batch: (0.0, {k: 4 * x for k, x in p.items()}), every=1, action="cap", margin=1)
    for _ in range(2):
        assert m.check(opt).bound == pytest.approx(0.25)
        assert opt.lrs == pytest.approx([0.1, 0.2])


def test_a_cap_leaves_scales_in_the_groups_ratio():
    params = {"a": np.ones(2), "b": np.ones(2)}
    groups = [{"params": "b", "lr": S.Adjustable(4.0, scale=0.5)}]
    opt = flr.SGD(params, lr=S.Adjustable(8.0, scale=0.125), groups=groups)
    m = tune.StabilityMonitor(lambda p, batch: (0.0, {k: 4 * x for k, x in p.items()}), every=1, action="cap", margin=1)
    for _ in range(2):
        assert m.check(opt).bound == pytest.approx(0.25)
        assert opt.lrs == pytest.approx([0.25, 0.5])


def test_a_capped_optimizer_is_resumed():
    opt = flr.SGD(np.ones(3), lr=0.1)
    monitor(action="cap").check(opt)
    twin, m = flr.SGD(np.ones(3), lr=S.Adjustable(0.1)), monitor(action="cap")
    twin.load_state_dict(opt.state_dict())
    assert twin.lr == opt.lr < 0.1
    m.check(twin, 0.1)
    assert twin.lr == 0.1


def test_a_capped_run_converges_where_one_that_is_not_diverges():
    ends = {}
    for action in ("record", "cap"):
        p = np.ones(3)
        opt, m = flr.SGD(p, lr=0.05, momentum=0.5), monitor(action=action, every=10)
        for _ in range(60):
            m.check(opt)
            opt.step(quadratic(p, None)[1])
        ends[action] = np.abs(p).max()
    assert ends["record"] > 1e3
    assert ends["cap"] < 0.5


def test_cap_keeps_the_ratio_of_groups_and_follows_it():
    params = {"a": np.ones(2), "b": np.ones(2), "c": np.ones(2)}
    groups = [{"params": "b", "lr": 2.0}, {"params": "c", "weight_decay": 0.0}]
    opt = flr.SGD(params, lr=1.0, groups=groups)
    m = tune.StabilityMonitor(lambda p, batch: (0.0, {k: 4 * x for k, x in p.items()}), every=1, action="cap", margin=1)
    for _ in range(3):  # the second time the rates are the capped ones: the bound must not change
        L = m.check(opt)
        assert L.bound == pytest.approx(0.25)
        assert opt.lrs == pytest.approx([0.25, 0.5, 0.25])


def test_the_ratio_of_groups_is_that_of_their_schedules_not_of_capped_rates():
    params = {"a": np.ones(2), "b": np.ones(2)}
    base = S.Piecewise([1], [1.0, 0.5])
    opt = flr.SGD(params, lr=base, groups=[{"params": "b", "lr": 1.0}])
    m = tune.StabilityMonitor(lambda p, batch: (0.0, {k: 8 * x for k, x in p.items()}), every=1, action="cap", margin=1)
    m.check(opt)
    assert opt.lrs == pytest.approx([0.25, 0.25])
    opt.step({name: np.zeros(2) for name in params})
    assert m.check(opt).bound == pytest.approx(0.125)
    assert opt.lrs == pytest.approx([0.125, 0.25])


def test_a_cap_is_saved_with_the_optimizer():
    opt = flr.SGD(np.ones(3), lr=1.0)
    monitor(action="cap").check(opt)
    (saved,) = opt.state_dict()["controllers"]
    assert saved["state"]["limit"] == pytest.approx(0.9 * 0.02)


def test_what_has_no_bound_is_told_once():
    p = np.ones(3)
    opt, m = flr.Lion(p, lr=1e-3), monitor()
    m.check(opt)
    opt.step(quadratic(p, None)[1])
    with pytest.warns(RuntimeWarning, match="no bound.*sign"):
        assert m.check(opt).bound is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m.check(opt)
        monitor(action="record").check(opt)


def test_before_the_first_update_of_adam_nothing_is_told():
    p = np.ones(3)
    opt, m = flr.Adam(p, lr=1e-3), monitor()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert m.check(opt).bound is None
        opt.step(quadratic(p, None)[1])
        assert m.check(opt).bound > 0


def test_adam_is_measured_as_soon_as_it_has_denominators():
    p = np.ones(3)
    opt, m = flr.Adam(p, lr=1e-3), monitor(every=5)
    for _ in range(8):
        m.check(opt)
        opt.step(quadratic(p, None)[1])
    assert [x.update for x in m.history] == [0, 1, 5]


def test_nan_is_an_error_that_says_where():
    p = np.ones(3)
    opt = flr.SGD(p, lr=1e-3)
    p[1] = np.nan
    with pytest.raises(FloatingPointError, match="finite"):
        monitor().check(opt)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"every": 0}, ValueError, "`every`"),
        ({"action": "stop"}, ValueError, "`action`"),
        ({"margin": 1.5}, ValueError, "`margin`"),
        ({"iterations": 0}, ValueError, "`iterations`"),
        ({"tol": -1.0}, ValueError, "`tol`"),
        ({"hvp": 1}, TypeError, "`hvp`"),
        ({"seed": None}, TypeError, "`seed`"),
    ],
)
def test_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        tune.StabilityMonitor(quadratic, **arguments)
    with pytest.raises(TypeError, match="`loss_and_grad`"):
        tune.StabilityMonitor(None)
    with pytest.raises(TypeError, match="`opt`"):
        monitor().check("opt")


def test_a_monitor_can_be_pickled():
    p = np.ones(3)
    opt, m = flr.SGD(p, lr=1e-3), monitor()
    m.check(opt)
    other = pickle.loads(pickle.dumps(m))
    assert other.history[0].sharpness == m.history[0].sharpness
    assert other.check(opt) == m.check(opt)
    assert repr(other) == "StabilityMonitor(every=1, action='warn', measurements=2)"


# --- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 30])
@pytest.mark.parametrize("optimizer", [flr.SGD, flr.Adam, flr.Lion])
def test_the_picture(optimizer, steps):
    p = np.ones(3)
    opt, m = optimizer(p, lr=S.Linear(0.0, 0.03, steps=30)), monitor(action="record")
    with pytest.raises(ValueError, match="nothing to plot"):
        m.plot()
    for _ in range(steps):
        m.check(opt)
        opt.step(quadratic(p, None)[1])
    ax = m.plot()
    texts = assert_fits(ax.figure)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("update", "learning rate", "log")
    low, high = ax.get_ylim()
    for line in ax.lines:
        y = np.asarray(line.get_ydata(), float)
        assert np.all(np.isnan(y) | ((y > low) & (y < high)))
    if optimizer is flr.SGD and steps > 1:
        assert {"learning rate", "bound for SGD (torch)", "crosses the bound", "unstable"} <= set(texts)
        (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
        assert list(cross.get_xdata()) == [20 + 1]  # 0.03 n/30 > 0.02


# --- Training at the edge of stability --------------------------------------------------------------------------------


def small_network():
    """tanh network with squared loss on 150 digits: its sharpness rises until the rate stops it."""
    (x, y), _ = digits()
    x, y = x[:150].astype(np.float64) * 2 - 0.6, np.eye(10)[y[:150]]
    rng = np.random.default_rng(1)
    params = {"w1": 0.1 * rng.standard_normal((64, 12)), "b1": np.zeros(12), "w2": 0.2 * rng.standard_normal((12, 10))}

    def loss_and_grad(p, batch):
        h = np.tanh(x @ p["w1"] + p["b1"])
        error = (h @ p["w2"] - y) / len(y)
        dz = error @ p["w2"].T * (1 - h * h)
        return float((error**2).sum() * len(y) / 2), {"w1": x.T @ dz, "b1": dz.sum(0), "w2": h.T @ error}

    return loss_and_grad, params


@pytest.mark.parametrize(
    ("optimizer", "lr", "arguments", "steps"),
    [(flr.SGD, 0.2, {}, 1500), (flr.Adam, 0.03, {"betas": (0.9, 0.99)}, 1000), (flr.RMSProp, 1e-3, {}, 1000)],
)
def test_full_batch_training_hovers_at_the_bound(optimizer, lr, arguments, steps):
    """Cohen et al. 2021 and 2022: 2/lr for gradient descent, about 38/lr of the preconditioned sharpness for Adam."""
    loss_and_grad, params = small_network()
    opt = optimizer(params, lr=lr, **arguments)
    m = tune.StabilityMonitor(loss_and_grad, every=50, action="record")
    for _ in range(steps):
        m.check(opt)
        opt.step(loss_and_grad(params, None)[1])
    last = [x.sharpness for x in m.history[len(m.history) // 2 :]]
    assert np.mean([L.bound / lr for L in last]) == pytest.approx(1.0, abs=0.1)
    if optimizer is flr.Adam:
        assert np.mean(last) * lr == pytest.approx(38, rel=0.1)


def test_the_pictures_of_the_page():
    figures = runpy.run_path(str(ROOT / "scripts" / "stability_pictures.py"))["draw"](100)
    assert sorted(f"{name}.png" for name in figures) == sorted(x.name for x in (ROOT / "docs").glob("stability_*.png"))
    for figure in figures.values():
        assert_fits(figure)
