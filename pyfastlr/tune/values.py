"""Checks of numbers and counts from users."""

import math
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe


def real(value: Any, called: str) -> float:
    """Return a real number of Python, numpy, torch or jax as a float, which may be NaN or infinite. True is 1.

    Raises
    ------
    TypeError
        If it is anything else, such as an array with one or more dimensions.
    """
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, str | bytes | complex | np.complexfloating) or not hasattr(value, "__float__"):
        raise TypeError(f"`{called}` must be a real number, got {value!r:.60}")
    if getattr(value, "ndim", 0) != 0:
        raise TypeError(f"`{called}` must be a real number, got an array: {_shape(value)}")
    detach = getattr(value, "detach", None)  # float(tensor) gives a warning if the tensor requires gradients
    try:
        return float(value if detach is None else detach())
    except OverflowError:  # an integer too large for a float
        return math.inf if value > 0 else -math.inf


def _shape(value: Any) -> str:
    return str(describe(value)) if isinstance(value, np.ndarray) else f"{type(value).__name__} of {tuple(value.shape)}"


def count(value: Any, called: str, least: int = 1) -> int:
    """Return an integer that is at least `least`."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"`{called}` must be an integer >= {least}, got {value!r:.60}")
    result = int(value.__index__())
    if result < least:
        raise ValueError(f"`{called}` must be an integer >= {least}, got {value!r}")
    return result
