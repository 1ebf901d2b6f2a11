"""What a step of an optimizer does, prepared for its parameters, state and options as they are now."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from operator import is_, itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from pyfastlr.engines.by_address import together
from pyfastlr.engines.hyper import BELOW_ONE, DECAYS, PAIRS, Range
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.rules import RULES

from .job import Job, Member, gradients_of, local
from .tensors import HALVES, names_of
from .watch import Objects

_params: Callable[[Any], Any] = itemgetter("params")
_REFUSED = {  # flags of torch that change what a step does, and why no step here can do it
    "capturable": "which is for graphs of a device",
    "differentiable": "because autograd cannot see inside a compiled step",
}


class Kind(NamedTuple):
    """What a class computes."""

    convention: str
    rule: Callable[[Mapping[str, Any]], str]  # from the values of a group
    numbers: tuple[str, ...]  # keys of a group, besides lr and weight_decay
    flags: tuple[str, ...] = ()
    decoupled: bool = False  # where a group does not say
    is_counted: bool = True
    carried: str | None = None  # key of the number in the state that is carried to the next update
    initial: tuple[tuple[str, str], ...] = ()  # slots, each with the argument that is its initial value


class Group(NamedTuple):
    """A group's rule, sign, and the numbers of its row."""

    rule: str
    maximize: bool
    row: dict[str, float]


def keys_of(kind: Kind, defaults: Mapping[str, Any]) -> list[str]:
    """Keys of a group that a step reads. Some flags exist only in newer versions of torch."""
    flags = ("maximize", "decoupled_weight_decay", *_REFUSED, *kind.flags)
    return ["lr", "weight_decay", *kind.numbers, *(key for key in flags if key in defaults)]


def number(value: Any, name: str) -> float:
    """Number of a group, which may be a tensor with one element."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool | str) or not hasattr(value, "__float__") or isinstance(value, torch.Tensor):
        raise TypeError(f"`{name}` must be a finite number, got {value!r:.60}")
    if not math.isfinite(value):
        raise ValueError(f"`{name}` must be a finite number, got {value!r}")
    return float(value)


def checked_number(value: Any, name: str, allowed: Range) -> float:
    """Check an argument of a class that torch does not have."""
    found = number(value, name)
    if not allowed.low <= found <= allowed.high:
        raise ValueError(f"`{name}` must be {allowed.words}, got {value!r}")
    return found


def checked_pair(values: Any, name: str, allowed: Range) -> None:
    """Check an argument with two numbers."""
    if not isinstance(values, list | tuple) or len(values) != 2:
        raise TypeError(f"`{name}` must be a pair of numbers, got {values!r:.60}")
    for k, value in enumerate(values):
        checked_number(value, f"{name}[{k}]", allowed)


def checked_group(kind: Kind, keys: Sequence[str], values: Sequence[Any], label: str) -> Group:
    """Check the values of a group, and say what it does."""
    given = dict(zip(keys, values, strict=True))
    for flag, why in _REFUSED.items():
        if given.get(flag):
            raise ValueError(f"`{label}[{flag!r}]` must be False, {why}, got {given[flag]!r}")
    row: dict[str, float] = {}
    for key in ("lr", "weight_decay", *kind.numbers):
        if key not in PAIRS:
            row[key] = given[key] = number(given[key], f"{label}[{key!r}]")
            continue
        pair = given[key]
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise TypeError(f"`{label}[{key!r}]` must be a pair of numbers, got {pair!r:.60}")
        for k, field in enumerate(PAIRS[key]):
            row[field] = checked_number(pair[k], f"{label}[{key!r}][{k}]", BELOW_ONE)
    row["decay"] = DECAYS["decoupled" if given.get("decoupled_weight_decay", kind.decoupled) else "coupled"]
    return Group(kind.rule(given), bool(given.get("maximize", False)), row)


def initial_of(kind: Kind, defaults: Mapping[str, Any]) -> dict[str, float]:
    """Values of the state before the first update. As in torch, a group has no value of its own."""
    return {slot: number(defaults[key], key) for slot, key in kind.initial}


def _lengths(groups: Sequence[Any]) -> list[int]:
    return list(map(len, map(_params, groups)))


def _label(k: int) -> str:
    return f"param_groups[{k}]"


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether a group has no tensors as numbers."""
    parts = chain.from_iterable(x if isinstance(x, list | tuple) else (x,) for x in values)
    return not any(isinstance(x, torch.Tensor) for x in parts)


class Plan:
    """The jobs of an optimizer. It holds until a parameter, a state tensor or the kind of a group changes."""

    def __init__(self, optimizer: Any, kind: Kind, values: list[tuple[Any, ...]], keys: Sequence[str]) -> None:
        groups, state = optimizer.param_groups, optimizer.state
        self._kind, self._keys, self._state = kind, keys, state
        self.params = list(chain.from_iterable(map(_params, groups)))
        # Another dtype of the same size, at the same address, is not seen otherwise.
        self._halves = [(p, p.dtype) for p in self.params if p.dtype in HALVES]
        self._lengths = _lengths(groups)
        self._locals = list(map(local, self.params))
        self._has_wrappers = any(x is not p for x, p in zip(self._locals, self.params, strict=True))
        self._threads = torch.get_num_threads()
        self._values: list[tuple[Any, ...]] = []
        self._groups = self._checked(values)
        gradients = gradients_of(self.params, self._has_wrappers)
        initial = initial_of(kind, optimizer.defaults)
        owners = chain.from_iterable([row] * len(group["params"]) for row, group in enumerate(groups))
        self._new_entries: list[tuple[Any, dict[str, Any]]] = []
        found: dict[tuple[str, bool, Any], list[tuple[int, Member]]] = {}
        for k, (p, name, row, g) in enumerate(zip(self.params, names_of(groups), owners, gradients, strict=True)):
            rule, maximize, _ = self._groups[row]
            slots = RULES[rule].state_names
            has_state = bool(slots or kind.is_counted or p.dtype in HALVES)
            if g is None and not (has_state and state.get(p)):
                continue  # torch makes state at the first gradient
            entry = state.get(p) if has_state else {}
            if entry is None:
                entry = {}
                self._new_entries.append((p, entry))
            member = Member(p, name, row, entry)
            found.setdefault((rule, maximize, member.p.dtype), []).append((k, member))
        threads = min(pool.default_threads(), self._threads)
        self.jobs = [
            Job(rule, kind.convention, maximize, [x for _, x in members], kind.is_counted, kind.carried, initial,
                len(groups), threads)
            for (rule, maximize, _), members in found.items()
        ]  # fmt: skip
        self._places = [[k for k, _ in members] for members in found.values()]
        inside = set(chain.from_iterable(self._places))
        self._outside = [k for k in range(len(self.params)) if k not in inside]
        self._is_simple = self._places == [list(range(len(self.params)))]
        self._same_params, self._same_entries = Objects(self.params).are, Objects(list(state.values())).are
        ranges = sorted(chain.from_iterable(job.written() for job in self.jobs))
        for (_, end, one), (start, _, other) in pairwise(ranges):
            if start < end:
                raise ValueError(f"`{one}` and `{other}` must not share memory, in parameters or state")
        self._starts, self._ends = (np.array([x[k] for x in ranges], np.int64) for k in range(2))
        self._fill_rows()
        self._values = values

    # --- Is it still right? -------------------------------------------------------------------------------------------

    def is_current(self, groups: Sequence[Any], state: Any, values: list[tuple[Any, ...]]) -> bool:
        """Whether the plan still holds. Numbers of the groups that have changed are taken over."""
        params = list(chain.from_iterable(map(_params, groups)))
        if not self._same_params(params) or _lengths(groups) != self._lengths:
            return False
        if self._has_wrappers and not all(map(is_, map(local, params), self._locals)):
            return False
        if any(p.dtype is not dtype for p, dtype in self._halves):
            return False
        if state is not self._state or torch.get_num_threads() != self._threads:
            return False
        if not self._same_entries(list(state.values())) or not all(job.is_current() for job in self.jobs):
            return False
        if self._is_same(values):
            return True
        new = self._checked(values)
        if any(a.rule != b.rule or a.maximize != b.maximize for a, b in zip(new, self._groups, strict=True)):
            return False
        self._groups = new
        self._fill_rows()
        self._values = values
        return True

    def _is_same(self, values: list[tuple[Any, ...]]) -> bool:
        """Whether the groups have the numbers that the rows have. Tensors are read again: they may change in place."""
        try:
            return self._are_plain and values == self._values
        except RuntimeError:  # a tensor with several elements
            return False

    def _checked(self, values: Sequence[Sequence[Any]]) -> list[Group]:
        self._are_plain = all(map(_is_plain, values))
        return [checked_group(self._kind, self._keys, x, _label(k)) for k, x in enumerate(values)]

    def _fill_rows(self) -> None:
        for job in self.jobs:
            for k in {x.row for x in job.members}:
                job.step.set_row(k, self._groups[k].row)

    # --- The step -----------------------------------------------------------------------------------------------------

    def bind(self) -> bool | None:
        """Take the gradients. Return whether there are any; None: the plan does not fit them, so plan anew.

        Then a parameter has its first gradient, or another shape than it had.
        """
        gradients = gradients_of(self.params, self._has_wrappers)
        if self._is_simple:
            return self.jobs[0].bind(gradients, self._starts, self._ends)
        if any(gradients[k] is not None for k in self._outside):
            return None
        parts = [[gradients[k] for k in places] for places in self._places]
        found = [job.bind(part, self._starts, self._ends) for job, part in zip(self.jobs, parts, strict=True)]
        return None if None in found else any(found)

    def run(self, inv_scale: float, after: Sequence[Callable[[], Any]]) -> None:
        """Make the step of all jobs, and these calls after it, by one call of C."""
        for job in self.jobs:
            job.take_scalars()
        # Entries first: torch's hash of a tensor is Python code, where an interrupt may come. Then they are empty.
        entries = [partial(self._state.__setitem__, p, entry) for p, entry in self._new_entries]
        together([*entries, *chain.from_iterable(job.calls(inv_scale) for job in self.jobs), *after])
        if entries:
            self._new_entries, self._same_entries = [], Objects(list(self._state.values())).are
        for job in self.jobs:
            job.finish()
