"""The norm of a gradient."""

import math
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat


def norm(arrays: Any) -> float:
    """Euclidean norm of all elements together, summed in float64.

    Parameters
    ----------
    arrays : array, Flat, dict or list
        Such as a gradient; entries that are None are left out.

    Returns
    -------
    float
        NaN if an element is NaN, infinity if one is infinite. No square overflows or vanishes on the way.

    Raises
    ------
    TypeError, ValueError
        If something is not an array of real numbers, or there is nothing at all.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> tune.norm({"w": np.array([3.0, 0.0]), "b": np.array([4.0], np.float32)})
    5.0

    Notes
    -----
    torch has `torch.nn.utils.get_total_norm`, optax `global_norm`.
    """
    leaves = [arrays.buffer] if isinstance(arrays, Flat) else tree.flatten(arrays, "arrays")[2]
    parts = [_numbers(x) for x in leaves if x is not None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = sum(float(x @ x) for x in parts)
        if 1e-290 < total < math.inf:
            return math.sqrt(total)
        largest = max((float(np.abs(x).max()) for x in parts if x.size), default=0.0)
        if math.isnan(total) or not 0.0 < largest < math.inf:  # NaN is not to be lost beside an infinity
            return math.nan if any(np.isnan(x).any() for x in parts) else largest
        return largest * math.sqrt(sum(float((x / largest) @ (x / largest)) for x in parts))


def _numbers(x: Any) -> Any:
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`arrays` must hold arrays of real numbers, got {array.dtype} of {type(x).__name__}")
    return array.astype(np.float64, copy=False).reshape(-1)
