"""The textbook formula of every optimizer in numpy, and the rounding error that the formula allows.

A formula is written once: ``formula(p, g, state, t, lr, convention, **hyperparameters) -> (p, state)`` on float64
arrays, with the library's own terms if ``convention`` makes a difference. ``t`` is the number of this tensor's update,
from 1; ``lr`` is a number or an array (the rate as a diagonal matrix); ``state`` maps torch's names to arrays. Run on
`Terms` instead of arrays, the same formula also gives the rounding error that its result may have.
"""

from math import prod

import numpy as np


class Terms(np.lib.mixins.NDArrayOperatorsMixin):
    """Array of values, each with the sum of the absolute values of its terms.

    ``terms / |value|`` is the condition number of the value to first order: 1 where nothing cancels, more where
    something does (RMSProp's centered variance, coupled decay against the gradient). So k ulp of rounding per term move
    the value by about ``k * ulp * terms``. A sum adds its terms; every other operation carries the excess
    ``terms - |value|`` through its derivative.
    """

    def __init__(self, value, terms=None):
        self.value = np.asarray(value, np.float64)
        self.terms = np.abs(self.value) if terms is None else terms

    def __array_ufunc__(self, ufunc, method, *inputs):
        operands = [x if isinstance(x, Terms) else Terms(x) for x in inputs]
        value = ufunc(*(x.value for x in operands))
        if value.dtype == bool:  # a comparison
            return value
        with np.errstate(divide="ignore", invalid="ignore"):
            return Terms(value, _TERMS[ufunc](np.abs(value), *operands))


def _excess(x):
    return x.terms - np.abs(x.value)


def _sum(_, a, b):
    return a.terms + b.terms


def _sign(_, x):
    # A sign is exact unless rounding can turn it: 2**-20 is 8 ulp of float32. There it may be anything from -1 to 1.
    return np.where(np.abs(x.value) < 2.0**-20 * x.terms, np.inf, 1.0)


_TERMS = {
    np.add: _sum,
    np.subtract: _sum,
    np.multiply: lambda y, a, b: y + np.abs(a.value) * _excess(b) + np.abs(b.value) * _excess(a),
    np.divide: lambda y, a, b: y + (_excess(a) + y * _excess(b)) / np.abs(b.value),
    np.sqrt: lambda y, x: y + np.where(_excess(x) > 0, _excess(x) / (2 * y), 0.0),
    np.maximum: lambda _, a, b: np.maximum(a.terms, b.terms),
    np.minimum: lambda _, a, b: np.maximum(a.terms, b.terms),
    np.absolute: lambda _, x: x.terms,
    np.sign: _sign,
}


def where(condition, a, b):
    """np.where, for arrays as for Terms."""
    if not isinstance(a, Terms) and not isinstance(b, Terms):
        return np.where(condition, a, b)
    a, b = (x if isinstance(x, Terms) else Terms(x) for x in (a, b))
    return Terms(np.where(condition, a.value, b.value), np.where(condition, a.terms, b.terms))


def update(formula, p, g, state, t, lr, weight_decay=0.0, decay="coupled", **hyperparameters):
    """One update with weight decay, added to the gradient or applied to the parameters before the update."""
    if decay == "coupled":
        g = g + weight_decay * p
    elif decay == "decoupled":
        p = p - lr * weight_decay * p
    elif decay == "independent":
        p = p - weight_decay * p
    else:
        raise ValueError(decay)
    return formula(p, g, state, t, lr, **hyperparameters)


def sgd(p, g, state, t, lr, convention, momentum, nesterov, dampening=0.0):
    if momentum == 0:
        return p - lr * g, {}
    if convention == "keras":
        buf = momentum * state["momentum_buffer"] + lr * g
        return p - (lr * g + momentum * buf if nesterov else buf), {"momentum_buffer": buf}
    buf = g if t == 1 else momentum * state["momentum_buffer"] + (1 - dampening) * g
    return p - lr * (g + momentum * buf if nesterov else buf), {"momentum_buffer": buf}


def rmsprop(p, g, state, t, lr, convention, alpha, eps, centered, momentum):
    new = {"square_avg": alpha * state["square_avg"] + (1 - alpha) * (g * g)}
    variance = new["square_avg"]
    if centered:
        avg = new["grad_avg"] = alpha * state["grad_avg"] + (1 - alpha) * g
        variance = np.maximum(variance - avg * avg, 0.0)
    direction = g / (np.sqrt(variance) + eps if convention == "torch" else np.sqrt(variance + eps))
    if momentum == 0:
        return p - lr * direction, new
    if convention == "torch":
        buf = new["momentum_buffer"] = momentum * state["momentum_buffer"] + direction
        return p - lr * buf, new
    buf = new["momentum_buffer"] = momentum * state["momentum_buffer"] + lr * direction
    return p - buf, new


def adagrad(p, g, state, t, lr, convention, eps, initial_accumulator_value, lr_decay=0.0):
    total = state["sum"] + g * g
    if convention == "torch":
        return p - lr / (1 + (t - 1) * lr_decay) * (g / (np.sqrt(total) + eps)), {"sum": total}
    return p - lr * (g / np.sqrt(total + eps)), {"sum": total}


def _moments(g, state, beta1, beta2):
    return beta1 * state["exp_avg"] + (1 - beta1) * g, beta2 * state["exp_avg_sq"] + (1 - beta2) * (g * g)


def adam(p, g, state, t, lr, convention, betas, eps):
    m, v = _moments(g, state, *betas)
    c1, c2 = 1 - betas[0] ** t, 1 - betas[1] ** t
    if convention == "keras":
        step = lr * c2**0.5 / c1 * m / (np.sqrt(v) + eps)
    else:
        step = lr * (m / c1) / (np.sqrt(v / c2) + eps)
    return p - step, {"exp_avg": m, "exp_avg_sq": v}


def amsgrad(p, g, state, t, lr, convention, betas, eps):
    m, v = _moments(g, state, *betas)
    c1, c2 = 1 - betas[0] ** t, 1 - betas[1] ** t
    largest = np.maximum(state["max_exp_avg_sq"], v / c2 if convention == "optax" else v)
    if convention == "keras":
        step = lr * c2**0.5 / c1 * m / (np.sqrt(largest) + eps)
    else:
        step = lr * (m / c1) / (np.sqrt(largest if convention == "optax" else largest / c2) + eps)
    return p - step, {"exp_avg": m, "exp_avg_sq": v, "max_exp_avg_sq": largest}


def nadam_mu(t, beta1, momentum_decay):
    """Scheduled momentum of update t in NAdam."""
    return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))


def nadam_product(t, convention, betas, momentum_decay=1.0, **_):
    """Product of the momenta of the updates up to t, 1 without a schedule. 0.9**10_000 is zero."""
    if convention == "optax":
        return 1.0
    return prod(nadam_mu(i, betas[0], momentum_decay) for i in range(1, min(t, 10_000) + 1))


def nadam_carry(t, lr, **hyper):
    """Value that NAdam carries over to update t."""
    return nadam_product(t - 1, **hyper)


def nadam(p, g, state, t, lr, convention, betas, eps, momentum_decay=1.0):
    m, v = _moments(g, state, *betas)
    if convention == "optax":
        m_bar = betas[0] * (m / (1 - betas[0] ** (t + 1))) + (1 - betas[0]) * (g / (1 - betas[0] ** t))
    else:
        mu, mu_next = (nadam_mu(i, betas[0], momentum_decay) for i in (t, t + 1))
        product = nadam_product(t, convention, betas, momentum_decay)
        m_bar = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
    return p - lr * m_bar / (np.sqrt(v / (1 - betas[1] ** t)) + eps), {"exp_avg": m, "exp_avg_sq": v}


def adamax(p, g, state, t, lr, convention, betas, eps):
    m = betas[0] * state["exp_avg"] + (1 - betas[0]) * g
    size = np.absolute(g) if convention == "keras" else np.absolute(g) + eps
    u = np.maximum(betas[1] * state["exp_inf"], size)
    return p - lr * (m / (1 - betas[0] ** t)) / (u + eps if convention == "keras" else u), {"exp_avg": m, "exp_inf": u}


def radam(p, g, state, t, lr, convention, betas, eps):
    m, v = _moments(g, state, *betas)
    m_hat, c2 = m / (1 - betas[0] ** t), 1 - betas[1] ** t
    rho_inf = 2 / (1 - betas[1]) - 1
    rho = rho_inf - 2 * t * betas[1] ** t / c2
    if rho > 5 or (rho == 5 and convention == "optax"):
        rectification = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
        if convention == "optax":
            m_hat = rectification * m_hat / (np.sqrt(v / c2) + eps)
        else:
            m_hat = rectification * m_hat * c2**0.5 / (np.sqrt(v) + eps)
    return p - lr * m_hat, {"exp_avg": m, "exp_avg_sq": v}


def adadelta(p, g, state, t, lr, convention, rho, eps):
    square_avg = rho * state["square_avg"] + (1 - rho) * (g * g)
    delta = np.sqrt(state["acc_delta"] + eps) / np.sqrt(square_avg + eps) * g
    acc_delta = rho * state["acc_delta"] + (1 - rho) * (delta * delta)
    return p - lr * delta, {"square_avg": square_avg, "acc_delta": acc_delta}


def lion(p, g, state, t, lr, convention, betas):
    direction = np.sign(betas[0] * state["exp_avg"] + (1 - betas[0]) * g)
    return p - lr * direction, {"exp_avg": betas[1] * state["exp_avg"] + (1 - betas[1]) * g}
