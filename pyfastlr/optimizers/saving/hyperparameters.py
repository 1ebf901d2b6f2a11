"""The hyperparameters of all groups in a `state_dict`, and back.

One dict per group, the base group first, as in torch's `param_groups`: "params", the names of its arrays, and each
hyperparameter that the group sets itself. A number, the kind of decay, None (an option that is off) and a pair (a list)
stay what they are. The rest is a dict with one key:

- ``{"schedule": {...}}``: the schedule's `to_dict`
- ``{"controller": type}``: its state is among the state's controllers
- ``{"callable": name}``: any other callable
- ``{"arrays": True}``: rates per element, which are the user's arrays like the parameters

Only schedules can be made from a file. For the other three, the optimizer must have one at the same place.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyfastlr.engines.hyper import DECAY_NAMES, OFF, PAIRS, is_scalar
from pyfastlr.engines.settings import Settings
from pyfastlr.schedules import Custom, Schedule
from pyfastlr.schedules.base import type_name
from pyfastlr.schedules.controller import Controller, is_controller
from pyfastlr.schedules.plain import from_plain, to_plain

from .plain import short

if TYPE_CHECKING:
    from pyfastlr.optimizers.base import Optimizer

_KEEP = "give the optimizer {} there, or load with hyperparameters=False, which keeps its own"
_NO_CONTROLLER = "the optimizer has the controller {}, which would be lost: load with hyperparameters=False"


def export(optimizer: "Optimizer") -> list[dict[str, Any]]:
    """Copy the hyperparameters of all groups."""
    hyper, settings = optimizer._hyper, optimizer._hyper.current
    keys = hyper.keys()
    names = optimizer._parameters.names
    return [
        {
            "params": [name for name, k in zip(names, hyper.members, strict=True) if k == row],
            **{key: _exported(settings, row, key) for key in keys if row == 0 or _fields(key)[0] in own},
        }
        for row, own in enumerate(settings.own)
    ]


def _fields(key: str) -> tuple[str, ...]:
    return PAIRS.get(key, (key,))


def _exported(settings: Settings, row: int, key: str) -> Any:
    if _fields(key)[0] not in settings.own[row]:
        return None  # an option that is off
    values = [plain_of(settings.source(row, field), field) for field in _fields(key)]
    return values if key in PAIRS else values[0]


def plain_of(value: Any, field: str) -> Any:
    """Plain form of a number, schedule or callable."""
    if field == "decay":
        return DECAY_NAMES[value]
    if not is_scalar(value):
        return {"arrays": True}
    if not callable(value):
        return float(value)
    if is_controller(value):
        return {"controller": kind_of(value)}
    try:
        return {"schedule": to_plain(value)}
    except Exception:  # noqa: BLE001  # a class of the user's may raise anything
        return {"callable": _name(value)}


def kind_of(controller: Any) -> str:
    """Name of a controller's type, as its saved state has it."""
    cls = type(controller)
    return type_name(cls) if isinstance(controller, Controller) else cls.__qualname__


def _name(value: Any) -> str:
    function = value.parameters["function"] if isinstance(value, Custom) else value
    return str(getattr(function, "__qualname__", type(function).__qualname__))


# --- Reading ----------------------------------------------------------------------------------------------------------


def rows_of(optimizer: "Optimizer", saved: Any, names: Sequence[str], exact: bool = True) -> dict[int, int]:
    """The optimizer's group for each saved group: that with the same arrays. `names` are those of the state's arrays.

    A group of which the optimizer has no array is left out. One whose arrays are in several groups, or in a group with
    those of another, is an error if `exact`, and otherwise left out too.
    """
    hyper, label = optimizer._hyper, "state['hyperparameters']"
    if not isinstance(saved, list | tuple) or not saved or not all(isinstance(x, Mapping) for x in saved):
        raise TypeError(f"`{label}` must be a list of dicts, one per group, got {short(saved)}")
    found: dict[str, int] = {}
    for k, group in enumerate(saved):
        listed = group.get("params")
        if not isinstance(listed, list | tuple) or not all(isinstance(x, str) for x in listed):
            raise TypeError(f"`{label}[{k}]['params']` must be a list of names, got {short(listed)}")
        found.update(dict.fromkeys(listed, k))
    if sorted(found) != sorted(names) or sum(len(group["params"]) for group in saved) != len(names):
        raise ValueError(f"`{label}` must have each array in one group, got {short([x['params'] for x in saved])}")
    here = dict(zip(optimizer._parameters.names, hyper.members, strict=True))
    pairs = {(0, 0), *((row, here[name]) for name, row in found.items() if name in here)}
    if len(saved) == len(optimizer._groups):  # groups all of whose arrays are in earlier groups
        empty = set(range(len(saved))) - {k for k, _ in pairs}
        pairs |= {(k, k) for k in empty if not saved[k]["params"] and k not in {row for _, row in pairs}}
    rows = dict(pairs)
    if not len(rows) == len(pairs) == len({row for _, row in pairs}):
        if not exact:
            saved_rows, own_rows = [k for k, _ in pairs], [row for _, row in pairs]
            return {k: row for k, row in pairs if saved_rows.count(k) == own_rows.count(row) == 1}
        need = [[name for name, k in here.items() if k == row] for row in range(len(optimizer._groups))]
        raise ValueError(
            f"`{label}` must have groups with the same arrays as the optimizer's, {short(need)}, got "
            f"{short([list(x['params']) for x in saved])}: give the optimizer the same `groups`, or load with "
            f"hyperparameters=False, which keeps its own"
        )
    return rows


def checked(optimizer: "Optimizer", saved: Sequence[Mapping[str, Any]], rows: Mapping[int, int]) -> Settings:
    """Settings of the optimizer with the saved hyperparameters. Groups that have none keep theirs.

    The caller has the optimizer's lock. Nothing is changed.
    """
    hyper = optimizer._hyper
    places = {row: k for k, row in rows.items()}
    groups = []
    for row in range(len(optimizer._groups)):
        if row not in places:
            groups.append(hyper.kept(row))
            continue
        k = places[row]
        label = f"state['hyperparameters'][{k}]"
        values = {key: value for key, value in saved[k].items() if key != "params"}
        known = set(hyper.keys())
        if set(values) - known or (row == 0 and known - set(values)):
            raise ValueError(
                f"`{label}` must have the hyperparameters {sorted(known)}, got missing keys "
                f"{sorted(known - set(values)) if row == 0 else []} and unknown keys "
                f"{sorted(map(str, set(values) - known))}"
            )
        read = {key: _read(optimizer, row, key, value, f"{label}[{key!r}]") for key, value in values.items()}
        _check_controllers(hyper.current.own[row], read, label)
        fields = hyper.checked({key: x for key, x in read.items() if x is not None or key not in OFF}, label)
        fields = {x: value for x, value in fields.items() if x not in hyper.fixed}
        groups.append({**fields, **hyper.kept(row, hyper.fixed)})
    return hyper.built(groups)


def _read(optimizer: "Optimizer", row: int, key: str, value: Any, label: str) -> Any:
    """Value of a hyperparameter, which `Hyperparameters.checked` then checks as if the user had set it."""
    own = optimizer._hyper.current.own[row]
    if key in PAIRS:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise TypeError(f"`{label}` must be a list of two, got {short(value)}")
        return tuple(
            read_one(own.get(field), x, f"{label}[{k}]")
            for k, (field, x) in enumerate(zip(PAIRS[key], value, strict=True))
        )
    return read_one(own.get(key), value, label)


def read_one(here: Any, value: Any, label: str) -> Any:
    """Value from its plain form. `here` is the optimizer's own value at that place, None if there is none."""
    if not isinstance(value, Mapping):
        if value is not None and type(value) not in (int, float, str):
            raise TypeError(f"`{label}` must be a number, a schedule's data, a text or None, got {short(value)}")
        return value
    if len(value) != 1:
        raise ValueError(f"`{label}` must have one key, got {short(list(value))}")
    ((kind, content),) = value.items()
    if kind == "schedule":
        schedule = from_plain(content, label)
        return here if isinstance(here, Schedule) and here == schedule else schedule
    if kind == "callable":
        if not callable(here) or is_controller(here):
            raise ValueError(
                f"`{label}` needs a callable, because {short(content)} cannot be saved, got {_shown(here)}: "
                f"{_KEEP.format('one')}"
            )
        return here
    if kind == "controller":
        if not isinstance(content, str) or not (callable(here) and is_controller(here)) or kind_of(here) != content:
            raise ValueError(
                f"`{label}` needs a controller of type {short(content)}, got {_shown(here)}: {_KEEP.format('one')}"
            )
        return here
    if kind == "arrays":
        if here is None or is_scalar(here):
            raise ValueError(
                f"`{label}` needs arrays, which are not saved, got {_shown(here)}: {_KEEP.format('arrays')}"
            )
        return here
    raise ValueError(f"`{label}` must have the key schedule, callable, controller or arrays, got {short(kind)}")


def _check_controllers(own: Mapping[str, Any], read: Mapping[str, Any], label: str) -> None:
    """Refuse to replace a controller of the optimizer by something else: it would stay without the run's news."""
    for field, controller in own.items():
        if callable(controller) and is_controller(controller):
            key = next((name for name, fields in PAIRS.items() if field in fields), field)
            if not any(x is controller for x in _parts(read.get(key))):
                need = _NO_CONTROLLER.format(kind_of(controller))
                raise ValueError(f"`{label}[{key!r}]` must be a controller, got {_shown(read.get(key))}: {need}")


def _parts(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, tuple) else (value,)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{short(value)}"
