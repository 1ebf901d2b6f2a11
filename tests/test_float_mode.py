"""The results' bits depend neither on the caller's floating-point mode nor on which thread runs a chunk.

torch.set_flush_denormal(True), libraries built with -ffast-math and some audio software leave a thread in such modes.
"""

import numpy as np
import pytest
from numba import njit

import pyfastlr as flr
from processes import in_thread
from pyfastlr import schedules as S
from pyfastlr_kernels.compile import intrinsics


@njit
def current():
    return intrinsics.float_mode()


@njit
def change(mode):
    intrinsics.set_float_mode(mode)


FLUSH, ROUND_UP = 0x8040, 0x4000  # of x86's MXCSR: flush-to-zero with denormals-are-zero, rounding up
TINY, TENTH = np.float32(1e-40), np.float64(0.1)


def flushes():
    return float(np.float64(5e-324) * np.float64(1.0)) == 0.0


def rounds_up():
    return float(np.float64(1.0) + np.float64(1e-30)) > 1.0


MODES = {"flush": (FLUSH, flushes), "round up": (ROUND_UP, rounds_up)}

pytestmark = pytest.mark.skipif(intrinsics._MACHINE != "x86_64", reason="sets the bits of x86's MXCSR")


def in_mode(name, work):
    """Call `work` in a thread in that mode. Also return whether the mode is unchanged."""
    bits, seen = MODES[name]

    def call():
        default = current()
        change(default | bits)
        try:
            assert seen(), "the mode is not on"
            return work(), seen()
        finally:
            change(default)

    return in_thread(call)


def run(threads, n, make):
    """Bits of the parameters and the state after three steps of subnormal and inexact gradients."""
    p = np.zeros(n, "f4")
    g = np.where(np.arange(n) % 2, TINY, np.float32(0.1))
    opt = make(p, threads)
    for _ in range(3):
        opt.step(g)
    return p.tobytes(), [x.tobytes() for x in opt.state.values()]


MAKE = {
    "sgd": lambda p, threads: flr.SGD(p, lr=1.0, threads=threads),
    "adamw": lambda p, threads: flr.AdamW(p, lr=S.Cosine(0.1, steps=9), betas=(0.9, 0.999), threads=threads),
    "a callable": lambda p, threads: flr.RMSProp(p, lr=lambda n: 0.1 / (n + 3), threads=threads),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("threads", "n"), [(1, 64), (1, 300_001), (2, 600_001)])
@pytest.mark.parametrize("name", MAKE)
def test_bits_are_those_of_the_default_mode_and_the_callers_mode_stays(name, threads, n, mode):
    bits, kept = in_mode(mode, lambda: run(threads, n, MAKE[name]))
    assert kept
    assert bits == run(1, n, MAKE[name])


@pytest.mark.parametrize("mode", MODES)
def test_callers_mode_is_back_after_an_error(mode):
    def work():
        def rate(n):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            flr.SGD(np.zeros(3), lr=rate).step(np.ones(3))

    assert in_mode(mode, work)[1]
