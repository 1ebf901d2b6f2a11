"""Types of what a printed function computes with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scalar:
    """A number or truth value."""

    name: str
    rank: int  # an operation on two numbers has the type of the higher rank

    @property
    def is_float(self) -> bool:
        """Whether it is a floating-point number."""
        return self.rank >= 2


BOOL, INT64, FLOAT32, FLOAT64 = Scalar("bool", 0), Scalar("int64", 1), Scalar("float32", 2), Scalar("float64", 3)


@dataclass(frozen=True)
class Record:
    """A NamedTuple whose fields all have one type."""

    cls: type
    item: Scalar

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(self.cls._fields)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Tuple:
    """A tuple. One without items, or with items that have none, is not printed at all; one of one item is that item."""

    items: tuple[Any, ...] = ()

    @property
    def full(self) -> tuple[Any, ...]:
        """Types of the items that are not empty."""
        return tuple(plain(x) for x in self.items if not is_empty(x))


@dataclass(frozen=True)
class Array:
    """Numbers in memory: printed as a pointer and their count."""

    item: Scalar


@dataclass(frozen=True)
class Struct:
    """A pointer to a structure that the caller has declared."""

    text: str  # the pointer's type
    fields: Mapping[str, Scalar] = field(hash=False)


@dataclass(frozen=True)
class Opaque:
    """A value that is only passed on."""

    text: str


@dataclass(frozen=True)
class Callback:
    """A function that is a parameter. ``call`` is a call's text, with the places {f} and {x}."""

    text: str
    parameter: Scalar
    returns: Scalar
    call: str


@dataclass(frozen=True)
class Native:
    """A function that the caller has written in the target's language: for a name that a printed function calls."""

    name: str
    parameters: tuple[Any, ...]
    returns: Any


Type = Scalar | Record | Tuple | Array | Struct | Opaque | Callback


def is_empty(kind: Any) -> bool:
    """Whether a value of that type has no content, so that nothing is printed for it."""
    if isinstance(kind, Tuple):
        return all(is_empty(item) for item in kind.items)
    return isinstance(kind, Record) and not kind.fields


def plain(kind: Any) -> Any:
    """Return the type itself, or that of the only item of a tuple."""
    if isinstance(kind, Tuple) and len(kind.full) == 1:
        return kind.full[0]
    return kind


def unified(a: Any, b: Any) -> Any:
    """Return the type that both values convert to, or None."""
    if a == b:
        return a
    if isinstance(a, Scalar) and isinstance(b, Scalar) and BOOL not in (a, b):
        # As in numba, an int64 and a float32 give a float64.
        if {a, b} == {INT64, FLOAT32}:
            return FLOAT64
        return max(a, b, key=lambda kind: kind.rank)
    return None
