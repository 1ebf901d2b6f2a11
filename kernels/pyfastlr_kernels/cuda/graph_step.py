"""Steps that a CUDA graph can replay: counts, config rows and schedules are on the device, nothing is passed by value.

A step has two launches: one thread evaluates schedules, folds and counts (graph.py), then the update kernel reads the
results. The host's counts are a copy, which `refresh` renews; call it before the host writes to them. A graph keeps the
gradients' addresses, the loss scale and the schedules of its capture; numbers may change between replays.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels.compile.first_use import whole
from pyfastlr_kernels.rules import Rule

from .step import Device, Launch, Step
from .tables import BINDING, NUMBERS, Curve


class GraphStep(Step):
    """The launches of one optimizer for a graph.

    Parameters
    ----------
    schedules
        Curves, each with the indices of the float64 in the rows that it writes at every update. `key` names all of them
        in the cache; without it, every process compiles the kernel.
    """

    def __init__(
        self, device: Device, rule: Rule, convention: str, dtype: str, tensors: Any, rows: Any, counts: Any, steps: Any,
        by_element: bool, schedules: Sequence[tuple[Curve, Sequence[int]]], key: str | None,
    ) -> None:  # fmt: skip
        super().__init__(device, rule, convention, dtype, tensors, rows, counts, steps, by_element)
        self._host = (self._rows, self._counts, np.zeros(1, np.int64))
        self._live = [device.allocate(x.nbytes) for x in self._host]
        self._numbers_at = device.allocate(len(tensors) * NUMBERS * self._real.itemsize)
        self._known: list[bytes] = [b""] * len(self._host)  # the host's contents when both sides last agreed
        self._bound: dict[tuple[int, ...], Any] = {}  # by the gradients' addresses: a graph may replay any of them
        self._advance: Any = None
        self._schedules, self._key = schedules, key
        self.changed()

    def changed(self) -> None:
        """Copy to the device what the host has written to rows, counts and steps, and leave there what it has not."""
        self._host[2][0] = self._steps[0]
        if [x.tobytes() for x in self._host] != self._known:
            whole(self._push)

    def _push(self) -> None:
        for k, (memory, x) in enumerate(zip(self._live, self._host, strict=True)):
            if x.tobytes() != self._known[k]:
                self._device.fill(memory.address, x)
                self._known[k] = x.tobytes()

    def refresh(self) -> None:
        """Copy counts and steps to the host; wait for the device."""
        whole(self._pull)

    def _pull(self) -> None:
        for k in (1, 2):
            self._device.read(self._live[k].address, self._host[k])
            self._known[k] = self._host[k].tobytes()
        self._steps[0] = self._host[2][0]

    def _bindings_of(self, gradients: Sequence[int]) -> int:
        key = tuple(gradients)
        if key not in self._bound:
            table = np.zeros(len(gradients), BINDING)
            table["g"] = gradients
            self._bound[key] = self._device.allocate(table.nbytes)
            self._device.fill(self._bound[key].address, table)
        return int(self._bound[key].address)

    def _advance_kernel(self) -> Any:
        def make() -> Any:
            from .graph import make_advance, make_schedules

            return make_advance(self._rule, self._fold, self._dtype, make_schedules(self._schedules))

        if self._advance is None:
            name = self._key and f"advance-{self._fold.__name__}-{self._dtype}-{self._key}"
            self._advance = self._device.kernel(name, make, (1, 1))
        return self._advance

    def __call__(self, gradients: Sequence[int], scale: float, stream: int) -> None:
        """Update all tensors and count the step on the device; without any gradient, do nothing."""
        if not any(gradients):
            return
        advance, update = self._advance_kernel(), self._launch(by_value=False)
        bindings = self._bindings_of(gradients)
        rows, counts, steps = (memory.address for memory in self._live)
        tensors, chunks, _ = self._at
        numbers = self._numbers_at.address
        arguments = (tensors, len(self._tensors), bindings, counts, rows, numbers, steps)
        launches = [Launch.of(advance, 1, 1, [ctypes.c_int64(x) for x in arguments])]
        if self._grid:
            for cell, value in zip(update.arguments, (tensors, chunks, bindings, numbers, scale), strict=True):
                cell.value = value
            launches.append(update)
        self._device.start(launches, stream)
