"""Schedules made of schedules, and what they start from: a constant, a callable.

Their examples are in the methods of `Schedule` that make them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from pyfastlr.schedules import _checks
from pyfastlr.schedules._schedule import RateLike, Schedule
from pyfastlr_kernels import curves


def as_schedule(value: Any, name: str = "lr") -> Schedule:
    """Schedule from a number, a schedule or any other callable ``n -> float``; `name` is for the error.

    Examples
    --------
    >>> as_schedule(1e-3)
    Constant(lr=0.001)
    >>> (as_schedule(lambda n: 1 / (n + 1)) * 0.5)(3)
    0.125
    """
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return Custom(value)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"`{name}` must be a number, a schedule or a callable n -> float, got {value!r}")
    return Constant(_checks.nonnegative(value, name))


def join(schedules: Sequence[RateLike], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another: each from its own beginning as of its boundary, an index of the whole.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        At least one.
    boundaries : sequence of int
        Strictly increasing, >= 0, one fewer; update n belongs to the schedule after a boundary if n >= boundary.

    Raises
    ------
    TypeError, ValueError
        Something else, naming it.

    Examples
    --------
    >>> s = join([Constant(0.1), Constant(0.01)], [30])
    >>> s(29), s(30)
    (0.1, 0.01)
    >>> s == Constant(0.1).then(Constant(0.01), at=30)
    True

    Notes
    -----
    optax.join_schedules is the same. torch's SequentialLR counts alike.
    """
    parts = _checks.each(as_schedule)(schedules, "schedules")
    at = _checks.increasing(boundaries, "boundaries")
    if len(parts) != len(at) + 1:
        raise ValueError(f"`boundaries` must be one fewer than the {len(parts)} schedules, got {len(at)}")
    result: Schedule = parts[0]
    for part, boundary in zip(parts[1:], at, strict=True):
        result = result.then(part, boundary)
    return result


class Constant(Schedule):
    """The same rate at every update: ``lr``.

    Parameters
    ----------
    lr : float
        Rate, >= 0.

    Examples
    --------
    >>> Constant(0.1)(1_000_000)
    0.1

    Notes
    -----
    Ends: none.

    Elsewhere: torch's ConstantLR is a warm-up (a third of the rate for 5 updates); optax.constant_schedule is this.
    """

    __slots__ = ()
    curve = staticmethod(curves.constant)
    equation = "{lr}"

    def __init__(self, lr: float) -> None:
        super().__init__(lr=_checks.nonnegative(lr, "lr"))


class Custom(Schedule):
    """A callable ``n -> float`` of your own, as `as_schedule` takes it: ``function(n)``.

    It has the algebra, but no JSON form and no `compiled`. What it returns is not checked here.

    Examples
    --------
    >>> Custom(lambda n: 1 / (n + 1))(3)
    0.25
    """

    __slots__ = ()
    equation = "{function}(n)"

    def __init__(self, function: Callable[[int], float]) -> None:
        super().__init__(function=_checks.function(function, "function"))

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        return self.parameters["function"], ()

    @property
    def compiled(self) -> NoReturn:
        """Refused: the callable is any Python."""
        raise TypeError(
            f"a schedule around {self.parameters['function']!r} cannot be compiled: write a Schedule class with a curve"
        )

    def to_dict(self) -> NoReturn:
        """Refused: the callable is any Python."""
        raise TypeError(
            f"a schedule around {self.parameters['function']!r} has no JSON form: write a Schedule class with a curve"
        )


class Warmup(Schedule):
    """A straight line from `start` to s(0) put in front of a schedule s: see `Schedule.warmup`.

    Examples
    --------
    >>> Warmup(Constant(0.5), steps=4)(1) == Constant(0.5).warmup(4)(1) == 0.125
    True
    """

    __slots__ = ()
    curve = staticmethod(curves.warmup)
    equation = "{start} + (s(0) - {start})·n/{steps} for n < {steps}, then s(n - {steps}); s(n) = {schedule}"

    def __init__(self, schedule: RateLike, steps: int, start: float = 0.0) -> None:
        super().__init__(
            schedule=as_schedule(schedule, "schedule"),
            steps=_checks.natural(steps, "steps"),
            start=_checks.nonnegative(start, "start"),
        )


class Then(Schedule):
    """One schedule, and as of update `at` another from its own beginning: see `Schedule.then` and `join`.

    Examples
    --------
    >>> [Then(Constant(0.1), Constant(0.2), at=5)(n) for n in (4, 5)]
    [0.1, 0.2]
    """

    __slots__ = ()
    curve = staticmethod(curves.then)
    equation = "s(n) for n < {at}, then t(n - {at}); s(n) = {first}, t(n) = {second}"

    def __init__(self, first: RateLike, second: RateLike, at: int) -> None:
        super().__init__(
            first=as_schedule(first, "first"), second=as_schedule(second, "second"), at=_checks.natural(at, "at")
        )


class Delay(Schedule):
    """A schedule whose first value is held longer: see `Schedule.delay`.

    Examples
    --------
    >>> Delay(Custom(lambda n: 1 / (n + 1)), steps=10)(11)
    0.5
    """

    __slots__ = ()
    curve = staticmethod(curves.delay)
    equation = "s(max(n - {steps}, 0)); s(n) = {schedule}"

    def __init__(self, schedule: RateLike, steps: int) -> None:
        super().__init__(schedule=as_schedule(schedule, "schedule"), steps=_checks.natural(steps, "steps"))


class Every(Schedule):
    """A schedule that counts epochs instead of updates: see `Schedule.every`.

    Examples
    --------
    >>> Every(Custom(lambda n: 1 / (n + 1)), steps=10)(39)
    0.25
    """

    __slots__ = ()
    curve = staticmethod(curves.every)
    equation = "s(⌊n/{steps}⌋); s(n) = {schedule}"

    def __init__(self, schedule: RateLike, steps: int) -> None:
        super().__init__(schedule=as_schedule(schedule, "schedule"), steps=_checks.positive_integer(steps, "steps"))


class Clip(Schedule):
    """A schedule kept within bounds: see `Schedule.clip`.

    Examples
    --------
    >>> Clip(Custom(lambda n: 1 / (n + 1)), 0.2, 0.4)(0)
    0.4
    """

    __slots__ = ()
    curve = staticmethod(curves.clip)
    equation = "min(max(s(n), {low}), {high}); s(n) = {schedule}"

    def __init__(self, schedule: RateLike, low: float, high: float) -> None:
        low, high = _checks.nonnegative(low, "low"), _checks.nonnegative(high, "high")
        if low > high:
            raise ValueError(f"`high` must be >= `low` ({low}), got {high}")
        super().__init__(schedule=as_schedule(schedule, "schedule"), low=low, high=high)


class Product(Schedule):
    """The product of two schedules, made by ``s * t`` and ``0.5 * s``.

    Examples
    --------
    >>> (0.5 * Constant(0.5))(0)
    0.25
    """

    __slots__ = ()
    curve = staticmethod(curves.product)
    equation = "{left}·{right}"

    def __init__(self, left: RateLike, right: RateLike) -> None:
        super().__init__(left=as_schedule(left, "left"), right=as_schedule(right, "right"))


class Sum(Schedule):
    """The sum of two schedules, made by ``s + t`` and ``0.5 + s``.

    Examples
    --------
    >>> (0.5 + Constant(0.5))(0)
    1.0
    """

    __slots__ = ()
    curve = staticmethod(curves.total)
    equation = "{left} + {right}"

    def __init__(self, left: RateLike, right: RateLike) -> None:
        super().__init__(left=as_schedule(left, "left"), right=as_schedule(right, "right"))
