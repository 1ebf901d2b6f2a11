"""Per-element rates: the arrays of `lr_scale`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, Watched, describe, is_native, watch
from pyfastlr.arrays.parameters import Parameters

from .hyper import SCALE_TYPES, label


class Rates(NamedTuple):
    """Per-element rates of one tensor."""

    array: Any  # 1-D view
    watched: Watched  # the user's array
    label: str


def rates_of_all(parameters: Parameters, value: Any, mine: Sequence[int], words: str) -> list[Rates | None]:
    """Rates from arrays like the parameters, or like those with the indices `mine` alone. `words`: the range."""
    names = [parameters.names[k] for k in mine]
    if len(mine) < len(parameters.names) and tree.kind_of(value) == parameters.node.kind != "leaf":
        _, found, inside = tree.flatten(value, "lr_scale")
        if sorted(found) == sorted(names):
            return _rates_by_name(parameters, dict(zip(found, inside, strict=True)))
    if parameters.layout is None and tree.kind_of(value) != parameters.node.kind:
        raise TypeError(f"`lr_scale` must be {words + SCALE_TYPES}, got {describe(value)}")
    arrays = parameters.per_tensor(value, "lr_scale")
    leaves = parameters.leaves_of(value, "lr_scale")
    if leaves is None:
        leaves = [value.buffer if isinstance(value, Flat) else value] * len(arrays)
    return [
        Rates(x, watch(given if is_native(given) else x), called)
        for x, given, called in zip(arrays, leaves, parameters.labels("lr_scale"), strict=True)
    ]


def rates_of_group(parameters: Parameters, value: Any, mine: Sequence[int], group: str) -> list[Rates | None]:
    """Rates of a group's arrays, which have the indices `mine`: a dict by name, or one array. `group`: its name."""
    names = [parameters.names[k] for k in mine]
    is_array = len(names) == 1 and tree.kind_of(value) == "leaf"
    given = dict(value) if isinstance(value, Mapping) else {names[0]: value} if is_array else {}
    if sorted(given) != sorted(names):
        arrays = "an array" if names == [""] else f"a dict with an array for each of {names}"
        raise ValueError(
            f"`{label('lr_scale', group)}` must be a number, a schedule, a callable or {arrays}, got {describe(value)}"
        )
    return _rates_by_name(parameters, given)


def _rates_by_name(parameters: Parameters, given: Mapping[str, Any]) -> list[Rates | None]:
    found: dict[str, Rates] = {}
    shapes = dict(zip(parameters.names, parameters.shapes, strict=True))
    for name, x in given.items():
        called = tree.label("lr_scale", name)
        array = parameters.operand(x, called, shapes[name])
        found[name] = Rates(array.reshape(-1), watch(x if is_native(x) else array), called)
    return [found.get(name) for name in parameters.names]


def check_rates(rates: Rates | None) -> None:
    """Refuse rates that are negative or not finite. Arrays on a device are not read."""
    if rates is None or not isinstance(rates.array, np.ndarray):
        return
    x: Array = rates.array
    wrong = ~(np.isfinite(x) & (x >= 0))
    if wrong.any():
        raise ValueError(f"`{rates.label}` must contain only finite numbers >= 0, got {x[wrong][0]}")
