"""Conversions between float32 and numbers of 16 bits, bfloat16 and float16, by operations on their bits.

Not by instructions (F16C, AVX512_BF16): LLVM calls a library where a CPU lacks them, which the process does not have.
These here are vectorised on every CPU, with the same bits. Memory has numbers of 16 bits as uint16. Nothing here
depends on a rule.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pyfastlr_kernels.packing import BFLOAT16

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_SIGN, _MAGNITUDE, _INFINITY = 0x80000000, 0x7FFFFFFF, 0x7F800000
# float16 has 5 bits of exponent and 10 of mantissa, float32 8 and 23. As bits of a float32:
_SHIFT = 13
_SMALLEST_NORMAL = 0x38800000  # 2**-14
_TOO_LARGE = 0x47800000  # 2**16
_BIAS = (127 - 15) << 23
_HALF = 0x3F000000  # 0.5, whose last place is 2**-24, float16's smallest number


def _below(builder, a, b):
    return builder.icmp_unsigned("<", a, _I32(b))


# --- To float32, which is exact ---------------------------------------------------------------------------------------


def _widened(builder, x, kind):
    """Float32 of the 16 bits x."""
    x = builder.zext(x, _I32)
    if kind == BFLOAT16:
        return builder.bitcast(builder.shl(x, _I32(16)), _F32)
    sign = builder.shl(builder.and_(x, _I32(0x8000)), _I32(16))
    m = builder.shl(builder.and_(x, _I32(0x7FFF)), _I32(_SHIFT))
    # A subnormal is its mantissa times 2**-24: as the mantissa of 2**-14 * 1.m, minus 2**-14. No float32 is subnormal.
    first = _I32(_BIAS + (1 << 23))
    small = builder.fsub(builder.bitcast(builder.add(m, first), _F32), builder.bitcast(first, _F32))
    bits = builder.add(m, builder.select(_below(builder, m, 0x7C00 << _SHIFT), _I32(_BIAS), _I32(2 * _BIAS)))
    bits = builder.select(_below(builder, m, 0x0400 << _SHIFT), builder.bitcast(small, _I32), bits)
    return builder.bitcast(builder.or_(bits, sign), _F32)


def make_widen(kind):
    """Make ``widen(ptr, i)``: number i at a pointer to 16-bit numbers, as a float32."""

    @intrinsic
    def widen(typingctx, ptr, i):
        def code(context, builder, sig, args):
            return _widened(builder, builder.load(builder.gep(args[0], [args[1]])), kind)

        return types.float32(ptr, i), code

    return widen


# --- From float32 -----------------------------------------------------------------------------------------------------


def _rounded(builder, x, kind, random):
    """The 16 bits of a float32: of the nearest number, ties to even, or with 16 random bits up or down at random."""
    bits = builder.bitcast(x, _I32)
    sign, a = builder.and_(bits, _I32(_SIGN)), builder.and_(bits, _I32(_MAGNITUDE))
    shift = 16 if kind == BFLOAT16 else _SHIFT
    if random is None:
        odd = builder.and_(builder.lshr(a, _I32(shift)), _I32(1))
        added = builder.add(odd, _I32((1 << (shift - 1)) - 1))
    else:
        added = builder.lshr(random, _I32(16 - shift))
    # What is added carries into the exponent, and from the largest number to infinity.
    found = builder.lshr(builder.add(a, added), _I32(shift))
    nan = builder.or_(builder.lshr(a, _I32(16)), _I32(0x40))
    if kind != BFLOAT16:
        found = builder.sub(found, _I32(_BIAS >> _SHIFT))
        number = builder.bitcast(a, _F32)
        if random is None:
            small = builder.sub(
                builder.bitcast(builder.fadd(number, builder.bitcast(_I32(_HALF), _F32)), _I32), _I32(_HALF)
            )
        else:  # as an integer, in units of 2**-24 and 13 more bits
            fixed = builder.fptosi(builder.fmul(number, ir.Constant(_F32, 2.0 ** (24 + _SHIFT))), _I32)
            small = builder.lshr(builder.add(fixed, added), _I32(_SHIFT))
        found = builder.select(_below(builder, a, _SMALLEST_NORMAL), small, found)
        found = builder.select(_below(builder, a, _TOO_LARGE), found, _I32(0x7C00))
        nan = _I32(0x7E00)
    elif random is not None:  # a random number may carry an infinity to NaN
        found = builder.select(builder.icmp_unsigned("==", a, _I32(_INFINITY)), _I32(_INFINITY >> 16), found)
    found = builder.select(builder.icmp_unsigned(">", a, _I32(_INFINITY)), nan, found)
    return builder.trunc(builder.or_(found, builder.lshr(sign, _I32(16))), _I16)


def make_is_nearest(kind):
    """Make ``is_nearest(ptr, i, x)``: whether number i at a pointer is what a float32 rounds to."""

    @intrinsic
    def is_nearest(typingctx, ptr, i, x):
        def code(context, builder, sig, args):
            there = builder.load(builder.gep(args[0], [args[1]]))
            return builder.icmp_unsigned("==", _rounded(builder, args[2], kind, None), there)

        return types.boolean(ptr, i, types.float32), code

    return is_nearest


def make_put_nearest(kind):
    """Make ``put_nearest(ptr, i, x)``: store a float32 as number i, the nearest one."""

    @intrinsic
    def put_nearest(typingctx, ptr, i, x):
        def code(context, builder, sig, args):
            builder.store(_rounded(builder, args[2], kind, None), builder.gep(args[0], [args[1]]))
            return context.get_dummy_value()

        return types.void(ptr, i, types.float32), code

    return put_nearest


def make_put_random(kind):
    """Make ``put_random(ptr, i, x, word)``: store a float32 as number i, rounded by 32 random bits.

    It is rounded up with the probability with which the mean of the results is x.
    """

    @intrinsic
    def put_random(typingctx, ptr, i, x, word):
        def code(context, builder, sig, args):
            random = builder.lshr(args[3], _I32(16))
            builder.store(_rounded(builder, args[2], kind, random), builder.gep(args[0], [args[1]]))
            return context.get_dummy_value()

        return types.void(ptr, i, types.float32, types.uint32), code

    return put_random


# --- Numbers in two parts ---------------------------------------------------------------------------------------------
#
# A float32 as a number of 16 bits and a signed rest of 16 bits. With bfloat16, the rest is the difference of the bits:
# nothing is lost. With float16 too, if the number is normal; else the rest counts units of 2**-40.


def _small_rest(builder, bits, wide):
    """Rest of a float32 whose float16 is subnormal: their difference in units of 2**-40, both without sign."""
    a, b = (builder.bitcast(builder.and_(x, _I32(_MAGNITUDE)), _F32) for x in (bits, wide))
    scaled = builder.fmul(builder.fsub(a, b), ir.Constant(_F32, 2.0**40))
    magic = ir.Constant(_F32, 1.5 * 2.0**23)  # adding it rounds to an integer
    found = builder.fptosi(builder.fsub(builder.fadd(scaled, magic), magic), _I32)
    # 2**15 is halfway to another number, which the sum could round to.
    found = builder.select(builder.icmp_signed(">", found, _I32(0x7FFF)), _I32(0x7FFF), found)
    return builder.select(builder.icmp_signed("<", found, _I32(-0x7FFF)), _I32(-0x7FFF), found)


def _is_subnormal(builder, x):
    return _below(builder, builder.and_(builder.zext(x, _I32), _I32(0x7FFF)), 0x0400)


def _is_special(builder, x, kind):
    """Whether 16 bits are an infinity or NaN, which have no rest."""
    exponent = _I32(0x7F80 if kind == BFLOAT16 else 0x7C00)
    return builder.icmp_unsigned("==", builder.and_(builder.zext(x, _I32), exponent), exponent)


def make_join(kind):
    """Make ``join(ptr, rests, i)``: the float32 of number i and its rest."""

    @intrinsic
    def join(typingctx, ptr, rests, i):
        def code(context, builder, sig, args):
            x, rest = (builder.load(builder.gep(p, [args[2]])) for p in args[:2])
            rest = builder.sext(rest, _I32)
            wide = builder.bitcast(_widened(builder, x, kind), _I32)
            found = builder.add(wide, rest)
            if kind != BFLOAT16:
                unit = builder.fmul(builder.sitofp(rest, _F32), ir.Constant(_F32, 2.0**-40))
                sum_ = builder.fadd(builder.bitcast(builder.and_(wide, _I32(_MAGNITUDE)), _F32), unit)
                small = builder.xor(builder.bitcast(sum_, _I32), builder.and_(wide, _I32(_SIGN)))
                found = builder.select(_is_subnormal(builder, x), small, found)
            # The user may have written another number, which the rest does not belong to. With bfloat16, every rest
            # fits every number but zero, which has none below it.
            if kind == BFLOAT16:
                is_zero = builder.icmp_unsigned("==", builder.and_(wide, _I32(_MAGNITUDE)), _I32(0))
                fits = builder.not_(builder.and_(is_zero, builder.icmp_signed("<", rest, _I32(0))))
            else:
                fits = builder.icmp_unsigned("==", _rounded(builder, builder.bitcast(found, _F32), kind, None), x)
            found = builder.select(fits, found, wide)
            return builder.bitcast(builder.select(_is_special(builder, x, kind), wide, found), _F32)

        return types.float32(ptr, rests, i), code

    return join


def make_put_split(kind):
    """Make ``put_split(ptr, rests, i, x)``: store a float32 as number i, the nearest one, and its rest.

    Of two nearest bfloat16, it is the one away from zero, so that the rest has 16 bits.
    """

    @intrinsic
    def put_split(typingctx, ptr, rests, i, x):
        def code(context, builder, sig, args):
            bits = builder.bitcast(args[3], _I32)
            if kind == BFLOAT16:
                a = builder.and_(bits, _I32(_MAGNITUDE))
                found = builder.lshr(builder.add(bits, _I32(0x8000)), _I32(16))
                nan = builder.or_(builder.lshr(bits, _I32(16)), _I32(0x40))
                found = builder.trunc(builder.select(builder.icmp_unsigned(">", a, _I32(_INFINITY)), nan, found), _I16)
                rest = builder.sub(bits, builder.shl(builder.zext(found, _I32), _I32(16)))
            else:
                found = _rounded(builder, args[3], kind, None)
                wide = builder.bitcast(_widened(builder, found, kind), _I32)
                small = _small_rest(builder, bits, wide)
                rest = builder.select(_is_subnormal(builder, found), small, builder.sub(bits, wide))
            rest = builder.select(_is_special(builder, found, kind), _I32(0), rest)
            builder.store(found, builder.gep(args[0], [args[2]]))
            builder.store(builder.trunc(rest, _I16), builder.gep(args[1], [args[2]]))
            return context.get_dummy_value()

        return types.void(ptr, rests, i, types.float32), code

    return put_split


# --- Random bits, and what is not finite ------------------------------------------------------------------------------


@intrinsic
def word_of(typingctx, key, i):
    """32 random bits of element i under a key of 64 bits: Wellons' lowbias32 of both."""

    def code(context, builder, sig, args):
        low, high = builder.trunc(args[0], _I32), builder.trunc(builder.lshr(args[0], _I64(32)), _I32)
        x = builder.add(builder.xor(builder.trunc(args[1], _I32), low), high)
        x = builder.mul(builder.xor(x, builder.lshr(x, _I32(16))), _I32(0x7FEB352D))
        x = builder.mul(builder.xor(x, builder.lshr(x, _I32(15))), _I32(0x846CA68B))
        return builder.xor(x, builder.lshr(x, _I32(16)))

    return types.uint32(key, types.int64), code


@intrinsic
def is_not_finite(typingctx, ptr, i, exponent):
    """1 if number i at a pointer to 16-bit numbers is infinite or NaN, else 0. `exponent` has the exponent's bits."""

    def code(context, builder, sig, args):
        x = builder.and_(builder.zext(builder.load(builder.gep(args[0], [args[1]])), _I64), args[2])
        return builder.zext(builder.icmp_unsigned("==", x, args[2]), _I64)

    return types.int64(ptr, i, types.int64), code
