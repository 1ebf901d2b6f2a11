"""Read a `state_dict`: everything is checked and put into the optimizer's order before anything is written."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array, address_range, describe
from pyfastlr.engines.extras import merged
from pyfastlr.engines.halves import SLOTS
from pyfastlr.engines.hyper import AT_LEAST_ZERO, number
from pyfastlr.engines.settings import Settings
from pyfastlr.schedules.controller import trial
from pyfastlr_kernels import tables
from pyfastlr_kernels.rules import RULES

from . import hyperparameters, options
from .files import Saved
from .matching import Loaded, Match, numbers
from .options import LARGEST, count
from .packed import has_packed, packed_pairs
from .plain import TOO_DEEP, short
from .snapshot import ADDED, KEYS, VERSION, header

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

_DTYPES = ("float32", "float64")


class Checked(NamedTuple):
    """What a state writes into an optimizer."""

    pairs: list[tuple[Any, Any]]  # arrays of the optimizer, each with its new values
    controllers: list[tuple[Any, Any]]  # controllers, each with its state
    settings: Settings | None  # hyperparameters; None to keep them
    loaded: Loaded


def checked(optimizer: "Optimizer", given: Any, hyper: bool = True, strict: bool = True, cast: bool = False) -> Checked:
    """Check a `state_dict` for an optimizer. The caller has the optimizer's lock. Nothing is changed."""
    for name, value in (("hyperparameters", hyper), ("strict", strict), ("cast", cast)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"`{name}` must be True or False, got {short(value)}")
    if not isinstance(given, Mapping):
        raise TypeError(f"`state` must be a dict from state_dict(), got {describe(given)}{_advice(given)}")
    try:
        return _checked(optimizer, upgraded(given), hyper, strict, cast)
    except RecursionError:
        raise ValueError(f"`state` {TOO_DEEP}") from None


def _advice(given: Any) -> str:
    """End of the error for what was passed instead of a state."""
    if isinstance(given, str | os.PathLike):
        return ": load(path) reads a file"
    return ": pass its attribute `state`" if isinstance(given, Saved) else ""


def _checked(optimizer: "Optimizer", given: dict[str, Any], hyper: bool, strict: bool, cast: bool) -> Checked:
    _check_header(optimizer, given, cast)
    match = Match(optimizer._parameters, given["structure"], np.dtype(given["dtype"]), strict)
    pairs = _state_pairs(optimizer, given, match, cast)
    pairs += options.checked(optimizer, given, match)
    pairs = [(x, y) for x, y in pairs if y is not None]
    pairs += _progress_pairs(optimizer, given, match)
    saved, settings, rows = given["hyperparameters"], None, None
    if saved is not None:
        rows = hyperparameters.rows_of(optimizer, saved, match.names, exact=hyper)
    if hyper and saved is not None and rows is not None:
        if given["maximize"] is not optimizer.maximize:
            raise ValueError(
                f"`state['maximize']` must be {optimizer.maximize}, got {short(given['maximize'])}: its gradients had "
                f"the other sign; hyperparameters=False loads it all the same"
            )
        settings = hyperparameters.checked(optimizer, saved, rows)
    return Checked(_without_overlap(pairs), _controllers(optimizer, given, rows, hyper), settings, match.loaded)


def upgraded(given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a dict of any version to the keys of this version."""
    version = given.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
        raise ValueError(
            f"`state['format']` must be an integer from 1 to {VERSION}, a version that this pyfastlr reads, got "
            f"{short(version)}"
        )
    added = {key: value for k in range(version + 1, VERSION + 1) for key, value in ADDED[k].items()}
    keys = {*KEYS, *(key for k in range(1, version + 1) for key in ADDED[k])}
    if set(given) != keys:
        missing, unknown = sorted(keys - set(given)), sorted(map(str, set(given) - keys))
        raise ValueError(
            f"`state` must have the keys of state_dict(), got missing keys {missing} and unknown keys {unknown}"
        )
    return {**added, **given}


def _check_header(optimizer: "Optimizer", given: Mapping[str, Any], cast: bool) -> None:
    need = header(optimizer)
    for key in ("class", "convention", "rule", "dtype"):
        if key == "dtype" and isinstance(given[key], str) and given[key] in _DTYPES:
            if cast or given[key] == need[key]:
                continue
            raise ValueError(f"`state['dtype']` must be {need[key]!r}, got {given[key]!r}: cast=True converts it")
        if not isinstance(given[key], str) or given[key] != need[key]:
            raise ValueError(f"`state[{key!r}]` must be {need[key]!r}, got {short(given[key])}")


def _state_pairs(optimizer: "Optimizer", given: Mapping[str, Any], match: Match, cast: bool) -> list[tuple[Any, Any]]:
    own, slots = optimizer._state.slots, given["state"]
    if cast and isinstance(slots, Mapping):  # what only parameters of 16 bits have is made anew, or left out
        slots = {name: x for name, x in slots.items() if name not in SLOTS or name in optimizer._state.formats}
        own = tuple(slot for slot in own if slot.name not in SLOTS or slot.name in slots)
    names = [slot.name for slot in own]
    if not isinstance(slots, Mapping) or set(slots) != set(names):
        raise ValueError(
            f"`state['state']` must have the keys {names}, got {describe(slots)} "
            f"{short(list(slots) if isinstance(slots, Mapping) else '')}"
        )
    pairs: list[tuple[Any, Any]] = optimizer._state.fresh(optimizer._state.formats.keys() - {*names})
    for slot in own:
        dtype, label = None if slot.storage is None else np.dtype(slot.storage), f"state['state'][{slot.name!r}]"
        if optimizer._state.is_packed(slot.name) or has_packed(slots[slot.name]):
            pairs += packed_pairs(optimizer._state, slot.name, match.leaves(slots[slot.name], label), label, cast)
            continue
        tensors = match.tensors(slots[slot.name], label, dtype)
        pairs += zip(optimizer._state.tensors(slot.name), tensors, strict=True)
    return pairs


def _progress_pairs(optimizer: "Optimizer", given: Mapping[str, Any], match: Match) -> list[tuple[Any, Any]]:
    n, rule, current = len(match.names), RULES[optimizer.rule], optimizer._state.counts
    steps = count(given["steps"], "state['steps']")
    counts = numbers(given["counts"], "counts", np.dtype(np.int64), (n,))
    if not 0 <= counts.min() <= counts.max() <= LARGEST:
        raise ValueError(f"`state['counts']` must be from 0 to 2**62, got {counts.min()} to {counts.max()}")
    carry = numbers(given["carry"], "carry", np.dtype(np.float64), (n, len(rule.carry)))
    if not np.isfinite(carry).all():
        raise ValueError(f"`state['carry']` must be finite, got {carry[~np.isfinite(carry)][0]}")
    table = np.zeros(len(current), tables.COUNT)
    table["count"] = match.taken(counts, current["count"])
    table["carry"] = current["carry"]
    table["carry"][:, : carry.shape[1]] = match.taken(carry, current["carry"][:, : carry.shape[1]])
    return optimizer._progress_pairs(table, steps, _used_lr(given["used_lr"]))


def _used_lr(value: Any) -> float:
    """Rate of the last update, NaN for none."""
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise TypeError(f"`state['used_lr']` must be a number or None, got {short(value)}")
    return number(value, "state['used_lr']", AT_LEAST_ZERO)


def _controllers(
    optimizer: "Optimizer", given: Mapping[str, Any], rows: Mapping[int, int] | None, hyper: bool
) -> list[tuple[Any, Any]]:
    """Controllers of the optimizer, each with its saved state. Those without a saved state are left out.

    `rows` has the optimizer's group for each saved group; without it, both have the same number. If the optimizer keeps
    its own hyperparameters (not `hyper`), a saved controller that has none of its kind there is left out.
    """
    there = optimizer._hyper.controllers()
    found: dict[int, tuple[Any, Any]] = {}
    entries = given["controllers"]
    if not isinstance(entries, list | tuple):
        raise TypeError(f"`state['controllers']` must be a list, got {short(entries)}")
    for entry in entries:
        if not isinstance(entry, Mapping) or set(entry) != {"group", "name", "state"}:
            raise ValueError(f"`state['controllers']` must have entries with group, name and state, got {short(entry)}")
        group, name = entry["group"], entry["name"]
        named = type(group) is int and isinstance(name, str)
        if named and rows is not None and 0 <= group < len(given["hyperparameters"]):
            if group not in rows:
                continue  # of arrays that the optimizer does not have
            group = rows[group]
        controller = there.get((group, name)) if named else None
        kind = entry["state"].get("type") if isinstance(entry["state"], Mapping) else None
        # A kind that is no name is damage, which `trial` refuses.
        fits = controller is not None and (not isinstance(kind, str) or kind == hyperparameters.kind_of(controller))
        if named and rows is not None and not (hyper or fits):
            continue
        if controller is None:
            places = [f"{x!r} of group {row}" for row, x in there]
            raise ValueError(
                f"`state['controllers']` needs a controller for {short(name)} of group "
                f"{short(entry['group'])}, {short(kind)}, got {places or 'no controller'}: give the optimizer one there"
            )
        found[id(controller)] = controller, entry["state"]
    pairs = list(found.values())
    for controller, state in pairs:
        trial(controller, state)
    return pairs


def _without_overlap(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Copy the values that lie in arrays which are written. All others are only read, however large the state is."""
    written = merged(address_range(x) for x, _ in pairs if isinstance(x, np.ndarray) and x.size)
    starts = np.array([start for start, _ in written], np.int64)

    def is_apart(y: Array) -> bool:
        if not (y.size and y.flags.c_contiguous):
            return True  # it is copied when it is written
        start, end = address_range(y)
        k = int(np.searchsorted(starts, end)) - 1  # the last range that starts before the end
        return k < 0 or written[k][1] <= start

    return [(x, y if is_apart(y) else y.copy()) for x, y in pairs]
