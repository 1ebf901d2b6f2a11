"""The picture of a `RangeTest`: losses against the rate, the suggestions, and where the loss diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .ranges import shown

if TYPE_CHECKING:
    from .ranges import RangeTest

LINE, FAINT, END = "#0072b2", "0.75", "#d55e00"  # colours of Okabe and Ito's palette, and grey
MARKS = {
    "valley": ("#009e73", "o"), "steep": ("#cc79a7", "^"), "slide": ("#e69f00", "s"), "minimum": ("#56b4e9", "v"),
    "gradient": ("#000000", "D"),
}  # fmt: skip


def draw(test: RangeTest, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the test into `ax`, or into a new figure."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be one matplotlib Axes or None, got {type(ax).__name__}")
    options = {"color": LINE, "linewidth": 2.0, "label": "smoothed loss"} | normalize_kwargs(options, Line2D)
    if ax is None:
        ax = Figure(figsize=(8, 5), dpi=120, layout="constrained").add_subplot()
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    if test.mode == "exponential":
        ax.set_xscale("log")
    _losses(test, ax, options)
    _end(test, ax)
    _suggestions(test, ax)
    ax.set_xlabel(ax.get_xlabel() or "learning rate")
    ax.set_ylabel(ax.get_ylabel() or "loss")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return ax


def _losses(test: RangeTest, ax: Axes, options: dict[str, Any]) -> None:
    """Draw the losses and smoothed losses of the first sweep, and the smoothed losses of the others."""
    alone: dict[str, Any] = {"marker": "o"} if len(test.lrs) == 1 else {}  # a line needs two points
    if test.losses is not test.smoothed:
        ax.plot(test.lrs, test.losses, color=FAINT, linewidth=0.8, label="loss of each batch", zorder=1.5, **alone)
    ax.plot(test.lrs, test.smoothed, **{"zorder": 2.5, **alone, **options})
    for k, sweep in enumerate(test.sweeps[1:]):
        label = None if k else f"{len(test.sweeps) - 1} more sweeps, smoothed"
        ax.plot(sweep.lrs, sweep.smoothed, **{**options, "linewidth": 0.8, "alpha": 0.5, "label": label})
    view = shown(test)
    if view is not None:
        ax.set_ylim(*view)


def _end(test: RangeTest, ax: Axes) -> None:
    rate = test.diverged_at
    if rate is not None:
        what = "diverged" if test.sweeps[0].ended == "diverged" else "not finite"
        ax.axvline(rate, color=END, linestyle="--", linewidth=1.2, label=f"{what} at {rate:.2g}")


def _suggestions(test: RangeTest, ax: Axes) -> None:
    """Mark each suggestion on the curve, and name it with its rate."""
    finite = np.isfinite(test.smoothed)
    for name, lr in test.suggestions.items():
        if lr is None:
            ax.plot([], [], " ", label=f"{name}: none")
            continue
        colour, marker = MARKS[name]
        y = np.interp(np.log(lr), np.log(test.lrs[finite]), test.smoothed[finite])
        ax.axvline(lr, color=colour, linewidth=0.8, alpha=0.5, zorder=1)
        (mark,) = ax.plot(
            [lr], [y], color=colour, marker=marker, markersize=8, linestyle="none", label=f"{name}: {lr:.2g}"
        )
        if name == "gradient":  # in an exponential sweep, "steep" is often at the same rate
            mark.set(markersize=12, markerfacecolor="none")
