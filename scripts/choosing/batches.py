"""Batch size and rate: the best rate of each batch size for a fixed number of epochs, and two rules that predict it."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.plot import plain

from .common import BLUE, GREEN, GREY, RED, Network, batches, figure, load, number, table, train

SIZES, EPOCHS, SEEDS, HIDDEN, FROM = (4, 8, 16, 32, 64, 128, 256, 512), 8, range(3), 32, 16
#: Optimizer, and its rates.
CASES: dict[str, tuple[Any, Any]] = {
    "SGD": (flr.SGD, 10.0 ** np.arange(-2, 1.01, 0.25)),
    "Adam": (flr.Adam, 10.0 ** np.arange(-3.5, -0.49, 0.25)),
}


def final(optimizer: str, size: int, lr: float) -> float:
    """Return the median training loss after EPOCHS."""
    losses = []
    for seed in SEEDS:
        data, rng = load("digits", seed), np.random.default_rng(seed)
        network = Network(data, HIDDEN, rng)
        updates = EPOCHS * (len(data.train[1]) // size)
        loss = train(network, CASES[optimizer][0](network.params, lr), batches(data.train, size, rng), updates)
        losses.append(network.loss(data.train) if math.isfinite(loss) else math.inf)
    return float(np.median(losses))


def lowest(rates: Any, losses: Any) -> float:
    """Return where a parabola through the three lowest points of a curve has its minimum, in logarithms."""
    k = int(np.argmin(losses))
    if not 0 < k < len(rates) - 1 or not np.isfinite(losses[k - 1 : k + 2]).all():
        return float(rates[k])
    x = np.log(rates[k - 1 : k + 2])
    a, b, _ = np.polyfit(x - x[1], np.log(losses[k - 1 : k + 2]), 2)
    return float(np.exp(x[1] - b / (2 * a))) if a > 0 else float(rates[k])


def rows(best: dict[str, dict[int, float]], losses: dict[str, dict[int, Any]]) -> list[list[str]]:
    """Return the table's rows: for each size the best rate, its loss, and the loss at the rule's rate."""
    lines = []
    for size in SIZES:
        cells = [str(size), str(EPOCHS * (len(load("digits", 0).train[1]) // size))]
        for name in CASES:
            cells += [number(best[name][size]), number(float(losses[name][size].min()))]
            for rule in (1.0, 0.5):
                rate = best[name][FROM] * (size / FROM) ** rule
                cells.append(number(final(name, size, rate)) if size != FROM else "")
        lines.append(cells)
    return lines


def bound() -> float:
    """Return the median over the seeds of the rate above which SGD is unstable at the start, with all data."""
    bounds = []
    for seed in SEEDS:
        data = load("digits", seed)
        network = Network(data, HIDDEN, np.random.default_rng(seed))
        bounds.append(tune.sharpness(network.loss_and_grad, network.params, data.train).bound)
    return float(np.median(bounds))


def draw(best: dict[str, dict[int, float]]) -> Figure:
    """Draw the best rate against the batch size, with both rules."""
    picture, (axes,) = figure(11, 4.5, 1, 2)
    sizes = np.array(SIZES)
    for ax, (name, color) in zip(axes, (("SGD", BLUE), ("Adam", RED)), strict=True):
        start = best[name][FROM]
        ax.plot(sizes, [best[name][size] for size in SIZES], "o-", color=color, label="best rate")
        ax.plot(sizes, start * sizes / FROM, "--", color=GREY, label=f"proportional to the size, from {FROM}")
        ax.plot(sizes, start * (sizes / FROM) ** 0.5, ":", color="black", label=f"to its root, from {FROM}")
        if name == "SGD":
            ax.axhline(bound(), color=GREEN, linewidth=1, label="2/L at the start (tune.sharpness)")
        ax.set(xscale="log", yscale="log", xlabel="batch size", xticks=SIZES, xticklabels=map(str, SIZES))
        ax.set_ylim(start / 6, start * 40)
        ax.minorticks_off()
        ax.set_title(f"{name}, digits, {EPOCHS} epochs", fontsize=11)
        plain(ax.yaxis, "{:g}".format)
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    axes[0].set_ylabel("learning rate")
    return picture


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table and the picture."""
    losses = {
        name: {size: np.array([final(name, size, lr) for lr in rates]) for size in SIZES}
        for name, (_, rates) in CASES.items()
    }
    best = {name: {size: lowest(CASES[name][1], losses[name][size]) for size in SIZES} for name in CASES}
    head = ["batch", "updates"]
    for name in CASES:
        head += [f"{name}: best rate", "its loss", "loss, linear rule", "loss, root rule"]
    return {"batches": table(head, rows(best, losses))}, {"batches": draw(best)}
