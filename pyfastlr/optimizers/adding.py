"""`Optimizer.add`: more arrays, a group of their own, in a running optimizer.

Every table is built anew for all arrays, beside the old ones, which are only read. Then one C call enters the arrays in
the user's container and replaces everything. A thread that is about to call the old launch finds it paused for ever,
and goes on with the new engine (`HostEngine.settle`).
"""

import copy
import operator
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import describe
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.engines.copies import CopyTo
from pyfastlr.engines.extras import Extras
from pyfastlr.engines.interface import engine_class
from pyfastlr.engines.lock import StepLock
from pyfastlr.engines.packed import check_state_dtype
from pyfastlr.engines.settings import Hyperparameters
from pyfastlr.engines.state import State
from pyfastlr_kernels.rules import RULES

from .groups import Group
from .saving.writing import check_outside

if TYPE_CHECKING:
    from .base import Optimizer

_SETTERS = (dict.__setitem__, OrderedDict.__setitem__)
REPLACED = -1  # `swapped` in the record of options of tables that are no longer in use


class _Entries:
    """A container with new entries at its end, and what enters them in it."""

    def __init__(self, container: Any, combined: Any, new: Any, argument: str) -> None:
        self.container = container
        if isinstance(combined, dict):
            if not isinstance(container, dict) or type(container).__setitem__ not in _SETTERS:
                raise TypeError(f"`add` needs {argument} in a dict or list, got {describe(container)}")
            if not isinstance(new, Mapping) or not new:
                raise TypeError(f"`{argument}` must be a dict with at least one new key, got {describe(new)}")
            for key in new:
                if key in container:
                    raise ValueError(f"`{argument}` must have new keys, got {key!r}, which the optimizer has")
            self.items = list(new.items())
            self.combined: Any = {**combined, **new}
            return
        if not isinstance(container, list) or type(container).__iadd__ is not list.__iadd__:
            raise TypeError(f"`add` needs {argument} in a dict or list, got {describe(container)}")
        if not isinstance(new, list | tuple) or not new:
            raise TypeError(f"`{argument}` must be a list with at least one array, got {describe(new)}")
        self.items, self.combined = list(new), [*combined, *new]

    def calls(self) -> Iterator[Any]:
        """Iterator that enters them, in C code alone."""
        if isinstance(self.container, dict):
            keys, values = [key for key, _ in self.items], [value for _, value in self.items]
            return map(operator.setitem, [self.container] * len(keys), keys, values)
        return map(operator.iadd, [self.container], [self.items])


def add(optimizer: "Optimizer", params: Any, group: dict[str, Any]) -> None:
    """Add arrays to an optimizer. After an error, neither it nor the user's containers have changed."""
    check_outside(optimizer)
    with optimizer._lock.held:
        optimizer._lock.pause()
        optimizer._extras.check_not_swapped("add()")
        optimizer._engine.refresh()
        optimizer._engine.sync()
        entries, parameters = _parameters(optimizer, params)
        copies = _copies(optimizer, parameters, group)
        group = {name: value for name, value in group.items() if name != "copy_to"}
        row, n = len(optimizer._groups), len(parameters.names) - len(optimizer._parameters.names)
        hyper = copy.copy(optimizer._hyper)  # with which the new ones are built: the old ones stay until the end
        hyper.parameters, hyper.members = parameters, [*hyper.members, *[row] * n]
        state = _state(optimizer, parameters, group, n)
        group = {name: value for name, value in group.items() if name != "state_dtype"}
        extras = _extras(optimizer, parameters, None if copies is None else copies[1])
        hyper.begin([*map(hyper.kept, range(row)), hyper.checked(group, f"groups[{row}]")])
        lock = _lock(optimizer)
        engine = _engine(optimizer, parameters, state, extras, hyper)
        names = parameters.names[-n:]
        stores = [
            (optimizer, "_parameters", parameters), (optimizer, "_state", state), (optimizer, "_extras", extras),
            (optimizer, "_groups", (*optimizer._groups, Group(optimizer._hyper, row, names))),
            (optimizer._hyper, "parameters", parameters), (optimizer._hyper, "members", hyper.members),
            (optimizer._hyper, "current", hyper.current), (optimizer._hyper, "owner", lock.owner),
            (optimizer._hyper, "engine", weakref.ref(engine)), (optimizer._hyper, "notify", engine.notify),
            *((optimizer._lock, name, getattr(lock, name)) for name in StepLock.RECORD),
            (optimizer._engine, "successor", engine), (optimizer, "_engine", engine),
        ]  # fmt: skip
        _commit(optimizer, [entries] if copies is None else [entries, copies[0]], stores)


def _commit(optimizer: "Optimizer", entries: Sequence[_Entries], stores: Sequence[tuple[Any, str, Any]]) -> None:
    """Enter the arrays and set all attributes, in one C call. Nothing that is replaced is freed before its end."""
    before = [getattr(owner, name) for owner, name, _ in stores]
    swapped: list[Any] = [optimizer._extras.record["swapped"]]  # a launch without atomic instructions looks here
    marks: Any = map(operator.setitem, swapped, [0], [REPLACED])
    owners, names, values = [x for x, _, _ in stores], [name for _, name, _ in stores], [x for _, _, x in stores]
    deque(chain(*(x.calls() for x in entries), map(setattr, owners, names, values), marks), maxlen=0)
    del before


def _parameters(optimizer: "Optimizer", params: Any) -> tuple[_Entries, Parameters]:
    """The container with the new arrays, and the parameters over all of them."""
    old = optimizer._parameters
    if old.layout is not None or old.is_leaf:
        kind = "a Flat" if old.layout is not None else "a single array"
        raise ValueError(f"`add` needs an optimizer over a dict or list of arrays, got one over {kind}")
    if optimizer._given["capturable"]:
        raise ValueError("`add` needs an optimizer without `capturable`: a CUDA graph contains its arrays")
    for k, (now, given) in enumerate(zip(old.inside(), old.given, strict=True)):
        if now is not given:
            old.explain_moved(k, now)
    entries = _Entries(old.params, tree.rebuild(old.node, old.given), params, "params")
    parameters = Parameters(entries.combined, old.params, old.halves)
    if len(parameters.names) == len(old.names):
        raise ValueError(f"`params` must have at least one array, got {params!r:.80}")
    return entries, parameters


def _copies(optimizer: "Optimizer", parameters: Parameters, group: Mapping[str, Any]) -> tuple[_Entries, CopyTo] | None:
    """The container of `copy_to` with the new arrays, and what a step needs of it."""
    old, given = optimizer._extras.options.copies, group.get("copy_to")
    if (old is None) != (given is None):
        need = "None, because the optimizer has none" if old is None else "given, because the optimizer has one"
        raise ValueError(f"`copy_to` must be {need}, got {describe(given)}")
    if old is None:
        return None
    combined = tree.rebuild(optimizer._parameters.node, [x.given for x in old.targets])
    entries = _Entries(old.container, combined, given, "copy_to")
    return entries, CopyTo(parameters, entries.combined, old.container)


def _state(optimizer: "Optimizer", parameters: Parameters, group: Mapping[str, Any], n: int) -> State:
    """State of all arrays: that of the old ones, and the initial one of the others."""
    old, label, initial = optimizer._state, f"groups[{len(optimizer._groups)}]", {}
    for name, values in old.arguments.items():
        field = optimizer.fields[name]
        if field.is_hyperparameter:
            value = optimizer._start_value(name, group.get(name, optimizer._hyper.current.source(0, name)), label)
        else:
            value = values[0]
        initial[name] = [*values, *[value] * n]
    rule, base = RULES[optimizer.rule], optimizer._given["state_dtype"]
    value = group.get("state_dtype", base)
    state_dtype = check_state_dtype(value, f"{label}['state_dtype']", type(optimizer).__name__, rule, parameters)
    state_dtypes = [*old.state_dtypes, *[state_dtype] * n]
    given = optimizer._given
    new = State(parameters, rule, initial, state_dtypes, given["seed"], given["precision"])
    for slot in old.buffers:
        for x, y in zip(new.tensors(slot), old.tensors(slot), strict=False):
            if x.size:
                x[:] = y
    new.counts[: len(old.counts)] = old.counts
    new.is_shared = old.is_shared
    return new


def _extras(optimizer: "Optimizer", parameters: Parameters, copies: CopyTo | None) -> Extras:
    """Options with the counts, average and accumulated gradients of the old arrays. A new one's average is itself."""
    old = optimizer._extras
    new = type(old)(parameters, old.options._replace(copies=copies), optimizer._convention)
    calls, averaged = int(old.record["calls"][0]), int(old.record["averaged"][0])
    new.record["calls"], new.record["averaged"], new.last = calls, averaged, old.results()
    new.summed[: len(old.summed)] = old.summed
    for name in old.buffers:
        new.allocate(name)
        start = parameters.numbers() if name == "average" else new.tensors(name)
        for k, x in enumerate(new.tensors(name)):
            x[:] = old.tensors(name)[k] if k < len(old.summed) else start[k]
    return new


def _lock(optimizer: "Optimizer") -> StepLock:
    """A new record of progress. The old one stays paused for ever."""
    lock = StepLock()
    for name in ("steps", "used_lr"):
        lock.progress[name] = optimizer._lock.progress[name]
    return lock


def _engine(
    optimizer: "Optimizer", parameters: Parameters, state: State, extras: Extras, hyper: Hyperparameters
) -> Any:
    """Engine over all arrays. Its lock and hyperparameters are those of the optimizer, which get the new values."""
    on_device = parameters.device is not None
    engine = engine_class(on_device)(
        parameters, state, hyper, optimizer._lock, optimizer.rule, optimizer._convention,
        -1.0 if optimizer.maximize else 1.0, optimizer._given["capturable" if on_device else "threads"], extras,
    )  # fmt: skip
    engine._hyper = optimizer._hyper
    return engine
