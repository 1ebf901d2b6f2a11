"""Rprop: each element has its own step size, and only the gradient's sign is used."""

from math import inf
from typing import NamedTuple

from .contract import Rule, Slot, folds


class Rprop(NamedTuple):
    """Numbers of Rprop.

    The step size is between low and high, or between rest_low and rest_high if g*b is zero. If late is above zero, the
    parameter moves one update later.
    """

    eta_minus: float
    eta_plus: float
    low: float
    high: float
    rest_low: float
    rest_high: float
    late: float


class Factor(NamedTuple):
    """Factor of the step: 1, so that lr_scale can scale it."""

    factor: float


def clamp(x, low, high):
    """Limit x to [low, high]. NaN stays NaN; if low > high, the result is high."""
    x = low if x < low else x
    return high if x > high else x


def rprop(p, g, s, h, r):
    b, x = s  # b is the previous gradient (torch) or the previous move (optax)
    y = g * b  # underflows to zero for tiny numbers, as in torch
    up, down = clamp(x * h.eta_plus, h.low, h.high), clamp(x * h.eta_minus, h.low, h.high)
    # The last y is 0 or NaN, and so are the last g and y below.
    x = up if y > -y else (down if y < -y else clamp(x, h.rest_low, h.rest_high) + y)
    zero = x - x
    move = zero if y < -y else (x if g > -g else (-x if g < -g else g + y))
    before = b if y > -y else (zero if y < -y else b + y)
    d = r.factor * (before if h.late > -h.late else move)
    return d, ((move if h.late > -h.late else (zero if y < -y else g)), x)


def rprop_fold(c, t, carry):
    """Rprop: torch."""
    low, high = c.step_size_min, c.step_size_max
    h = Rprop(eta_minus=c.eta_minus, eta_plus=c.eta_plus, low=low, high=high, rest_low=low, rest_high=high, late=0.0)
    return h, Factor(factor=1.0), carry


def rprop_late_fold(c, t, carry):
    """Rprop that makes each move one update later, and limits a step size only when it changes: optax."""
    h = Rprop(
        eta_minus=c.eta_minus,
        eta_plus=c.eta_plus,
        low=c.step_size_min,
        high=c.step_size_max,
        rest_low=0.0,
        rest_high=inf,
        late=1.0,
    )
    return h, Factor(factor=1.0), carry


RULES = {
    "rprop": Rule(
        rprop,
        folds(torch=rprop_fold, optax=rprop_late_fold),
        ("eta_minus", "eta_plus", "step_size_min", "step_size_max"),
        (Slot("prev"), Slot("step_size", initial="lr")),
        helpers=(clamp,),
    ),
}
