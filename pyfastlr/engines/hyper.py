"""Checks of hyperparameters: ranges, conversions and errors."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.lenders import can_lend
from pyfastlr.schedules import Custom, Schedule, as_schedule
from pyfastlr.schedules.checks import got
from pyfastlr.schedules.controller import Wrapper, is_controller
from pyfastlr_kernels.tables import COUPLED, DECOUPLED, INDEPENDENT

Source = float | Callable[[int], Any]  # a number, or a callable that returns it for each update


class Range(NamedTuple):
    """Closed interval, and its description in errors."""

    low: float
    high: float
    words: str


_LARGEST = float(np.finfo(np.float64).max)
AT_LEAST_ZERO = Range(0.0, _LARGEST, "a finite number >= 0")
ABOVE_ZERO = Range(math.nextafter(0.0, 1.0), _LARGEST, "a finite number > 0")
ABOVE_ONE = Range(math.nextafter(1.0, 2.0), _LARGEST, "a finite number > 1")
BELOW_ONE = Range(0.0, math.nextafter(1.0, 0.0), "a number in [0, 1)")
ABOVE_ZERO_BELOW_ONE = Range(math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0), "a number in (0, 1)")
UP_TO_ONE = Range(0.0, 1.0, "a number in [0, 1]")
LIMIT = Range(math.nextafter(0.0, 1.0), math.inf, "a number > 0")
FINITE = Range(-_LARGEST, _LARGEST, "a finite number")

PUBLIC_NAMES: dict[str, str] = {}  # of row fields, where the two names differ
PAIRS: dict[str, tuple[str, str]] = {}  # arguments that set two row fields
_PAIRS_NEED: dict[str, str] = {}
OFF = {"clip_norm": math.inf, "clip_norm_each": math.inf, "clip_value": math.inf, "ema_decay": 0.0}  # options, when off
DECAYS = {"coupled": COUPLED, "decoupled": DECOUPLED, "independent": INDEPENDENT}
DECAY_NAMES = {code: name for name, code in DECAYS.items()}


def declare_pair(name: str, fields: tuple[str, str], need: str) -> None:
    """Declare an argument that sets two row fields. `need` describes its numbers in errors."""
    if PAIRS.setdefault(name, fields) != fields:
        raise ValueError(f"`{name}` must set the fields {PAIRS[name]} in all classes, got {fields}")
    PUBLIC_NAMES.update({field: f"{name}[{k}]" for k, field in enumerate(fields)})
    _PAIRS_NEED.setdefault(name, need)


def label(field: str, group: str = "") -> str:
    """Name of a row field in errors: ``betas[0]``, or ``groups[1]['betas'][0]`` with the group's name."""
    key, bracket, rest = PUBLIC_NAMES.get(field, field).partition("[")
    return f"{group}[{key!r}]{bracket}{rest}" if group else f"{key}{bracket}{rest}"


def number(value: Any, field: str, allowed: Range, where: str = "", also: str = "", group: str = "") -> float:
    """Convert a value to a float within the range, or raise an error that names the field.

    `where` says where the value is from, `also` which other types are allowed, `group` which group it is for.
    """
    if (
        isinstance(value, bool | np.bool_ | str | bytes | type)
        or not hasattr(value, "__float__")
        or getattr(value, "ndim", 0) != 0
    ):
        raise TypeError(f"`{label(field, group)}` must be {allowed.words}{also}, {got(value)}{where}")
    result = _float(value)
    if not allowed.low <= result <= allowed.high:
        raise ValueError(f"`{label(field, group)}` must be {allowed.words}, got {value!r}{where}")
    return result


def _float(value: Any) -> float:
    """Convert to a float. An integer too large for a float gives inf instead of an OverflowError."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


#: What lr_scale may be besides a number.
SCALE_TYPES = ", a schedule, a callable or arrays like params"


def source(value: Any, field: str, allowed: Range, group: str = "") -> Source:
    """Check a number, or wrap a callable as a schedule without calling it. A controller is returned unchanged."""
    if is_controller(value):
        return value  # type: ignore[no-any-return]
    if callable(value) and not isinstance(value, type):
        return as_schedule(value)
    also = SCALE_TYPES if field == "lr_scale" else ", a schedule or a callable"
    return number(value, field, allowed, also=also, group=group)


def evaluation(value: Any) -> Callable[[int], Any]:
    """What a step calls for the value at an update: ours without the check of the index, and told that it is a step."""
    return value._at if isinstance(value, Schedule | Wrapper) else value


def is_library_schedule(value: Any) -> bool:
    """Whether a schedule consists only of the library's own classes, whose calls have no side effects."""
    ours = type(value).__module__.startswith("pyfastlr.schedules.")
    if isinstance(value, Wrapper):
        return ours and is_library_schedule(value.base)
    if not isinstance(value, Schedule) or isinstance(value, Custom):
        return False
    return ours and all(is_library_schedule(x) for x in value.parameters.values() if callable(x))


def spread(name: str, value: Any, group: str = "") -> dict[str, Any]:
    """Split an argument into row fields: a pair into two, any other into one."""
    if name not in PAIRS:
        return {name: value}
    need = f"`{label(name, group)}` must be a pair of {_PAIRS_NEED[name]}, schedules or callables, {got(value)}"
    if isinstance(value, str | bytes | Mapping | set | frozenset | type) or not isinstance(value, Iterable):
        raise TypeError(need)
    parts = tuple(value)
    if len(parts) != 2:
        raise TypeError(need)
    return dict(zip(PAIRS[name], parts, strict=True))


def decay_kind(value: Any, known: Sequence[str], owner: str, group: str = "") -> str:
    """Check the kind of weight decay against those that an optimizer, the owner, supports."""
    if not isinstance(value, str) or value not in known:
        of = "" if len(known) == len(DECAYS) else f" of {owner}"
        one = "one of " if len(known) > 1 else ""
        raise ValueError(f"`{label('decay', group)}`{of} must be {one}{', '.join(map(repr, known))}, got {value!r}")
    return value


def is_called(value: Any) -> bool:
    """Whether a value is a schedule or callable, which an update calls. cffi's arrays are callable too, but in vain."""
    return callable(value) and not can_lend(value)


def is_scalar(value: Any) -> bool:
    """Whether lr_scale is one number or callable for the whole group, not a rate per element."""
    return (
        is_called(value)
        or isinstance(value, str | bytes)
        or getattr(value, "ndim", None) == 0
        or not (hasattr(value, "__len__") or hasattr(value, "__dlpack__") or hasattr(value, "__cuda_array_interface__"))
    )


def boolean(value: Any, name: str) -> bool:
    """Check a flag."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def thread_count(value: Any) -> int | None:
    """Check a number of threads. None is the default."""
    if value is None:
        return None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"`threads` must be None or an integer from 1 to 1024, got {value!r}")
    if not 1 <= value <= 1024:
        raise ValueError(f"`threads` must be None or an integer from 1 to 1024, got {value!r}")
    return int(value)


def inverse_scale(value: Any) -> float:
    """Check the factor of the gradients."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.floating | np.integer):
        raise TypeError(f"`inv_scale` must be a finite number > 0, got {value!r}")
    if not 0.0 < _float(value) < float("inf"):
        raise ValueError(f"`inv_scale` must be a finite number > 0, got {value!r}")
    return _float(value)


def chosen(value: Any, known: Sequence[str], name: str) -> str:
    """Find a name among the known ones, ignoring case."""
    for one in known:
        if isinstance(value, str) and value.lower() == one.lower():
            return one
    raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")
