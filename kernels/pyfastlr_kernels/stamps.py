"""Stamps, which stop numba's disk cache of users' functions from running outdated pyfastlr code.

The cache entry of an ``@njit(cache=True)`` function has a copy of all code that it calls, but numba's key covers only
the user's own file: neither our sources nor the values of globals, such as a schedule, that it was compiled with.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Stamp:
    """A mark in compiled code that refuses to be unpickled if the value of `current()` has changed.

    Numba pickles the environments of all functions that a cached function contains. It treats an OSError while loading
    an entry as a missing file: it compiles again and replaces the entry.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def leave(self, context: Any) -> None:
        """Put the mark into the environment of the function being compiled."""
        context.environment.consts.append(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return renew, (self._current.__module__, self._current.__name__, self._current())


def renew(module: str, name: str, was: Any) -> Stamp:
    """Unpickle a stamp. Users' caches refer to this function by its module and name: neither may change."""
    try:
        current = getattr(import_module(module), name)
    except (ImportError, AttributeError) as problem:
        raise OSError(f"compiled by another pyfastlr: {problem}") from problem
    if was != current():
        raise OSError("compiled from other sources or numbers of pyfastlr")
    return Stamp(current)
