"""A gradient that has only some rows of its array."""

from typing import Any

import numpy as np

from .host import describe
from .lenders import can_lend, lent
from .tree import type_name


class Rows:
    """Some rows of a gradient: in place of an array's gradient in ``opt.step``, for a table of embeddings.

    Only these rows of the array are updated, and only they are read: a step takes time for them, not for the table. It
    is checked by the step, which copies nothing but the row numbers.

    Parameters
    ----------
    rows : array or list of int, shape (k,), or array of bool, shape (R,)
        Row numbers from 0 to R - 1 in any order and of any integer dtype. A row may occur several times: its gradients
        are added in their order, in the dtype of the parameters. Or a mask with one element per row of the array.
    values : array, shape (k, *shape[1:])
        The gradient of each row, with the dtype of the parameters, C-contiguous. After a mask, those of its True
        elements in their order. For an array with one dimension, a row is an element.

    Attributes
    ----------
    rows, values
        As given.

    Raises
    ------
    TypeError, ValueError
        By the step: if a row is out of range, or if the values have another shape or dtype, or overlap what the step
        writes. Nothing is changed then.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> params = {"embedding": np.zeros((5, 2)), "w": np.zeros(2)}
    >>> opt = flr.SGD(params, lr=1.0)
    >>> opt.step({"embedding": flr.Rows([3, 0, 3], np.ones((3, 2))), "w": np.ones(2)})
    >>> params["embedding"]
    array([[-1., -1.],
           [ 0.,  0.],
           [ 0.,  0.],
           [-2., -2.],
           [ 0.,  0.]])

    Notes
    -----
    docs/rows.md says what happens to the other rows: nothing by default, as in torch's ``SparseAdam`` and TensorFlow's
    ``LazyAdam``; with ``catch_up=True``, what a gradient of zero would do, when the row is next needed.
    """

    __slots__ = ("rows", "values")

    def __init__(self, rows: Any, values: Any) -> None:
        self.rows, self.values = rows, values

    def __repr__(self) -> str:
        return f"Rows(rows={_short(self.rows)}, values={describe(self.values)})"


def _short(rows: Any) -> str:
    return describe(rows) if isinstance(rows, np.ndarray) else f"{type_name(rows)}"


def row_numbers(rows: Any, label: str, n_rows: int) -> Any:
    """Row numbers as a new int64 array, or raise the error. Whether they are in range is checked later."""
    need = f"`{label}` must be row numbers, integers with one dimension, or a mask, bool[{n_rows}]"
    if isinstance(rows, list | tuple):
        try:
            found = np.array(rows) if len(rows) else np.zeros(0, np.int64)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{need}, got {describe(rows)}") from None
        if found.dtype != np.bool_ and any(isinstance(x, bool | np.bool_) for x in rows):
            raise TypeError(f"{need}, got a {type(rows).__name__} of both")
    elif type(rows) is np.ndarray:
        found = rows
    else:
        found = _lent(rows, need)
    if found.dtype == np.bool_:
        if found.shape != (n_rows,):
            raise ValueError(f"{need}, got {describe(found)}")
        return np.flatnonzero(found)
    if found.dtype.kind not in "iu" or found.dtype.itemsize > 8:
        raise TypeError(f"{need}, got {describe(found)}")
    if found.ndim != 1:
        raise ValueError(f"{need}, got {describe(found)}")
    return found.astype(np.int64)  # a copy; a number of uint64 that has no int64 becomes negative, and is refused


def _lent(rows: Any, need: str) -> Any:
    """Memory of another library's array of integers or bools."""
    if isinstance(rows, np.ndarray) or not can_lend(rows):
        raise TypeError(f"{need}, got {describe(rows)}")
    try:
        found = lent(rows)
    except (BufferError, RuntimeError, TypeError, ValueError) as problem:
        raise TypeError(f"{need}, got {describe(rows)} whose memory cannot be shared: {problem}") from problem
    if found is None:
        raise TypeError(f"{need} in host memory, got {describe(rows)} elsewhere")
    return found
