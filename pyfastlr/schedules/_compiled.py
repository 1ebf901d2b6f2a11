"""A schedule's curve as compiled code: loaded by `Schedule.compiled`, the one place here that imports numba."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_jitable

from pyfastlr_kernels import curves
from pyfastlr_kernels.compile.intrinsics import hide
from pyfastlr_kernels.stamps import Stamp

# A division by zero is never met, and its check costs; fastmath would be inherited from the first caller that has it.
_jit = njit(error_model="numpy", fastmath=False)
_jit_once = cache(_jit)  # for curves, which are few

for _part in (curves.lerp, curves.grown, curves.passed, curves.cosine_fall, curves.atanh_rest, curves.stirling):
    register_jitable(error_model="numpy")(_part)  # what curves call by name


def _unknown() -> float:
    """Nothing tells whether the schedule that a cached function was compiled with is still meant: equal to nothing."""
    return math.nan


def _opaque(typingctx: Any, numbers: Any) -> Any:
    """Give the tuple back, its numbers unknown to the optimizer: numba freezes what a closure holds."""

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
    """Give an integer of any width as int64: an unsigned one less a signed one would be a float in numba."""
    if not isinstance(n, types.Integer):
        raise TypingError(f"the index of an update must be an integer, got {n}")
    return types.int64(n), lambda context, builder, _, args: context.cast(builder, args[0], n, types.int64)


opaque: Any = intrinsic(_opaque)
index: Any = intrinsic(_index)


def _constant(parameter: Any) -> Any:
    """Parameter as numba takes it: a tuple as an array, since the code for a tuple grows with its length."""
    if isinstance(parameter, tuple):
        return np.array(parameter, np.int64 if all(type(x) is int for x in parameter) else np.float64)
    return float(parameter) if isinstance(parameter, float) else int(parameter)


def compile_curve(curve: Callable[..., float], parameters: tuple[Any, ...]) -> Callable[[int], float]:
    """Compile ``curve(n, *parameters)`` as a function of n for `@njit` code; the functions come first."""
    calls = [p if hasattr(p, "py_func") else _jit_once(p) for p in parameters if callable(p)]
    numbers = tuple(_constant(p) for p in parameters if not callable(p))
    f = _jit_once(curve)
    # A tuple of functions would be typed as numba's experimental first-class functions, so each is named.
    match calls:
        case []:
            return _jit(lambda n: f(index(n), *opaque(numbers)))
        case [s]:
            return _jit(lambda n: f(index(n), s, *opaque(numbers)))
        case [s, t]:
            return _jit(lambda n: f(index(n), s, t, *opaque(numbers)))
    raise TypeError(f"a curve can call two functions at most, got {len(calls)}")
