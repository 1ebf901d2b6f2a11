"""Draw docs/recording.png and docs/layerwise.png: `python scripts/watching_pictures.py`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr import tune

DOCS = Path(__file__).resolve().parents[1] / "docs"
STEPS = 600


Arrays = dict[str, np.ndarray]


def loss_and_gradient(params: Arrays, x: np.ndarray, y: np.ndarray) -> tuple[float, Arrays]:
    """Return the cross-entropy of a network of one hidden layer in nats, and its gradient."""
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    z = hidden @ params["w2"] + params["b2"]
    z -= z.max(axis=1, keepdims=True)
    q = np.exp(z)
    q /= q.sum(axis=1, keepdims=True)
    loss = -np.log(q[np.arange(len(y)), y] + 1e-12).mean()
    dz = (q - np.eye(10)[y]) / len(y)
    dh = dz @ params["w2"].T * (hidden > 0)
    return loss, {"w1": x.T @ dh, "b1": dh.sum(axis=0), "w2": hidden.T @ dz, "b2": dz.sum(axis=0)}


def train() -> tune.Recorder:
    """Train on scikit-learn's digits, and return the recorder."""
    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    x, y = images[order] / 16, labels[order]
    params = {"w1": rng.normal(0, 0.18, (64, 64)), "b1": np.zeros(64)}
    params |= {"w2": rng.normal(0, 0.1, (64, 10)), "b2": np.zeros(10)}
    opt = flr.AdamW(params, lr=S.Cosine(1e-2, steps=STEPS - 60).warmup(60))
    recorder = tune.Recorder().watch(opt)
    for n in range(STEPS):
        batch = rng.choice(1200, 64, replace=False)
        loss, gradient = loss_and_gradient(params, x[batch], y[batch])
        opt.step(gradient)
        recorder.record(loss=loss, grad_norm=tune.norm(gradient))
        if n % 20 == 19:
            recorder.record(n, val_loss=loss_and_gradient(params, x[1200:], y[1200:])[0])
    return recorder


def recording() -> Figure:
    """Return the picture of a run."""
    return train().plot()[0].figure


def layerwise() -> Figure:
    """Return the picture of the groups of six blocks."""
    block = {"w": np.ones((2, 2)), "b": np.ones(2)}
    blocks = [{name: x.copy() for name, x in block.items()} for _ in range(6)]
    net = {"embed": np.ones(2), "blocks": blocks, "head": block}
    return tune.layerwise(net, decay=0.75, unfreeze=100).plot().figure


if __name__ == "__main__":
    recording().savefig(DOCS / "recording.png")
    layerwise().savefig(DOCS / "layerwise.png")
