"""Our schedules as functions of a traced count."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from pyfastlr.schedules import Schedule
from pyfastlr.schedules.checks import got

from . import calls
from .settings import check_compilable


def schedule(schedule: Schedule, /) -> Callable[[Any], Any]:
    """Return one of our schedules as a schedule of optax: a function of the count that JAX can trace.

    Parameters
    ----------
    schedule : Schedule
        Made of curves, ours or your own. A controller, or a schedule around a Python callable, cannot be compiled.

    Returns
    -------
    callable
        ``f(count)`` for an integer or an array of integers >= 0, under jit, scan and vmap too. It returns float64 where
        JAX has it enabled, with the bits of ``schedule(n)``, else that rounded to float32. A negative count is 0.

    Raises
    ------
    TypeError
        If the argument is not such a schedule, or, when called, if the count is not an integer.

    Examples
    --------
    >>> import jax, optax
    >>> import pyfastlr.interop.jax as fj
    >>> from pyfastlr import schedules as S
    >>> rate = fj.schedule(S.Cosine(1e-3, steps=100).warmup(10))
    >>> print(jax.jit(rate)(5), rate(110))
    0.0005 0.0
    >>> optimizer = optax.sgd(rate)
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"`schedule` must be a schedule of pyfastlr, {got(schedule)}")
    check_compilable(schedule, "schedule")

    def at(count: Any) -> Any:
        count = jnp.asarray(count)
        if not jnp.issubdtype(count.dtype, np.integer):
            raise TypeError(f"`count` must be an integer, got {count.dtype}")
        return calls.schedule_values(schedule, count.astype(jnp.int32))

    at.__name__, at.__doc__ = "schedule", f"{schedule!r} at a count."
    return at
