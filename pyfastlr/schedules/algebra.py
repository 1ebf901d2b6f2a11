"""Schedules built from other schedules, and the two that wrap a number or a callable.

A method or an operator of `Schedule` makes each of them, except `Constant`, `Custom` and `join`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from pyfastlr_kernels import curves

from .base import RateLike, Schedule
from .checks import choice, each, function, got, increasing, natural, nonnegative, ordered, positive_integer

RISES = {  # shapes of a warm-up beside the straight line: how the distance to s(0) falls
    "cosine": curves.cosine_fall,
    "1-sqrt": curves.root_fall,
}


def as_schedule(value: Any, name: str = "lr") -> Schedule:
    """Convert a number >= 0, a schedule or a callable ``n -> float`` to a schedule; error messages call it `name`.

    Raises
    ------
    TypeError, ValueError
        If the value is none of these.

    Examples
    --------
    >>> as_schedule(1e-3)
    Constant(lr=0.001)
    >>> (as_schedule(lambda n: 1 / (n + 1)) * 0.5)(3)
    0.125
    """
    if isinstance(value, Schedule):
        return value
    if callable(value) and not isinstance(value, type):
        if hasattr(value, "observe"):
            need = f"`{name}` must be a number, a schedule or a callable n -> float"
            raise TypeError(
                f"{need}, got the controller {type(value).__name__}: it reacts to the run, so it cannot be part of a "
                "schedule; put the schedule inside the controller"
            )
        return Custom(value)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"`{name}` must be a number, a schedule or a callable n -> float, {got(value)}")
    return Constant(nonnegative(value, name))


def join(schedules: Sequence[RateLike], boundaries: Sequence[int]) -> Schedule:
    """Join schedules: from each boundary on, the next schedule s gives ``s(n - boundary)``.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        At least one.
    boundaries : sequence of int >= 0
        One fewer than schedules, strictly increasing. They count from the start of the joined schedule: update
        n = boundary is the first of the next schedule.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if `boundaries` is not one shorter than `schedules`.

    Examples
    --------
    >>> s = join([Constant(0.1), Constant(0.01)], [30])
    >>> s(29), s(30)
    (0.1, 0.01)
    >>> s == Constant(0.1).then(Constant(0.01), at=30)
    True

    Notes
    -----
    Same as optax.join_schedules. torch's SequentialLR counts the same way, unless it is inside another one.
    """
    parts = each(as_schedule, "schedules")(schedules, "schedules")
    at = increasing(boundaries, "boundaries")
    if len(parts) != len(at) + 1:
        raise ValueError(f"`boundaries` must have one item fewer than the {len(parts)} schedules, got {len(at)}")
    result: Schedule = parts[0]
    for part, boundary in zip(parts[1:], at, strict=True):
        result = result.then(part, boundary)
    return result


class Constant(Schedule, lr=nonnegative):
    """The same rate at every update: ``lr``.

    Parameters
    ----------
    lr : float >= 0

    Raises
    ------
    TypeError, ValueError
        If the argument has the wrong type or is out of range.

    Examples
    --------
    >>> Constant(0.1)(1_000_000)
    0.1

    Notes
    -----
    Ends: none.

    Elsewhere: same as optax.constant_schedule; torch's ConstantLR is a warm-up (a third of the rate for 5 updates).
    """

    __slots__ = ()
    curve = staticmethod(curves.constant)
    equation = "{lr}"

    def __init__(self, lr: float) -> None:
        super().__init__(lr=lr)


class Custom(Schedule, function=function):
    """Any callable ``n -> float``: ``function(n)``. `as_schedule` makes it.

    It supports the algebra, but has no JSON form and no `compiled`. The callable's return value is not checked here.

    Raises
    ------
    TypeError
        If `function` is not callable.

    Examples
    --------
    >>> Custom(lambda n: 1 / (n + 1))(3)
    0.25
    """

    __slots__ = ()
    equation = "{function}(n)"

    def __init__(self, function: Callable[[int], float]) -> None:
        super().__init__(function=function)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        return self.parameters["function"], ()

    @property
    def compiled(self) -> NoReturn:
        """Raise TypeError, because the callable may be any Python code."""
        raise TypeError(
            f"a schedule around {self.parameters['function']!r} cannot be compiled: write a Schedule class with a curve"
        )

    def to_dict(self) -> NoReturn:
        """Raise TypeError, because the callable may be any Python code."""
        raise TypeError(
            f"a schedule around {self.parameters['function']!r} has no JSON form: write a Schedule class with a curve"
        )


class Warmup(Schedule, schedule=as_schedule, steps=natural, start=nonnegative, shape=choice("linear", "log", *RISES)):
    """A warm-up from `start` to s(0) before a schedule s: see `Schedule.warmup`.

    Examples
    --------
    >>> Warmup(Constant(0.5), steps=4)(1) == Constant(0.5).warmup(4)(1) == 0.125
    True
    """

    __slots__ = ()
    equation = "{start} + (s(0) - {start})·n/{steps} for n < {steps}, then s(n - {steps}); s(n) = {schedule}"
    _method = "warmup"

    def __init__(self, schedule: RateLike, steps: int, start: float = 0.0, shape: str = "linear") -> None:
        given = {"schedule": schedule, "steps": steps, "start": start, "shape": shape}
        if isinstance(shape, str) and shape == "linear":  # not in the text and the JSON of all other warm-ups
            del given["shape"]
        super().__init__(**given)

    def _shape(self) -> str:
        """Return the shape; "log" needs two updates."""
        shape: str = self.parameters.get("shape", "linear")
        return "linear" if shape == "log" and self.parameters["steps"] < 2 else shape

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        schedule, steps, start, *_ = self.parameters.values()
        shape = self._shape()
        if shape in RISES:
            return curves.warmup_along, (schedule, RISES[shape], steps, start)
        return curves.warmup_log if shape == "log" else curves.warmup, (schedule, steps, start)

    def _equation(self) -> str:
        share = {
            "linear": "n/{steps}",
            "log": "log(n + 1)/log({steps})",
            "cosine": "(1 - cos(π·n/{steps}))/2",
            "1-sqrt": "(1 - √(1 - n/{steps}))",
        }[self._shape()]
        return self.equation.replace("n/{steps}", share, 1)


class Then(Schedule, first=as_schedule, second=as_schedule, at=natural):
    """One schedule before update `at`, then another from its own first rate: see `Schedule.then` and `join`.

    Examples
    --------
    >>> [Then(Constant(0.1), Constant(0.2), at=5)(n) for n in (4, 5)]
    [0.1, 0.2]
    """

    __slots__ = ()
    curve = staticmethod(curves.then)
    equation = "s(n) for n < {at}, then t(n - {at}); s(n) = {first}, t(n) = {second}"
    _method = "then"

    def __init__(self, first: RateLike, second: RateLike, at: int) -> None:
        super().__init__(first=first, second=second, at=at)


class Delay(Schedule, schedule=as_schedule, steps=natural):
    """A schedule that holds its first rate longer: see `Schedule.delay`.

    Examples
    --------
    >>> Delay(Custom(lambda n: 1 / (n + 1)), steps=10)(11)
    0.5
    """

    __slots__ = ()
    curve = staticmethod(curves.delay)
    equation = "s(max(n - {steps}, 0)); s(n) = {schedule}"
    _method = "delay"

    def __init__(self, schedule: RateLike, steps: int) -> None:
        super().__init__(schedule=schedule, steps=steps)


class Advance(Schedule, schedule=as_schedule, steps=natural):
    """A schedule without its first updates: see `Schedule.advance`.

    Examples
    --------
    >>> Advance(Custom(lambda n: 1 / (n + 1)), steps=2)(1)
    0.25
    """

    __slots__ = ()
    curve = staticmethod(curves.advance)
    equation = "s(n + {steps}); s(n) = {schedule}"
    _method = "advance"

    def __init__(self, schedule: RateLike, steps: int) -> None:
        super().__init__(schedule=schedule, steps=steps)


class Every(Schedule, schedule=as_schedule, steps=positive_integer):
    """A schedule that counts epochs instead of updates: see `Schedule.every`.

    Examples
    --------
    >>> Every(Custom(lambda n: 1 / (n + 1)), steps=10)(39)
    0.25
    """

    __slots__ = ()
    curve = staticmethod(curves.every)
    equation = "s(⌊n/{steps}⌋); s(n) = {schedule}"
    _method = "every"

    def __init__(self, schedule: RateLike, steps: int) -> None:
        super().__init__(schedule=schedule, steps=steps)


class Clip(Schedule, schedule=as_schedule, low=nonnegative, high=nonnegative):
    """A schedule kept within bounds: see `Schedule.clip`.

    Examples
    --------
    >>> Clip(Custom(lambda n: 1 / (n + 1)), 0.2, 0.4)(0)
    0.4
    """

    __slots__ = ()
    curve = staticmethod(curves.clip)
    equation = "min(max(s(n), {low}), {high}); s(n) = {schedule}"
    _method = "clip"

    def __init__(self, schedule: RateLike, low: float, high: float) -> None:
        super().__init__(schedule=schedule, low=low, high=high)
        ordered(self.parameters["low"], self.parameters["high"])


class Product(Schedule, left=as_schedule, right=as_schedule):
    """The product of two schedules: ``s * t``, or ``0.5 * s``.

    Examples
    --------
    >>> (0.5 * Constant(0.5))(0)
    0.25
    """

    __slots__ = ()
    curve = staticmethod(curves.product)
    equation = "{left}·{right}"
    _method = "*"

    def __init__(self, left: RateLike, right: RateLike) -> None:
        super().__init__(left=left, right=right)


class Sum(Schedule, left=as_schedule, right=as_schedule):
    """The sum of two schedules: ``s + t``, or ``0.5 + s``.

    Examples
    --------
    >>> (0.5 + Constant(0.5))(0)
    1.0
    """

    __slots__ = ()
    curve = staticmethod(curves.total)
    equation = "{left} + {right}"
    _method = "+"

    def __init__(self, left: RateLike, right: RateLike) -> None:
        super().__init__(left=left, right=right)
