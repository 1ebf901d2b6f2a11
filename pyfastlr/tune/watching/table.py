"""Rows of numbers that grow and widen, or go round: what a `Recorder` keeps its records in."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array

#: A NaN that stands for "not recorded". Arithmetic sees a NaN; its bits tell it from one that was recorded (R's NA).
_BITS = 0x7FF8_0000_0000_07A2
(MISSING,) = struct.unpack("d", struct.pack("Q", _BITS))
LARGEST_STEP = 2**53  # a step is kept as a float, which has all integers up to here
_FIRST_ROOM = 256  # rows


def is_missing(values: Array) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which of these float64 numbers were not recorded."""
    found: np.ndarray[Any, np.dtype[np.bool_]] = np.ascontiguousarray(values).view(np.uint64) == _BITS
    return found


class Table:
    """Room for records: in each row the step and a number for each name.

    Attributes
    ----------
    names : tuple of str
    rows : float64 array[room, 1 + len(names)]
    capacity : int or None
        How many records are kept at most.
    room : int
        Rows that there are. At most one more than the capacity: the next record is written beside those that are kept.
    is_round : bool
        Whether there are so many. Then row n is the place of record n + room too.
    """

    __slots__ = ("buffer", "capacity", "is_round", "names", "pack_into", "room", "rows", "stride", "unpack_from")

    def __init__(self, names: Sequence[str], room: int, capacity: int | None) -> None:
        self.names, self.capacity = tuple(names), capacity
        self.room = room if capacity is None else min(room, capacity + 1)
        self.is_round = capacity is not None and self.room == capacity + 1
        self.rows: Array = np.full((self.room, 1 + len(self.names)), MISSING)
        layout = struct.Struct(f"{1 + len(self.names)}d")
        self.stride, self.buffer = layout.size, self.rows.data.cast("B")
        self.pack_into: Callable[..., None] = layout.pack_into
        self.unpack_from: Callable[..., tuple[float, ...]] = layout.unpack_from

    @classmethod
    def first(cls, capacity: int | None) -> "Table":
        """Empty table without names."""
        return cls((), _FIRST_ROOM, capacity)

    def bigger(self) -> "Table":
        """Empty table of twice the room."""
        return Table(self.names, 2 * self.room, self.capacity)

    def wider(self, names: Sequence[str]) -> "Table":
        """Empty table with more names."""
        return Table((*self.names, *names), self.room, self.capacity)

    def places(self, count: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Rows of the records that are kept after so many, the oldest first."""
        first = 0 if self.capacity is None else max(0, count - self.capacity)
        return np.arange(first, count) % self.room
