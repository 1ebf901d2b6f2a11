"""Keras' schedules with a cosine: see `pyfastlr.schedules.keras`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr.schedules._checks import factor, natural, nonnegative, number, positive_integer
from pyfastlr.schedules._decays import Cosine
from pyfastlr.schedules._foreign import Translated
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import compat_curves

_growth = number("a number >= 1 and <= 2**53", 1.0, 2.0**53)


class CosineDecay(Translated, Schedule):
    """Half a period of the cosine: ``initial·(alpha + (1 - alpha)·(1 + cos(π·min(n/decay_steps, 1)))/2)``.

    With warmup_target it is that of warmup_target, behind a straight line up to it.

    Parameters
    ----------
    initial_learning_rate : float
        Rate of the first update, >= 0.
    decay_steps : int
        Updates of the fall, >= 1, without those of the warm-up.
    alpha : float
        The last rate over the highest, >= 0.
    warmup_target : float
        Rate after the warm-up, >= 0; there is none if not given. By name only: in Keras `name` comes before it.
    warmup_steps : int
        Updates of the warm-up, >= 0; not asked for without warmup_target.

    Examples
    --------
    >>> s = CosineDecay(0.25, decay_steps=100, alpha=0.5, warmup_target=0.5, warmup_steps=10)
    >>> s(0), s(10), s(60), s(110)
    (0.25, 0.5, 0.375, 0.25)

    Notes
    -----
    Ends: initial_learning_rate at n = 0, warmup_target at warmup_steps, alpha times the highest from n = warmup_steps +
    decay_steps on.

    Elsewhere: as `S.Cosine` with `.warmup`; optax's warmup_cosine_decay_schedule counts the warm-up in decay_steps, and
    has a rate for the end; torch's CosineAnnealingLR rises again.
    """

    __slots__ = ()

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        *,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            initial_learning_rate=nonnegative(initial_learning_rate, "initial_learning_rate"),
            decay_steps=positive_integer(decay_steps, "decay_steps"),
            alpha=nonnegative(alpha, "alpha"),
            warmup_target=None if warmup_target is None else nonnegative(warmup_target, "warmup_target"),
            warmup_steps=natural(warmup_steps, "warmup_steps"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, steps, alpha, target, warmup = self.parameters.values()
        if target is None:
            return Cosine(lr, steps, lr * alpha)
        return Cosine(target, steps, target * alpha).warmup(warmup, lr)


class CosineDecayRestarts(Schedule):
    """Cosine again and again: ``initial·(alpha + (1 - alpha)·m_mul^i·(1 + cos(π·m/(first_decay_steps·t_mul^i)))/2)``.

    At update m of cycle i.

    Parameters
    ----------
    initial_learning_rate : float
        Rate of the first update, >= 0.
    first_decay_steps : int
        Updates in the first cycle, >= 1.
    t_mul : float
        Each cycle is so many times as long as the last, >= 1; need not be an integer.
    m_mul : float
        Each cycle starts so many times as high above the end as the last, > 0 and <= 1.
    alpha : float
        What each cycle falls towards over initial_learning_rate, >= 0.

    Examples
    --------
    >>> s = CosineDecayRestarts(0.5, first_decay_steps=10, m_mul=0.5)
    >>> s(0), s(5), s(10), s(20), s(30)
    (0.5, 0.25, 0.25, 0.125, 0.125)

    Notes
    -----
    Ends: a restart comes where the cosine would meet the end; never stops. Keras finds the cycle by a logarithm, and
    has the end for the start where that is rounded down: in float32 with t_mul = 7 at the third restart.

    Elsewhere: as `S.CosineRestarts` if alpha = 0, else m_mul scales another height; torch's CosineAnnealingWarmRestarts
    has no m_mul, and T_mult = 1 by default.
    """

    __slots__ = ()
    equation = (
        "{initial_learning_rate}·({alpha} + (1 - {alpha})·{m_mul}^i·(1 + cos(π·m/({first_decay_steps}·{t_mul}^i)))/2) "
        "at update m of cycle i"
    )

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        super().__init__(
            initial_learning_rate=nonnegative(initial_learning_rate, "initial_learning_rate"),
            first_decay_steps=positive_integer(first_decay_steps, "first_decay_steps"),
            t_mul=_growth(t_mul, "t_mul"),
            m_mul=factor(m_mul, "m_mul"),
            alpha=nonnegative(alpha, "alpha"),
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, *cycles, alpha = self.parameters.values()
        return compat_curves.scaled_restarts, (lr, *cycles, lr * alpha)
