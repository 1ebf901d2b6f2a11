"""Records in memory: each is added whole or not at all, even if interrupted, and read as arrays."""

import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr_kernels.compile.first_use import ForkHooks, at_fork

from .table import MISSING, Table, is_missing

_LOOK_BACK = 256  # records in the first block that `latest` searches


class Records:
    """Records of a step and numbers by name: all of them, or only the latest."""

    def __init__(self, capacity: int | None) -> None:
        self._capacity = capacity
        self._start(Table.first(capacity), 0, -1)

    def _start(self, table: Table, total: int, last: int) -> None:
        self._lock = threading.RLock()  # a signal handler may record in this thread during a record
        self._table, self._count, self._last = table, total, last
        _live.add(self)

    def _append(self, step: int | None, names: tuple[str, ...], values: list[float]) -> None:
        """Add a record. The caller holds the lock. The default step is the last one plus 1."""
        while True:
            table = self._table
            row = values if names == table.names else self._arranged(table, names, values)
            if row is None:
                continue
            # A signal handler may record at the same time, into the same rows. CPython runs handlers only after calls:
            # not from here to the end of `pack_into`, and not between the last test and the assignment.
            at, last = self._count, self._last + 1 if step is None else step
            if at >= table.room and not table.is_round:
                self._replace(table, table.bigger())
                continue
            table.pack_into(table.buffer, at % table.room * table.stride, last, *row)
            if self._count == at and self._table is table:
                self._count, self._last = at + 1, last
                return

    def _arranged(self, table: Table, names: tuple[str, ...], values: list[float]) -> list[float] | None:
        """Values in this table's order. None if the table lacked a name, which has then been added.

        The table is the caller's: a signal handler may have replaced that of the recorder since.
        """
        new = [name for name in names if name not in table.names]
        if new:
            self._replace(table, table.wider(new))
            return None
        given = dict(zip(names, values, strict=True))
        return [given.get(name, MISSING) for name in table.names]

    def _replace(self, old: Table, new: Table) -> None:
        """Replace a table by a larger one. As above, no call comes between the test and the assignment."""
        place = (slice(old.room), slice(1 + len(old.names)))
        if self._table is old:
            new.rows[place] = old.rows
            self._table = new

    # --- Reading ------------------------------------------------------------------------------------------------------

    def _kept(self) -> tuple[tuple[str, ...], Array]:
        """Names and a copy of all kept rows, the oldest first, in one consistent state."""
        with self._lock:
            table = self._table
            rows: Array = table.rows[table.places(self._count)]
            return table.names, rows

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers, in order of their first record."""
        return self._table.names

    @property
    def capacity(self) -> int | None:
        """Most records to keep; None if all are kept."""
        return self._capacity

    @property
    def total(self) -> int:
        """Number of records so far, including those that are no longer kept."""
        return self._count

    @property
    def steps(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        """Step of each kept record, the oldest first."""
        return self._column(0).astype(np.int64)

    def __getitem__(self, name: str) -> Array:
        """Numbers with this name in a new array, the oldest first. NaN where a record has none."""
        if name == "step":
            return self.steps
        names = self._table.names
        if name not in names:
            raise KeyError(f"{name!r} was never recorded; the recorded names are {list(names)}")
        return self._column(1 + names.index(name))  # tables only get wider

    def _column(self, k: int) -> Array:
        with self._lock:
            table = self._table
            column: Array = table.rows[table.places(self._count), k]
            return column

    def __contains__(self, name: object) -> bool:
        return name in self._table.names

    def __len__(self) -> int:
        return self._count if self._capacity is None else min(self._count, self._capacity)

    def __bool__(self) -> bool:
        return True  # `recorder or Recorder()` keeps an empty recorder

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the records kept at the start, as dicts of "step" and the numbers of the record."""
        names, rows = self._kept()
        for row, gone in zip(rows.tolist(), is_missing(rows), strict=True):
            numbers = zip(names, row[1:], gone[1:].tolist(), strict=True)
            yield {"step": int(row[0]), **{name: x for name, x, is_gone in numbers if not is_gone}}

    @property
    def latest(self) -> dict[str, Any]:
        """The last number of each name among the kept records, and the "step" of the last record."""
        with self._lock:
            table, places = self._table, self._table.places(self._count)
            if not len(places):
                return {}
            found: dict[str, float] = {}
            wanted = set(table.names)
            end, size = len(places), _LOOK_BACK
            while wanted and end > 0:
                rows = table.rows[places[max(0, end - size) : end]]
                for name in list(wanted):
                    there = rows[:, 1 + table.names.index(name)]
                    there = there[~is_missing(there)]
                    if len(there):
                        found[name] = float(there[-1])
                        wanted.discard(name)
                end, size = end - size, 2 * size
            return {"step": int(table.rows[places[-1], 0])} | {
                name: found[name] for name in table.names if name in found
            }

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            names, rows = self._kept()
            return {"capacity": self._capacity, "names": names, "rows": rows, "total": self._count, "last": self._last}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._capacity, rows, total = state["capacity"], state["rows"], state["total"]
        table = Table(state["names"], max(len(rows), 1), self._capacity)
        if total > len(rows):  # some are no longer kept
            table = Table(state["names"], len(rows) + 1, self._capacity)
        table.rows[np.arange(total - len(rows), total) % table.room] = rows
        self._start(table, total, state["last"])


_live: "weakref.WeakSet[Records]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Give the locks anew, because only the thread that forked exists here, and another may have held one."""
    for records in list(_live):
        records._lock = threading.RLock()


at_fork(ForkHooks(lambda: None, lambda: None, _after_fork_in_child))
