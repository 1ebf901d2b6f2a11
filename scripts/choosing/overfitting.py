"""Overfitting: training and validation loss at three rates, and what early stopping saves."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pyfastlr import tune
from pyfastlr.plot import plain

from .common import BLUE, GREEN, RED, Network, batches, figure, heavy_ball, load, middle, number, table, train

RATES, SEEDS, UPDATES, EVERY, BATCH, HIDDEN, PATIENCE = (1e-3, 1e-2, 1e-1), range(8), 2000, 10, 32, 64, 20
DECAY = 0.1
#: Data, and the weight decay.
PROBLEMS = {
    "diabetes": ("diabetes", 0.0),
    f"diabetes, weight decay {DECAY:g}": ("diabetes", DECAY),
    "breast cancer": ("breast cancer", 0.0),
}


class Result(NamedTuple):
    """Losses every EVERY updates, test scores at the end and after early stopping, and when that stopped."""

    train: Any
    validation: Any
    end: float
    stopped: float
    best_update: int
    stop_update: int


def run(problem: str, lr: float, seed: int) -> Result:
    """Train to the end. Early stopping watches, and its parameters are judged afterwards."""
    name, decay = PROBLEMS[problem]
    data, rng = load(name, seed), np.random.default_rng(seed)
    network = Network(data, HIDDEN, rng)
    opt = heavy_ball(network.params, lr, weight_decay=decay)
    stop = tune.EarlyStopping(patience=PATIENCE, params=network.params)
    losses: tuple[list[float], list[float]] = ([], [])
    at: list[int] = []

    def look(n: int) -> None:
        losses[0].append(network.loss(data.train))
        losses[1].append(network.loss(data.validation))
        if not at and stop.observe(losses[1][-1]):
            at.append(n)

    train(network, opt, batches(data.train, BATCH, rng), UPDATES, EVERY, look)
    end = network.score(data.test)
    stop.restore()
    best = (stop.best_index + 1) * EVERY if stop.best_index is not None else 0
    return Result(*map(np.array, losses), end, network.score(data.test), best, at[0] if at else UPDATES)


def row(problem: str, lr: float, runs: list[Result]) -> list[str]:
    """Return a row of the table."""
    return [
        problem, number(lr), middle([r.validation.min() for r in runs], ".2f"),
        f"{np.median([(r.validation.argmin() + 1) * EVERY for r in runs]):.0f}",
        middle([r.validation[-1] for r in runs], ".2f"), middle([r.end for r in runs]),
        middle([r.stopped for r in runs]), f"{np.median([r.stop_update for r in runs]):.0f}",
    ]  # fmt: skip


def draw(results: dict[float, list[Result]]) -> Figure:
    """Draw the losses of the first problem at each rate: medians and quartiles over the seeds."""
    picture, (axes,) = figure(12, 4.5, 1, len(RATES), sharey=True)
    n = np.arange(1, UPDATES // EVERY + 1) * EVERY
    for ax, (lr, runs) in zip(axes, results.items(), strict=True):
        for color, label, name in ((BLUE, "training", "train"), (RED, "validation", "validation")):
            low, median, high = np.quantile([getattr(r, name) for r in runs], (0.25, 0.5, 0.75), axis=0)
            ax.plot(n, median, color=color, label=label)
            ax.fill_between(n, low, high, color=color, alpha=0.15, linewidth=0)
        best, stop = (np.median([getattr(r, name) for r in runs]) for name in ("best_update", "stop_update"))
        ax.axvline(best, color=GREEN, label="kept by EarlyStopping")
        if stop < UPDATES:
            ax.axvline(stop, color=GREEN, linestyle=":", label="stopped")
        ax.set_title(f"Rate {lr:g}", fontsize=11)
        ax.set(xscale="log", yscale="log", xlabel="updates", ylim=(0.01, 2), xlim=(EVERY, UPDATES))
        plain(ax.xaxis, "{:,.0f}".format)
        plain(ax.yaxis, "{:g}".format)
    axes[0].legend(frameon=False, fontsize=9, loc="lower left")
    axes[0].set_ylabel("half the mean squared error, diabetes")
    return picture


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table and the picture."""
    results = {problem: {lr: [run(problem, lr, seed) for seed in SEEDS] for lr in RATES} for problem in PROBLEMS}
    head = [
        "data", "rate", "smallest validation loss", "at update", f"at {UPDATES}",
        f"test score at {UPDATES}", "with early stopping", "stopped at",
    ]  # fmt: skip
    rows = [row(problem, lr, runs) for problem, by_rate in results.items() for lr, runs in by_rate.items()]
    return {"overfitting": table(head, rows)}, {"overfitting": draw(results[next(iter(PROBLEMS))])}
