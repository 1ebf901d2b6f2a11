"""The state of a `SpikeGuard`: its initial value, and conversion to and from a dict for files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from pyfastlr.optimizers.base import Optimizer
from pyfastlr.optimizers.saving import loading
from pyfastlr.schedules import checks
from pyfastlr.schedules.controller import observed

from .judge import BLOCK, SpikeEvent
from .rollback import Snapshot

EVENTS = 1_000  # events that are kept
FORMAT = 1

START: Mapping[str, Any] = MappingProxyType({
    "calls": 0, "loss": (), "grad_norm": (),  # levels of good steps
    "block": (), "cosines": (), "last": None,  # for oscillation
    "skips": 0, "rollbacks": 0, "good": 0,  # skips in a row, rollbacks in a row; good steps since the last snapshot
    "cuts": 0, "since": 0,  # cuts in force; good steps since the last change of the rate
    "snapshot": None, "candidate": None,  # the one to restore; a newer one without enough good steps yet
    "events": (),
})  # fmt: skip
_COUNTS = [key for key, value in START.items() if type(value) is int]
_NUMBERS = ("loss", "grad_norm", "block", "cosines")


def export(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy as numbers, strings, None, lists, dicts and arrays."""
    plain: dict[str, Any] = {"type": "SpikeGuard", "format": FORMAT, **{key: state[key] for key in _COUNTS}}
    plain |= {key: list(state[key]) for key in _NUMBERS}
    plain["last"] = None if state["last"] is None else [copy.copy(x) for x in state["last"]]
    for key in ("snapshot", "candidate"):
        found = state[key]
        plain[key] = found and {
            "params": [x.copy() for x in found.params], "optimizer": copy.deepcopy(found.optimizer),
            "levels": {name: list(levels) for name, levels in found.levels.items()},
        }  # fmt: skip
    plain["events"] = [{**event._asdict(), "actions": list(event.actions)} for event in state["events"]]
    return plain


def checked(d: Any, opt: Optimizer, window: int, rolls_back: bool) -> dict[str, Any]:
    """Check the output of `export`, and convert it to a state."""
    if not isinstance(d, Mapping) or d.get("type") != "SpikeGuard" or d.get("format") != FORMAT:
        raise ValueError(
            f"the state of SpikeGuard must be a dict from its state_dict(), format {FORMAT}, got {d!r:.60}"
        )
    if set(d) != {"type", "format", *START}:
        raise ValueError(f"the state of SpikeGuard must have {sorted(START)}, got {sorted(map(str, d))}")
    state: dict[str, Any] = {key: checks.natural(d[key], f"state[{key!r}]") for key in _COUNTS}
    state |= {key: _numbers(d[key], key, BLOCK - 1 if key in ("block", "cosines") else window) for key in _NUMBERS}
    state["last"] = None if d["last"] is None else _like(opt, d["last"], "last", may_be_none=True)
    for key in ("snapshot", "candidate"):
        state[key] = None if d[key] is None else _snapshot(opt, d[key], key, window)
    if (state["snapshot"] is not None) != rolls_back:
        need = "a snapshot, because this guard rolls back" if rolls_back else "no snapshot, because it never rolls back"
        raise ValueError(f"the state of SpikeGuard must have {need}")
    state["events"] = _events(d["events"])
    return state


def _numbers(value: Any, key: str, most: int) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise ValueError(f"the state {key!r} of SpikeGuard must be a list of at most {most} numbers, got {value!r:.60}")
    return tuple(observed(x, f"state[{key!r}]") for x in value)


def _like(opt: Optimizer, value: Any, key: str, may_be_none: bool = False) -> tuple[Any, ...]:
    """Copies of arrays like the parameters, in their shape or flat."""
    arrays = opt._parameters.arrays
    fits = isinstance(value, list | tuple) and len(value) == len(arrays) and all(
        (x is None and may_be_none)
        or (isinstance(x, np.ndarray) and x.dtype == y.dtype and x.shape in ((y.size,) if may_be_none else y.shape, ))
        for x, y in zip(value, arrays, strict=True)
    )  # fmt: skip
    if not fits:
        raise ValueError(f"the state {key!r} of SpikeGuard must have arrays like the parameters, got others")
    return tuple(None if x is None else x.copy() for x in value)


def _snapshot(opt: Optimizer, value: Any, key: str, window: int) -> Snapshot:
    if not isinstance(value, Mapping) or set(value) != {"params", "optimizer", "levels"}:
        raise ValueError(f"the state {key!r} of SpikeGuard must have params, optimizer and levels, got {value!r:.60}")
    loading.checked(opt, value["optimizer"], hyper=False)
    levels = value["levels"]
    if not isinstance(levels, Mapping) or set(levels) != {"loss", "grad_norm"}:
        raise ValueError(f"the state {key!r} of SpikeGuard must have levels of loss and grad_norm, got {levels!r:.60}")
    return Snapshot(
        _like(opt, value["params"], key),
        copy.deepcopy(dict(value["optimizer"])),
        {name: _numbers(x, name, window) for name, x in levels.items()},
    )


def _events(value: Any) -> tuple[Any, ...]:
    names = set(SpikeEvent._fields)
    if not isinstance(value, list | tuple) or not all(isinstance(x, Mapping) and set(x) == names for x in value):
        raise ValueError(f"the state 'events' of SpikeGuard must be a list of dicts with {sorted(names)}")
    return tuple(SpikeEvent(**{**x, "actions": tuple(x["actions"])}) for x in value[-EVENTS:])
