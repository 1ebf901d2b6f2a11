"""Shared code of the other libraries' schedules: `Translated`, two schedules that ours lack, and argument checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Any, ClassVar

from pyfastlr_kernels import compat_curves, curves

from .algebra import as_schedule
from .base import Schedule
from .checks import choice, function, increasing, natural, nonnegative, one_more, positive, rates, updates

FALLS: dict[str, Callable[[float], float]] = {"cosine": curves.cosine_fall, "linear": curves.linear_fall}


def called(value: Any, name: str) -> Schedule:
    """Check for a callable; return it as a schedule."""
    return as_schedule(function(value, name))


def staircase_of(init_value: Any, boundaries_and_scales: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Check optax's dict of update to factor; return the updates in order and the running products of the factors."""
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
    """Mixin for another library's name and arguments of a schedule that ours can express. List it before `Schedule`.

    A subclass defines `_ours`, a static method that makes our schedule from the checked parameters.
    """

    __slots__ = ()
    _ours: ClassVar[Callable[..., Schedule]]
    _compiled: Callable[[int], float] | None
    parameters: Mapping[str, Any]

    def native(self) -> Schedule:
        """Return the equivalent pyfastlr schedule.

        Examples
        --------
        >>> from pyfastlr import schedules as S
        >>> S.torch.StepLR(0.5, step_size=30).native()
        Exponential(lr=0.5, rate=0.1, steps=30, staircase=True)
        """
        return type(self)._ours(*self.parameters.values())

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        return self.native()._bound()

    @property
    def compiled(self) -> Callable[[int], float]:
        """`Schedule.compiled` of `native()`."""
        if self._compiled is None:
            object.__setattr__(self, "_compiled", self.native().compiled)
        return self._compiled  # type: ignore[return-value]

    @property
    def formula(self) -> str:
        """The equation of `native()` with this schedule's numbers, on one line."""
        return self.native().formula


class CosinePower(Schedule, lr=nonnegative, steps=updates, end=nonnegative, exponent=positive):
    """Cosine decay raised to a power: ``end + (lr - end)·((1 + cos(π·min(n/steps, 1)))/2)^exponent``.

    optax's cosine schedules return this if their exponent is not 1.

    Examples
    --------
    >>> s = CosinePower(0.5, steps=100, end=0.0, exponent=2.0)
    >>> s(0), round(s(50), 12), s(100)
    (0.5, 0.125, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.cosine_power)
    equation = "{end} + ({lr} - {end})·((1 + cos(π·min(n/{steps}, 1)))/2)^{exponent}"

    def __init__(self, lr: float, steps: float, end: float, exponent: float) -> None:
        super().__init__(lr=lr, steps=steps, end=end, exponent=exponent)


class Interpolated(Schedule, boundaries=increasing, values=rates, interpolation=choice(*FALLS)):
    """Linear or cosine interpolation between values: the first at n = 0, the others at their boundaries.

    optax's interpolating schedules return this.

    Examples
    --------
    >>> s = Interpolated([10, 30], [0.0, 1.0, 0.5], "linear")
    >>> [s(n) for n in (0, 5, 10, 20, 30, 31)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
    """

    __slots__ = ()
    equation = "{values} at 0 and {boundaries}, {interpolation} between them"

    def __init__(self, boundaries: Sequence[int], values: Sequence[float], interpolation: str) -> None:
        super().__init__(boundaries=boundaries, values=values, interpolation=interpolation)
        one_more(self.parameters["values"], self.parameters["boundaries"])

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        boundaries, values, interpolation = self.parameters.values()
        return compat_curves.interpolated, (FALLS[interpolation], boundaries, values)
