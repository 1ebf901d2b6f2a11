"""Train a network on handwritten digits in JAX, with optax's update or pyfastlr's: python examples/jax_mlp.py.

Compared with a program that uses optax, two lines differ: the import, and the call that makes the update.
"""

import argparse
import sys
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

try:
    import jax
    import jax.numpy as jnp

    import pyfastlr.interop.jax as fj  # instead of: import optax
except ModuleNotFoundError as problem:
    print(f'{problem}: pip install "pyfastlr[interop]", in a clone: pip install ".[interop]"', file=sys.stderr)
    raise SystemExit(2) from None

from pyfastlr import schedules as S


def logits(params, x):
    """Return the log-probabilities of the digits up to a constant per image."""
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def loss(params, x, y):
    """Return the mean cross-entropy between the softmax and the labels."""
    log_q = jax.nn.log_softmax(logits(params, x))
    return -jnp.take_along_axis(log_q, y[:, None], axis=1).mean()


def main():
    """Train, print the loss during training, and check the accuracy on the held-out images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="updates (default: %(default)s)")
    steps = parser.parse_args().steps

    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split((images / 16).astype("f4"), labels, stratify=labels, random_state=0)
    first, second = jax.random.split(jax.random.key(0))
    params = {
        "w1": jax.random.normal(first, (64, 128)) * np.sqrt(2 / 64),
        "b1": jnp.zeros(128),
        "w2": jax.random.normal(second, (128, 10)) * np.sqrt(2 / 128),
        "b2": jnp.zeros(10),
    }
    warmup = steps // 20
    optimizer = fj.adamw(
        S.Cosine(3e-3, steps=steps - warmup).warmup(warmup),
        weight_decay=0.01,
        mask=lambda params: {name: name.startswith("w") for name in params},  # biases are not decayed
    )
    state = optimizer.init(params)

    @partial(jax.jit, donate_argnums=(0, 1))  # the update is made in their memory
    def train(params, state, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        params, state = optimizer.apply(grads, state, params)  # instead of: update and optax.apply_updates
        return params, state, value

    rng = np.random.default_rng(0)
    for step in range(steps):
        batch = rng.choice(len(x), 64, replace=False)
        params, state, value = train(params, state, x[batch], y[batch])
        if step % 100 == 0:
            print(f"update {step:5d}  loss {value:.4f}")

    reached = float((logits(params, x_test).argmax(axis=1) == y_test).mean())
    print(f"accuracy on {len(y_test)} held-out images: {reached:.4f} (expected: at least 0.95)")
    if reached < 0.95:
        raise SystemExit("the accuracy is too low")


if __name__ == "__main__":
    main()
