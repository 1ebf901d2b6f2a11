"""Steps on the host: one optimizer's tables, and references to every array whose address they contain."""

import operator
import sysconfig
import weakref
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import accumulate, chain, repeat
from typing import Any, NoReturn

import numpy as np

from pyfastlr.arrays.host import Array, address, address_range, aligned, is_native
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import python_side, tables
from pyfastlr_kernels.compile.first_use import once
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.python_side import BAD_SCALE, BUSY, MOVED, NO_WORKERS
from pyfastlr_kernels.tables import NOT_FINITE, OK, SWAPPED

from . import halves, plain_launch
from .extras import Extras
from .hyper import evaluation, inverse_scale, is_library_schedule, number
from .lock import StepLock
from .row_gradients import Given, GivenTree, has_rows
from .rows import RowSteps
from .settings import Hyperparameters, Settings
from .state import State

PARALLEL_ABOVE = 1 << 20  # bytes that a step moves; below this, waking a worker costs more than it saves
_READ = python_side.READABLE
_WRITTEN = _READ | python_side.WRITEABLE


@once
def load_code() -> Any:
    """Import the module of the compiled code. This takes 0.1 s, and no fork or interrupt can split it."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise RuntimeError(
            "pyfastlr needs a Python with the global interpreter lock, got a free-threaded build: a step reads the "
            "arrays' internal records, which only that lock protects; use the standard build of the same version"
        )
    from pyfastlr_kernels.cpu import load

    return load


class HostEngine:
    """Compiled steps over arrays in host memory.

    `launch` is a compiled function that owns its tables. It is built at the first step, and again after any change
    other than to a number. Until it is built, `launch` calls `_bind_and_launch`.
    """

    notify = None

    __slots__ = ("__weakref__", "_convention", "_extras", "_fixed", "_gradient", "_hyper", "_lock", "_parameters",
                 "_rows", "_rule", "_sign", "_state", "launch", "successor", "threads")  # fmt: skip

    def __init__(
        self,
        parameters: Parameters,
        state: State,
        hyper: Hyperparameters,
        lock: StepLock,
        rule: str,
        convention: str,
        sign: float,
        threads: int | None,
        extras: Extras,
    ) -> None:
        self._parameters, self._state, self._hyper, self._lock = parameters, state, hyper, lock
        self._rule, self._convention, self._sign, self._extras = rule, convention, sign, extras
        self._gradient = parameters.memory  # dtype of the gradients that the launch is for
        moved = sum(
            parameters.size * itemsize
            for itemsize in (*(parameters.memory.itemsize,) * 3, *(2 * x.itemsize for x in state.buffers.values()))
        )
        self.threads = (threads or pool.default_threads()) if moved >= PARALLEL_ABOVE else 1
        self._fixed = _FixedTables(parameters, state, hyper.members, self.threads)
        self.threads = max(1, min(self.threads, len(self._fixed.chunks)))
        self._rows = RowSteps()
        self.launch: Callable[..., int] = self._unbound()
        self.successor: HostEngine | None = None  # the engine that has replaced this one (optimizers/adding.py)

    def _unbound(self) -> Callable[..., int]:
        return partial(HostEngine._bind_and_launch, weakref.proxy(self))  # no cycle: a dropped state is freed at once

    # --- The interface to the optimizer (interface.py) ----------------------------------------------------------------

    def renew(self) -> None:
        self.launch = self._unbound()

    def changed(self) -> None:
        """Do nothing: each step reads the current numbers in place."""

    def refresh(self) -> None:
        """Do nothing: the step counts in host memory."""

    def step_rows(self, gradients: Given, inv_scale: Any) -> None:
        self._rows.step(self, gradients, inv_scale)

    def sync_rows(self, name: str, rows: Any) -> None:
        self._rows.sync_rows(self, name, rows)

    def sync(self) -> None:
        self._rows.sync(self)

    def forgotten(self, kept: Collection[str]) -> list[tuple[Any, Any]]:
        return self._rows.forgotten(self, kept)

    def check_replacement(self, old: Settings, new: Settings) -> None:
        """Do nothing: every replacement is allowed."""

    def is_inside(self) -> bool:
        return self._lock.is_mine()

    def in_stream(self, stream: Any) -> Callable[..., int]:
        raise TypeError(f"`stream` must be None for parameters in host memory, got {type(stream).__name__}")

    def settle(self, status: int, gradients: Any, inv_scale: Any, held: Any, grads: Any) -> None:
        viewed, launch = False, self.launch
        while status != OK:
            if status == BUSY:
                status = self._locked_launch(gradients, inv_scale, held, grads)
                continue
            if status == NO_WORKERS:
                if not pool.shared().ensure(self.threads):
                    self.threads = 1
                    self.renew()
            elif status == NOT_FINITE:
                self._extras.explain_not_finite(self._parameters)
            elif status == SWAPPED:
                self._extras.check_not_swapped()
            elif status == BAD_SCALE:
                inv_scale = inverse_scale(inv_scale)
            elif status <= MOVED:
                self._explain_moved(MOVED - status)
            elif viewed:
                leaves = self._parameters.checked(gradients)
                if not self._takes(leaves, launch):
                    self._explain_gradient(leaves)
            else:
                gradients = self._parameters.gather(grads)
                if has_rows(gradients):
                    self.step_rows(GivenTree(grads), inv_scale)
                    return
                gradients, viewed = self._parameters.views(gradients), True
            launch = self.launch
            status = launch(gradients, inv_scale, held, grads)

    def _takes(self, leaves: Any, refused: Callable[..., int]) -> bool:
        """Whether to launch again with these gradients, which a launch has refused: it was for another dtype."""
        dtype = self._parameters.gradient_dtype(leaves)
        with self._lock.held:  # dtype and launch change together: another thread may want a third dtype
            if dtype is self._gradient:
                return refused is not self.launch
            self._gradient = dtype
            self.renew()
            return True

    def _stages(self) -> str:
        """Name of the code of the stages, empty if a step does nothing but the update."""
        name, copies = self._parameters.dtype.name, self._extras.options.copies
        dtypes = {*(() if copies is None else (copies.dtype,)), self._parameters.memory, self._gradient}
        if any(dtype.itemsize == 2 for dtype in dtypes):
            return f"{name}-half"
        return name if self._extras.is_used(self._hyper.current) else ""

    def _locked_launch(self, gradients: Any, inv_scale: Any, held: Any, grads: Any) -> int:
        """Launch under the lock, because another thread is stepping, waiting or holding the lock."""
        if self._lock.is_mine():
            raise RuntimeError("a schedule or callable must not call step() of the optimizer that calls it")
        with self._lock.held:
            if self.successor is not None:
                return self.successor.take_over(inv_scale, grads)
            self._lock.pause()
            if not self._rows.before_dense(self, gradients):
                return 1
            status = self.launch(gradients, inv_scale, held, grads, True)
            if not self._rows.is_behind():
                self._lock.resume()
        return status

    def take_over(self, inv_scale: Any, grads: Any) -> int:
        """Make a step that was begun with the engine that this one has replaced."""
        parameters = self._parameters
        gradients, held = parameters.gather(grads), parameters.held_now()
        status = self.launch(gradients, inv_scale, held, grads)
        if status:
            self.settle(status, gradients, inv_scale, held, grads)
        return OK

    def write(self, pairs: Sequence[tuple[Any, Any]], stores: Sequence[tuple[Any, str, Any]] = ()) -> None:
        _copy_all(pairs, stores)

    def _explain_moved(self, k: int) -> None:
        parameters = self._parameters
        if k < len(parameters.arrays):
            parameters.explain_moved(k, parameters.inside()[k])
        k -= len(parameters.arrays)
        watched = self._fixed.watched(self._hyper.current)
        if k >= len(watched):
            assert self._extras.options.copies is not None
            self._extras.options.copies.explain_moved(k - len(watched))
        rates = watched[k]
        raise ValueError(
            f"`{rates.label}` must keep the memory, shape and dtype that it had when it was set, got an array that was "
            f"resized, reshaped or reinterpreted in place"
        )

    def _explain_gradient(self, leaves: Any) -> NoReturn:
        """Raise the error for a gradient whose memory a step cannot use."""
        zeroed = self._extras.options.zero_grad
        written = [("params", x) for x in self._parameters.arrays]
        written += [(f"state[{name!r}]", x) for name, x in self._state.buffers.items()]
        written += self._extras.labelled()
        if zeroed:
            written += [(rates.label, rates.array) for rates in self._hyper.current.rates if rates is not None]
            self._parameters.check_zeroed(leaves)
        self._parameters.explain_overlap(leaves, written, zeroed)

    # --- Binding ------------------------------------------------------------------------------------------------------

    def _bind_and_launch(self, *arguments: Any) -> int:
        """Compile or load the code, build the launch for the current settings, and call it."""
        load = load_code()
        while True:
            by_element = self.by_element()
            drive = self.drive(by_element)
            load.prepare_launch()
            pool.shared()
            plain_launch.is_needed()
            used, gradient = self._stages(), self._gradient
            stages = load.stages_address(used) if used else 0
            # All that happens once is done: code that holds this lock must not wait for the lock of `whole`, because a
            # thread inside `whole` may wait for this one (SpikeGuard's rollback).
            with self._lock.held:  # so that the settings do not change
                if self.successor is not None:
                    _, inv_scale, _, grads, *_ = arguments
                    return self.successor.take_over(inv_scale, grads)
                if self.by_element() == by_element and self._stages() == used and self._gradient is gradient:
                    if used or self._extras.used:  # a step that is running reads the same record
                        self._lock.pause()
                    self._extras.check_not_swapped()
                    launch = self._bind(drive, stages, gradient, self._hyper.current)
                    copies = self._extras.options.copies
                    self.launch = launch if copies is None else copies.guarded(launch)
                    break
        return self.launch(*arguments)

    def _bind(self, drive: int, stages: int, gradient: Any, settings: Settings) -> Callable[..., int]:
        """Build the launch for these settings and gradients of this dtype, whatever another thread asks for now."""
        fixed, parameters, copy_to = self._fixed, self._parameters, self._extras.options.copies
        copies = [] if copy_to is None else copy_to.arrays
        if copy_to is not None:
            copy_to.check_apart(rates for rates in settings.rates if rates is not None)
        tensors = fixed.tensors.copy()
        tensors["scale"] = [0 if rates is None else address(rates.array) for rates in settings.rates]
        arrays, itemsize = fixed.array_table(settings, copies), gradient.itemsize
        gradients = fixed.gradient_table(itemsize)
        rows = np.empty_like(settings.rows)
        calls = self.schedule_calls(settings)
        scheduled, cells = _scheduled_table(calls, self._hyper.ranges)
        pure = all(is_library_schedule(value) for value, *_ in settings.scheduled())
        gather = None if pure else partial(_gathered, parameters)
        zeros = aligned(tables.CHUNK_LENGTH, parameters.dtype) if settings.may_freeze() else None
        if stages:
            options = self._extras.prepare(settings, self.threads, gradient, self._state)
        else:
            options = self._extras.unused()
        job = self.job_record(drive, tensors, rows, zeros, stages, options)
        if stages:
            self._extras.record["bound"] = tables.address(job)
        written = fixed.written_with(self._extras.written(settings))
        order = np.arange(len(tensors), dtype=np.int64)
        whole = gradients if parameters.is_leaf else fixed.whole
        binding = _record(
            python_side.BINDING, job=tables.address(job), arrays=tables.address(arrays), n_arrays=len(arrays),
            n_held=0 if parameters.layout is not None or parameters.is_single else len(parameters.arrays),
            gradients=tables.address(gradients),
            whole=0 if whole is None else tables.address(whole),
            written=tables.address(written), n_written=len(written) // 2,
            order=tables.address(order) if self._extras.options.zero_grad else 0,
            itemsize=itemsize, rows=tables.address(settings.rows), n_cells=settings.rows.nbytes // 8,
            scheduled=tables.address(scheduled), n_scheduled=len(scheduled), row_cells=tables.address(cells),
            gather=id(gather), flags=_WRITTEN if self._extras.options.zero_grad else _READ,
            dtype=id(gradient), ndarray=id(np.ndarray),
            list=0 if parameters.is_leaf else id(list), float=id(float), none=id(None),
        )  # fmt: skip
        keep = (fixed, settings, self._state, self._lock.progress, gradients, gradient,
                self._extras, self._extras.kept(), written, order, tensors, arrays, rows,
                calls, scheduled, cells, gather, zeros, job, binding, parameters)  # fmt: skip
        if plain_launch.is_needed():
            known = {
                "tensors": tensors, "arrays": arrays, "gradients": gradients, "whole": whole,
                "written": written, "scheduled": scheduled, "rows": rows, "given_rows": settings.rows,
                "options": self._extras.record if stages else None,
            }  # fmt: skip
            objects = [*parameters.given, *(rates.watched.array for rates in fixed.watched(settings))]
            objects += [x.watched.array for x in copies]
            return plain_launch.PlainLaunch(
                load_code().step_addresses()[load_code().RUN], self._lock, self._extras, binding, job, known, objects,
                calls, gather, keep, self._rows.is_behind,
            )  # fmt: skip
        launch: Callable[..., int] = load_code().bound_launch(tables.address(binding), keep)
        return launch

    def schedule_calls(self, settings: Settings) -> list[Any]:
        """Each schedule or callable as what a step calls, what converts its value, its field and its cells."""
        return [
            (
                evaluation(value),
                _converter(self._lock, self._hyper.ranges, field, settings.label_of(cells[0])),
                field,
                cells,
            )
            for value, field, cells in settings.scheduled()
        ]

    def job_record(
        self, drive: int, tensors: Array, rows: Array, zeros: Array | None, stages: int = 0, options: int = 0
    ) -> Array:
        """The job for these tables, of which the rows are the hyperparameters."""
        fixed = self._fixed
        return _record(
            tables.JOB, drive=drive, tensors=tables.address(tensors), n_tensors=len(tensors),
            counts=tables.address(fixed.counts), chunks=tables.address(fixed.chunks), n_chunks=len(fixed.chunks),
            rows=tables.address(rows), folds=tables.address(fixed.folds), cursors=tables.address(fixed.cursors),
            zeros=0 if zeros is None else tables.address(zeros), size=self._parameters.size, threads=self.threads,
            pool=pool.shared().address, progress=self._lock.address, sign=self._sign, stages=stages, options=options,
        )  # fmt: skip

    def by_element(self) -> bool:
        """Whether the drive must handle per-element rates or frozen groups."""
        return _by_element(self._hyper.current)

    @staticmethod
    def parallel_above() -> int:
        """Bytes that a step moves from which on threads share it."""
        return PARALLEL_ABOVE

    def drive(self, by_element: bool) -> int:
        """Address of the drive."""
        name, packed = self._parameters.dtype.name, self._state.packed_forms()
        found: int = load_code().drive_address(self._rule, self._convention, name, by_element, packed=packed)
        return found


def _gathered(parameters: Parameters, grads: Any) -> tuple[Any, Any]:
    """Gather gradients and parameters again, because a callable may have changed their containers."""
    return parameters.views(parameters.gather(grads)), parameters.held_now()


class _FixedTables:
    """The tables that do not depend on the settings, and the arrays that they point to."""

    def __init__(self, parameters: Parameters, state: State, members: Sequence[int], threads: int) -> None:
        n, itemsize = len(parameters.names), parameters.memory.itemsize
        self._parameters = parameters
        starts = list(accumulate(parameters.sizes, initial=0))[:-1]
        bases = parameters.addresses
        offsets = np.array(starts, np.int64) * itemsize
        self.tensors = np.zeros(n, tables.TENSOR)
        self.tensors["size"], self.tensors["fold_index"] = parameters.sizes, -1
        self.tensors["row"] = members
        self.tensors["p"] = bases[0] + offsets if parameters.layout is not None else bases
        for k, places in enumerate(state.addresses()):
            self.tensors[f"s{k}"] = places
        self.tensors["packing"] = state.packing_addresses()
        length = tables.chunk_length(parameters.size, threads)
        if parameters.half is not None:
            length = min(length, halves.CHUNK_LENGTH)
        self.chunks = tables.chunk_table(parameters.sizes, length)
        self.counts = state.counts
        self.folds = aligned(n * tables.FOLD_WIDTH, np.float64)
        self.cursors = aligned(threads * tables.CURSOR, np.int64)
        self._lengths = _Lengths([*parameters.shapes, *(x.shape for x in parameters.arrays), (parameters.size,)])
        self._gradients, self._firsts = np.zeros(n, python_side.GRADIENT), np.array(starts, np.int64)
        self._gradients["ndim"], self._gradients["shape"] = self._lengths.of(parameters.shapes)
        self._gradients["size"] = parameters.sizes
        self.whole: Array | None = None
        if parameters.layout is not None:
            self.whole = np.zeros(1, python_side.GRADIENT)
            self.whole["ndim"], self.whole["shape"] = self._lengths.of([(parameters.size,)])
            self.whole["size"] = parameters.size
        ranges = [(start, start + x.nbytes) for start, x in zip(bases, parameters.arrays, strict=True)]
        ranges += [address_range(x) for x in state.buffers.values()]
        self._ranges = ranges
        self._array_rows = [
            (
                id(given) if native else 0,
                base,
                *self._lengths.one(x.shape),
                id(given.dtype if native else x.dtype),
                _WRITTEN,
            )
            for given, x, base in zip(parameters.given, parameters.arrays, bases, strict=True)
            for native in (is_native(given),)
        ]
        self._dtypes = [x.dtype for x in (*parameters.given, *parameters.arrays) if isinstance(x, np.ndarray)]

    def gradient_table(self, itemsize: int) -> Array:
        """Table of the gradients, whose elements have that many bytes."""
        found = self._gradients.copy()
        found["offset"] = self._firsts * itemsize
        return found

    def written_with(self, others: Sequence[tuple[int, int]]) -> Array:
        """All that no gradient may overlap: parameters, state and these address ranges."""
        return python_side.written_ranges([*self._ranges, *others])

    def watched(self, settings: Settings) -> list[Any]:
        """Per-element rates, one entry per array of the user."""
        return list({id(rates.watched.array): rates for rates in settings.rates if rates is not None}.values())

    def array_table(self, settings: Settings, copies: Sequence[Any]) -> Array:
        """Table of the arrays that a step checks: parameters, then per-element rates, then `copy_to`."""
        rows = list(self._array_rows)
        watched = [(x.watched, flags) for them, flags in ((self.watched(settings), _READ), (copies, _WRITTEN))
                   for x in them]  # fmt: skip
        rows += [(id(x.array), x.address, *self._lengths.one(x.shape), id(x.dtype), flags) for x, flags in watched]
        return np.array(rows, python_side.ARRAY)


class _Lengths:
    """Shapes stored one after another in memory, each only once."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._kept: list[Array] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._add(list(dict.fromkeys(shapes)))

    def _add(self, shapes: Sequence[tuple[int, ...]]) -> None:
        flat = np.array([length for shape in shapes for length in shape] or [0], np.int64)
        self._kept.append(flat)
        place = tables.address(flat)
        for shape in shapes:
            self._places[shape] = place
            place += 8 * len(shape)

    def one(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Number of dimensions of a shape, and the address of its lengths."""
        if shape not in self._places:
            self._add([shape])
        return len(shape), self._places[shape]

    def of(self, shapes: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int]]:
        """Numbers of dimensions, and addresses, of several shapes."""
        return [len(shape) for shape in shapes], [self._places[shape] for shape in shapes]


def _record(record_dtype: Any, /, **fields: Any) -> Array:
    """One record with these fields; all others are zero."""
    record = np.zeros(1, record_dtype)
    record[0] = tuple(fields.get(name, 0) for name in record_dtype.names)
    return record


def _by_element(settings: Settings) -> bool:
    """Whether the driver must handle per-element rates or frozen groups."""
    return any(rates is not None for rates in settings.rates) or settings.may_freeze()


def _scheduled_table(calls: Sequence[Any], ranges: Any) -> tuple[Array, Array]:
    """Table of the schedules and callables, and the cells that each value fills."""
    firsts = list(accumulate((len(cells) for *_, cells in calls), initial=0))
    rows = [
        (id(call), id(convert), ranges[field].low, ranges[field].high, 0.0, first, len(cells))
        for (call, convert, field, cells), first in zip(calls, firsts, strict=False)
    ]
    return np.array(rows, python_side.SCHEDULED), np.array([x for *_, cells in calls for x in cells] or [0], np.int64)


def _converter(lock: StepLock, ranges: Any, field: str, group: str) -> Callable[[Any], float]:
    """Return a converter that validates the value of a group's schedule."""
    return lambda value: number(
        value, field, ranges[field], f" from its schedule at update {lock.steps[0]}", group=group
    )


def _copy_all(pairs: Sequence[tuple[Array, Array]], stores: Sequence[tuple[Any, str, Any]]) -> None:
    """Copy the second array of each pair over the first, then set attributes, in one C call.

    It keeps the interpreter lock, so no interrupt, other thread or fork can come between two of them.
    """
    full = [(_bytes_of(x), _bytes_of(y)) for x, y in pairs if x.size]
    # Lists, because a generator would run Python code between two copies.
    targets, sources = [x for x, _ in full], [y for _, y in full]
    objects, names, values = [x for x, _, _ in stores], [name for _, name, _ in stores], [x for _, _, x in stores]
    deque(chain(
        map(operator.setitem, targets, repeat(slice(None)), sources), map(setattr, objects, names, values),
    ), maxlen=0)  # fmt: skip


def _bytes_of(x: Array) -> Any:
    whole: Any = x.reshape(-1).view(np.uint8)
    return memoryview(whole)
