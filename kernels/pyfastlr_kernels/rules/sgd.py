"""Gradient descent: plain, with momentum, with Nesterov's momentum."""

from typing import NamedTuple

from .contract import MOMENT, Rule, Slot, flush, folds


class Nothing(NamedTuple):
    """No numbers."""


class Rate(NamedTuple):
    """The learning rate."""

    lr: float


def sgd(p, g, s, h, r):
    return r.lr * g, s


def sgd_fold(c, t, carry):
    """Plain gradient descent: all conventions."""
    return Nothing(), Rate(lr=c.lr), carry


# The rate is outside the momentum buffer (torch, optax's sgd: b = mu b + g, d = lr b) or inside it (Keras, optax's
# rmsprop: b = mu b + lr g, d = b). The two are equal only while the rate is constant. One rule has both: ``w_in +
# lr_in`` multiplies the gradient on its way in, ``w_out + lr_out`` the buffer on its way out; one of each pair is zero.


class Momentum(NamedTuple):
    """Numbers of momentum that do not depend on the rate."""

    mu: float
    w_in: float
    w_out: float
    tiny: float


class MomentumRates(NamedTuple):
    """Rates applied to the gradient itself (Nesterov), on the way into the buffer, and out of it."""

    lr: float
    lr_in: float
    lr_out: float


def momentum(p, g, s, h, r):
    (b,) = s
    b = flush(h.mu * b + (h.w_in + r.lr_in) * g, h.tiny)
    return (h.w_out + r.lr_out) * b, (b,)


def nesterov(p, g, s, h, r):
    (b,) = s
    b = flush(h.mu * b + (h.w_in + r.lr_in) * g, h.tiny)
    return r.lr * g + (h.w_out + r.lr_out) * (h.mu * b), (b,)


def momentum_fold(c, t, carry):
    """Momentum, rate outside the buffer: torch, optax. The first gradient is not dampened."""
    w = 1.0 if t == 1.0 else 1.0 - c.dampening
    return (
        Momentum(mu=c.momentum, w_in=w, w_out=0.0, tiny=c.tiny),
        MomentumRates(lr=c.lr, lr_in=0.0, lr_out=c.lr),
        carry,
    )


def momentum_inside_fold(c, t, carry):
    """Momentum, rate inside the buffer: Keras."""
    h = Momentum(mu=c.momentum, w_in=0.0, w_out=1.0, tiny=c.tiny)
    return h, MomentumRates(lr=c.lr, lr_in=c.lr, lr_out=0.0), carry


_FOLDS = folds(torch=momentum_fold, keras=momentum_inside_fold, optax=momentum_fold)
_HYPER = ("momentum", "dampening")
_BUFFER = (Slot("momentum_buffer", packed=MOMENT),)

RULES = {
    "sgd": Rule(sgd, folds(torch=sgd_fold, keras=sgd_fold, optax=sgd_fold), ()),
    "momentum": Rule(momentum, _FOLDS, _HYPER, _BUFFER),
    "nesterov": Rule(nesterov, _FOLDS, _HYPER, _BUFFER),
}
