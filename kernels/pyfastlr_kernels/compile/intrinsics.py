"""Operations that numba lacks: memory by address, atomics, tuples of any length, calls by address.

Addresses are int64 (in numba, uint64 + int64 is a float64). A tuple of k pointers stands for the k state arrays of a
rule. The intrinsics loop over it, so drivers are written once for any number of states. Nothing here runs in Python
mode, and nothing depends on a rule.
"""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_WORD = 8  # bytes
_MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


def _pointer(builder, address, pointee):
    return builder.inttoptr(address, ir.PointerType(pointee))


def hide(builder: Any, value: Any) -> Any:
    """Return the 64-bit number, hidden from LLVM's optimizer, for powers that a caller's constants may reach.

    LLVM turns a power with a known base or exponent (2, 1/2) into another function: exp2, a square root, a product. One
    value in a thousand then differs in its last bit. Empty assembly that "may" have changed the number prevents that;
    its side effect also prevents the use of vector libraries.
    """
    asm = ir.InlineAsm(ir.FunctionType(_I64, [_I64]), "", "=r,0", side_effect=True)
    return builder.bitcast(builder.call(asm, [builder.bitcast(value, _I64)]), value.type)


@intrinsic
def record(typingctx, table, k, dtype):
    """View of the k-th record of that dtype in the table at that address. Attributes read and write memory."""

    def code(context, builder, sig, args):
        start = builder.add(args[0], builder.mul(args[1], _I64(dtype.dtype.size)))
        return builder.inttoptr(start, context.get_value_type(sig.return_type))

    return dtype.dtype(table, types.int64, dtype), code


@intrinsic
def pointer(typingctx, address, like):
    """Pointer to numbers of the type of `like`."""
    return types.CPointer(like)(address, like), lambda context, builder, sig, args: builder.inttoptr(
        args[0], context.get_value_type(sig.return_type)
    )


@intrinsic
def put(typingctx, ptr, i, value):
    """ptr[i] = value."""

    def code(context, builder, sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(ptr, i, value), code


def _tuple_of(kinds):
    return types.BaseTuple.from_types(kinds) if kinds else types.Tuple(())


@intrinsic
def load(typingctx, ptrs, i, like):
    """Tuple of ptr[i] for each pointer, in the type of `like`."""
    result = _tuple_of((like,) * len(ptrs))

    def code(context, builder, sig, args):
        out = []
        for j, kind in enumerate(ptrs):
            value = builder.load(builder.gep(builder.extract_value(args[0], j), [args[1]]))
            out.append(context.cast(builder, value, kind.dtype, like))
        return context.make_tuple(builder, sig.return_type, out)

    return result(ptrs, i, like), code


@intrinsic
def store(typingctx, ptrs, i, values):
    """ptr[i] = value for each pointer and its value, in the pointer's type."""

    def code(context, builder, sig, args):
        for j, (kind, given) in enumerate(zip(ptrs, values, strict=True)):
            value = context.cast(builder, builder.extract_value(args[2], j), given, kind.dtype)
            builder.store(value, builder.gep(builder.extract_value(args[0], j), [args[1]]))
        return context.get_dummy_value()

    return types.void(ptrs, i, values), code


@intrinsic
def scaled(typingctx, numbers, k):
    """Each of the numbers times k."""

    def code(context, builder, sig, args):
        out = [builder.fmul(builder.extract_value(args[0], j), args[1]) for j in range(len(numbers))]
        return context.make_tuple(builder, sig.return_type, out)

    return numbers(numbers, k), code


@intrinsic
def read_numbers(typingctx, address, like):
    """Tuple of float64 at the address, as many as in `like` and rounded to its dtype."""
    k = len(like)
    double = ir.DoubleType()

    def code(context, builder, sig, args):
        base = _pointer(builder, args[0], double)
        out = [builder.load(builder.gep(base, [_I64(j)])) for j in range(k)]
        if k and like.dtype == types.float32:
            out = [builder.fptrunc(x, ir.FloatType()) for x in out]
        return context.make_tuple(builder, sig.return_type, out)

    return like(address, like), code


@intrinsic
def write_numbers(typingctx, address, numbers):
    """Store the float64 numbers, starting at the address."""

    def code(context, builder, sig, args):
        base = _pointer(builder, args[0], ir.DoubleType())
        for j in range(len(numbers)):
            builder.store(builder.extract_value(args[1], j), builder.gep(base, [_I64(j)]))
        return context.get_dummy_value()

    return types.void(address, numbers), code


@intrinsic
def addresses(typingctx, address, like):
    """Tuple of int64 at the address, as many as there are numbers in `like`."""
    k = len(like)
    result = types.UniTuple(types.int64, k) if k else types.Tuple(())

    def code(context, builder, sig, args):
        base = _pointer(builder, args[0], _I64)
        return context.make_tuple(
            builder, sig.return_type, [builder.load(builder.gep(base, [_I64(j)])) for j in range(k)]
        )

    return result(address, like), code


@intrinsic
def pointers(typingctx, starts, first, likes):
    """Pointer to element `first` after each start, with the type of the item of `likes`."""
    result = _tuple_of([types.CPointer(like) for like in likes])

    def code(context, builder, sig, args):
        out = []
        for j, kind in enumerate(result):
            start = builder.inttoptr(builder.extract_value(args[0], j), context.get_value_type(kind))
            out.append(builder.gep(start, [args[1]]))
        return context.make_tuple(builder, sig.return_type, out)

    return result(starts, types.int64, likes), code


@intrinsic
def call_drive(typingctx, function, job, what, index):
    """Call the drive, void(int64, int64, int64), at that address."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [_I64] * 3)
        builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), args[1:])
        return context.get_dummy_value()

    return types.void(function, job, what, index), code


@intrinsic
def call_plain(typingctx, function):
    """Call the C function without arguments at that address and ignore its result."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [])
        return context.get_dummy_value()

    return types.void(types.int64), code


# --- Atomics, all sequentially consistent: with a few per chunk, a weaker order would save nothing -----------------


@intrinsic
def atomic_add(typingctx, address, value):
    """Add to the int64 at the address; return its old value."""

    def code(context, builder, sig, args):
        return builder.atomic_rmw("add", _pointer(builder, args[0], _I64), args[1], "seq_cst")

    return types.int64(address, types.int64), code


@intrinsic
def atomic_swap(typingctx, address, value):
    """Write the int64 at the address; return its old value."""

    def code(context, builder, sig, args):
        return builder.atomic_rmw("xchg", _pointer(builder, args[0], _I64), args[1], "seq_cst")

    return types.int64(address, types.int64), code


@intrinsic
def atomic_take(typingctx, address, value):
    """Write the int64 at the address if it is 0, in one step; return whether it was."""

    def code(context, builder, sig, args):
        pointer = _pointer(builder, args[0], _I64)
        pair = builder.cmpxchg(pointer, _I64(0), args[1], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64), code


@intrinsic
def atomic_read(typingctx, address):
    """Read the int64 at the address."""

    def code(context, builder, sig, args):
        return builder.load_atomic(_pointer(builder, args[0], _I64), "seq_cst", _WORD)

    return types.int64(address), code


@intrinsic
def pause(typingctx):
    """Tell the core that this is a spin loop, if LLVM has an intrinsic for it."""

    def code(context, builder, sig, args):
        if _MACHINE == "x86_64":
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), code


# --- The thread's floating-point mode: how it rounds, and whether it flushes subnormal numbers -----------------------

# The control bits of x86's MXCSR and their default (exceptions masked). ARM's FPCR is 0 by default.
_MXCSR_CONTROL, _MXCSR_DEFAULT = 0xFFC0, 0x1F80


@intrinsic
def float_mode(typingctx):
    """Floating-point mode of this thread, as an int64 that `set_float_mode` takes."""

    def code(context, builder, sig, args):
        if _MACHINE == "x86_64":
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            read = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [ir.PointerType(ir.IntType(8))]), "llvm.x86.sse.stmxcsr"
            )
            builder.call(read, [builder.bitcast(slot, ir.PointerType(ir.IntType(8)))])
            return builder.zext(builder.load(slot), _I64)
        if _MACHINE == "aarch64":
            return builder.asm(ir.FunctionType(_I64, []), "mrs $0, fpcr", "=r", [], side_effect=True)
        return _I64(0)

    return types.int64(), code


@intrinsic
def set_float_mode(typingctx, mode):
    """Set the floating-point mode of this thread."""

    def code(context, builder, sig, args):
        if _MACHINE == "x86_64":
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), slot)
            write = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [ir.PointerType(ir.IntType(8))]), "llvm.x86.sse.ldmxcsr"
            )
            builder.call(write, [builder.bitcast(slot, ir.PointerType(ir.IntType(8)))])
        elif _MACHINE == "aarch64":
            builder.asm(ir.FunctionType(ir.VoidType(), [_I64]), "msr fpcr, $0", "r", [args[0]], side_effect=True)
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic
def is_default_mode(typingctx, mode):
    """Whether the mode rounds to nearest, flushes nothing and traps nothing."""

    def code(context, builder, sig, args):
        control, default = (_MXCSR_CONTROL, _MXCSR_DEFAULT) if _MACHINE == "x86_64" else (0xFFFFFFFF, 0)
        return builder.icmp_unsigned("==", builder.and_(args[0], _I64(control)), _I64(default))

    return types.boolean(types.int64), code


@intrinsic
def default_mode(typingctx):
    """Mode in which every thread starts."""
    return types.int64(), lambda context, builder, sig, args: _I64(_MXCSR_DEFAULT if _MACHINE == "x86_64" else 0)
