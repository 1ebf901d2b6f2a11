"""What keeps numba's disk cache of users' functions from running old code of ours.

The cache entry of an ``@njit(cache=True)`` function has a copy of all code that it calls, but numba's key has only the
user's own file in it: neither our sources nor the values of globals, such as a schedule, that it was compiled with.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Stamp:
    """A mark in compiled code that refuses to be unpickled where `current()` is no longer what it was.

    Numba pickles the environments of all functions that a cached function contains, and takes an OSError while it loads
    an entry for a missing file: it compiles anew and replaces the entry.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def leave(self, context: Any) -> None:
        """Put the mark into the environment of the function that is being compiled."""
        context.environment.consts.append(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return renew, (self._current.__module__, self._current.__name__, self._current())


def renew(module: str, name: str, was: Any) -> Stamp:
    """Unpickle a stamp. Users' caches hold this function by its name and its file's: neither may change."""
    try:
        current = getattr(import_module(module), name)
    except (ImportError, AttributeError) as problem:
        raise OSError(f"compiled by another pyfastlr: {problem}") from problem
    if was != current():
        raise OSError("compiled from other sources or numbers of pyfastlr")
    return Stamp(current)
