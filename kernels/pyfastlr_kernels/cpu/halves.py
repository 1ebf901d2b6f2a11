"""Loops over a chunk of parameters, gradients and copies that have 16 bits per number (stages.py).

An update computes in float32: a chunk's numbers are widened into memory of the thread that stays in its cache, and the
drive, the same as for float32, updates them there. Then they are rounded:

- MASTER: the numbers themselves stay in float32, in the state, and the user's array has the nearest ones.
- STOCHASTIC: up or down at random, so that the mean is exact. The random bits follow from the seed, the array, its
  update count and the element.
- KAHAN: to nearest, and the state has what that lost, in 16 bits too. With bfloat16, both together are the float32.

The user may have written to the parameters since the last update. So a float32 whose nearest number is not in the array
is replaced by the number that is there. With KAHAN, what the state has is at most half of the last place of any number.
"""

import numpy as np
from numba import njit

from pyfastlr_kernels.compile.halves import (
    is_not_finite,
    make_is_nearest,
    make_join,
    make_put_nearest,
    make_put_random,
    make_put_split,
    make_widen,
    word_of,
)
from pyfastlr_kernels.compile.intrinsics import pointer, put
from pyfastlr_kernels.compile.narrow import mixed
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.packing import BFLOAT16, FLOAT16
from pyfastlr_kernels.tables import KAHAN, MASTER

_ZERO, _ZERO_U16 = np.float32(0), np.uint16(0)
BLOCK = 1 << 16  # elements with random bits of one key


def _for_either(make):
    """Make a function for both kinds: ``function(kind, ...)`` of one that ``make(kind)`` returns."""
    bfloat16, float16 = make(BFLOAT16), make(FLOAT16)

    @njit(**PARTS)
    def either(kind, *rest):
        if kind == BFLOAT16:
            bfloat16(*rest)
        else:
            float16(*rest)

    return either


def _make_widen(kind):
    get = make_widen(kind)

    @njit(**PARTS)
    def widen(n, out, x):
        out, x = pointer(out, _ZERO), pointer(x, _ZERO_U16)
        for i in range(n):
            put(out, i, get(x, i))

    return widen


def _make_nearest(kind):
    put_nearest = make_put_nearest(kind)

    @njit(**PARTS)
    def nearest(n, out, x):
        out, x = pointer(out, _ZERO_U16), pointer(x, _ZERO)
        for i in range(n):
            put_nearest(out, i, x[i])

    return nearest


def _make_random(kind):
    put_random = make_put_random(kind)

    @njit(**PARTS)
    def piece(n, out, x, key, first):
        for i in range(n):
            put_random(out, i, x[i], word_of(key, first + i))

    @njit(**PARTS)
    def random(n, out, x, key, first):
        start = 0
        while start < n:
            e = first + start
            m = min(n - start, BLOCK - e % BLOCK)
            piece(
                m, pointer(out + start * 2, _ZERO_U16), pointer(x + start * 4, _ZERO), mixed(key, e // BLOCK), e % BLOCK
            )
            start += m

    return random


def _make_follow(kind):
    get, is_nearest = make_widen(kind), make_is_nearest(kind)

    @njit(**PARTS)
    def follow(n, master, x):
        master, x = pointer(master, _ZERO), pointer(x, _ZERO_U16)
        for i in range(n):
            put(master, i, master[i] if is_nearest(x, i, master[i]) else get(x, i))

    return follow


def _make_join(kind):
    get = make_join(kind)

    @njit(**PARTS)
    def join(n, out, x, rest):
        out, x, rest = pointer(out, _ZERO), pointer(x, _ZERO_U16), pointer(rest, _ZERO_U16)
        for i in range(n):
            put(out, i, get(x, rest, i))

    return join


def _make_split(kind):
    put_split = make_put_split(kind)

    @njit(**PARTS)
    def split(n, out, rest, x):
        out, rest, x = pointer(out, _ZERO_U16), pointer(rest, _ZERO_U16), pointer(x, _ZERO)
        for i in range(n):
            put_split(out, rest, i, x[i])

    return split


#: ``widen(kind, n, out, x)``, ``nearest(kind, n, out, x)`` and ``random(kind, n, out, x, key, first)``, where `out` and
#: `x` are addresses, and `first` is the element's number in its tensor. MASTER: ``follow(kind, n, master, x)``. KAHAN:
#: ``join(kind, n, out, x, rest)`` and ``split(kind, n, out, rest, x)``.
widen, nearest, random = _for_either(_make_widen), _for_either(_make_nearest), _for_either(_make_random)
follow, join, split = _for_either(_make_follow), _for_either(_make_join), _for_either(_make_split)


@njit(**PARTS)
def load_parameters(kind, precision, n, out, p, rest):
    """Return the address of the numbers of a chunk of parameters at p: in the state, at `rest`, or made at `out`."""
    if precision == MASTER:
        follow(kind, n, rest, p)
        return rest
    if precision == KAHAN:
        join(kind, n, out, p, rest)
    else:
        widen(kind, n, out, p)
    return out


@njit(**PARTS)
def store_parameters(kind, precision, n, p, rest, x, key, first):
    """Round the numbers at x to the chunk at p, and keep at `rest` what the state has of them."""
    if precision == MASTER:
        nearest(kind, n, p, x)
    elif precision == KAHAN:
        split(kind, n, p, rest, x)
    else:
        random(kind, n, p, x, key, first)


def _make_zero():
    @njit(**PARTS)
    def zero(n, out):
        out = pointer(out, _ZERO_U16)
        for i in range(n):
            put(out, i, _ZERO_U16)

    return zero


zero = _make_zero()


@njit(**PARTS)
def count_nonfinite(kind, size, x):
    """Number of elements that are infinite or NaN."""
    x, exponent, found = pointer(x, _ZERO_U16), 0x7F80 if kind == BFLOAT16 else 0x7C00, 0
    for i in range(size):
        found += is_not_finite(x, i, exponent)
    return found
