"""Compiled curves. `Schedule.compiled` imports this module, and with it numba, on first use."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_jitable

from pyfastlr_kernels import compat_curves, curves
from pyfastlr_kernels.compile.intrinsics import hide
from pyfastlr_kernels.compile.options import USER_OPTIONS
from pyfastlr_kernels.stamps import Stamp

_jit = njit(**USER_OPTIONS)
_jit_once = cache(_jit)  # for curves: there are only a few

for _part in (
    *(curves.lerp, curves.grown, curves.peak_of, curves.passed, curves.cosine_fall, curves.atanh_rest, curves.stirling),
    *(compat_curves.cycle_at, compat_curves.cycle_fraction, compat_curves.window),
):
    register_jitable(**USER_OPTIONS)(_part)  # the functions that curves call by name


def _unknown() -> float:
    """Return NaN. It never equals itself, so a function cached with an earlier schedule is always compiled again."""
    return math.nan


def _opaque(typingctx: Any, numbers: Any) -> Any:
    """Return the tuple with its numbers hidden from LLVM: numba makes a closure's values constants."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        Stamp(_unknown).leave(context)
        items = [builder.extract_value(args[0], i) for i in range(len(numbers))]
        hidden = [
            hide(builder, item) if isinstance(kind, types.Float | types.Integer) else item
            for kind, item in zip(numbers, items, strict=True)
        ]
        return context.make_tuple(builder, numbers, hidden)

    return numbers(numbers), code


def _index(typingctx: Any, n: Any) -> Any:
    """Return an integer of any width as int64: in numba, an unsigned minus a signed integer is a float."""
    if not isinstance(n, types.Integer):
        raise TypingError(f"the index of an update must be an integer, got {n}")
    return types.int64(n), lambda context, builder, _, args: context.cast(builder, args[0], n, types.int64)


opaque: Any = intrinsic(_opaque)
index: Any = intrinsic(_index)


def _constant(parameter: Any) -> Any:
    """Return a parameter in numba's form. A tuple becomes an array, because a tuple's code grows with its length."""
    if isinstance(parameter, tuple):
        return np.array(parameter, np.int64 if all(type(x) is int for x in parameter) else np.float64)
    return float(parameter) if isinstance(parameter, float) else int(parameter)


def compile_curve(curve: Callable[..., float], parameters: tuple[Any, ...]) -> Callable[[int], float]:
    """Compile ``curve(n, *parameters)`` as a function of n for `@njit` code; parameters that are functions come first.

    Call it only through `pyfastlr_kernels.compile.first_use.whole`: an interrupt would leave numba in a broken state.
    """
    calls = [p if hasattr(p, "py_func") else _jit_once(p) for p in parameters if callable(p)]
    numbers = tuple(_constant(p) for p in parameters if not callable(p))
    compiled = _of_index(_jit_once(curve), calls, numbers)
    if global_compiler_lock._lock.acquire(blocking=False):  # otherwise its owner may wait for this thread
        try:
            compiled.compile((types.int64,))
        finally:
            global_compiler_lock._lock.release()
    return compiled  # type: ignore[no-any-return]


def _of_index(f: Any, calls: list[Any], numbers: tuple[Any, ...]) -> Any:
    """Return ``f(n, *calls, *numbers)`` as a function of n, not compiled yet.

    numba would type a tuple of functions as experimental first-class functions, so each has a name.
    """
    match calls:
        case []:
            return _jit(lambda n: f(index(n), *opaque(numbers)))
        case [s]:
            return _jit(lambda n: f(index(n), s, *opaque(numbers)))
        case [s, t]:
            return _jit(lambda n: f(index(n), s, t, *opaque(numbers)))
    raise TypeError(f"a curve can call at most two functions, got {len(calls)}")
