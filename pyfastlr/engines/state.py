"""The state arrays of an optimizer: one buffer per slot of its rule."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array, address
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import tables
from pyfastlr_kernels.rules import Rule


class State:
    """One buffer per slot. Each tensor's part starts at a cache line, except in the state of a `Flat`.

    Attributes
    ----------
    buffers
        By slot name.
    arguments
        Constructor arguments that set initial values, with the value for each tensor.
    counts
        Table of the tensors' update counts and carries.
    initial
        Each slot's value before the first update, for each tensor.
    is_shared : bool
        Whether the user has got the arrays, and may have written to them.
    """

    def __init__(self, params: Parameters, rule: Rule, initial: Mapping[str, Sequence[float]]) -> None:
        self._params, self.arguments = params, dict(initial)
        self.initial = {
            slot.name: initial[slot.initial] if isinstance(slot.initial, str) else [slot.initial] * len(params.sizes)
            for slot in rule.slots
        }
        self.is_shared = False
        self.buffers: dict[str, Any] = {}
        self._parts: dict[str, list[slice]] = {}
        for slot in rule.slots:
            dtype = np.dtype(slot.storage or params.dtype)
            size, self._parts[slot.name] = params.parts(dtype)
            self.buffers[slot.name] = params.zeros(size, dtype)
        for name, values in self.initial.items():
            if any(values):
                self.buffers[name][:] = self._start(name)
        self._carry = rule.carry
        self.counts = self.fresh_counts()

    def addresses(self) -> list[Any]:
        """Addresses of the tensors' parts, for each slot."""
        return [
            address(x) + np.array([part.start for part in self._parts[name]], np.int64) * x.itemsize
            for name, x in self.buffers.items()
        ]

    def tensors(self, name: str) -> list[Array]:
        """Arrays of a slot, 1-D, one per tensor."""
        return [self.buffers[name][part] for part in self._parts[name]]

    def views(self) -> dict[str, Any]:
        """Views of each slot, with the structure of the parameters."""
        return {name: self._params.like(self.tensors(name), buffer) for name, buffer in self.buffers.items()}

    def copies(self) -> dict[str, Any]:
        """Copies of each slot, with the structure of the parameters; for a `Flat`, its buffer."""
        if self._params.layout is not None:
            return {name: buffer.copy() for name, buffer in self.buffers.items()}
        return {
            name: self._params.like([x.copy() for x in self.tensors(name)], buffer)
            for name, buffer in self.buffers.items()
        }

    def live(self) -> dict[str, Any]:
        """Each slot as in `copies`, but the arrays themselves."""
        return dict(self.buffers) if self._params.layout is not None else self.views()

    def fresh_counts(self) -> Array:
        """Counts and carries before the first update."""
        counts = np.zeros(len(self._params.names), tables.COUNT)
        counts["carry"][:, : len(self._carry)] = self._carry
        return counts

    def fresh(self) -> list[tuple[Any, Array]]:
        """Each buffer, with its contents before the first update."""
        return [(x, self._start(name)) for name, x in self.buffers.items()]

    def _start(self, name: str) -> Array:
        """Contents of a slot's buffer before the first update."""
        start = np.zeros(self.buffers[name].size, self.buffers[name].dtype)
        for part, value in zip(self._parts[name], self.initial[name], strict=True):
            start[part] = value
        return start
