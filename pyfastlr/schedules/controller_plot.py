"""The picture of a controller: observed values, and where it acted."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .controller import Wrapper

BLUE, RED = "#0072b2", "#d55e00"  # Okabe and Ito's palette
WIDE = 30.0  # largest over smallest value; above, the axis is logarithmic


def draw(controller: Wrapper, ax: Axes | None, options: dict[str, Any]) -> Axes:
    """Draw the observed values with these line options."""
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be one matplotlib Axes or None, got {type(ax).__name__}")
    options = {"color": BLUE, "label": controller.observes, **normalize_kwargs(options, Line2D)}
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure(layout="constrained").add_subplot()
        ax.set_title(
            f"{type(controller).__name__}: {controller.title or f'{controller.observes} observed, and where it acted'}",
            fontsize=10,
        )
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    values = np.array([value for value, _ in controller.history], np.float64)
    places = [k for k, (_, acted) in enumerate(controller.history, 1) if acted]
    if len(values) == 1:
        options.setdefault("marker", "o")  # a line needs two points
    ax.plot(np.arange(1, len(values) + 1), values, **options)
    for k, place in enumerate(places):
        ax.axvline(place, color=RED, linewidth=1.0, linestyle="--", label=None if k else controller.acted)
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > WIDE * finite.min():
        ax.set_yscale("log")
    ax.set_xlabel(ax.get_xlabel() or "observation (from 1)")
    ax.set_ylabel(ax.get_ylabel() or controller.observes)
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.legend(frameon=False)
    return ax
