"""Copies and pickles of an optimizer."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyfastlr.arrays.host import Halves, shaped
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.schedules.controller import copied, is_controller

from .writing import write

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer


def export(optimizer: "Optimizer") -> dict[str, Any]:
    """Copy everything at one moment, including the parameters' values."""
    with optimizer._lock.reading():
        optimizer._lock.pause()
        optimizer._extras.check_not_swapped("copying the optimizer")
        optimizer._engine.refresh()
        optimizer._engine.sync()
        settings = optimizer._hyper.current
        return {
            "given": optimizer._given,
            "rule": optimizer._rule,
            "members": optimizer._hyper.members,
            "own": [{x: settings.source(row, x) for x in own} for row, own in enumerate(settings.own)],
            "initial": optimizer._state.arguments,
            "state_dtypes": optimizer._state.state_dtypes,
            "arrays": [x.copy() for x in optimizer._parameters.arrays],
            "buffers": {name: x.copy() for name, x in optimizer._state.buffers.items()},
            "counts": optimizer._state.counts.copy(),
            "steps": optimizer._lock.steps[0],
            "used_lr": optimizer._lock.used_lr[0],
            "extras": optimizer._extras.snapshot(),
        }


def restore(optimizer: "Optimizer", state: dict[str, Any], params: Any, arrays: Sequence[Any]) -> None:
    """Build an optimizer over these parameters from the output of `export`."""
    parameters = Parameters(params, halves=Halves(state["given"]["uint16_as"]))
    given = {**state["given"], "params": params}
    optimizer._build(
        given, state["rule"], parameters, state["members"], len(state["own"]), state["initial"], state["state_dtypes"]
    )
    optimizer._state.is_shared = True  # it may be a copy of a state that was written by hand
    optimizer._hyper.begin(state["own"])
    optimizer._start()
    pairs = [*zip(parameters.arrays, arrays, strict=False)]
    pairs += [(x, state["buffers"][name]) for name, x in optimizer._state.buffers.items()]
    pairs += optimizer._extras.pairs_from(state["extras"])
    progress = optimizer._progress_pairs(state["counts"], state["steps"], state["used_lr"])
    write(optimizer, [*pairs, *progress])
    optimizer._extras.last = state["extras"]["last"]


def shallow(optimizer: "Optimizer") -> "Optimizer":
    """Return an optimizer that shares parameters, schedules and `copy_to`, but has its own state and loss scale."""
    twin: Optimizer = object.__new__(type(optimizer))
    state = export(optimizer)
    copies: dict[int, Any] = {}  # one for all places: controllers may share one that is inside them
    state["own"] = [{x: _own(value, copies) for x, value in fields.items()} for fields in state["own"]]
    state["given"] = {**state["given"], "loss_scale": copy.copy(optimizer.loss_scale)}
    state["extras"]["copies"] = []  # they are shared, so they may be newer by now
    restore(twin, state, optimizer._parameters.params, ())
    return twin


class Frozen:
    """An optimizer without its parameters: to use it over others, or to pickle it where these are saved elsewhere."""

    def __init__(self, optimizer: "Optimizer") -> None:
        state = export(optimizer)
        del state["arrays"]
        self.cls, self.state = type(optimizer), {**state, "given": {**state["given"], "params": None}}
        self.shapes, self.memory = optimizer._parameters.shapes, optimizer._parameters.memory

    def over(self, params: Any) -> "Optimizer":
        """Build the optimizer over parameters with its structure, shapes and dtype. Their values stay. Use it once.

        Raises
        ------
        TypeError, ValueError
            If the parameters do not fit.
        """
        found = Parameters(params, halves=Halves(self.state["given"]["uint16_as"]))
        if (found.shapes, found.memory) != (self.shapes, self.memory):
            need, got = ([shaped(x.memory, shape) for shape in x.shapes] for x in (self, found))
            raise ValueError(f"`params` must stay {', '.join(need)}, got {', '.join(got)}")
        optimizer: Optimizer = object.__new__(self.cls)
        restore(optimizer, self.state, params, ())
        return optimizer


def deep(optimizer: "Optimizer", memo: dict[int, Any]) -> "Optimizer":
    """Return an optimizer that shares nothing."""
    twin: Optimizer = object.__new__(type(optimizer))
    memo[id(optimizer)] = twin
    state = export(optimizer)
    params = copy.deepcopy(optimizer._parameters.params, memo)
    given = {**state["given"], "params": None}
    state = {**state, "given": copy.deepcopy(given, memo), "own": copy.deepcopy(state["own"], memo)}
    restore(twin, state, params, state["arrays"])
    return twin


def _own(value: Any, copies: dict[int, Any]) -> Any:
    """Copy of a controller, one per object. Any other value is returned unchanged."""
    return copied(value, copies) if callable(value) and is_controller(value) else value
