"""Schedules that come again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr.schedules._checks import (
    choice,
    factor,
    nonnegative,
    positive_integer,
)
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import curves


class CosineRestarts(Schedule):
    """Cosine again and again: ``end + (lr·decay^i - end)·(1 + cos(π·m/(period·mult^i)))/2`` at update m of cycle i.

    Parameters
    ----------
    lr : float
        Rate at the start, >= 0.
    period : int
        Updates in the first cycle, >= 1.
    mult : int
        Each cycle is so many times as long as the last, >= 1.
    decay : float
        Each cycle starts so many times as high as the last, > 0 and <= 1.
    end : float
        Rate that each cycle falls towards, >= 0.

    Examples
    --------
    >>> s = CosineRestarts(0.1, period=10, mult=2, decay=0.5)
    >>> s(0), s(5), s(10), s(30)
    (0.1, 0.05, 0.05, 0.025)

    Notes
    -----
    Ends: s = lr·decay^i at a restart, which comes where the cosine would meet end; never stops.

    Elsewhere: torch's CosineAnnealingWarmRestarts has no decay; Keras' CosineDecayRestarts has mult = 2 by default and
    its m_mul scales lr - end, not lr.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016.
    """

    __slots__ = ()
    curve = staticmethod(curves.cosine_restarts)
    equation = "{end} + ({lr}·{decay}^i - {end})·(1 + cos(π·m/({period}·{mult}^i)))/2 at update m of cycle i"

    def __init__(self, lr: float, period: int, mult: int = 1, decay: float = 1.0, end: float = 0.0) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            period=positive_integer(period, "period"),
            mult=positive_integer(mult, "mult"),
            decay=factor(decay, "decay"),
            end=nonnegative(end, "end"),
        )


class Cyclic(Schedule):
    """Triangles: ``base + (peak - base)·x·a``, x rising 0 to 1 in `up` updates and falling back in `down`.

    The height a is 1 ("triangular"), 2^-cycle ("triangular2") or gamma^n ("exp_range").

    Parameters
    ----------
    base, peak : float
        Rates, >= 0.
    up, down : int
        Updates of the rise and of the fall, >= 1; `down` is `up` if not given.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height falls.
    gamma : float
        Factor per update, > 0 and <= 1, for "exp_range" only.

    Examples
    --------
    >>> s = Cyclic(0.0, 1.0, up=2, down=4, mode="triangular2")
    >>> [s(n) for n in range(9)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.25, 0.5]

    Notes
    -----
    Ends: s = base at n = 0, up + down, ..., peak at n = up; never stops.

    Elsewhere: as torch's CyclicLR, which also cycles the momentum; optax and Keras lack it.

    References
    ----------
    Smith, Cyclical learning rates for training neural networks, 2015.
    """

    __slots__ = ()
    curve = staticmethod(curves.cyclic)
    equation = "{base} + ({peak} - {base})·x·a, x up in {up} and down in {down}, a = 1, 2^-cycle or {gamma}^n ({mode})"

    def __init__(
        self,
        base: float,
        peak: float,
        up: int,
        down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
    ) -> None:
        mode, gamma = choice("triangular", "triangular2", "exp_range")(mode, "mode"), factor(gamma, "gamma")
        if gamma != 1.0 and mode != "exp_range":
            raise ValueError(f"`gamma` must be 1.0 unless `mode` is 'exp_range', got {gamma} with {mode!r}")
        up = positive_integer(up, "up")
        super().__init__(
            base=nonnegative(base, "base"),
            peak=nonnegative(peak, "peak"),
            up=up,
            down=up if down is None else positive_integer(down, "down"),
            mode=mode,
            gamma=gamma,
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *triangle, mode, gamma = self.parameters.values()
        per_cycle = mode == "triangular2"
        return curves.cyclic, (*triangle, 0.5 if per_cycle else gamma, per_cycle)
