"""The picture of a `Search`: the objective against each parameter, with the best trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from .result import Search, Trial

LINE, BEST, DIVERGED, PRUNED = "#0072b2", "#009e73", "#d55e00", "0.6"  # Okabe and Ito's palette, and grey
WIDTH, MOST = 3.6, 3  # inches of a panel, panels in a row


def draw(search: Search, ax: Any) -> Axes | list[Axes]:
    """Draw into the caller's axes, or into a new figure."""
    space = search.searched
    paths = [path for path in space.paths if any(path in x.parameters for x in search.trials)] or space.paths
    axes = _axes(ax, len(paths))
    for k, (path, each) in enumerate(zip(paths, axes, strict=True)):
        _panel(search, path, each)
        if k % MOST == 0 or ax is not None:
            each.set_ylabel("objective")
    handles, labels = axes[0].get_legend_handles_labels()
    if len(labels) > 1:
        axes[0].legend(handles, labels, loc="best", fontsize="small", frameon=False)
    return axes[0] if len(axes) == 1 else axes


def _axes(ax: Any, count: int) -> list[Axes]:
    if ax is not None:
        given = [ax] if isinstance(ax, Axes) else list(np.asarray(ax, dtype=object).ravel())
        if not all(isinstance(x, Axes) for x in given):
            raise TypeError(f"`ax` must be matplotlib Axes, a list of them, or None, got {ax!r:.60}")
        if len(given) != count:
            raise ValueError(f"`ax` must be {count} Axes, one for each parameter, got {len(given)}")
        return given
    columns = min(count, MOST)
    rows = -(-count // columns)
    size = (max(6.0, WIDTH * columns), 3.6 * rows)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    axes = list(grid.ravel())
    for each in axes[:count]:
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    for each in axes[count:]:
        each.set_visible(False)
    return axes[:count]


def _panel(search: Search, path: str, ax: Axes) -> None:
    """Draw one parameter. Diverged trials are at the worse end of the axis."""
    space = search.searched
    finished = [x for x in search.trials if x.state == "finished" and path in x.parameters]
    others = [x for x in search.trials if x.state in ("diverged", "pruned") and path in x.parameters]
    values = [x.value for x in finished]
    low, high = _view(values, search.mode)
    is_log = low > 0 and high / low > 30
    edge = high if search.mode == "min" else low
    if path in space.ranges and space.ranges[path].log:
        ax.set_xscale("log")
    if is_log:
        ax.set_yscale("log")
    x = _places(search, path, finished)
    seen = np.clip(values, low, high)
    ax.plot(x, seen, "o", color=LINE, markersize=4.5, alpha=0.7, label="trial", clip_on=False, zorder=2)
    for state, color, mark in (("diverged", DIVERGED, "x"), ("pruned", PRUNED, "v")):
        chosen = [t for t in others if t.state == state]
        if chosen:
            ax.plot(
                _places(search, path, chosen), [edge] * len(chosen), mark, color=color, markersize=5, label=state,
                clip_on=False,
            )  # fmt: skip
    if any(t.state == "finished" for t in search.trials) and path in search.best_trial.parameters:
        best = search.best_trial
        ax.plot(
            _places(search, path, [best]), [best.value], "o", color=BEST, markersize=11, markerfacecolor="none",
            markeredgewidth=2, label=f"best: {_shown(best.parameters[path])}", zorder=3, clip_on=False,
        )  # fmt: skip
        ax.legend(loc="best", fontsize="small", frameon=False)
    _ends(low, high, is_log, ax)
    ax.set_xlabel(path)
    if path in space.choices:
        labels = space.choices[path]
        ax.set_xticks(range(len(labels)), [f"{label!s:.24}" for label in labels])
        ax.set_xlim(-0.5, len(labels) - 0.5)


def _view(values: Sequence[float], mode: str) -> tuple[float, float]:
    """Return the range of the axis: without the worst tenth, if that is far away."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if len(values) >= 10:
        best, worse = np.quantile(values, [0.0, 0.9] if mode == "min" else [1.0, 0.1])
        far = worse + 3 * (worse - best)
        low, high = (low, min(high, far)) if mode == "min" else (max(low, far), high)
    if not high > low:
        wide = abs(low) * 0.1 or 1.0
        return low - wide, high + wide
    return float(low), float(high)


def _ends(low: float, high: float, is_log: bool, ax: Axes) -> None:
    if is_log:
        margin = (high / low) ** 0.06
        ax.set_ylim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        ax.set_ylim(low - margin, high + margin)


def _places(search: Search, path: str, trials: Sequence[Trial]) -> list[float]:
    """Return where the trials are on the x-axis."""
    from .space import place

    labels = search.searched.choices.get(path)
    values = [x.parameters[path] for x in trials]
    return [float(x) for x in values] if labels is None else [float(place(x, labels)) for x in values]


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else f"{value!s:.24}"
