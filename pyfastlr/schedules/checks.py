"""Argument checks: ``check(value, name)`` returns the value as a plain int, float, bool, str or tuple.

A value of the wrong type raises TypeError, a value out of range ValueError. The message names the argument and says
what it must be.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from math import inf, isfinite, nextafter
from typing import Any, NoReturn

import numpy as np

Check = Callable[[Any, str], Any]

SHORTEST = 1e-6  # number of updates: n divided by a much smaller one could overflow


def number(need: str, low: float = -inf, high: float = inf) -> Check:
    """Return a check for a finite number in [low, high]; `need` describes it in errors."""

    def check(value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"`{name}` must be {need}, got {value!r}")
        try:
            result = float(value)
        except OverflowError:  # an int above 1e308
            result = inf
        if not (isfinite(result) and low <= result <= high):
            raise ValueError(f"`{name}` must be {need}, got {value!r}")
        return result

    return check


def integer(low: int) -> Check:
    """Return a check for an integer >= `low`. It refuses floats, even integral ones."""
    need = f"an integer >= {low} and <= 2**53"

    def check(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"`{name}` must be {need}, got {value!r}")
        if not low <= int(value) <= 2**53:  # larger integers are not exact in float64
            raise ValueError(f"`{name}` must be {need}, got {value!r}")
        return int(value)

    return check


def _time(low: int) -> Check:
    """Return a check for a number of updates that need not be an integer: 0 or more, or 1e-6 or more if `low` is 1."""
    whole = integer(low)
    real = number(f"a number >= {low * SHORTEST:g} and <= 2**53", low * SHORTEST, 2.0**53)

    def check(value: Any, name: str) -> int | float:
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            return whole(value, name)  # type: ignore[no-any-return]
        result: float = real(value, name)
        return int(result) if result == int(result) else result

    return check


def flag(value: Any, name: str) -> bool:
    """Check for a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return bool(value)


def choice(*names: str) -> Check:
    """Return a check for one of the names."""
    need = f"one of {', '.join(map(repr, names))}"

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be {need}, got {value!r}")
        if value not in names:
            raise ValueError(f"`{name}` must be {need}, got {value!r}")
        return str(value)

    return check


def got(value: Any) -> str:
    """Return what an error says about a wrong value. For a class, the caller has forgotten to call it."""
    if isinstance(value, type):
        return f"got the class {value.__name__}: call it, as in {value.__name__}(...)"
    return f"got {value!r}"


def suggestion(name: Any, known: Iterable[str], written: Mapping[str, str] | None = None) -> str:
    """Return ``: did you mean `lr`?`` for the known name that is closest, in any case; nothing if none is close.

    `written` has further names, each with how it is written.
    """
    import difflib  # only errors need it

    names = {**(written or {}), **{x: x for x in known}}
    lower = {x.lower(): how for x, how in names.items()}
    close = difflib.get_close_matches(name.lower(), lower, n=1) if isinstance(name, str) else []
    return f": did you mean `{lower[close[0]]}`?" if close else ""


def unknown_attribute(
    module: str, known: Iterable[str], written: Mapping[str, str] | None = None
) -> Callable[[str], NoReturn]:
    """Return a ``__getattr__`` for a module, which runs only for a name that the module lacks."""

    def raise_error(name: str) -> NoReturn:
        close = "" if name.startswith("_") else suggestion(name, known, written)  # Python itself looks for some of them
        raise AttributeError(f"module {module!r} has no attribute {name!r}{close}")

    return raise_error


def function(value: Any, name: str) -> Callable[..., Any]:
    """Check for a callable that is not a class: calling a class makes an object, not a number."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"`{name}` must be a callable n -> float, {got(value)}")
    return value  # type: ignore[no-any-return]


def optional(check: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda value, name: None if value is None else check(value, name)


# --- Sequences -------------------------------------------------------------------------------------------------------


def each(check: Check, kind: str = "numbers") -> Check:
    """Return a check for a sequence or 1-D array that checks every item and returns a tuple."""

    def check_all(value: Any, name: str) -> tuple[Any, ...]:
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = list(value)
        if not isinstance(value, list | tuple | range):
            raise TypeError(f"`{name}` must be a sequence of {kind}, got {value!r}")
        return tuple(check(item, f"{name}[{i}]") for i, item in enumerate(value))

    return check_all


def increasing(value: Any, name: str) -> tuple[int, ...]:
    """Check for strictly increasing indices."""
    indices: tuple[int, ...] = each(natural)(value, name)
    if not all(a < b for a, b in pairwise(indices)):
        raise ValueError(f"`{name}` must be strictly increasing, got {value!r}")
    return indices


def nondecreasing(value: Any, name: str) -> tuple[int, ...]:
    """Check for indices that do not decrease."""
    indices: tuple[int, ...] = each(natural)(value, name)
    if not all(a <= b for a, b in pairwise(indices)):
        raise ValueError(f"`{name}` must not decrease, got {value!r}")
    return indices


def one_more(values: tuple[Any, ...], boundaries: tuple[int, ...]) -> None:
    """Check that there is a value for each interval between the boundaries."""
    if len(values) != len(boundaries) + 1:
        raise ValueError(f"`values` must have one item more than the {len(boundaries)} boundaries, got {len(values)}")


def ordered(low: float, high: float) -> None:
    """Check that an interval's ends are in order."""
    if low > high:
        raise ValueError(f"`high` must be >= `low` ({low}), got {high}")


# --- Ranges ----------------------------------------------------------------------------------------------------------

nonnegative = number("a finite number >= 0", 0.0)
positive = number("a finite number > 0", nextafter(0.0, 1.0))
factor = number("a number > 0 and <= 1", nextafter(0.0, 1.0), 1.0)
fraction = number("a number > 0 and < 1", nextafter(0.0, 1.0), nextafter(1.0, 0.0))
share = number("a number >= 0 and <= 1", 0.0, 1.0)
below_one = number("a number >= 0 and < 1", 0.0, nextafter(1.0, 0.0))

positive_integer = integer(1)
natural = integer(0)
updates = _time(1)
elapsed = _time(0)
rates = each(nonnegative)


# --- The index of an update ------------------------------------------------------------------------------------------


def index(value: Any) -> int:
    """Check an update index that is not a plain int: any integer >= 0 except a bool."""
    try:
        n = operator.index(value)
    except TypeError:
        n = None
    if n is None or isinstance(value, bool | np.bool_):  # numpy 1.26 accepts its bool as an index
        traced = type(value).__module__.partition(".")[0] == "jax"
        advice = ": inside a program of JAX, use pyfastlr.interop.jax.schedule(s)" if traced else ""
        raise TypeError(f"`n` must be an integer >= 0 or an array of them, got {value!r}{advice}")
    if n < 0:
        raise ValueError(f"`n` must be >= 0, got {value!r}")
    return n


def indices(value: np.ndarray[Any, Any]) -> list[int]:
    """Check an array of update indices; return them flat, in C order. Floats are refused, even integral ones."""
    if value.dtype.kind not in "iu":
        raise TypeError(f"`n` must be an integer >= 0 or an array of them, got an array of {value.dtype}")
    flat: list[int] = value.ravel().tolist()
    if flat and min(flat) < 0:
        raise ValueError(f"`n` must be >= 0, got {min(flat)}")
    return flat
