"""The launch in plain Python, used if numpy's or Python's records differ from those that the compiled launch reads.

It has the same arguments, tables and results (pyfastlr_kernels/cpu/launch.py). It reads each array's attributes instead
of its record, and calls the same compiled `run`. So a step gives the same bits and takes about 10 us longer.
"""

import ctypes
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pyfastlr.arrays.host import address
from pyfastlr_kernels.compile.first_use import once
from pyfastlr_kernels.cpu.pool import ALIVE
from pyfastlr_kernels.python_side import BAD_SCALE, BUSY, MOVED, NO_WORKERS, NOTHING, ndarray_record_fits
from pyfastlr_kernels.tables import HELD, OK

from .extras import Extras
from .lock import StepLock


@once
def is_needed() -> bool:
    """Whether this process needs the plain launch. Warns the first time if so."""
    if ndarray_record_fits():
        return False
    warnings.warn(
        f"numpy {np.__version__} stores arrays in another form than pyfastlr's compiled launch reads: a step takes "
        f"about 10 µs longer in this process, with the same results",
        RuntimeWarning,
        stacklevel=2,
    )
    return True


class PlainLaunch:
    """`launch` for one binding. `keep` holds everything that the tables point to."""

    def __init__(
        self,
        run: int,
        lock: StepLock,
        extras: Extras,
        binding: Any,
        job: Any,
        tables: dict[str, Any],
        arrays: Sequence[Any],
        calls: Sequence[Any],
        gather: Callable[[Any], tuple[Any, Any]] | None,
        keep: tuple[Any, ...],
        is_behind: Callable[[], bool],
    ) -> None:
        self._run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(run)
        self._extras, self._lock, self._job, self._job_address, self._keep = extras, lock, job[0], address(job), keep
        self._arrays, self._calls, self._gather, self._is_behind = arrays, calls, gather, is_behind
        # Python numbers, because reading one from a record takes as long as all other work for an array.
        self._list, self._dtype, self._n_held = (int(binding[name][0]) for name in ("list", "dtype", "n_held"))
        self._flags = int(binding["flags"][0])
        self._threads, self._sign = int(job["threads"][0]), float(job["sign"][0])
        self._shared_refused, self._itemsize = bool(binding["order"][0]), int(binding["itemsize"][0])
        self._options, self._sizes = tables["options"], tables["gradients"]["size"]
        self._alive = ctypes.c_int64.from_address(int(job["pool"][0]) + ALIVE)
        self._needs = [
            (int(need["object"]), int(need["data"]), int(need["dtype"]), _shape(need), int(need["flags"]))
            for need in tables["arrays"]
        ]
        self._shapes = [_shape(need) for need in tables["gradients"]]
        self._whole = None if tables["whole"] is None else _shape(tables["whole"][0])
        self._addresses, self._offsets = tables["tensors"]["g"], tables["gradients"]["offset"]
        starts, ends = np.split(tables["written"], 2)
        self._starts, self._ends = starts.tolist(), ends.tolist()
        self._limits = [(float(x["low"]), float(x["high"])) for x in tables["scheduled"]]
        self._rows, self._given_rows = (tables[name].view(np.float64) for name in ("rows", "given_rows"))

    def __call__(self, gradients: Any, inv_scale: Any, held: Any, grads: Any, locked: bool = False) -> int:
        """Do one step under the lock, because Python has no atomic instruction to own the optimizer with."""
        lock = self._lock
        if lock.is_mine():
            raise RuntimeError("a schedule or callable must not call step() of the optimizer that calls it")
        with lock.held:
            lock.pause()
            if self._extras.swapped or (not locked and self._is_behind()):  # since the caller read which launch to call
                return BUSY
            try:
                lock.own()
                status = self._step(gradients, inv_scale, held, grads)
            finally:
                lock.disown()
            lock.resume()
        return OK if status in (NOTHING, HELD) else status

    def _step(self, gradients: Any, inv_scale: Any, held: Any, grads: Any) -> int:
        if type(inv_scale) is not float or not 0.0 < inv_scale < np.inf:
            return BAD_SCALE
        if self._threads > 1 and self._alive.value < self._threads - 1:
            return NO_WORKERS
        if self._options is not None and int(self._options["bound"][0]) != self._job_address:
            return BUSY  # a later launch has taken over the record
        status = self._bind(gradients, held)
        numbers: list[float] = []
        if status == OK and self._calls and self._may_update():
            numbers = self._evaluate_schedules()
            if self._gather is not None:
                gradients, held = self._gather(grads)
            status = self._bind(gradients, held)
        if status == OK:
            self._take_hyperparameters(numbers)
            self._job["grad_scale"] = self._sign * inv_scale
            status = self._run(self._job_address)
        return status

    # --- Bind ---------------------------------------------------------------------------------------------------------

    def _bind(self, gradients: Any, held: Any) -> int:
        status = self._bind_arrays(held)
        return status if status != OK else self._bind_gradients(gradients)

    def _bind_arrays(self, held: Any) -> int:
        """Check that no parameter or array of rates has moved or changed."""
        n_held = self._n_held if held is not None else 0
        if n_held and len(held) != n_held:
            return MOVED
        for k, (known, start, dtype, shape, flags) in enumerate(self._needs):
            x = held[k] if k < n_held else self._arrays[k]
            if (known and id(x) != known) or (not known and type(x) is not np.ndarray):
                return MOVED - k
            if address(x) != start or id(x.dtype) != dtype or x.shape != shape or x.flags.num & flags != flags:
                return MOVED - k
        return OK

    def _bind_gradients(self, gradients: Any) -> int:
        """Store the gradients' addresses in the tables."""
        if not self._list or type(gradients) is not list:
            start = 0 if self._whole is None else self._gradient_address(gradients, self._whole)
            if start == 0:
                return 1
            self._addresses[:] = start + self._offsets
            return OK
        if len(gradients) != len(self._shapes):
            return 1
        found = []
        for k, (x, shape) in enumerate(zip(gradients, self._shapes, strict=True)):
            found.append(0 if x is None else self._gradient_address(x, shape))
            if x is not None and not found[-1]:
                return k + 1
        self._addresses[:] = found
        if not any(found):
            return NOTHING
        return self._sharing(found) if self._shared_refused else OK

    def _sharing(self, found: Sequence[int]) -> int:
        """OK, or k + 1 if gradient k shares memory with another one."""
        ranges = [(start, k) for k, start in enumerate(found) if start and self._sizes[k]]
        for (start, before), (after, k) in pairwise(sorted(ranges)):
            if start + int(self._sizes[before]) * self._itemsize > after:
                return k + 1
        return OK

    def _gradient_address(self, x: Any, shape: tuple[int, ...]) -> int:
        """Address of a gradient's elements, or 0 if the gradient is invalid."""
        if type(x) is not np.ndarray or id(x.dtype) != self._dtype or x.shape != shape:
            return 0
        if x.flags.num & self._flags != self._flags:
            return 0
        if x.size == 0:
            return self._job_address  # anything but 0: no element is read
        start = address(x)
        before = bisect_left(self._starts, start + x.nbytes) - 1  # the last range that starts before the end
        return 0 if before >= 0 and self._ends[before] > start else start

    # --- Schedules and hyperparameters --------------------------------------------------------------------------------

    def _may_update(self) -> bool:
        """Whether this call may make an update: a call that only accumulates needs no schedule."""
        options = self._options
        return options is None or int(options["calls"][0]) + 1 >= int(options["every"][0])

    def _evaluate_schedules(self) -> list[float]:
        """Value of each schedule and callable for this update."""
        n, numbers = int(self._lock.steps[0]), []
        for (call, convert, *_), (low, high) in zip(self._calls, self._limits, strict=True):
            value = call(n)
            numbers.append(value if type(value) is float and low <= value <= high else convert(value))
        return numbers

    def _take_hyperparameters(self, numbers: Sequence[float]) -> None:
        self._rows[:] = self._given_rows
        for (*_, cells), value in zip(self._calls, numbers, strict=bool(numbers)):
            self._rows[cells] = value


def _shape(need: Any) -> tuple[int, ...]:
    """Required shape of an array."""
    return tuple((ctypes.c_int64 * int(need["ndim"])).from_address(int(need["shape"])))
