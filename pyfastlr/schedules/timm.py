"""timm's schedulers under their own names: `timm.scheduler`.

The arguments are timm's, with the optimizer's rate `lr` in place of `optimizer`. `t_in_epochs` and `initialize` are
left out: a schedule counts whatever it is called with, and has no state. The noise arguments are left out: the noise
comes from torch's random generator. ``s(n)`` is the rate after timm's ``step_update(n)``, or ``step(n)`` for epochs;
``.every(k)`` makes k updates of an epoch.

PlateauLRScheduler is missing, because it is not a function of n.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.timm.CosineLRScheduler(0.5, t_initial=100, warmup_t=10, warmup_prefix=True)
>>> s(0), s(5), s(10), s(60), s(110)
(0.0, 0.25, 0.5, 0.25, 0.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .algebra import Constant
from .base import Schedule
from .checks import each, elapsed, flag, natural, nonnegative, positive, positive_integer, unknown_attribute, updates
from .compat import Translated
from .decays import Cosine, Exponential, Linear, Polynomial, Tanh, bounded
from .steps import Piecewise
from .timm_cycles import MULT, LimitedCosine, LimitedPolynomial, LimitedTanh
from .timm_wsd import WSDLRScheduler

__all__ = [
    "CosineLRScheduler",
    "MultiStepLRScheduler",
    "PolyLRScheduler",
    "StepLRScheduler",
    "TanhLRScheduler",
    "WSDLRScheduler",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)

WARMUP = {"warmup_t": natural, "warmup_lr_init": nonnegative, "warmup_prefix": flag}
CYCLES = {
    "lr": nonnegative,
    "t_initial": positive_integer,
    "lr_min": nonnegative,
    "cycle_mul": MULT,
    "cycle_decay": positive,
    "cycle_limit": natural,
}


def _warmed(schedule: Schedule, target: float, steps: int, start: float, prefix: bool) -> Schedule:
    """Return the schedule with timm's warm-up, which replaces its first updates unless it is a prefix."""
    if not steps:
        return schedule
    rest = schedule if prefix else schedule.advance(steps)
    if rest(0) == target:
        return rest.warmup(steps, start)
    return Linear(start, target, steps).then(rest, at=steps)


class CosineLRScheduler(Translated, Schedule, **CYCLES, **WARMUP, k_decay=positive):
    """Cosine cycles: ``lr_min + (lr·cycle_decay^i - lr_min)·(1 + cos(π·(m/(t_initial·cycle_mul^i))^k_decay))/2``.

    This is the rate at update m of cycle i < cycle_limit; then it is lr_min.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update without a warm-up.
    t_initial : int >= 1
        Updates in the first cycle.
    lr_min : float >= 0, default 0
        Rate that each cycle falls towards, and the last rate.
    cycle_mul : float >= 1, default 1
        Length of each cycle divided by that of the one before.
    cycle_decay : float > 0, default 1
        Peak of each cycle divided by that of the one before.
    cycle_limit : int >= 0, default 1
        Number of cycles.
    warmup_t : int >= 0, default 0
        Updates of the linear warm-up, from warmup_lr_init to lr.
    warmup_lr_init : float >= 0, default 0
        First rate of the warm-up.
    warmup_prefix : bool, default False
        Whether the cycles start after the warm-up. Otherwise they start at n = 0 and the warm-up hides their first
        updates, so the rate jumps from lr to that of update warmup_t.
    k_decay : float > 0, default 1
        Exponent of the elapsed fraction of a cycle.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineLRScheduler(0.5, t_initial=100, cycle_decay=0.5, cycle_limit=2)
    >>> s(0), s(50), s(100), s(200)
    (0.5, 0.25, 0.25, 0.0)
    >>> s = CosineLRScheduler(0.5, t_initial=100, warmup_t=50)
    >>> s(49), s(50)
    (0.49, 0.25)

    Notes
    -----
    Ends: warmup_lr_init at n = 0 (lr without a warm-up), lr_min from the end of the last cycle on. timm finds the cycle
    with a logarithm if cycle_mul is above 1; where that rounds down, its rate at a restart is lr_min, here too.

    Elsewhere: same as `S.Cosine` for one cycle; `S.CosineRestarts` never stops; torch's CosineAnnealingWarmRestarts
    does not lower the peaks.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        t_initial: int,
        lr_min: float = 0.0,
        cycle_mul: float = 1.0,
        cycle_decay: float = 1.0,
        cycle_limit: int = 1,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
        warmup_prefix: bool = False,
        k_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            t_initial=t_initial,
            lr_min=lr_min,
            cycle_mul=cycle_mul,
            cycle_decay=cycle_decay,
            cycle_limit=cycle_limit,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
            warmup_prefix=warmup_prefix,
            k_decay=k_decay,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, steps, end, mult, decay, limit, *warmup, k_decay = parameters
        cycles = (
            Cosine(lr, steps, end, k_decay)
            if limit == 1
            else LimitedCosine(lr, steps, end, mult, decay, limit, k_decay)
        )
        return _warmed(cycles, lr, *warmup)


class PolyLRScheduler(
    Translated,
    Schedule,
    **{name: CYCLES[name] for name in ("lr", "t_initial")},
    power=positive,
    **{name: CYCLES[name] for name in ("lr_min", "cycle_mul", "cycle_decay", "cycle_limit")},
    **WARMUP,
    k_decay=positive,
):
    """Polynomial cycles: ``lr_min + (lr·cycle_decay^i - lr_min)·(1 - (m/(t_initial·cycle_mul^i))^k_decay)^power``.

    This is the rate at update m of cycle i < cycle_limit; then it is lr_min.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update without a warm-up.
    t_initial : int >= 1
        Updates in the first cycle.
    power : float > 0, default 0.5
        Exponent.
    lr_min, cycle_mul, cycle_decay, cycle_limit, warmup_t, warmup_lr_init, warmup_prefix, k_decay
        As those of `CosineLRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = PolyLRScheduler(0.5, t_initial=100, power=2.0)
    >>> s(0), s(50), s(100)
    (0.5, 0.125, 0.0)

    Notes
    -----
    Ends: those of `CosineLRScheduler`.

    Elsewhere: same as `S.Polynomial` for one cycle, with another default power; torch's PolynomialLR ends at 0.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        t_initial: int,
        power: float = 0.5,
        lr_min: float = 0.0,
        cycle_mul: float = 1.0,
        cycle_decay: float = 1.0,
        cycle_limit: int = 1,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
        warmup_prefix: bool = False,
        k_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            t_initial=t_initial,
            power=power,
            lr_min=lr_min,
            cycle_mul=cycle_mul,
            cycle_decay=cycle_decay,
            cycle_limit=cycle_limit,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
            warmup_prefix=warmup_prefix,
            k_decay=k_decay,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, steps, power, end, mult, decay, limit, *warmup, k_decay = parameters
        cycles = (
            Polynomial(lr, steps, end, power, k_decay)
            if limit == 1
            else LimitedPolynomial(lr, steps, end, mult, decay, limit, k_decay, power)
        )
        return _warmed(cycles, lr, *warmup)


class TanhLRScheduler(
    Translated,
    Schedule,
    **{name: CYCLES[name] for name in ("lr", "t_initial")},
    lb=bounded,
    ub=bounded,
    **{name: CYCLES[name] for name in ("lr_min", "cycle_mul", "cycle_decay", "cycle_limit")},
    **WARMUP,
):
    """Cycles of the hyperbolic tangent: ``lr_min + (lr·cycle_decay^i - lr_min)·(1 - tanh(lb + (ub - lb)·x))/2``.

    This is the rate where the fraction x of cycle i < cycle_limit has passed; then it is lr_min.

    Parameters
    ----------
    lr : float >= 0
        Rate that the first cycle starts just below.
    t_initial : int >= 1
        Updates in the first cycle.
    lb, ub : float >= -300 and <= 300, default -7 and 3
        Arguments of the hyperbolic tangent at the ends of a cycle; ub must be the larger.
    lr_min, cycle_mul, cycle_decay, cycle_limit
        As those of `CosineLRScheduler`.
    warmup_t, warmup_lr_init, warmup_prefix
        As those of `CosineLRScheduler`, but without warmup_prefix the warm-up ends at the rate of update warmup_t.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if ub is not above lb.

    Examples
    --------
    >>> s = TanhLRScheduler(0.5, t_initial=100)
    >>> round(s(0), 6), round(s(70), 6), s(100)
    (0.5, 0.25, 0.0)

    Notes
    -----
    Ends: without a warm-up, s(0) is below lr by 8e-7 of it; timm itself uses lr until the first call of step_update.
    lr_min from the end of the last cycle on.

    Elsewhere: same as `S.Tanh` for one cycle; torch, Keras and optax lack it.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        t_initial: int,
        lb: float = -7.0,
        ub: float = 3.0,
        lr_min: float = 0.0,
        cycle_mul: float = 1.0,
        cycle_decay: float = 1.0,
        cycle_limit: int = 1,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
        warmup_prefix: bool = False,
    ) -> None:
        super().__init__(
            lr=lr,
            t_initial=t_initial,
            lb=lb,
            ub=ub,
            lr_min=lr_min,
            cycle_mul=cycle_mul,
            cycle_decay=cycle_decay,
            cycle_limit=cycle_limit,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
            warmup_prefix=warmup_prefix,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, steps, low, high, end, mult, decay, limit, warmup, start, prefix = parameters
        if not low < high:
            raise ValueError(f"`ub` must be above `lb` ({low}), got {high}")
        cycles = (
            Tanh(lr, steps, end, low, high)
            if limit == 1
            else LimitedTanh(lr, steps, end, mult, decay, limit, low, high)
        )
        return _warmed(cycles, lr if prefix else cycles(warmup), warmup, start, prefix)


class StepLRScheduler(Translated, Schedule, lr=nonnegative, decay_t=updates, decay_rate=positive, **WARMUP):
    """A factor of decay_rate every `decay_t` updates: ``lr·decay_rate^⌊n/decay_t⌋``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first change.
    decay_t : float >= 1e-6
        Updates between changes; need not be an integer.
    decay_rate : float > 0, default 1
        Factor of each change.
    warmup_t, warmup_lr_init
        As those of `CosineLRScheduler`.
    warmup_prefix : bool, default True
        Whether n counts from the end of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = StepLRScheduler(0.5, decay_t=30, decay_rate=0.5)
    >>> s(29), s(30)
    (0.5, 0.25)

    Notes
    -----
    Ends: changes at n = decay_t, 2·decay_t, ...

    Elsewhere: same as torch's StepLR and `S.Exponential` with staircase.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        decay_t: float,
        decay_rate: float = 1.0,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
        warmup_prefix: bool = True,
    ) -> None:
        super().__init__(
            lr=lr,
            decay_t=decay_t,
            decay_rate=decay_rate,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
            warmup_prefix=warmup_prefix,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, every, rate, *warmup = parameters
        steps = Constant(lr) if rate == 1.0 else Exponential(lr, rate, every, staircase=True)
        return _warmed(steps, lr, *warmup)


def _sorted(value: Any, name: str) -> tuple[float, ...]:
    """Check for numbers >= 0 that do not decrease."""
    numbers: tuple[float, ...] = each(elapsed)(value, name)
    if not all(a <= b for a, b in pairwise(numbers)):
        raise ValueError(f"`{name}` must not decrease, got {value!r}")
    return numbers


class MultiStepLRScheduler(Translated, Schedule, lr=nonnegative, decay_t=_sorted, decay_rate=positive, **WARMUP):
    """A factor of decay_rate one update before each milestone: ``lr·decay_rate^(number of decay_t <= n + 1)``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first change.
    decay_t : sequence of float >= 0
        Not decreasing; a milestone given twice counts twice.
    decay_rate : float > 0, default 1
        Factor of each change.
    warmup_t, warmup_lr_init
        As those of `CosineLRScheduler`.
    warmup_prefix : bool, default True
        Whether n counts from the end of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = MultiStepLRScheduler(0.5, decay_t=[30, 60], decay_rate=0.5)
    >>> s(28), s(29), s(59)
    (0.5, 0.25, 0.125)

    Notes
    -----
    Ends: update n = milestone - 1 is the first with the new rate. With a milestone of 0 or 1, that is update 0; timm
    itself uses lr until the first call of step_update.

    Elsewhere: torch's MultiStepLR and `S.MultiStep` change one update later.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        decay_t: Sequence[float],
        decay_rate: float = 1.0,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
        warmup_prefix: bool = True,
    ) -> None:
        super().__init__(
            lr=lr,
            decay_t=decay_t,
            decay_rate=decay_rate,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
            warmup_prefix=warmup_prefix,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, milestones, rate, *warmup = parameters
        # n + 1 >= m where n >= ⌈m⌉ - 1; the last of several milestones before the same update decides.
        passed = {max(-int(-m // 1) - 1, 0): count for count, m in enumerate(milestones, 1)}
        steps = Piecewise([*passed], [lr * rate ** float(count) for count in (0, *passed.values())])
        return _warmed(steps, lr, *warmup)
