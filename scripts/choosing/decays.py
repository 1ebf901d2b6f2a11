"""Decay: schedules at their own best rates, where gradient noise limits the loss and where it hardly does."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import demo
from pyfastlr import schedules as S

from .common import Data, Network, batches, load, middle, number, table, train

RATES = 10.0 ** np.arange(-3, 0.51, 0.5)
SEEDS, BATCH = range(5), 8
AVERAGED = "fixed, weights averaged"
#: Strategies as functions of the peak rate and the number of updates.
SCHEDULES: dict[str, Callable[[float, int], S.Schedule]] = {
    "fixed": lambda lr, n: S.Constant(lr),
    "halved five times (step)": demo.SCHEDULES["step"],
    "exponential, to 1 %": demo.SCHEDULES["exponential"],
    "1/(1 + 10·n/N)": demo.SCHEDULES["inverse-time"],
    "linear to 0": lambda lr, n: S.Linear(lr, 0.0, n),
    "cosine to 0": lambda lr, n: S.Cosine(lr, n),
    "warm-up, stable, decay": demo.SCHEDULES["wsd"],
    "one-cycle": demo.SCHEDULES["one-cycle"],
    "cosine with two restarts": lambda lr, n: S.CosineRestarts(lr, n / 3),  # the last cycle ends with the training
    "cyclical, lr/10 to lr": demo.SCHEDULES["cyclic"],
    AVERAGED: lambda lr, n: S.Constant(lr),
}
#: Data, hidden units, updates.
PROBLEMS = {"diabetes": ("diabetes", 0, 1000), "digits": ("digits", 32, 600)}


def floor(data: Data) -> float:
    """Return the smallest training loss that a linear model can have."""
    x, y = data.train
    x = np.hstack([x, np.ones((len(x), 1), np.float32)]).astype(np.float64)
    w = np.linalg.lstsq(x, y.astype(np.float64), rcond=None)[0]
    return 0.5 * float(np.mean((x @ w - y) ** 2))


def run(problem: str, strategy: str, lr: float, seed: int) -> tuple[float, float]:
    """Train; return the training loss, above its minimum for the linear model, and the accuracy on held-out data."""
    name, hidden, updates = PROBLEMS[problem]
    data, rng = load(name, seed), np.random.default_rng(seed)
    network = Network(data, hidden, rng)
    options = {"ema_decay": 0.99} if strategy == AVERAGED else {}
    opt = flr.SGD(network.params, SCHEDULES[strategy](lr, updates), **options)
    if not math.isfinite(train(network, opt, batches(data.train, BATCH, rng), updates)):
        return math.inf, 0.0
    if options:
        opt.swap_ema()
    minimum = 0.0 if hidden else floor(data)
    return network.loss(data.train) - minimum, network.score(data.validation)


def row(strategy: str) -> list[str]:
    """Return the row of a strategy: for each problem the best rate and what it reaches."""
    cells = [strategy]
    for problem in PROBLEMS:
        found = np.array([[run(problem, strategy, lr, seed) for seed in SEEDS] for lr in RATES])
        k = int(np.argmin(np.median(found[:, :, 0], axis=1)))
        cells += [number(RATES[k]), middle(found[k, :, 0] * (1000 if problem == "diabetes" else 1), ".2g")]
    cells.append(middle(found[k, :, 1]))  # of the digits
    return cells


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table."""
    head = [
        "schedule", "diabetes: best rate", "loss above the minimum (1/1000)",
        "digits: best rate", "training loss (nats)", "accuracy, held out (%)",
    ]  # fmt: skip
    return {"decays": table(head, [row(strategy) for strategy in SCHEDULES])}, {}
