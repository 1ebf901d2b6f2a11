"""The name of a schedule in plots: the code that makes it, shortened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import signature
from typing import Any

from .algebra import Constant, Custom
from .base import Schedule

OPERATORS = ("*", "+")
SHOWN = 6  # items: a longer tuple is shortened in the middle
LONGEST = 24  # characters of an argument that is not a number, a name or a schedule


def written(schedule: Schedule) -> str:
    """Return the call that makes a schedule, without default arguments and with six digits for floats.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> written(0.5 * S.Cosine(1e-3, steps=9_500).warmup(500))
    '0.5 * Cosine(0.001, steps=9500).warmup(500)'
    """
    method, arguments = schedule._method, schedule.parameters.items()
    if method in OPERATORS:
        parts = sorted((part for _, part in arguments), key=lambda part: not isinstance(part, Constant))
        return f" {method} ".join(_operand(part, method) for part in parts)
    if not method:
        return f"{type(schedule).__name__}({', '.join(_arguments(schedule, arguments))})"
    (_, receiver), *others = arguments
    before = f"({written(receiver)})" if receiver._method in OPERATORS else written(receiver)
    return f"{before}.{method}({', '.join(_arguments(schedule, others))})"


def _operand(part: Schedule, method: str) -> str:
    """Return an operand of a sum or product: a constant as a number, a sum within a product in parentheses."""
    if isinstance(part, Constant):
        return _text(part.parameters["lr"])
    return f"({written(part)})" if (part._method, method) == ("+", "*") else written(part)


def _arguments(schedule: Schedule, arguments: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield the first argument, then the others by name where they differ from their defaults."""
    takes = signature(type(schedule)).parameters
    for k, (name, value) in enumerate(arguments):
        if k == 0:
            yield _text(value)
        elif name not in takes or not _same(value, takes[name].default):
            yield f"{name}={_text(value)}"


def _same(value: Any, default: Any) -> bool:
    """Return whether an argument has its default. A user's class may take an array, whose == gives an array."""
    return value is default or (isinstance(value, int | float | str) and value == default)


def _text(value: Any) -> str:
    """Return an argument's text."""
    if isinstance(value, Custom):
        return _text(value.parameters["function"])
    if isinstance(value, Schedule):
        return written(value)
    if isinstance(value, tuple):
        items = [_text(item) for item in value]
        return f"[{', '.join(items if len(items) <= SHOWN else (*items[:3], '…', items[-1]))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = getattr(value, "__name__", None) or " ".join(repr(value).split())
    return text if len(text) <= LONGEST else type(value).__name__
