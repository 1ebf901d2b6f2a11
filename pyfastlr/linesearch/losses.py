"""Losses from users' functions."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import describe


def loss_of(loss: Any, called: str) -> float:
    """Return a loss as a float. An integer too large for a float becomes infinity.

    `called` is the name of the user's function in errors.
    """
    scalar = getattr(loss, "ndim", 0) == 0 and hasattr(loss, "__float__")
    is_other = isinstance(loss, bool | str | bytes | complex) or (
        isinstance(loss, np.ndarray | np.generic) and loss.dtype.kind in "bcSUmM"
    )
    detach = getattr(loss, "detach", None)  # torch warns of tensors that require gradients
    try:
        if scalar and not is_other:
            return float(loss if detach is None else detach())
    except OverflowError:
        return math.inf if loss > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError):  # an object, a signaling NaN, torch's complex numbers
        pass
    raise TypeError(f"`{called}` must return a loss that is a number, got {described(loss)}")


def pair_of(result: Any, called: str) -> tuple[Any, Any]:
    """Return the two values that a user's function must return: the loss and the gradient."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise TypeError(f"`{called}` must return a pair (loss, gradient), got {described(result)}")
    return result[0], result[1]


def described(value: Any) -> str:
    """Describe a function's result in an error."""
    if isinstance(value, np.ndarray):
        return str(describe(value))
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r:.60}" if tree.kind_of(value) == "leaf" and np.isscalar(value) else type(value).__name__
