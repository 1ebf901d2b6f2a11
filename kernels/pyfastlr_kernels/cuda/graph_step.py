"""Steps that a CUDA graph can replay: counts, config rows and schedules are on the device, nothing is passed by value.

First one thread evaluates schedules, folds and counts (graph.py), then the update kernel reads the results. The host's
counts are a copy, which `refresh` renews; call it before the host writes to them. A graph keeps the gradients'
addresses, the loss scale and the schedules of its capture; numbers may change between replays.

Steps that may be skipped count on the device too, because only the device knows which ones were.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels.rules import Rule

from .launch import Launch
from .mirror import Mirrors
from .stages import OnDevice
from .step import Device, Step
from .tables import BINDING, NUMBERS, Curve


class GraphStep(Step):
    """The launches of one optimizer for a graph.

    Parameters
    ----------
    schedules
        Curves, each with the indices of the float64 in the rows that it writes at every update. `key` names all of them
        in the cache; without it, every process compiles the kernel.
    captured
        Whether a graph may contain the step. Then the gradients' addresses stay where they are.
    """

    def __init__(
        self, device: Device, rule: Rule, convention: str, dtype: str, tensors: Any, rows: Any, counts: Any, steps: Any,
        by_element: bool, options: OnDevice | None, schedules: Sequence[tuple[Curve, Sequence[int]]], key: str | None,
        captured: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(device, rule, convention, dtype, tensors, rows, counts, steps, by_element, options)
        self._live_rows = Mirrors(device, [self._rows])
        self._live_counts = Mirrors(device, [self._counts, np.asarray(self._steps)])
        self._numbers_at = device.allocate(len(tensors) * NUMBERS * self._real.itemsize)
        self._bound: dict[tuple[int, ...], Any] = {}  # by the gradients' addresses: a graph may replay any of them
        self._kernels: dict[str, Any] = {}
        self._schedules, self._key, self._captured = schedules, key, captured
        self.changed()

    def changed(self) -> None:
        """Copy to the device what the host has written to rows, counts and steps, and leave there what it has not."""
        self._live_rows.push()
        self._live_counts.push()

    def refresh(self) -> None:
        """Copy counts and steps to the host; wait for the device."""
        self._live_counts.pull()

    def _bindings_of(self, gradients: Sequence[int], stream: int) -> int:
        if not self._captured:
            self._bind(gradients, 0, stream)
            return int(self._at[2])
        key = tuple(gradients)
        if key not in self._bound:
            table = np.zeros(len(gradients), BINDING)
            table["g"] = gradients
            self._bound[key] = self._device.allocate(table.nbytes)
            self._device.fill(self._bound[key].address, table)
        return int(self._bound[key].address)

    def _evaluate(self, *places: int) -> Launch:
        """The launch that only evaluates the schedules."""

        def make() -> Any:
            from .graph import make_evaluate, make_schedules

            return make_evaluate(make_schedules(self._schedules))

        return self._of_one_thread("evaluate", self._key and f"evaluate-{self._key}", make, places)

    def _advance(self, schedules: Sequence[Any], *places: int) -> Launch:
        """The launch that evaluates these schedules, folds and counts."""

        def make() -> Any:
            from .graph import make_advance, make_schedules

            return make_advance(self._rule, self._fold, self._dtype, make_schedules(schedules))

        key = self._key if schedules else "none"
        name = key and f"advance-{self._fold.__name__}-{self._dtype}-{key}"
        return self._of_one_thread("advance", name, make, places)

    def _of_one_thread(self, what: str, name: str | None, make: Any, places: Sequence[int]) -> Launch:
        if what not in self._kernels:
            self._kernels[what] = self._device.kernel(name, make, (1, 1))
        return Launch.of(self._kernels[what], 1, 1, [ctypes.c_int64(x) for x in places])

    def __call__(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Update all tensors and count the step on the device; without any gradient, do nothing."""
        if not any(gradients):
            return
        bindings, numbers = self._bindings_of(gradients, stream), self._numbers_at.address
        (rows,), (counts, steps) = self._live_rows.addresses, self._live_counts.addresses
        tensors, chunks, _ = self._at
        places = (tensors, len(self._tensors), bindings, counts, rows, numbers, steps)
        checks = [] if self._stages is None else self._stages.check(bindings, rows, scale)
        if self._stages is not None and checks:  # the limits are those of this update, but it may not come to count
            launches = [*([self._evaluate(rows, steps)] if self._schedules else []), *checks]
            launches.append(self._advance((), *places, self._stages.record))
        else:
            launches = [self._advance(self._schedules, *places, 0)]
        if self._stages is not None:
            launches += self._stages.update(bindings, numbers, rows, scale)
        elif self._grid:
            update = self._launch(by_value=False)
            for cell, value in zip(update.arguments, (tensors, chunks, bindings, numbers, scale), strict=True):
                cell.value = value
            launches.append(update)
        self._device.start(launches, stream)
