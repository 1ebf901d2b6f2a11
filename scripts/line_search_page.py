"""Measure L-BFGS, line searches and computed rates: `python scripts/line_search_page.py`.

Writes docs/line_search.png and the three tables between the markers in docs/line_search.md. It needs torch and scipy,
and takes some seconds; set OPENBLAS_NUM_THREADS=1 if the machine is busy. Counts and last digits may differ with
another build of numpy.
"""

import itertools
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.demo import digits, evaluate, initial, loss_and_gradient, mini_batches
from pyfastlr.plot import plain

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from minima import FUNCTIONS, Counted, starts  # noqa: E402  # found by the line above

PAGE, PICTURE = ROOT / "docs" / "line_search.md", ROOT / "docs" / "line_search.png"
BLUE, GREEN, RED, ORANGE, GREY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "0.45"
SEEDS, BUDGET, UPDATES, BATCH, WINDOW = (0, 1, 2), 300, 600, 64, 25


# --- Test functions ---------------------------------------------------------------------------------------------------


def ours(counted: Counted, start: Any, min_curvature: float = 1e-10) -> Any:
    """Minimize with this library."""
    p = start.copy()
    opt = flr.LBFGS(p, max_iter=1000, tolerance_change=1e-14, min_curvature=min_curvature)
    opt.step(lambda: counted(p))
    return p


def torchs(counted: Counted, start: Any) -> Any:
    """Minimize with torch."""
    import torch

    p = torch.tensor(start, requires_grad=True)

    def closure() -> Any:
        loss, g = counted(p.detach().numpy())
        p.grad = torch.from_numpy(g)
        return torch.tensor(loss)

    torch.optim.LBFGS([p], max_iter=1000, tolerance_change=1e-14, history_size=10, line_search_fn="strong_wolfe").step(
        closure
    )  # type: ignore[no-untyped-call]
    return p.detach().numpy()


def scipys(counted: Counted, start: Any) -> Any:
    """Minimize with scipy."""
    from scipy import optimize

    options = {"maxiter": 10_000, "ftol": 0, "gtol": 1e-7, "maxcor": 10}
    return optimize.minimize(counted, start, jac=True, method="L-BFGS-B", options=options).x


def minima() -> str:
    """Return the table of the test functions."""
    lines = [
        "| function | `LBFGS` | `LBFGS(min_curvature=0)` | torch, strong_wolfe | scipy, L-BFGS-B |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, f in FUNCTIONS.items():
        runs: list[list[Counted]] = []
        for minimize in (ours, partial(ours, min_curvature=0.0), torchs, scipys):
            runs.append([Counted(f.loss_and_grad) for _ in starts(f)])
            for counted, start in zip(runs[-1], starts(f), strict=True):
                minimize(counted, start)
        lowest = min(min(x.losses) for row in runs for x in row) if f.minimum is None else f.minimum
        cells = [[x.until(lowest) for x in row] for row in runs]
        shown = ["not reached" if None in row else f"{sum(row) / len(row):.1f}" for row in cells]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(shown)} |")
    return "\n".join(lines)


# --- Digits, all images at once ---------------------------------------------------------------------------------------


LossAndGrad = Callable[[flr.Flat, Any], tuple[float, flr.Flat]]
Step = Callable[[Any], tuple[float, float]]  # batch -> (loss, rate)
Start = Callable[[flr.Flat, LossAndGrad], Step]


class Run(NamedTuple):
    """One row of a table and one line of the picture."""

    label: str
    start: Start
    color: str = GREY
    style: str = "-"


def with_optimizer(make: Callable[[flr.Flat], flr.Optimizer]) -> Start:
    """Return what starts training with an optimizer."""

    def start(params: flr.Flat, loss_and_grad: LossAndGrad) -> Step:
        opt = make(params)
        rate = opt.groups[0]["lr"]

        def step(batch: Any) -> tuple[float, float]:
            loss, grads = loss_and_grad(params, batch)
            if isinstance(rate, S.Controller):
                rate.observe(loss=loss, grads=grads)
            lr = opt.lr
            opt.step(grads)
            return loss, lr

        return step

    return start


def with_search(**arguments: Any) -> Start:
    """Return what starts training with a line search."""

    def start(params: flr.Flat, loss_and_grad: LossAndGrad) -> Step:
        search = tune.line_search(loss_and_grad, params, **arguments)

        def step(batch: Any) -> tuple[float, float]:
            done = search.step(batch)
            return done.loss, done.lr

        return step

    return start


def with_lbfgs(params: flr.Flat, loss_and_grad: LossAndGrad) -> Step:
    """Start training with L-BFGS, with 20 iterations in each step."""
    opt = flr.LBFGS(params)
    return lambda batch: (opt.step(lambda: loss_and_grad(params, batch)), opt.lr)


ALL = [
    Run("`SGD`, 0.5", with_optimizer(lambda p: flr.SGD(p, lr=0.5))),
    Run("`SGD`, 0.1, momentum 0.9", with_optimizer(lambda p: flr.SGD(p, lr=0.1, momentum=0.9)), GREY, "--"),
    Run("`Adam`, 0.01", with_optimizer(lambda p: flr.Adam(p, lr=0.01)), ORANGE),
    Run("`SGD`, `S.BarzilaiBorwein(0.1)`", with_optimizer(lambda p: flr.SGD(p, lr=S.BarzilaiBorwein(0.1))), GREEN),
    Run('`tune.line_search(reset="grow")`', with_search(reset="grow"), RED),
    Run("`LBFGS()`", with_lbfgs, BLUE),
]
GROWTH = {"reset": "grow", "growth": 2 ** (BATCH / 1347), "c1": 0.1, "factor": 0.9, "trials": 100}
BATCHES = [
    *(Run(f"`SGD`, {lr:g}", with_optimizer(lambda p, lr=lr: flr.SGD(p, lr=lr)), GREY, style)
      for lr, style in ((0.01, ":"), (0.3, "-"), (3.0, "--"))),
    Run("`S.Polyak(3.0, c=0.5)`", with_optimizer(lambda p: flr.SGD(p, lr=S.Polyak(3.0, c=0.5))), GREEN),
    Run("`tune.line_search`, from 0.01", with_search(lr=0.01, **GROWTH), RED),
    Run("`tune.line_search`, from 3", with_search(lr=3.0, **GROWTH), RED, "--"),
    Run('`tune.line_search`, "initial", from 3', with_search(lr=3.0, **{**GROWTH, "reset": "initial"}), BLUE),
]  # fmt: skip


class Result(NamedTuple):
    """Loss of each evaluation; rates of the updates; loss and accuracy at the end."""

    losses: list[float]  # of each update
    rates: list[float]
    evaluated: list[float]  # lowest loss so far, after each evaluation
    train_loss: float
    accuracy: float


def train(run: Run, seed: int, everything: bool) -> Result:
    """Train a 64-64-10 network, with all images at once or with batches."""
    rng = np.random.default_rng(seed)
    images, test = digits(seed)
    params = flr.Flat(initial(64, rng))
    grads, result = params.like(), Result([], [], [], 0.0, 0.0)

    def loss_and_grad(p: flr.Flat, batch: Any) -> tuple[float, flr.Flat]:
        loss = loss_and_gradient(p, grads, *batch)
        result.evaluated.append(min([loss, *result.evaluated[-1:]]))
        return loss, grads

    batches = itertools.repeat(images) if everything else mini_batches(images, BATCH, rng)
    step = run.start(params, loss_and_grad)
    with np.errstate(all="ignore"):
        while (len(result.evaluated) < BUDGET) if everything else (len(result.losses) < UPDATES):
            loss, rate = step(next(batches))
            result.losses.append(loss)
            result.rates.append(rate)
    train_loss, _ = evaluate(params, images)
    return result._replace(train_loss=train_loss, accuracy=evaluate(params, test)[1])


def all_table(results: dict[str, list[Result]]) -> str:
    """Return the table of the training with all images."""
    lines = ["| | training loss (nats) | test accuracy |", "|---|--:|--:|"]
    for label, found in results.items():
        loss, accuracy = (statistics.median(getattr(x, key) for x in found) for key in ("train_loss", "accuracy"))
        lines.append(f"| {label} | {loss:.2g} | {100 * accuracy:.1f} % |")
    return "\n".join(lines)


def batches_table(results: dict[str, list[Result]]) -> str:
    """Return the table of the training with batches."""
    lines = ["| | evaluations per update | training loss (nats) | test accuracy |", "|---|--:|--:|--:|"]
    for label, found in results.items():
        loss, accuracy = (statistics.median(getattr(x, key) for x in found) for key in ("train_loss", "accuracy"))
        each = statistics.median(len(x.evaluated) / len(x.losses) for x in found)
        lines.append(f"| {label} | {each:.1f} | {loss:.2g} | {100 * accuracy:.1f} % |")
    return "\n".join(lines)


# --- The page ---------------------------------------------------------------------------------------------------------


def picture(of_all: dict[str, list[Result]], of_batches: dict[str, list[Result]]) -> Figure:
    """Draw the losses, and the rates of the batches, of the first seed."""
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for run in ALL:
        lowest = of_all[run.label][0].evaluated[:BUDGET]
        left.plot(np.arange(1, len(lowest) + 1), lowest, color=run.color, linestyle=run.style, label=_short(run.label))
    for run in BATCHES:
        result = of_batches[run.label][0]
        smooth = np.convolve(np.minimum(result.losses, 1e3), np.ones(WINDOW) / WINDOW, "valid")
        line = {"color": run.color, "linestyle": run.style, "label": _short(run.label)}
        middle.plot(np.arange(WINDOW, len(result.losses) + 1), smooth, **line)
        right.plot(np.arange(1, len(result.rates) + 1), result.rates, **{**line, "linewidth": 0.8})
    left.set_title("all images: lowest loss (nats)", fontsize=10)
    left.set_xlabel("evaluations of loss and gradient")
    middle.set_title(f"batches of {BATCH}: loss (nats, mean over {WINDOW} updates)", fontsize=10)
    right.set_title(f"batches of {BATCH}: rate", fontsize=10)
    for ax in (left, middle, right):
        ax.set_yscale("log")
        plain(ax.yaxis)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in (middle, right):
        ax.set_xlabel("update (from 1)")
    middle.set_ylim(bottom=middle.get_ylim()[0] / 30)  # room for the legend
    left.legend(frameon=False, fontsize=8, loc="center right")
    middle.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def _short(label: str) -> str:
    return re.sub(r"S\.|tune\.|`", "", label)


def main() -> None:
    """Measure everything, and write the tables and the picture."""
    of_all = {run.label: [train(run, seed, True) for seed in SEEDS] for run in ALL}
    of_batches = {run.label: [train(run, seed, False) for seed in SEEDS] for run in BATCHES}
    text = PAGE.read_text(encoding="utf-8")
    tables = {"minima": minima(), "all": all_table(of_all), "batches": batches_table(of_batches)}
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->\n", f"\n<!-- {name}:end -->"
        head, rest = text.split(begin)
        text = head + begin + table + end + rest.split(end)[1]
        print(table, end="\n\n")
    PAGE.write_text(text, encoding="utf-8")
    picture(of_all, of_batches).savefig(PICTURE)


if __name__ == "__main__":
    main()
