"""AdaGrad and AdaDelta."""

from math import sqrt
from typing import NamedTuple

from pyfastlr_kernels.packing import BFLOAT16

from .contract import SECOND_MOMENT, Packed, Rule, Slot, flush, flush_limit_inside_root, folds
from .sgd import Rate


class AdaGrad(NamedTuple):
    """Numbers of AdaGrad."""

    eps_in: float
    eps: float


def adagrad(p, g, s, h, r):
    # The sum is not flushed. It never decays, so it is subnormal only while every gradient so far was below 1e-19
    # (float32). If flushed, it would never grow, and no eps hides that for every number of updates.
    (v,) = s
    v = v + g * g
    return r.lr * g / (sqrt(v + h.eps_in) + h.eps), (v,)


def adagrad_fold(c, t, carry):
    """AdaGrad with eps outside the root and a decaying rate: torch."""
    return AdaGrad(eps_in=0.0, eps=c.eps), Rate(lr=c.lr / (1.0 + (t - 1.0) * c.lr_decay)), carry


def adagrad_inside_fold(c, t, carry):
    """AdaGrad with eps inside the root: Keras, optax."""
    return AdaGrad(eps_in=c.eps, eps=0.0), Rate(lr=c.lr), carry


class AdaDelta(NamedTuple):
    """Numbers of AdaDelta."""

    rho: float
    w: float
    eps: float
    tiny: float


def adadelta(p, g, s, h, r):
    v, a = s
    v = flush(h.rho * v + h.w * g * g, h.tiny)
    x = sqrt(a + h.eps) * g / sqrt(v + h.eps)
    a = flush(h.rho * a + h.w * x * x, h.tiny)
    return r.lr * x, (v, a)


def adadelta_fold(c, t, carry):
    """AdaDelta: all conventions."""
    w = 1.0 - c.rho
    return AdaDelta(rho=c.rho, w=w, eps=c.eps, tiny=flush_limit_inside_root(c, w)), Rate(lr=c.lr), carry


_WHY_SUM = "what an update adds to an ever-growing sum becomes ever smaller than a step of 8 bits"
_SUM = Packed(BFLOAT16, None, _WHY_SUM)

RULES = {
    "adagrad": Rule(
        adagrad,
        folds(torch=adagrad_fold, keras=adagrad_inside_fold, optax=adagrad_inside_fold),
        ("lr_decay", "eps"),
        (Slot("sum", "initial_accumulator_value", packed=_SUM),),
    ),
    "adadelta": Rule(
        adadelta,
        folds(torch=adadelta_fold, keras=adadelta_fold, optax=adadelta_fold),
        ("rho", "eps"),
        (Slot("square_avg", packed=SECOND_MOMENT), Slot("acc_delta", packed=SECOND_MOMENT)),
    ),
}
