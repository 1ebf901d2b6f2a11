"""Write a whole state into an optimizer: all of it, or nothing."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.engines.settings import Settings
from pyfastlr.schedules.controller import load_checked, saved_state

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer


def check_outside(optimizer: "Optimizer", what: str = "change the state of") -> None:
    """Refuse a change, or a save to a file, by a callable that the optimizer's own step or save calls.

    It must come before the lock is taken: another thread may have the lock, and wait for the end of this very step.
    """
    if optimizer._engine.is_inside():
        raise RuntimeError(f"a schedule or callable must not {what} the optimizer that calls it")


def write(
    optimizer: "Optimizer",
    pairs: Sequence[tuple[Any, Any]],
    controllers: Sequence[tuple[Any, Any]] = (),
    settings: Settings | None = None,
    what: str = "",
    kept: Collection[str] = (),
) -> None:
    """Write arrays, controllers' states and hyperparameters. If a controller refuses, nothing changes.

    `what` is the name of the operation in errors. `kept` has the names of arrays whose state is not replaced.
    """
    check_outside(optimizer)
    with optimizer._lock.held:
        optimizer._lock.pause()
        optimizer._extras.check_not_swapped(what)
        pairs = [*pairs, *optimizer._engine.forgotten(kept)]
        if settings is not None:
            optimizer._engine.check_replacement(optimizer._hyper.current, settings)
        if controllers:
            _write_both(optimizer, pairs, settings, controllers)
        else:
            _write(optimizer, pairs, settings)
            optimizer._engine.changed()
        optimizer._extras.last = {}


def _write(optimizer: "Optimizer", pairs: Sequence[tuple[Any, Any]], settings: Settings | None) -> None:
    """Write arrays and hyperparameters, by one call of the engine. The caller has the lock."""
    engine, before = optimizer._engine, optimizer._hyper.current
    if settings is None or before.differs_in_numbers(settings):
        engine.write(pairs if settings is None else [*pairs, (before.rows, settings.rows)])
        return
    engine.renew()  # first: after an interrupt between the two, the next step reads what is current
    engine.write(pairs, [(optimizer._hyper, "current", settings)])  # `before` lives on: nothing is freed in the middle


def _write_both(
    optimizer: "Optimizer",
    pairs: Sequence[tuple[Any, Any]],
    settings: Settings | None,
    controllers: Sequence[tuple[Any, Any]],
) -> None:
    """Write arrays and controllers' states, or neither. The caller has the lock.

    Not in `whole`: code that has the optimizer's lock may wait for that of `whole`, so nobody may do the reverse.
    """
    before = [(controller, saved_state(controller)) for controller, _ in controllers]
    written = np.zeros(1, np.bool_)  # by the C call that writes the arrays: an interrupt may come right after it
    try:
        load_checked(controllers)  # first, because they may refuse
        _write(optimizer, [*pairs, (written, np.ones(1, np.bool_))], settings)
        optimizer._engine.changed()
    except BaseException:
        if written[0]:
            optimizer._engine.changed()
        else:
            for controller, state in before:
                controller.load_state_dict(state)
        raise
