"""Cycles that end: what timm's schedulers return for more than one cycle. See `pyfastlr.schedules.timm`."""

from __future__ import annotations

from pyfastlr_kernels import compat_curves

from .base import Schedule
from .checks import natural, nonnegative, number, positive, positive_integer
from .decays import bounded

MULT = number("a number >= 1 and <= 2**53", 1.0, 2.0**53)
CYCLES = {
    "lr": nonnegative,
    "steps": positive_integer,
    "end": nonnegative,
    "mult": MULT,
    "decay": positive,
    "limit": natural,
}
PEAK = "{end} + ({lr}·{decay}^i - {end})·"
FRACTION = "m/({steps}·{mult}^i)"
ENDS = " at update m of cycle i < {limit}, then {end}"


class LimitedCosine(Schedule, **CYCLES, k_decay=positive):
    """Cosine cycles, then the end rate: timm's CosineLRScheduler for another number of cycles than one.

    Examples
    --------
    >>> s = LimitedCosine(0.5, 10, 0.0, mult=2.0, decay=0.5, limit=2, k_decay=1.0)
    >>> s(0), s(5), s(10), s(30)
    (0.5, 0.25, 0.25, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.limited_cosine)
    equation = PEAK + "(1 + cos(π·(" + FRACTION + ")^{k_decay}))/2" + ENDS

    def __init__(
        self, lr: float, steps: int, end: float, mult: float, decay: float, limit: int, k_decay: float
    ) -> None:
        super().__init__(lr=lr, steps=steps, end=end, mult=mult, decay=decay, limit=limit, k_decay=k_decay)


class LimitedPolynomial(Schedule, **CYCLES, k_decay=positive, power=positive):
    """Polynomial cycles, then the end rate: timm's PolyLRScheduler for another number of cycles than one.

    Examples
    --------
    >>> s = LimitedPolynomial(0.5, 10, 0.0, mult=2.0, decay=0.5, limit=2, k_decay=1.0, power=2.0)
    >>> s(0), s(5), s(10), s(30)
    (0.5, 0.125, 0.25, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.limited_polynomial)
    equation = PEAK + "(1 - (" + FRACTION + ")^{k_decay})^{power}" + ENDS

    def __init__(
        self, lr: float, steps: int, end: float, mult: float, decay: float, limit: int, k_decay: float, power: float
    ) -> None:
        super().__init__(lr=lr, steps=steps, end=end, mult=mult, decay=decay, limit=limit, k_decay=k_decay, power=power)


class LimitedTanh(Schedule, **CYCLES, lower=bounded, upper=bounded):
    """Cycles of the hyperbolic tangent, then the end rate: timm's TanhLRScheduler for not just one cycle.

    Examples
    --------
    >>> s = LimitedTanh(0.5, 10, 0.0, mult=2.0, decay=0.5, limit=2, lower=-7.0, upper=3.0)
    >>> round(s(0), 6), round(s(7), 6), round(s(10), 6), s(30)
    (0.5, 0.25, 0.25, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.limited_tanh)
    equation = PEAK + "(1 - tanh({lower} + ({upper} - {lower})·" + FRACTION + "))/2" + ENDS

    def __init__(
        self, lr: float, steps: int, end: float, mult: float, decay: float, limit: int, lower: float, upper: float
    ) -> None:
        super().__init__(lr=lr, steps=steps, end=end, mult=mult, decay=decay, limit=limit, lower=lower, upper=upper)
