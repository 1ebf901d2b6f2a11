"""Small networks on data that come with scikit-learn, trained with state of each dtype (docs/low_precision.md)."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from ml_dtypes import bfloat16
from sklearn import datasets

import pyfastlr as flr
from pyfastlr import schedules as S

DTYPES = (None, "bfloat16", "int8")
PRECISIONS = ("master", "stochastic", "kahan")
NEAREST = "nearest"  # parameters that are rounded to nearest, with nothing that keeps the rest


class Data(NamedTuple):
    """Inputs and targets to train with, and held-out ones. Targets are classes, or numbers to predict."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def _split(x: np.ndarray, y: np.ndarray, share: float = 0.3) -> Data:
    """Split at random, always in the same way."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y, n = x[order].astype(np.float32), y[order], int(len(x) * share)
    return Data(x[n:], y[n:], x[:n], y[:n])


def digits() -> Data:
    x, y = datasets.load_digits(return_X_y=True)
    return _split(x / 16, y)


def cancer() -> Data:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return _split((x - x.mean(0)) / x.std(0), y)


def text(window: int = 6) -> Data:
    """The next character of scikit-learn's descriptions of its data sets, from the characters before it."""
    loaders = (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer, datasets.load_diabetes)
    letters = "".join(load().DESCR for load in loaders).lower()
    known = sorted(set(letters))
    codes = np.array([known.index(x) for x in letters])
    x = np.stack([codes[k : len(codes) - window + k] for k in range(window)], 1)
    one_hot = np.eye(len(known), dtype=np.float32)[x].reshape(len(x), -1)
    return _split(one_hot, codes[window:], 0.2)


class Model(NamedTuple):
    """What to train, and how well float32 state does about."""

    data: Callable[[], Data]
    hidden: tuple[int, ...]
    epochs: int
    lr: float


MODELS = {
    "digits": Model(digits, (256, 128), 20, 3e-3),
    "breast cancer": Model(cancer, (256, 64), 20, 1e-3),
    "next character": Model(text, (128,), 6, 3e-3),
}


def build(sizes: list[int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    params = {}
    for k, (a, b) in enumerate(pairwise(sizes)):
        params[f"w{k}"] = (rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32)
        params[f"b{k}"] = np.zeros(b, np.float32)
    return params


def forward(params: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """Activations of all layers; the last are log probabilities."""
    layers, depth = [x], len(params) // 2
    for k in range(depth):
        x = layers[-1] @ params[f"w{k}"] + params[f"b{k}"]
        layers.append(np.maximum(x, 0) if k < depth - 1 else x)
    z = layers[-1] - layers[-1].max(1, keepdims=True)
    layers[-1] = z - np.log(np.exp(z).sum(1, keepdims=True))
    return layers


def gradients(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    layers, rows = forward(params, x), np.arange(len(x))
    loss = -float(layers[-1][rows, y].mean())
    d = np.exp(layers[-1])
    d[rows, y] -= 1
    d, found = d / np.float32(len(x)), {}
    for k in reversed(range(len(params) // 2)):
        found[f"w{k}"], found[f"b{k}"] = layers[k].T @ d, d.sum(0)
        if k:
            d = (d @ params[f"w{k}"].T) * (layers[k] > 0)
    return loss, {name: found[name] for name in params}


class Result(NamedTuple):
    losses: np.ndarray  # of each batch
    test_loss: float
    accuracy: float


def rounded(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: p.astype(bfloat16) for name, p in params.items()}


def train(
    name: str, state_dtype: str | None, seed: int, epochs: int | None = None, precision: str | None = None
) -> Result:
    """Train with AdamW from this seed's weights and order of batches.

    With `precision`, parameters and gradients are bfloat16. The model itself computes in float32.
    """
    model, rng = MODELS[name], np.random.default_rng(seed)
    data, epochs = model.data(), model.epochs if epochs is None else epochs
    classes = int(data.y.max()) + 1
    params = build([data.x.shape[1], *model.hidden, classes], rng)
    batch = 64
    per_epoch = len(data.x) // batch
    is_half = precision in PRECISIONS
    own = rounded(params) if is_half else params
    lr = S.Cosine(model.lr, steps=epochs * per_epoch)
    kept = precision if is_half else None
    opt = flr.AdamW(own, lr, weight_decay=0.01, state_dtype=state_dtype, seed=seed, precision=kept)
    losses = []
    for _ in range(epochs):
        order = rng.permutation(len(data.x))
        for k in range(per_epoch):
            rows = order[k * batch : (k + 1) * batch]
            if is_half:
                params = {key: p.astype(np.float32) for key, p in own.items()}
            loss, grads = gradients(params, data.x[rows], data.y[rows])
            losses.append(loss)
            opt.step(rounded(grads) if is_half else grads)
            if precision == NEAREST:
                for p in params.values():
                    p[:] = p.astype(bfloat16)
    params = {key: p.astype(np.float32) for key, p in own.items()}
    log_p = forward(params, data.x_test)[-1]
    test_loss = -float(log_p[np.arange(len(log_p)), data.y_test].mean())
    return Result(np.array(losses), test_loss, float((log_p.argmax(1) == data.y_test).mean()))
