"""FTRL-Proximal: the parameter is a function of the sums over all gradients so far."""

from math import sqrt
from typing import NamedTuple

from .contract import Rule, Slot, folds


class FTRL(NamedTuple):
    """Numbers of FTRL that do not depend on the rate."""

    l1: float
    shrinkage: float
    beta: float


class Rates(NamedTuple):
    """The rate, and twice the rate times l2."""

    lr: float
    l2: float


def ftrl(p, g, s, h, r):
    n, z = s
    m = n + g * g  # without shrinkage; like AdaGrad's sum, it never decays and is not flushed
    # (sqrt(m) - sqrt(n)) / lr equals g*g divided by this, which has no cancellation. It is zero before the first
    # gradient, or if the element is frozen: then z stays. The last terms are 0 or NaN.
    below = sqrt(m) * r.lr + sqrt(n) * r.lr
    z = z + (g + h.shrinkage * p - g * g * p / below) if below > -below else z + below
    over = h.l1 - z if z > h.l1 else (-h.l1 - z if z < -h.l1 else z - z)
    root = sqrt(m) + h.beta + r.l2
    return over / root * r.lr if root > -root else p + root, (m if r.lr > -r.lr else n, z)


def ftrl_fold(c, t, carry):
    """FTRL with the root of the sum of squares (learning_rate_power -0.5): Keras."""
    h = FTRL(l1=c.l1_regularization_strength, shrinkage=2.0 * c.l2_shrinkage_regularization_strength, beta=c.beta)
    return h, Rates(lr=c.lr, l2=2.0 * c.lr * c.l2_regularization_strength), carry


RULES = {
    "ftrl": Rule(
        ftrl,
        folds(keras=ftrl_fold),
        (
            "l1_regularization_strength",
            "l2_regularization_strength",
            "l2_shrinkage_regularization_strength",
            "beta",
        ),
        (Slot("accumulator", initial="initial_accumulator_value"), Slot("linear")),
        sets=True,
    ),
}
