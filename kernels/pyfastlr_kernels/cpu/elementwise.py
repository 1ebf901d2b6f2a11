"""Loops over the elements of a chunk, for what a step does besides the update (stages.py)."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pyfastlr_kernels import stage_rules
from pyfastlr_kernels.compile.intrinsics import put
from pyfastlr_kernels.compile.options import INLINED, PARTS

clamped, moved_average = njit(**INLINED)(stage_rules.clamped), njit(**INLINED)(stage_rules.moved_average)


class Loops(NamedTuple):
    """Loops over n elements at pointers. `out` is written; it may be the same memory as x, but not overlap it."""

    add_scaled: Any  # (n, out, x, scale): out + x * scale
    clamp: Any  # (n, out, x, scale, limit): x * scale, limited to [-limit, limit]; NaN remains
    difference: Any  # (n, out, x): x - out
    move_average: Any  # (n, out, x, d, rest): d * out + rest * x
    copy: Any  # (n, out, x)
    fill_zero: Any  # (n, out)


@cache
def make_loops(dtype):
    """Make the loops for elements of a dtype."""
    zero = np.dtype(dtype).type(0)

    @njit(**PARTS)
    def add_scaled(n, out, x, scale):
        for i in range(n):
            put(out, i, out[i] + x[i] * scale)

    @njit(**PARTS)
    def clamp(n, out, x, scale, limit):
        for i in range(n):
            put(out, i, clamped(x[i], scale, limit))

    @njit(**PARTS)
    def difference(n, out, x):
        for i in range(n):
            put(out, i, x[i] - out[i])

    @njit(**PARTS)
    def move_average(n, out, x, d, rest):
        for i in range(n):
            put(out, i, moved_average(out[i], x[i], d, rest))

    @njit(**PARTS)
    def copy(n, out, x):
        for i in range(n):
            put(out, i, x[i])

    @njit(**PARTS)
    def fill_zero(n, out):
        for i in range(n):
            put(out, i, zero)

    return Loops(add_scaled, clamp, difference, move_average, copy, fill_zero)
