"""What all sections share: the data, the network, the training loop, and how numbers and pictures look."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn import datasets
from sklearn.model_selection import train_test_split

import pyfastlr as flr
from pyfastlr import demo

BLUE, GREEN, RED, ORANGE, PINK, SKY, GREY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "#cc79a7", "#56b4e9", "0.45"
COLORS = (BLUE, RED, GREEN, PINK, ORANGE, SKY)  # Okabe and Ito's palette
NAMES = ("digits", "breast cancer", "wine", "iris", "diabetes")
Part = tuple[Any, Any]  # x: float32[n, features]; y: labels, intp[n], or standardized numbers, float32[n, 1]
Optimizer = Callable[..., flr.Optimizer]


class Data(NamedTuple):
    """60 % to train on, 20 % to choose with, 20 % to report, standardized by the first part."""

    train: Part
    validation: Part
    test: Part
    outputs: int
    classes: bool


@cache
def load(name: str, seed: int) -> Data:
    """Return one of scikit-learn's data sets. `seed` determines the split."""
    x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    classes = name != "diabetes"
    order = np.arange(len(y))
    train, rest = train_test_split(order, test_size=0.4, stratify=y if classes else None, random_state=seed)
    validation, test = train_test_split(rest, test_size=0.5, stratify=y[rest] if classes else None, random_state=seed)
    center, scale = (0.0, 16.0) if name == "digits" else (x[train].mean(axis=0), x[train].std(axis=0))
    x = ((x - center) / scale).astype(np.float32)
    y = y if classes else ((y - y[train].mean()) / y[train].std()).astype(np.float32)[:, None]
    parts = [(x[rows], y[rows]) for rows in (train, validation, test)]
    return Data(*parts, int(y.max()) + 1 if classes else 1, classes)


class Network:
    """A network with one hidden layer of ReLUs, or a linear model with `hidden` = 0, and its gradient."""

    def __init__(self, data: Data, hidden: int, rng: np.random.Generator) -> None:
        sizes = [data.train[0].shape[1], *([hidden] if hidden else []), data.outputs]
        layers = {}
        for k, (inputs, outputs) in enumerate(pairwise(sizes)):
            scale = math.sqrt(2 / inputs) if hidden else 0.0
            layers[f"w{k}"] = (scale * rng.standard_normal((inputs, outputs))).astype(np.float32)
            layers[f"b{k}"] = np.zeros(outputs, np.float32)
        self.depth, self.classes, self.params = len(sizes) - 1, data.classes, flr.Flat(layers)
        self.grads = self.params.like()
        self._p, self._g = {**self.params}, {**self.grads}  # plain dicts are faster to read

    def _forward(self, x: Any) -> tuple[Any, Any]:
        p = self._p
        first = x @ p["w0"]
        first += p["b0"]
        if self.depth == 1:
            return None, first
        np.maximum(first, 0, out=first)
        z = first @ p["w1"]
        z += p["b1"]
        return first, z

    def gradient(self, x: Any, y: Any) -> float:
        """Write the gradient of a batch into `grads`; return the mean cross-entropy, or half the squared error."""
        hidden, z = self._forward(x)
        loss, dz = self._loss(z, y)
        g, last = self._g, self.depth - 1
        np.matmul((x if hidden is None else hidden).T, dz, out=g[f"w{last}"])
        np.add.reduce(dz, axis=0, out=g[f"b{last}"])  # faster than dz.sum, which is Python
        if hidden is not None:
            dhidden = dz @ self._p["w1"].T
            dhidden *= hidden > 0
            np.matmul(x.T, dhidden, out=g["w0"])
            np.add.reduce(dhidden, axis=0, out=g["b0"])
        return loss

    def _loss(self, z: Any, y: Any) -> tuple[float, Any]:
        n = len(y)
        if not self.classes:
            error = z - y
            return float(np.vdot(error, error)) / (2 * n), error / np.float32(n)
        rows = np.arange(n)
        z = z - np.maximum.reduce(z, axis=1, keepdims=True)
        q = np.exp(z)
        total = np.add.reduce(q, axis=1, keepdims=True)
        loss = float(np.add.reduce(np.log(total), axis=None) - np.add.reduce(z[rows, y])) / n
        q /= total
        q[rows, y] -= 1
        q /= np.float32(n)
        return loss, q

    def loss_and_grad(self, params: flr.Flat, batch: Part) -> tuple[float, flr.Flat]:
        """Do as the tools of `pyfastlr.tune` ask. `params` are always the network's own."""
        return self.gradient(*batch), self.grads

    @np.errstate(all="ignore")  # a network that diverged also has a loss
    def loss(self, part: Part) -> float:
        """Return the loss over a part; infinite if it is no number."""
        loss = self._loss(self._forward(part[0])[1], part[1])[0]
        return loss if math.isfinite(loss) else math.inf

    @np.errstate(all="ignore")
    def score(self, part: Part) -> float:
        """Return the accuracy, or the explained part of the variance (R squared), in per cent; not below 0."""
        z, y = self._forward(part[0])[1], part[1]
        if self.classes:
            return 100 * float((z.argmax(axis=1) == y).mean())
        r2 = 1 - float(np.mean((z - y) ** 2) / np.var(y))
        return 100 * r2 if r2 > 0 else 0.0  # also for NaN


def batches(part: Part, size: int, rng: np.random.Generator) -> Iterator[Part]:
    """Yield batches for ever: shuffled epochs, without an incomplete last batch."""
    return demo.mini_batches(part, min(size, len(part[1])), rng)


@np.errstate(all="ignore")  # rates that are too high are part of the experiment
def train(
    network: Network,
    optimizer: flr.Optimizer,
    source: Iterator[Part],
    updates: int,
    every: int = 0,
    then: Callable[[int], bool | None] = lambda n: None,
) -> float:
    """Train; return the last batch's loss, infinite after divergence.

    Calls `then(n)` after every `every` updates; its True ends the training.
    """
    loss = math.inf
    for n in range(1, updates + 1):
        loss = network.gradient(*next(source))
        if not math.isfinite(loss):
            return math.inf
        optimizer.step(network.grads)
        if every and n % every == 0 and then(n):
            break
    return loss


def heavy_ball(params: Any, lr: Any, **options: Any) -> flr.Optimizer:
    """Return SGD with momentum 0.9."""
    return flr.SGD(params, lr, momentum=0.9, **options)


def rms_prop(params: Any, lr: Any, **options: Any) -> flr.Optimizer:
    """Return RMSProp with a memory of 100 updates, as in torch."""
    return flr.RMSProp(params, lr, **options)


OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": flr.SGD, "SGD, momentum 0.9": heavy_ball, "AdaGrad": flr.AdaGrad, "RMSProp": rms_prop, "Adam": flr.Adam,
    "Lion": flr.Lion,
}  # fmt: skip


# --- Numbers and pictures ---------------------------------------------------------------------------------------------


def middle(values: Sequence[float], form: str = ".1f") -> str:
    """Return the median and, in parentheses, the quartiles."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{number(median, form)} ({number(low, form)} to {number(high, form)})"


def number(x: float, form: str = ".2g") -> str:
    """Return a number in a table, without an exponent unless it is tiny."""
    if not math.isfinite(x):
        return "diverges"
    text = f"{x:{form}}"
    return (f"{float(text):.6g}" if "e" in text else text).replace("e-0", "e-")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def figure(width: float, height: float, *grid: int, **options: Any) -> tuple[Figure, Any]:
    """Return an empty figure, and its axes in the shape of `grid`."""
    result = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = result.subplots(*grid, squeeze=False, **options)
    for ax in axes.flat:
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    return result, axes
