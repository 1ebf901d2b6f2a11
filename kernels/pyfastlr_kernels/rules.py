"""Every optimizer, written once, from simple to complex: a fold and a rule. Math and nothing else.

The contract
------------
``fold(c, t, carry) -> (h, r, carry)`` runs once per step, group and update number, on float64 scalars. ``c`` has the
hyperparameters as attributes, ``t`` is the number of this update from 1, as a float (``b ** int`` is repeated
multiplication in numba: 4e-11 off at b = .999999). ``r`` are the numbers proportional to the rate, ``h`` all others
that the rule needs, ``carry`` a few numbers that are saved with the state (NAdam's running product; for most, none).

``rule(p, g, s, h, r) -> (d, s)`` runs once per element, in the dtype of the parameters: ``s`` is the tuple of state
scalars, ``d`` the descent, and the driver writes ``p - (shrink*p + d)``. So decay is in one place (`prologue`,
`epilogue`), p is rounded once, and ``d`` is there for norms and trust ratios.

A rule has no number literals (``1 - b`` or ``0.5 * x`` would make numba compute in float64), no step count and no
branches on configuration. ``sqrt(a) * g / sqrt(b)`` is never written as a quotient of two roots: `math.sqrt` returns a
float64 in plain Python, and rule and kernel would differ by a rounding.

The same texts run as plain Python (on numpy scalars), compiled for the CPU, in users' jitted loops and on the device.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple


def prologue(p, g, scale, l2):
    """Gradient that the rule sees: the loss scale undone (its sign turned to maximize) and coupled decay added."""
    return scale * g + l2 * p


def epilogue(p, d, shrink):
    """Parameter after the step: decoupled or independent decay, and the descent, in one rounding of p."""
    return p - (shrink * p + d)


def flush(x, tiny):
    """Zero for a subnormal number: they slow a step up to ten times. NaN compares false, and stays."""
    return x - x if abs(x) < tiny else x


def maximum(a, b):
    """Larger of two numbers, NaN if either is: Python's and numba's max(u, nan) is u, torch's is NaN."""
    return a if a > b else (b if b >= a else a + b)


# --- SGD ---------------------------------------------------------------------------------------------------------


def sgd_fold(c, t, carry):
    """Plain gradient descent."""
    return (), (c.lr,), carry


def sgd(p, g, s, h, r):
    (lr,) = r
    return lr * g, s


def momentum_fold(c, t, carry):
    """Momentum, the rate outside of the buffer. The first gradient enters undampened, as in torch."""
    w = 1.0 if t == 1.0 else 1.0 - c.dampening
    return (c.momentum, w, c.tiny), (c.lr,), carry


def momentum(p, g, s, h, r):
    mu, w, tiny = h
    (lr,) = r
    (b,) = s
    b = flush(mu * b + w * g, tiny)
    return lr * b, (b,)


def nesterov(p, g, s, h, r):
    mu, w, tiny = h
    (lr,) = r
    (b,) = s
    b = flush(mu * b + w * g, tiny)
    return lr * (g + mu * b), (b,)


# --- RMSProp: eps outside of the root (torch) or inside (Keras, optax): both are added, one of them is zero ---------


def rmsprop_fold(c, t, carry):
    """Plain and centered RMSProp."""
    return (c.alpha, 1.0 - c.alpha, 0.0, c.eps, c.tiny), (c.lr,), carry


def rmsprop(p, g, s, h, r):
    alpha, w, eps_in, eps, tiny = h
    (lr,) = r
    (v,) = s
    v = flush(alpha * v + w * g * g, tiny)
    return lr * g / (sqrt(v + eps_in) + eps), (v,)


def variance(v, a):
    """V - a*a, at least zero: rounding makes it negative for a constant gradient, and torch makes NaN of that."""
    x = v - a * a
    return x - x if x < -x else x


def rmsprop_centered(p, g, s, h, r):
    alpha, w, eps_in, eps, tiny = h
    (lr,) = r
    v, a = s
    v = flush(alpha * v + w * g * g, tiny)
    a = flush(alpha * a + w * g, tiny)
    return lr * g / (sqrt(variance(v, a) + eps_in) + eps), (v, a)


def rmsprop_momentum_fold(c, t, carry):
    """RMSProp with momentum, the rate outside of the buffer."""
    return (c.alpha, 1.0 - c.alpha, 0.0, c.eps, c.momentum, c.tiny), (c.lr,), carry


def rmsprop_momentum(p, g, s, h, r):
    alpha, w, eps_in, eps, mu, tiny = h
    (lr,) = r
    v, b = s
    v = flush(alpha * v + w * g * g, tiny)
    b = flush(mu * b + g / (sqrt(v + eps_in) + eps), tiny)
    return lr * b, (v, b)


def rmsprop_centered_momentum(p, g, s, h, r):
    alpha, w, eps_in, eps, mu, tiny = h
    (lr,) = r
    v, a, b = s
    v = flush(alpha * v + w * g * g, tiny)
    a = flush(alpha * a + w * g, tiny)
    b = flush(mu * b + g / (sqrt(variance(v, a) + eps_in) + eps), tiny)
    return lr * b, (v, a, b)


# --- AdaGrad, AdaDelta ---------------------------------------------------------------------------------------------


def adagrad_fold(c, t, carry):
    """AdaGrad with torch's decay of the rate, lr / (1 + (t - 1) lr_decay)."""
    return (0.0, c.eps, c.tiny), (c.lr / (1.0 + (t - 1.0) * c.lr_decay),), carry


def adagrad(p, g, s, h, r):
    eps_in, eps, tiny = h
    (lr,) = r
    (v,) = s
    v = flush(v + g * g, tiny)
    return lr * g / (sqrt(v + eps_in) + eps), (v,)


def adadelta_fold(c, t, carry):
    """AdaDelta."""
    return (c.rho, 1.0 - c.rho, c.eps, c.tiny), (c.lr,), carry


def adadelta(p, g, s, h, r):
    rho, w, eps, tiny = h
    (lr,) = r
    v, a = s
    v = flush(rho * v + w * g * g, tiny)
    x = sqrt(a + eps) * g / sqrt(v + eps)
    a = flush(rho * a + w * x * x, tiny)
    return lr * x, (v, a)


# --- Lion ----------------------------------------------------------------------------------------------------------


def lion_fold(c, t, carry):
    """Sign of an interpolated momentum."""
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, c.tiny), (c.lr,), carry


def lion(p, g, s, h, r):
    beta1, w1, beta2, w2, tiny = h
    (lr,) = r
    (m,) = s
    x = beta1 * m + w1 * g
    m = flush(beta2 * m + w2 * g, tiny)
    return (lr if x > -x else (-lr if x < -x else x)), (m,)  # the last x is 0 or NaN: sign(0) = 0, sign(NaN) = NaN


# --- Adam and its family -------------------------------------------------------------------------------------------


def adam_fold(c, t, carry):
    """Adam and AMSGrad: m / c1 over sqrt(v / c2) + eps."""
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - c.beta2**t
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / sqrt(c2), c.eps, c.tiny), (c.lr / c1,), carry


def adam(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny = h
    (step,) = r
    m, v = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)  # not g*g + beta2*(v - g*g): 550 ulp off in the first update
    return step * m / (sqrt(v) * v_scale + eps), (m, v)


def amsgrad(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny = h
    (step,) = r
    m, v, x = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)
    x = flush(maximum(x, v), tiny)
    return step * m / (sqrt(x) * v_scale + eps), (m, v, x)


def radam_fold(c, t, carry):
    """RAdam: rectified from rho > 5 on; before that the denominator is sqrt(v)*0 + 1."""
    decayed = c.beta2**t
    c1 = 1.0 - c.beta1**t
    c2 = 1.0 - decayed
    limit = 2.0 / (1.0 - c.beta2) - 1.0
    rho = limit - 2.0 * t * decayed / c2
    step, v_scale, eps = c.lr / c1, 0.0, 1.0
    if rho > 5.0:
        rectified = (rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho)
        step, v_scale, eps = step * sqrt(rectified * c2), 1.0, c.eps
    return (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, v_scale, eps, c.tiny), (step,), carry


def nadam_fold(c, t, carry):
    """NAdam: the weights of the gradient and of the momentum follow a schedule, whose product is carried."""
    (product,) = carry
    mu = c.beta1 * (1.0 - 0.5 * 0.96 ** (t * c.momentum_decay))
    ahead = c.beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * c.momentum_decay))
    product = product * mu
    c2 = 1.0 - c.beta2**t
    h = (c.beta1, 1.0 - c.beta1, c.beta2, 1.0 - c.beta2, 1.0 / sqrt(c2), c.eps, c.tiny)
    return h, (c.lr * (1.0 - mu) / (1.0 - product), c.lr * ahead / (1.0 - product * ahead)), (product,)


def nadam(p, g, s, h, r):
    beta1, w1, beta2, w2, v_scale, eps, tiny = h
    now, ahead = r
    m, v = s
    m = flush(beta1 * m + w1 * g, tiny)
    v = flush(beta2 * v + w2 * g * g, tiny)
    return (now * g + ahead * m) / (sqrt(v) * v_scale + eps), (m, v)


def adamax_fold(c, t, carry):
    """Adamax: eps inside of the maximum (torch, optax) or in the denominator (Keras)."""
    return (c.beta1, 1.0 - c.beta1, c.beta2, c.eps, 0.0, c.tiny), (c.lr / (1.0 - c.beta1**t),), carry


def adamax(p, g, s, h, r):
    beta1, w1, beta2, eps_in, eps, tiny = h
    (step,) = r
    m, u = s
    m = flush(beta1 * m + w1 * g, tiny)
    u = flush(maximum(beta2 * u, abs(g) + eps_in), tiny)
    return step * m / (u + eps), (m, u)


HELPERS = (flush, maximum, variance)  # what rules call; a driver makes them known to its compiler

# --- The registry --------------------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """A rule with its folds, and the names that state and hyperparameters have outside."""

    update: Callable[..., Any]
    folds: dict[str, Callable[..., Any]]  # by convention
    hyper: tuple[str, ...]  # what the fold reads, beside lr and tiny
    slots: tuple[str, ...]  # torch's names of the state arrays, in the order of s
    carry: tuple[float, ...] = ()  # initial values


RULES = {
    "sgd": Rule(sgd, {"torch": sgd_fold}, (), ()),
    "momentum": Rule(momentum, {"torch": momentum_fold}, ("momentum", "dampening"), ("momentum_buffer",)),
    "nesterov": Rule(nesterov, {"torch": momentum_fold}, ("momentum", "dampening"), ("momentum_buffer",)),
    "rmsprop": Rule(rmsprop, {"torch": rmsprop_fold}, ("alpha", "eps"), ("square_avg",)),
    "rmsprop_centered": Rule(rmsprop_centered, {"torch": rmsprop_fold}, ("alpha", "eps"), ("square_avg", "grad_avg")),
    "rmsprop_momentum": Rule(
        rmsprop_momentum,
        {"torch": rmsprop_momentum_fold},
        ("alpha", "eps", "momentum"),
        ("square_avg", "momentum_buffer"),
    ),
    "rmsprop_centered_momentum": Rule(
        rmsprop_centered_momentum,
        {"torch": rmsprop_momentum_fold},
        ("alpha", "eps", "momentum"),
        ("square_avg", "grad_avg", "momentum_buffer"),
    ),
    "adagrad": Rule(adagrad, {"torch": adagrad_fold}, ("lr_decay", "eps"), ("sum",)),
    "adadelta": Rule(adadelta, {"torch": adadelta_fold}, ("rho", "eps"), ("square_avg", "acc_delta")),
    "lion": Rule(lion, {"optax": lion_fold}, ("beta1", "beta2"), ("exp_avg",)),
    "adam": Rule(adam, {"torch": adam_fold}, ("beta1", "beta2", "eps"), ("exp_avg", "exp_avg_sq")),
    "amsgrad": Rule(
        amsgrad, {"torch": adam_fold}, ("beta1", "beta2", "eps"), ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    ),
    "radam": Rule(adam, {"torch": radam_fold}, ("beta1", "beta2", "eps"), ("exp_avg", "exp_avg_sq")),
    "nadam": Rule(
        nadam,
        {"torch": nadam_fold},
        ("beta1", "beta2", "eps", "momentum_decay"),
        ("exp_avg", "exp_avg_sq"),
        carry=(1.0,),
    ),
    "adamax": Rule(adamax, {"torch": adamax_fold}, ("beta1", "beta2", "eps"), ("exp_avg", "exp_inf")),
}
