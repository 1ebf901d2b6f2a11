"""ASGD."""

from typing import final

from .base import Optimizer
from .fields import Number


@final
class ASGD(
    Optimizer,
    rules={"asgd": {}},
    conventions={
        "torch": {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6, "weight_decay": 0.0, "decay": "coupled"},
    },
    peers={"torch": "ASGD"},
    decays=("coupled",),
    demo_lr=0.5,
    formulas={"": {"torch": "p = p(1 - λη') - η'g, the next η' = η / (1 + λtη)^alpha"}},
):
    r"""Gradient descent with a decreasing rate. State `ax` averages the parameters from update t0 on.

    .. math::
        p_t &= p_{t-1}\,(1 - \lambda \eta'_t) - \eta'_t\, g_t, \qquad
        \eta'_{t+1} = \frac{\eta_t}{(1 + \lambda\, \eta_t\, t)^\alpha}, \quad \eta'_1 = \eta_1 \\
        a_t &= a_{t-1} + \mu_t\, (p_t - a_{t-1}), \qquad \mu_t = \frac{1}{\max(1,\; t - 1 - t_0)}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-2
        :math:`\eta`. Its value at each update determines the rate of the next one. The first update uses it directly.
    lambd : float >= 0, Schedule or callable, default 1e-4
        :math:`\lambda`, the decay of the parameters and of the rate.
    alpha : float >= 0, Schedule or callable, default 0.75
        Exponent in the decrease of the rate.
    t0 : float >= 0, Schedule or callable, default 1e6
        Number of updates before averaging starts. Until then, `ax` is a copy of the parameters.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)
        Only "coupled" is supported; `lambd` is the decoupled decay.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> opt = flr.ASGD(p, lr=0.5, lambd=0.0, t0=1)
    >>> for _ in range(4):
    ...     opt.step(np.ones(2))
    >>> p, opt.state["ax"]
    (array([-1.,  0.]), array([-0.75,  0.25]))

    Notes
    -----
    State: ax, and per array the rate of the next update, in `state_dict()["carry"]`. Polyak and Juditsky,
    "Acceleration of stochastic approximation by averaging", 1992; the rates are those of Bottou, "Stochastic gradient
    descent tricks", 2012. Same as torch, except that the rate is float64; torch keeps it in float32 unless its default
    dtype is float64. Keras and optax have no ASGD.
    """

    __slots__ = ()

    lambd: Number = Number(default=None)
    alpha: Number = Number(default=None)
    t0: Number = Number(default=None)
