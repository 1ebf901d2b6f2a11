"""What a search may try: ranges, choices and calls, and how values are drawn from them.

A space is a tree of nodes. `build` walks over it with a `Draw`, which gives a number for each range and an index for
each list of choices, under the path of its names. So one walk serves every method, and also builds the values of a
trial from the parameters in a database.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

WIDE = 100.0  # a range whose ends differ by this factor is searched on a logarithmic scale
Number = int | float


class Range:
    """Numbers from `low` to `high`, both included: integers if both are integers, otherwise floats.

    Parameters
    ----------
    low, high : int or float
        The ends, finite, with ``low < high``.
    log : bool, optional
        Whether equal factors are equally likely, not equal differences. It needs ``low > 0``. By default this is so if
        ``low > 0`` and ``high / low >= 100``, which is nearly always meant for a learning rate.
    step : int or float > 0, optional
        Only ``low, low + step, low + 2 * step, ...`` up to `high`. Not with ``log=True``.
    num : int >= 2, optional
        Number of points in a grid, ends included. By default as many as fit into the number of trials.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from pyfastlr import tune
    >>> tune.Range(1e-4, 1.0)
    Range(0.0001, 1.0, log=True)
    >>> tune.Range(0.5, 0.9, num=3).points(3)
    [0.5, 0.7, 0.9]
    >>> tune.Range(16, 256, log=True).points(5)
    [16, 32, 64, 128, 256]
    """

    __slots__ = ("high", "is_integer", "log", "low", "num", "step")

    def __init__(
        self,
        low: Number,
        high: Number,
        *,
        log: bool | None = None,
        step: Number | None = None,
        num: int | None = None,
    ) -> None:
        for name, value in (("low", low), ("high", high), ("step", step)):
            is_left_out = name == "step" and value is None
            if not (is_left_out or (is_number(value) and math.isfinite(float(value or 0.0)))):
                raise TypeError(f"`{name}` must be a finite number, got {value!r:.60}")
        if not low < high:
            raise ValueError(f"`high` must be larger than `low`, {low}, got {high}")
        if log is not None and not isinstance(log, bool | np.bool_):
            raise TypeError(f"`log` must be True, False or None, got {log!r:.60}")
        if num is not None and (isinstance(num, bool) or not isinstance(num, int | np.integer) or num < 2):
            raise ValueError(f"`num` must be an integer >= 2, got {num!r:.60}")
        if log and not low > 0:
            raise ValueError(f"`low` must be > 0 with log=True, got {low}")
        if step is not None and not 0 < step <= high - low:
            raise ValueError(f"`step` must be > 0 and at most high - low, {high - low}, got {step}")
        if step is not None and log:
            raise ValueError(f"`step` must be None with log=True, got {step}")
        numbers = (low, high) if step is None else (low, high, step)
        self.is_integer = all(isinstance(x, int | np.integer) for x in numbers)
        kind = int if self.is_integer else float
        self.low, self.high = kind(low), kind(high)
        self.step = None if step is None else kind(step)
        self.log = bool(step is None and low > 0 and high / low >= WIDE) if log is None else bool(log)
        self.num = None if num is None else int(num)

    def __repr__(self) -> str:
        more = [f"{name}={x!r}" for name in ("log", "step", "num") if (x := getattr(self, name))]
        return f"Range({', '.join([repr(self.low), repr(self.high), *more])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Range) and all(getattr(self, x) == getattr(other, x) for x in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def at(self, u: float) -> Number:
        """Return the number at a fraction `u` of the range, from 0 to 1 (excluded)."""
        if self.step is not None:
            return self._stepped(min(int(u * self.steps), self.steps - 1))
        low, high = float(self.low), float(self.high)
        if self.is_integer:  # each integer has the part of the scale within 1/2 of it
            low, high = low - 0.5, high + 0.5
        x = math.exp(math.log(low) + u * (math.log(high) - math.log(low))) if self.log else low + u * (high - low)
        return min(max(round(x) if self.is_integer else x, self.low), self.high)

    @property
    def steps(self) -> int:
        """Number of values of a range with a step."""
        assert self.step is not None
        return int((self.high - self.low) / self.step * (1 + 1e-12)) + 1

    def _stepped(self, k: int) -> Number:
        assert self.step is not None
        return min(self.low + k * self.step, self.high)

    def points(self, num: int) -> list[Number]:
        """Return `num` evenly spaced numbers, ends included: fewer if there are not as many integers or steps."""
        if self.step is not None:
            places = np.unique(np.linspace(0, self.steps - 1, min(num, self.steps)).round().astype(int))
            return [self._stepped(int(k)) for k in places]
        spaced = (np.geomspace if self.log else np.linspace)(self.low, self.high, num)
        if self.is_integer:
            return [int(x) for x in np.unique(spaced.round())]
        return [self.low, *map(float, spaced[1:-1]), self.high]

    def contains(self, value: Any) -> bool:
        """Whether a number lies in the range."""
        return is_number(value) and self.low <= value <= self.high


class Call:
    """A call of a function with arguments that the search chooses, such as a schedule with its peak.

    Parameters
    ----------
    function : callable
        A class or function. It is called for each trial, and again for each use of `Search.best`.
    *args, **kwargs
        Its arguments: fixed values, ranges, lists of choices and calls, as in the space.

    Raises
    ------
    TypeError
        If `function` cannot be called with these arguments.

    Examples
    --------
    >>> from pyfastlr import tune, schedules as S
    >>> tune.Call(S.Cosine, tune.Range(1e-4, 1.0), steps=1000)
    Call(Cosine, lr=Range(0.0001, 1.0, log=True), steps=1000)
    """

    __slots__ = ("args", "function", "kwargs", "names")

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        if not callable(function):
            raise TypeError(f"`function` must be callable, got {type(function).__name__}")
        self.function, self.args, self.kwargs = function, args, kwargs
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # a builtin: its arguments have no names
            self.names = [str(k) for k in range(len(args))]
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"`function` must take the arguments given, {self.name}: {error}") from None
        names = [
            name for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.names = [names[k] if k < len(names) else str(k) for k in range(len(args))]

    @property
    def name(self) -> str:
        """Name of the function."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def __repr__(self) -> str:
        pairs = [*zip(self.names, self.args, strict=True), *self.kwargs.items()]
        return f"Call({', '.join([self.name, *(f'{name}={value!r}' for name, value in pairs)])})"


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python or numpy, and no bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


# --- The tree ---------------------------------------------------------------------------------------------------------


class Draw(Protocol):
    """Where the numbers of a trial come from."""

    def number(self, path: str, range: Range) -> Number:
        """Return a number of the range."""

    def index(self, path: str, labels: list[Any]) -> int:
        """Return the index of a choice."""


class Fixed(NamedTuple):
    """One value in every trial."""

    value: Any

    def build(self, draw: Draw) -> Any:
        """Return the value."""
        return self.value


class Numbers(NamedTuple):
    """A range under a path."""

    path: str
    range: Range

    def build(self, draw: Draw) -> Any:
        """Return the number drawn."""
        return draw.number(self.path, self.range)


class Choices(NamedTuple):
    """A list of choices under a path. A label is what the database has for a choice."""

    path: str
    options: list[Any]  # nodes
    labels: list[Any]

    def build(self, draw: Draw) -> Any:
        """Return the choice drawn, with what it has inside."""
        return self.options[draw.index(self.path, self.labels)].build(draw)


class Parts(NamedTuple):
    """Nodes, and the function that makes one value of their values."""

    parts: list[Any]
    make: Callable[[list[Any]], Any]

    def build(self, draw: Draw) -> Any:
        """Return the value made of the parts' values."""
        return self.make([part.build(draw) for part in self.parts])


class Space:
    """A checked space.

    Attributes
    ----------
    given : dict
        As given.
    ranges, choices : dict
        Ranges and labels by path, in their order.

    Raises
    ------
    TypeError, ValueError
        If it is not a dict of names, or an entry is none that a search understands.
    """

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Mapping) or not all(isinstance(name, str) and name for name in given):
            raise TypeError(f"`space` must be a dict of names and what to try, got {given!r:.60}")
        self.given = dict(given)
        self.node = _of_dict("", self.given)
        self.ranges: dict[str, Range] = {}
        self.choices: dict[str, list[Any]] = {}
        for node in _walk(self.node):
            if isinstance(node, Numbers | Choices) and node.path in {*self.ranges, *self.choices}:
                raise ValueError(f"`space` must have different names, got `{node.path}` twice")
            if isinstance(node, Numbers):
                self.ranges[node.path] = node.range
            elif isinstance(node, Choices):
                self.choices[node.path] = node.labels
        if not self.paths:
            raise ValueError("`space` must have a range or a list of choices, got fixed values only")

    @property
    def paths(self) -> list[str]:
        """Paths of what is searched, in their order."""
        order = {x.path: k for k, x in enumerate(_walk(self.node)) if isinstance(x, Numbers | Choices)}
        return sorted([*self.ranges, *self.choices], key=order.__getitem__)

    def build(self, draw: Draw) -> dict[str, Any]:
        """Return the values of a trial."""
        values: dict[str, Any] = self.node.build(draw)
        return values

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a trial with these parameters."""
        return self.build(Known(parameters))

    def described(self) -> dict[str, str]:
        """Return what is searched as texts, to compare it with what a database has."""
        ranges = {path: f"{x.low!r} to {x.high!r}{' log' if x.log else ''}" for path, x in self.ranges.items()}
        steps = {path: f"{ranges[path]} step {x.step!r}" for path, x in self.ranges.items() if x.step is not None}
        return {**ranges, **steps, **{path: ", ".join(map(repr, labels)) for path, labels in self.choices.items()}}


class Known:
    """Draws the values that a trial had."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters

    def number(self, path: str, range: Range) -> Number:
        """Return the trial's number."""
        number: Number = self.parameters[path]
        return number

    def index(self, path: str, labels: list[Any]) -> int:
        """Return the index of the trial's choice."""
        return place(self.parameters[path], labels)


def place(label: Any, labels: list[Any]) -> int:
    """Return the index of a label. 1, 1.0 and True are different choices."""
    for k, x in enumerate(labels):
        if x is label or (type(x) is type(label) and x == label):
            return k
    return labels.index(label)  # a database may return an integer as a float


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for part in getattr(node, "parts", None) or getattr(node, "options", None) or ():
        yield from _walk(part)


# --- From what is given -----------------------------------------------------------------------------------------------


def _of_dict(path: str, given: Mapping[str, Any]) -> Parts:
    names = list(given)
    parts = [_node(f"{path}{name}", given[name]) for name in names]
    return Parts(parts, lambda values: dict(zip(names, values, strict=True)))


def _node(path: str, given: Any) -> Any:
    """Return the node for an entry of a space."""
    given = _converted(given)
    if isinstance(given, Range):
        return Numbers(path, given)
    if isinstance(given, Call):
        return _of_call(path, given)
    if isinstance(given, list):
        return _of_choices(path, given)
    if isinstance(given, Mapping):
        return _of_dict(f"{path}.", given)
    if isinstance(given, tuple):
        return _of_tuple(path, given)
    return Fixed(given)


def _converted(given: Any) -> Any:
    """Turn arrays and Optuna's distributions into ours."""
    if isinstance(given, np.ndarray):
        return given.tolist()
    kinds = getattr(sys.modules.get("optuna"), "distributions", None)
    if kinds is not None and isinstance(given, kinds.CategoricalDistribution):
        return list(given.choices)
    if kinds is not None and isinstance(given, kinds.FloatDistribution | kinds.IntDistribution):
        step = None if given.log or (given.step == 1 and isinstance(given.low, int)) else given.step
        return Range(given.low, given.high, log=given.log, step=step)
    return given


def _of_tuple(path: str, given: tuple[Any, ...]) -> Any:
    if any(isinstance(x, Range | Call | list) for x in given):
        return Parts([_node(f"{path}.{k}", x) for k, x in enumerate(given)], tuple)
    is_range = len(given) in (2, 3) and all(map(is_number, given[:2]))
    if is_range and (len(given) == 2 or given[2] in ("log", "linear")):
        try:
            return Numbers(path, Range(*given[:2], log=None if len(given) == 2 else given[2] == "log"))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`space` must have a range for `{path}`, got {given}: {error}") from None
    raise ValueError(
        f'`space` must have for `{path}` a range (low, high), (low, high, "log") or (low, high, "linear"), a list of '
        f"choices, or one value, got {given!r:.60}"
    )


def _of_call(path: str, given: Call) -> Parts:
    count = len(given.args)
    names = [*given.names, *given.kwargs]
    parts = [_node(f"{path}.{name}", x) for name, x in zip(names, (*given.args, *given.kwargs.values()), strict=True)]
    keys = list(given.kwargs)

    def make(values: list[Any]) -> Any:
        return given.function(*values[:count], **dict(zip(keys, values[count:], strict=True)))

    return Parts(parts, make)


def _of_choices(path: str, given: list[Any]) -> Choices:
    """Return the node for a list. Its items are values, except ranges and calls."""
    if not given:
        raise ValueError(f"`space` must have at least one choice for `{path}`, got []")
    labels: list[Any] = []
    options = []
    for item in given:
        label = _label(item)
        if any(x is label or (type(x) is type(label) and x == label) for x in labels):
            if not isinstance(item, Range | Call) and any(x is item for x in given[: len(labels)]):
                raise ValueError(f"`space` must have different choices for `{path}`, got {item!r:.60} twice")
            label = f"{label} #{len(labels)}"
        labels.append(label)
        is_node = isinstance(item, Range | Call)
        options.append(_node(f"{path}.{label}", item) if is_node else Fixed(item))
    return Choices(path, options, labels)


def _label(item: Any) -> Any:
    """Return what a database has for a choice: plain values themselves, the name or text of anything else."""
    if item is None or isinstance(item, bool | int | str):
        return item
    if isinstance(item, float | np.floating):
        return float(item)
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, Call):
        return item.name
    text = getattr(item, "__name__", None) if callable(item) else None
    text = repr(item) if text is None else str(text)
    return f"{type(item).__name__} object" if " at 0x" in text else text[:200]  # an address differs in each process
