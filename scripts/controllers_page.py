"""Train on digits from bad rates, with and without controllers: `python scripts/controllers_page.py`.

Writes docs/controllers.png, docs/spike_guard.png, and the table between the markers in docs/controllers.md. It takes
some seconds; set OPENBLAS_NUM_THREADS=1 if the machine is busy. The last digits of the figures depend on numpy's build.
"""

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.demo import digits, evaluate, initial, loss_and_gradient, mini_batches
from pyfastlr.plot import plain

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLUE, GREEN, RED, GREY = "#0072b2", "#009e73", "#d55e00", "0.45"
SEEDS, WINDOW = (0, 1, 2), 25  # seeds; updates in the moving average of the loss


@dataclass(frozen=True, eq=False)
class Run:
    """One row of the table and one line of the picture."""

    panel: str
    label: str
    rate: Callable[[], Any]
    color: str = GREY
    optimizer: Callable[..., flr.Optimizer] = flr.SGD
    batch: int = 64
    observe: tuple[str, ...] = ()  # "params", "parts"
    guard: dict[str, Any] | None = None
    spoiled: float = 0.0  # fraction of batches whose pixels are a thousand times too bright


class Result(NamedTuple):
    """Result of a run: loss and rate at every update, and accuracy on unseen images."""

    losses: Any
    rates: Any
    accuracy: float
    guard: tune.SpikeGuard | None


def train(run: Run, seed: int, steps: int = 600) -> Result:
    """Train a 64-64-10 network."""
    rng, chance = np.random.default_rng(seed), np.random.default_rng(1000 + seed)
    images, test = digits(seed)
    params = flr.Flat(initial(64, rng))
    grads, halves = params.like(), [params.like(), params.like()]
    rate = run.rate()
    opt = run.optimizer(params, lr=rate)
    guard = None if run.guard is None else tune.SpikeGuard(opt, **run.guard)
    losses, rates, batches = np.empty(steps), np.empty(steps), mini_batches(images, run.batch, rng)
    with np.errstate(all="ignore"):
        for n in range(steps):
            x, y = next(batches)
            if chance.random() < run.spoiled:
                x = x * 1000
            losses[n] = loss_and_gradient(params, grads, x, y)
            if isinstance(rate, S.Controller):
                what = {"params": params} if "params" in run.observe else {}
                if "parts" in run.observe:
                    for half, part in zip(halves, np.split(np.arange(run.batch), 2), strict=True):
                        loss_and_gradient(params, half, x[part], y[part])
                    what = {"parts": halves}
                rate.observe(grads=grads, **what)
            rates[n] = opt.lr
            opt.step(grads) if guard is None else guard.step(losses[n], grads)
    return Result(losses, rates, evaluate(params, test)[1], guard)


LOW, ADAM, NOISY, HIGH, SPOILED = (
    "SGD, 1e-3: 1,000 times too low", "Adam, 1e-5: 1,000 times too low", "SGD, batch of 8, 1.0: too high",
    "Adam, 0.3: 30 times too high", "SGD, 0.3, every 50th batch 1,000 times too bright",
)  # fmt: skip
BACK = {"action": ("rollback", "cut")}
SKIP = {"action": ("skip", "rollback"), "every": 20}
RUNS = [
    Run(LOW, "constant", lambda: 1e-3),
    Run(LOW, "`Hypergradient(1e-3, beta=0.05)`", lambda: S.Hypergradient(1e-3, beta=0.05), BLUE),
    Run(LOW, '`Hypergradient(1e-3, beta=0.01, mode="additive")`', lambda: S.Hypergradient(1e-3, 0.01, "additive"),
        GREEN),
    Run(LOW, "`GradientCosine(1e-3)`", lambda: S.GradientCosine(1e-3), RED),
    Run(ADAM, "constant", lambda: 1e-5, GREY, flr.Adam),
    Run(ADAM, "`Hypergradient(1e-5, beta=0.05)`, with `params`", lambda: S.Hypergradient(1e-5, beta=0.05), BLUE,
        flr.Adam, observe=("params",)),
    Run(ADAM, "`GradientCosine(1e-5)`, with `params`", lambda: S.GradientCosine(1e-5), RED, flr.Adam,
        observe=("params",)),
    Run(NOISY, "constant", lambda: 1.0, batch=8),
    Run(NOISY, "`NoiseScale(1.0, batch_size=8)`", lambda: S.NoiseScale(1.0, batch_size=8), BLUE, batch=8,
        observe=("parts",)),
    Run(HIGH, "constant", lambda: 0.3, GREY, flr.Adam),
    Run(HIGH, '`SpikeGuard(opt, ("rollback", "cut"))`', lambda: 0.3, BLUE, flr.Adam, guard=BACK),
    Run(SPOILED, "constant", lambda: 0.3, spoiled=0.02),
    Run(SPOILED, '`SpikeGuard(opt, ("skip", "rollback"), every=20)`', lambda: 0.3, BLUE, guard=SKIP, spoiled=0.02),
]  # fmt: skip


def table(results: dict[Run, list[Result]]) -> str:
    """Return the table of the page."""
    lines = ["| problem | rate | test accuracy | rate at the end |", "|---|---|---|---|"]
    for run, found in results.items():
        accuracy = statistics.median(x.accuracy for x in found)
        last = statistics.median(x.rates[-1] for x in found)
        lines.append(f"| {run.panel} | {run.label} | {100 * accuracy:.1f} % | {last:.2g} |")
    return "\n".join(lines)


def picture(results: dict[Run, list[Result]]) -> Figure:
    """Draw loss and rate for three of the problems, with the first seed."""
    figure = Figure(figsize=(11, 7), dpi=100, layout="constrained")
    panels = (LOW, NOISY, HIGH)
    axes = figure.subplots(2, len(panels), sharex=True, height_ratios=(3, 2))
    for column, panel in enumerate(panels):
        top, bottom = axes[:, column]
        for run in (run for run in results if run.panel == panel):
            found = results[run][0]
            label = re.sub(r"`(\w+).*", r"\1", run.label) + (", additive" if "additive" in run.label else "")
            smooth = np.convolve(np.minimum(found.losses, 1e3), np.ones(WINDOW) / WINDOW, "valid")
            top.plot(np.arange(WINDOW, len(found.losses) + 1), smooth, color=run.color, label=label)
            bottom.plot(np.arange(1, len(found.rates) + 1), found.rates, color=run.color)
        top.set_title(panel, fontsize=10)
        top.set_yscale("log")
        bottom.set_yscale("log")
        bottom.set_xlabel("update (from 1)")
        top.set_ylim(bottom=top.get_ylim()[0] / 2)  # room for the legend
        top.legend(frameon=False, fontsize=9, loc="lower left")
        for ax in (top, bottom):
            plain(ax.yaxis)
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel(f"training loss (nats, mean over {WINDOW} updates)")
    axes[1, 0].set_ylabel("learning rate")
    return figure


def spikes(result: Result) -> Figure:
    """Draw the losses that a guard saw, and its actions."""
    assert result.guard is not None
    figure = Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
    ax = result.guard.plot(figure.add_subplot())
    ax.set_title(f"{SPOILED}: what SpikeGuard did", fontsize=10)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    plain(ax.yaxis, "{:g}".format)
    return figure


def main() -> None:
    """Train, and write the pictures and the table."""
    results = {run: [train(run, seed) for seed in SEEDS] for run in RUNS}
    page = DOCS / "controllers.md"
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- figures:begin -->\n", "\n<!-- figures:end -->"
    head, rest = text.split(begin)
    page.write_text(head + begin + table(results) + end + rest.split(end)[1], encoding="utf-8")
    picture(results).savefig(DOCS / "controllers.png")
    spikes(results[RUNS[-1]][0]).savefig(DOCS / "spike_guard.png")
    print(table(results))


if __name__ == "__main__":
    main()
