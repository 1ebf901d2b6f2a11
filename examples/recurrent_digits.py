"""Train a recurrent network with clipped gradients: examples/recurrent_digits.py [--steps N] [--plot F.png].

The network reads a handwritten digit as a sequence: 16 times 4 pixels, half a row each. Its hidden units are rectified,
and its recurrent weights start as the identity matrix (Le, Jaitly and Hinton, A simple way to initialize recurrent
networks of rectified linear units, 2015). So it remembers what it has read, but its gradients may grow with each of the
16 steps. A long gradient moves the weights to where the next one is longer still, and the run diverges.

SGD trains each of four networks twice, on the same batches. `clip_norm=1` limits the norm of each gradient (Pascanu,
Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013). In the other runs, the norm is only
measured. The rate is constant, so the weights fluctuate to the end. Their average, `ema_decay`, is more accurate.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import pyfastlr as flr

RATE, LIMIT, DECAY, DRAWS = 0.2, 1.0, 0.99, 4
PIXELS, HIDDEN, BATCH = 4, 128, 64
EVERY = 20  # updates between two tests, and in each mean that the picture shows
CLIPPED, UNCLIPPED = "clip_norm = 1", "without clipping"


def network(rng):
    """Return the weights: of the pixels, of the hidden layer at the previous step, and of the digits."""
    return {
        "in": {"w": rng.normal(0, PIXELS**-0.5, (PIXELS, HIDDEN)).astype("f4"), "b": np.zeros(HIDDEN, "f4")},
        "hidden": np.eye(HIDDEN, dtype="f4"),
        "out": {"w": rng.normal(0, 0.01, (HIDDEN, 10)).astype("f4"), "b": np.zeros(10, "f4")},
    }


def forward(params, images):
    """Return the pixels of each step, the hidden layer before and after each step, and the outputs."""
    steps = images.reshape(len(images), -1, PIXELS).swapaxes(0, 1)
    hidden = [np.zeros((len(images), HIDDEN), "f4")]
    for drive in steps @ params["in"]["w"] + params["in"]["b"]:
        hidden.append(np.maximum(drive + hidden[-1] @ params["hidden"], 0))
    return steps, hidden, hidden[-1] @ params["out"]["w"] + params["out"]["b"]


def loss_and_gradients(params, images, labels):
    """Return the mean cross-entropy and its gradients, by backpropagation through time."""
    steps, hidden, z = forward(params, images)
    z -= z.max(axis=1, keepdims=True)
    log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    dz = (np.exp(log_q) - np.eye(10, dtype="f4")[labels]) / len(labels)
    dh = dz @ params["out"]["w"].T
    gradients = {
        "in": {"w": np.zeros((PIXELS, HIDDEN), "f4"), "b": np.zeros(HIDDEN, "f4")},
        "hidden": np.zeros((HIDDEN, HIDDEN), "f4"),
        "out": {"w": hidden[-1].T @ dz, "b": dz.sum(axis=0)},
    }
    for pixels, before, after in zip(steps[::-1], hidden[-2::-1], hidden[:0:-1], strict=True):
        da = dh * (after > 0)
        gradients["in"]["w"] += pixels.T @ da
        gradients["in"]["b"] += da.sum(axis=0)
        gradients["hidden"] += before.T @ da
        dh = da @ params["hidden"].T
    return -log_q[np.arange(len(labels)), labels].mean(), gradients


def train(clip_norm, data, steps, seed):
    """Train a network. Return the losses and norms of all updates, and accuracies of the weights and their average."""
    x, x_test, y, y_test = data
    rng = np.random.default_rng(seed)
    params = network(rng)
    optimizer = flr.SGD(params, lr=RATE, clip_norm=clip_norm, nonfinite="raise", ema_decay=DECAY)
    losses, norms, accuracies = [], [], []

    def accuracy():
        return (forward(params, x_test)[2].argmax(axis=1) == y_test).mean()

    for n in range(steps):
        batch = rng.choice(len(x), BATCH, replace=False)
        loss, gradients = loss_and_gradients(params, x[batch], y[batch])
        try:
            optimizer.step(gradients)
        except FloatingPointError:  # the loss or a gradient is infinite or NaN: the run has diverged
            break
        losses.append(loss)
        norms.append(optimizer.stats.grad_norm)  # before it is clipped
        if (n + 1) % EVERY == 0 or n + 1 == steps:
            own = accuracy()
            with optimizer.averaged():
                accuracies.append((n + 1, own, accuracy()))
    return np.array(losses), np.array(norms), np.array(accuracies)


def blocks(values):
    """Return the middle of each block of updates, and the mean of the values in it."""
    starts = np.arange(0, len(values), EVERY)
    return starts + EVERY / 2, np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))


def plot(path, runs):
    """Draw loss and gradient norm of all runs, and the accuracies of the clipped ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8.5), dpi=100, layout="constrained")
    top, middle, bottom = figure.subplots(3, sharex=True)
    steps = len(runs[CLIPPED][0][0])
    for (name, draws), color in zip(runs.items(), ("#0072b2", "#d55e00"), strict=True):
        for losses, norms, _ in draws:
            (line,) = top.plot(*blocks(losses), color=color, linewidth=1)
            middle.plot(*blocks(norms), color=color, linewidth=1)
            for axes in (top, middle):
                end = [len(losses)] if len(losses) < steps else []
                (cross,) = axes.plot(end, [0.94] * len(end), "X", color=color, transform=axes.get_xaxis_transform())
        line.set_label(name)
    cross.set_label("diverged (infinite or NaN)")
    middle.axhline(LIMIT, color="0.3", linestyle=":", label="limit of the norm")
    for _, _, accuracies in runs[CLIPPED]:
        update, own, average = accuracies.T
        (weights,) = bottom.plot(update, 100 * own, color="#56b4e9", linewidth=0.8)
        (averages,) = bottom.plot(update, 100 * average, color="#0072b2", linewidth=1.5)
    top.set(ylabel="training loss", yscale="log", ylim=(0.03, 300))
    middle.set(ylabel="gradient norm before clipping", yscale="log", ylim=(0.1, 1e5))
    bottom.set(xlabel="update", xlim=(0, steps), ylabel="test accuracy with clipping (%)", ylim=(50, 100))
    bottom.legend([weights, averages], ["weights", "average of the weights"], frameon=False, loc="lower right")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.25)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, title=f"{DRAWS} networks, each trained twice")
    figure.savefig(path)


def main():
    """Train with and without clipping, and check the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="updates (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: %(default)s)")
    parser.add_argument("--plot", help="file for a picture")
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    data = train_test_split((images / 16).astype("f4"), labels, test_size=500, stratify=labels, random_state=0)
    runs = {}
    for name, limit in ((CLIPPED, LIMIT), (UNCLIPPED, np.inf)):  # infinite: the norm is only measured
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
            runs[name] = [train(limit, data, options.steps, options.seed + k) for k in range(DRAWS)]
    if options.plot:
        plot(options.plot, runs)

    for name, draws in runs.items():
        for losses, norms, accuracies in draws:
            end = f"diverged at update {len(losses) + 1}" if len(losses) < options.steps else "ran to the end"
            last = accuracies[-1, 1:] if len(accuracies) else (np.nan, np.nan)
            print(f"{name:16} {end:24} largest norm {norms.max():8.2g}, accuracy {last[0]:.3f}, average {last[1]:.3f}")
    best = max((a[-1, 1] for x, _, a in runs[UNCLIPPED] if len(x) == options.steps), default=0.0)
    worst = min(a[-1, 2] for _, _, a in runs[CLIPPED])
    print(f"highest accuracy without clipping: {best:.3f} (expected: at most 0.85)")
    print(f"lowest accuracy of an average with clipping: {worst:.3f} (expected: at least 0.95)")
    if best > 0.85 or worst < 0.95:
        raise SystemExit("the accuracies are not as expected")


if __name__ == "__main__":
    main()
