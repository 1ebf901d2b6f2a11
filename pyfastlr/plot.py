"""Pictures, by matplotlib without a display: figures are made and written without pyplot's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pyfastlr.demo import Training

#: Endings of the files that a figure can be written to.
FORMATS = frozenset(Figure().canvas.get_supported_filetypes())

BLUE, GREEN, RED = "#0072b2", "#009e73", "#d55e00"  # Okabe and Ito's palette: distinct in every form of colour vision


def training(run: Training) -> Figure:
    """Draw loss (log scale), test accuracy and learning rate over the updates of a finished run of the demo.

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
    steps = [point.step for point in run.points]
    accuracy = [100 * point.accuracy for point in run.points]
    figure.suptitle(f"{run.name} with the {run.schedule} schedule on digits: test accuracy {accuracy[-1]:.1f} %")

    top.plot(updates, run.losses, color=BLUE, alpha=0.25, linewidth=0.8, label="mini-batch")
    top.plot(steps, [point.loss for point in run.points], color=BLUE, label=f"mean of {steps[0]}")
    top.set(ylabel="training loss (nats)", yscale="log")
    top.legend(frameon=False)
    middle.plot(steps, accuracy, color=GREEN)
    middle.set(ylabel="test accuracy (%)", ylim=(max(0.0, accuracy[-1] - 20), 100.5))  # the end, which is what differs
    bottom.plot(updates, run.rates, color=RED)
    bottom.set(ylabel="learning rate", xlabel="update", xlim=(0, len(updates)), ylim=(0, None))
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
