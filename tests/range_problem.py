"""A linear model for the tests of the range test."""

import numpy as np

import pyfastlr as flr
from pyfastlr import tune

X = np.random.default_rng(0).standard_normal((60, 4))
Y = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.3
BATCHES = [np.arange(k, k + 20) for k in (0, 20, 40)]


def new_params():
    return {"w": np.full(4, 0.5), "b": np.zeros(1)}


def loss_and_grad(params, rows):
    """Mean squared error of a linear model."""
    rows = slice(None) if rows is None else rows
    error = X[rows] @ params["w"] + params["b"] - Y[rows]
    return np.mean(error**2), {"w": 2 * X[rows].T @ error / len(error), "b": np.array([2 * error.mean()])}


def adam(params):
    return flr.Adam(params, lr=1e-3)


def run(function=loss_and_grad, params=None, make=adam, batches=BATCHES, **options):
    return tune.range_test(function, new_params() if params is None else params, make, batches, **options)


class Ended(Exception):
    """An exception of a user's function."""


class Again:
    """An iterable that is not a sequence, and shuffles itself each time."""

    def __init__(self, n, seed):
        self.n, self.rng = n, np.random.default_rng(seed)

    def __iter__(self):
        return iter(self.rng.permutation(self.n).tolist())
