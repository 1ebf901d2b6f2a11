"""Yogi: Adam whose second moment moves towards g*g by a fraction of g*g, not of the difference."""

from math import sqrt
from typing import NamedTuple

from .adam import Step
from .contract import MOMENT, SECOND_MOMENT, Rule, Slot, flush, flush_limit_outside_root, folds


class Yogi(NamedTuple):
    """Numbers of Yogi."""

    beta1: float
    w1: float
    w2: float
    v_scale: float
    eps: float
    tiny: float


def yogi(p, g, s, h, r):
    m, v = s
    m = flush(h.beta1 * m + h.w1 * g, h.tiny)
    x, u = v - g * g, h.w2 * g * g
    # The last x is 0 or NaN: sign(0) = 0, sign(NaN) = NaN.
    v = flush(v - (u if x > -x else (-u if x < -x else x)), h.tiny)
    return r.step * m / (sqrt(v) * h.v_scale + h.eps), (m, v)


def yogi_fold(c, t, carry):
    """Yogi: optax."""
    w2 = 1.0 - c.beta2
    h = Yogi(
        beta1=c.beta1,
        w1=1.0 - c.beta1,
        w2=w2,
        v_scale=1.0 / sqrt(1.0 - c.beta2**t),
        eps=c.eps,
        tiny=flush_limit_outside_root(c, w2),
    )
    return h, Step(step=c.lr / (1.0 - c.beta1**t)), carry


RULES = {
    "yogi": Rule(
        yogi,
        folds(optax=yogi_fold),
        ("beta1", "beta2", "eps"),
        (Slot("exp_avg", initial=1e-6, packed=MOMENT), Slot("exp_avg_sq", initial=1e-6, packed=SECOND_MOMENT)),
    ),
}
