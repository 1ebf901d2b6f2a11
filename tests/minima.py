"""Test functions for minimizers, with their gradients, usual starting points and minima. x is float64 or float32[n].

Sources: J. Moré, B. Garbow and K. Hillstrom, Testing unconstrained optimization software, 1981 (all but those below).
`quadratic` and `logistic` are ours. M. Styblinski and T. Tang, 1990.
"""

from typing import NamedTuple

import numpy as np


class Function(NamedTuple):
    """Loss and gradient of a function, where to start, and its smallest value; None if it is not known exactly."""

    loss_and_grad: object
    start: np.ndarray
    minimum: float | None


def rosenbrock(x):
    a, b = x[:-1], x[1:]
    r = b - a * a
    g = np.zeros_like(x)
    g[:-1] = -2 * (1 - a) - 400 * a * r
    g[1:] += 200 * r
    return np.sum(100 * r * r + (1 - a) ** 2), g


def least_squares(residuals):
    """Sum of squares of residuals(x) -> (r, its Jacobian)."""

    def loss_and_grad(x):
        r, jacobian = residuals(x)
        return r @ r, 2 * r @ jacobian

    return loss_and_grad


@least_squares
def beale(x):
    k = np.arange(1, 4)
    y = np.array([1.5, 2.25, 2.625])
    r = y - x[0] * (1 - x[1] ** k)
    return r, np.stack([-(1 - x[1] ** k), x[0] * k * x[1] ** (k - 1)], 1)


@least_squares
def powell_singular(x):
    a, b, c, d = x
    s5, s10 = np.sqrt(5), np.sqrt(10)
    r = np.array([a + 10 * b, s5 * (c - d), (b - 2 * c) ** 2, s10 * (a - d) ** 2])
    zero = 0.0
    return r, np.array([
        [1, 10, zero, zero], [zero, zero, s5, -s5],
        [zero, 2 * (b - 2 * c), -4 * (b - 2 * c), zero], [2 * s10 * (a - d), zero, zero, -2 * s10 * (a - d)],
    ])  # fmt: skip


@least_squares
def wood(x):
    a, b, c, d = x
    s10, s90 = np.sqrt(10), np.sqrt(90)
    r = np.array([10 * (b - a * a), 1 - a, s90 * (d - c * c), 1 - c, s10 * (b + d - 2), (b - d) / s10])
    return r, np.array([
        [-20 * a, 10, 0, 0], [-1, 0, 0, 0], [0, 0, -2 * s90 * c, s90], [0, 0, -1, 0],
        [0, s10, 0, s10], [0, 1 / s10, 0, -1 / s10],
    ])  # fmt: skip


@least_squares
def helical_valley(x):
    a, b, c = x
    angle = np.arctan2(b, a) / (2 * np.pi)
    square = a * a + b * b
    radius = np.sqrt(square)
    r = np.array([10 * (c - 10 * angle), 10 * (radius - 1), c])
    da, db = -b / square / (2 * np.pi), a / square / (2 * np.pi)
    return r, np.array([[-100 * da, -100 * db, 10], [10 * a / radius, 10 * b / radius, 0], [0, 0, 1]])


@least_squares
def brown_badly_scaled(x):
    a, b = x
    return np.array([a - 1e6, b - 2e-6, a * b - 2]), np.array([[1.0, 0.0], [0.0, 1.0], [b, a]])


@least_squares
def trigonometric(x):
    n = len(x)
    k = np.arange(1, n + 1)
    r = n - np.cos(x).sum() + k * (1 - np.cos(x)) - np.sin(x)
    return r, np.tile(np.sin(x), (n, 1)) + np.diag(k * np.sin(x) - np.cos(x))


def styblinski_tang(x):
    return np.sum(x**4 - 16 * x**2 + 5 * x) / 2, (4 * x**3 - 32 * x + 5) / 2


_random = np.random.default_rng(5)
_H = np.logspace(0, 4, 40)
_Q = np.linalg.qr(_random.normal(size=(40, 40)))[0]
_A = (_Q * _H) @ _Q.T
_B = _random.normal(size=40)
_X = _random.normal(size=(200, 30)) * np.logspace(0, 1.5, 30)
_Y = np.sign(_X @ _random.normal(size=30) + _random.normal(size=200))


def quadratic(x):
    a, b = _A.astype(x.dtype), _B.astype(x.dtype)
    return 0.5 * x @ (a @ x) - b @ x, a @ x - b


def logistic(x):
    """Mean log-loss of a linear classifier with a ridge."""
    a, y = _X.astype(x.dtype), _Y.astype(x.dtype)
    z = y * (a @ x)
    loss = np.mean(np.logaddexp(0, -z)) + 0.5e-3 * x @ x
    return loss, a.T @ (-y * np.exp(-np.logaddexp(0, z))) / len(y) + 1e-3 * x


FUNCTIONS = {
    "rosenbrock": Function(rosenbrock, np.array([-1.2, 1.0]), 0.0),
    "rosenbrock in 100 dimensions": Function(rosenbrock, np.tile([-1.2, 1.0], 50), None),
    "beale": Function(beale, np.array([1.0, 1.0]), 0.0),
    "powell_singular": Function(powell_singular, np.array([3.0, -1.0, 0.0, 1.0]), 0.0),
    "wood": Function(wood, np.array([-3.0, -1.0, -3.0, -1.0]), 0.0),
    "helical_valley": Function(helical_valley, np.array([-1.0, 0.0, 0.0]), 0.0),
    "brown_badly_scaled": Function(brown_badly_scaled, np.array([1.0, 1.0]), 0.0),
    "trigonometric": Function(trigonometric, np.full(10, 0.1), None),
    "styblinski_tang": Function(styblinski_tang, np.full(20, -1.0), -39.16616570377142 * 20),
    "quadratic": Function(quadratic, np.zeros(40), -0.5 * _B @ np.linalg.solve(_A, _B)),
    "logistic": Function(logistic, np.zeros(30), None),
}

NEAR = 1e-8  # how near a minimum counts as reached, relative to it or to 1


class Counted:
    """A function that records the losses of its calls."""

    def __init__(self, function):
        self.function, self.losses = function, []

    def __call__(self, x):
        loss, gradient = self.function(x)
        self.losses.append(float(loss))
        return loss, gradient

    def until(self, minimum):
        """Calls until the minimum is reached, or None.

        What a minimizer does after that is decided by the rounding of the function: its number of calls differs by a
        factor of two between processors.
        """
        lowest = np.minimum.accumulate(self.losses)
        reached = lowest <= minimum + NEAR * max(1.0, abs(minimum))
        return int(np.argmax(reached)) + 1 if reached.any() else None


def starts(function):
    """The usual starting point and six near it: on one path alone, luck decides a tenth of the calls."""
    rng = np.random.default_rng(0)
    x = function.start
    return [x, *(x + 1e-3 * np.maximum(abs(x), 1) * rng.normal(size=x.shape) for _ in range(6))]
