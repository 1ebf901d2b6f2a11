"""Train a two-layer network on handwritten digits, in plain numpy: python examples/digits_mlp.py [--steps N]."""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pyfastlr as flr
from pyfastlr import schedules as S


def forward(params, x):
    """Return the hidden layer, and the log-probabilities of the digits up to a constant per image."""
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    return hidden, hidden @ params["w2"] + params["b2"]


def loss_and_gradients(params, x, y):
    """Return the mean cross-entropy between the softmax and the labels, and its gradients."""
    hidden, z = forward(params, x)
    z -= z.max(axis=1, keepdims=True)  # keeps the exponential from overflowing
    log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    dz = (np.exp(log_q) - np.eye(10, dtype=z.dtype)[y]) / len(y)
    da = dz @ params["w2"].T * (hidden > 0)
    gradients = {"w1": x.T @ da, "b1": da.sum(axis=0), "w2": hidden.T @ dz, "b2": dz.sum(axis=0)}
    return -log_q[np.arange(len(y)), y].mean(), gradients


def main():
    """Train, print the loss during training, and check the accuracy on the held-out images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="updates (default: %(default)s)")
    steps = parser.parse_args().steps

    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split((images / 16).astype("f4"), labels, stratify=labels, random_state=0)
    rng = np.random.default_rng(0)
    params = {
        "w1": rng.normal(0, np.sqrt(2 / 64), (64, 128)).astype("f4"),
        "b1": np.zeros(128, "f4"),
        "w2": rng.normal(0, np.sqrt(2 / 128), (128, 10)).astype("f4"),
        "b2": np.zeros(10, "f4"),
    }
    warmup = steps // 20
    optimizer = flr.AdamW(
        params,
        lr=S.Cosine(3e-3, steps=steps - warmup).warmup(warmup),
        weight_decay=0.01,
        groups=[{"params": "b*", "weight_decay": 0.0}],  # biases are not decayed
    )
    for step in range(steps):
        batch = rng.choice(len(x), 64, replace=False)
        loss, gradients = loss_and_gradients(params, x[batch], y[batch])
        optimizer.step(gradients)
        if step % 100 == 0:
            print(f"update {step:5d}  rate {optimizer.lr:.2e}  loss {loss:.4f}")

    reached = (forward(params, x_test)[1].argmax(axis=1) == y_test).mean()
    print(f"accuracy on {len(y_test)} held-out images: {reached:.4f} (expected: at least 0.95)")
    if reached < 0.95:
        raise SystemExit("the accuracy is too low")


if __name__ == "__main__":
    main()
