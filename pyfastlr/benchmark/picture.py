"""The picture of a report: throughput against size, with the caches and the memory's limit."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pyfastlr.plot import BLUE, GREEN, RED

from .contenders import CONTENDERS, LIMIT, OURS
from .report import Report, Row

_COLORS = {
    "pyfastlr threads=1": "#56b4e9", "numpy": "#999999", "numpy out=": "#666666", "torch for-loop": "#e9a37c",
    "torch foreach": "#e69f00", "torch fused": RED, "optax jit": GREEN, "scikit-learn": "#cc79a7", "thinc": "#8c6d31",
    "DeepSpeedCPUAdam": "#5d3a9b",
}  # fmt: skip


def throughput(report: Report) -> Figure:
    """Draw GB/s over the elements of one buffer: a panel for each optimizer, a curve for each contender."""
    one_buffer = [row for row in report.rows if row.layout == f"n{row.size}"]
    panels: dict[tuple[str, str], list[Row]] = {(row.optimizer, row.dtype): [] for row in one_buffer}
    for row in one_buffer:
        panels[row.optimizer, row.dtype].append(row)
    if not panels:
        raise ValueError("`plot` needs rows of one buffer, got none")
    figure = Figure(figsize=(8, 0.4 + 4.6 * len(panels)), dpi=120, layout="constrained")
    figure.suptitle(f"{report.machine['cpu'].partition(' (')[0]}, {one_buffer[0].threads} threads", fontsize=10)
    for axes, (name, rows) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True):
        _panel(axes, name, rows, report.machine["caches"])
    return figure


def _panel(axes: Any, name: tuple[str, str], rows: list[Row], caches: dict[str, int]) -> None:
    for contender in (x.name for x in CONTENDERS if x.name != LIMIT.name):
        mine = contender == OURS.name
        style = {"color": BLUE, "linewidth": 2.5, "zorder": 3} if mine else {"color": _COLORS.get(contender)}
        if points := _curve(rows, contender):
            axes.plot(*points, marker="o", markersize=3, label=contender, **style)
    if points := _curve(rows, LIMIT.name):
        axes.plot(*points, color="black", linestyle="--", linewidth=1.2, label="limit (empty loop)")
    axes.set(xscale="log", yscale="log", title=" ".join(name), xlabel="elements", ylabel="GB/s that the update moves")
    first = rows[0]
    touched = (first.bytes / first.size + np.dtype(first.dtype).itemsize) / 2  # for each element: read or written once
    low, high = axes.get_xlim()
    for level, size in caches.items():
        if low < size / touched < high:
            axes.axvline(size / touched, color="black", linewidth=0.8, linestyle=":")
            axes.text(size / touched, 0.99, f" {level}", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _curve(rows: list[Row], contender: str) -> tuple[list[int], list[float]] | None:
    """Sizes, ascending, and GB/s."""
    found = sorted((row.size, row.gigabytes_per_second) for row in rows if row.contender == contender)
    return ([x for x, _ in found], [y for _, y in found]) if found else None
