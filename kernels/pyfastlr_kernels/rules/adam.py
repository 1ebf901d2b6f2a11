"""Adam and its family: AMSGrad, NAdam, Adamax, RAdam."""

from math import sqrt
from typing import NamedTuple

from pyfastlr_kernels.packing import BFLOAT16, LINEAR

from .contract import (
    MOMENT,
    SECOND_MOMENT,
    Packed,
    Rule,
    Slot,
    flush,
    flush_limit_outside_root,
    flush_limit_plain,
    folds,
    maximum,
)


class Adam(NamedTuple):
    """Numbers of Adam, NAdam and RAdam."""

    beta1: float
    w1: float
    beta2: float
    w2: float
    v_scale: float
    eps: float
    tiny: float


class Step(NamedTuple):
    """The learning rate with the bias correction of the first moment."""

    step: float


def adam(p, g, s, h, r):
    m, v = s
    m = flush(h.beta1 * m + h.w1 * g, h.tiny)
    v = flush(h.beta2 * v + h.w2 * g * g, h.tiny)  # not g*g + beta2*(v - g*g): 550 ulp off in the first update
    return r.step * m / (sqrt(v) * h.v_scale + h.eps), (m, v)


def adam_numbers(c, v_scale, eps):
    """Numbers of Adam with this v_scale and eps."""
    w2 = 1.0 - c.beta2
    tiny = flush_limit_outside_root(c, w2)
    return Adam(beta1=c.beta1, w1=1.0 - c.beta1, beta2=c.beta2, w2=w2, v_scale=v_scale, eps=eps, tiny=tiny)


def adam_fold(c, t, carry):
    """Adam, (m / c1) / (sqrt(v / c2) + eps): torch, optax."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    return adam_numbers(c, 1.0 / sqrt(c2), c.eps), Step(step=c.lr / c1), carry


def adam_hat_fold(c, t, carry):
    """Adam with the paper's eps hat, (m sqrt(c2) / c1) / (sqrt(v) + eps): Keras. Above, this is eps / sqrt(c2)."""
    c1 = 1.0 - c.beta1**t
    root = sqrt(1.0 - c.beta2**t)
    return adam_numbers(c, 1.0 / root, c.eps / root), Step(step=c.lr / c1), carry


# --- AMSGrad ----------------------------------------------------------------------------------------------------------


class AMSGrad(NamedTuple):
    """Numbers of AMSGrad: Adam's, and the factor of v inside the maximum."""

    beta1: float
    w1: float
    beta2: float
    w2: float
    v_scale: float
    eps: float
    tiny: float
    x_scale: float


def amsgrad(p, g, s, h, r):
    m, v, x = s
    m = flush(h.beta1 * m + h.w1 * g, h.tiny)
    v = flush(h.beta2 * v + h.w2 * g * g, h.tiny)
    x = flush(maximum(x, h.x_scale * v), h.tiny)
    return r.step * m / (sqrt(x) * h.v_scale + h.eps), (m, v, x)


def amsgrad_numbers(h, v_scale, x_scale):
    """Numbers of AMSGrad from Adam's."""
    return AMSGrad(
        beta1=h.beta1, w1=h.w1, beta2=h.beta2, w2=h.w2, v_scale=v_scale, eps=h.eps, tiny=h.tiny, x_scale=x_scale
    )


def amsgrad_fold(c, t, carry):
    """AMSGrad with the maximum of the uncorrected v: torch."""
    h, r, carry = adam_fold(c, t, carry)
    return amsgrad_numbers(h, h.v_scale, 1.0), r, carry


def amsgrad_hat_fold(c, t, carry):
    """AMSGrad with the maximum of the uncorrected v and eps hat: Keras."""
    h, r, carry = adam_hat_fold(c, t, carry)
    return amsgrad_numbers(h, h.v_scale, 1.0), r, carry


def amsgrad_corrected_fold(c, t, carry):
    """AMSGrad with the maximum of v / c2: optax."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    return amsgrad_numbers(adam_numbers(c, 1.0, c.eps), 1.0, 1.0 / c2), Step(step=c.lr / c1), carry


# --- RAdam: Adam's rule. Before rectification the denominator is sqrt(v)*0 + 1 ---------------------------------------


class Rectification(NamedTuple):
    """RAdam's rho, and the factor that rectifies the step. Where rho <= 4, the factor is not used."""

    rho: float
    factor: float


def rectification(beta2, t):
    """Rectification of update t."""
    decayed = beta2**t
    limit = 2.0 / (1.0 - beta2) - 1.0
    rho = limit - 2.0 * t * decayed / (1.0 - decayed)
    if rho <= 4.0:
        return Rectification(rho=rho, factor=1.0)
    factor = sqrt((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho))
    return Rectification(rho=rho, factor=factor)


def radam_fold(c, t, carry):
    """RAdam, rectified where rho > 5, with eps hat: torch."""
    x = rectification(c.beta2, t)
    step = c.lr / (1.0 - c.beta1**t)
    if x.rho > 5.0:
        step = step * x.factor * sqrt(1.0 - c.beta2**t)
        return adam_numbers(c, 1.0, c.eps), Step(step=step), carry
    return adam_numbers(c, 0.0, 1.0), Step(step=step), carry


def radam_corrected_fold(c, t, carry):
    """RAdam, rectified where rho >= 5, with eps added after the bias correction: optax."""
    x = rectification(c.beta2, t)
    step = c.lr / (1.0 - c.beta1**t)
    if x.rho >= 5.0:
        return adam_numbers(c, 1.0 / sqrt(1.0 - c.beta2**t), c.eps), Step(step=step * x.factor), carry
    return adam_numbers(c, 0.0, 1.0), Step(step=step), carry


# --- NAdam ------------------------------------------------------------------------------------------------------------


class Lookahead(NamedTuple):
    """Rates of the gradient and of the first moment, each with its bias correction."""

    now: float
    ahead: float


def nadam(p, g, s, h, r):
    m, v = s
    m = flush(h.beta1 * m + h.w1 * g, h.tiny)
    v = flush(h.beta2 * v + h.w2 * g * g, h.tiny)
    return (r.now * g + r.ahead * m) / (sqrt(v) * h.v_scale + h.eps), (m, v)


def nadam_scheduled(c, t, carry, psi):
    """NAdam with a momentum schedule; the carry is the product of its values."""
    (product,) = carry
    mu = c.beta1 * (1.0 - 0.5 * 0.96 ** (t * psi))
    ahead = c.beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * psi))
    product = product * mu
    r = Lookahead(now=c.lr * (1.0 - mu) / (1.0 - product), ahead=c.lr * ahead / (1.0 - product * ahead))
    return adam_numbers(c, 1.0 / sqrt(1.0 - c.beta2**t), c.eps), r, (product,)


def nadam_fold(c, t, carry):
    """NAdam with a momentum schedule stretched by momentum_decay: torch."""
    return nadam_scheduled(c, t, carry, c.momentum_decay)


def nadam_unstretched_fold(c, t, carry):
    """NAdam with the paper's momentum schedule: Keras."""
    return nadam_scheduled(c, t, carry, 1.0)


def nadam_constant_fold(c, t, carry):
    """NAdam with constant momentum: optax."""
    c1 = 1.0 - c.beta1**t
    r = Lookahead(now=c.lr * (1.0 - c.beta1) / c1, ahead=c.lr * c.beta1 / (1.0 - c.beta1 ** (t + 1.0)))
    return adam_numbers(c, 1.0 / sqrt(1.0 - c.beta2**t), c.eps), r, carry


# --- Adamax -----------------------------------------------------------------------------------------------------------


class Adamax(NamedTuple):
    """Numbers of Adamax. eps is inside the maximum (eps_in) or added to it (eps); the other one is zero."""

    beta1: float
    w1: float
    beta2: float
    eps_in: float
    eps: float
    tiny: float


def adamax(p, g, s, h, r):
    m, u = s
    m = flush(h.beta1 * m + h.w1 * g, h.tiny)
    u = flush(maximum(h.beta2 * u, abs(g) + h.eps_in), h.tiny)
    return r.step * m / (u + h.eps), (m, u)


def adamax_fold(c, t, carry):
    """Adamax with eps inside the maximum: torch, optax."""
    h = Adamax(beta1=c.beta1, w1=1.0 - c.beta1, beta2=c.beta2, eps_in=c.eps, eps=0.0, tiny=flush_limit_plain(c))
    return h, Step(step=c.lr / (1.0 - c.beta1**t)), carry


def adamax_outside_fold(c, t, carry):
    """Adamax with eps added to the maximum: Keras."""
    h = Adamax(beta1=c.beta1, w1=1.0 - c.beta1, beta2=c.beta2, eps_in=0.0, eps=c.eps, tiny=flush_limit_plain(c))
    return h, Step(step=c.lr / (1.0 - c.beta1**t)), carry


_MAXIMUM = Packed(BFLOAT16, None, "a maximum only grows, and so would the errors of 8 bits")
_BETAS = ("beta1", "beta2", "eps")
_M, _V = Slot("exp_avg", packed=MOMENT), Slot("exp_avg_sq", packed=SECOND_MOMENT)

RULES = {
    "adam": Rule(
        adam, folds(torch=adam_fold, keras=adam_hat_fold, optax=adam_fold), _BETAS, (_M, _V), helpers=(adam_numbers,)
    ),
    "amsgrad": Rule(
        amsgrad,
        folds(torch=amsgrad_fold, keras=amsgrad_hat_fold, optax=amsgrad_corrected_fold),
        _BETAS,
        (_M, _V, Slot("max_exp_avg_sq", packed=_MAXIMUM)),
        helpers=(adam_numbers, adam_fold, adam_hat_fold, amsgrad_numbers),
    ),
    "radam": Rule(
        adam,
        folds(torch=radam_fold, optax=radam_corrected_fold),
        _BETAS,
        (_M, _V),
        helpers=(adam_numbers, rectification),
    ),
    "nadam": Rule(
        nadam,
        folds(torch=nadam_fold, keras=nadam_unstretched_fold, optax=nadam_constant_fold),
        (*_BETAS, "momentum_decay"),
        (_M, _V),
        carry=(1.0,),
        helpers=(adam_numbers, nadam_scheduled),
    ),
    "adamax": Rule(
        adamax,
        folds(torch=adamax_fold, keras=adamax_outside_fold, optax=adamax_fold),
        _BETAS,
        (_M, Slot("exp_inf", packed=Packed(BFLOAT16, LINEAR))),
    ),
}
