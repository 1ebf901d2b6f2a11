"""AdaBelief: Adam with a second moment of the gradient's deviation from its running mean."""

from math import sqrt
from typing import NamedTuple

from .adam import Step
from .contract import MOMENT, SECOND_MOMENT, Rule, Slot, flush, flush_limit_outside_root, folds


class AdaBelief(NamedTuple):
    """Numbers of AdaBelief."""

    beta1: float
    w1: float
    beta2: float
    w2: float
    v_scale: float
    eps: float
    eps_root: float
    m_tiny: float
    tiny: float


def adabelief(p, g, s, h, r):
    m, v = s
    m = flush(h.beta1 * m + h.w1 * g, h.m_tiny)
    e = g - m
    v = flush(h.beta2 * v + h.w2 * e * e + h.eps_root, h.tiny)
    return r.step * m / (sqrt(v) * h.v_scale + h.eps), (m, v)


def adabelief_fold(c, t, carry):
    """AdaBelief with eps_root added to the second moment at every update: optax."""
    # The denominator is at least eps + sqrt(eps_root). If half an ulp of that is above the smallest normal number, a
    # first moment below that number moves the parameter by less than half an ulp of the rate.
    w2 = 1.0 - c.beta2
    h = AdaBelief(
        beta1=c.beta1,
        w1=1.0 - c.beta1,
        beta2=c.beta2,
        w2=w2,
        v_scale=1.0 / sqrt(1.0 - c.beta2**t),
        eps=c.eps,
        eps_root=c.eps_root,
        m_tiny=c.tiny if c.half_ulp * (c.eps + sqrt(c.eps_root)) >= c.tiny else 0.0,
        tiny=flush_limit_outside_root(c, w2),
    )
    return h, Step(step=c.lr / (1.0 - c.beta1**t)), carry


RULES = {
    "adabelief": Rule(
        adabelief,
        folds(optax=adabelief_fold),
        ("beta1", "beta2", "eps", "eps_root"),
        (Slot("exp_avg", packed=MOMENT), Slot("exp_avg_var", packed=SECOND_MOMENT)),
    ),
}
