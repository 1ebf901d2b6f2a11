"""timm's WSDLRScheduler and its parts. See `pyfastlr.schedules.timm`."""

from __future__ import annotations

from typing import Any

from pyfastlr_kernels import compat_curves

from .algebra import Constant, as_schedule
from .base import RateLike, Schedule
from .checks import choice, fraction, natural, nonnegative, optional, positive, positive_integer
from .compat import Translated
from .cycles import SHAPES, WSD
from .decays import Linear

STABLE = ("constant", "rsqrt", "power")
DECAYS = ("linear", "1-sqrt", "cosine", "power", "exp")


class FlooredPower(Schedule, lr=nonnegative, timescale=positive, power=positive, floor=nonnegative):
    """A power of the inverse of a growing number, with a lower bound: ``max(lr·(1 + n/timescale)^-power, floor)``.

    Examples
    --------
    >>> s = FlooredPower(0.5, timescale=10.0, power=0.5, floor=0.2)
    >>> s(0), s(30), s(1000)
    (0.5, 0.25, 0.2)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.floored_power)
    equation = "max({lr}·(1 + n/{timescale})^-{power}, {floor})"

    def __init__(self, lr: float, timescale: float, power: float, floor: float) -> None:
        super().__init__(lr=lr, timescale=timescale, power=power, floor=floor)


class PowerFall(Schedule, start=nonnegative, end=nonnegative, steps=positive_integer, power=positive):
    """From start to end with a power of the elapsed fraction: ``start + (end - start)·min(n/steps, 1)^power``.

    Examples
    --------
    >>> s = PowerFall(0.5, 0.0, steps=4, power=0.5)
    >>> s(0), s(1), s(4)
    (0.5, 0.25, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.power_approach)
    equation = "{start} + ({end} - {start})·min(n/{steps}, 1)^{power}"

    def __init__(self, start: float, end: float, steps: int, power: float) -> None:
        super().__init__(start=start, end=end, steps=steps, power=power)


class Blended(Schedule, schedule=as_schedule, share=as_schedule, end=nonnegative):
    """A schedule s that is pulled to `end` as another one, t, falls from 1 to 0: ``end + (s(n) - end)·t(n)``.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> s = Blended(0.5, S.Linear(1.0, 0.0, steps=4), end=0.25)
    >>> s(0), s(2), s(4)
    (0.5, 0.375, 0.25)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.blended)
    equation = "{end} + (s(n) - {end})·t(n); s(n) = {schedule}, t(n) = {share}"

    def __init__(self, schedule: RateLike, share: RateLike, end: float) -> None:
        super().__init__(schedule=schedule, share=share, end=end)


class NormalizedExponential(Schedule, steps=positive_integer, ratio=fraction):
    """Exponential decay that ends at 0: ``(ratio^(n/steps) - ratio)/(1 - ratio)``, then 0.

    Examples
    --------
    >>> s = NormalizedExponential(steps=2, ratio=0.25)
    >>> s(0), round(s(1), 9), s(2)
    (1.0, 0.333333333, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.normalized_exponential)
    equation = "({ratio}^(n/{steps}) - {ratio})/(1 - {ratio}) for n < {steps}, then 0"

    def __init__(self, steps: int, ratio: float) -> None:
        super().__init__(steps=steps, ratio=ratio)


def falling(kind: str, steps: int, power: float, ratio: float) -> Schedule:
    """Return timm's decay from 1 to 0."""
    if kind in SHAPES:
        return WSD(1.0, 0, 0, steps, shape=kind)
    return PowerFall(1.0, 0.0, steps, power) if kind == "power" else NormalizedExponential(steps, ratio)


class WSDLRScheduler(
    Translated,
    Schedule,
    lr=nonnegative,
    t_initial=positive_integer,
    decay_t=positive_integer,
    lr_min=nonnegative,
    stable_fn=choice(*STABLE),
    stable_timescale=optional(positive),
    stable_power=positive,
    decay_fn=choice(*DECAYS),
    decay_power=positive,
    decay_ratio=fraction,
    warmup_t=natural,
    warmup_lr_init=nonnegative,
):
    """Warm-up, a stable part, a decay: ``lr_min + (max(lr·stable(m), lr_min) - lr_min)·decay(x)``.

    m counts from the end of the warm-up, and x is the elapsed fraction of the decay.

    Parameters
    ----------
    lr : float >= 0
        Rate at the end of the warm-up.
    t_initial : int >= 1
        Updates of the stable part and the decay together.
    decay_t : int >= 1 and <= t_initial
        Updates of the decay.
    lr_min : float >= 0, default 0
        Last rate.
    stable_fn : {"constant", "rsqrt", "power"}
        stable(m): 1, (1 + m/stable_timescale)^-0.5 or (1 + m/stable_timescale)^-stable_power. It goes on in the decay.
    stable_timescale : float > 0
        By default warmup_t, which must then be above 0 unless stable_fn is "constant".
    stable_power : float > 0, default 0.5
        Exponent of "power".
    decay_fn : {"1-sqrt", "linear", "cosine", "power", "exp"}
        decay(x): 1 - √x, 1 - x, (1 + cos(π·x))/2, 1 - x^decay_power or an exponential that is shifted to end at 0. A
        callable is not accepted.
    decay_power : float > 0, default 0.5
        Exponent of "power".
    decay_ratio : float > 0 and < 1, default 0.1
        Where "exp" ends before it is shifted.
    warmup_t : int >= 0, default 0
        Updates of the linear warm-up, before all else.
    warmup_lr_init : float >= 0, default 0
        First rate of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = WSDLRScheduler(0.5, t_initial=100, decay_t=20, warmup_t=10)
    >>> s(0), s(10), s(90), s(95), s(110)
    (0.0, 0.5, 0.5, 0.25, 0.0)

    Notes
    -----
    Ends: warmup_lr_init at n = 0 (lr without a warm-up), lr at n = warmup_t, lr_min from n = warmup_t + t_initial on.

    Elsewhere: same as `S.WSD` with a constant stable part; transformers' get_wsd_schedule counts the stable part
    separately, and its warm-up starts at the last rate.
    """

    __slots__ = ()

    def __init__(
        self,
        lr: float,
        t_initial: int,
        decay_t: int,
        lr_min: float = 0.0,
        stable_fn: str = "constant",
        stable_timescale: float | None = None,
        stable_power: float = 0.5,
        decay_fn: str = "1-sqrt",
        decay_power: float = 0.5,
        decay_ratio: float = 0.1,
        warmup_t: int = 0,
        warmup_lr_init: float = 0.0,
    ) -> None:
        super().__init__(
            lr=lr,
            t_initial=t_initial,
            decay_t=decay_t,
            lr_min=lr_min,
            stable_fn=stable_fn,
            stable_timescale=stable_timescale,
            stable_power=stable_power,
            decay_fn=decay_fn,
            decay_power=decay_power,
            decay_ratio=decay_ratio,
            warmup_t=warmup_t,
            warmup_lr_init=warmup_lr_init,
        )

    @staticmethod
    def _ours(*parameters: Any) -> Schedule:
        lr, total, steps, end, kind, timescale, power, fall, fall_power, ratio, warmup, start = parameters
        if steps > total:
            raise ValueError(f"`decay_t` must be at most `t_initial` ({total}), got {steps}")
        top, before = max(lr, end), total - steps
        if kind != "constant" and timescale is None and not warmup:
            raise ValueError(f"`stable_timescale` must be given if `warmup_t` is 0, got None with {kind!r}")
        if kind == "constant" and fall in SHAPES:
            whole: Schedule = WSD(top, 0, before, steps, end=end, shape=fall)
        else:
            stable: Schedule = Constant(top)
            if kind != "constant":
                stable = FlooredPower(lr, timescale or warmup, 0.5 if kind == "rsqrt" else power, end)
            decay = Blended(stable.advance(before), falling(fall, steps, fall_power, ratio), end)
            whole = stable.then(decay, at=before) if before else decay
        if not warmup:
            return whole
        return whole.warmup(warmup, start) if top == lr else Linear(start, lr, warmup).then(whole, at=warmup)
