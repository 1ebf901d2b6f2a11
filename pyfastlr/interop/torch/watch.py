"""Whether the tensors of a job are still what its tables were built for: by compiled code, or else in Python."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain
from operator import is_
from typing import Any

import numpy as np
import torch

from pyfastlr.engines import host
from pyfastlr_kernels import tables

_address: Callable[[Any], int] = torch.Tensor.data_ptr
_MISSING = object()


@cache
def address_function() -> int:
    """Address of torch's C function ``void *f(PyObject *)`` for a tensor's memory, 0 if this torch has none.

    torch.compile's own code calls it for each input. It is tried on two tensors first.
    """
    try:
        from torch._C._dynamo.guards import _torchinductor_pyobject_tensor_data_ptr as address  # type: ignore
    except ImportError:
        return 0
    function = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(address)
    tensors = (torch.zeros(3), torch.nn.Parameter(torch.zeros(2, 2)))
    return int(address) if all(function(x) == x.data_ptr() for x in tensors) else 0


@cache
def _compiled(name: str) -> Any:
    code = host.load_code()
    address, count = code.object_addresses()[getattr(code, name)], 5 if name == "SAME_ITEMS" else 4
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)(address)


def _ids(objects: Sequence[Any]) -> Any:
    return np.array(list(map(id, objects)), np.int64)


class Watch:
    """Entries of the state, the tensors in them, and the addresses of these and of the parameters."""

    def __init__(
        self, entries: Sequence[dict[str, Any]], names: Sequence[str], values: Sequence[Any], tensors: Sequence[Any]
    ) -> None:
        self._entries, self._names, self._values, self._tensors = entries, names, values, tensors
        self._addresses = list(map(_address, tensors))
        self._function = address_function()
        if self._function:
            dicts, keys, found, objects = map(_ids, (entries, names, values, tensors))
            addresses = np.array(self._addresses, np.int64)
            self._keep = (dicts, keys, found, objects, addresses)
            places = [tables.address(x) for x in self._keep]
            self._same_items = partial(
                _compiled("SAME_ITEMS"), places[0], len(entries), places[1], len(names), places[2]
            )
            self._same_addresses = partial(
                _compiled("SAME_ADDRESSES"), self._function, places[3], places[4], len(tensors)
            )

    def is_current(self) -> bool:
        """Whether nothing has changed."""
        if self._function:
            return bool(self._same_items() and self._same_addresses())
        found = chain.from_iterable([entry.get(name, _MISSING) for name in self._names] for entry in self._entries)
        return all(map(is_, found, self._values)) and list(map(_address, self._tensors)) == self._addresses


class Addresses:
    """Addresses of a list of tensors, and whether they have changed since the last time."""

    def __init__(self, n: int) -> None:
        self._all = np.zeros(n, np.int64)
        self._place, self._function = tables.address(self._all), address_function()

    def take(self, tensors: list[Any]) -> bool:
        """Store the addresses of these tensors. Return whether any is another than before."""
        if self._function:
            return bool(_compiled("TAKE_ADDRESSES")(self._function, id(tensors), self._place, len(tensors)))
        found, before = np.array(list(map(_address, tensors)), np.int64), self.found(len(tensors))
        same = np.array_equal(found, before)
        before[:] = found
        return not same

    def found(self, n: int) -> Any:
        """The first n addresses."""
        return self._all[:n]
