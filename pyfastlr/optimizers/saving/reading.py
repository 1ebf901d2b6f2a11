"""Checks of what is read from a flat state. Each raises an error that names the key."""

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe

from .plain import short

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "bool")


def an_array(value: Any, label: str) -> Any:
    """Array with a dtype that a state may have."""
    if not isinstance(value, np.ndarray) or value.dtype.name not in DTYPES:
        raise TypeError(f"`{label}` must be an array of numbers, got {describe(value)}")
    return value


def array(value: Any, name: str, dtype: Any, shape: Any) -> Any:
    """Array of that dtype and shape. A list of numbers is converted, if that is exact."""
    label = f"arrays[{name!r}]"
    if isinstance(value, list | int | float) and dtype is not None:
        value = _converted(value, label, dtype)
        if shape is not None and value.size == 0 == math.prod(shape):
            value = value.reshape(shape)  # a list has lost what follows a length of zero
    x = an_array(value, label)
    if (dtype is not None and x.dtype != dtype) or (shape is not None and x.shape != tuple(shape)):
        need = "" if dtype is None else dtype.name
        raise ValueError(f"`{label}` must be {need}{'' if shape is None else list(shape)}, got {describe(x)}")
    return x


def _converted(value: Any, label: str, dtype: Any) -> Any:
    """Array of a list of numbers."""
    try:
        given = np.array(value)
        allowed = {"b": "b", "f": "fi"}.get(dtype.kind, "i")
        if given.size and given.dtype.kind not in allowed:
            raise ValueError(given.dtype)
        with np.errstate(over="ignore"):
            found = given.astype(dtype)
        if not np.array_equal(found.astype(given.dtype), given, equal_nan=given.dtype.kind == "f"):
            raise ValueError("not exact")
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{label}` must be {dtype.name} numbers, got {short(value)}") from None
    return found


def structure(value: Any, label: str) -> tuple[list[str], list[tuple[int, ...]]]:
    """Names and shapes."""
    need = f"`{label}` must be a list of names and shapes, got {short(value)}"
    if not isinstance(value, list | tuple) or not all(isinstance(x, list | tuple) and len(x) == 2 for x in value):
        raise ValueError(need)
    names, shapes = [name for name, _ in value], [shape_of(shape, label) for _, shape in value]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(need)
    return names, shapes


def shape_of(value: Any, label: str) -> tuple[int, ...]:
    """Shape from a list of lengths."""
    if not isinstance(value, list | tuple) or not all(type(n) is int and 0 <= n < 2**62 for n in value):
        raise ValueError(f"`{label}` must have shapes of integers >= 0, got {short(value)}")
    return tuple(value)


def mapping(value: Any, label: str, keys: "set[str] | None" = None) -> Mapping[str, Any]:
    """Dict with names as keys, or with these keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"`{label}` must be a dict with names as keys, got {short(value)}")
    if keys is not None and set(value) != keys:
        raise ValueError(f"`{label}` must have the keys {sorted(keys)}, got {short(list(value))}")
    return value


def dtype_of(value: Any, label: str) -> Any:
    """Dtype with a name that a state may have."""
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError(f"`{label}` must be the name of a dtype, got {short(value)}")
    return np.dtype(value)


def integer(value: Any, label: str) -> int:
    """Integer of any type."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{label}` must be an integer, got {short(value)}") from None
