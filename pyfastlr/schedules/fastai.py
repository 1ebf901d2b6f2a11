"""fastai's schedules under their own names: `fastai.callback.schedule`.

fastai's schedules are functions of the fraction of the training that has passed. Here they are functions of the index n
of the update, so each takes `steps`, the number of updates of the training. The other arguments are fastai's.
`fit_one_cycle`, `fit_flat_cos`, `fit_sgdr` and `fine_tune` return the rate that the method of that name uses.

fastai computes the positions within `combine_scheds` in float32, so its rates differ from these by up to 1e-7 of the
highest. `LRFinder` is `pyfastlr.tune.range_test`.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.fastai.fit_one_cycle(0.5, steps=100)
>>> s(0), s(25), s(100)
(0.02, 0.5, 5e-06)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import isclose
from typing import TYPE_CHECKING, Any

from .base import Schedule
from .checks import each, fraction, natural, nonnegative, positive, positive_integer, share, unknown_attribute
from .fastai_annealing import Annealed, SchedCos, SchedExp, SchedLin, SchedNo, SchedPoly

__all__ = [
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "combine_scheds",
    "combined_cos",
    "fine_tune",
    "fit_flat_cos",
    "fit_one_cycle",
    "fit_sgdr",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)


def _annealed(value: Any, name: str) -> Annealed:
    """Check for one of fastai's annealing functions."""
    if not isinstance(value, Annealed):
        raise TypeError(f"`{name}` must be made by SchedLin, SchedCos, SchedNo, SchedExp or SchedPoly, got {value!r}")
    return value


def combine_scheds(pcts: Sequence[float], scheds: Sequence[Annealed], steps: int) -> Schedule:
    """Several annealing functions, one after the other, each for its share of the updates.

    Parameters
    ----------
    pcts : sequence of float >= 0
        Shares of the updates. Their sum must be 1.
    scheds : sequence
        As many, made by the Sched functions of this module. Their own steps do not matter.
    steps : int >= 1
        Total number of updates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = combine_scheds([0.25, 0.75], [SchedLin(0.0, 0.5), SchedCos(0.5, 0.0)], steps=8)
    >>> [s(n) for n in (0, 1, 2, 5, 8)]
    [0.0, 0.25, 0.5, 0.25, 0.0]

    Notes
    -----
    Ends: a part begins where n/steps reaches the sum of the shares before it; the last rate stays.

    Elsewhere: `S.join` has boundaries in updates.
    """
    shares, parts = each(share)(pcts, "pcts"), each(_annealed, "schedules")(scheds, "scheds")
    steps = positive_integer(steps, "steps")
    if len(shares) != len(parts) or not parts:
        raise ValueError(
            f"`scheds` must have as many items as `pcts`, at least one, got {len(parts)} and {len(shares)}"
        )
    ends = [0.0, *accumulate(shares)]
    if not isclose(ends[-1], 1.0, rel_tol=1e-9):
        raise ValueError(f"`pcts` must have the sum 1, got {ends[-1]}")
    result: Schedule | None = None
    for part, (low, high) in zip(parts, pairwise(ends), strict=True):
        begin = _first(steps, low)
        if high > low and begin < _first(steps, high):
            there = part.within(steps, low, high).advance(begin)
            result = there if result is None else result.then(there, at=begin)
    assert result is not None  # the shares are not all 0
    return result


def _first(steps: int, share: float) -> int:
    """Return the first update n with n/steps >= share."""
    n = int(share * steps)
    while n / steps < share:
        n += 1
    while n > 0 and (n - 1) / steps >= share:
        n -= 1
    return n


def combined_cos(pct: float, start: float, middle: float, end: float, steps: int) -> Schedule:
    """A cosine from start to middle, and another one from there to end.

    Parameters
    ----------
    pct : float > 0 and < 1
        Share of the updates before the middle.
    start, middle, end : float >= 0
        Rates.
    steps : int >= 1
        Total number of updates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = combined_cos(0.25, 0.0, 0.5, 0.25, steps=8)
    >>> [s(n) for n in (0, 1, 2, 5, 8)]
    [0.0, 0.25, 0.5, 0.375, 0.25]

    Notes
    -----
    Ends: start at n = 0, middle where n/steps = pct, end from n = steps on.

    Elsewhere: `S.OneCycle` rounds the middle down to an update.
    """
    pct = fraction(pct, "pct")
    return combine_scheds([pct, 1 - pct], [SchedCos(start, middle), SchedCos(middle, end)], steps)


def fit_one_cycle(
    lr_max: float, steps: int, div: float = 25.0, div_final: float = 1e5, pct_start: float = 0.25
) -> Schedule:
    """The rate of `Learner.fit_one_cycle`: cosines from lr_max/div up to lr_max and down to lr_max/div_final.

    Parameters
    ----------
    lr_max : float >= 0
        Highest rate.
    steps : int >= 1
        Total number of updates: epochs times batches.
    div, div_final : float > 0, default 25 and 1e5
        Both divide lr_max.
    pct_start : float > 0 and < 1, default 0.25
        Share of the updates before the peak.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = fit_one_cycle(0.5, steps=100)
    >>> s(0), s(25), s(100)
    (0.02, 0.5, 5e-06)
    >>> momentum = combined_cos(0.25, 0.95, 0.85, 0.95, steps=100)
    >>> momentum(25)
    0.85

    Notes
    -----
    Ends: lr_max/div at n = 0, lr_max where n/steps = pct_start, lr_max/div_final from n = steps on.

    Elsewhere: `S.OneCycle` and torch's OneCycleLR divide the first rate again by the final divisor. The momentum is
    `combined_cos(pct_start, *moms, steps)`, where fastai's moms are (0.95, 0.85, 0.95).
    """
    top, first, last = nonnegative(lr_max, "lr_max"), positive(div, "div"), positive(div_final, "div_final")
    return combined_cos(fraction(pct_start, "pct_start"), top / first, top, top / last, steps)


def fit_flat_cos(lr: float, steps: int, div_final: float = 1e5, pct_start: float = 0.75) -> Schedule:
    """The rate of `Learner.fit_flat_cos`: constant, then a cosine to lr/div_final.

    Parameters
    ----------
    lr : float >= 0
        Rate of the constant part.
    steps : int >= 1
        Total number of updates: epochs times batches.
    div_final : float > 0, default 1e5
        Divides lr.
    pct_start : float > 0 and < 1, default 0.75
        Share of the updates before the cosine.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = fit_flat_cos(0.5, steps=100)
    >>> s(0), s(75), s(100)
    (0.5, 0.5, 5e-06)

    Notes
    -----
    Ends: lr until n/steps = pct_start, lr/div_final from n = steps on.

    Elsewhere: `S.WSD` with the shape "cosine" and without a warm-up.
    """
    lr = nonnegative(lr, "lr")
    return combined_cos(fraction(pct_start, "pct_start"), lr, lr, lr / positive(div_final, "div_final"), steps)


def fit_sgdr(lr_max: float, n_cycles: int, cycle_len: int, steps_per_epoch: int, cycle_mult: int = 2) -> Schedule:
    """The rate of `Learner.fit_sgdr`: cosines from lr_max to 0, each cycle_mult times as long as the one before.

    Parameters
    ----------
    lr_max : float >= 0
        Rate at the start of each cycle.
    n_cycles : int >= 1
        Number of cycles.
    cycle_len : int >= 1
        Epochs in the first cycle.
    steps_per_epoch : int >= 1
        Updates in an epoch.
    cycle_mult : int >= 2, default 2
        Length of each cycle divided by that of the one before.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = fit_sgdr(0.5, n_cycles=2, cycle_len=1, steps_per_epoch=10)
    >>> s(0), s(5), s(10), round(s(20), 9), s(30)
    (0.5, 0.25, 0.5, 0.25, 0.0)

    Notes
    -----
    Ends: lr_max at n = 0 and at the start of each cycle, 0 after the last one.

    Elsewhere: `S.CosineRestarts` and torch's CosineAnnealingWarmRestarts never stop.
    """
    lr, cycles = nonnegative(lr_max, "lr_max"), positive_integer(n_cycles, "n_cycles")
    first, mult = positive_integer(cycle_len, "cycle_len"), natural(cycle_mult, "cycle_mult")
    if mult < 2:
        raise ValueError(f"`cycle_mult` must be an integer >= 2, because fastai divides by cycle_mult - 1, got {mult}")
    epochs = first * (mult**cycles - 1) // (mult - 1)
    shares = [first * mult**i / epochs for i in range(cycles)]
    steps = epochs * positive_integer(steps_per_epoch, "steps_per_epoch")
    return combine_scheds(shares, [SchedCos(lr, 0.0)] * cycles, steps)


def fine_tune(
    base_lr: float,
    epochs: int,
    steps_per_epoch: int,
    freeze_epochs: int = 1,
    pct_start: float = 0.3,
    div: float = 5.0,
    div_final: float = 1e5,
) -> Schedule:
    """The rate of the last group in `Learner.fine_tune`: one cycle with the body frozen, then one of half the height.

    Parameters
    ----------
    base_lr : float >= 0
        Highest rate of the first cycle.
    epochs, steps_per_epoch : int >= 1
        Epochs of the second cycle, and updates in an epoch.
    freeze_epochs : int >= 1, default 1
        Epochs of the first cycle.
    pct_start, div : default 0.3 and 5
        As those of `fit_one_cycle`, for the second cycle. The first has 0.99 and 25.
    div_final : float > 0, default 1e5
        As that of `fit_one_cycle`, for both.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = fine_tune(0.5, epochs=3, steps_per_epoch=100)
    >>> s(0), s(99), s(100), s(190), s(400)
    (0.02, 0.5, 0.05, 0.25, 2.5e-06)

    Notes
    -----
    Ends: those of both cycles.

    Elsewhere: groups before the last one stay frozen in the first cycle. In the second, the first group has 1/lr_mult
    of this rate, by default 1/100, and those between are evenly spaced on a logarithmic scale: `tune.layerwise` sets
    such factors.
    """
    lr, batches = nonnegative(base_lr, "base_lr"), positive_integer(steps_per_epoch, "steps_per_epoch")
    frozen = positive_integer(freeze_epochs, "freeze_epochs") * batches
    after = positive_integer(epochs, "epochs") * batches
    first = fit_one_cycle(lr, frozen, 25.0, div_final, 0.99)
    return first.then(fit_one_cycle(lr / 2, after, div, div_final, pct_start), at=frozen)
