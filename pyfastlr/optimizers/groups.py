"""Groups: hyperparameters for some of the parameters."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from pyfastlr.engines.settings import Hyperparameters


class Group(MutableMapping[str, Any]):
    """Hyperparameters of some of the parameters: the group's own, or else the base group's.

    A dict with a fixed set of keys. ``group["lr"] = 1e-4`` is checked at once and takes effect at the next step.
    ``group["lr"]`` is the number or schedule that was set. ``opt.lrs`` has the rates for the next update.
    ``group["params"]`` has the names of the arrays; a single array has no name, so it has the index 0.
    """

    __slots__ = ("_hyper", "_label", "_names", "_row")

    def __init__(self, hyper: Hyperparameters, row: int, names: Sequence[str]) -> None:
        self._hyper, self._row, self._names = hyper, row, tuple(name or 0 for name in names)
        self._label = f"groups[{row}]"  # in errors

    def __getitem__(self, key: str) -> Any:
        return self._names if key == "params" else self._hyper.get(self._row, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "params":
            raise ValueError(f"`{self._label}['params']` cannot be changed: build a new optimizer")
        self._hyper.assign(self._row, key, value, self._label)

    def __delitem__(self, key: str) -> None:
        raise ValueError(f"`{self._label}[{key!r}]` can be set but not removed")

    def __iter__(self) -> Iterator[str]:
        yield "params"
        hyper, row = self._hyper, self._row
        yield from filter(lambda key: hyper.has(row, key), hyper.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Group({dict(self)!r})"


def select(patterns: Any, names: Sequence[str], where: str) -> list[int]:
    """Indices of the arrays that a "params" matches: a name, glob, index or function, or a list of these."""
    listed = [patterns] if isinstance(patterns, str | int | np.integer) or callable(patterns) else patterns
    if isinstance(listed, np.ndarray) and listed.ndim == 1:
        listed = list(listed)
    if isinstance(patterns, bool | np.bool_) or not isinstance(listed, list | tuple) or not listed:
        raise TypeError(f"`{where}` must be a name, glob, index or function, or a list of these, got {patterns!r}")
    places = {name: k for k, name in enumerate(names)}
    chosen: dict[int, None] = {}
    for pattern in listed:
        if callable(pattern):
            found = [k for k, name in enumerate(names) if _accepts(pattern, name, where)]
        elif isinstance(pattern, bool | np.bool_) or not isinstance(pattern, str | int | np.integer):
            raise TypeError(f"`{where}` must contain names, globs, indices or functions, got {pattern!r}")
        elif isinstance(pattern, str):
            exact = places.get(pattern)
            found = [k for k, name in enumerate(names) if fnmatchcase(name, pattern)] if exact is None else [exact]
        else:
            found = [int(pattern)] if 0 <= pattern < len(names) else []
        if not found:
            need = "be 0, the index of the single array" if list(names) == [""] else f"match one of {list(names)}"
            raise ValueError(f"`{where}` must {need}, got {pattern!r}")
        doubled = [names[k] for k in found if k in chosen]
        if doubled:
            raise ValueError(f"`{where}` must match each array only once, got {doubled[0]!r} twice")
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def _accepts(test: Callable[[str], Any], name: str, where: str) -> bool:
    """Whether a user's function of a name says yes: anything but a bool is a mistake, such as a forgotten call."""
    try:
        answer = test(name)
    except Exception as error:
        error.add_note(f"`{where}` was called with {name!r}")
        raise
    if not isinstance(answer, bool | np.bool_):
        raise TypeError(f"`{where}` must return True or False, got {answer!r} for {name!r}")
    return bool(answer)


def membership(groups: Any, names: Sequence[str]) -> list[int]:
    """Group index of each array: 0 for the base group, k + 1 if `groups[k]` is the first that matches."""
    if not isinstance(groups, list | tuple) or not all(isinstance(group, Mapping) for group in groups):
        raise TypeError(f"`groups` must be a list of dicts, got {groups!r}")
    rows = [0] * len(names)
    for index, group in enumerate(groups):
        if "params" not in group:
            raise ValueError(f"`groups[{index}]` must have the key 'params', got {sorted(map(str, group))}")
        for k in select(group["params"], names, f"groups[{index}]['params']"):
            rows[k] = rows[k] or index + 1
    return rows
