"""Operations on packed state (packing.py) that numba lacks: integers of 32 bits, and reinterpreted bits.

numba computes with 64-bit integers, half as many at once. Nothing here depends on a rule.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pyfastlr_kernels.packing import BFLOAT16, BLOCK, E4M4, E4M4_FIRST, E4M4_SHIFT, SIGNED, STEPS

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_WEYL = 0x9E3779B1  # odd, 2**32 divided by the golden ratio

# --- Memory and random numbers ----------------------------------------------------------------------------------------


def make_stack(size):
    """Make ``stack()``: the address of so many bytes in the frame of the function with this."""

    @intrinsic
    def stack(typingctx):
        def code(context, builder, sig, args):
            place = cgutils.alloca_once(builder, ir.ArrayType(_I8, size))
            place.align = 64
            return builder.ptrtoint(place, _I64)

        return types.int64(), code

    return stack


@intrinsic
def block_pointers(typingctx, start, likes):
    """Pointer to a block of each item's type, one after another."""
    result = types.BaseTuple.from_types([types.CPointer(like) for like in likes])

    def code(context, builder, sig, args):
        starts = (builder.add(args[0], _I64(j * BLOCK * 4)) for j in range(len(likes)))
        out = [builder.inttoptr(x, context.get_value_type(kind)) for x, kind in zip(starts, result, strict=True)]
        return context.make_tuple(builder, sig.return_type, out)

    return result(types.int64, likes), code


@intrinsic
def mixed(typingctx, key, k):
    """Key number k that follows from a key, 64 bits: SplitMix64's finalizer (Steele, Lea and Flood, 2014)."""

    def code(context, builder, sig, args):
        x = builder.add(args[0], builder.mul(args[1], _I64(0x9E3779B97F4A7C15)))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = builder.mul(builder.xor(x, builder.lshr(x, _I64(shift))), _I64(factor))
        return builder.xor(x, builder.lshr(x, _I64(31)))

    return types.int64(key, types.int64), code


@intrinsic
def noise_of(typingctx, key, i):
    """32 random bits of element i: Wellons' lowbias32 without its first shift, because the key is random."""

    def code(context, builder, sig, args):
        x = builder.xor(builder.trunc(args[0], _I32), builder.trunc(args[1], _I32))
        x = builder.mul(x, _I32(0x7FEB352D))
        x = builder.mul(builder.xor(x, builder.lshr(x, _I32(15))), _I32(0x846CA68B))
        return builder.xor(x, builder.lshr(x, _I32(16)))

    return types.uint32(key, types.int64), code


def _word(builder, noise, key):
    """32 random bits: those of an element's number inside of its block, changed by those of the block."""
    low, high = builder.trunc(key, _I32), builder.trunc(builder.lshr(key, _I64(32)), _I32)
    return builder.xor(builder.add(noise, low), high)


def _half(builder, word, k):
    """16 bits of a word for slot k: its halves, then half of a product of it."""
    if k > 1:
        word = builder.mul(word, _I32(_WEYL))
    return builder.and_(word, _I32(0xFFFF)) if k == 0 else builder.lshr(word, _I32(16))


# --- Loads and stores of all slots ------------------------------------------------------------------------------------


def _unpacked(builder, value, kind, step):
    if kind == BFLOAT16:
        return builder.bitcast(builder.shl(builder.zext(value, _I32), _I32(16)), _F32)
    wide = builder.sext(value, _I32) if kind == SIGNED else builder.zext(value, _I32)
    if kind == E4M4:
        return builder.fmul(
            builder.bitcast(builder.shl(builder.add(wide, _I32(E4M4_FIRST)), _I32(E4M4_SHIFT)), _F32), step
        )
    return builder.fmul(builder.sitofp(wide, _F32), step)


def make_load(kinds):
    """Make ``load(ptrs, i, steps)``: the tuple of float32 of element i of each slot, whose formats are `kinds`."""

    @intrinsic
    def load_packed(typingctx, ptrs, i, steps):
        result = types.UniTuple(types.float32, len(kinds))

        def code(context, builder, sig, args):
            out = []
            for j, kind in enumerate(kinds):
                value = builder.load(builder.gep(builder.extract_value(args[0], j), [args[1]]))
                out.append(_unpacked(builder, value, kind, builder.extract_value(args[2], j) if len(steps) else None))
            return context.make_tuple(builder, sig.return_type, out)

        return result(ptrs, i, steps), code

    return load_packed


@intrinsic
def store_bfloat16(typingctx, ptrs, i, values, noise, key):
    """Round each value to bfloat16: up where its lower half and 16 random bits exceed 16 bits. NaN stays NaN."""

    def code(context, builder, sig, args):
        word = _word(builder, args[3], args[4])
        for j in range(len(ptrs)):
            bits = builder.bitcast(builder.extract_value(args[2], j), _I32)
            for below in (
                builder.icmp_signed,
                builder.icmp_unsigned,
            ):  # NaN, with either sign, whose sum would overflow
                limit = _I32(0x7FFF0000 if below == builder.icmp_signed else 0xFFFF0000)
                bits = builder.select(below("<", bits, limit), bits, limit)
            rounded = builder.lshr(builder.add(bits, _half(builder, word, j)), _I32(16))
            place = builder.gep(builder.extract_value(args[0], j), [args[1]])
            builder.store(builder.trunc(rounded, _I16), place)
        return context.get_dummy_value()

    return types.void(ptrs, i, values, types.uint32, types.int64), code


@intrinsic
def largest_of(typingctx, tops, values):
    """For each slot, the larger of `tops` and the bits of its absolute value, which are ordered like the numbers.

    NaN is above infinity. As a maximum of integers, the order does not matter, so loops are vectorised.
    """

    def code(context, builder, sig, args):
        out = []
        for j in range(len(tops)):
            bits = builder.and_(builder.bitcast(builder.extract_value(args[1], j), _I32), _I32(0x7FFFFFFF))
            top = builder.extract_value(args[0], j)
            out.append(builder.select(builder.icmp_unsigned(">", bits, top), bits, top))
        return context.make_tuple(builder, sig.return_type, out)

    return tops(tops, values), code


@intrinsic
def products(typingctx, a, b):
    """Product of each pair of float32."""

    def code(context, builder, sig, args):
        pairs = [[builder.extract_value(x, j) for x in args] for j in range(len(a))]
        return context.make_tuple(builder, sig.return_type, [builder.fmul(*pair) for pair in pairs])

    return a(a, b), code


# --- Codes of 8 bits --------------------------------------------------------------------------------------------------


@intrinsic
def from_bits(typingctx, x):
    """Float32 with these bits."""
    return types.float32(types.uint32), lambda context, builder, sig, args: builder.bitcast(args[0], _F32)


def _limited(builder, x, low, high):
    x = builder.select(builder.icmp_signed("<", x, _I32(low)), _I32(low), x)
    return builder.select(builder.icmp_signed(">", x, _I32(high)), _I32(high), x)


def make_code(kind, k):
    """Make ``code(x, noise, key)`` of slot k: a float32 that was divided by its block's scale, rounded to a code."""
    low, high = (-127, 127) if kind == SIGNED else (1, 255)

    @intrinsic
    def code(typingctx, x, noise, key):
        def build(context, builder, sig, args):
            random = _half(builder, _word(builder, args[1], args[2]), k)
            if kind == E4M4:  # the sum of the bits carries into code and exponent
                random = builder.shl(random, _I32(E4M4_SHIFT - 16))
                bits = builder.lshr(builder.add(builder.bitcast(args[0], _I32), random), _I32(E4M4_SHIFT))
                found = builder.sub(bits, _I32(E4M4_FIRST))
            else:  # with 16 bits behind the point
                point = ir.Constant(_F32, float(STEPS[kind]) * 65536)
                fixed = builder.fptosi(builder.fmul(args[0], point), _I32)
                found = builder.ashr(builder.add(fixed, random), _I32(16))
            return builder.trunc(_limited(builder, found, low, high), _I8)

        return (types.int8 if kind == SIGNED else types.uint8)(types.float32, types.uint32, types.int64), build

    return code
