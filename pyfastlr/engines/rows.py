"""Steps in which some tensors have a gradient of only some rows: checks and tables for one compiled call.

The compiled side is kernels/pyfastlr_kernels/cpu/rows.py. As in plain_launch.py, everything before that call is Python
under the optimizer's lock: it only makes new tables. The call itself keeps the interpreter lock, so no interrupt, no
other thread and no fork comes between the rows' updates, the other tensors' updates and the counts.

With `catch_up`, rows may be behind (`is_behind`). Until they are not, steps stay paused: each step then comes to
`HostEngine.settle`, which first brings the arrays up to date that it updates.
"""

import ctypes
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import Array, address, aligned, describe, shaped
from pyfastlr.arrays.rows import Rows, row_numbers
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu import pool, rows_layout
from pyfastlr_kernels.cpu.rows_layout import GIVEN, HISTORY, LONGEST, NEVER, ROWS_CALL, SQUARES, STEP, SYNC, ZEROS
from pyfastlr_kernels.cpu.stages_layout import PRIVATE
from pyfastlr_kernels.tables import OK

from .hyper import OFF, evaluation, inverse_scale, is_library_schedule
from .settings import Settings

if TYPE_CHECKING:
    from .host import HostEngine

_MOST = 2**31 - 1  # rows in one gradient: int32 marks
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
        self.record["n_states"], self.record["rest"] = n_states, _REST.get(rule, NEVER)

    def __len__(self) -> int:
        return int(self.record["entries"][0])


class _Binding:
    """What a step over rows needs of the settings."""

    def __init__(self, engine: "HostEngine", settings: Settings, drive: int, by_element: bool) -> None:
        from .host import _converter

        self.settings, self.drive, self.by_element = settings, drive, by_element
        self.tensors = engine._fixed.tensors
        self.calls = [
            (evaluation(value), _converter(engine._lock, engine._hyper.ranges, field, settings.label_of(cells[0])),
             engine._hyper.ranges[field], cells)
            for value, field, cells in settings.scheduled()
        ]  # fmt: skip
        self.is_pure = all(is_library_schedule(value) for value, *_ in settings.scheduled())
        self._zeros = aligned(tables.CHUNK_LENGTH, engine._parameters.dtype) if by_element else None
        self.written = np.split(engine._fixed.written_with([]), 2)
        self.starts, self.ends = (x.tolist() for x in self.written)
        self.job = engine.job_record(drive, self.tensors, settings.rows, self._zeros)


class GivenTree(NamedTuple):
    """The gradients of `step`: of each array, or Rows, or None."""

    grads: Any

    def leaves(self, parameters: Any) -> list[Any]:
        """Gradients now, one for each tensor of the parameters."""
        leaves = parameters.gather(self.grads)
        if parameters.layout is not None and type(leaves) is not list:
            raise TypeError(f"`grads` must be a dict with Rows under their names, got {describe(leaves)} for a Flat")
        return [leaves] if parameters.is_leaf or type(leaves) is not list else leaves

    def label(self, parameters: Any, k: int, part: str = "") -> str:
        """Name of a gradient in errors, or of a part of it."""
        name: str = parameters.gradient_label(k)
        return f"{name}.{part}" if part else name


class GivenRows(NamedTuple):
    """The gradients of `step_rows`: Rows of the array of that name, None for all others."""

    name: Any
    rows: Rows

    def leaves(self, parameters: Any) -> list[Any]:
        """Gradients, one for each tensor of the parameters."""
        leaves: list[Any] = [None] * len(parameters.names)
        leaves[tensor_of(parameters, self.name)] = self.rows
        return leaves

    def label(self, parameters: Any, k: int, part: str = "") -> str:
        """Name of a part of the gradient in errors."""
        return part


Given = GivenTree | GivenRows


class _Prepared(NamedTuple):
    """The gradients of a step."""

    given: list[tuple[int, Array | None, Any]]  # tensor, its rows, each once, or None for all; and their values
    dense: list[tuple[int, Any]]  # tensor and gradient


class RowSteps:
    """The steps over rows of one engine."""

    def __init__(self) -> None:
        self._binding: _Binding | None = None
        self._histories: dict[int, History] = {}
        self._marks: dict[int, Array] = {}  # scratch of check_rows, for each tensor
        self._places: dict[int, Array] = {}  # of sum_rows

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
        self._refuse(engine, binding.settings)
        prepared = self._prepare(engine, binding, gradients)
        if not prepared.given and not prepared.dense:
            return True
        steps = int(lock.steps[0])
        numbers = self._evaluate(engine, binding, steps)
        if not binding.is_pure:  # a callable may have changed the arrays
            prepared = self._prepare(engine, binding, gradients)
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
            for call, convert, allowed, _ in binding.calls:
                value = call(steps)
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
        prepared: _Prepared,
        steps: int = 0,
        numbers: Sequence[float] = (),
        scale: float = 1.0,
    ) -> int:
        """Make the tables of one call, and the call."""
        parameters, job, tensors = engine._parameters, binding.job.copy(), binding.tensors.copy()
        rows = binding.settings.rows.copy()
        cells = rows.view(np.float64)
        for (*_, places), value in zip(binding.calls, numbers, strict=False):
            cells[places] = value
        given, keep = np.zeros(len(prepared.given), GIVEN), []
        for place, (k, index, values) in enumerate(prepared.given):
            n_rows, width = _extent(parameters.shapes[k], parameters.sizes[k])
            history, n = self._histories.get(k), n_rows if index is None else len(index)
            n_states, itemsize = len(engine._state.buffers), parameters.dtype.itemsize
            moved = n * width * itemsize * (3 + 2 * n_states)
            threads = engine.threads if moved >= engine.parallel_above() or what == SYNC else 1
            keep.append(aligned(threads * PRIVATE // 8, np.int64))
            start = 0 if values is None or not values.size else address(values)
            given[place] = (
                k, n, 0 if index is None else address(index), start, width, itemsize, n_states, threads,
                max(1, tables.CHUNK_LENGTH // max(1, width)), address(keep[-1]),
                0 if history is None else tables.address(history.record),
            )  # fmt: skip
            tensors["g"][k] = start or tables.address(job)  # anything but 0: no element is read through it
        for k, x in prepared.dense:
            tensors["g"][k] = address(x) if x.size else tables.address(job)
        call, walk = np.zeros(1, ROWS_CALL), job.copy()
        piece = load_rows()["piece"]
        call[0] = (what, steps, tables.address(given), len(given), bool(prepared.dense), tables.address(walk), piece)
        job["tensors"], job["rows"], job["grad_scale"] = tables.address(tensors), tables.address(rows), scale
        status: int = _function("run_rows", 2)(tables.address(job), tables.address(call))
        return status

    # --- Checks -------------------------------------------------------------------------------------------------------

    @staticmethod
    def _refuse(engine: "HostEngine", settings: Settings) -> None:
        """Refuse options of a step that need the whole gradient."""
        options = engine._extras.options
        used = [name for name in OFF if any(name in own for own in settings.own)]
        used += [
            name
            for name, value, off in (
                ("nonfinite", options.nonfinite, "propagate"), ("zero_grad", options.zero_grad, False),
                ("accumulate", options.accumulate, 1), ("measure", options.measure, ()),
                ("copy_to", options.copies, None), ("loss_scale", options.loss_scale, None),
            )
            if value != off
        ]  # fmt: skip
        if used:
            raise ValueError(
                f"`{used[0]}` must be left out for a step with rows: it needs the whole gradient, or each element of "
                f"the parameters; pass an array with zeros in the other rows"
            )
        if any(rates is not None for rates in settings.rates):
            raise TypeError("`lr_scale` must be a number, schedule or callable for a step with rows, got arrays")
        for name, buffer in engine._state.buffers.items():
            if buffer.dtype != engine._parameters.dtype:
                raise TypeError(
                    f"`state[{name!r}]` must have the dtype of the parameters, {engine._parameters.dtype}, for a step "
                    f"with rows, got {buffer.dtype}"
                )

    def _prepare(self, engine: "HostEngine", binding: _Binding, gradients: Given) -> _Prepared:
        """Check parameters and gradients. Nothing is written."""
        parameters, prepared = engine._parameters, _Prepared([], [])
        parameters.check_in_place()
        for k, leaf in enumerate(gradients.leaves(parameters)):
            if isinstance(leaf, Rows):
                labels = gradients.label(parameters, k, "rows"), gradients.label(parameters, k, "values")
                prepared.given.append((k, *self._rows_of(engine, binding, k, leaf, *labels)))
            elif leaf is not None:
                label = gradients.label(parameters, k)
                x = parameters.operand(leaf, label, parameters.shapes[k])
                self._check_apart(engine, binding, x, label)
                prepared.dense.append((k, x))
        if engine._extras.options.catch_up:
            for k, _ in prepared.dense:
                if len(self._histories.get(k, ())):
                    self.sync(engine, k)
            for k, *_ in prepared.given:
                if k not in self._histories:
                    n_rows, _ = _extent(parameters.shapes[k], parameters.sizes[k])
                    self._histories[k] = History(n_rows, parameters.dtype, engine._rule, len(engine._state.buffers))
        return prepared

    def _rows_of(
        self, engine: "HostEngine", binding: _Binding, k: int, given: Rows, rows_label: str, values_label: str
    ) -> tuple[Array, Any]:
        """Rows of a gradient, each once, and their values."""
        parameters = engine._parameters
        index = self._index(engine, k, given.rows, rows_label)
        values = parameters.operand(given.values, values_label, (len(index), *parameters.shapes[k][1:]))
        self._check_apart(engine, binding, values, values_label)
        different = self._check_range(engine, k, index, given.rows, rows_label)
        if different == len(index):
            return index, values
        if k not in self._places:
            self._places[k] = np.zeros(parameters.shapes[k][0], np.int32)
        once = np.zeros(different, np.int64)
        summed = aligned(different * values.size // len(index), parameters.dtype)
        add = _function(f"sum_rows_{parameters.dtype}", 7, None)
        add(address(index), len(index), address(values) if values.size else 0, values.size // len(index),
            address(self._places[k]), address(once), address(summed) if summed.size else 0)  # fmt: skip
        return once, summed

    def _index(self, engine: "HostEngine", k: int, rows: Any, label: str) -> Array:
        shape = engine._parameters.shapes[k]
        if not shape:
            name = tree.label("params", engine._parameters.names[k])
            raise ValueError(f"`{name}` must have rows, got {shaped(engine._parameters.dtype, shape)}")
        index: Array = row_numbers(rows, label, shape[0])
        if len(index) > _MOST:
            raise ValueError(f"`{label}` must have at most {_MOST} row numbers, got {len(index)}")
        return index

    def _check_range(self, engine: "HostEngine", k: int, index: Array, rows: Any, label: str) -> int:
        """Number of different rows, or raise the error for one out of range."""
        n_rows = engine._parameters.shapes[k][0]
        if k not in self._marks:
            self._marks[k] = np.zeros(n_rows, np.int8)
        found: int = _function("check_rows", 4)(address(index), len(index), n_rows, address(self._marks[k]))
        if found < 0:
            at = -1 - found
            got = f"{rows[at]}" if isinstance(rows, list | tuple | np.ndarray) else f"{index[at]}"
            raise ValueError(f"`{label}` must be from 0 to {n_rows - 1}, got {got} at index {at}")
        return found

    @staticmethod
    def _check_apart(engine: "HostEngine", binding: _Binding, x: Array, label: str) -> None:
        """Refuse a gradient in memory that the step writes."""
        if not x.size:
            return
        start = address(x)
        before = bisect_left(binding.starts, start + x.nbytes) - 1  # the last range that starts before the end
        if before < 0 or binding.ends[before] <= start:
            return
        written = [("params", p) for p in engine._parameters.arrays]
        written += [(f"state[{name!r}]", s) for name, s in engine._state.buffers.items()]
        for what, other in written:
            if address(other) < start + x.nbytes and start < address(other) + other.nbytes:
                raise ValueError(f"`{label}` must not overlap `{what}`, got {describe(x)} that shares its memory")

    # --- Rows that are behind -----------------------------------------------------------------------------------------

    def is_behind(self) -> bool:
        """Whether there are rows that have missed updates."""
        return any(map(len, self._histories.values()))

    def _make_room(self, engine: "HostEngine", prepared: _Prepared) -> None:
        for k, *_ in prepared.given:
            if k in self._histories and len(self._histories[k]) == LONGEST:
                self.sync(engine, k)

    def sync(self, engine: "HostEngine", k: int | None = None, rows: Array | None = None) -> None:
        """Bring rows up to date: of one tensor or all, these or all. The caller has the lock, and steps are paused."""
        behind = [j for j, history in self._histories.items() if len(history) and k in (None, j)]
        if not behind:
            return
        assert self._binding is not None
        engine._parameters.check_in_place(in_container=False)
        prepared = _Prepared([(j, rows, None) for j in behind], [])
        status = self._call(engine, self._binding, SYNC, prepared)
        assert status == OK, status

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
            index = None if rows is None else self._index(engine, k, rows, "rows")
            if index is not None:
                self._check_range(engine, k, index, rows, "rows")
            engine._extras.check_not_swapped("sync_rows()")
            return self.sync(engine, k, index)

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


def has_rows(leaves: Any) -> bool:
    """Whether a gradient is Rows: of a list with one for each tensor, or the only one."""
    return any(isinstance(x, Rows) for x in leaves) if type(leaves) is list else isinstance(leaves, Rows)


def tensor_of(parameters: Any, name: Any) -> int:
    """Index of an array, by its name."""
    if not isinstance(name, str) or name not in parameters.names:
        names = parameters.names[:5]
        known = ", ".join(map(repr, names)) + (", ..." if len(parameters.names) > 5 else "")
        raise ValueError(f"`name` must be the name of an array, one of {known}, got {name!r}")
    found: int = parameters.names.index(name)
    return found


def _extent(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Number of rows, and of elements in each."""
    return shape[0], size // shape[0] if shape[0] else 0


def _function(name: str, n: int, result: Any = ctypes.c_int64) -> Any:
    """Compiled function of n int64 that keeps the interpreter lock."""
    if name not in _functions:
        _functions[name] = ctypes.PYFUNCTYPE(result, *(ctypes.c_int64,) * n)(load_rows()[name])
    return _functions[name]


def load_rows() -> dict[str, int]:
    """Addresses of the compiled code."""
    if not _addresses:
        from .host import load_code

        _addresses.update(load_code().rows_addresses())
    return _addresses


_functions: dict[str, Any] = {}
_addresses: dict[str, int] = {}
