"""The picture of a `Recorder`: a panel for losses, one for rates, and one for each other name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.tune.axes import given_or_new, need_matplotlib

from .table import is_missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .recorder import Recorder

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's
MANY = 100  # from this many numbers on, a smoothed line is drawn over them
BINS = 4000  # more than pixels; of a longer line, only the minimum and maximum of each bin are drawn
SPAN = 10  # largest number divided by the smallest; from here on, the axis is logarithmic


def draw_records(recorder: Recorder, ax: Any, names: Any, smooth: int | None) -> list[Axes]:
    """Draw the panels of a recorder's numbers, smoothed over `smooth` records."""
    panels = _panels(recorder, names)
    need_matplotlib()
    known, rows = recorder._kept()  # one consistent state, even while another thread records
    steps, numbers = rows[:, 0], dict(zip(known, rows[:, 1:].T, strict=True))
    axes = given_or_new(ax, len(panels), (8, min(14, 1.2 + 2.2 * len(panels) + 1.2)))
    for each, panel in zip(axes, panels, strict=True):
        _draw(each, panel, steps, numbers, smooth)
    if ax is None:
        axes[-1].set_xlabel("update (from 0)")
        low, high = int(steps.min()), int(steps.max())
        axes[-1].set_xlim(low, high if high > low else low + 1)
        axes[-1].xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        figure: Any = axes[0].figure
        figure.align_ylabels()
    return axes


def _panels(recorder: Recorder, names: Any) -> list[list[str]]:
    """Names of each panel, checked."""
    if names is None:
        known = recorder.names
        losses = [name for name in known if "loss" in name.lower()]
        rates = [name for name in known if _is_rate(name) and name not in losses]
        others = [[name] for name in known if name not in losses and name not in rates]
        panels = [x for x in (losses, rates) if x] + others
    elif isinstance(names, list | tuple):
        panels = [[panel] if isinstance(panel, str) else panel for panel in names]
    else:
        panels = []
    if names is not None and not (
        panels and all(isinstance(x, list | tuple) and x and all(isinstance(y, str) for y in x) for x in panels)
    ):
        raise TypeError(f"`names` must be a list of names, or of lists of names, got {names!r:.60}")
    if not len(recorder) or not panels:
        raise ValueError("Recorder has nothing to plot: no number was recorded")
    for name in (name for panel in panels for name in panel):
        if name not in recorder:
            raise KeyError(f"{name!r} was never recorded; the recorded names are {list(recorder.names)}")
    return panels


def _is_rate(name: str) -> bool:
    return name.lower().startswith("lr") or name == "rate"


def _draw(axes: Axes, panel: Sequence[str], steps: Any, numbers: Mapping[str, Array], smooth: int | None) -> None:
    from pyfastlr.plot import plain
    from pyfastlr.schedules.drawing import has_steps

    is_of_rates = all(map(_is_rate, panel))
    everything = []
    for k, name in enumerate(panel):
        values, color, label = numbers[name], COLORS[k % len(COLORS)], escaped(name)
        known = ~is_missing(values)
        finite = known & np.isfinite(values)
        x, y = steps[finite], values[finite]
        everything.append(y)
        window = smooth if smooth is not None else 0 if is_of_rates or len(y) <= MANY else len(y) // 50
        style: dict[str, Any] = {"drawstyle": "steps-post"} if is_of_rates and has_steps(y) else {}
        if len(y) == 1:
            style["marker"] = "o"  # a line needs two points
        is_smoothed = 1 < window <= len(y)
        faint = {"alpha": 0.3, "linewidth": 0.8} if is_smoothed else {"label": label}
        axes.plot(*thinned(x, y), color=color, **faint, **style)
        if is_smoothed:
            mean = thinned(x[window - 1 :], trailing_mean(y, window))
            axes.plot(*mean, color=color, label=f"{label}, mean of {window} records")
        wrong = steps[known & ~finite]
        if len(wrong):
            mark = axes.get_xaxis_transform()
            axes.plot(
                wrong, np.full(len(wrong), 0.97), "x", color="black", transform=mark, label=f"{label}: NaN or infinite"
            )
    if is_wide(np.concatenate(everything), is_of_rates):
        axes.set_yscale("log")
        plain(axes.yaxis, "{:,.3g}".format)
    elif is_of_rates:
        axes.set_ylim(0, None)
    losses = len(panel) > 1 and all("loss" in name.lower() for name in panel)
    axes.set_ylabel("learning rate" if is_of_rates else "loss" if losses else escaped(", ".join(panel)))
    if len(axes.lines) > 1 or len(panel) > 1:
        axes.legend(frameon=False, fontsize=9)


def escaped(name: str) -> str:
    """Return a name that matplotlib shows literally: an unescaped $ begins TeX."""
    return name.replace("$", r"\$")


def is_wide(values: Array, is_of_rates: bool) -> bool:
    """Whether numbers belong on a logarithmic axis.

    For rates only the middle half counts: a cosine schedule ends near zero, and would look like a cliff.
    """
    if not len(values) or values.min() <= 0:
        return False
    low, high = np.quantile(values, (0.25, 0.75)) if is_of_rates else (values.min(), values.max())
    return bool(high >= SPAN * low)


def trailing_mean(values: Array, window: int) -> Array:
    """Moving average of `window` numbers: element k is the mean of ``values[k : k + window]``.

    Each sum is one addition of partial sums of two neighbouring blocks. Differences of one running sum would lose all
    digits after a spike.
    """
    n = len(values)
    blocks = np.zeros(-(-n // window) * window)
    blocks[:n] = values
    table = blocks.reshape(-1, window)
    ahead = np.cumsum(table, axis=1).reshape(-1)  # from the start of the block
    behind = np.cumsum(table[:, ::-1], axis=1)[:, ::-1].reshape(-1)  # to the end of the block
    first = np.arange(n - window + 1)
    last = first + window - 1
    sums: Array = np.where(first % window == 0, ahead[last], behind[first] + ahead[last])
    return sums / window


def thinned(x: Any, y: Array) -> tuple[Any, Array]:
    """Fewer points of a long line that looks the same: the minimum and maximum of each bin."""
    n = len(y)
    if n <= 2 * BINS:
        return x, y
    size = -(-n // BINS)
    whole = n // size * size
    table = y[:whole].reshape(-1, size)
    start = np.arange(0, whole, size)
    chosen = np.concatenate([start + table.argmin(axis=1), start + table.argmax(axis=1), np.arange(whole, n)])
    chosen = np.unique(chosen)
    return x[chosen], y[chosen]
