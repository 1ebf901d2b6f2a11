"""Schedules that change direction: repeated cycles, and a rise followed by a fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr_kernels import curves

from .base import Schedule
from .checks import choice, factor, fraction, natural, nonnegative, ordered, positive, positive_integer, updates
from .decays import Cosine, Linear

ANNEALS: dict[str, Callable[[float], float]] = {"cos": curves.cosine_fall, "linear": curves.linear_fall}
SHAPES: dict[str, Callable[[float], float]] = {
    "1-sqrt": curves.sqrt_fall,
    "linear": curves.linear_fall,
    "cosine": curves.cosine_fall,
    "1-square": curves.square_fall,
}
MODES = ("triangular", "triangular2", "exp_range")


class CosineRestarts(Schedule, lr=nonnegative, period=updates, mult=positive_integer, decay=positive, end=nonnegative):
    """Cosine with restarts: ``end + (lr·decay^i - end)·(1 + cos(π·m/(period·mult^i)))/2`` at update m of cycle i.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    period : float >= 1e-6
        Updates in the first cycle; need not be an integer.
    mult : int >= 1, default 1
        Length of each cycle divided by that of the one before.
    decay : float > 0, default 1
        Peak of each cycle divided by that of the one before. Above 1, the peaks grow.
    end : float >= 0, default 0
        Rate that each cycle falls towards.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineRestarts(0.1, period=10, mult=2, decay=0.5)
    >>> s(0), s(5), s(10), s(30)
    (0.1, 0.05, 0.05, 0.025)
    >>> CosineRestarts(0.1, period=900 / 7)(900)
    0.1

    Notes
    -----
    Ends: s = lr·decay^i at a restart, which comes where the cosine would reach end; never stops. With a period that is
    not an integer, a cycle may start between two updates.

    Elsewhere: torch's CosineAnnealingWarmRestarts has no decay; in Keras' CosineDecayRestarts, mult is 2 by default and
    m_mul scales lr - end, not lr.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016.
    """

    __slots__ = ()
    equation = "{end} + ({lr}·{decay}^i - {end})·(1 + cos(π·m/({period}·{mult}^i)))/2 at update m of cycle i"

    def __init__(self, lr: float, period: float, mult: int = 1, decay: float = 1.0, end: float = 0.0) -> None:
        super().__init__(lr=lr, period=period, mult=mult, decay=decay, end=end)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        whole = isinstance(self.parameters["period"], int)
        curve = curves.cosine_restarts if whole else curves.cosine_restarts_fractional
        return curve, tuple(self.parameters.values())


class Cyclic(
    Schedule,
    base=nonnegative,
    peak=nonnegative,
    up=positive_integer,
    down=positive_integer,
    mode=choice(*MODES),
    gamma=factor,
):
    """Triangular cycles: ``base + (peak - base)·x·a``; x rises from 0 to 1 in `up` updates and falls back in `down`.

    The height a is 1 ("triangular"), 2^-cycle ("triangular2") or gamma^n ("exp_range").

    Parameters
    ----------
    base, peak : float >= 0
        Lowest and highest rate.
    up, down : int >= 1
        Updates of the rise and of the fall; `down` defaults to `up`.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height of the peaks falls.
    gamma : float > 0 and <= 1, default 1
        Factor per update, for "exp_range" only.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if `gamma` is given for another mode.

    Examples
    --------
    >>> s = Cyclic(0.0, 1.0, up=2, down=4, mode="triangular2")
    >>> [s(n) for n in range(9)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.25, 0.5]

    Notes
    -----
    Ends: s = base at n = 0, up + down, ..., peak at n = up; never stops.

    Elsewhere: same as torch's CyclicLR, which also cycles the momentum; optax and Keras lack it.

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
        super().__init__(base=base, peak=peak, up=up, down=up if down is None else down, mode=mode, gamma=gamma)
        *_, mode, gamma = self.parameters.values()
        if gamma != 1.0 and mode != "exp_range":
            raise ValueError(f"`gamma` must be 1.0 unless `mode` is 'exp_range', got {gamma} with {mode!r}")

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *triangle, mode, gamma = self.parameters.values()
        per_cycle = mode == "triangular2"
        return curves.cyclic, (*triangle, 0.5 if per_cycle else gamma, per_cycle)


class OneCycle(
    Schedule,
    peak=nonnegative,
    steps=positive_integer,
    pct_start=fraction,
    div=positive,
    final_div=positive,
    anneal=choice(*ANNEALS),
):
    """Up from peak/div to the peak at ``⌊pct_start·steps⌋``, then down to peak/div/final_div at `steps`.

    Parameters
    ----------
    peak : float >= 0
        Highest rate.
    steps : int >= 1
        Total number of updates.
    pct_start : float > 0 and < 1, default 0.3
        Fraction of the updates before the peak.
    div : float > 0, default 25
        The first rate is peak/div.
    final_div : float > 0, default 1e4
        The last rate is peak/div/final_div.
    anneal : {"cos", "linear"}
        Shape of the rise and of the fall.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = OneCycle(1.0, steps=100)
    >>> s(0), s(30), s(100)
    (0.04, 1.0, 4e-06)

    Notes
    -----
    Ends: peak/div at n = 0, peak at n = ⌊pct_start·steps⌋, peak/div/final_div from n = steps on.

    Elsewhere: same as optax's cosine_onecycle_schedule; torch's OneCycleLR peaks at pct_start·steps - 1, ends at
    steps - 1 and then raises an error; fastai divides the peak itself by its final divisor.

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
        super().__init__(peak=peak, steps=steps, pct_start=pct_start, div=div, final_div=final_div, anneal=anneal)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        peak, steps, pct_start, div, final_div, anneal = self.parameters.values()
        start = peak / div
        return curves.one_cycle, (ANNEALS[anneal], start, peak, start / final_div, int(pct_start * steps), steps)

    def momentum(self, low: float, high: float) -> Schedule:
        """Return the mirrored schedule for the momentum: from `high` down to `low` at the rate's peak, and back.

        Raises
        ------
        TypeError, ValueError
            If an argument is not a number >= 0 or `low` is above `high`.

        Examples
        --------
        >>> m = OneCycle(1.0, steps=100).momentum(0.85, 0.95)
        >>> m(0), m(30), m(100)
        (0.95, 0.85, 0.95)
        """
        low, high = nonnegative(low, "low"), nonnegative(high, "high")
        ordered(low, high)
        steps, linear = self.parameters["steps"], self.parameters["anneal"] == "linear"
        up = int(self.parameters["pct_start"] * steps)

        def part(first: float, last: float, length: int) -> Schedule:
            return Linear(first, last, length) if linear else Cosine(first, length, last)

        down = part(low, high, steps - up)
        return part(high, low, up).then(down, at=up) if up else down


class Noam(Schedule, width=positive_integer, warmup=positive_integer, scale=nonnegative):
    """Linear warm-up, then the inverse square root: ``scale·width^-0.5·min((n+1)^-0.5, (n+1)·warmup^-1.5)``.

    Parameters
    ----------
    width : int >= 1
        Width of the model.
    warmup : int >= 1
        Updates of the warm-up.
    scale : float >= 0, default 1
        Factor of the rate.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = Noam(512, warmup=4000)
    >>> round(s(3999), 6), s(15999) == s(3999) / 2
    (0.000699, True)

    Notes
    -----
    Ends: s(0) is the peak divided by warmup; the peak, scale/√(width·warmup), is at n = warmup - 1; then falls like
    1/√n without end.

    Elsewhere: not in torch, Keras or optax; OpenNMT's and tensor2tensor's "noam". For a given peak, the same is
    `InverseSqrt(peak, warmup).advance(1)`.

    References
    ----------
    Vaswani et al., Attention is all you need, 2017, section 5.3.
    """

    __slots__ = ()
    equation = "{scale}·{width}^-0.5·min((n+1)^-0.5, (n+1)·{warmup}^-1.5)"

    def __init__(self, width: int, warmup: int, scale: float = 1.0) -> None:
        super().__init__(width=width, warmup=warmup, scale=scale)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        width, warmup, scale = self.parameters.values()
        return curves.noam, (scale, width, warmup)


class InverseSqrt(Schedule, lr=nonnegative, warmup=positive_integer):
    """Linear warm-up, then decay with the inverse square root of the index: ``lr·min(n/warmup, √(warmup/n))``.

    Parameters
    ----------
    lr : float >= 0
        Highest rate.
    warmup : int >= 1
        Update with the highest rate.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = InverseSqrt(0.1, warmup=100)
    >>> s(0), s(50), s(100), s(400)
    (0.0, 0.05, 0.1, 0.05)

    Notes
    -----
    Ends: s(0) = 0; lr at n = warmup; then falls like 1/√n without end.

    Elsewhere: not in torch, Keras or optax; same as in fairseq and Hugging Face; `Noam` counts from 1 and derives lr
    from the model width.

    References
    ----------
    Vaswani et al., Attention is all you need, 2017, section 5.3.
    """

    __slots__ = ()
    curve = staticmethod(curves.inverse_sqrt)
    equation = "{lr}·min(n/{warmup}, √({warmup}/n))"

    def __init__(self, lr: float, warmup: int) -> None:
        super().__init__(lr=lr, warmup=warmup)


class WSD(
    Schedule,
    lr=nonnegative,
    warmup=natural,
    stable=natural,
    decay=positive_integer,
    start=nonnegative,
    end=nonnegative,
    shape=choice(*SHAPES),
):
    """Linear warm-up, a constant rate, then a decay: ``end + (lr - end)·f((n - warmup - stable)/decay)``.

    Parameters
    ----------
    lr : float >= 0
        Rate of the constant part.
    warmup, stable : int >= 0
        Updates of the warm-up and of the constant part.
    decay : int >= 1
        Updates of the decay.
    start, end : float >= 0, default 0
        First and last rate.
    shape : {"1-sqrt", "linear", "cosine", "1-square"}
        f(x): 1 - √x, 1 - x, (1 + cos(π·x))/2 or 1 - x².

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = WSD(0.1, warmup=10, stable=80, decay=16)
    >>> s(0), s(10), s(90), s(94), s(106)
    (0.0, 0.1, 0.1, 0.05, 0.0)

    Notes
    -----
    Ends: start at n = 0 (lr if warmup = 0), lr from warmup to warmup + stable, end from warmup + stable + decay on.

    Elsewhere: not in torch, Keras or optax; in optax, join_schedules can build it. Hugging Face's has the shapes
    "linear" and "cosine".

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
        super().__init__(lr=lr, warmup=warmup, stable=stable, decay=decay, start=start, end=end, shape=shape)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        *parts, shape = self.parameters.values()
        return curves.warmup_stable_decay, (SHAPES[shape], *parts)
