"""Optimizer steps for your own `@njit` code: the classes' updates, bit for bit, inside a compiled loop.

Each function updates `p` and `state` in place. It is a numba dispatcher: call it from `@njit` code with any flags,
where it becomes part of your function, or from Python. It compiles at its first call; docs/njit.md has more. All take

    name(p, g, state, n, lr, <the class' own hyperparameters>, weight_decay, decay, convention, lr_scale)

None is the convention's default, as in the classes. Numbers are used as they come; the classes check their ranges.
From Python a call with `decay` or `convention` is compiled against its literal each time, which takes 10 ms; without
one it takes 1 us. Arrays that overlap partly are the caller's fault, and not noticed.

The functions are made from the optimizer classes' declarations (pyfastlr.optimizers.functions).
"""

from importlib import import_module as _import_module

from pyfastlr_kernels.compile.first_use import whole as _whole

_whole(lambda: _import_module("numba"))  # an interrupt must not leave half of it

from pyfastlr.optimizers.functions import FUNCTIONS as _FUNCTIONS  # noqa: E402

from .entry import make as _make  # noqa: E402

__all__ = list(_FUNCTIONS)  # names that are known when the classes are

globals().update({name: _make(function) for name, function in _FUNCTIONS.items()})
