"""Steps in which some tensors have a gradient of only some rows: checks and tables for one compiled call.

The compiled side is kernels/pyfastlr_kernels/cpu/rows.py. As in plain_launch.py, everything before that call is Python
under the optimizer's lock: it only makes new tables. The call itself keeps the interpreter lock, so no interrupt, no
other thread and no fork comes between the rows' updates, the other tensors' updates and the counts.

With `catch_up`, rows may be behind (`is_behind`). Until they are not, steps stay paused: each step then comes to
`HostEngine.settle`, which first brings the arrays up to date that it updates.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays.host import Array, address, aligned
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu import pool, rows_layout
from pyfastlr_kernels.cpu.rows_layout import GIVEN, HISTORY, LONGEST, NEVER, SQUARES, STEP, SYNC, ZEROS
from pyfastlr_kernels.cpu.stages_layout import PRIVATE
from pyfastlr_kernels.tables import OK

from .hyper import inverse_scale, is_library_schedule
from .row_gradients import (
    Given,
    Prepared,
    Ranges,
    RowGradients,
    compiled,
    extent,
    has_rows,
    load_rows,
    refuse_options,
    tensor_of,
)
from .settings import Settings

if TYPE_CHECKING:
    from .host import HostEngine

_TENSORS, _ROWS, _GRAD_SCALE = (tables.field_offset(tables.JOB, x) // 8 for x in ("tensors", "rows", "grad_scale"))
_G, _VALUES = tables.field_offset(tables.TENSOR, "g") // 8, tables.field_offset(GIVEN, "values") // 8
# The state that a zero gradient leaves as it is (rows_layout.py). In other rules, the descent depends on the parameter.
_REST = {
    **dict.fromkeys(
        ("sgd", "momentum", "nesterov", "adam", "amsgrad", "nadam", "radam", "adamax", "rmsprop", "lion"), ZEROS
    ),
    "adagrad": SQUARES,
}


class History:
    """What the rows of one tensor have missed (rows_layout.HISTORY), with its tables."""

    def __init__(self, n_rows: int, dtype: Any, rule: str, n_states: int) -> None:
        self.record = np.zeros(1, HISTORY)
        self._keep = (
            np.zeros(LONGEST * tables.FOLD_WIDTH), np.zeros(LONGEST), np.zeros(n_rows, np.int64),
            aligned(tables.CHUNK_LENGTH, dtype), aligned(rows_layout.PROBE, np.uint8),
        )  # fmt: skip
        for name, table in zip(("numbers", "scales", "done", "zeros", "probe"), self._keep, strict=True):
            self.record[name] = tables.address(table)
        self.address = tables.address(self.record)
        self.record["n_states"], self.record["rest"] = n_states, _REST.get(rule, NEVER)

    def __len__(self) -> int:
        return int(self.record["entries"][0])

    def emptied(self) -> list[tuple[Any, Any]]:
        """What changes when it starts anew, with the new values."""
        record = self.record.copy()
        record["entries"] = record["quiet"] = record["still"] = 0
        return [(self.record, record), (self._keep[2], np.zeros_like(self._keep[2]))]


class _Binding:
    """What a step over rows needs of the settings."""

    def __init__(self, engine: "HostEngine", settings: Settings, drive: int, by_element: bool) -> None:
        self.settings, self.drive, self.by_element = settings, drive, by_element
        self.tensors = engine._fixed.tensors.view(np.int64).reshape(-1, tables.TENSOR_SIZE // 8)
        self.rows = settings.rows.view(np.float64)  # a number that is set shows here
        self.calls = engine.schedule_calls(settings)
        self.is_pure = all(is_library_schedule(value) for value, *_ in settings.scheduled())
        self._zeros = aligned(tables.CHUNK_LENGTH, engine._parameters.dtype) if by_element else None
        self.ranges = Ranges(*(x.tolist() for x in np.split(engine._fixed.written_with([]), 2)))
        self.job = engine.job_record(drive, self.tensors, settings.rows, self._zeros).view(np.int64)


class RowSteps:
    """The steps over rows of one engine."""

    def __init__(self) -> None:
        self._binding: _Binding | None = None
        self._histories: dict[int, History] = {}
        self._gradients = RowGradients()

    # --- Steps --------------------------------------------------------------------------------------------------------

    def step(self, engine: "HostEngine", gradients: Given, inv_scale: Any) -> None:
        """Make one step."""
        lock, inv_scale = engine._lock, inverse_scale(inv_scale)
        if lock.is_mine():
            raise RuntimeError("a schedule or callable must not call step() of the optimizer that calls it")
        while True:
            drive, by_element = self._loaded(engine)
            with lock.held:
                if engine.successor is not None:
                    engine = engine.successor
                    return engine._rows.step(engine, gradients, inv_scale)
                if engine.by_element() == by_element and self._locked_step(
                    engine, drive, by_element, gradients, inv_scale
                ):
                    return None

    def _loaded(self, engine: "HostEngine") -> tuple[int, bool]:
        """Do what happens once before the lock is taken, as in `HostEngine._bind_and_launch`. Return the drive."""
        if engine.threads > 1 and pool.shared().helpers() < engine.threads - 1:
            pool.shared().ensure(engine.threads)
        binding = self._binding
        if binding is not None and binding.settings is engine._hyper.current:
            return binding.drive, binding.by_element
        load_rows()
        by_element = engine.by_element()
        return engine.drive(by_element), by_element

    def _locked_step(self, engine: "HostEngine", drive: int, by_element: bool, gradients: Given, scale: float) -> bool:
        """Make one step under the lock, or return False if a signal handler has made one in the middle."""
        lock = engine._lock
        lock.pause()
        engine._extras.check_not_swapped()
        binding = self._bound(engine, drive, by_element)
        refuse_options(engine, binding.settings)
        prepared = self._gradients.prepare(engine, binding.ranges, gradients)
        if not prepared.given and not prepared.dense:
            return True
        steps = int(lock.steps[0])
        numbers = self._evaluate(engine, binding, steps)
        if not binding.is_pure:  # a callable may have changed the arrays
            prepared = self._gradients.prepare(engine, binding.ranges, gradients)
        if engine._extras.options.catch_up:
            self._make_room(engine, prepared)
        status = self._call(engine, binding, STEP, prepared, steps=steps, numbers=numbers, scale=engine._sign * scale)
        if status == OK and not self.is_behind():
            lock.resume()
        return status == OK

    def _bound(self, engine: "HostEngine", drive: int, by_element: bool) -> _Binding:
        """What the current settings need. Rows that are behind are brought up to date by the code of their updates."""
        settings, binding = engine._hyper.current, self._binding
        if binding is None or binding.settings is not settings or binding.drive != drive:
            if binding is not None and binding.drive != drive:
                self.sync(engine)
            binding = self._binding = _Binding(engine, settings, drive, by_element)
        return binding

    @staticmethod
    def _evaluate(engine: "HostEngine", binding: _Binding, steps: int) -> list[float]:
        """Number of each schedule and callable for this update."""
        numbers: list[float] = []
        if not binding.calls:
            return numbers  # so a signal handler may step here too
        try:
            engine._lock.own()
            for call, convert, field, _ in binding.calls:
                value, allowed = call(steps), engine._hyper.ranges[field]
                is_ready = type(value) is float and allowed.low <= value <= allowed.high
                numbers.append(value if is_ready else convert(value))
        finally:
            engine._lock.disown()
        return numbers

    def _call(
        self,
        engine: "HostEngine",
        binding: _Binding,
        what: int,
        prepared: Prepared,
        steps: int = 0,
        numbers: Sequence[float] = (),
        scale: float = 1.0,
    ) -> int:
        """Make the tables of one call (rows_layout.ROWS_CALL), and the call.

        They are int64, as nearly all fields of these records: to copy a record takes numpy 9 us, its words 1.
        """
        job, tensors, rows = binding.job.copy(), binding.tensors.copy(), binding.rows.copy()
        for (*_, cells), value in zip(binding.calls, numbers, strict=False):
            rows[cells] = value
        given, keep = [], []
        for k, index, values in prepared.given:
            entry, private = self._given(engine, what, k, index, values)
            given.append(entry)
            keep.append(private)
            tensors[k, _G] = entry[_VALUES] or address(job)  # anything but 0: no element is read through it
        for k, x in prepared.dense:
            tensors[k, _G] = address(x) if x.size else address(job)
        table, walk = np.array(given, np.int64), np.empty_like(job)
        call = np.array(
            [what, steps, address(table), len(given), bool(prepared.dense), address(walk), load_rows()["piece"]],
            np.int64,
        )
        job[_TENSORS], job[_ROWS] = address(tensors), address(rows)
        job.view(np.float64)[_GRAD_SCALE] = scale
        status: int = compiled("run_rows", 2)(address(job), address(call))
        return status

    def _given(self, engine: "HostEngine", what: int, k: int, index: Any, values: Any) -> tuple[tuple[int, ...], Array]:
        """Fields of a GIVEN, and the memory that it points to besides the arguments'."""
        parameters, n_states = engine._parameters, len(engine._state.buffers)
        n_rows, width = extent(parameters.shapes[k], parameters.sizes[k])
        history, n, itemsize = (
            self._histories.get(k),
            n_rows if index is None else len(index),
            parameters.dtype.itemsize,
        )
        moved = n * width * itemsize * (3 + 2 * n_states)
        threads = engine.threads if moved >= engine.parallel_above() or what == SYNC else 1
        private = aligned(threads * PRIVATE // 8, np.int64)
        entry = (
            k, n, 0 if index is None else address(index), 0 if values is None or not values.size else address(values),
            width, itemsize, n_states, threads, max(1, tables.CHUNK_LENGTH // max(1, width)), address(private),
            0 if history is None else history.address,
        )  # fmt: skip
        return entry, private

    # --- Rows that are behind -----------------------------------------------------------------------------------------

    def is_behind(self) -> bool:
        """Whether there are rows that have missed updates."""
        return any(map(len, self._histories.values()))

    def _make_room(self, engine: "HostEngine", prepared: Prepared) -> None:
        """Bring arrays with a whole gradient up to date, and make room in the histories of the others."""
        parameters = engine._parameters
        for k, _ in prepared.dense:
            self.sync(engine, k)
        for k, *_ in prepared.given:
            if k not in self._histories:
                n_rows, _ = extent(parameters.shapes[k], parameters.sizes[k])
                self._histories[k] = History(n_rows, parameters.dtype, engine._rule, len(engine._state.buffers))
            elif len(self._histories[k]) == LONGEST:
                self.sync(engine, k)

    def sync(self, engine: "HostEngine", k: int | None = None, rows: Array | None = None) -> None:
        """Bring rows up to date: of one tensor or all, these or all. The caller has the lock, and steps are paused."""
        behind = [j for j, history in self._histories.items() if len(history) and k in (None, j)]
        if not behind:
            return
        assert self._binding is not None
        engine._parameters.check_in_place(in_container=False)
        prepared = Prepared([(j, rows, None) for j in behind], [])
        while self._call(engine, self._binding, SYNC, prepared) != OK:  # a signal handler has let steps in again
            engine._lock.pause()

    def sync_rows(self, engine: "HostEngine", name: str, rows: Any) -> None:
        """Bring rows that the user names up to date."""
        lock = engine._lock
        load_rows()
        with lock.reading():
            lock.pause()
            if engine.successor is not None:
                engine = engine.successor
                return engine._rows.sync_rows(engine, name, rows)
            k = tensor_of(engine._parameters, name)
            index = None if rows is None else self._gradients.index(engine, k, rows, "rows")
            if index is not None and self._gradients.check_range(engine, k, index, rows, "rows") < len(index):
                index = np.unique(index)  # two threads must not bring a row up to date
            engine._extras.check_not_swapped("sync_rows()")
            return None if index is not None and not len(index) else self.sync(engine, k, index)

    def forgotten(self, engine: "HostEngine", kept: Collection[str]) -> list[tuple[Any, Any]]:
        """Histories of all arrays but these, each with an empty one: their state is about to be replaced."""
        names = engine._parameters.names
        found = [history for k, history in self._histories.items() if len(history) and names[k] not in kept]
        return [pair for history in found for pair in history.emptied()]

    def before_dense(self, engine: "HostEngine", gradients: Any) -> bool:
        """Bring the tensors up to date that an ordinary step is about to update. False: one of them has Rows."""
        if has_rows(gradients):
            return False
        settings, leaves = engine._hyper.current, gradients if type(gradients) is list else None
        if engine._extras.is_used(settings):  # the average and the norms have the arrays without a gradient too
            leaves = None
        pure = all(is_library_schedule(value) for value, *_ in settings.scheduled())
        for k in list(self._histories):
            if leaves is None or not pure or k >= len(leaves) or leaves[k] is not None:
                self.sync(engine, k)
        return True
