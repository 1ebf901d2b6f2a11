"""Plateaus: a loss that stands still because the rate is too high, and one that does because the start is flat."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.plot import plain

from .common import BLUE, GREEN, GREY, PINK, RED, Network, batches, figure, heavy_ball, load, middle, table, train
from .decays import floor

SEEDS, EVERY, BATCH = range(5), 20, 8  # EVERY: updates between two observed losses
NOISE, FLAT = "noise: linear model, diabetes", "flat start: network with tiny weights, digits"
REACHED = 1.0  # nats: the plateau at log(10) = 2.3 is left


class Way(NamedTuple):
    """What is done about the plateau."""

    rate: Callable[[int], Any]
    color: str
    optimizer: Callable[..., flr.Optimizer] = flr.SGD
    style: str = "-"


#: Data, hidden units, factor of the first weights, updates; then what is done.
PROBLEMS: dict[str, tuple[str, int, float, int, dict[str, Way]]] = {
    NOISE: ("diabetes", 0, 1.0, 1200, {
        "fixed 0.1": Way(lambda n: 0.1, GREY),
        "`S.Plateau`": Way(lambda n: S.Plateau(0.1, factor=0.3, patience=4, min_lr=1e-4), BLUE),
        '`S.Plateau`, "slope"': Way(lambda n: S.Plateau(0.1, factor=0.3, patience=12, convention="slope"), GREEN),
        "`S.RestartOnPlateau` of an exponential": Way(
            lambda n: S.RestartOnPlateau(S.Exponential(0.1, 0.01, steps=300), patience=8, factor=0.3), PINK),
        "cosine to 0": Way(lambda n: S.Cosine(0.1, n), RED, style="--"),
    }),
    FLAT: ("digits", 32, 0.01, 1200, {
        "fixed 0.1": Way(lambda n: 0.1, GREY),
        "`S.Plateau`": Way(lambda n: S.Plateau(0.1, factor=0.3, patience=4, threshold=0.01, min_lr=1e-4), BLUE),
        "`S.RestartOnPlateau` of an exponential": Way(
            lambda n: S.RestartOnPlateau(S.Exponential(0.1, 0.01, steps=600), patience=4, threshold=0.01), PINK),
        "exponential, no restart": Way(lambda n: S.Exponential(0.1, 0.01, steps=600), RED, style="--"),
        "fixed 0.1, momentum 0.9": Way(lambda n: 0.1, GREEN, heavy_ball),
    }),
}  # fmt: skip


def run(problem: str, way: str, seed: int) -> tuple[Any, Any]:
    """Train; return the loss of all training examples (for NOISE above its minimum) and the rate, every EVERY."""
    name, hidden, factor, updates, ways = PROBLEMS[problem]
    data, rng = load(name, seed), np.random.default_rng(seed)
    network = Network(data, hidden, rng)
    network.params.buffer[...] *= np.float32(factor)
    rate = ways[way].rate(updates)
    opt = ways[way].optimizer(network.params, rate)
    losses, rates, minimum = [network.loss(data.train)], [opt.lr], 0.0 if hidden else floor(data)

    def look(n: int) -> None:
        losses.append(network.loss(data.train))
        if isinstance(rate, S.Controller):
            rate.observe(losses[-1])
        rates.append(opt.lr)

    train(network, opt, batches(data.train, BATCH, rng), updates, EVERY, look)
    return np.array(losses) - minimum, np.array(rates)


def left(losses: Any) -> float:
    """Return the update at which the plateau was left; infinite if never."""
    below = np.flatnonzero(losses < REACHED)
    return float(below[0] * EVERY) if len(below) else math.inf


def rows(problem: str, runs: dict[str, list[tuple[Any, Any]]]) -> list[list[str]]:
    """Return the table's rows of a problem."""
    lines = []
    for way, found in runs.items():
        tail = [float(np.mean(losses[-5:])) for losses, _ in found]
        updates = np.median([left(losses) for losses, _ in found])
        lines.append(
            [
                problem, way, middle(tail, ".2g"),
                "" if problem == NOISE else f"{updates:.0f}" if math.isfinite(updates) else "never",
                f"{np.median([rates[-1] for _, rates in found]):.2g}",
            ]
        )  # fmt: skip
    return lines


def draw(results: dict[str, dict[str, list[tuple[Any, Any]]]]) -> Figure:
    """Draw the losses (medians over the seeds) and the rates of the first seed."""
    picture, axes = figure(12, 7, 2, 2, sharex="col", height_ratios=(3, 2))
    for (top, bottom), (problem, runs) in zip(axes.T, results.items(), strict=True):
        for label, found in runs.items():
            way = PROBLEMS[problem][4][label]
            losses = np.median([losses for losses, _ in found], axis=0)
            n = np.arange(len(losses)) * EVERY
            top.plot(n, losses, way.style, color=way.color, label=label.replace("`", ""))
            bottom.plot(n, found[0][1], way.style, color=way.color, drawstyle="steps-post" if "Pl" in label else None)
        top.set_title(problem[0].upper() + problem[1:], fontsize=11)
        top.set(yscale="log")
        bottom.set(yscale="log", xlabel="updates")
        top.legend(frameon=False, fontsize=9, loc="upper right" if problem == NOISE else "lower left")
        plain(top.yaxis, "{:g}".format)
        plain(bottom.yaxis, "{:g}".format)
    axes[0, 0].set(ylabel="training loss above its minimum", ylim=(None, 3))
    axes[0, 1].set(ylabel="training loss (nats)")
    axes[1, 0].set(ylabel="learning rate (first seed)")
    return picture


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table and the picture."""
    results = {
        problem: {way: [run(problem, way, seed) for seed in SEEDS] for way in spec[4]}
        for problem, spec in PROBLEMS.items()
    }
    lines = [line for problem, runs in results.items() for line in rows(problem, runs)]
    head = ["plateau", "rate", "loss at the end", f"updates until a loss of {REACHED:g}", "rate at the end"]
    text = table(head, lines).replace("|---|--:|", "|---|---|", 1)
    return {"plateaus": text}, {"plateaus": draw(results)}
