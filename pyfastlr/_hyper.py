"""Hyperparameters: what each may be, and the errors where it is not."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr_kernels.chunks import COUPLED, DECOUPLED, INDEPENDENT

from .schedules import as_schedule

Source = float | Callable[[int], Any]  # a number, or what is asked for one at each update


class Range(NamedTuple):
    """Closed interval, in words for errors."""

    low: float
    high: float
    words: str


_LARGEST = float(np.finfo(np.float64).max)
_AT_LEAST_ZERO = Range(0.0, _LARGEST, "a finite number >= 0")
_BELOW_ONE = Range(0.0, math.nextafter(1.0, 0.0), "a number in [0, 1)")
_UP_TO_ONE = Range(0.0, 1.0, "a number in [0, 1]")
RANGES = {
    "lr": _AT_LEAST_ZERO,
    "lr_scale": _AT_LEAST_ZERO,
    "weight_decay": _AT_LEAST_ZERO,
    "eps": _AT_LEAST_ZERO,
    "momentum": _AT_LEAST_ZERO,
    "dampening": Range(-_LARGEST, _LARGEST, "a finite number"),
    "alpha": _UP_TO_ONE,
    "rho": _UP_TO_ONE,
    "beta1": _BELOW_ONE,
    "beta2": _BELOW_ONE,
    "lr_decay": _AT_LEAST_ZERO,
    "momentum_decay": _AT_LEAST_ZERO,
    "initial_accumulator_value": _AT_LEAST_ZERO,
}
CALLED = {"beta1": "betas[0]", "beta2": "betas[1]"}  # the names that users know
DECAYS = {"coupled": COUPLED, "decoupled": DECOUPLED, "independent": INDEPENDENT}


def number(value: Any, field: str, where: str = "") -> float:
    """Value as a float within the field's range, or an error that names the field."""
    allowed = RANGES[field]
    called = CALLED.get(field, field)
    if (
        isinstance(value, bool | np.bool_ | str | bytes)
        or not hasattr(value, "__float__")
        or getattr(value, "ndim", 0) != 0
    ):
        raise TypeError(f"`{called}` must be {allowed.words}, got {value!r}{where}")
    result = _float(value)
    if not allowed.low <= result <= allowed.high:
        raise ValueError(f"`{called}` must be {allowed.words}, got {value!r}{where}")
    return result


def _float(value: Any) -> float:
    """Value as a float; an integer beyond all floats is infinite, not an OverflowError."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def source(value: Any, field: str) -> Source:
    """Checked number, or the schedule or callable as it is: it is not called before it is needed."""
    return as_schedule(value) if callable(value) else number(value, field)


def spread(name: str, value: Any) -> dict[str, Any]:
    """Argument as fields: `betas` is two of them."""
    if name != "betas":
        return {name: value}
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"`betas` must be a pair of numbers in [0, 1), schedules or callables, got {value!r}")
    return {"beta1": value[0], "beta2": value[1]}


def decay_kind(value: Any) -> str:
    """Checked kind of weight decay."""
    if not isinstance(value, str) or value not in DECAYS:
        raise ValueError(f"`decay` must be one of {', '.join(map(repr, DECAYS))}, got {value!r}")
    return value


def is_scalar(value: Any) -> bool:
    """Whether lr_scale is one number for a group, or asked for one, rather than a rate per element."""
    return (
        callable(value)
        or isinstance(value, str | bytes)
        or getattr(value, "ndim", None) == 0
        or not (hasattr(value, "__len__") or hasattr(value, "__dlpack__") or hasattr(value, "__cuda_array_interface__"))
    )


def boolean(value: Any, name: str) -> bool:
    """Checked flag."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def thread_count(value: Any) -> int | None:
    """Checked number of threads, None for the default."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`threads` must be None or an integer from 1 to 1024, got {value!r}")
    if not 1 <= value <= 1024:
        raise ValueError(f"`threads` must be None or an integer from 1 to 1024, got {value!r}")
    return int(value)


def inverse_scale(value: Any) -> float:
    """Checked factor of the gradients."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise TypeError(f"`inv_scale` must be a finite number > 0, got {value!r}")
    if not 0.0 < _float(value) < float("inf"):
        raise ValueError(f"`inv_scale` must be a finite number > 0, got {value!r}")
    return _float(value)


def chosen(value: Any, known: Sequence[str], name: str) -> str:
    """Checked name, in any case."""
    for one in known:
        if isinstance(value, str) and value.lower() == one.lower():
            return one
    raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")
