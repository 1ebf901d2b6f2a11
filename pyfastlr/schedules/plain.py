"""Schedules as plain data, and back: what `to_dict` and `from_dict` do, for data that nobody has vouched for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import base, checks
from .algebra import Custom
from .base import Schedule

DEPTH = 100  # schedules inside each other; more cannot be read back safely


def to_plain(schedule: Any) -> dict[str, Any]:
    """Type and arguments of a schedule, ready for JSON, from which `from_plain` makes an equal one.

    Raises
    ------
    TypeError
        If it is not a schedule, or if there is a callable in it.
    ValueError
        If there are more than 100 schedules inside each other.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> to_plain(0.5 * S.Constant(0.1).warmup(3))["type"]
    'Product'
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"`schedule` must be a schedule, {checks.got(schedule)}")
    if _depth(schedule) > DEPTH:
        raise ValueError(f"`schedule` must have at most {DEPTH} schedules inside each other, got more")
    data: dict[str, Any] = json.loads(json.dumps(schedule.to_dict()))
    # A class of the user's may have arguments that JSON changes, or a constructor that takes others.
    if from_plain(data, "schedule") != schedule:
        raise TypeError(f"`schedule` must be equal to what from_dict makes of its to_dict(), got {schedule!r:.60}")
    return data


def from_plain(data: Any, label: str = "data") -> Schedule:
    """Make a schedule from the output of `to_plain`. `label` is its name in errors.

    Only schedules that exist are made, ours and those of classes that you have defined or imported: nothing is
    imported by name, and every argument is checked.

    Raises
    ------
    TypeError, ValueError
        If the data is not what `to_plain` returns.
    """
    return _made(data, label, 1)


def _made(data: Any, label: str, depth: int) -> Schedule:
    if depth > DEPTH:
        raise ValueError(f"`{label[:40]}...` must have at most {DEPTH} schedules inside each other, got more")
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise TypeError(f"`{label}` must be a dict from Schedule.to_dict, {_got(data)}")
    name = data.get("type")
    cls: Any = base._types.get(name) if isinstance(name, str) else None
    if cls is None or not issubclass(cls, Schedule) or cls is Custom:
        known = [x for x, found in base._types.items() if isinstance(found, type) and issubclass(found, Schedule)]
        raise ValueError(
            f"`{label}['type']` must be the name of a schedule class that is imported, {_got(name)}"
            f"{checks.suggestion(name, known)}"
        )
    arguments = {key: _argument(value, f"{label}[{key!r}]", depth) for key, value in data.items() if key != "type"}
    try:
        made: Schedule = cls(**arguments)
    except TypeError as error:
        raise TypeError(f"`{label}` must be a {name}: {error}") from error
    except Exception as error:  # a class of the user's may raise anything
        raise ValueError(f"`{label}` must be a {name}: {error}") from error
    return made


def _argument(value: Any, label: str, depth: int) -> Any:
    """Return a schedule's argument: a number, a string, a schedule, or a list of them."""
    if isinstance(value, list):
        if not all(isinstance(x, int | float | str | Mapping) for x in value):
            raise TypeError(f"`{label}` must have only numbers, strings and schedules, {_got(value)}")
        return [_argument(x, f"{label}[{i}]", depth) for i, x in enumerate(value)]
    return _made(value, label, depth + 1) if isinstance(value, Mapping) else value


def _depth(schedule: Schedule) -> int:
    """Number of schedules inside each other."""
    depth, level = 0, [schedule]
    while level and depth <= DEPTH:
        depth += 1
        inside = [x for outer in level for x in base.inside(outer)]
        level = list({id(x): x for x in inside}.values())
    return depth


def _got(value: Any) -> str:
    import reprlib  # only errors need it

    return f"got {reprlib.repr(value)}"
