"""The arrays of a saved state, by name, for the arrays of an optimizer."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, describe, operand
from pyfastlr.arrays.parameters import Parameters

from .plain import short

Structure = Sequence[tuple[str, tuple[int, ...]]]  # names and shapes


class Loaded(NamedTuple):
    """What `load_state_dict` left out: names of arrays. Both are empty, except with ``strict=False``.

    Attributes
    ----------
    missing : tuple of str
        Arrays of the optimizer that the state does not have. They keep their state and counts.
    unexpected : tuple of str
        Arrays of the state that the optimizer does not have.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.Adam({"body": np.ones(2), "old": np.ones(3)}, lr=0.1)
    >>> opt.step({"body": np.ones(2), "old": np.ones(3)})
    >>> other = flr.Adam({"body": np.ones(2), "new": np.ones(4)}, lr=0.1)
    >>> other.load_state_dict(opt.state_dict(), strict=False)
    Loaded(missing=('new',), unexpected=('old',))
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


class Match:
    """Where the optimizer's arrays are in a saved state.

    Parameters
    ----------
    params
        The optimizer's.
    saved
        Names and shapes in the state.
    dtype
        Of the state.
    strict
        Whether both must have the same names.

    Attributes
    ----------
    places
        For each array of the optimizer, its index in the state, or None.
    """

    def __init__(self, params: Parameters, saved: Any, dtype: Any, strict: bool) -> None:
        self._params, self._saved, self._dtype = params, _structure(saved), dtype
        need = list(zip(params.names, params.shapes, strict=True))
        found = {name: k for k, (name, _) in enumerate(self._saved)}
        self.places = [found.get(name) for name in params.names]
        missing = tuple(name for name, k in zip(params.names, self.places, strict=True) if k is None)
        known = set(params.names)
        unexpected = tuple(name for name in found if name not in known)
        wrong = [x for x, k in zip(need, self.places, strict=True) if k is not None and self._saved[k] != x]
        if len(found) != len(self._saved):
            raise ValueError(f"`state['structure']` must have each name once, got {short(self.names)}")
        if len(missing) == len(need):
            raise ValueError(
                f"`state['structure']` must have an array of the optimizer, {_shown(need)}, got {_shown(self._saved)}"
            )
        if strict and (missing or unexpected):
            raise ValueError(
                f"`state['structure']` must have the arrays of the optimizer, got missing names {short(list(missing))} "
                f"and unknown names {short(list(unexpected))}: strict=False loads the arrays that both have"
            )
        if wrong:
            name, shape = wrong[0]
            what = f"have {name!r}" if name else "be a single array"
            raise ValueError(f"`state['structure']` must {what} of shape {shape}, got {self._saved[found[name]][1]}")
        self.loaded = Loaded(missing, unexpected)

    @property
    def names(self) -> list[str]:
        """Names in the state."""
        return [name for name, _ in self._saved]

    def taken(self, values: Array, current: Array) -> Array:
        """Entries of a table with one per array, in the optimizer's order. Missing arrays keep the current ones."""
        result = current.copy()
        for k, place in enumerate(self.places):
            if place is not None:
                result[k] = values[place]
        return result

    def tensors(self, value: Any, label: str, dtype: Any = None) -> list[Array | None]:
        """Arrays of a container of any kind, 1-D and in the optimizer's order, as `dtype` (the parameters')."""
        of_state = self._dtype if dtype is None else dtype
        wanted = self._params.dtype if dtype is None else dtype
        found = self._named(value, label, of_state)
        return [
            None if k is None else cast_to(found[k].reshape(-1), wanted, tree.label(label, self._saved[k][0]))
            for k in self.places
        ]

    def leaves(self, value: Any, label: str) -> list[tuple[str, Any] | None]:
        """Name and array, whatever it is, of each array of the optimizer; None for one that the state lacks."""
        if isinstance(value, Flat):
            value = value.buffer
        shapes = [shape for _, shape in self._saved]
        is_packed = hasattr(value, "codes")  # its own shape is checked later
        if tree.kind_of(value) == "leaf" and not (len(shapes) == 1 and (is_packed or np.shape(value) == shapes[0])):
            found: Sequence[Any] = self._named(value, label, self._dtype)
            found = [x.reshape(shape) for x, shape in zip(found, shapes, strict=True)]
        elif tree.kind_of(value) == "leaf":
            found = [value]
        else:
            given = self._leaves(value, label)
            self._check_names(given, label)
            found = [given[name] for name in self.names]
        return [None if k is None else (self._saved[k][0], found[k]) for k in self.places]

    def _check_names(self, given: Mapping[str, Any], label: str) -> None:
        if set(given) != set(self.names):
            missing, unknown = [x for x in self.names if x not in given], [x for x in given if x not in self.names]
            raise ValueError(
                f"`{label}` must have the arrays of the state, got missing keys {missing} and unknown keys {unknown}"
            )

    def _named(self, value: Any, label: str, dtype: Any) -> Sequence[Array]:
        """The state's arrays in its own order, checked. The container may be nested in any way that has these names."""
        shapes = [shape for _, shape in self._saved]
        if isinstance(value, Flat):
            value = value.buffer
        if tree.kind_of(value) == "leaf":
            if len(shapes) == 1 and np.shape(value) == shapes[0]:
                return [operand(value, label, dtype, shapes[0])]
            sizes = list(map(prod, shapes))
            whole = operand(value, label, dtype, [sum(sizes)])
            return [whole[a : a + n] for a, n in zip(accumulate(sizes, initial=0), sizes, strict=False)]
        given = self._leaves(value, label)
        self._check_names(given, label)
        return [operand(given[name], tree.label(label, name), dtype, shape) for name, shape in self._saved]

    def _leaves(self, value: Any, label: str) -> dict[str, Any]:
        """Leaves by name: of a container like the parameters, or of any other."""
        try:
            return dict(zip(self._params.names, tree.match(self._params.node, value, label), strict=True))
        except (TypeError, ValueError):
            _, names, leaves = tree.flatten(value, label)
            return dict(zip(names, leaves, strict=True))


def _structure(value: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes as tuples, which JSON turns into lists."""
    try:
        return [(str(name), tuple(int(length) for length in shape)) for name, shape in value]
    except (TypeError, ValueError):
        raise ValueError(f"`state['structure']` must be a list of names and shapes, got {short(value)}") from None


def _shown(structure: Structure) -> str:
    """Names in an error. A single array has no name."""
    if [name for name, _ in structure] == [""]:
        return f"a single array of shape {structure[0][1]}"
    return short([name for name, _ in structure])


def cast_to(x: Array, dtype: Any, label: str) -> Array:
    """Array as another dtype. An element that becomes infinite is an error."""
    if x.dtype == dtype:
        return x
    with np.errstate(over="ignore"):
        new = x.astype(dtype)
    if np.isinf(new).sum() > np.isinf(x).sum():
        too_large = x[np.isinf(new) & ~np.isinf(x)][0]
        raise ValueError(f"`{label}` must have numbers in the range of {np.dtype(dtype)}, got {too_large}")
    return new


def numbers(value: Any, key: str, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Array:
    """Check a table of numbers."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        raise ValueError(f"`state[{key!r}]` must be {dtype}{list(shape)}, got {describe(value)}")
    return value


def mapping(value: Any, key: str, keys: Sequence[str]) -> Mapping[str, Any]:
    """Check a dict, or None."""
    if not isinstance(value, Mapping) or set(value) != {*keys}:
        raise ValueError(f"`state[{key!r}]` must be None or have the keys {list(keys)}, got {short(value)}")
    return value
