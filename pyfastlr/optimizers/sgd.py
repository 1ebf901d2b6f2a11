"""Gradient descent, plain and with momentum."""

from collections.abc import Mapping
from typing import Any, final

from pyfastlr.engines.hyper import FINITE, Range

from .base import Optimizer, sources, uses_momentum, without
from .fields import Number, argument

_WHY = "it was built without momentum, so it has no buffer; give the base or a group a `momentum` when you build it"


@final
class SGD(
    Optimizer,
    rules={"sgd": {}, "momentum": {"momentum": 0.9}, "nesterov": {"momentum": 0.9, "nesterov": True}},
    conventions={
        "torch": {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-2, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "SGD", "keras": "SGD", "optax": "sgd"},
    limits={"keras": {"momentum": Range(0.0, 1.0, "a number in [0, 1]")}},
    missing={"momentum": _WHY, "dampening": _WHY},
    formulas={
        "": {"torch": "p -= ηg", "keras": "p -= ηg", "optax": "p -= ηg"},
        "momentum": {
            "torch": "b = μb + g, p -= ηb: rate outside; dampening from the second g on",
            "keras": "b = μb + ηg, p -= b: rate inside",
            "optax": "b = μb + g, p -= ηb: rate outside",
        },
        "nesterov": {
            "torch": "p -= η(g + μb), b as above",
            "keras": "p -= ηg + μb, b as above",
            "optax": "p -= η(g + μb), b as above",
        },
    },
):
    r"""Gradient descent: plain, with momentum, or with Nesterov momentum.

    .. math::
        b_t &= \mu\, b_{t-1} + (1 - \tau)\, g_t \qquad (b_1 = g_1) \\
        p_t &= p_{t-1} - \eta\, b_t \qquad \text{or, with nesterov,} \quad p_{t-1} - \eta\,(g_t + \mu\, b_t)

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    momentum : float >= 0, Schedule or callable, default 0
        :math:`\mu`. If it is 0 in all groups, there is no momentum buffer.
    dampening : float, default 0
        :math:`\tau`. Does not apply to the first gradient.
    nesterov : bool, default False
        Requires a dampening of 0, and in torch's convention a momentum. In the conventions of Keras and optax, it is
        plain gradient descent without momentum, as in those libraries.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> opt = flr.SGD(p, lr=0.1, momentum=0.9)
    >>> opt.step(np.array([1.0, 1.0]))
    >>> opt.step(np.array([1.0, 1.0]))
    >>> p
    array([0.71, 1.71])

    Notes
    -----
    State: momentum_buffer. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964; Nesterov,
    "A method for solving the convex programming problem with convergence rate O(1/k^2)", 1983; in this form Sutskever
    et al., "On the importance of initialization and momentum in deep learning", 2013. Same as torch. Keras multiplies
    by the rate inside the buffer, which differs as soon as the rate changes. optax has no dampening.
    """

    __slots__ = ()

    momentum: Number = Number(default=None)
    dampening: Number = Number(default=None, allowed=FINITE)
    nesterov: bool = argument(default=False)

    def _choose_rule(
        self, convention: str, given: Mapping[str, Any], values: dict[str, Any], groups: Any
    ) -> tuple[str, dict[str, Any], Any]:
        has_buffer = uses_momentum(self.fields["momentum"], values, groups)
        dampening = sources(self.fields["dampening"], values, groups)
        if given["nesterov"]:
            if not has_buffer and convention == "torch":
                raise ValueError("`nesterov` needs `momentum` > 0, got 0")
            if any(x != 0.0 for x in dampening):
                raise ValueError(f"`nesterov` needs `dampening` = 0, got {next(x for x in dampening if x != 0.0)!r}")
        if not has_buffer:
            return "sgd", *without(("momentum", "dampening"), values, groups)
        return "nesterov" if given["nesterov"] else "momentum", values, groups
