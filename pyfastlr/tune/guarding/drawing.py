"""The picture of a `SpikeGuard`: losses, the bound, and the actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from .spikes import SpikeGuard

BLUE, GREEN, RED, ORANGE = "#0072b2", "#009e73", "#d55e00", "#e69f00"  # Okabe and Ito's palette
WIDE = 30.0  # largest over smallest value; above, the axis is logarithmic


def draw(guard: SpikeGuard, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the losses with these line options."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be one matplotlib Axes or None, got {type(ax).__name__}")
    options = {"color": BLUE, "label": "loss", "linewidth": 1.0, **normalize_kwargs(options, Line2D)}
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(layout="constrained").add_subplot()
        ax.set_title("SpikeGuard: losses and actions", fontsize=10)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    losses = np.array([loss for loss, _, _ in guard.history], np.float64)
    bounds = np.array([bound for _, bound, _ in guard.history], np.float64)
    first = guard.state["calls"] - len(losses)
    calls = first + np.arange(len(losses))
    if len(losses) == 1:
        options.setdefault("marker", "o")  # a line needs two points
    shown = np.where(np.isfinite(losses), losses, np.nan)
    ax.plot(calls, shown, **options)
    ax.plot(calls, np.where(np.isfinite(bounds), bounds, np.nan), color="0.5", linewidth=0.8, linestyle=":",
            label="bound for spikes")  # fmt: skip
    finite = shown[~np.isnan(shown)]
    positive = finite[finite > 0]
    if len(positive) and finite.min() >= 0 and finite.max() > WIDE * positive.min():
        ax.set_yscale("log", nonpositive="mask")
    top = finite.max() if len(finite) else 1.0
    done = np.array([action for _, _, action in guard.history], dtype=object)
    for action, marker, color, label in (
        ("skip", "x", RED, "step skipped"), ("rollback", "v", ORANGE, "rollback"),
    ):  # fmt: skip
        places = np.flatnonzero(done == action)
        if len(places):
            heights = np.where(np.isfinite(losses[places]), losses[places], top)
            ax.plot(calls[places], heights, marker, color=color, label=f"{label} ({len(places)})")
    for kind, color, label in (("cut", RED, "rate cut"), ("recovery", GREEN, "cut undone")):
        found = [e.call for e in guard.events if e.call >= first and (kind in e.actions or e.kind == kind)]
        for k, place in enumerate(found):
            ax.axvline(place, color=color, linewidth=0.8, linestyle="--", alpha=0.7,
                       label=None if k else f"{label} ({len(found)})")  # fmt: skip
    ax.set_xlabel(ax.get_xlabel() or "call of step (from 0)")
    ax.set_ylabel(ax.get_ylabel() or "loss")
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.legend(frameon=False)
    return ax
