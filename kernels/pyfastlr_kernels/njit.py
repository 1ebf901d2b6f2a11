"""Steps inside users' own `@njit` code: any rule, folded and run over plain arrays, whatever the caller's flags.

The fold, the inner loop and the bits are the drive's (cpu/drive.py). Two features of numba would change the bits:

- A dispatcher that does not set `fastmath` inherits it from the first caller that compiles it, and keeps it for all
  others. So every option that shapes arithmetic is set (compile/options.py).
- Literals in the caller would reach the fold as constants. So they are hidden (intrinsics.hide).
"""

from collections import namedtuple
from functools import cache

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile.intrinsics import hide, read_numbers, write_numbers
from .compile.options import USER_PARTS
from .cpu.drive import make_fold
from .cpu.loop import make_update
from .rules import RULES
from .rules.contract import Common, numbers_like
from .stamps import Stamp
from .tables import constants

COMMON = ("lr", "lr_scale", "weight_decay")  # hyperparameters of every step, before those of RULES[...].hyper


@intrinsic
def chosen(typingctx, given, default):
    """Each given number as a float64 hidden from LLVM's optimizer, or the default for None."""
    k = len(given)

    def code(context, builder, sig, args):
        out = []
        for j, kind in enumerate(given):
            at, has = (1, default.dtype) if kind == types.none else (0, kind)
            value = context.cast(builder, builder.extract_value(args[at], j), has, types.float64)
            out.append(hide(builder, value))
        return context.make_tuple(builder, sig.return_type, out)

    return types.UniTuple(types.float64, k)(given, default), code


@intrinsic
def rounded(typingctx, numbers, like):
    """Float64 numbers in the dtype of `like`, a tuple of the same kind."""
    k = len(numbers)

    def code(context, builder, sig, args):
        out = [context.cast(builder, builder.extract_value(args[0], j), types.float64, like.dtype) for j in range(k)]
        return context.make_tuple(builder, sig.return_type, out)

    return like(numbers, like), code


def _each(context, builder, arrays, values):
    """Array structures of a tuple of arrays."""
    return [
        context.make_array(kind)(context, builder, builder.extract_value(values, j)) for j, kind in enumerate(arrays)
    ]


@intrinsic
def starts(typingctx, arrays):
    """Pointer to the first element of each array; all have the same dtype."""
    result = types.UniTuple(types.CPointer(arrays[0].dtype), len(arrays))

    def code(context, builder, sig, args):
        return context.make_tuple(builder, result, [x.data for x in _each(context, builder, arrays, args[0])])

    return result(arrays), code


@intrinsic
def shapes(typingctx, arrays):
    """Shape of each array; all have the same number of dimensions."""
    result = types.UniTuple(types.UniTuple(types.intp, arrays[0].ndim), len(arrays))

    def code(context, builder, sig, args):
        return context.make_tuple(builder, result, [x.shape for x in _each(context, builder, arrays, args[0])])

    return result(arrays), code


@intrinsic
def set_aside(typingctx, ptr, count):
    """Address of a copy of `count` elements, or MemoryError. Compiles in a tenth of the time of `array.copy()`."""

    def code(context, builder, sig, args):
        size = builder.mul(args[1], args[1].type(context.get_abi_sizeof(args[0].type.pointee)))
        kept = context.nrt.allocate(builder, size)
        cgutils.raw_memcpy(builder, kept, args[0], size, 1)
        return builder.ptrtoint(kept, context.get_value_type(types.intp))

    return types.intp(ptr, types.intp), code


@intrinsic
def put_back(typingctx, ptr, count, kept):
    """Overwrite the elements with the copy that `set_aside` made, and free it."""

    def code(context, builder, sig, args):
        size = builder.mul(args[1], args[1].type(context.get_abi_sizeof(args[0].type.pointee)))
        kept = builder.inttoptr(args[2], cgutils.voidptr_t)
        cgutils.raw_memcpy(builder, args[0], kept, size, 1)
        context.nrt.free(builder, kept)
        return context.get_dummy_value()

    return types.void(ptr, types.intp, types.intp), code


def make_stamp(current):
    """Make an intrinsic that leaves a stamp in every cached function that contains it."""

    @intrinsic
    def stamp(typingctx):
        def code(context, builder, sig, args):
            Stamp(current).leave(context)
            return context.get_dummy_value()

        return types.void(), code

    return stamp


@cache
def _update(update, sets):
    """Make the inner loop, compiled once for all folds of a rule."""
    return make_update(update, False, USER_PARTS, sets)


@cache
def make_kernel(name, fold, dtype, current):
    """Make the step of a rule with one of its folds over arrays, ``kernel(p, g, state, n, given, default, decay)``.

    `given` has COMMON and the rule's hyperparameters, each a number or None; `default` replaces each None; `decay` is
    the kind of weight decay (tables.COUPLED, DECOUPLED or INDEPENDENT). The caller has checked the types; shapes and n
    are checked here. `current` returns the digest of the sources.
    """
    rule = RULES[name]
    real = np.dtype(dtype).type
    zero, one = real(0), real(1)
    tiny, half_ulp = constants(dtype).values()
    n_slots, n_carry, carry_like = len(rule.slots), len(rule.carry), rule.carry
    h_like, r_like = numbers_like(rule, fold, real)
    common_like = Common(zero, zero, zero, zero)
    fold, update = make_fold(fold, USER_PARTS), _update(rule.update, rule.sets)
    stamp = make_stamp(current)
    config = namedtuple("config", (*COMMON, *rule.hyper, "decay", "tiny", "half_ulp"))

    @njit(**USER_PARTS)
    def kernel(p, g, state, n, given, default, decay):
        stamp()
        operands = (p, g, *state[:n_slots])
        for shape in shapes(operands):
            if shape != p.shape:
                raise ValueError("`g` and each array of `state` must have the shape of `p`")
        if n < 0:
            raise ValueError("`n` must be >= 0: it is the 0-based index of the update")
        if n_carry and state[-1].size != n_carry:
            raise ValueError("the last array of `state` must have one element")
        carry_address = state[-1].ctypes.data if n_carry else 0
        (t,) = chosen((np.int64(n) + 1,), (0.0,))
        c = config(*chosen(given, default), decay, tiny, half_ulp)
        common, h, r, carry = fold(c, t, read_numbers(carry_address, carry_like))
        x = starts(operands)
        kept = set_aside(x[0], p.size) if common.moves == 0 else 0  # frozen: only the state changes
        update(p.size, x[0], x[1], x[0], x[2:], rounded(h, h_like), rounded(r, r_like), one,
               rounded(common, common_like))  # fmt: skip
        if kept:
            put_back(x[0], p.size, kept)
        write_numbers(carry_address, carry)

    return kernel
