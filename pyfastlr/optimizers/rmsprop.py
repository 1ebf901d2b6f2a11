"""RMSProp."""

from collections.abc import Mapping
from typing import Any, final

from pyfastlr.engines.hyper import UP_TO_ONE

from .base import Optimizer, uses_momentum, without
from .fields import Number, argument

_WHY = "it was built without momentum, so it has no buffer; give the base or a group a `momentum` when you build it"


@final
class RMSProp(
    Optimizer,
    rules={
        "rmsprop": {},
        "rmsprop_centered": {"centered": True},
        "rmsprop_momentum": {"momentum": 0.9},
        "rmsprop_centered_momentum": {"centered": True, "momentum": 0.9},
    },
    conventions={
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "RMSprop", "keras": "RMSprop", "optax": "rmsprop"},
    missing={"momentum": _WHY},
    formulas={
        "": {"torch": "g / (√v + ε)", "keras": "g / √(v + ε)", "optax": "g / √(v + ε)"},
        "centered": {"torch": "g / (√(v - a²) + ε)", "keras": "g / √(v - a² + ε)", "optax": "g / √(v - a² + ε)"},
        "momentum": {
            "torch": "rate outside the buffer",
            "keras": "rate inside the buffer",
            "optax": "rate inside the buffer",
        },
    },
):
    r"""Gradient divided by the root of a running mean of its square: plain, centered, or with momentum.

    .. math::
        v_t &= \alpha\, v_{t-1} + (1 - \alpha)\, g_t^2, \qquad a_t = \alpha\, a_{t-1} + (1 - \alpha)\, g_t \\
        d_t &= g_t / (\sqrt{v_t} + \epsilon), \qquad \text{centered:}\ g_t / (\sqrt{\max(v_t - a_t^2, 0)} + \epsilon) \\
        p_t &= p_{t-1} - \eta\, d_t, \qquad \text{with momentum:}\ p_{t-1} - \eta\, b_t,\ b_t = \mu\, b_{t-1} + d_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-2
    alpha : float in [0, 1], Schedule or callable, default 0.99
    eps : float >= 0, Schedule or callable, default 1e-8
        Outside the root.
    momentum : float >= 0, Schedule or callable, default 0
        If it is 0 in all groups, there is no momentum buffer.
    centered : bool, default False
        Whether to divide by the root of the variance :math:`v_t - a_t^2` instead of the mean square.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.RMSProp(p, lr=0.1).step(np.array([1.0, 100.0]))
    >>> p.round(6)
    array([0., 1.])

    Notes
    -----
    State: square_avg, grad_avg (centered), momentum_buffer (with momentum). Tieleman and Hinton, "Lecture 6.5 -
    RMSProp", 2012; centered: Graves, "Generating sequences with recurrent neural networks", 2013. Same as torch, except
    that the centered variance is at least zero (torch gives NaN if rounding makes it negative). Keras and optax have
    eps inside the root and the rate inside the momentum buffer.
    """

    __slots__ = ()

    alpha: Number = Number(default=None, allowed=UP_TO_ONE)
    eps: Number = Number(default=None)
    momentum: Number = Number(default=None)
    centered: bool = argument(default=False)

    def _choose_rule(
        self, convention: str, given: Mapping[str, Any], values: dict[str, Any], groups: Any
    ) -> tuple[str, dict[str, Any], Any]:
        rule = "rmsprop_centered" if given["centered"] else "rmsprop"
        if uses_momentum(self.fields["momentum"], values, groups):
            return f"{rule}_momentum", values, groups
        return rule, *without(("momentum",), values, groups)
