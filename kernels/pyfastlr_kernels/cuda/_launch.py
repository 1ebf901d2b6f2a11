"""One step on the device: tables that stay there, kernels that are loaded once, and one launch.

The host folds in float64 as the CPU's drive does, once for all tensors that share group, count and carry. Where all of
them do, the numbers go with the launch, by value; else they are copied with the gradients' addresses, in one block and
only if these have changed. Nothing here waits for the device.
"""

import ctypes
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from pyfastlr_kernels import chunks
from pyfastlr_kernels.rules import Rule, arity

from ._tables import BINDING, BLOCKS, NUMBERS, THREADS

_record: Any = namedtuple  # whose fields are known at run time
REAL = {"float32": ctypes.c_float, "float64": ctypes.c_double}


class Launch(NamedTuple):
    """A kernel, its blocks, their threads, its arguments as ctypes cells, and a ctypes array of these cells' addresses.

    A launch may be started again with other values in its cells: the driver copies them before it returns.
    """

    kernel: Any
    grid: int
    threads: int
    arguments: Sequence[Any]
    places: Any

    @classmethod
    def of(cls, kernel: Any, grid: int, threads: int, arguments: Sequence[Any]) -> "Launch":
        """Launch with the addresses of its arguments."""
        return cls(
            kernel, grid, threads, arguments, (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        )


class Device(Protocol):
    """What a step needs of a device: _driver.Device has it, and the tests' emulator."""

    multiprocessors: int

    def allocate(self, size: int) -> Any:
        """Device memory from `address` on, that lives as long as what is returned."""

    def fill(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        """Copy to the device, after all that is under way there; wait for it."""

    def write(self, address: int, array: "np.ndarray[Any, Any]", stream: int) -> None:
        """Copy to the device in the order of the stream; the array may change afterwards."""

    def read(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        """Copy from the device, after all that is under way there; wait for it."""

    def kernel(self, name: str | None, make: Callable[[], "tuple[Any, Any]"], bounds: "tuple[int, int]") -> Any:
        """Load a kernel, compiled at its first use on a machine; without a name, at each use."""

    def start(self, launches: "Sequence[Launch]", stream: int, then: "Sequence[Callable[[], None]]" = ()) -> None:
        """Start the kernels and make the calls, one after the other, with no place in between for Ctrl-C."""


def folds(fold: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Everything of one update as float64, like `cpu.make_fold`: (common, h, r, carry) of a row, count and carry."""
    config = _record("config", names)

    def numbers(row: Any, t: float, carry: Any) -> Any:
        c = config(*row)
        h, r, carry = fold(c, t, carry)
        rate = c.lr * c.lr_scale
        common = (
            c.weight_decay if c.decay == chunks.COUPLED else 0.0,
            rate * c.weight_decay if c.decay == chunks.DECOUPLED else 0.0,
            c.weight_decay if c.decay == chunks.INDEPENDENT else 0.0,
        )
        return common, h, tuple(x * c.lr_scale for x in r), carry

    return numbers


class Step:
    """The launches of one optimizer.

    Parameters
    ----------
    rule, convention, dtype
        As in jit.drive.
    tensors : chunks.TENSOR array
        The table, without gradients; offsets are those in the tensor's buffer.
    rows, counts, steps
        The optimizer's own config rows, counts and number of steps, on the host: read, and counted on.
    """

    def __init__(
        self, device: Device, rule: Rule, convention: str, dtype: str, tensors: Any, rows: Any, counts: Any, steps: Any
    ) -> None:
        self._device, self._dtype, self._tensors = device, dtype, tensors
        self._rows, self._counts, self._steps = rows, counts, steps
        self._rule, self._fold = rule, rule.folds[convention]
        self._numbers = folds(self._fold, rows.dtype.names)
        self._carry = len(rule.carry)
        self._by_element = bool(tensors["scale"].any())
        self._one_buffer = not tensors["buffer"].any()
        sizes = tensors["size"].tolist()
        table = chunks.chunk_table(sizes, chunks.chunk_length(sum(sizes), device.multiprocessors))
        self._grid = len(table)
        # Bindings and folded numbers in one block, so that one copy brings both.
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
        # Where all tensors have a gradient and share row, count and carry, a step folds once and writes numbers alone.
        # The flag is no count: what it is about is read from the arrays, which change in calls that Ctrl-C cannot part.
        self._one_row = len(set(tensors["row"].tolist())) == 1
        self._together = False
        self._count, self._carries = counts["count"], counts["carry"][:, : self._carry]
        self._last: list[int] | None = None  # addresses of the gradients in the bindings on the device, all of slot 0

    def _launch(self, by_value: bool) -> Launch:
        """Launch, with a cell for each argument: three tables, what by_value says, the scale, and numbers."""
        if by_value not in self._launches:

            def make() -> Any:
                from ._kernels import make_update

                return make_update(self._rule, self._fold, self._dtype, self._by_element, by_value)

            name = "-".join(
                (self._rule.update.__name__, self._dtype, "values" if by_value else "table",
                 *(("by-element",) if self._by_element else ()))
            )  # fmt: skip
            kernel = self._device.kernel(name, make, (THREADS, BLOCKS[self._real.itemsize]))
            reals = 1 + (3 + sum(arity(self._rule, self._fold)) if by_value else 0)
            cells: list[Any] = [ctypes.c_int64(x) for x in (*self._at, 0)]
            cells += [REAL[self._dtype]() for _ in range(reals)]
            self._launches[by_value] = Launch.of(kernel, self._grid, THREADS, cells)
        return self._launches[by_value]

    def changed(self) -> None:
        """Rows, counts and steps were written: each step reads them."""
        self._together = False

    def refresh(self) -> None:
        """Counts and steps are as the last step left them."""

    def __call__(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Update all tensors; gradients are an address for each buffer, 0 for none, and the step is counted."""
        if self._together and all(gradients):
            self._step_together(gradients, scale, stream)
            return
        self._together = False
        given = np.array(gradients, np.int64)[self._tensors["buffer"]]
        active = np.flatnonzero(given)
        before, after = self._counts.copy(), self._counts.copy()
        after["count"][active] += 1
        launches, folded = [], 0
        if self._grid and active.size:
            launch, folded = self._folded(given, active, after, gradients, scale, stream)
            launches = [launch]
        count = [partial(self._counts.__setitem__, slice(None), after),
                 partial(self._steps.__setitem__, 0, self._steps[0] + 1)]  # fmt: skip
        try:
            self._device.start(launches, stream, count)
        except RuntimeError:  # the driver's: nothing was started
            self._counts[:], self._steps[0] = before, self._steps[0] - 1
            raise
        self._together = self._one_row and folded == 1 and active.size == len(given)

    def _step_together(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Do the same with a tenth of the arithmetic: what training does nearly always."""
        row = self._rows[self._tensors["row"][0]].item()
        common, h, r, carry = self._numbers(row, float(self._count[0] + 1), tuple(self._carries[0].tolist()))
        launch = self._launch(True)
        if self._one_buffer:
            launch.arguments[3].value = gradients[0]
        else:
            launch.arguments[3].value = 0
            if gradients != self._last:
                given = np.array(gradients, np.int64)[self._tensors["buffer"]]
                self._bind(given, np.zeros(len(given), np.int64), stream)
                self._last = list(gradients)
        for cell, value in zip(launch.arguments[4:], (scale, *common, *h, *r), strict=True):
            cell.value = value
        count: list[Callable[[], Any]] = [partial(np.add, self._count, 1, self._count)]
        if carry:
            count.append(partial(self._carries.__setitem__, slice(None), carry))
        count.append(partial(np.add, self._steps, 1, self._steps))
        before = self._carries.copy() if carry else None
        try:
            self._device.start([launch], stream, count)
        except RuntimeError:  # the driver's: nothing was started
            np.subtract(self._count, 1, self._count)
            np.subtract(self._steps, 1, self._steps)
            if before is not None:
                self._carries[:] = before
            raise

    def _bind(self, given: Any, slots: Any, stream: int) -> None:
        """Have the gradients' addresses, and the table as it is, on the device."""
        self._bindings["g"], self._bindings["slot"] = given + self._tensors["offset"] * (given != 0), slots
        content = self._block.tobytes()
        if content != self._written:
            self._last = self._written = None  # an interrupt after the copy must not hide it
            self._device.write(self._at[2], self._block, stream)
            self._written = content

    def _folded(
        self, given: Any, active: Any, after: Any, gradients: Sequence[int], scale: float, stream: int
    ) -> "tuple[Launch, int]":
        """Fold for the tensors that have a gradient; give the launch, and how many folds there were."""
        results: list[Any] = []
        slots = np.zeros(len(given), np.int64)
        last = None
        for k in active.tolist():
            row, count = int(self._tensors["row"][k]), self._counts[k]
            key = (row, *count.item()[:1], tuple(count["carry"][: self._carry].tolist()))
            if key != last:
                results.append(self._numbers(self._rows[row].item(), float(key[1] + 1), key[2]))
                last = key
            slots[k] = len(results) - 1
            after["carry"][k, : self._carry] = results[-1][3]
        by_value = len(results) == 1
        launch = self._launch(by_value)
        if by_value:
            common, h, r, _ = results[0]
            numbers = (*common, *h, *r)
            launch.arguments[3].value = gradients[0] if self._one_buffer else 0
        else:
            numbers = ()
            launch.arguments[3].value = self._at[2] + len(given) * BINDING.itemsize
            for k, (common, h, r, _) in enumerate(results):
                self._table[k, : len(common)] = common
                self._table[k, chunks.FOLD_RULE : chunks.FOLD_RULE + len(h) + len(r)] = (*h, *r)
        if not (by_value and self._one_buffer):
            self._bind(given, slots, stream)
        for cell, value in zip(launch.arguments[4:], (scale, *numbers), strict=True):
            cell.value = value
        return launch, len(results)
