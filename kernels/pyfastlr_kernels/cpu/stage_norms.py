"""Norms for the stages (stages.py): sums of squares of chunks, and what they make of tensors and groups.

The sums have a fixed order (pyfastlr_kernels/reduce.py). What the two numbers of each block are, and how a norm is made
of them, is in stage_rules.py.
"""

from functools import cache

import numpy as np
from numba import njit

from pyfastlr_kernels.compile.intrinsics import pointer, put, record
from pyfastlr_kernels.compile.options import INLINED, PARTS
from pyfastlr_kernels.reduce import UNIT, scale_for
from pyfastlr_kernels.stage_rules import make_norm, make_rescaled
from pyfastlr_kernels.tables import TENSOR

from .reduce import make_partials

ALL_ROWS = -1
_WORD = 8  # bytes
_ZERO64, _ZERO_F = np.int64(0), np.float64(0)

scale_for, rescaled_sum = njit(**INLINED)(scale_for), njit(**INLINED)(make_rescaled(njit(**INLINED)))


@njit(**INLINED)
def word(address, k):
    return pointer(address, _ZERO64)[k]


@njit(**INLINED)
def number(address, k):
    return pointer(address, _ZERO_F)[k]


@njit(**INLINED)
def put_word(address, k, value):
    put(pointer(address, _ZERO64), k, value)


@njit(**INLINED)
def put_number(address, k, value):
    put(pointer(address, _ZERO_F), k, value)


@njit(**INLINED)
def rescaled_at(job, o, squares):
    """Address of a table's second numbers."""
    return squares + word(o.first_blocks, job.n_tensors) * _WORD


@njit(**PARTS)
def chain(squares, rescaled, first, last, total, scale):
    """Add the sums of blocks to a total, in their order, for elements multiplied by a scale."""
    for j in range(first, last):
        x = number(squares, j)
        if scale != 1.0:
            x = rescaled_sum(x, number(rescaled, j), scale)
        total += x
    return total


@njit(**PARTS)
def sum_over(where, scale):
    """Return the sum of squares of tensors first to last - 1 that are clipped with a row, or with any (ALL_ROWS).

    Gradients and updates are those of tensors that have a gradient. Of parameters, all count.
    """
    job, o, squares, first, last, row = where
    total, rescaled = 0.0, rescaled_at(job, o, squares)
    for k in range(first, last):
        t = record(job.tensors, k, TENSOR)
        if (t.g != 0 or squares == o.param_squares) and (row == ALL_ROWS or word(o.clip_rows, t.row) == row):
            total = chain(squares, rescaled, word(o.first_blocks, k), word(o.first_blocks, k + 1), total, scale)
    return total


@cache
def make_norms(dtype):
    """Make these functions for elements of a dtype.

    - ``write_squares(job, o, squares, chunk, start)`` puts the sums of a chunk, whose elements are at `start`, into a
      table.
    - ``norm((job, o, squares, first, last, row), factor)`` returns the norm of tensors (`sum_over`), times a factor.
    - ``tensor_norms(job, o, squares, out, factor)`` writes the norm of each tensor, times a factor.
    """
    partials, itemsize = make_partials(dtype), np.dtype(dtype).itemsize
    may_vanish = itemsize == 8
    norm = njit(**PARTS)(make_norm(njit(**INLINED), sum_over, may_vanish))

    @njit(**PARTS)
    def write_squares(job, o, squares, c, start):
        block = word(o.first_blocks, c.tensor) + c.first // UNIT
        partials(start, c.size, squares + block * _WORD, ())
        if may_vanish:
            rescaled = rescaled_at(job, o, squares)
            for k in range((c.size + UNIT - 1) // UNIT):
                scale = scale_for(number(squares, block + k))
                if scale != 1.0:
                    n = min(UNIT, c.size - k * UNIT)
                    partials(start + k * (UNIT * itemsize), n, rescaled + (block + k) * _WORD, (scale,))

    @njit(**PARTS)
    def tensor_norms(job, o, squares, out, factor):
        for k in range(job.n_tensors):
            put_number(out, k, norm((job, o, squares, k, k + 1, ALL_ROWS), factor))

    return write_squares, norm, tensor_norms
