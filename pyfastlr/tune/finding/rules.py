"""Which rate a range test suggests: five rules, each with its reason, over a curve of smoothed losses.

The rules are fastai's and torch-lr-finder's, and so is what they leave out at both ends of the curve: on the same curve
they give the same rate. They differ in this alone: where there is nothing to go by there is no rate, but None.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SKIP_END = 5  # of all five, the last losses of a curve
SKIP_START = 10  # of "gradient"; fastai's leave out a tenth of the steps
WINDOW, CHANGE = 15, 0.005  # of "slide": points between its two ends, and the change of slope that stops it


class Suggestion(NamedTuple):
    """A rate, or None, and the reason for either."""

    lr: float | None
    reason: str


class Curve(NamedTuple):
    """Smoothed losses over rates.

    Attributes
    ----------
    lrs, losses : float64[n]
    steps : int
        How many there were to be: n, or more where the sweep ended early.
    """

    lrs: Floats
    losses: Floats
    steps: int


def valley(lrs: Floats, losses: Floats) -> Suggestion:
    """Half-way along the longest run of falling losses; others may lie between those that fall."""
    n = len(losses)
    lengths = np.ones(n, np.int64)
    for k in range(1, n):
        higher = lengths[:k][losses[:k] > losses[k]]
        lengths[k] = 1 + (higher.max() if len(higher) else 0)
    end = int(lengths.argmax())
    start = end - int(lengths[end])
    third = (end - start) / 3
    k = start + int(third) + int(third / 2)
    if k < 0:  # fastai's index then counts from the end of the list
        return Suggestion(None, "the loss falls over the first two rates alone, which is no valley")
    return Suggestion(
        float(lrs[k]), f"half-way down the longest fall of the loss, {lrs[max(start, 0)]:.2g} to {lrs[end]:.2g}"
    )


def steep(lrs: Floats, losses: Floats) -> Suggestion:
    """Where the loss falls fastest per logarithm of the rate."""
    slopes = np.diff(losses) / np.diff(np.log(lrs))
    k = int(slopes.argmin())
    return Suggestion(
        float(lrs[k]), f"there the loss falls fastest, by {-slopes[k] * math.log(10):.2g} for ten times the rate"
    )


def slide(lrs: Floats, losses: Floats) -> Suggestion:
    """From the right, the last place where the slope still changes by more than a bound within a window."""
    n = len(losses)
    if n <= WINDOW:
        return Suggestion(None, f"needs more than {WINDOW} losses between those left out at both ends, got {n}")
    slopes = np.gradient(losses)
    moves = np.abs(slopes[WINDOW:] - slopes[: n - WINDOW]) > CHANGE  # by the left end of the window
    k = n - 1 - WINDOW
    if not moves[k]:
        return Suggestion(
            float(lrs[k]), f"the slope changes by {CHANGE} or less over the last {WINDOW} rates: it never slid"
        )
    while k > 0 and moves[k - 1]:
        k -= 1
    return Suggestion(float(lrs[k]), f"left of it the slope changes by {CHANGE} or less over {WINDOW} rates")


def minimum(lrs: Floats, losses: Floats) -> Suggestion:
    """A tenth of the rate at which the loss is least."""
    k = int(losses.argmin())
    return Suggestion(float(lrs[k]) / 10, f"a tenth of {lrs[k]:.2g}, where the loss is least, {losses[k]:.4g}")


def gradient(lrs: Floats, losses: Floats) -> Suggestion:
    """Where the loss falls fastest from one step to the next, whatever the rates are."""
    slopes = np.gradient(losses)
    k = int(slopes.argmin())
    return Suggestion(float(lrs[k]), f"there the loss falls fastest by step, by {-slopes[k]:.2g}")


#: Name -> rule. All but the last are fastai's, with its names.
RULES: dict[str, Callable[[Floats, Floats], Suggestion]] = {
    "valley": valley, "steep": steep, "slide": slide, "minimum": minimum, "gradient": gradient,
}  # fmt: skip


def suggest(curve: Curve) -> dict[str, Suggestion]:
    """Suggestion of every rule, by its name."""
    return {name: _apply(name, curve) for name in RULES}


def _apply(name: str, curve: Curve) -> Suggestion:
    """Suggestion of a rule from the part of the curve that it looks at."""
    finite = np.isfinite(curve.losses)
    n = len(finite)
    if n and not finite[0]:
        return Suggestion(None, f"the loss is {curve.losses[0]} at the untouched parameters")
    first_wrong = n if finite.all() else int(finite.argmin())
    # Where a sweep stops at a loss that is not finite, fastai goes on: what it leaves out at the end is not finite too.
    recorded = curve.steps if first_wrong == n - 1 else n
    start = SKIP_START if name == "gradient" else curve.steps // 10
    part = slice(start, min(first_wrong, max(0, recorded - SKIP_END)))
    lrs, losses = curve.lrs[part], curve.losses[part]
    if len(losses) < 2:
        return Suggestion(
            None,
            f"{len(losses)} of {n} losses are left without the first {start} and the last {SKIP_END}: take more "
            f"`steps`, or a smaller `start`",
        )
    if not (losses[1:] < losses[:-1]).any():
        return Suggestion(None, f"the loss falls nowhere from {lrs[0]:.2g} to {lrs[-1]:.2g}")
    with np.errstate(all="ignore"):  # losses near the largest float
        found = RULES[name](lrs, losses)
    return found if found.lr is None or _is_rate(found.lr) else Suggestion(None, f"the losses are too large: {found}")


def _is_rate(value: Any) -> bool:
    return math.isfinite(value) and value > 0
