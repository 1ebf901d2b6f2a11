"""Five rules that suggest a rate, each with its reason, from a curve of smoothed losses.

The rules, and what they leave out at both ends of the curve, are those of fastai and torch-lr-finder: on the same curve
they give the same rate. The only difference is that a rule that finds no rate gives None.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SKIP_END = 5  # last losses that every rule leaves out
SKIP_START = 10  # first losses that "gradient" leaves out; fastai's rules leave out a tenth of the steps
WINDOW, CHANGE = 15, 0.005  # of "slide": width of its window, and the change of slope that it looks for


class Suggestion(NamedTuple):
    """A rate or None, and the reason."""

    lr: float | None
    reason: str


class Curve(NamedTuple):
    """Smoothed losses against rates.

    Attributes
    ----------
    lrs, losses : float64[n]
    steps : int
        Number of losses planned: n, or more if the sweep ended early.
    """

    lrs: Floats
    losses: Floats
    steps: int


def valley(lrs: Floats, losses: Floats) -> Suggestion:
    """Half-way along the longest decreasing subsequence of the losses."""
    n = len(losses)
    lengths = np.ones(n, np.int64)
    for k in range(1, n):
        higher = lengths[:k][losses[:k] > losses[k]]
        lengths[k] = 1 + (higher.max() if len(higher) else 0)
    end = int(lengths.argmax())
    start = end - int(lengths[end])
    third = (end - start) / 3
    k = start + int(third) + int(third / 2)
    if k < 0:  # fastai's index then counts from the end
        return Suggestion(None, "the loss falls only over the first two rates, so there is no valley")
    return Suggestion(
        float(lrs[k]), f"half-way down the longest fall of the loss, {lrs[max(start, 0)]:.2g} to {lrs[end]:.2g}"
    )


def steep(lrs: Floats, losses: Floats) -> Suggestion:
    """Where the loss falls fastest per logarithm of the rate."""
    slopes = np.diff(losses) / np.diff(np.log(lrs))
    k = int(slopes.argmin())
    return Suggestion(
        float(lrs[k]), f"the loss falls fastest here, by {-slopes[k] * math.log(10):.2g} per factor of ten in the rate"
    )


def slide(lrs: Floats, losses: Floats) -> Suggestion:
    """Searching from the right, the last rate at which the slope changes by more than a bound within a window."""
    n = len(losses)
    if n <= WINDOW:
        return Suggestion(None, f"needs more than {WINDOW} losses without those left out at both ends, got {n}")
    slopes = np.gradient(losses)
    moves = np.abs(slopes[WINDOW:] - slopes[: n - WINDOW]) > CHANGE  # indexed by the left end of the window
    k = n - 1 - WINDOW
    if not moves[k]:
        return Suggestion(float(lrs[k]), f"the slope changes by {CHANGE} or less over the last {WINDOW} rates already")
    while k > 0 and moves[k - 1]:
        k -= 1
    return Suggestion(float(lrs[k]), f"to the left, the slope changes by {CHANGE} or less over {WINDOW} rates")


def minimum(lrs: Floats, losses: Floats) -> Suggestion:
    """A tenth of the rate with the lowest loss."""
    k = int(losses.argmin())
    return Suggestion(float(lrs[k]) / 10, f"a tenth of {lrs[k]:.2g}, the rate with the lowest loss, {losses[k]:.4g}")


def gradient(lrs: Floats, losses: Floats) -> Suggestion:
    """Where the loss falls fastest from one update to the next, whatever the rates are."""
    slopes = np.gradient(losses)
    k = int(slopes.argmin())
    return Suggestion(float(lrs[k]), f"the loss falls fastest here from one update to the next, by {-slopes[k]:.2g}")


#: Rules by name. All but the last are fastai's, with its names.
RULES: dict[str, Callable[[Floats, Floats], Suggestion]] = {
    "valley": valley, "steep": steep, "slide": slide, "minimum": minimum, "gradient": gradient,
}  # fmt: skip


def suggest(curve: Curve) -> dict[str, Suggestion]:
    """Suggestion of each rule, by name."""
    return {name: _apply(name, curve) for name in RULES}


def _apply(name: str, curve: Curve) -> Suggestion:
    """Suggestion of one rule, from the part of the curve that it uses."""
    finite = np.isfinite(curve.losses)
    n = len(finite)
    if n and not finite[0]:
        return Suggestion(None, f"the loss is {curve.losses[0]} at the untouched parameters")
    first_wrong = n if finite.all() else int(finite.argmin())
    # fastai continues after a loss that is not finite, so the losses that it cuts off at the end are not finite either.
    recorded = curve.steps if first_wrong == n - 1 else n
    start = SKIP_START if name == "gradient" else curve.steps // 10
    part = slice(start, min(first_wrong, max(0, recorded - SKIP_END)))
    lrs, losses = curve.lrs[part], curve.losses[part]
    if len(losses) < 2:
        return Suggestion(
            None,
            f"only {len(losses)} of {n} losses remain without the first {start} and the last {SKIP_END}: use more "
            f"`steps`, or a smaller `start`",
        )
    if not (losses[1:] < losses[:-1]).any():
        return Suggestion(None, f"the loss never falls from rate {lrs[0]:.2g} to {lrs[-1]:.2g}")
    with np.errstate(all="ignore"):  # losses near the largest float
        found = RULES[name](lrs, losses)
    return found if found.lr is None or _is_rate(found.lr) else Suggestion(None, f"losses too large: {found.reason}")


def _is_rate(value: Any) -> bool:
    return math.isfinite(value) and value > 0
