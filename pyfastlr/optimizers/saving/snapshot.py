"""The state of an optimizer as a dict."""

import math
from typing import TYPE_CHECKING, Any

from pyfastlr.schedules.controller import saved_state
from pyfastlr_kernels.rules import RULES

from . import hyperparameters, options

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

VERSION = 4  # of the format of `state_dict`
# Keys that a version adds to the earlier ones, each with the value to use for an earlier version.
ADDED: dict[int, dict[str, Any]] = {
    1: {},
    2: {"controllers": []},
    3: options.ABSENT,
    4: {"used_lr": None, "hyperparameters": None, "maximize": None},
}
KEYS = ("format", "class", "convention", "rule", "dtype", "structure", "steps", "counts", "carry", "state")


def header(optimizer: "Optimizer") -> dict[str, Any]:
    """What must match for a state to be loaded."""
    params = optimizer._parameters
    return {
        "class": type(optimizer).__name__,
        "convention": optimizer.convention,
        "rule": optimizer.rule,
        "dtype": params.dtype.name,
        "structure": list(zip(params.names, params.shapes, strict=True)),
    }


def export(optimizer: "Optimizer", live: bool = False) -> dict[str, Any]:
    """Copy the state to a dict. The caller must have exclusive access to the optimizer.

    `live`: with the arrays of the state themselves instead of copies, except those on a device.
    """
    used_lr = float(optimizer._lock.used_lr[0])
    counts, copied = optimizer._state.counts, not live or optimizer._parameters.device is not None
    return {
        "format": VERSION,
        **header(optimizer),
        "steps": optimizer.steps,
        "counts": counts["count"].copy(),
        "carry": counts["carry"][:, : len(RULES[optimizer.rule].carry)].copy(),
        "state": optimizer._state.copies() if copied else optimizer._state.live(),
        "controllers": [
            {"group": row, "name": name, "state": saved_state(controller)}
            for (row, name), controller in optimizer._hyper.controllers().items()
        ],
        **options.export(optimizer, not copied),
        "used_lr": None if math.isnan(used_lr) else used_lr,  # by the last update, for `stats`
        "hyperparameters": hyperparameters.export(optimizer),
        "maximize": optimizer.maximize,
    }
