"""Exchange the parameters and their average. Steps and saved states are refused until they are exchanged again.

An exchange is one C call, so no interrupt and no other thread comes between its copies.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Optimizer

_BY_HAND = 1  # by `swap_ema`
_numbers = count(_BY_HAND + 1)  # one for each `averaged`


def swap(optimizer: "Optimizer") -> None:
    """Exchange the parameters and their average, or exchange them again."""
    _check(optimizer, "swap_ema()")
    with optimizer._lock.held:
        optimizer._lock.pause()
        swapped = optimizer._extras.swapped
        _exchange(optimizer, 0 if swapped else _BY_HAND)


@contextmanager
def averaged(optimizer: "Optimizer") -> Iterator[None]:
    """Exchange them for the length of a block."""
    mine = next(_numbers)
    try:
        try:
            _swap_in(optimizer, mine)
            yield
        finally:
            _swap_back(optimizer, mine)
    finally:
        _swap_back(optimizer, mine)  # if an interrupt has stopped the first call


def _swap_in(optimizer: "Optimizer", mine: int) -> None:
    _check(optimizer, "averaged()")
    with optimizer._lock.held:
        optimizer._lock.pause()
        optimizer._extras.check_not_swapped("averaged()")
        _exchange(optimizer, mine)


def _swap_back(optimizer: "Optimizer", mine: int) -> None:
    """Undo this context's exchange, if it is still in force."""
    if optimizer._extras.swapped == mine:
        with optimizer._lock.held:
            optimizer._lock.pause()
            if optimizer._extras.swapped == mine:
                _exchange(optimizer, 0)


def _check(optimizer: "Optimizer", what: str) -> None:
    if optimizer._engine.is_inside():
        raise RuntimeError(f"a schedule or callable must not call {what} of the optimizer that calls it")
    if not optimizer._extras.has_average:
        raise RuntimeError(f"{what} needs an average: set `ema_decay`, and make an update")


def _exchange(optimizer: "Optimizer", swapped: int) -> None:
    """Exchange them, and set `swapped`. The caller has exclusive access to the optimizer."""
    # An array that the user has replaced since comes to light at the next step.
    optimizer._parameters.check_in_place(in_container=swapped != 0)
    optimizer._engine.sync()
    optimizer._engine.renew()  # first: the launch that is built next refuses to step
    optimizer._engine.write(optimizer._extras.exchange(swapped))
