"""The state arrays of an optimizer; its state as plain data, and back, with every check before the first write."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr_kernels.rules import Rule

from ._arrays import Array, describe
from ._params import Parameters

if TYPE_CHECKING:
    from ._optimizer import Optimizer

FORMAT = 1
LARGEST = 2**62  # of a count: so far from the end of int64 that no run reaches that


class State:
    """One buffer for each slot; beside a `Flat`'s, each tensor's part starts at a cache line of its own."""

    def __init__(self, params: Parameters, rule: Rule, initial: Mapping[str, float]) -> None:
        pad = 1 if params.is_flat else 64 // params.dtype.itemsize
        sizes = [size for _, _, size in params.extents]
        starts = np.cumsum([0, *(-(-size // pad) * pad for size in sizes)]).tolist()
        self.slots = {name: params.zeros(starts[-1]) for name in rule.slots}
        self.initial = dict(initial)
        self._parts = [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]
        self._params = params
        self.clear()

    def clear(self) -> None:
        """State of an optimizer that has done no update."""
        for name, buffer in self.slots.items():
            buffer[:] = self.initial.get(name, 0.0)

    def tensors(self, name: str) -> list[Array]:
        """Arrays of a slot, 1-D, one for each tensor."""
        return [self.slots[name][part] for part in self._parts]

    def views(self) -> dict[str, Any]:
        """Every slot like the parameters."""
        return {name: self._params.like(self.tensors(name), buffer) for name, buffer in self.slots.items()}

    def copies(self) -> dict[str, Any]:
        """Every slot like the parameters, copied; a `Flat`'s as its buffer."""
        if self._params.is_flat:
            return {name: buffer.copy() for name, buffer in self.slots.items()}
        return {
            name: self._params.like([x.copy() for x in self.tensors(name)], buffer)
            for name, buffer in self.slots.items()
        }


def header(optimizer: "Optimizer") -> dict[str, Any]:
    """What must be equal for a state to fit."""
    params = optimizer._parameters
    return {
        "format": FORMAT,
        "class": type(optimizer).__name__,
        "convention": optimizer.convention,
        "rule": optimizer.rule,
        "dtype": params.dtype.name,
        "structure": list(zip(params.names, params.shapes, strict=True)),
    }


def export(optimizer: "Optimizer", rule: Rule) -> dict[str, Any]:
    """Copy of the state as a dict."""
    counts = optimizer._table.counts
    return {
        **header(optimizer),
        "steps": optimizer.steps,
        "counts": counts["count"].copy(),
        "carry": counts["carry"][:, : len(rule.carry)].copy(),
        "state": optimizer._state.copies(),
    }


def restore(optimizer: "Optimizer", given: Mapping[str, Any], rule: Rule) -> None:
    """Check all of a dict, then take it over."""
    if not isinstance(given, Mapping):
        raise TypeError(f"`state` must be a dict from state_dict(), got {type(given).__name__}")
    expected = header(optimizer)
    keys = {*expected, "steps", "counts", "carry", "state"}
    if set(given) != keys:
        missing, unknown = sorted(keys - set(given)), sorted(set(map(str, given)) - keys)
        raise ValueError(f"`state` must have the keys of state_dict(), got no {missing} and unknown {unknown}")
    for key, need in expected.items():
        got = _structure(given[key]) if key == "structure" else given[key]
        if got != need:
            raise ValueError(f"`state[{key!r}]` must be {need!r}, got {got!r}")
    n = len(optimizer._parameters.names)
    steps = _count(given["steps"], "steps")
    counts = _numbers(given["counts"], "counts", np.dtype(np.int64), (n,))
    if not 0 <= counts.min() <= counts.max() <= LARGEST:
        raise ValueError(f"`state['counts']` must be from 0 to 2**62, got {counts.min()} to {counts.max()}")
    carry = _numbers(given["carry"], "carry", np.dtype(np.float64), (n, len(rule.carry)))
    if not np.isfinite(carry).all():
        raise ValueError("`state['carry']` must be finite")
    slots = given["state"]
    if not isinstance(slots, Mapping) or set(slots) != set(rule.slots):
        raise ValueError(f"`state['state']` must have {list(rule.slots)}, got {describe(slots)} {list(slots or [])}")
    # Copies, because what is given may be views of what is written.
    arrays = {
        name: [x.copy() for x in optimizer._parameters.per_tensor(slots[name], f"state['state'][{name!r}]", True)]
        for name in rule.slots
    }
    for name, tensors in arrays.items():
        for view, x in zip(optimizer._state.tensors(name), tensors, strict=True):
            view[...] = x
    optimizer._restore_counts(counts, carry, steps, None)


def _structure(value: Any) -> Any:
    """Names and shapes as tuples: JSON makes lists of them."""
    try:
        return [(name, tuple(shape)) for name, shape in value]
    except (TypeError, ValueError):
        return value


def _count(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"`state[{key!r}]` must be an integer, got {value!r}")
    if not 0 <= value <= LARGEST:
        raise ValueError(f"`state[{key!r}]` must be from 0 to 2**62, got {value!r}")
    return int(value)


def _numbers(value: Any, key: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        raise ValueError(f"`state[{key!r}]` must be {dtype}{list(shape)}, got {describe(value)}")
    return value
