"""Keras' schedules under their own names: `keras.optimizers.schedules`.

The arguments are Keras' arguments without `name`. ``s(n)`` is the rate while `optimizer.iterations` is n, computed in
float64. Keras' `floatx` is float32 by default, which loses digits of n from 2^24 on.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.keras.CosineDecay(0.0, decay_steps=100, warmup_target=0.5, warmup_steps=10)
>>> s(0), s(10), s(60), s(110)
(0.0, 0.5, 0.25, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pyfastlr_kernels import compat_curves, curves

from .base import Schedule
from .checks import (
    each,
    elapsed,
    flag,
    natural,
    nonnegative,
    number,
    one_more,
    optional,
    positive,
    rates,
    unknown_attribute,
    updates,
)
from .compat import Translated
from .decays import Cosine, Exponential, InverseTime
from .steps import Piecewise

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)


class ExponentialDecay(
    Translated,
    Schedule,
    initial_learning_rate=nonnegative,
    decay_steps=updates,
    decay_rate=positive,
    staircase=flag,
):
    """Exponential decay: ``initial_learning_rate·decay_rate^(n/decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float >= 0
        Rate of the first update.
    decay_steps : float >= 1e-6
        Updates over which the rate changes by the factor decay_rate.
    decay_rate : float > 0
        Factor per `decay_steps` updates.
    staircase : bool, default False
        Round the exponent down.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> ExponentialDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.125

    Notes
    -----
    Ends: initial_learning_rate at n = 0, no last rate; with staircase, changes at n = decay_steps, 2·decay_steps, ...

    Elsewhere: same as `S.Exponential`; optax's exponential_decay takes the two numbers in the same order, and also an
    end value.
    """

    __slots__ = ()

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
        )

    @staticmethod
    def _ours(lr: float, steps: float, rate: float, staircase: bool) -> Schedule:
        return Exponential(lr, rate, steps, staircase)


def _boundaries(value: Any, name: str) -> tuple[float, ...]:
    """Check for strictly increasing numbers >= 0, which need not be integers."""
    numbers: tuple[float, ...] = each(elapsed)(value, name)
    if not all(a < b for a, b in pairwise(numbers)):
        raise ValueError(f"`{name}` must be strictly increasing, got {value!r}")
    return numbers


class PiecewiseConstantDecay(Translated, Schedule, boundaries=_boundaries, values=rates):
    """A rate for each interval: ``values[number of boundaries < n]``.

    Parameters
    ----------
    boundaries : sequence of float >= 0
        Strictly increasing; need not be integers.
    values : sequence of float >= 0
        Rates, one more than there are boundaries.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if `values` is not one longer than `boundaries`.

    Examples
    --------
    >>> s = PiecewiseConstantDecay([10], [0.5, 0.25])
    >>> s(10), s(11)
    (0.5, 0.25)

    Notes
    -----
    Ends: update n = boundary is the last with the old rate.

    Elsewhere: `S.Piecewise`, torch's MultiStepLR and optax's piecewise_constant_schedule change one update earlier.
    """

    __slots__ = ()

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        super().__init__(boundaries=boundaries, values=values)
        one_more(self.parameters["values"], self.parameters["boundaries"])

    @staticmethod
    def _ours(boundaries: tuple[float, ...], values: tuple[float, ...]) -> Schedule:
        # The last of several boundaries before the same update decides.
        changes = {int(boundary) + 1: value for boundary, value in zip(boundaries, values[1:], strict=False)}
        return Piecewise([*changes], [values[0], *changes.values()])


class PolynomialDecay(
    Schedule,
    initial_learning_rate=nonnegative,
    decay_steps=updates,
    end_learning_rate=nonnegative,
    power=positive,
    cycle=flag,
):
    """Polynomial decay: ``end + (initial - end)·(1 - min(n/decay_steps, 1))^power``.

    With `cycle`, the rate falls again after each multiple of decay_steps, each time more slowly and from a lower rate:
    min(n/decay_steps, 1) becomes n divided by the smallest positive multiple >= n.

    Parameters
    ----------
    initial_learning_rate : float >= 0
        Rate of the first update.
    decay_steps : float >= 1e-6
        Updates to the last rate.
    end_learning_rate : float >= 0, default 1e-4
        Last rate.
    power : float > 0, default 1
        Exponent.
    cycle : bool, default False
        Whether the rate falls again.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = PolynomialDecay(0.5, decay_steps=10, end_learning_rate=0.0, cycle=True)
    >>> s(0), s(10), s(11) == 0.5 * 9 / 20, s(15), s(20)
    (0.5, 0.0, True, 0.125, 0.0)

    Notes
    -----
    Ends: initial_learning_rate at n = 0, end_learning_rate from n = decay_steps on; with cycle, end_learning_rate at
    each multiple of decay_steps.

    Elsewhere: without cycle, same as `S.Polynomial` (end 0 by default) and optax's polynomial_schedule (no default
    end); torch's PolynomialLR ends at 0.
    """

    __slots__ = ()
    equation = (
        "{end_learning_rate} + ({initial_learning_rate} - {end_learning_rate})·(1 - min(n/{decay_steps}, 1))^{power}"
    )

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
            cycle=cycle,
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *polynomial, cycle = self.parameters.values()
        curve = curves.polynomial
        if cycle:
            whole = isinstance(self.parameters["decay_steps"], int)
            curve = compat_curves.polynomial_cycle if whole else compat_curves.polynomial_cycle_fractional
        return curve, tuple(polynomial)

    def _equation(self) -> str:
        clamped, whole = "min(n/{decay_steps}, 1)", "n/({decay_steps}·max(⌈n/{decay_steps}⌉, 1))"
        return self.equation.replace(clamped, whole) if self.parameters["cycle"] else self.equation


class InverseTimeDecay(
    Translated,
    Schedule,
    initial_learning_rate=nonnegative,
    decay_steps=updates,
    decay_rate=nonnegative,
    staircase=flag,
):
    """Rate divided by a number that grows linearly: ``initial_learning_rate/(1 + decay_rate·n/decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float >= 0
        Rate of the first update.
    decay_steps : float >= 1e-6
        Updates over which the divisor grows by decay_rate.
    decay_rate : float >= 0
        Growth of the divisor per `decay_steps` updates.
    staircase : bool, default False
        Round n/decay_steps down.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> InverseTimeDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.25

    Notes
    -----
    Ends: initial_learning_rate at n = 0, no last rate; with staircase, changes at n = decay_steps, 2·decay_steps, ...

    Elsewhere: same as `S.InverseTime` with decay = decay_rate/decay_steps; torch and optax lack it.
    """

    __slots__ = ()

    def __init__(
        self, initial_learning_rate: float, decay_steps: float, decay_rate: float, staircase: bool = False
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
        )

    @staticmethod
    def _ours(lr: float, steps: float, rate: float, staircase: bool) -> Schedule:
        if not staircase:
            return InverseTime(lr, rate / steps)
        if not isinstance(steps, int):
            raise ValueError(f"`decay_steps` must be an integer if `staircase` is True, got {steps}")
        return InverseTime(lr, rate).every(steps)


class CosineDecay(
    Translated,
    Schedule,
    initial_learning_rate=nonnegative,
    decay_steps=updates,
    alpha=nonnegative,
    warmup_target=optional(nonnegative),
    warmup_steps=natural,
):
    """Cosine decay: ``initial·(alpha + (1 - alpha)·(1 + cos(π·min(n/decay_steps, 1)))/2)``.

    With warmup_target, a linear warm-up rises to that rate, and the cosine falls from it.

    Parameters
    ----------
    initial_learning_rate : float >= 0
        Rate of the first update.
    decay_steps : float >= 1e-6
        Updates of the decay, without the warm-up.
    alpha : float >= 0, default 0
        The last rate divided by the highest.
    warmup_target : float >= 0
        Rate after the warm-up; by default there is no warm-up. Keyword-only, because in Keras `name` comes before it.
    warmup_steps : int >= 0, default 0
        Updates of the warm-up; ignored without warmup_target.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineDecay(0.25, decay_steps=100, alpha=0.5, warmup_target=0.5, warmup_steps=10)
    >>> s(0), s(10), s(60), s(110)
    (0.25, 0.5, 0.375, 0.25)

    Notes
    -----
    Ends: initial_learning_rate at n = 0, warmup_target at warmup_steps, alpha times the highest rate from
    n = warmup_steps + decay_steps on.

    Elsewhere: same as `S.Cosine` with `.warmup`; the decay_steps of optax's warmup_cosine_decay_schedule include the
    warm-up, and its end is a rate; torch's CosineAnnealingLR rises again.
    """

    __slots__ = ()

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        *,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            alpha=alpha,
            warmup_target=warmup_target,
            warmup_steps=warmup_steps,
        )

    @staticmethod
    def _ours(lr: float, steps: float, alpha: float, target: float | None, warmup: int) -> Schedule:
        if target is None:
            return Cosine(lr, steps, lr * alpha)
        return Cosine(target, steps, target * alpha).warmup(warmup, lr)


class CosineDecayRestarts(
    Schedule,
    initial_learning_rate=nonnegative,
    first_decay_steps=updates,
    t_mul=number("a number >= 1 and <= 2**53", 1.0, 2.0**53),
    m_mul=positive,
    alpha=nonnegative,
):
    """Cosine with restarts: ``initial·(alpha + (1 - alpha)·m_mul^i·(1 + cos(π·m/(first_decay_steps·t_mul^i)))/2)``.

    This is the rate at update m of cycle i.

    Parameters
    ----------
    initial_learning_rate : float >= 0
        Rate of the first update.
    first_decay_steps : float >= 1e-6
        Updates in the first cycle; need not be an integer.
    t_mul : float >= 1, default 2
        Length of each cycle divided by that of the one before; need not be an integer.
    m_mul : float > 0, default 1
        Height of each peak above the end, divided by that of the one before. Above 1, the peaks grow; alpha must then
        be at most 1, because otherwise the rate would become negative.
    alpha : float >= 0, default 0
        The end, which each cycle falls towards, divided by initial_learning_rate.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineDecayRestarts(0.5, first_decay_steps=10, m_mul=0.5)
    >>> s(0), s(5), s(10), s(20), s(30)
    (0.5, 0.25, 0.25, 0.125, 0.125)

    Notes
    -----
    Ends: a restart comes where the cosine would reach the end; never stops. Keras computes the cycle with a
    logarithm. Where that rounds down, its rate at a restart is the end, not the peak: in float32 with t_mul = 7, at the
    third restart.

    Elsewhere: same as `S.CosineRestarts` if alpha = 0; otherwise m_mul scales another height; torch's
    CosineAnnealingWarmRestarts has no m_mul, and its T_mult is 1 by default.
    """

    __slots__ = ()
    equation = (
        "{initial_learning_rate}·({alpha} + (1 - {alpha})·{m_mul}^i·(1 + cos(π·m/({first_decay_steps}·{t_mul}^i)))/2) "
        "at update m of cycle i"
    )

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            first_decay_steps=first_decay_steps,
            t_mul=t_mul,
            m_mul=m_mul,
            alpha=alpha,
        )
        if self.parameters["m_mul"] > 1.0 and self.parameters["alpha"] > 1.0:
            raise ValueError(f"`alpha` must be at most 1 if `m_mul` is above 1, got {self.parameters['alpha']}")

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, *cycles, alpha = self.parameters.values()
        return compat_curves.scaled_restarts, (lr, *cycles, lr * alpha)
