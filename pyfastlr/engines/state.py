"""The state arrays of an optimizer: one buffer per slot of its rule, or more if some of it is packed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import Array, address
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import packing, tables
from pyfastlr_kernels.packing import BFLOAT16, NATIVE
from pyfastlr_kernels.rules import Rule

from .halves import MASTER
from .halves import slot_of as rest_slot
from .packed import PackedArray, code_dtype, format_of, name_of, packed_as, scale_count


class State:
    """Buffers of the slots. Each tensor's part starts at a cache line, except in the state of a `Flat`.

    Attributes
    ----------
    buffers
        By slot name. A slot with packed arrays has further ones: "<slot> codes" and "<slot> scales", or for two formats
        of codes, "<slot> <format>".
    arguments
        Constructor arguments that set initial values, with the value for each tensor.
    counts
        Table of the tensors' update counts and carries.
    initial
        Each slot's value before the first update, for each tensor.
    is_shared : bool
        Whether the user has got the arrays, and may have written to them.
    state_dtypes
        For each tensor: None, "bfloat16" or "int8".
    precision
        How parameters of 16 bits are kept; None for others.
    formats
        For each slot, the format of each tensor.
    packing
        Table of the tensors' formats and scales; None if nothing is packed.
    slots
        The rule's, and the one that keeps what parameters of 16 bits lack (halves.py).
    """

    def __init__(
        self,
        params: Parameters,
        rule: Rule,
        initial: Mapping[str, Sequence[float]],
        state_dtypes: Sequence[str | None] = (),
        seed: int = 0,
        precision: str | None = None,
    ) -> None:
        self._params, self.arguments = params, dict(initial)
        rest = rest_slot(precision, params.half)
        self.slots = rule.slots if rest is None else (*rule.slots, rest)
        self._rest = "" if rest is None else rest.name
        self.initial = {
            slot.name: initial[slot.initial] if isinstance(slot.initial, str) else [slot.initial] * len(params.sizes)
            for slot in self.slots
        }
        self.is_shared, self.precision = False, precision
        self.state_dtypes = list(state_dtypes) or [None] * len(params.sizes)
        self.buffers: dict[str, Any] = {}
        self._parts: dict[str, list[slice]] = {}
        self.formats: dict[str, list[int]] = {}
        for slot in self.slots:
            kinds = [NATIVE] * len(params.sizes)
            if any(self.state_dtypes) and slot.name != self._rest:
                kinds = [format_of(slot, x, size) for x, size in zip(self.state_dtypes, params.sizes, strict=True)]
            self.formats[slot.name] = kinds
            self._allocate(slot.name, np.dtype(slot.storage or params.dtype), kinds)
        for name in self.buffers:
            if any(self.initial[slot_of(name)]) or name == MASTER:
                self.buffers[name][:] = self._start(name)
        self._carry = rule.carry
        self.counts = self.fresh_counts()
        self._seed = seed
        self.packing = self._packing_table()

    @property
    def _of_rule(self) -> dict[str, list[int]]:
        """Formats of the rule's slots."""
        return {slot: kinds for slot, kinds in self.formats.items() if slot != self._rest}

    def _allocate(self, slot: str, dtype: Any, kinds: Sequence[int]) -> None:
        """Make the buffers of a slot: one per format, and one for the scales."""
        params = self._params
        if NATIVE in kinds or not kinds:
            sizes = None
            if {*kinds} - {NATIVE}:
                sizes = [n if x == NATIVE else 0 for n, x in zip(params.sizes, kinds, strict=True)]
            self._add(slot, dtype, sizes)
        for kind in sorted({*kinds} - {NATIVE}):
            sizes = [n if x == kind else 0 for n, x in zip(params.sizes, kinds, strict=True)]
            self._add(codes_of(slot, kind), code_dtype(kind), sizes)
        if {*kinds} - {NATIVE, BFLOAT16}:
            scales = [scale_count(kind, n) for kind, n in zip(kinds, params.sizes, strict=True)]
            self._add(scales_of(slot), np.dtype(np.float32), scales)

    def _add(self, name: str, dtype: Any, sizes: Sequence[int] | None) -> None:
        size, self._parts[name] = self._params.parts(dtype, sizes)
        self.buffers[name] = self._params.zeros(size, dtype)

    def _packing_table(self) -> Array | None:
        if not {kind for kinds in self._of_rule.values() for kind in kinds} - {NATIVE}:
            return None
        n = len(self._params.sizes)
        table = np.zeros(n, tables.PACKING)
        table["index"], table["key"] = range(n), [packing.tensor_key(self._seed, k) for k in range(n)]
        for j, (slot, kinds) in enumerate(self._of_rule.items()):
            table[f"format{j}"] = kinds
            if scales_of(slot) in self.buffers:
                table[f"scales{j}"] = self._places(scales_of(slot))
        return table

    def packed_forms(self) -> tuple[str, ...]:
        """Forms of state that tensors have, if some of it is packed: "float32", "bfloat16", "int8"."""
        kinds = {kind for kinds in self._of_rule.values() for kind in kinds}
        if self.packing is None:
            return ()
        found = {"float32": NATIVE in kinds, "bfloat16": BFLOAT16 in kinds, "int8": bool(kinds - {NATIVE, BFLOAT16})}
        return tuple(form for form, is_used in found.items() if is_used)

    def packing_addresses(self) -> Any:
        """For each tensor the address of its record in the table of formats, 0 if it is not packed."""
        if self.packing is None:
            return 0
        start, size = tables.address(self.packing), tables.PACKING.itemsize
        packed = [any(kinds[k] != NATIVE for kinds in self._of_rule.values()) for k in range(len(self.packing))]
        return [start + k * size if x else 0 for k, x in enumerate(packed)]

    def _places(self, name: str) -> Any:
        """Addresses of the tensors' parts of a buffer."""
        x = self.buffers[name]
        return address(x) + np.array([part.start for part in self._parts[name]], np.int64) * x.itemsize

    def addresses(self) -> list[Any]:
        """Addresses of the tensors' parts, for each slot of the rule."""
        return [self._addresses(slot) for slot in self._of_rule]

    def _addresses(self, slot: str) -> Array:
        names = [slot if kind == NATIVE else codes_of(slot, kind) for kind in self.formats[slot]]
        places = {name: self._places(name) for name in {*names}}
        return np.array([places[name][k] for k, name in enumerate(names)], np.int64)

    def keys(self) -> list[int]:
        """For each tensor, the key of the random numbers of its parameter. Those of its state have another one."""
        n = len(self._params.sizes)
        return [packing.tensor_key(self._seed, ~k) for k in range(n)] if self.precision == "stochastic" else [0] * n

    def rests(self) -> Array:
        """Addresses of what the state has of parameters of 16 bits, for each tensor; 0 for nothing."""
        return self._addresses(self._rest) if self._rest else np.zeros(len(self._params.sizes), np.int64)

    def tensors(self, name: str) -> list[Array]:
        """Parts of a buffer, 1-D, one per tensor. They are empty for a tensor that is in another one."""
        return [self.buffers[name][part] for part in self._parts[name]]

    def leaf(self, slot: str, k: int) -> Any:
        """Tensor k of a slot, with the shape of its parameter: an array or a `PackedArray`."""
        kind, shape = self.formats[slot][k], self._params.shapes[k]
        if kind == NATIVE:
            return self.buffers[slot][self._parts[slot][k]].reshape(shape)
        name, scales = codes_of(slot, kind), scales_of(slot)
        codes = self.buffers[name][self._parts[name][k]].reshape(shape)
        has_scales = scale_count(kind, 1) > 0
        return PackedArray(codes, self.buffers[scales][self._parts[scales][k]] if has_scales else None, name_of(kind))

    def is_packed(self, slot: str) -> bool:
        """Whether some of a slot is packed."""
        return bool({*self.formats[slot]} - {NATIVE})

    def _like(self, leaves: Sequence[Any]) -> Any:
        """Leaves with the structure of the parameters; a dict by name for a `Flat`, whose buffer has one dtype."""
        params = self._params
        return dict(zip(params.names, leaves, strict=True)) if params.layout else tree.rebuild(params.node, leaves)

    def views(self) -> dict[str, Any]:
        """Views of each slot, with the structure of the parameters."""
        return {slot: self._views(slot) for slot in self.formats}

    def _views(self, slot: str) -> Any:
        if self.is_packed(slot):
            return self._like([self.leaf(slot, k) for k in range(len(self._params.sizes))])
        return self._params.like(self.tensors(slot), self.buffers[slot])

    def copies(self) -> dict[str, Any]:
        """Copies of each slot, with the structure of the parameters; for a `Flat`, its buffer."""
        return {slot: self._copies(slot) for slot in self.formats}

    def _copies(self, slot: str) -> Any:
        if self.is_packed(slot):
            return self._like([self.leaf(slot, k).copy() for k in range(len(self._params.sizes))])
        if self._params.layout is not None:
            return self.buffers[slot].copy()
        return self._params.like([x.copy() for x in self.tensors(slot)], self.buffers[slot])

    def unpacked(self, dtype: Any) -> dict[str, Any]:
        """Copies of each slot as numbers of a dtype, with the structure of the parameters."""
        params, found = self._params, {}
        for slot in self.formats:
            leaves = [np.array(self.leaf(slot, k), dtype).reshape(-1) for k in range(len(params.sizes))]
            found[slot] = params.like(leaves, np.concatenate(leaves) if params.layout is not None else leaves[0])
        return found

    def live(self) -> dict[str, Any]:
        """Each slot as in `copies`, but the arrays themselves."""
        if self._params.layout is None:
            return self.views()
        return {slot: self._views(slot) if self.is_packed(slot) else self.buffers[slot] for slot in self.formats}

    def fresh_counts(self) -> Array:
        """Counts and carries before the first update."""
        counts = np.zeros(len(self._params.names), tables.COUNT)
        counts["carry"][:, : len(self._carry)] = self._carry
        return counts

    def fresh(self, slots: Collection[str] | None = None) -> list[tuple[Any, Array]]:
        """Each buffer, of some slots or of all, with its contents before the first update."""
        wanted = self.formats if slots is None else slots
        return [(x, self._start(name)) for name, x in self.buffers.items() if slot_of(name) in wanted]

    def _start(self, name: str) -> Array:
        """Contents of a buffer before the first update."""
        start, slot = np.zeros(self.buffers[name].size, self.buffers[name].dtype), slot_of(name)
        if name == MASTER:
            for part, numbers in zip(self._parts[name], self._params.numbers(), strict=True):
                start[part] = numbers
            return start
        for k, (part, value) in enumerate(zip(self._parts[name], self.initial[slot], strict=True)):
            if name == slot:
                start[part] = value
            elif value and part.stop > part.start:  # the same in all of the tensor
                one = packed_as(np.array([value]), self.formats[slot][k])
                start[part] = one.scales if name == scales_of(slot) else one.codes
        return start


_SEPARATOR = " "  # between the name of a slot, which is an identifier, and the rest of a buffer's name


def codes_of(slot: str, kind: int) -> str:
    """Name of the buffer with the codes of a format."""
    return f"{slot}{_SEPARATOR}{name_of(kind)}"


def scales_of(slot: str) -> str:
    """Name of the buffer with the scales of a slot."""
    return f"{slot}{_SEPARATOR}scales"


def slot_of(name: str) -> str:
    """Slot of a buffer."""
    return name.partition(_SEPARATOR)[0]
