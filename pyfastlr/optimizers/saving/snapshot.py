"""Convert the state of an optimizer to a dict and back. Everything is checked before anything is written."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, describe, operand
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.schedules.controller import saved_state, trial
from pyfastlr_kernels import tables
from pyfastlr_kernels.rules import RULES

from . import options
from .options import LARGEST, count

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

VERSION = 3  # of the format of `state_dict`
# Keys that a version adds to the earlier ones, each with the value to use for an earlier version.
_ADDED: dict[int, dict[str, Any]] = {1: {}, 2: {"controllers": []}, 3: options.ABSENT}
_KEYS = ("format", "class", "convention", "rule", "dtype", "structure", "steps", "counts", "carry", "state")


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
        **options.export(optimizer, live),
    }


def counts_of(counts: Any, carry: Any) -> Array:
    """Table of counts and carries, to copy over an optimizer's."""
    table = np.zeros(len(counts), tables.COUNT)
    table["count"] = counts
    table["carry"][:, : carry.shape[1]] = carry
    return table


# --- Reading a dict: everything is checked and put into the optimizer's order before anything is written --------------


def checked(optimizer: "Optimizer", given: Any) -> list[tuple[Any, Array]]:
    """Check a `state_dict`, and pair the optimizer's arrays with its values for them."""
    if not isinstance(given, Mapping):
        raise TypeError(f"`state` must be a dict from state_dict(), got {describe(given)}")
    given = _upgraded(given)
    need = header(optimizer)
    for key in ("class", "convention", "rule", "dtype"):
        if given[key] != need[key]:
            raise ValueError(f"`state[{key!r}]` must be {need[key]!r}, got {given[key]!r}")
    structure = _structure(given["structure"])
    order = _order(structure, need["structure"])
    rule, n = RULES[optimizer.rule], len(order)
    steps = count(given["steps"], "state['steps']")
    counts = _numbers(given["counts"], "counts", np.dtype(np.int64), (n,))
    if not 0 <= counts.min() <= counts.max() <= LARGEST:
        raise ValueError(f"`state['counts']` must be from 0 to 2**62, got {counts.min()} to {counts.max()}")
    carry = _numbers(given["carry"], "carry", np.dtype(np.float64), (n, len(rule.carry)))
    if not np.isfinite(carry).all():
        raise ValueError(f"`state['carry']` must be finite, got {carry[~np.isfinite(carry)][0]}")
    slots = given["state"]
    if not isinstance(slots, Mapping) or set(slots) != set(rule.state_names):
        names = list(rule.state_names)
        raise ValueError(f"`state['state']` must have the keys {names}, got {describe(slots)} {list(slots or [])}")
    pairs: list[tuple[Any, Array]] = []
    for name in rule.state_names:
        dtype = optimizer._state.buffers[name].dtype
        tensors = _tensors(optimizer._parameters, dtype, slots[name], f"state['state'][{name!r}]", structure, order)
        # Copies, because the given arrays may be views of those that are written.
        pairs += [(x, y.copy()) for x, y in zip(optimizer._state.tensors(name), tensors, strict=True)]
    pairs += options.checked(
        optimizer, given, order,
        lambda x, label: _tensors(optimizer._parameters, optimizer._parameters.dtype, x, label, structure, order),
    )  # fmt: skip
    return [*pairs, *optimizer._progress_pairs(counts_of(counts[order], carry[order]), steps, float("nan"))]


def controllers(optimizer: "Optimizer", given: Any) -> list[tuple[Any, Any]]:
    """Controllers of the optimizer, each with its saved state. Those without a saved state are left out."""
    there = optimizer._hyper.controllers()
    found: dict[int, tuple[Any, Any]] = {}
    entries = _upgraded(given)["controllers"]
    if not isinstance(entries, list | tuple):
        raise TypeError(f"`state['controllers']` must be a list, got {entries!r:.60}")
    for entry in entries:
        if not isinstance(entry, Mapping) or set(entry) != {"group", "name", "state"}:
            raise ValueError(f"`state['controllers']` must have entries with group, name and state, got {entry!r:.60}")
        controller = next(
            (c for (row, name), c in there.items() if [row, name] == [entry["group"], entry["name"]]), None
        )
        if controller is None:
            kind = entry["state"].get("type") if isinstance(entry["state"], Mapping) else None
            places = [f"{name!r} of group {row}" for row, name in there]
            raise ValueError(
                f"`state['controllers']` needs a controller for {entry['name']!r} of group {entry['group']}, {kind}, "
                f"got {places or 'no controller'}: give the optimizer one there"
            )
        found[id(controller)] = controller, entry["state"]
    pairs = list(found.values())
    for controller, state in pairs:
        trial(controller, state)
    return pairs


def _upgraded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a dict of any version to the keys of this version."""
    version = given.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
        raise ValueError(
            f"`state['format']` must be an integer from 1 to {VERSION}, a version that this pyfastlr reads, got "
            f"{version!r}"
        )
    added = {key: value for k in range(version + 1, VERSION + 1) for key, value in _ADDED[k].items()}
    keys = {*_KEYS, *(key for k in range(1, version + 1) for key in _ADDED[k])}
    if set(given) != keys:
        missing, unknown = sorted(keys - set(given)), sorted(set(map(str, given)) - keys)
        raise ValueError(
            f"`state` must have the keys of state_dict(), got missing keys {missing} and unknown keys {unknown}"
        )
    return {**added, **given}


def _structure(value: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes as tuples, which JSON turns into lists."""
    try:
        return [(str(name), tuple(int(length) for length in shape)) for name, shape in value]
    except (TypeError, ValueError):
        raise ValueError(f"`state['structure']` must be a list of names and shapes, got {value!r}") from None


def _order(found: Sequence[tuple[str, tuple[int, ...]]], need: Sequence[tuple[str, tuple[int, ...]]]) -> list[int]:
    """Index of each needed tensor among those found."""
    places = {entry: k for k, entry in enumerate(found)}
    if len(places) != len(found) or set(places) != set(need):
        raise ValueError(f"`state['structure']` must be {_shown(need)}, got {_shown(found)}")
    return [places[entry] for entry in need]


def _shown(structure: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """Names and shapes in an error. A single array has no name."""
    if [name for name, _ in structure] == [""]:
        return f"a single array of shape {structure[0][1]}"
    return repr(list(structure))


def _tensors(
    params: Parameters,
    dtype: "np.dtype[Any]",
    value: Any,
    label: str,
    structure: Sequence[tuple[str, tuple[int, ...]]],
    order: list[int],
) -> list[Array]:
    """Arrays, 1-D and in the optimizer's order, from any kind of container like the parameters or from one buffer."""
    sizes = [int(np.prod(shape, dtype=np.int64)) for _, shape in structure]
    if isinstance(value, Flat):
        value = value.buffer
    if tree.kind_of(value) == "leaf":
        if len(structure) == 1 and np.shape(value) == structure[0][1]:
            return [operand(value, label, dtype, structure[0][1]).reshape(-1)]
        whole = operand(value, label, dtype, [sum(sizes)])
        starts = list(accumulate(sizes, initial=0))
        return [whole[starts[k] : starts[k] + sizes[k]] for k in order]
    found = _by_name(params, value, label, {name for name, _ in structure})
    return [
        operand(found[structure[k][0]], tree.label(label, structure[k][0]), dtype, structure[k][1]).reshape(-1)
        for k in order
    ]


def _by_name(params: Parameters, value: Any, label: str, need: set[str]) -> dict[str, Any]:
    """Leaves by name, of a container like the parameters or of any other container with these names."""
    try:
        return dict(zip(params.names, tree.match(params.node, value, label), strict=True))
    except (TypeError, ValueError):
        _, names, leaves = tree.flatten(value, label)
        if set(names) != need:
            raise
        return dict(zip(names, leaves, strict=True))


def _numbers(value: Any, key: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        raise ValueError(f"`state[{key!r}]` must be {dtype}{list(shape)}, got {describe(value)}")
    return value
