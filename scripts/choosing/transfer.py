"""Transfer: the network of examples/transfer_digits.py, fine-tuned on twenty images in several ways, at four rates."""

import copy
import runpy
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune

from .common import middle, number, table

EXAMPLE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "transfer_digits.py"))
RATES, DRAWS, STEPS, PRETRAINING = (3e-4, 1e-3, 3e-3, 1e-2), 8, 150, 600
SCRATCH, ONE = "from scratch", "pretrained, one rate"
#: Arguments of `tune.layerwise`.
WAYS: dict[str, dict[str, Any]] = {
    SCRATCH: {"decay": 1.0},
    ONE: {"decay": 1.0},
    "only the head": {"decay": 0.0},
    "a half for each layer down": {"decay": 0.5},
    "1/2.6 (Howard and Ruder)": {"decay": 1 / 2.6},
    "1/20": {"decay": 1 / 20},
    "1/20, unfrozen layer by layer": {"decay": 1 / 20, "unfreeze": STEPS // 3},
}


def fine_tune(params: Any, arguments: dict[str, Any], lr: float, few: Any, test: Any) -> float:
    """Train on the few images, all in each update; return the test accuracy in per cent."""
    forward, gradients, (x, y) = EXAMPLE["forward"], EXAMPLE["gradients"], few
    optimizer = flr.AdamW(params, lr=S.Cosine(lr, STEPS), groups=tune.layerwise(params, **arguments))
    for _ in range(STEPS):
        first, second, z = forward(params, x)
        q = np.exp(z - z.max(axis=1, keepdims=True))
        dz = (q / q.sum(axis=1, keepdims=True) - np.eye(10, dtype="f4")[y]) / len(y)
        optimizer.step(gradients(params, x, first, second, dz))
    return 100 * float((forward(params, test[0])[2].argmax(axis=1) == test[1]).mean())


def better(scores: list[float], base: list[float]) -> str:
    """Return in how many draws the scores are higher."""
    if scores is base:
        return ""
    return f"{sum(x > y for x, y in zip(scores, base, strict=True))} of {DRAWS} draws"


def make() -> tuple[dict[str, str], dict[str, Figure]]:
    """Return the table."""
    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        (images / 16).astype("f4"), labels, test_size=500, stratify=labels, random_state=0
    )
    rng = np.random.default_rng(0)
    pretrained = EXAMPLE["pretrain"](x, PRETRAINING, rng)
    scores: dict[tuple[str, float], list[float]] = {(way, lr): [] for way in WAYS for lr in RATES}
    for _ in range(DRAWS):
        few = np.concatenate([rng.choice(np.flatnonzero(y == digit), 2, replace=False) for digit in range(10)])
        fresh = EXAMPLE["network"](10, rng)
        for (way, lr), found in scores.items():
            params = copy.deepcopy(fresh if way == SCRATCH else pretrained | {"head": fresh["head"]})
            found.append(fine_tune(params, WAYS[way], lr, (x[few], y[few]), (x_test, y_test)))
    best = {way: max((scores[way, lr] for lr in RATES), key=np.median) for way in WAYS}
    rows = [[way, *(middle(scores[way, lr]) for lr in RATES), better(best[way], best[ONE])] for way in WAYS]
    return {"transfer": table(["way", *map(number, RATES), "better than one rate in"], rows)}, {}
