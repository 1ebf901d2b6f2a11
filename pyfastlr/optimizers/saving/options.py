"""The part of a saved state that belongs to the options of the step: average, accumulated gradient and loss scale.

Each is a key of the dict, and None where there is nothing to save.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.optimizers.loss_scale import checked_state

from .matching import Match, mapping
from .plain import short

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

ABSENT: dict[str, Any] = {"average": None, "accumulated": None, "loss_scale": None}
LARGEST = 2**62  # largest count, so far from the end of int64 that no run reaches that


def export(optimizer: "Optimizer", live: bool = False) -> dict[str, Any]:
    """Copy what the optimizer has of them. `live`: without copying the arrays."""
    extras = optimizer._extras
    found, record = dict(ABSENT), extras.record[0]
    if extras.has_average:
        found["average"] = {"updates": int(record["averaged"]), "values": _values(optimizer, "average", live)}
    if extras.summed.any():
        found["accumulated"] = {
            "calls": int(record["calls"]),
            "used": extras.summed.astype(bool),
            "values": _values(optimizer, "accumulated", live),
        }
    if optimizer.loss_scale is not None:
        found["loss_scale"] = optimizer.loss_scale._export()
    return found


def _values(optimizer: "Optimizer", name: str, live: bool) -> Any:
    """Copies of the parts of a buffer, with the structure of the parameters; for a `Flat`, of the buffer."""
    extras, params = optimizer._extras, optimizer._parameters
    if params.layout is not None:
        return extras.buffers[name] if live else extras.buffers[name].copy()
    return params.like([x if live else x.copy() for x in extras.tensors(name)], extras.buffers[name])


def checked(optimizer: "Optimizer", given: Mapping[str, Any], match: Match) -> list[tuple[Any, Any]]:
    """Check them, and pair the optimizer's arrays with the values for them.

    An array that is missing in the state has its parameter as its average, unless it has one already, and no
    accumulated gradient.
    """
    extras = optimizer._extras
    averaged, calls, summed = 0, 0, np.zeros_like(extras.summed)
    average, accumulated = given["average"], given["accumulated"]
    parts: dict[str, list[Array | None]] = {}
    if average is not None:
        mapping(average, "average", ("updates", "values"))
        averaged = count(average["updates"], "state['average']['updates']", 1)
        if optimizer.capturable:
            raise ValueError(
                "`state['average']` must be None with `capturable`, which has no `ema_decay`: got an average"
            )
        parts["average"] = match.tensors(average["values"], "state['average']['values']")
        if not extras.has_average:
            now = optimizer._parameters.numbers()
            parts["average"] = [p if y is None else y for y, p in zip(parts["average"], now, strict=True)]
    if accumulated is not None:
        mapping(accumulated, "accumulated", ("calls", "used", "values"))
        calls, summed = _calls(optimizer, accumulated, match)
        parts["accumulated"] = match.tensors(accumulated["values"], "state['accumulated']['values']")
    scale = _loss_scale(optimizer, given["loss_scale"])
    pairs = extras.progress_pairs(calls, summed, averaged)
    if "accumulated" in extras.buffers:
        pairs.append((extras.buffers["accumulated"], np.zeros_like(extras.buffers["accumulated"])))
    for name, values in parts.items():
        extras.allocate(name)
        pairs += zip(extras.tensors(name), values, strict=True)
    return [*pairs, *scale]


def _calls(optimizer: "Optimizer", given: Mapping[str, Any], match: Match) -> tuple[int, Array]:
    """Check how many calls have been accumulated, and for which tensors."""
    calls = count(given["calls"], "state['accumulated']['calls']", 1)
    if calls >= optimizer.accumulate:
        raise ValueError(
            f"`state['accumulated']['calls']` must be less than `accumulate`, {optimizer.accumulate}, got {calls}: "
            f"the state was saved between the calls of an update, so load it with at least accumulate={calls + 1}"
        )
    used = given["used"]
    if not isinstance(used, np.ndarray) or used.dtype != np.dtype(bool) or used.shape != (len(match.names),):
        raise ValueError(f"`state['accumulated']['used']` must be bool[{len(match.names)}], got {short(used)}")
    if not used.any():
        raise ValueError("`state['accumulated']['used']` must be True for some array, got only False")
    summed = match.taken(used, np.zeros(len(match.places), bool)).astype(np.int64)
    return calls if summed.any() else 0, summed


def _loss_scale(optimizer: "Optimizer", given: Any) -> list[tuple[Any, Any]]:
    if given is None:
        return []
    state = checked_state(given, "state['loss_scale']")
    if optimizer.loss_scale is None:
        raise ValueError(
            "`state['loss_scale']` needs an optimizer with a loss scale, got one without: give it "
            "loss_scale=LossScale(), or set the key to None"
        )
    return optimizer.loss_scale._pairs(state)


def count(value: Any, name: str, least: int = 0) -> int:
    """Check a count of a saved state. `name` is its name in errors."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`{name}` must be an integer, got {short(value)}")
    if not least <= value <= LARGEST:
        raise ValueError(f"`{name}` must be from {least} to 2**62, got {short(value)}")
    return int(value)
