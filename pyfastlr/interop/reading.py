"""Arrays, numbers and counts of other libraries as numpy's, checked. No library is imported for that."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array, describe, shaped
from pyfastlr.optimizers.saving.options import LARGEST

_FLOATS = ("float16", "bfloat16", "float32", "float64")


def on_host(x: Any, label: str, need: str = "an array") -> tuple[Array, str]:
    """Array of any library in host memory, and the name of its dtype. A bfloat16 of torch comes as float32."""
    if x is None or isinstance(x, str | bytes | list | tuple | dict | set):
        raise TypeError(f"`{label}` must be {need}, got {describe(x)}")
    if callable(getattr(x, "detach", None)):  # a tensor of torch
        x = x.detach().cpu()
        name = str(x.dtype).removeprefix("torch.")
        return (x.float() if name == "bfloat16" else x).numpy(), name
    found = np.asarray(x)
    if found.dtype.kind == "O":
        raise TypeError(f"`{label}` must be {need}, got {describe(x)}")
    return found, found.dtype.name


def array(x: Any, label: str, dtype: "np.dtype[Any]", shape: Sequence[int], cast: bool) -> Array:
    """Array of this dtype and shape, a copy only if need be. Another dtype is an error, unless `cast`."""
    need = shaped(dtype, shape)
    found, name = on_host(x, label, need)
    got = f"{name}[{', '.join(map(str, found.shape))}]"
    if name not in _FLOATS:
        raise TypeError(f"`{label}` must be {need}, got {got}")
    if found.shape != tuple(shape):
        raise ValueError(f"`{label}` must be {need}, got {got}")
    if name == dtype.name:
        return np.asarray(found, dtype, order="C")
    if not cast:
        raise ValueError(f"`{label}` must be {need}, got {got}: cast=True converts it")
    return converted(found, label, dtype)


def converted(x: Array, label: str, dtype: Any) -> Array:
    """Copy in this dtype. A finite number that becomes infinite is an error."""
    with np.errstate(over="ignore"):
        result = np.array(x, dtype, order="C")
    lost = np.isinf(result) & np.isfinite(x) if result.dtype.itemsize < x.dtype.itemsize else np.zeros(1, bool)
    if lost.any():
        raise ValueError(f"`{label}` must fit into {np.dtype(dtype)}, got {np.asarray(x)[lost][0]}")
    return result


def number(x: Any, label: str) -> float:
    """Convert a number of any library, or an array with one element, to a float."""
    found, name = on_host(x, label, "a number")
    if found.size != 1 or (found.dtype.kind not in "fiu" and name != "bfloat16"):
        raise TypeError(f"`{label}` must be a number, got {x!r:.60}")
    return float(found.reshape(()))


def finite(x: Any, label: str) -> float:
    """Convert a finite number >= 0."""
    value = number(x, label)
    if not 0.0 <= value < math.inf:
        raise ValueError(f"`{label}` must be a finite number >= 0, got {value!r}")
    return value


def count(x: Any, label: str) -> int:
    """Convert a count of updates, which some libraries keep as a float, to an int."""
    if isinstance(x, int) and not isinstance(x, bool):
        value: float = x
    else:
        value = number(x, label)
    if not 0 <= value <= LARGEST or value != math.floor(value):
        raise ValueError(f"`{label}` must be an integer from 0 to 2**62, got {x!r:.60}")
    return int(value)


def all_names(given: Any, ours: Sequence[str], label: str) -> list[str]:
    """Check names of arrays: each of ours once, in any order."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"`{label}` must be a list of names, got {describe(given)}")
    names = [str(name) for name in given]
    if sorted(names) != sorted(ours):
        missing, unknown = sorted(set(ours) - set(names)), sorted(set(names) - set(ours))
        raise ValueError(
            f"`{label}` must be the names of the arrays of `opt`, each once, got {len(names)} with missing names "
            f"{missing[:5]} and unknown names {unknown[:5]}"
        )
    return names
