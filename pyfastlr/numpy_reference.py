"""Most optimizers in plain numpy. The demo compares its time and its weights with them.

Each function does update number ``t``, from 1, of ``p`` in place, with gradient ``g`` and rate ``lr``. The defaults are
torch's; those of Lion are optax's. ``s`` is a ``defaultdict(float)``, so a moment that was never set is 0.0. All
weights are one array, which is fastest for numpy.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
State = defaultdict[str, Any]
B1, B2, EPS = 0.9, 0.999, 1e-8  # for Adam and its variants


def sgd(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Do ``p -= lr g``."""
    p -= lr * g


def rmsprop(p: Array, g: Array, s: State, t: int, lr: float, alpha: float = 0.99, eps: float = EPS) -> None:
    """Hinton, "Neural networks for machine learning", lecture 6e, 2012."""
    v = s["v"] = alpha * s["v"] + (1 - alpha) * g * g
    p -= lr * g / (np.sqrt(v) + eps)


def adagrad(p: Array, g: Array, s: State, t: int, lr: float, eps: float = 1e-10) -> None:
    """Duchi, Hazan, Singer, "Adaptive subgradient methods", 2011."""
    s["sum"] = s["sum"] + g * g
    p -= lr * g / (np.sqrt(s["sum"]) + eps)


def adam(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Kingma, Ba, "Adam: a method for stochastic optimization", 2015."""
    m = s["m"] = B1 * s["m"] + (1 - B1) * g
    v = s["v"] = B2 * s["v"] + (1 - B2) * g * g
    p -= lr / (1 - B1**t) * m / (np.sqrt(v / (1 - B2**t)) + EPS)


def adamw(p: Array, g: Array, s: State, t: int, lr: float, weight_decay: float = 1e-2) -> None:
    """Loshchilov, Hutter, "Decoupled weight decay regularization", 2019."""
    p -= lr * weight_decay * p
    adam(p, g, s, t, lr)


def amsgrad(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Reddi, Kale, Kumar, "On the convergence of Adam and beyond", 2018."""
    m = s["m"] = B1 * s["m"] + (1 - B1) * g
    v = s["v"] = B2 * s["v"] + (1 - B2) * g * g
    u = s["u"] = np.maximum(s["u"], v)
    p -= lr / (1 - B1**t) * m / (np.sqrt(u / (1 - B2**t)) + EPS)


def nadam(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Dozat, "Incorporating Nesterov momentum into Adam", 2016."""
    mu, mu_next = (B1 * (1 - 0.5 * 0.96 ** (0.004 * k)) for k in (t, t + 1))
    product = s["product"] = mu * s.get("product", 1.0)
    m = s["m"] = B1 * s["m"] + (1 - B1) * g
    v = s["v"] = B2 * s["v"] + (1 - B2) * g * g
    ahead = (1 - mu) / (1 - product) * g + mu_next / (1 - product * mu_next) * m
    p -= lr * ahead / (np.sqrt(v / (1 - B2**t)) + EPS)


def adamax(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Kingma, Ba, section 7.1 of the Adam paper, 2015."""
    m = s["m"] = B1 * s["m"] + (1 - B1) * g
    u = s["u"] = np.maximum(B2 * s["u"], np.abs(g) + EPS)
    p -= lr / (1 - B1**t) * m / u


def radam(p: Array, g: Array, s: State, t: int, lr: float) -> None:
    """Liu et al., "On the variance of the adaptive learning rate and beyond", 2020."""
    m = s["m"] = B1 * s["m"] + (1 - B1) * g
    v = s["v"] = B2 * s["v"] + (1 - B2) * g * g
    limit = 2 / (1 - B2) - 1
    rho = limit - 2 * t * B2**t / (1 - B2**t)
    step = lr / (1 - B1**t) * m
    if rho > 5:
        rectify = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        step *= rectify * math.sqrt(1 - B2**t) / (np.sqrt(v) + EPS)
    p -= step


def adadelta(p: Array, g: Array, s: State, t: int, lr: float, rho: float = 0.9, eps: float = 1e-6) -> None:
    """Zeiler, "ADADELTA: an adaptive learning rate method", 2012."""
    v = s["v"] = rho * s["v"] + (1 - rho) * g * g
    delta = np.sqrt(s["d"] + eps) / np.sqrt(v + eps) * g
    s["d"] = rho * s["d"] + (1 - rho) * delta * delta
    p -= lr * delta


def lion(p: Array, g: Array, s: State, t: int, lr: float, b2: float = 0.99, weight_decay: float = 1e-3) -> None:
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023."""
    sign = np.sign(B1 * s["m"] + (1 - B1) * g)
    p -= lr * (sign + weight_decay * p)
    s["m"] = b2 * s["m"] + (1 - b2) * g


class Plain(NamedTuple):
    """A plain numpy update, and the peak rate at which it learns the digits."""

    update: Callable[[Array, Array, State, int, float], None]
    lr: float


PLAIN = {
    "SGD": Plain(sgd, 0.5),
    "RMSProp": Plain(rmsprop, 2e-3),
    "AdaGrad": Plain(adagrad, 3e-2),
    "Adam": Plain(adam, 3e-3),
    "AdamW": Plain(adamw, 3e-3),
    "AMSGrad": Plain(amsgrad, 3e-3),
    "NAdam": Plain(nadam, 3e-3),
    "Adamax": Plain(adamax, 5e-3),
    "RAdam": Plain(radam, 3e-3),
    "AdaDelta": Plain(adadelta, 1.0),
    "Lion": Plain(lion, 5e-4),
}
