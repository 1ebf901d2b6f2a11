"""How high: the loss after training against the rate, where it diverges, and what predicts that."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pyfastlr import tune
from pyfastlr.plot import plain

from .common import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    NAMES,
    OPTIMIZERS,
    RED,
    Network,
    batches,
    figure,
    load,
    number,
    table,
    train,
)  # fmt: skip

RATES = 10.0 ** np.arange(-5, 1.51, 0.5)
UPDATES, BATCH, HIDDEN, SEEDS = 200, 32, 32, range(5)
NEAR = 2.0  # percentage points: a rate this close to the best is good
FACTORS = (0.1, 0.2, 0.5, 0.8, 0.95, 1.05, 1.3, 2.0, 4.0, 8.0)  # rates as multiples of the bound
FULL = 200  # updates with all data in each gradient
SHOWN = "digits"


def run(name: str, optimizer: str, lr: float, seed: int) -> tuple[float, float]:
    """Train; return the loss of all training examples, and the score on examples held out (validation and test)."""
    data, rng = load(name, seed), np.random.default_rng(seed)
    network = Network(data, HIDDEN, rng)
    loss = train(network, OPTIMIZERS[optimizer](network.params, lr), batches(data.train, BATCH, rng), UPDATES)
    held = tuple(np.concatenate(pair) for pair in zip(data.validation, data.test, strict=True))
    return network.loss(data.train) if math.isfinite(loss) else math.inf, network.score(held)


def sweep(name: str, optimizer: str) -> tuple[Any, Any]:
    """Return the training losses and the scores, [rates, seeds]."""
    found = np.array([[run(name, optimizer, lr, seed) for seed in SEEDS] for lr in RATES])
    return found[:, :, 0], found[:, :, 1]


def good(scores: Any) -> Any:
    """Return which rates are good: the median score is within NEAR points of that of the best rate."""
    medians = np.median(scores, axis=1)
    return medians >= medians.max() - NEAR


def best(scores: Any) -> float:
    """Return the rate with the highest median score; of several, the middle one on a logarithmic scale."""
    medians = np.median(scores, axis=1)
    return float(np.exp(np.log(RATES[medians >= medians.max() - 1e-9]).mean()))


def suggested(name: str, optimizer: str) -> float:
    """Return the median suggestion of range tests, one with five sweeps for each seed."""
    rates = []
    for seed in SEEDS:
        data, rng = load(name, seed), np.random.default_rng(seed)
        network = Network(data, HIDDEN, rng)
        source = batches(data.train, BATCH, rng)
        test = tune.range_test(
            network.loss_and_grad, network.params, lambda p: OPTIMIZERS[optimizer](p, 1e-3), source, repeats=5
        )
        rates.append(test.suggestions["valley"] or math.nan)
    return float(np.nanmedian(rates))


def bounded(name: str, hidden: int, optimizer: str, seed: int) -> tuple[list[float], float]:
    """Return the final loss over the first one at FACTORS times the bound with all data in each gradient; the bound."""
    data = load(name, seed)
    ratios: list[float] = []
    for factor in FACTORS:
        network = Network(data, hidden, np.random.default_rng(seed))
        opt = OPTIMIZERS[optimizer](network.params, 1.0)
        bound = tune.sharpness(network.loss_and_grad, network.params, data.train, optimizer=opt).bound
        opt.lr = factor * bound
        start = network.loss(data.train)
        loss = train(network, opt, iter([data.train] * FULL), FULL)
        ratios.append(network.loss(data.train) / start if math.isfinite(loss) else math.inf)
    return ratios, bound


BOUNDED = {
    "linear model, diabetes, SGD": ("diabetes", 0, "SGD", BLUE, "-"),
    "linear model, diabetes, momentum 0.9": ("diabetes", 0, "SGD, momentum 0.9", BLUE, "--"),
    "linear model, breast cancer, SGD": ("breast cancer", 0, "SGD", GREEN, "-"),
    "network, digits, SGD": ("digits", HIDDEN, "SGD", RED, "-"),
    "network, digits, momentum 0.9": ("digits", HIDDEN, "SGD, momentum 0.9", RED, "--"),
}


def ranges(sweeps: dict[tuple[str, str], tuple[Any, Any]], valley: dict[str, float]) -> str:
    """Return the table of the rates of each optimizer on SHOWN."""
    rows = []
    for name in OPTIMIZERS:
        losses, scores = sweeps[SHOWN, name]
        rates = RATES[good(scores)]
        lost = RATES[np.median(losses, axis=1) > np.log(10)]
        lost = lost[lost > rates.max()]
        rows.append(
            [
                name, number(RATES[0]) + ": " + number(np.median(scores[0]), ".0f") + " %",
                f"{number(rates.min())} to {number(rates.max())}", f"{np.median(scores, axis=1).max():.1f} %",
                number(lost.min()) if len(lost) else f"above {number(RATES[-1])}", number(valley[name]),
            ]
        )  # fmt: skip
    head = ["optimizer", "too low", "good rates", "best accuracy", "worse than guessing from", "range test"]
    return table(head, rows)


def bounds(results: dict[str, tuple[list[float], float]]) -> str:
    """Return the table of what happens around the bound."""
    rows = [
        [name, number(bound), *("diverges" if not r < 10 else number(r, ".2g") for r in ratios)]
        for name, (ratios, bound) in results.items()
    ]
    return table(["", "bound", *(f"{factor:g}x" for factor in FACTORS)], rows)


def widths(sweeps: dict[tuple[str, str], tuple[Any, Any]]) -> str:
    """Return the table of how wide the ranges are on all data, and how far the best rate moves."""
    rows = []
    for name in OPTIMIZERS:
        cells, centers = [], []
        for data in NAMES:
            rates = RATES[good(sweeps[data, name][1])]
            centers.append(best(sweeps[data, name][1]))
            cells.append(f"{number(rates.min())} to {number(rates.max())}")
        common = np.all([good(sweeps[data, name][1]) for data in NAMES], axis=0)
        all_of_them = ", ".join(number(x) for x in RATES[common]) or "none"
        decades = np.median([0.5 * good(sweeps[data, name][1]).sum() for data in NAMES])
        rows.append([name, *cells, f"{decades:.1f}", all_of_them])
    return table(["optimizer", *NAMES, "median width (decades)", "good on all five"], rows)


def draw(
    sweeps: dict[tuple[str, str], tuple[Any, Any]],
    valley: dict[str, float],
    results: dict[str, tuple[list[float], float]],
) -> Figure:
    """Draw loss against rate, and loss against rate over bound."""
    picture, ((left, right),) = figure(12, 5, 1, 2)
    for color, name in zip(COLORS, OPTIMIZERS, strict=True):
        losses = np.minimum(sweeps[SHOWN, name][0], 1e6)
        medians = np.median(losses, axis=1)
        left.plot(RATES, medians, color=color, label=name)
        left.fill_between(RATES, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.12, linewidth=0)
        height = np.exp(np.interp(np.log(valley[name]), np.log(RATES), np.log(medians)))
        left.plot(valley[name], height, "o", color=color, markeredgecolor="black", zorder=3)
    left.axhline(np.log(10), color=GREY, linestyle=":", linewidth=1)
    left.text(RATES[0], 2.1, "guessing", color=GREY, fontsize=9, va="top")
    left.set(
        xscale="log", yscale="log", ylim=(3e-3, 100), xlabel="learning rate",
        ylabel=f"training loss after {UPDATES} updates (nats)",
    )  # fmt: skip
    left.set_title("Digits: too low, right, too high. Circles: the range test", fontsize=11)
    left.legend(frameon=False, fontsize=9, loc="lower left")
    for name, (_, _, _, color, style) in BOUNDED.items():
        right.plot(FACTORS, np.minimum(results[name][0], 100), style, color=color, marker=".", label=name)
    right.axvline(1, color=GREY, linestyle=":")
    right.axhline(1, color=GREY, linestyle=":", linewidth=1)
    right.set(
        xscale="log", yscale="log", ylim=(1e-4, 30), xlim=(0.02, 10),
        xlabel="rate / bound of tune.sharpness at the start", ylabel="final loss / first loss",
    )  # fmt: skip
    right.set_title("All data in each gradient: a wall for a quadratic, not for a network", fontsize=11)
    right.legend(frameon=False, fontsize=9, loc="upper left")
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        plain(axis, "{:g}".format)
    return picture


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the tables and the pictures of two sections: how high, and adaptive optimizers."""
    sweeps = {(data, name): sweep(data, name) for data in NAMES for name in OPTIMIZERS}
    valley = {name: suggested(SHOWN, name) for name in OPTIMIZERS}
    results = {label: bounded(*spec[:3], seed=0) for label, spec in BOUNDED.items()}
    tables = {"ranges": ranges(sweeps, valley), "bounds": bounds(results), "widths": widths(sweeps)}
    return tables, {"ranges": draw(sweeps, valley, results)}
