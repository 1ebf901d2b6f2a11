"""Compile a whole training loop into one function: python examples/whole_loop_njit.py [--steps N] [--plot F.png].

The model is logistic regression with an L2 penalty, trained on scikit-learn's breast cancer data in mini-batches. The
gradient, the schedule and Adam's update are compiled into one function. The same steps driven from Python, by
`pyfastlr.Adam.step`, give the same parameters, bit for bit. Only the time that Python takes between the steps differs.
"""

import argparse
import sys
import time

import numpy as np
from numba import njit
from sklearn.datasets import load_breast_cancer

import pyfastlr as flr
from pyfastlr import kernels
from pyfastlr import schedules as S

BATCH, PENALTY, EXPECTED = 32, 1e-2, 0.065  # EXPECTED: bound for the training loss, which ends at 0.063


@njit
def gradient(w, x, s, g):
    """Write into g the gradient of mean(log(1 + exp(-s x.w))) over the rows of x, labels s = +-1; return the mean."""
    g[:] = 0.0
    loss = 0.0
    for i in range(len(s)):
        z = 0.0
        for j in range(len(w)):
            z += x[i, j] * w[j]
        e = np.exp(-s[i] * z)
        loss += np.log1p(e) / len(s)
        for j in range(len(w)):
            g[j] -= s[i] * x[i, j] * e / (1.0 + e) / len(s)
    return loss


def make_train(schedule):
    """Return the loop, compiled with that schedule: the schedule's code becomes part of the function."""
    rate = schedule.compiled

    @njit
    def train(w, m, v, x, s, losses):
        g = np.empty_like(w)
        batches = len(s) // BATCH
        for n in range(len(losses)):
            first = n % batches * BATCH
            losses[n] = gradient(w, x[first : first + BATCH], s[first : first + BATCH], g)
            kernels.adam(w, g, (m, v), n, rate(n), weight_decay=PENALTY)

    return train


def train_from_python(schedule, w, x, s, losses):
    """Do the same steps, driven from Python."""
    optimizer = flr.Adam(w, schedule, weight_decay=PENALTY)
    g = np.empty_like(w)
    batches = len(s) // BATCH
    for n in range(len(losses)):
        first = n % batches * BATCH
        losses[n] = gradient(w, x[first : first + BATCH], s[first : first + BATCH], g)
        optimizer.step(g)


def data():
    """Return scaled rows with a column of ones, labels +-1, and the number of training rows."""
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, s, n = x[order], 2.0 * y[order] - 1.0, 448
    x = (x - x[:n].mean(axis=0)) / x[:n].std(axis=0)
    return np.column_stack([x, np.ones(len(x))]), s, n


def plot(path, losses, schedule):
    """Draw the loss of each batch, its running mean, and the rate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, (above, below) = plt.subplots(2, 1, sharex=True, layout="constrained")
    epoch = min(14, len(losses))  # in batches
    mean = np.convolve(losses, np.ones(epoch) / epoch, "valid")
    above.semilogy(losses, color="0.8", label="of a batch")
    above.semilogy(np.arange(len(mean)) + epoch - 1, mean, label="mean of an epoch")
    above.set(ylabel="loss", title="Logistic regression, trained in one compiled loop")
    above.legend()
    below.plot(schedule(np.arange(len(losses))))
    below.set(xlabel="update", ylabel="rate")
    plt.savefig(path)


def main():
    """Train both ways, compare the results, and check the loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="updates (default: %(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="file for a picture of loss and rate")
    arguments = parser.parse_args()

    x, s, n = data()
    schedule = S.Cosine(0.03, steps=arguments.steps).warmup(10)
    train = make_train(schedule)
    w, losses = np.zeros(x.shape[1]), np.empty(arguments.steps)
    train(w.copy(), np.zeros_like(w), np.zeros_like(w), x[:n], s[:n], losses[:0])  # compile
    start = time.perf_counter()
    train(w, np.zeros_like(w), np.zeros_like(w), x[:n], s[:n], losses)
    compiled = time.perf_counter() - start

    driven, same = np.zeros_like(w), np.empty_like(losses)
    train_from_python(schedule, driven.copy(), x[:n], s[:n], same[:1])
    start = time.perf_counter()
    train_from_python(schedule, driven, x[:n], s[:n], same)
    stepwise = time.perf_counter() - start

    equal = w.tobytes() == driven.tobytes() and losses.tobytes() == same.tobytes()
    accuracy = np.mean(np.sign(x[n:] @ w) == s[n:])
    loss = gradient(w, x[:n], s[:n], np.empty_like(w))
    if arguments.plot:
        plot(arguments.plot, losses, schedule)
    print(f"{arguments.steps} updates: {compiled * 1e3:.1f} ms compiled, {stepwise * 1e3:.1f} ms driven from Python")
    print(f"parameters and losses are {'equal' if equal else 'NOT equal'}, bit for bit")
    print(f"accuracy on held-out rows {accuracy:.3f}, loss {loss:.4f} (expected: at most {EXPECTED})")
    if not equal or loss > EXPECTED:
        sys.exit("the results differ or the loss is too large")


if __name__ == "__main__":
    main()
