r"""An optimizer on a quadratic with fixed denominators: a linear recursion, and the largest rate at which it is stable.

Every rule of the library whose step is proportional to the gradient is, for one element,

.. math::
    b &\leftarrow \mu b + w\, g \\
    p &\leftarrow (1 - \delta)\, p - \eta\, s\, (a\, g + c\, b) / P

with the denominator P from the state, the rate eta, and s the factor of the element's rate (lr_scale times the group's
rate divided by the base group's). With g = H p and H symmetric and positive semidefinite, this becomes unstable when
the recursion has the eigenvalue -1, that is, b = w H p / (1 + mu) and

.. math:: (2 - \delta)\, p = \eta\, D H p, \qquad D = \frac{s}{P} \Bigl( a + \frac{c\, w}{1 + \mu} \Bigr)

No other eigenvalue can reach the unit circle first: for z = exp(i phi), (z - 1 + delta) / D(z) has an imaginary part of
one sign for all elements, and the real number p' H p cannot balance that. So the recursion becomes unstable at the rate
2 divided by the largest eigenvalue of D^1/2 H D^1/2, whatever the mu, w, s and P of each element. Weight decay keeps
the same form: coupled decay is added to H, decoupled decay (delta = eta s lambda) to the matrix, and independent decay
divides D by 1 - lambda/2.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.engines.hyper import OFF
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules import Adjustable
from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.tables import COUPLED, DECOUPLED, INDEPENDENT, constants

from .lanczos import Vector


class Frozen(NamedTuple):
    """One tensor's recursion at rate 1. `p` and `moves` are a number or an array with one number per element."""

    p: Any = 1.0  # denominator
    now: float = 0.0  # a
    ahead: float = 0.0  # c
    mu: float = 0.0
    w: float = 0.0
    shift: float = 0.0  # added to the Hessian's diagonal
    moves: Any = 1.0  # zero where an element cannot move

    @property
    def factor(self) -> float:
        """Factor by which momentum multiplies the rate at the limit of stability: a + c w / (1 + mu)."""
        return self.now + self.ahead * self.w / (1.0 + self.mu)


class Recursion(NamedTuple):
    """Data for the bound of an optimizer.

    Attributes
    ----------
    root
        Root of D for each element, D relative to the base group's factor.
    shift, decay
        Terms added to the diagonal of the Hessian, and to the diagonal of the preconditioned Hessian.
    sign
        -1 if the optimizer ascends.
    base
        Recursion of the base group, or of the first group that moves.
    reason
        Why there is no bound; empty if there is one.
    """

    root: Vector
    shift: Vector
    decay: Vector
    sign: float
    base: Frozen
    reason: str = ""


# --- What each rule is, with its state held fixed ------------------------------------------------------------------
#
# h and r are the numbers of the rule's fold for rate 1, so they include conventions and bias corrections; c are the
# hyperparameters, t is the count of updates, s the state. An element whose second moment is zero never had a gradient.
# Its denominator would be eps alone, which would multiply a rounding error of its curvature by 1 / eps. It is left out.


def _sgd(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    return Frozen(now=r.lr)


def _momentum(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    return Frozen(ahead=h.w_out + r.lr_out, mu=h.mu, w=h.w_in + r.lr_in)


def _nesterov(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    return Frozen(now=r.lr, ahead=(h.w_out + r.lr_out) * h.mu, mu=h.mu, w=h.w_in + r.lr_in)


def _rmsprop(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    p, moves = np.sqrt(_variance(s) + h.eps_in) + h.eps, s["square_avg"] > 0
    if "momentum_buffer" in s:
        return Frozen(p, ahead=h.w_out + r.lr_out, mu=h.mu, w=h.w_in + r.lr_in, moves=moves)
    return Frozen(p, now=r.lr, moves=moves)


def _variance(s: Any) -> Vector:
    mean = s.get("grad_avg", 0.0)
    variance: Vector = np.maximum(s["square_avg"] - mean * mean, 0.0)
    return variance


def _adagrad(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    return Frozen(np.sqrt(s["sum"] + h.eps_in) + h.eps, now=r.lr, moves=s["sum"] > 0)


def _adadelta(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    p = np.sqrt(s["square_avg"] + h.eps) / np.sqrt(s["acc_delta"] + h.eps)
    return Frozen(p, now=r.lr, moves=s["square_avg"] > 0)


def _adam_like(slot: str) -> Callable[..., Frozen]:
    """Adam with this second moment. P includes the bias correction of the first moment."""

    def frozen(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
        p = (np.sqrt(s[slot]) * h.v_scale + h.eps) / r.step
        return Frozen(p, ahead=1.0, mu=h.beta1, w=h.w1, moves=s[slot] > 0)

    return frozen


def _nadam(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    p = np.sqrt(s["exp_avg_sq"]) * h.v_scale + h.eps
    return Frozen(p, now=r.now, ahead=r.ahead, mu=h.beta1, w=h.w1, moves=s["exp_avg_sq"] > 0)


def _adamax(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    return Frozen((s["exp_inf"] + h.eps) / r.step, ahead=1.0, mu=h.beta1, w=h.w1, moves=s["exp_inf"] > 0)


def _asgd(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    # The next rate is lr / (1 + lambd lr t)^alpha. Its ratio to lr is taken at the current lr, so lr is above the bound
    # exactly when the next rate is.
    return Frozen(now=(1.0 + c.lambd * c.lr * t) ** -c.alpha, shift=c.lambd)


def _ftrl(h: Any, r: Any, c: Any, t: float, s: Any) -> Frozen:
    # With n fixed: z += g + shrinkage p, p = -z / (P / lr + 2 l2), so 2 (P + 2 lr l2) p = lr (H + shrinkage) p.
    shrinkage = h.shrinkage * (1.0 - _decoupled(c) * c.lr - _independent(c))
    return Frozen(
        np.sqrt(s["accumulator"]) + h.beta,
        now=r.lr,
        shift=shrinkage - 4.0 * c.l2_regularization_strength,
        moves=1.0 if h.l1 == 0.0 else np.abs(s["linear"]) > h.l1,
    )


_FROZEN: dict[str, Callable[..., Frozen]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "rmsprop": _rmsprop,
    "rmsprop_centered": _rmsprop,
    "rmsprop_momentum": _rmsprop,
    "rmsprop_centered_momentum": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "adam": _adam_like("exp_avg_sq"),
    "radam": _adam_like("exp_avg_sq"),
    "yogi": _adam_like("exp_avg_sq"),
    "amsgrad": _adam_like("max_exp_avg_sq"),
    "adabelief": _adam_like("exp_avg_var"),
    "nadam": _nadam,
    "adamax": _adamax,
    "asgd": _asgd,
    "ftrl": _ftrl,
}
_BY_SIGN = "it moves by the gradient's sign, so the length of its step is not proportional to the gradient"
_WITHOUT_STATE = ("sgd", "momentum", "nesterov", "asgd")  # without denominators in the state


def _decoupled(c: Any) -> float:
    return float(c.weight_decay) if c.decay == DECOUPLED else 0.0


def _independent(c: Any) -> float:
    return float(c.weight_decay) if c.decay == INDEPENDENT else 0.0


# --- All tensors of an optimizer --------------------------------------------------------------------------------------


def recursion(optimizer: Optimizer) -> Recursion:
    """Recursion of an optimizer with its current state and hyperparameters."""
    sizes = optimizer._parameters.sizes
    sign = -1.0 if optimizer._given["maximize"] else 1.0
    plain = Recursion(np.ones(sum(sizes)), np.zeros(sum(sizes)), np.zeros(sum(sizes)), sign, Frozen(now=1.0))
    name = type(optimizer).__name__
    if optimizer.rule not in _FROZEN:
        return plain._replace(reason=f"{name} has no bound: {_BY_SIGN}")
    members, groups = optimizer._hyper.members, optimizer._groups
    ratios = group_ratios(optimizer)
    if ratios is None:
        return plain._replace(reason="the base group's rate is 0, so the other groups have no ratio to it")
    configs = [_config(optimizer, row) for row in range(len(groups))]
    parts: list[tuple[Frozen | None, Any, Any, int]] = []
    found: list[tuple[int, Frozen]] = []
    for k, row in enumerate(members):
        frozen = _tensor(optimizer, k, configs[row])
        scale = 0.0 if frozen is None else ratios[row] * _rate_factors(optimizer, k, row)
        if frozen is not None and not np.any(scale * frozen.moves):
            frozen = None
        parts.append((frozen, scale, configs[row], sizes[k]))
        if frozen is not None:
            found.append((row, frozen))
    if not found:
        waits = optimizer.rule not in _WITHOUT_STATE and not optimizer._state.counts["count"].any()
        why = f"{name} has made no update yet, so its state has no denominators" if waits else "nothing moves"
        return plain._replace(reason=why)
    base = next((x for row, x in found if row == 0), found[0][1])
    for _, x in found:
        if not 0.0 <= x.mu < 1.0:
            return plain._replace(reason=f"no rate is stable with a momentum of {x.mu:g}")
        if x.factor <= 0.0 or x.w < 0.0:
            return plain._replace(reason=f"the momentum ascends, because the weight of the gradient is {x.w:g}")
    if any(_independent(configs[row]) >= 2.0 for row, _ in found):
        return plain._replace(reason="no rate is stable with an independent weight decay of 2 or more")
    columns = [_columns(*part, base.factor) for part in parts]
    root, shift, decay = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Recursion(root, shift, decay, sign, base) if root.any() else plain._replace(reason="nothing moves")


def _columns(frozen: Frozen | None, scale: Any, config: Any, size: int, factor: float) -> tuple[Vector, Vector, Vector]:
    """Root of D, and the terms added inside and outside, for one tensor."""
    zeros = np.zeros(size)
    if frozen is None:
        return zeros, zeros, zeros
    moving = zeros + scale * frozen.moves
    below = zeros + frozen.p * (1.0 if config.sets else 1.0 - _independent(config) / 2.0)
    moves = (moving > 0) & (below > 0)  # the denominator is 0 if eps is 0 and the element had no gradient
    d = np.divide(moving * (frozen.factor / factor), below, out=np.zeros(size), where=moves)
    root = np.sqrt(np.where(np.isfinite(d), d, 0.0))
    shift = zeros + frozen.shift + (config.weight_decay if config.decay == COUPLED else 0.0)
    decay = zeros if config.sets else moving * _decoupled(config) / factor
    return root, shift, decay


def _tensor(optimizer: Optimizer, k: int, config: Any) -> Frozen | None:
    """Recursion of tensor k; None before the first update sets its denominators."""
    rule = RULES[optimizer.rule]
    counts = optimizer._state.counts
    count = int(counts["count"][k])
    if optimizer.rule in _WITHOUT_STATE:
        t = float(max(count, 2))  # momentum's first update is different: its gradient enters undampened
    elif count == 0:
        return None
    else:
        t = float(count)
    carry = tuple(counts["carry"][k][: len(rule.carry)])
    if optimizer.rule == "nadam":
        carry = _before(carry, config, optimizer._convention, t)
    at_one = SimpleNamespace(**{**vars(config), "lr": 1.0})
    h, r, _ = rule.folds[optimizer._convention](at_one, t, carry)
    state = {x: np.asarray(optimizer._state.tensors(x)[k], np.float64) for x in rule.state_names}
    return _FROZEN[optimizer.rule](h, r, config, float(count), state)


def _before(carry: Any, config: Any, convention: str, t: float) -> Any:
    """NAdam's product before update t, from the saved product after it."""
    if convention == "optax":
        return carry
    psi = config.momentum_decay if convention == "torch" else 1.0
    mu = config.beta1 * (1.0 - 0.5 * 0.96 ** (t * psi))
    return (carry[0] / mu if mu > 0.0 else 0.0,)


def _config(optimizer: Optimizer, row: int) -> SimpleNamespace:
    """Hyperparameters of a group for the next update, in the form that a fold reads."""
    hyper, rule = optimizer._hyper, RULES[optimizer.rule]
    values = dict.fromkeys(rule.hyper, 0.0) | constants(optimizer._parameters.dtype)
    for field in hyper.fields:
        if field not in OFF:  # what a step does besides the update
            values[field] = 1.0 if field == "lr_scale" else hyper.number(row, field)
    return SimpleNamespace(**values, sets=rule.sets)


def _rate_factors(optimizer: Optimizer, k: int, row: int) -> Any:
    """`lr_scale` of tensor k: a number, or one number per element."""
    rates = optimizer._hyper.current.rates[k]
    if rates is not None:
        return np.asarray(rates.array, np.float64).reshape(-1)
    return optimizer._hyper.number(row, "lr_scale")


def rate(optimizer: Optimizer, row: int) -> float:
    """Rate of a group for the next update, without a monitor's limit."""
    source = optimizer._hyper.current.source(row, "lr")
    if isinstance(source, Adjustable) and source.limit is not None:
        built = source.arguments["limit"]
        return float(min(source.scale * source.base(optimizer.steps), math.inf if built is None else built))
    return float(optimizer._hyper.number(row, "lr"))


def group_ratios(optimizer: Optimizer) -> list[float] | None:
    """Each group's rate relative to the base group's."""
    rates = [rate(optimizer, row) for row in range(len(optimizer._groups))]
    if all(x == rates[0] for x in rates):
        return [1.0] * len(rates)
    return None if rates[0] == 0.0 else [x / rates[0] for x in rates]
