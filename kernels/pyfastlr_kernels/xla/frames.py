"""Calls of a target from Python, with a call frame like XLA's: where XLA itself cannot call it, and in tests."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels.tables import address

from .layout import (
    API,
    ARRAY,
    ARRAY_ATTRIBUTE,
    BUFFER,
    CODES,
    ERROR,
    EXECUTE,
    FRAME,
    MAJOR,
    MINOR,
    S32,
    S64,
    U32,
)
from .targets import Target

_CODES = {**CODES, "int32": S32, "uint32": U32}


class Frame:
    """A call frame over numpy arrays, and all that it points to. Fields may be changed before a call.

    Parameters
    ----------
    arguments, results
        C-contiguous arrays. An array in both is updated in place.
    plan
        The attribute, or None.
    """

    def __init__(
        self, arguments: Sequence[np.ndarray], results: Sequence[np.ndarray], plan: np.ndarray | None = None
    ) -> None:
        self.messages: list[tuple[int, str]] = []
        self._create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(self._note)
        self.api = _record(API, major=MAJOR, minor=MINOR, create_error=ctypes.cast(self._create, ctypes.c_void_p).value)
        self.frame = _record(FRAME, api=address(self.api), stage=EXECUTE)
        self.arguments, self.results, self.plan = [*map(_buffer, arguments)], [*map(_buffer, results)], plan
        self._keep: list[Any] = [arguments, results]
        for name, items in (("args", self.arguments), ("rets", self.results)):
            self._list(name, [item for item, _ in items], [1] * len(items))
        if plan is not None:
            self.attribute = _record(ARRAY, dtype=S64, size=len(plan), data=address(plan))
            self._list("attrs", [self.attribute], [ARRAY_ATTRIBUTE])

    def _list(self, name: str, items: Sequence[np.ndarray], types: Sequence[int]) -> None:
        table, kinds = np.array([*map(address, items)], np.int64), np.array(types, np.int32)
        self._keep += [items, table, kinds]
        self.frame[f"{name}_size"], self.frame[f"{name}_items"] = len(items), address(table)
        self.frame[f"{name}_types"] = address(kinds)

    def _note(self, error: int) -> int:
        """Note an error, as XLA's function that creates one."""
        record = np.frombuffer(ctypes.string_at(error, ERROR.itemsize), ERROR)[0]
        self.messages.append((int(record["code"]), ctypes.string_at(int(record["message"])).decode()))
        return 1

    def call(self, target: Target) -> None:
        """Call the target; raise RuntimeError for an error."""
        function = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(target.address)
        if function(address(self.frame)):
            raise RuntimeError(self.messages[-1][1])


def _record(kind: np.dtype, /, **fields: Any) -> np.ndarray:
    record = np.zeros(1, kind)
    for name, value in fields.items():
        record[name] = value
    if "struct_size" in (kind.names or ()):
        record["struct_size"] = kind.itemsize
    return record


def _buffer(array: np.ndarray) -> tuple[np.ndarray, Any]:
    dims = np.array(array.shape, np.int64)
    return _record(
        BUFFER, dtype=_CODES[array.dtype.name], data=address(array), rank=array.ndim, dims=address(dims)
    ), dims
