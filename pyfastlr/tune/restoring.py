"""Have everything as it was after a tool has run, whatever ended it: its result, an exception, or Ctrl-C."""

import copy
import random
import sys
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
    """Copies of the parameters' arrays, and what the dicts and lists that they are in hold."""

    def __init__(self, parameters: Parameters) -> None:
        self._pairs = [(x, x.copy()) for x in parameters.arrays]
        self._containers = _containers(parameters.params) if parameters.layout is None else []

    def restore(self) -> None:
        """Write the values back into the same arrays, and these arrays back to their places."""
        for container, before in self._containers:
            _refill(container, before)
        for array, before in self._pairs:
            if not array.flags.writeable:  # parameters are; numpy refuses it where memory is lent, though it is so
                array.flags.writeable = True
            if array.shape != before.shape:
                array.resize(before.shape, refcheck=False)  # somebody resized it, and so held no other view of it
            np.copyto(array, before)


def _containers(params: Any) -> list[tuple[Any, Any]]:
    """Each dict and list, however deep, with a copy of it."""
    if isinstance(params, dict):
        inside: Any = params.values()
    elif isinstance(params, list | tuple):
        inside = params
    else:
        return []
    own = [] if isinstance(params, tuple) else [(params, copy.copy(params))]
    return own + [pair for x in inside for pair in _containers(x)]


def _refill(container: Any, before: Any) -> None:
    """Have a dict or list hold what it did, in the same order."""
    if isinstance(container, dict):
        if list(container) != list(before) or any(container[key] is not before[key] for key in before):
            container.clear()
            container.update(before)
    elif len(container) != len(before) or any(x is not y for x, y in zip(container, before, strict=True)):
        container[:] = before


class SavedRandom:
    """State of numpy's and Python's global random numbers, of torch's if it is imported, and of generators given.

    Parameters
    ----------
    *generators : numpy.random.Generator, RandomState or BitGenerator, random.Random, or torch.Generator
    """

    def __init__(self, *generators: Any) -> None:
        self._global = np.random.get_state()  # noqa: NPY002  # users' functions draw from it
        self._python = random.getstate()
        torch = sys.modules.get("torch")
        self._others = [(x, _state(x)) for x in (*generators, *([torch.default_generator] if torch else []))]

    def restore(self) -> None:
        """Have all of them draw again what they drew since."""
        np.random.set_state(self._global)  # noqa: NPY002
        random.setstate(self._python)
        for generator, state in self._others:
            _set_state(generator, state)


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "get_state"):  # RandomState, torch.Generator
        return generator.get_state()
    return _bits(generator).state


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        _bits(generator).state = state


def _bits(generator: Any) -> Any:
    return generator.bit_generator if isinstance(generator, np.random.Generator) else generator


def restored(saved: list[Saved], work: Callable[[], T]) -> T:
    """Return what `work` returns, after everything saved was restored, also if it raises or is interrupted.

    What `work` adds to the list is restored too. If one part cannot be restored, the others are, and then its error is
    raised. An interrupt while one of the two `finally` blocks begins does not stop the other; inside `whole` none
    arrives.
    """

    def restore() -> None:
        errors = []
        for part in saved:
            try:
                part.restore()
            except Exception as error:  # noqa: BLE001  # raised below
                errors.append(error)
        saved.clear()
        if errors:
            raise errors[0]

    try:
        try:
            return work()
        finally:
            whole(restore)
    finally:
        whole(restore)
