"""The global norm and clipping inside users' own `@njit` code, with the bits of the order-fixed sum (reduce.py)."""

from functools import cache

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import reduce
from .compile.intrinsics import pointer, put
from .compile.options import USER_PARTS
from .cpu.loop import inlined
from .cpu.reduce import make_total
from .njit import chosen, make_stamp
from .reduce import FACTORS

norm_of, scale_for = inlined(reduce.norm_of), inlined(reduce.scale_for)
_I64 = ir.IntType(64)


@intrinsic
def extents(typingctx, arrays):
    """Address of a table on the stack of the function that contains this: each array's address and its size."""

    def code(context, builder, sig, args):
        table = cgutils.alloca_once(builder, ir.ArrayType(_I64, 2 * max(1, len(arrays))))
        for k, kind in enumerate(arrays):
            x = context.make_array(kind)(context, builder, builder.extract_value(args[0], k))
            for j, value in enumerate((builder.ptrtoint(x.data, _I64), x.nitems)):
                builder.store(value, builder.gep(table, [_I64(0), _I64(2 * k + j)]))
        return builder.ptrtoint(table, _I64)

    return types.int64(arrays), code


@cache
def _norm(dtype):
    """Make ``norm(table, n)`` of n arrays, compiled once for all tuples of arrays."""
    add, zero = make_total(dtype), np.int64(0)
    squares_are_safe = dtype == "float32"  # neither overflow nor underflow in float64

    @njit(**USER_PARTS)
    def total_of(table, n, factors):
        extent, total = pointer(table, zero), 0.0
        for k in range(n):
            total = add(extent[2 * k], extent[2 * k + 1], total, factors)
        return total

    @njit(**USER_PARTS)
    def norm(table, n):
        total = total_of(table, n, ())
        if squares_are_safe:
            return norm_of(total, 1.0)
        scale = scale_for(total)
        if scale != 1.0:
            total = total_of(table, n, (scale,))
        return norm_of(total, scale)

    return norm


@cache
def _scaled(dtype):
    """Make ``scaled(start, size, factor)``, which multiplies the elements in place."""
    real = np.dtype(dtype).type

    @njit(**USER_PARTS)
    def scaled(start, size, factor):
        x, k = pointer(start, real(0)), real(factor)
        for i in range(size):
            put(x, i, x[i] * k)

    return scaled


@cache
def make_norm(dtype, current):
    """Make the norm of a tuple of arrays, all of that dtype. `current` returns the digest of the sources."""
    norm_at, stamp = _norm(dtype), make_stamp(current)

    @njit(**USER_PARTS)
    def norm(arrays):
        stamp()
        return norm_at(extents(arrays), len(arrays))

    return norm


@cache
def make_clip(dtype, convention, current):
    """Make the clipping of a tuple of arrays by a convention's factor. It returns the norm before clipping."""
    norm_at, scaled, stamp = _norm(dtype), _scaled(dtype), make_stamp(current)
    factor_for, zero = inlined(FACTORS[convention]), np.int64(0)

    @njit(**USER_PARTS)
    def clip(arrays, max_norm):
        stamp()
        (most,) = chosen((max_norm,), (0.0,))
        if not most > 0:
            raise ValueError("`max_norm` must be > 0")
        table = extents(arrays)
        norm = norm_at(table, len(arrays))
        factor = factor_for(norm, most)
        if factor != 1.0:
            extent = pointer(table, zero)
            for k in range(len(arrays)):
                scaled(extent[2 * k], extent[2 * k + 1], factor)
        return norm

    return clip
