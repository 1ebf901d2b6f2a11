"""A kernel with all that starting it takes."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """A kernel, its blocks, their threads, its arguments as ctypes cells, and a ctypes array of these cells' addresses.

    A launch may be started again with other values in its cells, because the driver copies them before it returns.
    """

    kernel: Any
    grid: int
    threads: int
    arguments: Sequence[Any]
    places: Any

    @classmethod
    def of(cls, kernel: Any, grid: int, threads: int, arguments: Sequence[Any]) -> "Launch":
        """Make a launch with the addresses of its arguments."""
        return cls(
            kernel, grid, threads, arguments, (ctypes.c_void_p * len(arguments))(*map(ctypes.addressof, arguments))
        )
