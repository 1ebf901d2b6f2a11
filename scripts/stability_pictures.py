"""Draw docs/stability_training.png and docs/stability_bound.png: Adam at the edge of stability.

python scripts/stability_pictures.py, with OPENBLAS_NUM_THREADS=1 if the machine is busy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.demo import digits

DOCS = Path(__file__).resolve().parents[1] / "docs"
LossAndGrad = Callable[[Any, Any], tuple[float, Any]]


def network(images: int = 200, hidden: int = 16) -> tuple[LossAndGrad, dict[str, Any]]:
    """Return a tanh network with squared loss on some of the digits, all of them in each gradient."""
    (x, labels), _ = digits()
    x, y = x[:images].astype(np.float64) * 2 - 0.6, np.eye(10)[labels[:images]]
    rng = np.random.default_rng(1)
    params = {
        "w1": 0.1 * rng.standard_normal((64, hidden)),
        "b1": np.zeros(hidden),
        "w2": 0.2 * rng.standard_normal((hidden, 10)),
    }

    def loss_and_grad(p: Any, batch: Any) -> tuple[float, Any]:
        h = np.tanh(x @ p["w1"] + p["b1"])
        error = (h @ p["w2"] - y) / images
        dz = error @ p["w2"].T * (1 - h * h)
        return float((error**2).sum() * images / 2), {"w1": x.T @ dz, "b1": dz.sum(0), "w2": h.T @ error}

    return loss_and_grad, params


def train(updates: int = 1000) -> tune.StabilityMonitor:
    """Train with Adam at a constant rate after a warm-up, and return its monitor."""
    loss_and_grad, params = network()
    opt = flr.Adam(params, lr=S.Constant(0.03).warmup(50, start=0.003), betas=(0.9, 0.99))
    monitor = tune.StabilityMonitor(loss_and_grad, every=20, action="record", tol=0.03)
    for _ in range(updates):
        monitor.check(opt)
        opt.step(loss_and_grad(params, None)[1])
    monitor.latest = tune.sharpness(loss_and_grad, params, optimizer=opt)
    return monitor


def draw(updates: int = 1000) -> dict[str, Figure]:
    """Return both pictures by name."""
    monitor = train(updates)
    assert monitor.latest is not None
    axes = {"stability_training": monitor.plot(), "stability_bound": monitor.latest.plot()}
    figures = {name: ax.figure for name, ax in axes.items()}
    return {name: x for name, x in figures.items() if isinstance(x, Figure)}


if __name__ == "__main__":
    for name, figure in draw().items():
        figure.savefig(DOCS / f"{name}.png")
