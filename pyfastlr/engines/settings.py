"""The hyperparameters of all groups, stored in the tables that a step reads. A change applies fully or not at all."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, Watched, describe, is_native, watch
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.schedules.controller import is_controller
from pyfastlr_kernels import tables

from .hyper import (
    DECAY_NAMES,
    DECAYS,
    OFF,
    PAIRS,
    PUBLIC_NAMES,
    SCALE_TYPES,
    Range,
    decay_kind,
    is_called,
    is_scalar,
    label,
    number,
    source,
    spread,
)
from .lock import StepLock


class Rates(NamedTuple):
    """Per-element rates of one tensor."""

    array: Any  # 1-D view
    watched: Watched  # the user's array
    label: str


class Quick(NamedTuple):
    """The cell of a number that is stored only once, and the number's range."""

    cell: int
    low: float
    high: float


class Settings:
    """Hyperparameters of all groups at one moment.

    Only plain numbers change in place, each by one store: a step sees the old or the new number. Any other change
    creates a new `Settings`, which replaces the old one by one store (`Hyperparameters.assign`).

    Attributes
    ----------
    rows
        Config rows: the number of each field of each group, if it is a number.
    own
        For each group, the fields that it sets itself. A float means that the number is in the row. Group 0, the base,
        sets all fields.
    rates
        For each tensor, its per-element rates or None.
    quick
        The base group's numbers that are stored in one cell only: the fastest way to set one.
    view
        Memoryview of all cells.
    """

    __slots__ = ("_cells", "_numbers", "_ranges", "own", "quick", "rates", "rows", "view")

    def __init__(
        self,
        rows: Any,
        own: Sequence[Mapping[str, Any]],
        rates: Sequence[Rates | None],
        ranges: Mapping[str, Range],
    ) -> None:
        self._ranges = ranges
        self.rows, self.own, self.rates = rows, tuple(map(dict, own)), tuple(rates)
        self._numbers: Any = rows.view(np.float64)
        self.view: Any = memoryview(self._numbers)
        self._cells: dict[tuple[int, str], Any] = {}
        for row, fields in enumerate(self.own):
            for field, value in fields.items():
                if type(value) is float:
                    self._cells[row, field] = [self.cell(k, field) for k in self.followers(row, field)]
        self._fill_followers()
        self.quick = {
            field: Quick(cells[0], ranges[field].low, ranges[field].high)
            for (row, field), cells in self._cells.items()
            if row == 0 and len(cells) == 1 and field in ranges and field != "lr_scale"
        }

    def cell(self, row: int, field: str) -> int:
        """Index of a field's number among all numbers of the rows."""
        names = self.rows.dtype.names
        return int(row * len(names) + names.index(field))

    def label_of(self, cell: int) -> str:
        """Name in errors of the group with that cell. The base group has none: its fields are the optimizer's."""
        row = cell // len(self.rows.dtype.names)
        return f"groups[{row}]" if row else ""

    def followers(self, row: int, field: str) -> list[int]:
        """Groups that use this group's value: itself, and for the base group all that do not set the field."""
        return [row, *(k for k in range(1, len(self.own)) if row == 0 and field not in self.own[k])]

    def _fill_followers(self) -> None:
        """Copy each group's numbers to the rows of its followers."""
        for (row, field), cells in self._cells.items():
            self._numbers[cells] = self._numbers[self.cell(row, field)]

    def source(self, row: int, field: str) -> Any:
        """Number, schedule or container of rates of a field: the group's own, or else the base group's."""
        holder = row if field in self.own[row] else 0
        value = self.own[holder][field]
        return self.view[self.cell(holder, field)] if type(value) is float else value

    def is_number(self, row: int, field: str) -> bool:
        """Whether the group itself sets the field to a number."""
        return (row, field) in self._cells

    def store(self, row: int, values: Mapping[str, float]) -> None:
        """Replace numbers of a group, all at once: by one C call."""
        cells = [self._cells[row, field] for field in values]
        if len(cells) == 1 and len(cells[0]) == 1:
            for value in values.values():
                self.view[cells[0][0]] = value
            return
        places = [place for some in cells for place in some]
        numbers = [value for some, value in zip(cells, values.values(), strict=True) for _ in some]
        self._numbers[np.array(places)] = np.array(numbers)

    def replaced(self, row: int, values: Mapping[str, Any], rates: Sequence[Rates | None]) -> "Settings":
        """Return a copy with new values for a group."""
        own = [dict(fields) for fields in self.own]
        own[row].update(values)
        rows = self.rows.copy()
        for field, value in values.items():
            if value is None:  # an option is turned off
                del own[row][field]
                for k in self.followers(row, field):
                    rows[field][k] = rows[field][0] if row else OFF[field]
                continue
            rows[field][row] = value if type(value) is float else 1.0  # a schedule, or per-element rates
        return Settings(rows, own, rates, self._ranges)

    def scheduled(self) -> Iterator[tuple[Any, str, list[int]]]:
        """Yield each schedule or callable, once per field, with the field and the cells that its value fills."""
        found: dict[tuple[int, str], tuple[Any, str, list[int]]] = {}
        for row, fields in enumerate(self.own):
            for field, value in fields.items():
                if is_called(value):
                    entry = found.setdefault((id(value), field), (value, field, []))
                    entry[2].extend(self.cell(k, field) for k in self.followers(row, field))
        yield from found.values()

    def may_freeze(self) -> bool:
        """Whether a group's rate factor is, or may become, zero."""
        return any(
            is_called(fields["lr_scale"]) or self.source(row, "lr_scale") == 0.0
            for row, fields in enumerate(self.own)
            if "lr_scale" in fields and is_scalar(fields["lr_scale"])
        )


class Hyperparameters:
    """The current `Settings` of an optimizer, and every change to them.

    Parameters
    ----------
    fields
        What a group may set: the fields of its row except the constants, and "decay".
    members
        The group of each tensor.
    decays
        The kinds of weight decay that the optimizer supports.
    advice
        Gives the end of the error for a name that a group may not set, from the name and those that it may set.
    fixed
        Numbers that are used only before the first update, and why they cannot change.
    owner
        The class's name, for errors.

    Attributes
    ----------
    current : Settings
        Replaced by one store.
    """

    def __init__(
        self,
        parameters: Parameters,
        lock: StepLock,
        fields: Sequence[str],
        hyper: Sequence[str],
        ranges: Mapping[str, Range],
        members: Sequence[int],
        advice: Callable[[str, Sequence[str]], str],
        decays: Sequence[str],
        fixed: Mapping[str, str],
        owner: str,
    ) -> None:
        self.parameters, self.lock, self.fields, self.ranges = parameters, lock, tuple(fields), ranges
        self.known = frozenset(self.keys())
        self.members, self.advice = list(members), advice
        self._decays, self._fixed, self._class = tuple(decays), fixed, owner
        self.engine: Callable[[], Any] = lambda: None
        self.notify: Callable[[], None] | None = None  # the engine's callback after a number was set
        self.owner = lock.owner
        self._hyper = hyper
        self.current: Settings

    def begin(self, groups: Iterable[Mapping[str, Any]]) -> None:
        """Set the checked fields of each group, the base group first. In errors, the group after it is groups[0]."""
        groups = list(groups)
        rows = np.zeros(len(groups), tables.row_dtype(self._hyper))
        for name, value in tables.constants(self.parameters.dtype).items():
            rows[name] = value
        rows["lr_scale"] = 1.0
        for name, value in OFF.items():
            rows[name] = value
        settings = Settings(rows, [{} for _ in groups], [None] * len(self.parameters.names), self.ranges)
        for row, values in enumerate(groups):
            rates = settings.rates
            if "lr_scale" in values:
                rates = tuple(self._rates_with(settings, row, values["lr_scale"], f"groups[{row - 1}]"))
            settings = settings.replaced(row, values, rates)
        self.current = settings

    def watch(self, engine: Any) -> None:
        """Report changes to this engine while it exists."""
        self.engine = weakref.ref(engine)
        self.notify = engine.notify

    # --- Reading ------------------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Public names of the fields."""
        pair_of = {fields[0]: name for name, fields in PAIRS.items()}
        seconds = {fields[1] for fields in PAIRS.values()}
        return [pair_of.get(field, field) for field in self.fields if field not in seconds]

    def get(self, row: int, key: str) -> Any:
        """Value that was set for a key. Raise KeyError for an unknown key."""
        if key in PAIRS and PAIRS[key][0] in self.fields:
            return tuple(self.current.source(row, field) for field in PAIRS[key])
        if key not in self.fields or key in PUBLIC_NAMES:
            raise KeyError(key)
        if not self.has(row, key):
            return None
        value = self.current.source(row, key)
        return DECAY_NAMES[value] if key == "decay" else value

    def has(self, row: int, key: str) -> bool:
        """Whether a key has a value: an option may be off."""
        own = self.current.own
        return key not in OFF or key in own[row] or key in own[0]

    def number(self, row: int, key: str) -> Any:
        """Number of a key for the next update: a float, or a pair of floats."""
        if key in PAIRS:
            return tuple(self._evaluated(row, field) for field in PAIRS[key])
        return self._evaluated(row, key)

    def _evaluated(self, row: int, field: str) -> Any:
        settings = self.current
        value = settings.source(row, field)
        if not is_called(value):
            return value
        n, holder = self.steps(), row if field in settings.own[row] else 0
        where, group = f" from its schedule at update {n}", settings.label_of(settings.cell(holder, field))
        return number(value(n), field, self.ranges[field], where, group=group)

    def controllers(self) -> dict[tuple[int, str], Any]:
        """Controllers by group and hyperparameter; one object may occur several times."""
        return {
            (row, PUBLIC_NAMES.get(field, field)): value
            for row, fields in enumerate(self.current.own)
            for field, value in fields.items()
            if is_called(value) and is_controller(value)
        }

    def steps(self) -> int:
        """Number of updates done."""
        engine = self.engine()
        if engine is not None:
            engine.refresh()
        return int(self.lock.steps[0])

    # --- Changing -----------------------------------------------------------------------------------------------------

    def checked(self, values: Mapping[str, Any], group: str = "") -> dict[str, Any]:
        """Check arguments and convert them to fields. Per-element rates pass unchanged. `group`: its name in errors."""
        fields: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self.known:
                keys = self.keys()
                raise ValueError(
                    f"`{group}` may only set {', '.join(map(repr, keys))}, got {name!r}{self.advice(name, keys)}"
                )
            for field, part in spread(name, value, group).items():
                if field == "decay":
                    fields[field] = DECAYS[decay_kind(part, self._decays, self._class, group)]
                elif field == "lr_scale" and not is_scalar(part):
                    fields[field] = part
                elif field in OFF and part is None:
                    fields[field] = None
                else:
                    fields[field] = source(part, field, self.ranges[field], group)
        return fields

    def assign(self, row: int, key: str, value: Any, group: str = "") -> None:
        """Set a key of a group, from the next step on. `group` is its name in errors, empty for an attribute."""
        engine = self.engine()
        if engine is not None and engine.is_inside():
            raise RuntimeError("a schedule or callable must not set hyperparameters of the optimizer that calls it")
        if key in self._fixed:
            raise ValueError(f"`{key}` of {self._class} cannot be changed, got {value!r}: {self._fixed[key]}")
        fields = self.checked({key: value}, group)
        with self.lock.held:
            settings = self.current
            if all(type(x) is float and settings.is_number(row, field) for field, x in fields.items()) and not (
                "lr_scale" in fields and 0.0 in (fields["lr_scale"], settings.source(row, "lr_scale"))
            ):  # a rate factor that is, or was, zero needs other code
                settings.store(row, fields)
                if engine is not None:
                    engine.changed()
                return
            rates = settings.rates
            if "lr_scale" in fields:
                rates = tuple(self._rates_with(settings, row, fields["lr_scale"], group))
            new = settings.replaced(row, fields, rates)
            if engine is not None:
                engine.check_replacement(settings, new)
                engine.renew()  # first: after an interrupt between the two, the next step reads what is current
            self.current = new

    def saved(self) -> tuple[Settings, Array]:
        """Return all current hyperparameters, for `restore`."""
        with self.lock.held:
            return self.current, self.current.rows.copy()

    def restore(self, saved: tuple[Settings, Array]) -> None:
        """Restore all hyperparameters that `saved` returned: numbers, schedules and per-element rates."""
        settings, rows = saved
        engine = self.engine()
        with self.lock.held:
            settings.rows[...] = rows
            if engine is not None:
                engine.renew()  # first, as in `assign`
            self.current = settings
            if engine is not None:
                engine.changed()

    # --- Per-element rates --------------------------------------------------------------------------------------------

    def _rates_with(self, settings: Settings, row: int, value: Any, group: str) -> "list[Rates | None]":
        """Per-element rates after a group sets this lr_scale."""
        mine = [
            k
            for k, group in enumerate(self.members)
            if group == row or (row == 0 and "lr_scale" not in settings.own[group])
        ]
        rates = list(settings.rates)
        if is_scalar(value):
            found: list[Rates | None] = [None] * len(rates)
        elif row == 0:
            found = self._rates_of_all(value)
        else:
            found = self._rates_of_group(row, value, group)
        for k in mine:
            _check_rates(found[k])
            rates[k] = found[k]
        return rates

    def _rates_of_all(self, value: Any) -> "list[Rates | None]":
        parameters = self.parameters
        if parameters.layout is None and tree.kind_of(value) != parameters.node.kind:
            need = self.ranges["lr_scale"].words + SCALE_TYPES
            raise TypeError(f"`lr_scale` must be {need}, got {describe(value)}")
        arrays = parameters.per_tensor(value, "lr_scale")
        leaves = parameters.leaves_of(value, "lr_scale")
        if leaves is None:
            leaves = [value.buffer if isinstance(value, Flat) else value] * len(arrays)
        return [
            Rates(x, watch(given if is_native(given) else x), label)
            for x, given, label in zip(arrays, leaves, parameters.labels("lr_scale"), strict=True)
        ]

    def _rates_of_group(self, row: int, value: Any, group: str) -> "list[Rates | None]":
        parameters = self.parameters
        names = [name for name, group in zip(parameters.names, self.members, strict=True) if group == row]
        is_array = len(names) == 1 and tree.kind_of(value) == "leaf"
        given = dict(value) if isinstance(value, Mapping) else {names[0]: value} if is_array else {}
        if sorted(given) != sorted(names):
            arrays = "an array" if names == [""] else f"a dict with an array for each of {names}"
            raise ValueError(
                f"`{label('lr_scale', group)}` must be a number, a schedule, a callable or {arrays}, got "
                f"{describe(value)}"
            )
        found: dict[str, Rates] = {}
        shapes = dict(zip(parameters.names, parameters.shapes, strict=True))
        for name, x in given.items():
            called = tree.label("lr_scale", name)
            array = parameters.operand(x, called, shapes[name])
            found[name] = Rates(array.reshape(-1), watch(x if is_native(x) else array), called)
        return [found.get(name) for name in parameters.names]


def _check_rates(rates: Rates | None) -> None:
    if rates is None or not isinstance(rates.array, np.ndarray):
        return
    x: Array = rates.array
    wrong = ~(np.isfinite(x) & (x >= 0))
    if wrong.any():
        raise ValueError(f"`{rates.label}` must contain only finite numbers >= 0, got {x[wrong][0]}")
