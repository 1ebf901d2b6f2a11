"""Groups of parameters with hyperparameters of their own, and the rates per element."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from . import _tree
from ._arrays import Array, describe
from ._hyper import CALLED, decay_kind, is_scalar, source, spread
from ._params import Parameters

Assign = Callable[["Group", dict[str, Any]], None]


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some of the parameters: its own, and the base group's where it has none.

    A dict with a fixed set of keys: ``group["lr"] = 1e-4`` is checked at once and takes effect at the next step.
    """

    def __init__(self, fields: Sequence[str], names: Sequence[str], base: "Group | None", assign: Assign) -> None:
        self.fields = (*fields, "decay")
        self.own: dict[str, Any] = {}
        self._names = tuple(names)
        self._base = base
        self._assign = assign

    def source(self, field: str) -> Any:
        """Number, schedule or callable of a field: its own, or the base group's."""
        return self.own[field] if field in self.own or self._base is None else self._base.source(field)

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of these arguments, each checked; an lr_scale per element is passed on as it is."""
        fields: dict[str, Any] = {}
        known = [key for key in self if key != "params"]
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"a group must have only {', '.join(map(repr, known))}, got {name!r}")
            for field, part in spread(name, value).items():
                if field == "decay":
                    fields[field] = decay_kind(part)
                elif field == "lr_scale" and not is_scalar(part):
                    fields[field] = part
                else:
                    fields[field] = source(part, field)
        return fields

    def __getitem__(self, key: str) -> Any:
        if key == "params":
            return self._names
        if key == "betas" and "beta1" in self.fields:
            return (self.source("beta1"), self.source("beta2"))
        if key not in self.fields or key in CALLED:
            raise KeyError(key)
        return self.source(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._assign(self, self.checked({key: value}))

    def __delitem__(self, key: str) -> None:
        raise ValueError(f"{key!r} of a group can be set, not removed")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from ("betas" if field == "beta1" else field for field in self.fields if field != "beta2")

    def __len__(self) -> int:
        return sum(1 for _ in iter(self))

    def __repr__(self) -> str:
        return f"Group({dict(self)!r})"


def select(patterns: Any, names: Sequence[str], index: int) -> list[int]:
    """Indices of the arrays that a group's "params" names: a glob, a name, an index, or a list of them."""
    where = f"groups[{index}]['params']"
    listed = [patterns] if isinstance(patterns, str | int) else patterns
    if isinstance(patterns, bool) or not isinstance(listed, list | tuple) or not listed:
        raise TypeError(f"`{where}` must be a name, glob or index, or a list of them, got {patterns!r}")
    chosen: list[int] = []
    for pattern in listed:
        if isinstance(pattern, bool) or not isinstance(pattern, str | int):
            raise TypeError(f"`{where}` must be names, globs or indices, got {pattern!r}")
        if isinstance(pattern, int):
            found = [pattern] if 0 <= pattern < len(names) else []
        else:
            found = [k for k, name in enumerate(names) if name == pattern]
            found = found or [k for k, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(f"`{where}` must match a parameter, got {pattern!r}; there are {list(names)}")
        doubled = [names[k] for k in found if k in chosen]
        if doubled:
            raise ValueError(f"`{where}` must name an array once, got {doubled[0]!r} twice")
        chosen += found
    return chosen


def membership(groups: Any, names: Sequence[str]) -> list[int]:
    """Group of each array: 0 is the base, k + 1 that of the first of `groups` that matches."""
    if not isinstance(groups, list | tuple) or not all(isinstance(group, Mapping) for group in groups):
        raise TypeError(f"`groups` must be a list of dicts, got {groups!r}")
    rows = [0] * len(names)
    for index, group in enumerate(groups):
        if "params" not in group:
            raise ValueError(f"`groups[{index}]` must have the key 'params', got {sorted(map(str, group))}")
        for k in select(group["params"], names, index):
            rows[k] = rows[k] or index + 1
    return rows


class Groups:
    """All groups of an optimizer, which of them each tensor is in, and the tensors' rates per element."""

    def __init__(
        self, params: Parameters, rows: Sequence[int], count: int, fields: Sequence[str], assign: Assign
    ) -> None:
        self._params = params
        self.rows = list(rows)
        self.scales: list[Array | None] = [None] * len(params.names)
        self.list: list[Group] = []
        for k in range(count):
            names = [name for name, row in zip(params.names, rows, strict=True) if row == k]
            self.list.append(Group(fields, names, self.list[0] if k else None, assign))

    def take(self, group: Group, fields: Mapping[str, Any]) -> None:
        """Take checked fields into a group."""
        if "lr_scale" in fields:
            self.scales = self.scales_with(group, fields["lr_scale"])
        group.own |= fields

    def scales_with(self, group: Group, value: Any) -> "list[Array | None]":
        """Rates per element after the group takes that lr_scale."""
        mine = [
            k
            for k, row in enumerate(self.rows)
            if self.list[row] is group or (group is self.list[0] and "lr_scale" not in self.list[row].own)
        ]
        scales = list(self.scales)
        if is_scalar(value):
            arrays: list[Any] = [None] * len(scales)
        elif group is self.list[0]:
            arrays = list(self._params.per_tensor(value, "lr_scale"))
        else:
            arrays = self._of_group(group, value)
        for k in mine:
            scales[k] = _rates(arrays[k], _tree.label("lr_scale", self._params.names[k]))
        return scales

    def _of_group(self, group: Group, value: Any) -> "list[Array | None]":
        names = group["params"]
        given = dict(value) if isinstance(value, Mapping) else {names[0]: value} if len(names) == 1 else {}
        if sorted(given) != sorted(names):
            raise ValueError(
                f"`lr_scale` of a group must be a number, or a dict with an array for each of {list(names)}, got "
                f"{describe(value)}"
            )
        places = dict(zip(self._params.names, self._params.shapes, strict=True))
        arrays = {
            name: self._params.operand(x, _tree.label("lr_scale", name), places[name]).reshape(-1)
            for name, x in given.items()
        }
        return [arrays.get(name) for name in self._params.names]


def _rates(x: Any, label: str) -> Any:
    if isinstance(x, np.ndarray) and not (np.isfinite(x).all() and (x >= 0).all()):
        raise ValueError(f"`{label}` must have only finite numbers >= 0, got {x[~(np.isfinite(x) & (x >= 0))][0]}")
    return x
