"""Steps for graphs: schedules, folds and counts on the device, in the emulator, beside the host's."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from vectors import KERNELS  # noqa: E402

SCHEDULES = [
    S.Constant(0.1), S.TimeDecay(0.1, 0.01), S.InverseTime(0.1, 0.1), S.StepDecay(0.1, 0.5, 3), S.InverseSqrt(0.1, 4),
    S.MultiStep(0.1, [3, 5]), S.Piecewise([2, 4], [0.3, 0.2, 0.1]), S.Exponential(0.1, 0.5, steps=3),
    S.Exponential(0.1, decay=0.2), S.Linear(0.1, 0.0, 6), S.Polynomial(0.1, 6, power=2.5), S.Cosine(0.1, 6),
    S.CosineRestarts(0.1, 3, mult=2), S.Cyclic(0.01, 0.1, up=2), S.OneCycle(0.1, 7), S.WSD(0.1, 2, 2, 3),
    0.5 * S.Cosine(0.1, 6).warmup(2).clip(0.01, 0.1) + S.Linear(0.1, 0.0, 5).every(2),
    S.Linear(0.1, 0.2, 3).then(S.Constant(0.1).delay(2), at=4), S.Cosine(0.1, 6).advance(2),
    S.InverseTime(0.1, 0.1, power=0.7), S.Noam(16, 4), S.Exponential(0.1, 0.5, 2.4, staircase=True),
    S.Cosine(0.1, 6.5, k_decay=1.5), S.Polynomial(0.1, 6, 0.01, 2.0, k_decay=1.5), S.Tanh(0.1, 6), S.REX(0.1, 6),
    S.CosineRestarts(0.1, 7 / 3, decay=1.1), *(S.Constant(0.1).warmup(6, 0.01, x) for x in ("log", "cosine", "1-sqrt")),
    S.torch.SequentialLR(
        [S.torch.SequentialLR([S.torch.ExponentialLR(0.1, 0.9), S.torch.StepLR(0.1, 2)], [4]), 0.1], [7]
    ),
    S.timm.CosineLRScheduler(0.1, 2, 0.01, 2.0, 0.5, 2), S.timm.PolyLRScheduler(0.1, 3, 2.0, 0.01, 1.0, 0.5, 2),
    S.timm.TanhLRScheduler(0.1, 3, cycle_limit=2), S.timm.WSDLRScheduler(0.1, 8, 4, 0.01, "rsqrt", 2.0, decay_fn="exp"),
    S.transformers.get_cosine_with_hard_restarts_schedule_with_warmup(0.1, 2, 8, 2),
    S.transformers.get_cosine_schedule_with_warmup(0.1, 2, 8), S.fastai.fit_one_cycle(0.1, 8),
    S.fastai.SchedExp(0.1, 0.01, 6), S.fastai.SchedPoly(0.1, 0.01, 2.0, 6),
]  # fmt: skip


def numbers(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)
def test_folds_and_counts_on_the_device(device, case):
    host, lent = numbers(33), Array(device, numbers(33))
    decay = "decoupled" if "decoupled" in case.row.decays else case.decay
    options = {"lr": case.schedule(S.InverseTime(0.01, 0.1)), "weight_decay": 0.1, "decay": decay}
    a, b = case.make(host, **options), case.make(lent, capturable=True, **options)
    g = Array(device, numbers(33, 1))
    for _ in range(7):
        a.step(g.host)
        b.step(g)
    np.testing.assert_allclose(lent.host, host, rtol=1e-12)
    want, got = a.state_dict(), b.state_dict()
    assert (got["steps"], got["counts"].tolist()) == (7, [7])
    np.testing.assert_allclose(got["carry"], want["carry"], rtol=1e-14)
    assert b.lr == a.lr
    assert device.writes == 0


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedule_on_the_device(device, schedule):
    lent, g = Array(device, np.zeros(1)), Array(device, np.ones(1))
    opt = flr.SGD(lent, lr=schedule, capturable=True)
    rates = []
    for _ in range(9):
        before = lent.host.copy()
        opt.step(g)
        rates.append(float(before[0] - lent.host[0]))
    np.testing.assert_allclose(rates, schedule(np.arange(9)), rtol=1e-13, atol=1e-15)


def test_replay_counts_and_numbers_can_be_set_between(device):
    """A replay is the same launches again, with the arguments that they had."""
    lent, g = Array(device, np.zeros(4)), Array(device, np.ones(4))
    opt = flr.SGD(lent, lr=0.5, capturable=True)
    opt.step(g)
    captured = []
    launch = device.launch
    device.launch = lambda *arguments: captured.append(arguments)
    opt.step(g)
    device.launch = launch
    assert len(captured) == 2
    for _ in range(2):
        for arguments in captured:
            launch(*arguments)
    assert opt.steps == 3
    opt.lr = 0.25
    for arguments in captured:
        launch(*arguments)
    assert lent.host.tolist() == [-1.75] * 4
    assert opt.state_dict()["counts"].tolist() == [4]
    opt.reset()
    assert opt.steps == 0
    with pytest.raises(ValueError, match="must not change after the first step"):
        opt.lr = S.Constant(0.1)


@pytest.mark.parametrize("write", ["number", "state", "reset", "restored"])
def test_what_the_host_writes_leaves_the_devices_counts(device, write):
    """The host's counts are a copy: writing a number must not bring it back, and writing counts must replace them."""
    lent, g = Array(device, numbers(4)), Array(device, np.ones(4))
    opt = flr.Adam(lent, lr=0.5, capturable=True)
    empty = opt.state_dict()
    hyper = opt._hyper.saved()
    for _ in range(3):
        opt.step(g)  # nothing has read the counts since
    if write == "number":
        opt.lr = 0.25
    elif write == "restored":
        opt._hyper.restore(hyper)
    elif write == "state":
        opt.load_state_dict(empty)
    else:
        opt.reset()
    opt.step(g)
    counted = 4 if write in ("number", "restored") else 1
    assert (opt.steps, opt.state_dict()["counts"].tolist()) == (counted, [counted])


def test_callable_is_compiled_for_the_device(device):
    lent = Array(device, np.zeros(1))
    opt = flr.SGD(lent, lr=lambda n: 0.5 / (n + 1), capturable=True)
    for _ in range(2):
        opt.step(Array(device, np.ones(1)))
    assert lent.host[0] == -0.75


def test_a_controller_is_refused_at_once(device):
    """A graph would go on with the rate of its first step."""
    lent = Array(device, np.zeros(1))
    with pytest.raises(TypeError, match="`lr` must be a number or schedule with `capturable`, got the controller Plat"):
        flr.SGD(lent, lr=S.Plateau(0.1), capturable=True)
    opt = flr.AdamW(lent, lr=0.1, capturable=True)
    with pytest.raises(TypeError, match=r"`betas\[0\]` must be a number or schedule with `capturable`"):
        opt.betas = (S.Adjustable(0.9), 0.999)
    opt.step(Array(device, np.ones(1)))
    assert opt.betas == (0.9, 0.999)
