"""The picture of a report: throughput against size, with the caches, the limit, and an explanation of these lines."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from pyfastlr.plot import BLUE, GREEN, RED, plain
from pyfastlr.schedules.drawing import wrapped

from .contenders import ABOVE_LIMIT, CONTENDERS, LIMIT, LIMIT_IS, OURS
from .report import Report, Row

_COLORS = {
    "pyfastlr threads=1": "#56b4e9", "numpy": "#999999", "numpy out=": "#666666", "torch for-loop": "#e9a37c",
    "torch foreach": "#e69f00", "torch fused": RED, "optax jit": GREEN, "scikit-learn": "#cc79a7", "thinc": "#8c6d31",
    "DeepSpeedCPUAdam": "#5d3a9b",
}  # fmt: skip
_OURS = {"color": BLUE, "linewidth": 2.5, "markersize": 4.5, "zorder": 3}
WIDTH, PANEL, CAPTION = 8.0, 4.6, 1.9  # inches

SCALE = "GB/s: the bytes that an update must read and write, divided by the time of the fastest sample."
RISE = "On the left, curves rise because a call costs the same for few elements as for many."
SMALL = 10_000  # elements: below it a call costs more than its work
DASHED = f"Dashed, the limit: {LIMIT_IS}. {ABOVE_LIMIT}"
HOLLOW = "Hollow points: disturbed, because something else ran on the machine."
DOTTED = "Dotted: the sizes at which the arrays of an update fill each cache that a core has or shares."


def throughput(report: Report) -> Figure:
    """Draw GB/s against the elements of one buffer: a panel for each optimizer, a curve for each contender.

    A caption below the panels explains the lines. The names in a legend are in the order of the curves' right ends.
    """
    panels: dict[tuple[str, str, int], list[Row]] = {}
    for row in report.rows:
        if row.layout == f"n{row.size}":
            panels.setdefault((row.optimizer, row.dtype, row.threads), []).append(row)
    if not panels:
        raise ValueError("`plot` needs measurements of one buffer, got none")
    figure = Figure(figsize=(WIDTH, CAPTION + PANEL * len(panels)), dpi=120, layout="constrained")
    facts = report.machine
    title = f"Optimizer steps of pyfastlr {facts['pyfastlr']} and others on {facts['cpu'].partition(' (')[0]}"
    figure.suptitle(wrapped(title, 72 * WIDTH - 20, 11, 2), fontsize=11)
    grid = figure.subplots(len(panels), squeeze=False)[:, 0]
    marked = [_panel(axes, rows, facts["caches"]) for axes, rows in zip(grid, panels.values(), strict=True)]
    limited = any(row.contender == LIMIT.name for rows in panels.values() for row in rows)
    hollow = any(row.disturbed for rows in panels.values() for row in rows)
    small = any(row.size <= SMALL for rows in panels.values() for row in rows)
    notes = [f"{SCALE} {RISE}" if small else SCALE, *[DASHED] * limited, *[HOLLOW] * hollow, *[DOTTED] * any(marked)]
    caption = "\n".join(wrapped(note, 72 * WIDTH - 30, 8.5, 6) for note in notes)
    figure.supxlabel(caption, x=0.02, ha="left", fontsize=8.5, color="0.25", linespacing=1.35)
    return figure


def _panel(axes: Any, rows: list[Row], caches: dict[str, int]) -> bool:
    """Draw the curves of one optimizer; return whether a cache is marked."""
    first = rows[0]
    for contender in (x.name for x in CONTENDERS if x.name != LIMIT.name):
        mine = contender == OURS.name
        style = _OURS if mine else {"color": _COLORS.get(contender), "markersize": 3}
        _curve(axes, rows, contender, label=contender, **style)
    style = {"color": "black", "linestyle": "--", "linewidth": 1.2, "markersize": 2.5, "zorder": 4}
    _curve(axes, rows, LIMIT.name, label="limit (empty loop)", **style)
    named = [line for line in axes.lines if not line.get_label().startswith("_")]
    curves = sorted(named, key=lambda line: -line.get_ydata()[-1])
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    moved = f"{first.bytes / first.size:g} bytes for each element and update"
    axes.set_title(f"{first.optimizer}, {first.dtype}, {threads}: {moved}", fontsize=10)
    axes.set(
        xscale="log", yscale="log", xlabel="elements of the array (k: 1,000, M: 1,000,000)", ylabel="throughput (GB/s)"
    )
    plain(axes.xaxis, EngFormatter())
    plain(axes.yaxis)
    marked = _mark(axes, first, caches)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(handles=curves, frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return marked


def _mark(axes: Any, row: Row, caches: dict[str, int]) -> bool:
    """Mark the sizes at which the memory that an update touches fills each cache; return whether one is in range."""
    touched = (row.bytes / row.size + np.dtype(row.dtype).itemsize) / 2  # bytes per element, each counted once
    low, high = axes.get_xlim()
    seen = {level: size / touched for level, size in caches.items() if low < size / touched < high}
    axes.margins(y=0.08)  # room for the labels
    for level, size in seen.items():
        axes.axvline(size, color="black", linewidth=0.8, linestyle=":")
        near_the_end = size > high**0.93 * low**0.07
        words, side = (f"{level} ", "right") if near_the_end else (f" {level}", "left")
        axes.text(size, 0.99, words, transform=axes.get_xaxis_transform(), va="top", ha=side, fontsize=8.5)
    return bool(seen)


def _curve(axes: Any, rows: list[Row], contender: str, **style: Any) -> None:
    """Draw GB/s over sizes, where the contender has any; points that were disturbed are hollow."""
    found = sorted((row.size, row.gigabytes_per_second, row.disturbed) for row in rows if row.contender == contender)
    if not found:
        return
    sizes, speeds, disturbed = (list(x) for x in zip(*found, strict=True))
    (line,) = axes.plot(sizes, speeds, marker="o", **style)
    hollow = [k for k, x in enumerate(disturbed) if x]
    if hollow:
        dots = {**style, "color": line.get_color(), "label": "_disturbed", "markerfacecolor": "white", "linestyle": ""}
        axes.plot([sizes[k] for k in hollow], [speeds[k] for k in hollow], marker="o", **dots)
