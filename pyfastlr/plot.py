"""Pictures with matplotlib, without a display: figures are made and written without pyplot's global state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from pyfastlr.schedules.drawing import has_steps

if TYPE_CHECKING:
    from pyfastlr.demo import Training

#: File name endings that a figure can be written to.
FORMATS = frozenset(Figure().canvas.get_supported_filetypes())

BLUE, GREEN, RED = "#0072b2", "#009e73", "#d55e00"  # Okabe and Ito's palette: distinct in all kinds of colour vision


class _Plain(LogFormatter):
    """Formatter that writes plain numbers instead of powers of ten, at the ticks that matplotlib would label."""

    text: Callable[[float], str]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        return self.text(x) if super().__call__(x, pos) else ""


def plain(axis: Any, text: Callable[[float], str] = "{:,.6g}".format) -> None:
    """Label the ticks of a logarithmic axis with plain numbers, also between powers of ten if these are few."""
    major = _Plain(minor_thresholds=(2, 0.4))
    minor = _Plain(labelOnlyBase=False, minor_thresholds=(2, 0.4))
    major.text = minor.text = text
    axis.set_major_formatter(major)
    axis.set_minor_formatter(minor)


def training(run: Training) -> Figure:
    """Draw loss (log scale), test accuracy and learning rate against the updates of a finished run of the demo.

    Examples
    --------
    >>> from pyfastlr.demo import Training
    >>> run = Training(steps=20)
    >>> for point in run:
    ...     pass
    >>> [axes.get_ylabel() for axes in training(run).axes]
    ['training loss (nats)', 'test accuracy (%)', 'learning rate']
    """
    figure = Figure(figsize=(8, 8), dpi=120, layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True, height_ratios=(3, 2, 2))
    updates = np.arange(1, len(run.losses) + 1)
    steps = [x.step for x in run.points]
    accuracy = [100 * x.accuracy for x in run.points]
    figure.suptitle(f"{run.name} with the {run.schedule} schedule on digits: test accuracy {accuracy[-1]:.1f} %")
    point = {"marker": "o", "markersize": 4} if len(updates) == 1 else {}  # a line needs two points

    if steps[0] > 1:
        top.plot(updates, run.losses, color=BLUE, alpha=0.25, linewidth=0.8, label="mini-batch of each update")
        means = [x.loss for x in run.points]
        top.plot(steps, means, color=BLUE, label=f"mean over the last {steps[0]} updates")
    else:
        top.plot(updates, run.losses, color=BLUE, label="mini-batch of each update", **point)
    top.set(ylabel="training loss (nats)", yscale="log")
    plain(top.yaxis)
    top.legend(frameon=False)
    middle.plot(steps, accuracy, color=GREEN, **point)
    middle.set(ylabel="test accuracy (%)", ylim=(max(0.0, accuracy[-1] - 20), 100.5))  # only the top: there runs differ
    bottom.plot(updates, run.rates, color=RED, drawstyle="steps-post" if has_steps(run.rates) else "default", **point)
    bottom.set(ylabel="learning rate", xlabel="update (from 1)", xlim=(0, max(2, len(updates))), ylim=(0, None))
    bottom.xaxis.get_major_locator().set_params(integer=True)
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    return figure
