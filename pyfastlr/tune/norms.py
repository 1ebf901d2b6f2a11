"""The norm of a gradient."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array

PIECE = 1 << 14  # elements


def norm(arrays: Any) -> float:
    """Return the Euclidean norm of all elements together, summed in float64.

    Parameters
    ----------
    arrays : array, Flat, dict or list
        For example a gradient. Entries that are None are left out.

    Returns
    -------
    float
        NaN if an element is NaN, otherwise infinity if one is infinite. Squares do not overflow or underflow.

    Raises
    ------
    TypeError, ValueError
        If an entry is not an array of real numbers, or there are no arrays.

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
    vectors = [_numbers(x) for x in leaves if x is not None]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = sum(float(x @ x) for x in _pieces(vectors))
        if 1e-290 < total < math.inf:
            return math.sqrt(total)
        largest = max((float(np.abs(x).max()) for x in _pieces(vectors)), default=0.0)
        if math.isnan(total) or not 0.0 < largest < math.inf:  # NaN wins over infinity
            return math.nan if any(np.isnan(x).any() for x in _pieces(vectors)) else largest
        return largest * math.sqrt(sum(float((x / largest) @ (x / largest)) for x in _pieces(vectors)))


def _numbers(x: Any) -> Array:
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`arrays` must hold arrays of real numbers, got {array.dtype} of {type(x).__name__}")
    return array.reshape(-1)


def _pieces(vectors: Iterable[Array]) -> Iterator[Array]:
    """All elements in float64, in pieces that fit into the cache."""
    for x in vectors:
        for start in range(0, x.size, PIECE):
            yield x[start : start + PIECE].astype(np.float64, copy=False)
