"""`zero_grad` over device buffers, from the public API down to PTX in the emulator."""

import copy
import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from beside import Beside  # noqa: E402
from emulated import Array  # noqa: E402

SIZES = (5, 1300, 3)


def lent(device, x=1.0, n=8, dtype=np.float32):
    return Array(device, np.full(n, x, dtype))


def part(x, first, size):
    """Some of an array's elements, in the same memory."""
    found = copy.copy(x)
    found.host, found.address = x.host[first : first + size], x.address + first * x.host.itemsize
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 1.0, "clip_value": 0.5, "ema_decay": 0.5}, {"nonfinite": "raise"}],
    ids=lambda x: "-".join(x),
)  # fmt: skip
def test_gradients_are_used_then_zero(device, dtype, options):
    pair = Beside(device, dtype, SIZES, {**options, "zero_grad": True})
    for missing in ((), (1,), (0, 2), ()):
        on_host, there = pair.step(missing)
        pair.check()
        used = [(x, y.host) for x, y in zip(on_host, there, strict=True) if x is not None]
        assert len(used) == len(SIZES) - len(missing)
        assert all(x.tobytes() == y.tobytes() == bytes(y.nbytes) for x, y in used)


def test_nothing_beside_a_gradient_is_written(device):
    whole, p = lent(device, 1.0, 40), [lent(device, 0.0, 9), lent(device, 0.0, 7)]
    opt = flr.SGD(p, lr=1.0, zero_grad=True)
    opt.step([part(whole, 3, 9), part(whole, 13, 7)])
    assert whole.host.tolist() == [1.0] * 3 + [0.0] * 9 + [1.0] + [0.0] * 7 + [1.0] * 20
    assert all((x.host == -1).all() for x in p)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_skipped_step_sets_them_to_zero_and_one_that_raises_does_not(device, bad):
    for options in ({"nonfinite": "skip"}, {"loss_scale": None}, {"nonfinite": "raise"}):
        options = {"loss_scale": flr.LossScale()} if "loss_scale" in options else options
        p, g = lent(device), lent(device, bad)
        opt = flr.SGD(p, lr=1.0, zero_grad=True, clip_norm=1.0, **options)
        if options.get("nonfinite") == "raise":
            with pytest.raises(FloatingPointError):
                opt.step(g)
        else:
            opt.step(g)
        assert (p.host == 1).all()
        assert opt.steps == 0
        assert not np.isfinite(g.host).any() if options.get("nonfinite") == "raise" else not g.host.any()


def test_a_graph_sets_them_to_zero(device):
    p, g = lent(device), lent(device, 0.25)
    opt = flr.SGD(p, lr=1.0, zero_grad=True, capturable=True)
    opt.step(g)
    assert not g.host.any()
    g.host[:] = 0.5
    opt.step(g)
    assert not g.host.any()
    assert p.host.tolist() == [0.25] * 8


# --- Refused ----------------------------------------------------------------------------------------------------------


def test_gradients_that_share_memory_are_refused_in_any_order_of_steps(device):
    """Each was used alone before, so its own check is not repeated."""
    p, whole = [lent(device) for _ in range(3)], lent(device, 1.0, 40)
    one, other = part(whole, 0, 8), part(whole, 7, 8)
    opt = flr.SGD(p, lr=1.0, zero_grad=True)
    opt.step([one, None, None])
    opt.step([None, one, None])
    opt.step([None, None, other])
    whole.host[:] = 1.0
    before = [x.host.copy() for x in p]
    for g in ([one, one, None], [one, None, other], [None, one, other]):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"`grads\[.\]` must not overlap `grads\[.\]` with zero_grad=True"):
                opt.step(g)
    assert opt.steps == 3
    assert (whole.host == 1).all()
    assert all(x.host.tobytes() == y.tobytes() for x, y in zip(p, before, strict=True))
    opt.step([one, part(whole, 8, 8), None])
    assert not whole.host[:16].any()
    g = lent(device)
    flr.SGD(p, lr=1.0).step([g, g, g])  # without zero_grad
    assert (g.host == 1).all()


def test_a_gradient_that_is_read_only_is_refused(device):
    p, g = lent(device), lent(device)
    opt = flr.SGD(p, lr=1.0, zero_grad=True)
    opt.step(g)
    same = part(g, 0, 8)
    same.writeable = False
    for _ in range(2):
        with pytest.raises(
            ValueError, match="`grads` must be writeable with zero_grad=True, got a read-only CUDA float32"
        ):
            opt.step(same)
    assert opt.steps == 1
    flr.SGD(p, lr=1.0).step(same)


def test_rates_are_not_set_to_zero(device):
    p, rates = lent(device), lent(device, 0.5)
    opt = flr.SGD(p, lr=1.0, zero_grad=True)
    opt.step(rates)  # nobody's rates yet
    rates.host[:] = 0.5
    opt.lr_scale = rates
    for g in (rates, rates, part(rates, 0, 8)):
        with pytest.raises(ValueError, match="`grads` must not overlap `lr_scale` with zero_grad=True"):
            opt.step(g)
    assert (rates.host == 0.5).all()
    opt.step(lent(device))
    assert opt.steps == 2
