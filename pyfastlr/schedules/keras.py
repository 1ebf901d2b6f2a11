"""Keras' schedules under their names: `keras.optimizers.schedules`.

The arguments are Keras', but for `name`, which means nothing here. ``s(n)`` is the rate while `optimizer.iterations`
is n, computed in float64; Keras' `floatx` is float32 by default, and loses digits of n from 2^24 on.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.keras.CosineDecay(0.0, decay_steps=100, warmup_target=0.5, warmup_steps=10)
>>> s(0), s(10), s(60), s(110)
(0.0, 0.5, 0.25, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyfastlr.schedules._checks import flag, increasing, nonnegative, positive, positive_integer, rates
from pyfastlr.schedules._decays import Exponential, InverseTime
from pyfastlr.schedules._foreign import Translated
from pyfastlr.schedules._keras_cosines import CosineDecay, CosineDecayRestarts
from pyfastlr.schedules._schedule import Schedule, fill
from pyfastlr.schedules._stairs import Piecewise
from pyfastlr_kernels import compat_curves, curves

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
]


class ExponentialDecay(Translated, Schedule):
    """A factor every so many updates: ``initial_learning_rate·decay_rate^(n/decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        Rate of the first update, >= 0.
    decay_steps : int
        Updates that decay_rate is spread over, >= 1.
    decay_rate : float
        Factor per `decay_steps` updates, > 0.
    staircase : bool
        The exponent is rounded down.

    Examples
    --------
    >>> ExponentialDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.125

    Notes
    -----
    Ends: initial_learning_rate at n = 0, to no end; with staircase it changes at n = decay_steps, 2·decay_steps, ...

    Elsewhere: as `S.Exponential`; optax's exponential_decay has the two numbers in the same order, and an end.
    """

    __slots__ = ()

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        super().__init__(
            initial_learning_rate=nonnegative(initial_learning_rate, "initial_learning_rate"),
            decay_steps=positive_integer(decay_steps, "decay_steps"),
            decay_rate=positive(decay_rate, "decay_rate"),
            staircase=flag(staircase, "staircase"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, steps, rate, staircase = self.parameters.values()
        return Exponential(lr, rate, steps, staircase)


class PiecewiseConstantDecay(Translated, Schedule):
    """A rate for each interval: ``values[number of boundaries < n]``.

    Parameters
    ----------
    boundaries : sequence of int
        Strictly increasing, >= 0.
    values : sequence of float
        Rates, >= 0, one more.

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

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        boundaries, values = increasing(boundaries, "boundaries"), rates(values, "values")
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"`values` must be one more than the {len(boundaries)} boundaries, got {len(values)}")
        super().__init__(boundaries=boundaries, values=values)

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        boundaries, values = self.parameters.values()
        return Piecewise([boundary + 1 for boundary in boundaries], values)


class PolynomialDecay(Schedule):
    """A power of what is left: ``end + (initial - end)·(1 - min(n/decay_steps, 1))^power``, of the two learning rates.

    With `cycle` it begins to fall again at each multiple of decay_steps, ever slower and from ever lower:
    n over the least such multiple that is not below n stands for min(n/decay_steps, 1).

    Parameters
    ----------
    initial_learning_rate : float
        Rate of the first update, >= 0.
    decay_steps : int
        Updates to the end, >= 1.
    end_learning_rate : float
        Last rate, >= 0.
    power : float
        Exponent, > 0.
    cycle : bool
        As above.

    Examples
    --------
    >>> s = PolynomialDecay(0.5, decay_steps=10, end_learning_rate=0.0, cycle=True)
    >>> s(0), s(10), s(11) == 0.5 * 9 / 20, s(15), s(20)
    (0.5, 0.0, True, 0.125, 0.0)

    Notes
    -----
    Ends: initial_learning_rate at n = 0, end_learning_rate from n = decay_steps on, or with cycle at each multiple of
    it.

    Elsewhere: without cycle as optax's polynomial_schedule and `S.Polynomial`, whose end has no default or is 0;
    torch's PolynomialLR ends at 0.
    """

    __slots__ = ()
    equation = (
        "{end_learning_rate} + ({initial_learning_rate} - {end_learning_rate})·(1 - min(n/{decay_steps}, 1))^{power}"
    )

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        super().__init__(
            initial_learning_rate=nonnegative(initial_learning_rate, "initial_learning_rate"),
            decay_steps=positive_integer(decay_steps, "decay_steps"),
            end_learning_rate=nonnegative(end_learning_rate, "end_learning_rate"),
            power=positive(power, "power"),
            cycle=flag(cycle, "cycle"),
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *polynomial, cycle = self.parameters.values()
        return compat_curves.polynomial_cycle if cycle else curves.polynomial, tuple(polynomial)

    @property
    def formula(self) -> str:
        """The schedule with its numbers, in one line."""
        clamped, whole = "min(n/{decay_steps}, 1)", "n/({decay_steps}·max(⌈n/{decay_steps}⌉, 1))"
        return fill(
            self.equation.replace(clamped, whole) if self.parameters["cycle"] else self.equation, self.parameters
        )


class InverseTimeDecay(Translated, Schedule):
    """Rate over a number that grows linearly: ``initial_learning_rate/(1 + decay_rate·n/decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
        Rate of the first update, >= 0.
    decay_steps : int
        Updates that decay_rate is spread over, >= 1.
    decay_rate : float
        Growth per `decay_steps` updates, >= 0.
    staircase : bool
        n/decay_steps is rounded down.

    Examples
    --------
    >>> InverseTimeDecay(0.5, decay_steps=10, decay_rate=0.5)(20)
    0.25

    Notes
    -----
    Ends: initial_learning_rate at n = 0, to no end; with staircase it changes at n = decay_steps, 2·decay_steps, ...

    Elsewhere: as `S.InverseTime` with decay = decay_rate/decay_steps; torch and optax lack it.
    """

    __slots__ = ()

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False
    ) -> None:
        super().__init__(
            initial_learning_rate=nonnegative(initial_learning_rate, "initial_learning_rate"),
            decay_steps=positive_integer(decay_steps, "decay_steps"),
            decay_rate=nonnegative(decay_rate, "decay_rate"),
            staircase=flag(staircase, "staircase"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, steps, rate, staircase = self.parameters.values()
        return InverseTime(lr, rate).every(steps) if staircase else InverseTime(lr, rate / steps)
