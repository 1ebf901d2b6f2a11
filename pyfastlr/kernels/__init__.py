"""Optimizer steps for your own `@njit` code: the classes' updates, bit for bit, inside a compiled loop.

Each function updates `p` and `state` in place. It is a numba dispatcher: call it from Python, or from `@njit` code with
any flags, where it becomes part of your function. It compiles at its first call; see docs/njit.md. All have the form

    name(p, g, state, n, lr, <the class's own hyperparameters>, weight_decay, decay, convention, lr_scale)

None is the convention's default, as in the classes. Unlike the classes, the functions do not check the ranges of
numbers. A call from Python with `decay` or `convention` is compiled for the literal each time, which takes 10 ms;
without them a call takes 1 us. The functions do not detect arrays that partly overlap.

The functions are generated from the optimizer classes' declarations (pyfastlr.optimizers.functions).
`global_norm` and `clip_by_global_norm` are for the gradients before such a step.
"""

from importlib import import_module as _import_module

from pyfastlr_kernels.compile.first_use import whole as _whole

_whole(lambda: _import_module("numba"))  # an interrupt must not leave it half imported

from pyfastlr.optimizers.functions import FUNCTIONS as _FUNCTIONS  # noqa: E402

from .entry import make as _make  # noqa: E402
from .norms import NORMS as _NORMS  # noqa: E402

__all__ = [*_FUNCTIONS, *_NORMS]  # known once the classes are defined

globals().update({**{name: _make(function) for name, function in _FUNCTIONS.items()}, **_NORMS})
