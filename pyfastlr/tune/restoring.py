"""Have everything as it was after a tool has run, whatever ended it: its result, an exception, or Ctrl-C."""

import random
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels.compile.first_use import whole

T = TypeVar("T")


class Saved(Protocol):
    """Something that was saved when this was made. `restore` may be called twice."""

    def restore(self) -> None:
        """Write it back."""


class SavedParameters:
    """Copies of the parameters' arrays."""

    def __init__(self, parameters: Parameters) -> None:
        self._pairs = [(x, x.copy()) for x in parameters.arrays]

    def restore(self) -> None:
        """Write the values back into the same arrays."""
        for array, before in self._pairs:
            writeable = array.flags.writeable
            if not writeable:
                array.flags.writeable = True
            np.copyto(array, before)
            if not writeable:
                array.flags.writeable = False


class SavedRandom:
    """State of numpy's and Python's global random numbers, and of generators that are given.

    Parameters
    ----------
    *generators : numpy.random.Generator, numpy.random.RandomState, numpy.random.BitGenerator or random.Random
    """

    def __init__(self, *generators: Any) -> None:
        self._global = np.random.get_state()  # noqa: NPY002  # users' functions draw from it
        self._python = random.getstate()
        self._others = [(x, _state(x)) for x in generators]

    def restore(self) -> None:
        """Have all of them draw again what they drew since."""
        np.random.set_state(self._global)  # noqa: NPY002
        random.setstate(self._python)
        for generator, state in self._others:
            _set_state(generator, state)


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state()
    return _bits(generator).state


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        _bits(generator).state = state


def _bits(generator: Any) -> Any:
    return generator.bit_generator if isinstance(generator, np.random.Generator) else generator


def restored(saved: list[Saved], work: Callable[[], T]) -> T:
    """Return what `work` returns, after everything saved was restored, also if it raises or is interrupted.

    An interrupt while one of the two `finally` blocks begins does not stop the other; inside `whole` none arrives.
    """

    def restore() -> None:
        if saved:
            for part in saved:
                part.restore()
            saved.clear()

    try:
        try:
            return work()
        finally:
            whole(restore)
    finally:
        whole(restore)
