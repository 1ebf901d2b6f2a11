"""RMSProp: plain, centered, with momentum, with both.

eps is outside the root (torch) or inside it (Keras, optax): the rules add both, and one of them is zero.
"""

from math import sqrt
from typing import NamedTuple

from .contract import (
    MOMENT,
    SECOND_MOMENT,
    Packed,
    Rule,
    Slot,
    flush,
    flush_limit_inside_root,
    flush_limit_outside_root,
    folds,
)
from .sgd import Rate


class RMSProp(NamedTuple):
    """Numbers of RMSProp without momentum."""

    alpha: float
    w: float
    eps_in: float
    eps: float
    tiny: float
    tiny_a: float


class RMSPropMomentum(NamedTuple):
    """Numbers of RMSProp with momentum."""

    alpha: float
    w: float
    eps_in: float
    eps: float
    mu: float
    w_in: float
    w_out: float
    tiny: float
    tiny_a: float
    tiny_b: float


class BufferRates(NamedTuple):
    """Rates applied on the way into the momentum buffer and out of it (sgd.py)."""

    lr_in: float
    lr_out: float


# The mean a is only squared, and a square that underflows takes longer than the rest of the rule. So a is flushed where
# its square is below tiny, if eps hides that: a flushed mean stays zero while w*|g| is below the root of tiny, and the
# exact one grows to g, whose square is at most tiny / w**2.


def variance(v, a):
    """Variance v - a*a, at least zero: rounding makes it negative for a constant gradient, and torch's update NaN."""
    x = v - a * a
    return x - x if x < -x else x


def rmsprop(p, g, s, h, r):
    (v,) = s
    v = flush(h.alpha * v + h.w * g * g, h.tiny)
    return r.lr * g / (sqrt(v + h.eps_in) + h.eps), (v,)


def rmsprop_centered(p, g, s, h, r):
    v, a = s
    v = flush(h.alpha * v + h.w * g * g, h.tiny)
    a = flush(h.alpha * a + h.w * g, h.tiny_a)
    return r.lr * g / (sqrt(variance(v, a) + h.eps_in) + h.eps), (v, a)


def rmsprop_momentum(p, g, s, h, r):
    v, b = s
    v = flush(h.alpha * v + h.w * g * g, h.tiny)
    b = flush(h.mu * b + (h.w_in + r.lr_in) * g / (sqrt(v + h.eps_in) + h.eps), h.tiny_b)
    return (h.w_out + r.lr_out) * b, (v, b)


def rmsprop_centered_momentum(p, g, s, h, r):
    v, a, b = s
    v = flush(h.alpha * v + h.w * g * g, h.tiny)
    a = flush(h.alpha * a + h.w * g, h.tiny_a)
    b = flush(h.mu * b + (h.w_in + r.lr_in) * g / (sqrt(variance(v, a) + h.eps_in) + h.eps), h.tiny_b)
    return (h.w_out + r.lr_out) * b, (v, a, b)


def rmsprop_fold(c, t, carry):
    """RMSProp without momentum, eps outside the root: torch."""
    w = 1.0 - c.alpha
    tiny = flush_limit_outside_root(c, w)
    tiny_a = max(tiny, sqrt(flush_limit_outside_root(c, w * w)))
    h = RMSProp(alpha=c.alpha, w=w, eps_in=0.0, eps=c.eps, tiny=tiny, tiny_a=tiny_a)
    return h, Rate(lr=c.lr), carry


def rmsprop_inside_fold(c, t, carry):
    """RMSProp without momentum, eps inside the root: Keras, optax."""
    w = 1.0 - c.alpha
    tiny = flush_limit_inside_root(c, w)
    tiny_a = max(tiny, sqrt(flush_limit_inside_root(c, w * w)))
    h = RMSProp(alpha=c.alpha, w=w, eps_in=c.eps, eps=0.0, tiny=tiny, tiny_a=tiny_a)
    return h, Rate(lr=c.lr), carry


def rmsprop_momentum_fold(c, t, carry):
    """RMSProp with momentum, eps outside the root, rate outside the buffer: torch."""
    w = 1.0 - c.alpha
    tiny = flush_limit_outside_root(c, w)
    tiny_a = max(tiny, sqrt(flush_limit_outside_root(c, w * w)))
    h = RMSPropMomentum(
        alpha=c.alpha, w=w, eps_in=0.0, eps=c.eps, mu=c.momentum, w_in=1.0, w_out=0.0, tiny=tiny, tiny_a=tiny_a,
        tiny_b=c.tiny,
    )  # fmt: skip
    return h, BufferRates(lr_in=0.0, lr_out=c.lr), carry


def rmsprop_momentum_inside_fold(c, t, carry):
    """RMSProp with momentum, eps inside the root, rate inside the buffer: Keras, optax."""
    w = 1.0 - c.alpha
    tiny = flush_limit_inside_root(c, w)
    tiny_a = max(tiny, sqrt(flush_limit_inside_root(c, w * w)))
    h = RMSPropMomentum(
        alpha=c.alpha, w=w, eps_in=c.eps, eps=0.0, mu=c.momentum, w_in=0.0, w_out=1.0, tiny=tiny, tiny_a=tiny_a,
        tiny_b=c.tiny,
    )  # fmt: skip
    return h, BufferRates(lr_in=c.lr, lr_out=0.0), carry


_FOLDS = folds(torch=rmsprop_fold, keras=rmsprop_inside_fold, optax=rmsprop_inside_fold)
_MOMENTUM_FOLDS = folds(
    torch=rmsprop_momentum_fold, keras=rmsprop_momentum_inside_fold, optax=rmsprop_momentum_inside_fold
)
_HYPER, _MOMENTUM_HYPER = ("alpha", "eps"), ("alpha", "eps", "momentum")
_V, _B = Slot("square_avg", packed=SECOND_MOMENT), Slot("momentum_buffer", packed=MOMENT)
_A = Slot("grad_avg", packed=Packed(None, None, "the variance is a small difference of its square and square_avg"))

RULES = {
    "rmsprop": Rule(rmsprop, _FOLDS, _HYPER, (_V,)),
    "rmsprop_centered": Rule(rmsprop_centered, _FOLDS, _HYPER, (_V, _A), helpers=(variance,)),
    "rmsprop_momentum": Rule(rmsprop_momentum, _MOMENTUM_FOLDS, _MOMENTUM_HYPER, (_V, _B)),
    "rmsprop_centered_momentum": Rule(
        rmsprop_centered_momentum, _MOMENTUM_FOLDS, _MOMENTUM_HYPER, (_V, _A, _B), helpers=(variance,)
    ),
}
