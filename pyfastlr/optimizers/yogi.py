"""Yogi."""

from typing import final

from pyfastlr.engines.hyper import BELOW_ONE

from .base import Optimizer
from .fields import Number, Pair


@final
class Yogi(
    Optimizer,
    rules={"yogi": {}},
    conventions={
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-3, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"optax": "yogi"},
    formulas={"": {"optax": "v -= (1 - β₂) sign(v - g²) g², m₀ = v₀ = 1e-6, m/c₁ / (√(v/c₂) + ε)"}},
):
    r"""Adam whose second moment moves by a fixed multiple of the squared gradient, so it shrinks slowly.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad
        v_t = v_{t-1} - (1 - \beta_2)\, \mathrm{sign}(v_{t-1} - g_t^2)\, g_t^2, \qquad m_0 = v_0 = 10^{-6} \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable
        Required.
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-3
    weight_decay : float >= 0, Schedule or callable, default 0 (decoupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.Yogi(p, lr=0.1).step(np.array([1.0, -1e3]))
    >>> p.round(6)
    array([0.900149, 2.1     ])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Zaheer et al., "Adaptive methods for nonconvex optimization", 2018. Same as optax, which
    starts both moments at 1e-6, so that a parameter without gradients moves a little at first, and corrects their bias
    as if they had started at zero. torch and Keras have no Yogi.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)
