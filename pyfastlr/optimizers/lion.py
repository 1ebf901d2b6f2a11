"""Lion."""

from typing import final

from pyfastlr.engines.hyper import ABOVE_ZERO_BELOW_ONE, BELOW_ONE

from .base import Optimizer
from .fields import Pair


@final
class Lion(
    Optimizer,
    rules={"lion": {}},
    conventions={
        "optax": {"lr": None, "betas": (0.9, 0.99), "weight_decay": 1e-3, "decay": "decoupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"optax": "lion", "keras": "Lion"},
    limits={"keras": {"beta1": ABOVE_ZERO_BELOW_ONE}},
    formulas={"": {"keras": "sign(β₁m + (1 - β₁)g), sign(0) = 0", "optax": "sign(β₁m + (1 - β₁)g), sign(0) = 0"}},
):
    r"""Sign of an interpolation between momentum and gradient.

    .. math::
        p_t &= p_{t-1} - \eta\, \mathrm{sign}(\beta_1 m_{t-1} + (1 - \beta_1)\, g_t), \qquad \mathrm{sign}(0) = 0 \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2)\, g_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable
        Required. Use a rate three to ten times smaller than for Adam.
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.99)
    weight_decay : float >= 0, Schedule or callable, default 1e-3 (decoupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0, 3.0])
    >>> flr.Lion(p, lr=0.1, weight_decay=0.0).step(np.array([5.0, -1e-9, 0.0]))
    >>> p
    array([0.9, 2.1, 3. ])

    Notes
    -----
    State: exp_avg. Chen et al., "Symbolic discovery of optimization algorithms", 2023. Same as optax. Keras has the
    same formula, with a default lr of 1e-3. torch has no Lion.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
