"""Schedules that rise before they fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr.schedules._checks import (
    choice,
    fraction,
    natural,
    nonnegative,
    positive,
    positive_integer,
)
from pyfastlr.schedules._decays import Cosine, Linear
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import curves

_SHAPES: dict[str, Callable[[float], float]] = {
    "1-sqrt": curves.sqrt_fall,
    "linear": curves.linear_fall,
    "cosine": curves.cosine_fall,
    "1-square": curves.square_fall,
}
_ANNEALS = {"cos": curves.cosine_fall, "linear": curves.linear_fall}


class OneCycle(Schedule):
    """Up from peak/div to the peak at ``⌊pct_start·steps⌋``, then down to peak/div/final_div at `steps`.

    Parameters
    ----------
    peak : float
        Highest rate, >= 0.
    steps : int
        Updates in all, >= 1.
    pct_start : float
        Fraction of them before the peak, > 0 and < 1.
    div : float
        The first rate is peak/div, > 0.
    final_div : float
        The last rate is peak/div/final_div, > 0.
    anneal : {"cos", "linear"}
        Shape of both ways.

    Examples
    --------
    >>> s = OneCycle(1.0, steps=100)
    >>> s(0), s(30), s(100)
    (0.04, 1.0, 4e-06)

    Notes
    -----
    Ends: peak/div at n = 0, peak at n = ⌊pct_start·steps⌋, peak/div/final_div from n = steps on.

    Elsewhere: optax's cosine_onecycle_schedule is this; torch's OneCycleLR peaks at pct_start·steps - 1, ends at
    steps - 1 and then raises; fastai divides the peak itself by its final divisor.

    References
    ----------
    Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates, 2017.
    """

    __slots__ = ()
    equation = (
        "{peak}/{div} up to {peak} at ⌊{pct_start}·{steps}⌋, down to {peak}/{div}/{final_div} at {steps}, {anneal}"
    )

    def __init__(
        self,
        peak: float,
        steps: int,
        pct_start: float = 0.3,
        div: float = 25.0,
        final_div: float = 1e4,
        anneal: str = "cos",
    ) -> None:
        super().__init__(
            peak=nonnegative(peak, "peak"),
            steps=positive_integer(steps, "steps"),
            pct_start=fraction(pct_start, "pct_start"),
            div=positive(div, "div"),
            final_div=positive(final_div, "final_div"),
            anneal=choice(*_ANNEALS)(anneal, "anneal"),
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        peak, steps, pct_start, div, final_div, anneal = self.parameters.values()
        start = peak / div
        return curves.one_cycle, (_ANNEALS[anneal], start, peak, start / final_div, int(pct_start * steps), steps)

    def momentum(self, low: float, high: float) -> Schedule:
        """Mirror, for the momentum: `high` where the rate is low, `low` at its peak, in the same shape.

        Examples
        --------
        >>> m = OneCycle(1.0, steps=100).momentum(0.85, 0.95)
        >>> m(0), m(30), m(100)
        (0.95, 0.85, 0.95)
        """
        low, high = nonnegative(low, "low"), nonnegative(high, "high")
        if low > high:
            raise ValueError(f"`high` must be >= `low` ({low}), got {high}")
        steps, linear = self.parameters["steps"], self.parameters["anneal"] == "linear"
        up = int(self.parameters["pct_start"] * steps)

        def part(first: float, last: float, length: int) -> Schedule:
            return Linear(first, last, length) if linear else Cosine(first, length, last)

        down = part(low, high, steps - up)
        return part(high, low, up).then(down, at=up) if up else down


class InverseSqrt(Schedule):
    """Up in a straight line, then down with the root of the index: ``lr·min(n/warmup, √(warmup/n))``.

    Parameters
    ----------
    lr : float
        Highest rate, >= 0.
    warmup : int
        Update that has it, >= 1.

    Examples
    --------
    >>> s = InverseSqrt(0.1, warmup=100)
    >>> s(0), s(50), s(100), s(400)
    (0.0, 0.05, 0.1, 0.05)

    Notes
    -----
    Ends: s(0) = 0; lr at n = warmup; falls like 1/√n, to no end.

    Elsewhere: none of the three; fairseq's and Hugging Face's are this, "Noam" counts from 1 and gives lr by the width.

    References
    ----------
    Vaswani et al., Attention is all you need, 2017, section 5.3.
    """

    __slots__ = ()
    curve = staticmethod(curves.inverse_sqrt)
    equation = "{lr}·min(n/{warmup}, √({warmup}/n))"

    def __init__(self, lr: float, warmup: int) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), warmup=positive_integer(warmup, "warmup"))


class WSD(Schedule):
    """Warm-up in a straight line, a level part, then a fall: ``end + (lr - end)·f((n - warmup - stable)/decay)``.

    Parameters
    ----------
    lr : float
        Rate of the level part, >= 0.
    warmup, stable, decay : int
        Updates of the three parts, >= 0, >= 0 and >= 1.
    start, end : float
        First and last rate, >= 0.
    shape : {"1-sqrt", "linear", "cosine", "1-square"}
        f(x): 1 - √x, 1 - x, (1 + cos(π·x))/2 or 1 - x².

    Examples
    --------
    >>> s = WSD(0.1, warmup=10, stable=80, decay=16)
    >>> s(0), s(10), s(90), s(94), s(106)
    (0.0, 0.1, 0.1, 0.05, 0.0)

    Notes
    -----
    Ends: start at n = 0 (lr if warmup = 0), lr at warmup to warmup + stable, end from warmup + stable + decay on.

    Elsewhere: none of the three; by hand with optax's join_schedules. Hugging Face's has "linear" and "cosine".

    References
    ----------
    Hu et al., MiniCPM: unveiling the potential of small language models with scalable training strategies, 2024;
    Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024 (1-sqrt).
    """

    __slots__ = ()
    equation = (
        "{start} + ({lr} - {start})·n/{warmup} for n < {warmup}, {lr} for {stable} more, "
        "then {end} + ({lr} - {end})·f((n - {warmup} - {stable})/{decay}) for {decay}, then {end}; f = {shape}"
    )

    def __init__(
        self,
        lr: float,
        warmup: int,
        stable: int,
        decay: int,
        start: float = 0.0,
        end: float = 0.0,
        shape: str = "1-sqrt",
    ) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            warmup=natural(warmup, "warmup"),
            stable=natural(stable, "stable"),
            decay=positive_integer(decay, "decay"),
            start=nonnegative(start, "start"),
            end=nonnegative(end, "end"),
            shape=choice(*_SHAPES)(shape, "shape"),
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *parts, shape = self.parameters.values()
        return curves.warmup_stable_decay, (_SHAPES[shape], *parts)
