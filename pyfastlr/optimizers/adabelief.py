"""AdaBelief."""

from typing import final

from pyfastlr.engines.hyper import BELOW_ONE

from .base import Optimizer
from .fields import Number, Pair


@final
class AdaBelief(
    Optimizer,
    rules={"adabelief": {}},
    conventions={
        "optax": {
            "lr": None,
            "betas": (0.9, 0.999),
            "eps": 1e-16,
            "eps_root": 1e-16,
            "weight_decay": 0.0,
            "decay": "decoupled",
        },
    },
    peers={"optax": "adabelief"},
    formulas={"": {"optax": "v = β₂v + (1 - β₂)(g - m)² + ε', m/c₁ / (√(v/c₂) + ε)"}},
):
    r"""Adam whose second moment measures the gradient's distance from its running mean, not from zero.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, (g_t - m_t)^2 + \epsilon' \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable
        Required.
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-16
        :math:`\epsilon`, added to the root.
    eps_root : float >= 0, Schedule or callable, default 1e-16
        :math:`\epsilon'`, added to the second moment at every update, which therefore never falls below it.
    weight_decay : float >= 0, Schedule or callable, default 0 (decoupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AdaBelief(p, lr=0.1).step(np.array([1.0, -1e3]))
    >>> p.round(6)
    array([0.888889, 2.111111])

    Notes
    -----
    State: exp_avg, exp_avg_var. Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed
    gradients", 2020. Same as optax. The paper has eps 1e-8 and no eps_root. torch and Keras have no AdaBelief.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)
    eps_root: Number = Number(default=None)
