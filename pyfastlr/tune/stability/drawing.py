"""Pictures of a sharpness and of a monitor's measurements: figures without pyplot's global state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .monitor import Measurement
    from .result import Sharpness

BLUE, GREEN, RED, ORANGE = "#0072b2", "#009e73", "#d55e00", "#e69f00"  # Okabe and Ito's palette
_AROUND = 100.0  # the picture begins at the bound divided by this


def with_matplotlib(ax: Any) -> None:
    """Check that matplotlib is installed, and that `ax` is one Axes or None."""
    try:
        from matplotlib.axes import Axes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('plot needs matplotlib: pip install "pyfastlr[demo]"') from error
    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be one matplotlib Axes or None, got {type(ax).__name__}")


def draw_sharpness(found: Sharpness, ax: Axes | None) -> Axes:
    """Draw the growth against the rate. A new figure also shows how the estimate converged."""
    if ax is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 4.2), dpi=100, layout="constrained")
        ax, beside = figure.subplots(1, 2, width_ratios=(3, 2))
        _convergence(found, beside)
    if found.bound is None or math.isinf(found.bound):
        ax.text(0.5, 0.5, f"no finite bound:\n{found.reason}", ha="center", va="center", wrap=True)
        ax.set(xlabel="learning rate", title=_head(found), xticks=[], yticks=[])
        return ax
    _growth(found, found.bound, ax)
    return ax


def _growth(found: Sharpness, bound: float, ax: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    low, high = bound / _AROUND, 3.0 * bound
    if found.lr:
        low, high = min(low, found.lr / 1.5), max(high, 1.5 * found.lr)
    rates = np.geomspace(low, high, 400)
    ax.plot(rates, [found.growth(x) for x in rates], color=BLUE, label="growth")
    ax.axvspan(low, bound, color=GREEN, alpha=0.10, linewidth=0)
    ax.axvspan(bound, high, color=RED, alpha=0.10, linewidth=0)
    if 0.0 < found.error < found.value:
        ax.axvspan(
            bound / (1 + found.error / found.value), min(high, bound / (1 - found.error / found.value)),
            color="0.5", alpha=0.35, linewidth=0, label="error of the bound",
        )  # fmt: skip
    ax.axvline(bound, color=RED, label=f"bound: {bound:.3g}")
    if found.lr:
        ax.axvline(found.lr, color="black", linestyle="--", label=f"current rate: {found.lr:.3g}")
    ax.axhline(1.0, color="0.4", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())  # the axis spans at least two powers of ten
    ax.set(xlim=(low, high), ylim=(0, max(1.4, min(2.5, found.growth(high)))))
    ax.set(xlabel="learning rate", ylabel="growth of the sharpest\ndirection per update")
    for x, words, side, colour in ((0.02, "dies out", "left", GREEN), (0.98, "grows", "right", RED)):
        ax.text(x, 0.04, words, transform=ax.transAxes, ha=side, color=colour, weight="bold")
    _plain(ax)
    _legend_above(ax, f"{found.optimizer}, {_head(found)}")


def _head(found: Sharpness) -> str:
    return f"sharpness L = {float(found):.4g} ± {found.error:.2g}"


def _convergence(found: Sharpness, ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    products = np.arange(1, found.iterations + 1)
    values, errors = np.array(found.values), np.array(found.errors)
    ax.plot(products, values, color=BLUE, marker="o", markersize=4, label="estimate of L")
    ax.fill_between(products, values - errors, values + errors, color=BLUE, alpha=0.15, linewidth=0, label="± residual")
    ax.set(xlabel="products with the Hessian", ylabel="largest eigenvalue L")
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _plain(ax)
    _legend_above(ax)


def _legend_above(ax: Axes, title: str | None = None) -> None:
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9, title=title)


def _plain(ax: Axes) -> None:
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def crossings(history: Sequence[Measurement]) -> list[int]:
    """Indices of the measurements at which the rate has crossed the bound since the previous one."""
    above = [x.sharpness.bound is not None and x.lr > x.sharpness.bound for x in history]
    return [k for k, now in enumerate(above) if now and not (k and above[k - 1])]


def draw_history(history: Sequence[Measurement], ax: Axes | None) -> Axes:
    """Draw rate, bound and 2/L against the updates."""
    from pyfastlr.plot import plain

    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(9.6, 4.8), dpi=100, layout="constrained").add_subplot()
    updates = np.array([x.update for x in history])
    rates = np.array([x.lr or math.nan for x in history])
    bounds = np.array([_drawn(x.sharpness.bound) for x in history])
    with np.errstate(divide="ignore"):
        lines = 2.0 / np.array([float(x.sharpness) for x in history])
    lines = np.where(np.isfinite(bounds), lines, math.nan)
    mark: dict[str, Any] = {"marker": "o"} if len(history) == 1 else {}
    if np.isfinite(bounds).any():
        ax.plot(updates, bounds, color=RED, label=f"bound for {history[-1].sharpness.optimizer}", **mark)
        if not np.allclose(lines, bounds, rtol=1e-3, equal_nan=True):
            ax.plot(updates, lines, color=ORANGE, linestyle=":", label="2 / L", **mark)
    ax.plot(updates, rates, color=BLUE, label="learning rate", **mark)
    ax.set_yscale("log")
    plain(ax.yaxis)
    top = 1.6 * max(np.nanmax(np.nan_to_num(x, nan=0.0)) for x in (bounds, lines, rates))
    if top > 0.0:
        ax.fill_between(updates, bounds, top, color=RED, alpha=0.10, linewidth=0, label="unstable")
        ax.set_ylim(top=top)
    crossed = crossings(history)
    if crossed:
        ax.plot(updates[crossed], rates[crossed], "x", color="black", markersize=9, markeredgewidth=2,
                label="crosses the bound")  # fmt: skip
    ax.set(xlabel="update", ylabel="learning rate")
    _plain(ax)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=5)
    return ax


def _drawn(value: float | None) -> float:
    return math.nan if value is None or math.isinf(value) else value
