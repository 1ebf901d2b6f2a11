"""Sums of squares in a fixed number of float64 lanes, as vector instructions.

Each lane is a sum of its own, so no addition may move to another lane, and LLVM does not vectorise such loops
reliably. These intrinsics write the vectors themselves. LLVM splits them into the registers of any instruction set.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pyfastlr_kernels.reduce import LANES

_I64, _I32, _DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_LINE = 64  # bytes in a cache line

# Hardware prefetching stops at the end of a page, and the additions at the end of a block leave memory idle. Read-only
# sums of 40 million float32: 37 GB/s without prefetch, 43, 47, 42 and 41 with 4, 8, 16 and 32 KiB (one core of Zen 5).
_AHEAD = 8192


@intrinsic
def zero_lanes(typingctx):
    """Pointer to LANES zeros on the stack of the function that contains this."""

    def code(context, builder, sig, args):
        place = cgutils.alloca_once(builder, ir.ArrayType(_DOUBLE, LANES))
        start = builder.bitcast(place, _DOUBLE.as_pointer())
        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), builder.bitcast(start, _VECTOR.as_pointer()), align=8)
        return start

    return types.CPointer(types.float64)(), code


def _square(builder, x, kind, factors):
    """Square of a number or vector in float64, after a product with each factor."""
    if x.type != kind:
        x = builder.fpext(x, kind)
    for factor in factors:
        x = builder.fmul(x, factor)
    return builder.fmul(x, x)


def _prefetch(builder, address, size):
    """Ask for the cache lines that are _AHEAD bytes further on. It may be past the end: a prefetch reads nothing."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    start = builder.bitcast(address, byte)
    for line in range(0, size, _LINE):
        place = builder.gep(start, [_I64(_AHEAD + line)])
        builder.call(prefetch, [place, _I32(0), _I32(3), _I32(1)])  # to read, keep in all caches, data


@intrinsic
def add_squares(typingctx, lanes, ptr, rows, factors):
    """Add the squares of `rows` rows of LANES numbers to the lanes; `factors` is a tuple of none or one number."""
    itemsize = ptr.dtype.bitwidth // 8

    def code(context, builder, sig, args):
        scales = [builder.extract_value(args[3], j) for j in range(len(factors))]
        scales = [builder.shuffle_vector(
            builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scale, _I32(0)),
            ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES),
        ) for scale in scales]  # fmt: skip
        row = ir.VectorType(context.get_value_type(ptr.dtype), LANES)
        place = builder.bitcast(args[0], _VECTOR.as_pointer())
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(builder.load(place, align=8), total)
        with cgutils.for_range(builder, args[2]) as loop:
            start = builder.gep(args[1], [builder.mul(loop.index, _I64(LANES))])
            x = builder.load(builder.bitcast(start, row.as_pointer()), align=1)
            _prefetch(builder, start, LANES * itemsize)
            builder.store(builder.fadd(builder.load(total), _square(builder, x, _VECTOR, scales)), total)
        builder.store(builder.load(total), place, align=8)
        return context.get_dummy_value()

    return types.void(lanes, ptr, types.int64, factors), code


@intrinsic
def square(typingctx, x, factors):
    """Square of one number, as `add_squares` computes it."""

    def code(context, builder, sig, args):
        return _square(builder, args[0], _DOUBLE, [builder.extract_value(args[1], j) for j in range(len(factors))])

    return types.float64(x, factors), code
