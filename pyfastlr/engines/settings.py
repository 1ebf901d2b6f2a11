"""The hyperparameters of all groups, stored in the tables that a step reads. A change applies fully or not at all."""

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.schedules.controller import is_controller
from pyfastlr_kernels import tables

from .hyper import (
    DECAY_NAMES,
    DECAYS,
    OFF,
    PAIRS,
    PUBLIC_NAMES,
    Range,
    decay_kind,
    is_called,
    is_scalar,
    number,
    source,
    spread,
)
from .lock import StepLock
from .rates import Rates, check_rates, rates_of_all, rates_of_group


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

    def differs_in_numbers(self, other: "Settings") -> bool:
        """Whether the other settings differ at most in numbers that a step reads in place."""
        for row, (mine, others) in enumerate(zip(self.own, other.own, strict=True)):
            if mine.keys() != others.keys():
                return False
            for field, value in mine.items():
                if type(value) is not float or type(others[field]) is not float:
                    if value is not others[field]:
                        return False
                elif field == "lr_scale":  # a factor that is, or was, zero needs other code
                    now, new = self.source(row, field), other.source(row, field)
                    if now != new and 0.0 in (now, new):
                        return False
        return True

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
        self._decays, self.fixed, self._class = tuple(decays), fixed, owner
        self.engine: Callable[[], Any] = lambda: None
        self.notify: Callable[[], None] | None = None  # the engine's callback after a number was set
        self.owner = lock.owner
        self._hyper = hyper
        self.current: Settings

    def begin(self, groups: Iterable[Mapping[str, Any]]) -> None:
        """Set the checked fields of each group, the base group first."""
        self.current = self.built(groups)

    def built(self, groups: Iterable[Mapping[str, Any]]) -> Settings:
        """Settings with the checked fields of each group, base group first. In errors, the group after it is groups[0].

        Nothing is changed.
        """
        groups = list(groups)
        rows = np.zeros(len(groups), tables.row_dtype(self._hyper))
        for name, value in tables.constants(self.parameters.dtype).items():
            rows[name] = value
        rows["lr_scale"] = 1.0
        for name, value in OFF.items():
            rows[name] = value
        scaled = [row for row, values in enumerate(groups) if "lr_scale" in values]
        settings = Settings(rows, [{} for _ in groups], [None] * len(self.parameters.names), self.ranges)
        for row, values in enumerate(groups):
            rates = settings.rates
            if "lr_scale" in values:
                rates = tuple(self._rates_with(settings, row, values["lr_scale"], f"groups[{row - 1}]", scaled))
            settings = settings.replaced(row, values, rates)
        return settings

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

    def number(self, row: int, key: str, n: int | None = None) -> Any:
        """Number of a key at update n, or else for the next update: a float, or a pair of floats."""
        if key in PAIRS:
            return tuple(self.evaluated(row, field, n) for field in PAIRS[key])
        return self.evaluated(row, key, n)

    def evaluated(self, row: int, field: str, n: int | None = None) -> Any:
        """Number of a field at update n, or else for the next update."""
        settings = self.current
        value = settings.source(row, field)
        if not is_called(value):
            return value
        n, holder = self.steps() if n is None else n, row if field in settings.own[row] else 0
        where, group = f" from its schedule at update {n}", settings.label_of(settings.cell(holder, field))
        return number(value(n), field, self.ranges[field], where, group=group)

    def kept(self, row: int, keys: Iterable[str] | None = None) -> dict[str, Any]:
        """Fields that a group sets itself, all or those of some keys, as `built` takes them."""
        settings = self.current
        wanted = None if keys is None else {field for key in keys for field in PAIRS.get(key, (key,))}
        return {x: settings.source(row, x) for x in settings.own[row] if wanted is None or x in wanted}

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
        if key in self.fixed:
            raise ValueError(f"`{key}` of {self._class} cannot be changed, got {value!r}: {self.fixed[key]}")
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

    def _rates_with(
        self, settings: Settings, row: int, value: Any, group: str, others: Collection[int] | None = None
    ) -> "list[Rates | None]":
        """Per-element rates after a group sets this lr_scale. `others`: the groups that have one of their own."""
        if others is None:
            others = [k for k, own in enumerate(settings.own) if "lr_scale" in own]
        mine = [k for k, group in enumerate(self.members) if group == row or (row == 0 and group not in others)]
        rates = list(settings.rates)
        if is_scalar(value):
            found: list[Rates | None] = [None] * len(rates)
        elif row == 0:
            found = rates_of_all(self.parameters, value, mine, self.ranges["lr_scale"].words)
        else:
            found = rates_of_group(self.parameters, value, mine, group)
        for k in mine:
            check_rates(found[k])
            rates[k] = found[k]
        return rates
