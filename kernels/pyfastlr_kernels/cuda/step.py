"""One step on the device: tables that stay there, kernels that are loaded once, and one launch; more with options.

The phases are those of the CPU: fold, update, commit (the caller binds gradients and evaluates schedules). The host
folds in float64 as the CPU's drive does, once for all tensors that share group, count and carry. If all of them do, the
launch passes the numbers by value. Otherwise they are copied with the gradients' addresses, in one block and only if
these have changed. The commit is part of the launch: C calls that Ctrl-C cannot separate. Nothing here waits for the
device.
"""

import ctypes
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from pyfastlr_kernels import tables as host_tables
from pyfastlr_kernels.rules import Rule
from pyfastlr_kernels.rules.contract import common_numbers, numbers_like

from .launch import Launch
from .stages import OnDevice, Stages
from .tables import BINDING, BLOCKS, NUMBERS, THREADS

OPTION_FIELDS = ("clip_norm", "clip_norm_each", "clip_value", "ema_decay")
_record: Any = namedtuple  # with fields that are known only at run time
REAL = {"float32": ctypes.c_float, "float64": ctypes.c_double}


class Device(Protocol):
    """What a step needs from a device; device.Device and the tests' emulator have it."""

    multiprocessors: int

    def allocate(self, size: int) -> Any:
        """Allocate device memory that lives as long as the returned object, whose `address` is its start."""

    def fill(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        """Copy to the device, after all pending work there; wait for the copy."""

    def write(self, address: int, array: "np.ndarray[Any, Any]", stream: int) -> None:
        """Copy to the device in the order of the stream; the array may change afterwards."""

    def read(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        """Copy from the device, after all pending work there; wait for the copy."""

    def kernel(self, name: str | None, make: Callable[[], "tuple[Any, Any]"], bounds: "tuple[int, int]") -> Any:
        """Load a kernel, compiled on its first use on a machine; without a name, on each use."""

    def start(self, launches: "Sequence[Launch]", stream: int, then: "Sequence[Callable[[], None]]" = ()) -> None:
        """Start the kernels and make the calls, one after another; Ctrl-C cannot come between them."""


class Folded(NamedTuple):
    """All numbers of one update, as float64."""

    common: tuple[float, ...]
    h: tuple[float, ...]
    r: tuple[float, ...]  # times the group's lr_scale
    carry: tuple[float, ...]


def make_fold(fold: Callable[..., Any], names: Sequence[str]) -> Callable[..., Folded]:
    """Make the fold on the host, like `cpu.drive.make_fold`: a function of a row, an update number and a carry."""
    config = _record("config", names)

    def numbers(row: Any, t: float, carry: Any) -> Folded:
        c = config(*row)
        h, r, carry = fold(c, t, carry)
        return Folded(common_numbers(c), h, tuple(x * c.lr_scale for x in r), carry)

    return numbers


class Step:
    """The launches of one optimizer.

    Parameters
    ----------
    rule, convention, dtype
        Same as in cpu.load.drive_address.
    tensors : tables.TENSOR array
        The table, without gradients.
    rows, counts, steps
        The optimizer's own config rows, counts and number of steps, on the host. A step reads all of them, and updates
        counts and steps.
    by_element
        Whether a tensor may have a rate per element or be frozen.
    options
        What a step does besides the update.
    """

    def __init__(
        self,
        device: Device,
        rule: Rule,
        convention: str,
        dtype: str,
        tensors: Any,
        rows: Any,
        counts: Any,
        steps: Any,
        by_element: bool = False,
        options: OnDevice | None = None,
    ) -> None:
        self._device, self._dtype, self._tensors = device, dtype, tensors
        self._rows, self._counts, self._steps = rows, counts, steps
        self._rule, self._fold = rule, rule.folds[convention]
        self._numbers = make_fold(self._fold, rows.dtype.names)
        self._carry = len(rule.carry)
        self._by_element = by_element or bool(tensors["scale"].any())
        sizes = tensors["size"].tolist()
        table = host_tables.chunk_table(sizes, host_tables.chunk_length(sum(sizes), device.multiprocessors))
        self._grid = len(table)
        # Bindings and folded numbers are in one block, so that one copy moves both.
        n, self._real = len(tensors), np.dtype(dtype)
        self._block = np.zeros(n * (BINDING.itemsize + NUMBERS * self._real.itemsize), np.uint8)
        self._bindings = self._block[: n * BINDING.itemsize].view(BINDING)
        self._table = self._block[n * BINDING.itemsize :].view(self._real).reshape(n, NUMBERS)
        self._written: bytes | None = None
        self._memory = [device.allocate(x.nbytes) for x in (tensors, table, self._block)]
        self._at = [memory.address for memory in self._memory]
        for address, x in zip(self._at, (tensors, table, self._block), strict=True):
            device.fill(address, x)
        self._launches: dict[bool, Launch] = {}
        self._stages: Stages | None = None
        if options is not None:
            places = (self._at[0], n, self._at[1], self._grid)
            self._stages = Stages(device, rule, self._fold, dtype, self._by_element, options, *places)
            self._live_rows = device.allocate(rows.nbytes)
            self._rows_written: bytes | None = None
        # If all tensors have a gradient and share row, count and carry, a step folds once and writes only numbers. The
        # flag holds no count: a step reads counts from the arrays, which change in calls that Ctrl-C cannot separate.
        self._one_row = len(set(tensors["row"].tolist())) == 1
        self._together = False
        self._count, self._carries = counts["count"], counts["carry"][:, : self._carry]
        self._last: list[int] | None = None  # gradients' addresses in the bindings on the device, all with one fold

    def changed(self) -> None:
        """Take note that rows, counts or steps were written; each step reads them anyway."""
        self._together = False

    def refresh(self) -> None:
        """Do nothing: the host's counts and steps are always up to date."""

    def __call__(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Update all tensors and count the step. `gradients` has an address or 0 for each; if all are 0, do nothing."""
        if not any(gradients):
            return
        if self._together and all(gradients):
            self._step_together(gradients, scale, stream)
            return
        self._together = False
        active = np.flatnonzero(gradients)
        folded, indices = self._fold_each(active)
        launches = []
        if self._grid and active.size:
            launches = self._prepared(gradients, folded, indices, scale, stream)
        self._commit(launches, stream, self._counted(active, folded, indices))
        self._together = self._stages is None and self._one_row and len(folded) == 1 and active.size == len(gradients)

    # --- Phases -------------------------------------------------------------------------------------------------------

    def _fold_each(self, active: Any) -> tuple[list[Folded], Any]:
        """Fold each tensor that has a gradient; return the folds and each tensor's index. Neighbours may share one."""
        folded: list[Folded] = []
        indices = np.zeros(len(self._tensors), np.int64)
        last = None
        for k in active.tolist():
            key = (int(self._tensors["row"][k]), int(self._count[k]), tuple(self._carries[k].tolist()))
            if key != last:
                folded.append(self._numbers(self._rows[key[0]].item(), float(key[1] + 1), key[2]))
                last = key
            indices[k] = len(folded) - 1
        return folded, indices

    def _prepared(
        self, gradients: Sequence[int], folded: list[Folded], indices: Any, scale: float, stream: int
    ) -> list[Launch]:
        """Return the launches with their arguments, after copying what they read to the device."""
        by_value = len(folded) == 1 and self._stages is None
        if not by_value:
            for k, x in enumerate(folded):
                self._table[k, : len(x.common)] = x.common
                first = host_tables.FOLD_RULE
                self._table[k, first : first + len(x.h) + len(x.r)] = (*x.h, *x.r)
        if not (by_value and len(gradients) == 1):
            self._bind(gradients, indices, stream)
        table = self._at[2] + len(gradients) * BINDING.itemsize
        if self._stages is not None:
            rows = self._rows_on_device(stream)
            checks = self._stages.check(self._at[2], rows, scale)
            if self._stages.refuse is not None:
                self._device.start(checks, stream)
                self._stages.refuse()
                checks = []
            return [*checks, *self._stages.update(self._at[2], table, rows, scale)]
        launch = self._launch(by_value)
        numbers: tuple[float, ...] = ()
        if by_value:
            numbers = (*folded[0].common, *folded[0].h, *folded[0].r)
            table = gradients[0] if len(gradients) == 1 else 0
        for cell, value in zip(launch.arguments[3:], (table, scale, *numbers), strict=True):
            cell.value = value
        return [launch]

    def _rows_on_device(self, stream: int) -> int:
        """Address of rows with the current numbers of the options."""
        content = self._rows[list(OPTION_FIELDS)].tobytes()
        if content != self._rows_written:
            self._rows_written = None
            self._device.write(self._live_rows.address, self._rows, stream)
            self._rows_written = content
        return int(self._live_rows.address)

    def _counted(self, active: Any, folded: list[Folded], indices: Any) -> Any:
        """Return counts and carries after the step."""
        after = self._counts.copy()
        after["count"][active] += 1
        if self._carry:
            after["carry"][active, : self._carry] = [folded[k].carry for k in indices[active]]
        return after

    def _commit(self, launches: Sequence[Launch], stream: int, after: Any) -> None:
        """Start the kernels and count; Ctrl-C cannot come in between."""
        before = self._counts.copy()
        count = [partial(self._counts.__setitem__, slice(None), after),
                 partial(self._steps.__setitem__, 0, self._steps[0] + 1)]  # fmt: skip
        try:
            self._device.start(launches, stream, count)
        except RuntimeError:  # from the driver: nothing was started
            self._counts[:], self._steps[0] = before, self._steps[0] - 1
            raise

    def _step_together(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Do the same with a tenth of the arithmetic, in the usual case of training."""
        row = self._rows[self._tensors["row"][0]].item()
        x = self._numbers(row, float(self._count[0] + 1), tuple(self._carries[0].tolist()))
        launch = self._launch(True)
        if len(gradients) == 1:
            launch.arguments[3].value = gradients[0]
        else:
            launch.arguments[3].value = 0
            if gradients != self._last:
                self._bind(gradients, np.zeros(len(gradients), np.int64), stream)
                self._last = list(gradients)
        for cell, value in zip(launch.arguments[4:], chain((scale,), x.common, x.h, x.r), strict=True):
            cell.value = value
        count: list[Callable[[], Any]] = [partial(np.add, self._count, 1, self._count)]
        if x.carry:
            count.append(partial(self._carries.__setitem__, slice(None), x.carry))
        count.append(partial(np.add, self._steps, 1, self._steps))
        before = self._carries.copy() if x.carry else None
        try:
            self._device.start([launch], stream, count)
        except RuntimeError:  # from the driver: nothing was started
            np.subtract(self._count, 1, self._count)
            np.subtract(self._steps, 1, self._steps)
            if before is not None:
                self._carries[:] = before
            raise

    # --- Parts of the phases ------------------------------------------------------------------------------------------

    def _launch(self, by_value: bool) -> Launch:
        """Return the launch, with a cell for each argument: three tables, gradient or table, scale, and numbers."""
        if by_value not in self._launches:

            def make() -> Any:
                from .update import make_update

                return make_update(self._rule, self._fold, self._dtype, self._by_element, by_value)

            name = "-".join(
                (self._rule.update.__name__, self._dtype, "values" if by_value else "table",
                 *(("by-element",) if self._by_element else ()))
            )  # fmt: skip
            kernel = self._device.kernel(name, make, (THREADS, BLOCKS[self._real.itemsize]))
            h, r = numbers_like(self._rule, self._fold, float)
            reals = 1 + (4 + len(h) + len(r) if by_value else 0)
            cells: list[Any] = [ctypes.c_int64(x) for x in (*self._at, 0)]
            cells += [REAL[self._dtype]() for _ in range(reals)]
            self._launches[by_value] = Launch.of(kernel, self._grid, THREADS, cells)
        return self._launches[by_value]

    def _bind(self, gradients: Sequence[int], indices: Any, stream: int) -> None:
        """Copy the gradients' addresses and the table to the device if they have changed."""
        self._bindings["g"], self._bindings["fold_index"] = gradients, indices
        content = self._block.tobytes()
        if content != self._written:
            self._last = self._written = None  # so that an interrupt after the copy does not hide it
            self._device.write(self._at[2], self._block, stream)
            self._written = content
