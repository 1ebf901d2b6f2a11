"""Checks of what users hand over: numbers and counts."""

import math
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe


def real(value: Any, called: str) -> float:
    """A real number as a float, which may be NaN or infinite: of Python, numpy, torch or jax; True and False are 1, 0.

    Raises
    ------
    TypeError
        If it is anything else, an array of one dimension or more among it.
    """
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, str | bytes | complex | np.complexfloating) or not hasattr(value, "__float__"):
        raise TypeError(f"`{called}` must be a real number, got {value!r:.60}")
    if getattr(value, "ndim", 0) != 0:
        raise TypeError(f"`{called}` must be a real number, got an array: {_shape(value)}")
    detach = getattr(value, "detach", None)  # torch warns of tensors that require gradients
    try:
        return float(value if detach is None else detach())
    except OverflowError:  # an integer beyond all floats
        return math.inf if value > 0 else -math.inf


def _shape(value: Any) -> str:
    return str(describe(value)) if isinstance(value, np.ndarray) else f"{type(value).__name__} of {tuple(value.shape)}"


def count(value: Any, called: str, least: int = 1) -> int:
    """An integer from `least` on."""
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"`{called}` must be an integer >= {least}, got {value!r:.60}")
    result = int(value.__index__())
    if result < least:
        raise ValueError(f"`{called}` must be an integer >= {least}, got {value!r}")
    return result
