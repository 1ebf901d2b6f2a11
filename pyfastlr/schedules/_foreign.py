"""What the schedules of other libraries share: `Translated`, two schedules that ours lack, and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from operator import mul
from typing import Any

from pyfastlr.schedules._checks import (
    choice,
    each,
    increasing,
    integer,
    natural,
    nonnegative,
    number,
    positive,
    positive_integer,
    rates,
)
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import compat_curves, curves

FALLS: dict[str, Callable[[float], float]] = {"cosine": curves.cosine_fall, "linear": curves.linear_fall}

anneal = choice("cos", "linear")
share = number("a number >= 0 and <= 1", 0.0, 1.0)


def nondecreasing(value: Any, name: str) -> tuple[int, ...]:
    """Check for indices of which each may come again."""
    indices: tuple[int, ...] = each(integer(0))(value, name)
    if not all(a <= b for a, b in pairwise(indices)):
        raise ValueError(f"`{name}` must not decrease, got {value!r}")
    return indices


def staircase_of(init_value: Any, boundaries_and_scales: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Check optax's dict of update to factor; gives its updates in order and the running products of the factors."""
    first, scales = nonnegative(init_value, "init_value"), boundaries_and_scales or {}
    if not isinstance(scales, Mapping):
        raise TypeError(f"`boundaries_and_scales` must be a dict of update to factor, got {boundaries_and_scales!r}")
    steps = {
        natural(at, "boundaries_and_scales"): nonnegative(scale, f"boundaries_and_scales[{at}]")
        for at, scale in scales.items()
    }
    at = tuple(sorted(steps))
    return at, tuple(accumulate((steps[n] for n in at), mul, initial=first))


class Translated:
    """Mixin before `Schedule`: another library's name and arguments for what ours can say, which `native` does."""

    __slots__ = ()

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        raise NotImplementedError

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        return self.native()._bound()

    @property
    def formula(self) -> str:
        """The schedule with its numbers, in one line."""
        return self.native().formula


class CosinePower(Schedule):
    """Half a period of the cosine to a power: ``end + (lr - end)·((1 + cos(π·min(n/steps, 1)))/2)^exponent``.

    What optax's cosine schedules are if their exponent is not 1.

    Examples
    --------
    >>> s = CosinePower(0.5, steps=100, end=0.0, exponent=2.0)
    >>> s(0), round(s(50), 12), s(100)
    (0.5, 0.125, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.cosine_power)
    equation = "{end} + ({lr} - {end})·((1 + cos(π·min(n/{steps}, 1)))/2)^{exponent}"

    def __init__(self, lr: float, steps: int, end: float, exponent: float) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            steps=positive_integer(steps, "steps"),
            end=nonnegative(end, "end"),
            exponent=positive(exponent, "exponent"),
        )


class Interpolated(Schedule):
    """From value to value, on straight lines or halves of a cosine: the first at n = 0, each other at its boundary.

    What optax's interpolating schedules are.

    Examples
    --------
    >>> s = Interpolated([10, 30], [0.0, 1.0, 0.5], "linear")
    >>> [s(n) for n in (0, 5, 10, 20, 30, 31)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    """

    __slots__ = ()
    equation = "{values} at 0 and {boundaries}, {interpolation} between them"

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], interpolation: str) -> None:
        boundaries, values = increasing(boundaries, "boundaries"), rates(values, "values")
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"`values` must be one more than the {len(boundaries)} boundaries, got {len(values)}")
        super().__init__(
            boundaries=boundaries, values=values, interpolation=choice(*FALLS)(interpolation, "interpolation")
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        boundaries, values, interpolation = self.parameters.values()
        return compat_curves.interpolated, (FALLS[interpolation], boundaries, values)
