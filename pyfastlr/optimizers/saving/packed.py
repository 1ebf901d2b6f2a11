"""Packed arrays of a saved state."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import describe, operand
from pyfastlr.engines import packed
from pyfastlr.engines.packed import FORMATS
from pyfastlr.engines.packed import PackedArray as PackedArray
from pyfastlr.engines.state import State
from pyfastlr_kernels.packing import E4M4, LINEAR, NATIVE

from .matching import cast_to
from .plain import short


def packed_pairs(
    state: State, slot: str, leaves: Sequence[tuple[str, Any] | None], label: str, cast: bool
) -> list[tuple[Any, Any]]:
    """Pair the arrays of a slot with the values for them. `leaves`: name and array of each tensor, None to keep it.

    An array in another format is refused, or with `cast` converted: unpacked, and rounded to nearest.
    """
    pairs: list[tuple[Any, Any]] = []
    for k, found in enumerate(leaves):
        if found is None:
            continue
        name, given = found
        where, kind, own = tree.label(label, name), state.formats[slot][k], state.leaf(slot, k)
        if cast:
            given = _converted(given, kind, own.shape, where)
        if kind == NATIVE:
            if isinstance(given, PackedArray):
                raise ValueError(f"`{where}` must be {own.dtype}, got {given.format}: cast=True converts it")
            pairs.append((own.reshape(-1), operand(given, where, own.dtype, own.shape).reshape(-1)))
            continue
        given = packed.checked(given, kind, own.shape, where)
        pairs.append((own.codes.reshape(-1), given.codes.reshape(-1)))
        if given.scales is not None:
            pairs.append((own.scales, np.ascontiguousarray(given.scales)))
    return pairs


def _converted(given: Any, kind: int, shape: tuple[int, ...], label: str) -> Any:
    if isinstance(given, PackedArray):
        packed.check_parts(given, shape, label)
        if FORMATS[given.format] == kind:
            return given
    elif not (isinstance(given, np.ndarray) and given.dtype.name in ("float32", "float64") and given.shape == shape):
        raise ValueError(f"`{label}` must be float32 or float64{list(shape)}, got {describe(given)}")
    elif kind == NATIVE:
        return cast_to(given, np.float32, label)
    numbers = cast_to(np.asarray(given), np.float32, label)
    if kind == NATIVE:
        return numbers
    if kind in (E4M4, LINEAR) and (numbers < 0).any():
        raise ValueError(f"`{label}` must have numbers >= 0, got {numbers[numbers < 0][0]}")
    return packed.packed_as(numbers, kind)


def has_packed(value: Any) -> bool:
    """Whether a container has packed arrays."""
    if isinstance(value, Flat) or tree.kind_of(value) == "leaf":
        return isinstance(value, PackedArray)
    return any(isinstance(x, PackedArray) for x in tree.flatten(value, "state")[2])


# --- In a flat state --------------------------------------------------------------------------------------------------


def stored(arrays: Mapping[str, Any]) -> dict[str, str]:
    """For each array of a slot, by name, its format, or its dtype if it is not packed."""
    return {name: x.format if isinstance(x, PackedArray) else x.dtype.name for name, x in arrays.items()}


def restored(value: Any, names: Sequence[str], label: str) -> dict[str, str]:
    """Check what `stored` returned."""
    known = (*FORMATS, "float32")
    if not isinstance(value, Mapping) or set(value) != {*names} or not all(x in known for x in value.values()):
        raise ValueError(f"`{label}` must have a format for each array, got {short(value)}")
    return dict(value)
