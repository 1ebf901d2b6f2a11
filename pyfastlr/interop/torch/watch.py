"""Whether Python's objects are still what a job's tables were built for: asked in compiled code, or else in Python."""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch

from pyfastlr_kernels import tables

from . import shim
from .tensors import is_dense

_MISSING = object()
_stride, _shape = torch.Tensor.stride, attrgetter("shape")
_NEED = np.dtype([(name, np.int64) for name in ("type", "none", "numel", "dtype", "dim", "strides")])


def _memory(x: Any, is_parameter: bool) -> tuple[int, int, int]:
    """Address of a tensor; of a parameter, also its number of elements, and whether they are contiguous."""
    return (x.data_ptr(), x.numel(), int(x.is_contiguous())) if is_parameter else (x.data_ptr(), -1, -1)


def _ids(objects: Sequence[Any]) -> Any:
    return np.array(list(map(id, objects)), np.int64)


class Objects:
    """A list of objects, which it keeps alive."""

    def __init__(self, objects: Sequence[Any]) -> None:
        self._objects, self._ids = list(objects), _ids(objects)
        self._place, self._n = tables.address(self._ids), len(self._objects)
        self._same = None if shim.functions() is None else shim.compiled("same_objects", 3)

    def are(self, others: list[Any]) -> bool:
        """Whether a list has the same objects."""
        if len(others) != self._n:
            return False
        if self._same is not None:
            return bool(self._same(id(others), self._place, self._n))
        return all(map(is_, others, self._objects))


class Watch:
    """Entries of the state, the tensors in them, and the memory of these and of the parameters."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], names: Sequence[str], values: Sequence[Any], params: Sequence[Any],
        state: Sequence[Any],
    ) -> None:  # fmt: skip
        self._entries, self._names, self._values = entries, names, values
        self._params, self._tensors = params, [*params, *state]
        tensors = self._tensors
        self._memory = self._memory_now()
        # Of these, compiled code sees only the address and the size. Their strides may change with both unchanged, and
        # with gaps also their shapes.
        self._strided = [x for x in params if not x.is_contiguous()]
        self._with_gaps = [x for x in self._strided if not is_dense(x)]
        self._layouts = self._layouts_now()
        functions = shim.functions()
        self._is_compiled = functions is not None
        if functions is not None:
            dicts, keys, found, objects = map(_ids, (entries, names, values, tensors))
            self._keep = (dicts, keys, found, objects, np.array(self._memory, np.int64), functions)
            a, b, c, d, e, f = map(tables.address, self._keep)
            self._same_items = shim.bound("same_items", a, len(entries), b, len(names), c)
            self._same_memory = shim.bound("same_memory", f, d, e, len(tensors))

    def is_current(self) -> bool:
        """Whether nothing has changed."""
        if self._strided and self._layouts_now() != self._layouts:
            return False
        if self._is_compiled:
            return bool(self._same_items() and self._same_memory())
        found = chain.from_iterable([entry.get(name, _MISSING) for name in self._names] for entry in self._entries)
        return all(map(is_, found, self._values)) and self._memory_now() == self._memory

    def _layouts_now(self) -> list[Any]:
        return [*map(_stride, self._strided), *map(_shape, self._with_gaps)]

    def _memory_now(self) -> list[tuple[int, int, int]]:
        return [_memory(x, k < len(self._params)) for k, x in enumerate(self._tensors)]


class Gradients:
    """Addresses of the gradients of these parameters, 0 where there is none."""

    def __init__(self, params: Sequence[Any]) -> None:
        n = len(params)
        self.addresses = np.zeros(n, np.int64)
        # torch keeps the sign of a lazy negation outside of the memory. Such a gradient has steps of two elements
        # between its numbers, so only one of a single number passes for contiguous.
        self._single = [k for k, p in enumerate(params) if p.numel() == 1]
        self._take = None
        functions = shim.functions()
        if functions is not None:
            lengths = np.array([x for p in params for x in p.stride()] or [0], np.int64)
            needs, place = np.zeros(n, _NEED), tables.address(lengths)
            for k, p in enumerate(params):
                strides = 0 if p.is_contiguous() else place
                needs[k] = (id(torch.Tensor), id(None), p.numel(), shim.dtype_code(p.dtype), p.ndim, strides)
                place += 8 * p.ndim
            self._keep = (lengths, needs, functions)
            self._take = shim.compiled("take_gradients", 5)
            self._places = (tables.address(functions), tables.address(needs), tables.address(self.addresses))

    def take(self, gradients: list[Any]) -> int:
        """Store the addresses. Return how many have changed, or -1 if Python must look at each gradient."""
        if self._take is None:
            return -1
        functions, needs, table = self._places
        changed: int = self._take(functions, id(gradients), needs, table, len(gradients))
        if self._single and any(gradients[k].is_neg() for k in self._single if gradients[k] is not None):
            return -1
        return changed
