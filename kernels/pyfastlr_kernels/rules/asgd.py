"""ASGD: gradient descent with a decaying rate, and a running average of the parameters."""

from typing import NamedTuple

from .contract import Rule, Slot, folds


class Averaging(NamedTuple):
    """Weight of the new parameter in the average. If copies is above zero, the average is the parameter itself."""

    mu: float
    copies: float


class Rates(NamedTuple):
    """The rate, and the rate times the decay."""

    eta: float
    decay: float


def asgd(p, g, s, h, r):
    (a,) = s
    q = p - (r.decay * p + r.eta * g)
    return q, (q if h.copies > -h.copies else a + h.mu * (q - a),)


def asgd_fold(c, t, carry):
    """ASGD: torch. The carry is the next update's rate, computed from this update's lr."""
    (carried,) = carry
    eta = c.lr if t == 1.0 else carried
    after = c.lr / (1.0 + c.lambd * c.lr * t) ** c.alpha
    averaged = t - 1.0 - c.t0
    h = Averaging(
        mu=1.0 / averaged if averaged > 1.0 else 1.0,
        copies=0.0 if averaged > 1.0 else 1.0,
    )
    return h, Rates(eta=eta, decay=c.lambd * eta), (after,)


RULES = {
    "asgd": Rule(asgd, folds(torch=asgd_fold), ("lambd", "alpha", "t0"), (Slot("ax"),), carry=(0.0,), sets=True),
}
