"""The order-fixed sum of squares (pyfastlr_kernels/reduce.py has its definition), compiled for the CPU.

Three functions by address, for any caller that cuts tensors into chunks at multiples of UNIT:

- ``squares(start, size, partials, scale)`` writes the partial sum of each block of that many elements at `start`;
- ``add_partials(partials, n)`` adds them up in their order;
- ``count_nonfinite(start, size, partials)`` counts elements that are infinite or NaN, in the blocks whose partial sum
  is not finite. So it costs nothing as long as all is finite; counted in the first pass, a sum of numbers in the cache
  would take 1.3 times as long.
"""

from functools import cache

import numpy as np
from numba import njit, types

from pyfastlr_kernels.compile.intrinsics import pointer, put
from pyfastlr_kernels.compile.lanes import add_squares, square, zero_lanes
from pyfastlr_kernels.compile.options import INLINED, PARTS, USER_PARTS
from pyfastlr_kernels.reduce import LANES, UNIT

_I64, _F64 = types.int64, types.float64
SQUARES = types.void(_I64, _I64, _I64, _F64)
COUNT = _I64(_I64, _I64, _I64)
_WORD = 8  # bytes of a float64


@njit(**INLINED)
def block_sum(x, n, factors):
    """Return the partial sum of one block of n <= UNIT elements."""
    lanes = zero_lanes()
    whole = n // LANES
    add_squares(lanes, x, whole, factors)
    for i in range(whole * LANES, n):
        put(lanes, i % LANES, lanes[i % LANES] + square(x[i], factors))
    total = lanes[0]
    for j in range(1, LANES):
        total += lanes[j]
    return total


def make_block(dtype):
    """Make ``block(start, size, k, factors)``, the partial sum of block k of a tensor of that size, as inlined text."""
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize

    @njit(**INLINED)
    def block(start, size, k, factors):
        x, n = pointer(start + k * (UNIT * itemsize), zero), size - k * UNIT
        if n >= UNIT:
            return block_sum(x, UNIT, factors)  # LLVM unrolls a loop of known length
        return block_sum(x, n, factors)

    return block


@cache
def make_partials(dtype):
    """Make ``partials(start, size, out, factors)``, which writes the partial sum of each block."""
    block = make_block(dtype)

    @njit(**PARTS)
    def partials(start, size, out, factors):
        for k in range((size + UNIT - 1) // UNIT):
            put(pointer(out, 0.0), k, block(start, size, k, factors))

    return partials


@cache
def make_total(dtype):
    """Make ``total(start, size, before, factors)``, which adds the partial sums to `before`. It is for users' code."""
    block = make_block(dtype)

    @njit(**USER_PARTS)
    def total(start, size, before, factors):
        for k in range((size + UNIT - 1) // UNIT):
            before += block(start, size, k, factors)
        return before

    return total


@njit(**PARTS)
def add_partials(partials, n):
    """Return the sum of n partial sums at the address, in their order."""
    total = 0.0
    for k in range(n):
        total += pointer(partials, 0.0)[k]
    return total


def make_squares(dtype):
    """Make ``squares(start, size, partials, scale)``, as Python text."""
    partials = make_partials(dtype)

    def squares(start, size, out, scale):
        if scale == 1.0:
            partials(start, size, out, ())
        else:
            partials(start, size, out, (scale,))

    return squares


def make_count(dtype):
    """Make ``count_nonfinite(start, size, partials)``, as Python text."""
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize

    @njit(**PARTS)
    def count_block(x, n):
        found = 0
        for i in range(n):
            found += x[i] - x[i] != 0  # a finite number's difference is 0, another's is NaN
        return found

    def count_nonfinite(start, size, partials):
        found = 0
        for first in range(0, size, UNIT):
            partial = pointer(partials + first // UNIT * _WORD, 0.0)[0]
            if partial - partial != 0:
                found += count_block(pointer(start + first * itemsize, zero), min(UNIT, size - first))
        return found

    return count_nonfinite
