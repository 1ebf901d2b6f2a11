"""Every optimizer's rule, written once, from simple to complex: the update of one element. Math and nothing else.

The contract
------------
``rule(p, g, s, h, r) -> (d, s)`` runs once per element, in the dtype of the parameters: ``s`` is the tuple of state
scalars, ``h`` and ``r`` are the numbers that a fold (folds.py) made of the hyperparameters, ``r`` those proportional to
the rate. ``d`` is the descent, and the driver writes ``p - (shrink*p + d)``. So decay is in one place (`prologue`,
`epilogue`), p is rounded once, and ``d`` is there for norms and trust ratios.

A rule has no number literals (``1 - b`` or ``0.5 * x`` would make numba compute in float64), no step count and no
branches on configuration. ``sqrt(a) * g / sqrt(b)`` is never written as a quotient of two roots: `math.sqrt` returns a
float64 in plain Python, and rule and kernel would differ by a rounding.

The same text runs as plain Python (on numpy scalars), compiled for the CPU, in users' jitted loops and on the device.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from . import folds

# Where nothing decays the driver leaves the terms with p out: they would be a fifth of Adam's operations (a Zen 3 core
# takes 9.6 cycles for 8 elements instead of 12.2), and 0*p makes NaN of an infinite parameter.


def prologue(p, g, scale, l2):
    """Gradient that the rule sees: the loss scale undone (its sign turned to maximize) and coupled decay added."""
    return scale * g + l2 * p


def prologue_undecayed(p, g, scale):
    """Gradient that the rule sees where nothing decays."""
    return scale * g


def epilogue(p, d, shrink):
    """Parameter after the step: decoupled or independent decay, and the descent, in one rounding of p."""
    return p - (shrink * p + d)


def epilogue_undecayed(p, d):
    """Parameter after the step where nothing decays."""
    return p - d


# Zero of the narrowest dtype, so that it widens nothing. A known zero lets LLVM clear by a mask, where `x - x` takes a
# subtraction and a blend on the divider's ports (12.2 cycles for 13.9).
ZERO = np.float32(0)


def flush(x, tiny):
    """Zero for a subnormal number: they slow a step up to ten times. NaN compares false, and stays."""
    return ZERO if abs(x) < tiny else x


def maximum(a, b):
    """Larger of two numbers, NaN if either is: Python's and numba's max(u, nan) is u, torch's is NaN."""
    larger = a if a > b else b  # one instruction; b where either is NaN
    return larger if a == a else a


# --- SGD ---------------------------------------------------------------------------------------------------------


def sgd(p, g, s, h, r):
    (lr,) = r
    return lr * g, s


# Momentum has the rate outside of the buffer (b = mu b + g, d = lr b) or inside (b = mu b + lr g, d = b). One rule has
# both: ``w_in + lr_in`` multiplies the gradient on its way in, ``w_out + lr_out`` the buffer on its way out; of each
# pair one is zero.


def momentum(p, g, s, h, r):
    mu, w_in, w_out, tiny = h
    _, lr_in, lr_out = r
    (b,) = s
    b = flush(mu * b + (w_in + lr_in) * g, tiny)
    return (w_out + lr_out) * b, (b,)


def nesterov(p, g, s, h, r):
    mu, w_in, w_out, tiny = h
    lr, lr_in, lr_out = r
    (b,) = s
    b = flush(mu * b + (w_in + lr_in) * g, tiny)
    return lr * g + (w_out + lr_out) * (mu * b), (b,)


# --- RMSProp: eps outside of the root or inside: both are added, one of them is zero ---------------------------------


def rmsprop(p, g, s, h, r):
    alpha, w, eps_in, eps, tiny = h
    (lr,) = r
    (v,) = s
    v = flush(alpha * v + w * g * g, tiny)
    return lr * g / (sqrt(v + eps_in) + eps), (v,)


def variance(v, a):
    """Variance v - a*a, at least zero: rounding makes it negative for a constant gradient, and torch NaN."""
    x = v - a * a
    return x - x if x < -x else x


def rmsprop_centered(p, g, s, h, r):
    alpha, w, eps_in, eps, tiny = h
    (lr,) = r
    v, a = s
    v = flush(alpha * v + w * g * g, tiny)
    a = flush(alpha * a + w * g, tiny)
    return lr * g / (sqrt(variance(v, a) + eps_in) + eps), (v, a)


def rmsprop_momentum(p, g, s, h, r):
    alpha, w, eps_in, eps, mu, w_in, w_out, tiny = h
    lr_in, lr_out = r
    v, b = s
    v = flush(alpha * v + w * g * g, tiny)
    b = flush(mu * b + (w_in + lr_in) * g / (sqrt(v + eps_in) + eps), tiny)
    return (w_out + lr_out) * b, (v, b)


def rmsprop_centered_momentum(p, g, s, h, r):
    alpha, w, eps_in, eps, mu, w_in, w_out, tiny = h
    lr_in, lr_out = r
    v, a, b = s
    v = flush(alpha * v + w * g * g, tiny)
    a = flush(alpha * a + w * g, tiny)
    b = flush(mu * b + (w_in + lr_in) * g / (sqrt(variance(v, a) + eps_in) + eps), tiny)
    return (w_out + lr_out) * b, (v, a, b)


# --- AdaGrad, AdaDelta ---------------------------------------------------------------------------------------------


def adagrad(p, g, s, h, r):
    eps_in, eps, tiny = h
    (lr,) = r
    (v,) = s
    v = flush(v + g * g, tiny)
    return lr * g / (sqrt(v + eps_in) + eps), (v,)


def adadelta(p, g, s, h, r):
    rho, w, eps, tiny = h
    (lr,) = r
    v, a = s
    v = flush(rho * v + w * g * g, tiny)
    x = sqrt(a + eps) * g / sqrt(v + eps)
    a = flush(rho * a + w * x * x, tiny)
    return lr * x, (v, a)


# --- Lion ----------------------------------------------------------------------------------------------------------


def lion(p, g, s, h, r):
    beta1, w1, beta2, w2, tiny = h
    (lr,) = r
    (m,) = s
    x = beta1 * m + w1 * g
    m = flush(beta2 * m + w2 * g, tiny)
    return (lr if x > -x else (-lr if x < -x else x)), (m,)  # the last x is 0 or NaN: sign(0) = 0, sign(NaN) = NaN


# --- Adam and its family -------------------------------------------------------------------------------------------


def adam(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny = h
    (step,) = r
    m, v = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)  # not g*g + beta2*(v - g*g): 550 ulp off in the first update
    return step * m / (sqrt(v) * v_scale + eps), (m, v)


def amsgrad(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny, x_scale = h
    (step,) = r
    m, v, x = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)
    x = flush(maximum(x, x_scale * v), tiny)
    return step * m / (sqrt(x) * v_scale + eps), (m, v, x)


def nadam(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny = h
    now, ahead = r
    m, v = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)
    return (now * g + ahead * m) / (sqrt(v) * v_scale + eps), (m, v)


def adamax(p, g, s, h, r):
    beta1, w1, beta2, eps_in, eps, tiny = h
    (step,) = r
    m, u = s
    m = flush(beta1 * m + w1 * g, tiny)
    u = flush(maximum(beta2 * u, abs(g) + eps_in), tiny)
    return step * m / (u + eps), (m, u)


# What rules call: a driver makes it known to its compiler, and what folds call (folds.HELPERS).
HELPERS = (flush, maximum, variance)

# --- The registry --------------------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """A rule with its folds, and the names that state and hyperparameters have outside."""

    update: Callable[..., Any]
    folds: dict[str, Callable[..., Any]]  # by convention
    hyper: tuple[str, ...]  # what the fold reads, beside lr and tiny
    slots: tuple[str, ...]  # torch's names of the state arrays, in the order of s
    carry: tuple[float, ...] = ()  # initial values


def arity(rule, fold):
    """Numbers in h and r: what the fold returns for any hyperparameters, here all one half."""

    class Half:
        def __getattr__(self, name):
            return 0.5

    h, r, _ = fold(Half(), 1.0, rule.carry)
    return len(h), len(r)


def _folds(torch=None, keras=None, optax=None):
    """Folds by convention, those of the libraries that have the optimizer."""
    given = {"torch": torch, "keras": keras, "optax": optax}
    return {name: fold for name, fold in given.items() if fold is not None}


_MU = ("momentum", "dampening")
_RMS = ("alpha", "eps")
_BETAS = ("beta1", "beta2", "eps")
_BUFFER = ("momentum_buffer",)
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MOMENTUM_FOLDS = _folds(folds.momentum_fold, folds.momentum_inside_fold, folds.momentum_fold)
_RMS_FOLDS = _folds(folds.rmsprop_fold, folds.rmsprop_inside_fold, folds.rmsprop_inside_fold)
_RMS_MOMENTUM_FOLDS = _folds(
    folds.rmsprop_momentum_fold, folds.rmsprop_momentum_inside_fold, folds.rmsprop_momentum_inside_fold
)

RULES = {
    "sgd": Rule(sgd, _folds(folds.sgd_fold, folds.sgd_fold, folds.sgd_fold), (), ()),
    "momentum": Rule(momentum, _MOMENTUM_FOLDS, _MU, _BUFFER),
    "nesterov": Rule(nesterov, _MOMENTUM_FOLDS, _MU, _BUFFER),
    "rmsprop": Rule(rmsprop, _RMS_FOLDS, _RMS, ("square_avg",)),
    "rmsprop_centered": Rule(rmsprop_centered, _RMS_FOLDS, _RMS, ("square_avg", "grad_avg")),
    "rmsprop_momentum": Rule(rmsprop_momentum, _RMS_MOMENTUM_FOLDS, (*_RMS, "momentum"), ("square_avg", *_BUFFER)),
    "rmsprop_centered_momentum": Rule(
        rmsprop_centered_momentum, _RMS_MOMENTUM_FOLDS, (*_RMS, "momentum"), ("square_avg", "grad_avg", *_BUFFER)
    ),
    "adagrad": Rule(
        adagrad,
        _folds(folds.adagrad_fold, folds.adagrad_inside_fold, folds.adagrad_inside_fold),
        ("lr_decay", "eps"),
        ("sum",),
    ),
    "adadelta": Rule(
        adadelta,
        _folds(folds.adadelta_fold, folds.adadelta_fold, folds.adadelta_fold),
        ("rho", "eps"),
        ("square_avg", "acc_delta"),
    ),
    "lion": Rule(lion, _folds(keras=folds.lion_fold, optax=folds.lion_fold), ("beta1", "beta2"), ("exp_avg",)),
    "adam": Rule(adam, _folds(folds.adam_fold, folds.adam_hat_fold, folds.adam_fold), _BETAS, _MOMENTS),
    "amsgrad": Rule(
        amsgrad,
        _folds(folds.amsgrad_fold, folds.amsgrad_hat_fold, folds.amsgrad_corrected_fold),
        _BETAS,
        (*_MOMENTS, "max_exp_avg_sq"),
    ),
    "radam": Rule(adam, _folds(folds.radam_fold, optax=folds.radam_corrected_fold), _BETAS, _MOMENTS),
    "nadam": Rule(
        nadam,
        _folds(folds.nadam_fold, folds.nadam_unstretched_fold, folds.nadam_constant_fold),
        (*_BETAS, "momentum_decay"),
        _MOMENTS,
        carry=(1.0,),
    ),
    "adamax": Rule(
        adamax, _folds(folds.adamax_fold, folds.adamax_outside_fold, folds.adamax_fold), _BETAS, ("exp_avg", "exp_inf")
    ),
}
