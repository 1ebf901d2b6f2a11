"""Storage of a `Recorder`: a table of numbers that can grow and widen, or a ring buffer."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array

#: A NaN for "not recorded". Its bits distinguish it from a NaN that was recorded (like R's NA).
_BITS = 0x7FF8_0000_0000_07A2
(MISSING,) = struct.unpack("d", struct.pack("Q", _BITS))
LARGEST_STEP = 2**53  # steps are stored as floats, which are exact for integers up to here
_FIRST_ROOM = 256  # rows


def is_missing(values: Array) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which of these float64 numbers are missing."""
    found: np.ndarray[Any, np.dtype[np.bool_]] = np.ascontiguousarray(values).view(np.uint64) == _BITS
    return found


class Table:
    """Room for records: each row has the step and one number per name.

    Attributes
    ----------
    names : tuple of str
    rows : float64 array[room, 1 + len(names)]
    capacity : int or None
        Most records to keep.
    room : int
        Number of rows. At most the capacity plus one, so that a new record is written before the oldest is dropped.
    is_round : bool
        Whether the table has that size. Then it is a ring buffer: row n is also the place of record n + room.
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
        """Empty table with twice the rows."""
        return Table(self.names, 2 * self.room, self.capacity)

    def wider(self, names: Sequence[str]) -> "Table":
        """Empty table with more names."""
        return Table((*self.names, *names), self.room, self.capacity)

    def places(self, count: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Row numbers of the kept records after `count` records in total, the oldest first."""
        first = 0 if self.capacity is None else max(0, count - self.capacity)
        return np.arange(first, count) % self.room
