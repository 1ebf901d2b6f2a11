"""Lion: the sign of an interpolation between momentum and gradient."""

from typing import NamedTuple

from .contract import MOMENT, Rule, Slot, flush, folds
from .sgd import Rate


class Lion(NamedTuple):
    """Numbers of Lion."""

    beta1: float
    w1: float
    beta2: float
    w2: float
    tiny: float


def lion(p, g, s, h, r):
    (m,) = s
    x = h.beta1 * m + h.w1 * g
    m = flush(h.beta2 * m + h.w2 * g, h.tiny)
    # The last x is 0 or NaN: sign(0) = 0, sign(NaN) = NaN.
    return (r.lr if x > -x else (-r.lr if x < -x else x)), (m,)


def lion_fold(c, t, carry):
    """Lion: Keras, optax."""
    h = Lion(beta1=c.beta1, w1=1.0 - c.beta1, beta2=c.beta2, w2=1.0 - c.beta2, tiny=c.tiny)
    return h, Rate(lr=c.lr), carry


RULES = {
    "lion": Rule(lion, folds(optax=lion_fold, keras=lion_fold), ("beta1", "beta2"), (Slot("exp_avg", packed=MOMENT),))
}
