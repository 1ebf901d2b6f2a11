"""Restore everything after a tool has run, whether it returned, raised an exception, or was interrupted."""

import contextvars
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
    """Something that is saved on construction and can be restored. `restore` may be called twice."""

    def restore(self) -> None:
        """Write it back."""


class SavedParameters:
    """Copies of the parameters' arrays, and the contents of the dicts and lists that hold them."""

    def __init__(self, parameters: Parameters) -> None:
        self._pairs = [(x, x.copy()) for x in parameters.arrays]
        self._containers = _containers(parameters.params) if parameters.layout is None else []

    def restore(self) -> None:
        """Write the values back into the same arrays, and put these arrays back into their containers."""
        for container, before in self._containers:
            _refill(container, before)
        for array, before in self._pairs:
            if not array.flags.writeable:  # they were on entry; numpy may refuse this for borrowed memory
                array.flags.writeable = True
            if array.shape != before.shape:
                array.resize(before.shape, refcheck=False)  # whoever resized it had no other view of it
            np.copyto(array, before)


def _containers(params: Any) -> list[tuple[Any, Any]]:
    """Each dict and list at any depth, with a copy of it."""
    if isinstance(params, dict):
        inside: Any = params.values()
    elif isinstance(params, list | tuple):
        inside = params
    else:
        return []
    own = [] if isinstance(params, tuple) else [(params, copy.copy(params))]
    return own + [pair for x in inside for pair in _containers(x)]


def _refill(container: Any, before: Any) -> None:
    """Restore the contents of a dict or list, in the same order."""
    if isinstance(container, dict):
        if list(container) != list(before) or any(container[key] is not before[key] for key in before):
            container.clear()
            container.update(before)
    elif len(container) != len(before) or any(x is not y for x, y in zip(container, before, strict=True)):
        container[:] = before


class SavedRandom:
    """Global random states of numpy, of Python and, if imported, of torch; and the states of the given generators.

    Parameters
    ----------
    *generators : numpy.random.Generator, RandomState or BitGenerator, random.Random, or torch.Generator
    """

    def __init__(self, *generators: Any) -> None:
        # Users' functions draw from the global numbers, and may put another bit generator there.
        self._bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
        self._global = np.random.get_state(legacy=False)  # noqa: NPY002
        self._python = random.getstate()
        torch = sys.modules.get("torch")
        self._others = [(x, _state(x)) for x in (*generators, *([torch.default_generator] if torch else []))]

    def restore(self) -> None:
        """Have all of them draw again what they drew since."""
        np.random.set_bit_generator(self._bits)  # type: ignore[attr-defined]
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
    """Call `work`, restore everything in `saved`, and return the result. Restores after an error or interrupt too.

    What `work` adds to the list is restored too. If one part cannot be restored, the others are, and then its error is
    raised. An interrupt while one of the two `finally` blocks begins does not stop the other; inside `whole` none
    arrives.

    `work` runs in its own context. In it are numpy's floating-point warnings (from numpy 2 on), which an interrupt at
    the wrong moment of an `np.errstate`, numpy's own included, would leave switched off.
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
            return contextvars.copy_context().run(work)
        finally:
            whole(restore)
    finally:
        whole(restore)
