"""Snapshots of parameters and optimizer, and restoring them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules.controller import trial


class Snapshot(NamedTuple):
    """Copies of the parameters' arrays, the optimizer's `state_dict`, and the levels of losses and norms."""

    params: tuple[Array, ...]
    optimizer: dict[str, Any]
    levels: dict[str, tuple[float, ...]]


def take(opt: Optimizer, levels: Mapping[str, tuple[float, ...]]) -> Snapshot:
    """Take a snapshot."""
    state = opt.state_dict()  # first: it brings all rows up to date (`catch_up`)
    params = tuple(np.array(x) for x in opt._parameters.arrays)
    return Snapshot(params, state, dict(levels))


def check_in_place(opt: Optimizer, snapshot: Snapshot) -> None:
    """If an array that is to be written was replaced, resized, added or is read-only, raise an error that names it."""
    new = opt._parameters.names[len(snapshot.optimizer["structure"]) :]
    if new:
        raise ValueError(
            f"the snapshot must have all arrays of the optimizer, got none of {new[:5]}, which were added later: call "
            f"the guard's forget() after add()"
        )
    opt._parameters.check_in_place()
    if opt._extras.options.copies is not None:
        opt._extras.options.copies.check_in_place()


def restore(opt: Optimizer, snapshot: Snapshot) -> None:
    """Write a snapshot back. If an error is raised, nothing has changed.

    A controller that has replaced another since the snapshot, and refuses its state, is left unchanged. So are the
    hyperparameters: cuts of the rate stay in force.
    """
    there = opt._hyper.controllers()
    controllers = [
        entry for entry in snapshot.optimizer["controllers"]
        if _takes(there.get((entry["group"], entry["name"])), entry["state"])
    ]  # fmt: skip
    opt.load_state_dict({**snapshot.optimizer, "controllers": controllers}, hyperparameters=False)
    for array, before in zip(opt._parameters.arrays, snapshot.params, strict=True):
        np.copyto(array, before)
    for array, p in zip(opt._extras.copied, opt._parameters.inside_tensors(), strict=False):  # of `copy_to`
        np.copyto(array, p)


def _takes(controller: Any, state: Any) -> bool:
    if controller is None:
        return False
    try:
        trial(controller, state)
    except (TypeError, ValueError):
        return False
    return True
