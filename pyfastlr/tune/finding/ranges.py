"""Result of a range test: its sweeps, and the suggestions from all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .rules import RULES, Curve, Floats, Suggestion, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

CLOSE, APART = 3.0, 30.0  # factors between suggestions: up to CLOSE they agree, above APART they contradict


@dataclass(frozen=True, eq=False)
class Sweep:
    """One sweep of a range test.

    Attributes
    ----------
    lrs, losses, smoothed : float64[n]
        Rates, the loss before the update with each rate, and the smoothed losses.
    ended : {"steps", "diverged", "nonfinite"}
        Why the sweep ended. Unless "steps", the last loss is the one that diverged or was not finite.
    steps : int
        Number of losses planned; the sweep may have ended earlier.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> lrs, losses = np.geomspace(1e-4, 10, 60), np.r_[np.linspace(2, 1, 59), np.nan]
    >>> (sweep,) = tune.RangeTest.from_curve(lrs, losses).sweeps
    >>> sweep.ended, sweep.found["minimum"].reason
    ('nonfinite', 'a tenth of 3.8, the rate with the lowest loss, 1.069')
    """

    lrs: Floats
    losses: Floats
    smoothed: Floats
    ended: str
    steps: int

    @cached_property
    def found(self) -> Mapping[str, Suggestion]:
        """Suggestion of each rule, by name."""
        return suggest(Curve(self.lrs, self.smoothed, self.steps))


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """Result of `range_test`.

    Attributes
    ----------
    sweeps : tuple of Sweep
        One per repeat, each with `lrs`, `losses`, `smoothed` and `ended`.
    mode : {"exponential", "linear"}
        How the rate grew.
    lrs, losses, smoothed : float64[n]
        First sweep: rates, the loss before the update with each rate, smoothed losses.
    suggestions : dict of str to float or None
        Rate of each rule: the median over the sweeps that have one. None if at least half have none.
    reasons : dict of str to str
        Reason for each suggestion, or for None.
    spread : dict of str to (float, float) or None
        Lowest and highest rate of each rule over the sweeps.
    agreement : float or None
        Highest suggestion divided by the lowest; None if there are fewer than two.
    diverged_at : float or None
        Rate at which the first sweep ended early; None if it made all its steps.

    Notes
    -----
    The rules use the smoothed losses without the last 5. All but "gradient" also leave out the first tenth.

    - "valley": half-way down the longest decreasing subsequence of the losses. fastai's default.
    - "steep": where ``d loss / d log(lr)`` is lowest. fastai.
    - "slide": searching from the right, the last rate at which the slope changes by more than 0.005 within 15 rates.
      fastai.
    - "minimum": a tenth of the rate with the lowest loss. fastai.
    - "gradient": where ``np.gradient(loss)``, by index, is lowest; leaves out the first 10. torch-lr-finder.

    On the same curve, each rule gives the same rate as its library (fastai 2.8.12 and torch-lr-finder 0.2.2, in float32
    and float64). Where those fail or give a meaningless rate, the suggestion is None: for losses that are not finite,
    for a curve that never falls or has too few losses, and for "valley" if the loss falls only over the first two rates
    (fastai's index is then -1, so it answers the last rate).

    Examples
    --------
    >>> import numpy as np
    >>> lrs = np.geomspace(1e-4, 10, 60)
    >>> test = RangeTest.from_curve(lrs, 2 - np.log1p(lrs / 1e-2) / 5 + lrs**2)
    >>> print(test)
    rule        rate  why
    valley    0.0089  half-way down the longest fall of the loss, 0.00032 to 0.3
    steep     0.0626  the loss falls fastest here, by 0.38 per factor of ten in the rate
    slide     0.0131  to the left, the slope changes by 0.005 or less over 15 rates
    minimum   0.0298  a tenth of 0.3, the rate with the lowest loss, 1.403
    gradient  0.0761  the loss falls fastest here from one update to the next, by 0.032
    The rules are a factor of 8.6 apart, from valley to gradient: look at the plot.
    """

    sweeps: tuple[Sweep, ...]
    mode: str
    suggestions: dict[str, float | None] = field(init=False)
    reasons: dict[str, str] = field(init=False)
    spread: dict[str, tuple[float, float] | None] = field(init=False)

    def __post_init__(self) -> None:
        found = {name: [x.found[name] for x in self.sweeps] for name in RULES}
        joined = {name: _joined(each) for name, each in found.items()}
        values = {
            "suggestions": {name: x.lr for name, x in joined.items()},
            "reasons": {name: x.reason for name, x in joined.items()},
            "spread": {name: _spread(each) for name, each in found.items()},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_curve(cls, lrs: Any, smoothed: Any, steps: int | None = None) -> RangeTest:
        """Suggest rates for a curve that was recorded elsewhere, such as another framework's sweep.

        Parameters
        ----------
        lrs, smoothed : float[n]
            Rates, positive and increasing, and the smoothed loss at each. The first loss that is not finite, and all
            later ones, are ignored.
        steps : int >= n, optional
            Number of losses planned, if the sweep ended early.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range.
        """
        lrs, smoothed = (_vector(x, name) for x, name in ((lrs, "lrs"), (smoothed, "smoothed")))
        if len(lrs) != len(smoothed):
            raise ValueError(f"`smoothed` must have a loss for each of the {len(lrs)} rates, got {len(smoothed)}")
        if not (np.isfinite(lrs).all() and (lrs[:1] > 0).all() and (np.diff(lrs) > 0).all()):
            raise ValueError("`lrs` must be finite, positive and increasing")
        if steps is None:
            steps = len(lrs)
        elif isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < len(lrs):
            raise ValueError(f"`steps` must be an integer >= {len(lrs)}, got {steps!r}")
        ended = "steps" if np.isfinite(smoothed).all() else "nonfinite"
        ratios = np.diff(np.log(lrs))
        mode = "exponential" if len(ratios) < 2 or np.allclose(ratios, ratios[0], rtol=1e-3) else "linear"
        return cls((Sweep(lrs, smoothed, smoothed, ended, int(steps)),), mode)

    @property
    def lrs(self) -> Floats:
        """Rates of the first sweep."""
        return self.sweeps[0].lrs

    @property
    def losses(self) -> Floats:
        """Losses of the first sweep, each before the update with the rate of the same index."""
        return self.sweeps[0].losses

    @property
    def smoothed(self) -> Floats:
        """Smoothed losses of the first sweep."""
        return self.sweeps[0].smoothed

    @property
    def diverged_at(self) -> float | None:
        """Rate at which the first sweep ended early."""
        return None if self.sweeps[0].ended == "steps" else float(self.lrs[-1])

    @property
    def agreement(self) -> float | None:
        """Highest suggestion divided by the lowest."""
        rates = [x for x in self.suggestions.values() if x is not None]
        return max(rates) / min(rates) if len(rates) > 1 else None

    def __repr__(self) -> str:
        rates = ", ".join(f"{name}={_short(lr)}" for name, lr in self.suggestions.items())
        return f"RangeTest({rates}, sweeps={len(self.sweeps)})"

    def __str__(self) -> str:
        rows = [["rule", "rate", "spread", "why"]]
        for name, lr in self.suggestions.items():
            low_high = self.spread[name]
            between = f"{low_high[0]:.3g} to {low_high[1]:.3g}" if low_high else "-"
            rows.append([name, "-" if lr is None else f"{lr:.3g}", between, self.reasons[name]])
        if len(self.sweeps) == 1:
            rows = [[name, lr, why] for name, lr, _, why in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, rate, *others in rows:
            cells = [name.ljust(widths[0]), rate.rjust(widths[1])]
            cells += [x.ljust(width) for x, width in zip(others, widths[2:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """Whether the rules agree, in a sentence."""
        factor = self.agreement
        if factor is None:
            return "There are fewer than two suggestions to compare."
        if factor <= CLOSE:
            return f"The rules agree within a factor of {factor:.2g}."
        rates = sorted((lr, name) for name, lr in self.suggestions.items() if lr is not None)
        advice = "look at the plot" if factor <= APART else "look at the plot before you use any of them"
        apart = f"{factor:.2g}" if factor < 100 else f"{factor:,.0f}"
        return f"The rules are a factor of {apart} apart, from {rates[0][1]} to {rates[-1][1]}: {advice}."

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Draw the losses against the rate, with each suggestion, and the rate at which the loss diverged.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new figure, which needs no display: ``ax.figure.savefig("lr.png")``.
        **kwargs
            Keywords of `matplotlib.lines.Line2D` for the smoothed loss, such as color, linewidth and label.

        Returns
        -------
        matplotlib.axes.Axes
            `ax` or the new axes.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> lrs = np.geomspace(1e-4, 10, 60)
        >>> ax = RangeTest.from_curve(lrs, 2 - np.log1p(lrs / 1e-2) / 5 + lrs**2).plot()
        >>> ax.get_xlabel(), ax.get_xscale()
        ('learning rate', 'log')
        """
        try:
            import matplotlib  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
        from .drawing import draw

        return draw(self, ax, kwargs)


def shown(test: RangeTest, each_batch: bool = True) -> tuple[float, float] | None:
    """Range of losses that a picture should show: the fall, and as much above the first loss. Above, they diverge.

    If the picture shows each batch's loss, the range includes their fall, unless that would hide the smoothed curve.
    """
    smoothed = np.concatenate([x.smoothed for x in test.sweeps])
    smoothed, losses = smoothed[np.isfinite(smoothed)], test.losses[np.isfinite(test.losses)]
    if not np.isfinite(test.smoothed[0]):
        return None
    first, low, high = float(test.smoothed[0]), float(smoothed.min()), float(smoothed.max())
    if each_batch:
        low = min(low, max(float(losses.min()), first - 4 * (first - low)))
    if low < first:
        high = max(first, min(high, 2 * first - low))
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _short(lr: float | None) -> str:
    return "None" if lr is None else f"{lr:.3g}"


def _vector(values: Any, name: str) -> Floats:
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be a sequence of numbers, got {type(values).__name__}") from None
    if found.ndim != 1 or not found.size:
        raise ValueError(f"`{name}` must be one-dimensional and not empty, got shape {list(found.shape)}")
    return found


def _rates(found: Sequence[Suggestion]) -> list[float]:
    return sorted(x.lr for x in found if x.lr is not None)


def _spread(found: Sequence[Suggestion]) -> tuple[float, float] | None:
    rates = _rates(found)
    return (rates[0], rates[-1]) if rates else None


def _joined(found: Sequence[Suggestion]) -> Suggestion:
    """Median of the sweeps' suggestions on a logarithmic scale, with its reason."""
    if len(found) == 1:
        return found[0]
    rates, n = _rates(found), len(found)
    without = [x.reason for x in found if x.lr is None]
    if 2 * len(rates) <= n:
        return Suggestion(None, f"{len(without)} of {n} sweeps have no suggestion: {without[0]}")
    middle = len(rates) // 2
    median = rates[middle] if len(rates) % 2 else math.sqrt(rates[middle - 1]) * math.sqrt(rates[middle])
    nearest = min((x for x in found if x.lr is not None), key=lambda x: abs(math.log((x.lr or 1.0) / median)))
    lost = f"; {len(without)} had none" if without else ""
    return Suggestion(median, f"{nearest.reason} (median of {len(rates)} sweeps{lost})")
