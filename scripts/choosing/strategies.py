"""The table: strategies by data. Each training's rate is chosen on its validation part and judged on its test part."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import demo, tune
from pyfastlr import schedules as S

from .common import NAMES, Network, batches, heavy_ball, load, middle, rms_prop, table, train

UPDATES, BATCH, HIDDEN, SEEDS = 200, 32, 32, range(8)
EVALUATE = 10  # updates between two looks at the validation loss
WINS = 6  # of the seeds, and no loss: by luck with a probability of at most 1/64
HIGH, LOW = 10.0 ** np.arange(-3, 0.1, 0.5), 10.0 ** np.arange(-4, -0.9, 0.5)  # seven rates each: SGD; the others


class Strategy(NamedTuple):
    """An optimizer, and its rate as a function of the peak rate and the number of updates."""

    rate: Callable[[float, int], Any]
    optimizer: Callable[..., flr.Optimizer] = heavy_ball
    rates: Any = HIGH
    stops: bool = False
    options: dict[str, float] | None = None  # of the optimizer


def fixed(lr: float, n: int) -> S.Schedule:
    """Return a rate that stays."""
    return S.Constant(lr)


def warm(lr: float, n: int) -> S.Schedule:
    """Return a cosine after a warm-up of a tenth of the updates."""
    return S.Cosine(lr, n - n // 10).warmup(n // 10)


FIXED, CONTROL = "fixed", "for comparison: fixed, weight decay 0.1"
STRATEGIES = {
    FIXED: Strategy(fixed),
    "time-based, 1/(1 + 10·n/N)": Strategy(demo.SCHEDULES["inverse-time"]),
    "step, halved five times": Strategy(demo.SCHEDULES["step"]),
    "exponential, to 1 %": Strategy(demo.SCHEDULES["exponential"]),
    "polynomial, power 2": Strategy(demo.SCHEDULES["polynomial"]),
    "linear to 0": Strategy(lambda lr, n: S.Linear(lr, 0.0, n)),
    "cosine to 0": Strategy(lambda lr, n: S.Cosine(lr, n)),
    "cyclical, lr/10 to lr": Strategy(demo.SCHEDULES["cyclic"]),
    "cosine, two restarts": Strategy(lambda lr, n: S.CosineRestarts(lr, n / 3)),
    "one-cycle": Strategy(demo.SCHEDULES["one-cycle"]),
    "warm-up, then cosine": Strategy(warm),
    "`S.Plateau`": Strategy(lambda lr, n: S.Plateau(lr, factor=0.3, patience=2)),
    "fixed, early stopping": Strategy(fixed, stops=True),
    "fixed, weights averaged": Strategy(fixed, options={"ema_decay": 0.95}),
    "AdaGrad, fixed": Strategy(fixed, flr.AdaGrad, LOW),
    "RMSProp, fixed": Strategy(fixed, rms_prop, LOW),
    "Adam, fixed": Strategy(fixed, flr.Adam, LOW),
    "Adam, warm-up, then cosine": Strategy(warm, flr.Adam, LOW),
    CONTROL: Strategy(fixed, options={"weight_decay": 0.1}),
}


def run(name: str, strategy: Strategy, lr: float, seed: int) -> tuple[float, float]:
    """Train; return the validation loss, and the score on the test part."""
    data, rng = load(name, seed), np.random.default_rng(seed)
    network = Network(data, HIDDEN, rng)
    rate = strategy.rate(lr, UPDATES)
    options = strategy.options or {}
    opt = strategy.optimizer(network.params, rate, **options)
    stop = tune.EarlyStopping(patience=5, params=network.params) if strategy.stops else None

    def look(n: int) -> bool | None:
        loss = network.loss(data.validation)
        if isinstance(rate, S.Controller):
            rate.observe(loss)
        return stop.observe(loss) if stop else None

    every = EVALUATE if stop or isinstance(rate, S.Controller) else 0
    loss = train(network, opt, batches(data.train, BATCH, rng), UPDATES, every, look)
    if stop:
        stop.restore()
    elif not math.isfinite(loss):
        return math.inf, 0.0
    if "ema_decay" in options:
        opt.swap_ema()
    return network.loss(data.validation), network.score(data.test)


def chosen(name: str, strategy: str, seed: int) -> float:
    """Return the test score at the rate with the lowest validation loss of this seed."""
    found = [run(name, STRATEGIES[strategy], lr, seed) for lr in STRATEGIES[strategy].rates]
    return min(found, key=lambda pair: pair[0])[1]


def mark(scores: list[float], base: list[float]) -> str:
    """Return an arrow if the scores differ from those of the fixed rate, seed by seed."""
    wins = sum(x > y for x, y in zip(scores, base, strict=True))
    losses = sum(x < y for x, y in zip(scores, base, strict=True))
    return " ▲" if wins >= WINS and not losses else " ▼" if losses >= WINS and not wins else ""


def row(strategy: str, base: dict[str, list[float]]) -> list[str]:
    """Return the row of a strategy. Fills `base` if that is empty, with the row of the fixed rate."""
    scores = {name: [chosen(name, strategy, seed) for seed in SEEDS] for name in NAMES}
    base.update(scores if not base else {})
    return [strategy, *(middle(scores[name]) + mark(scores[name], base[name]) for name in NAMES)]


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table."""
    base: dict[str, list[float]] = {}
    return {"strategies": table(["strategy", *NAMES], [row(strategy, base) for strategy in STRATEGIES])}, {}
