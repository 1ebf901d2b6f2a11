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
    r"""Gradient descent with a falling rate; state `ax` is the average of the parameters from update t0 on.

    .. math::
        p_t &= p_{t-1}\,(1 - \lambda \eta'_t) - \eta'_t\, g_t, \qquad
        \eta'_{t+1} = \frac{\eta_t}{(1 + \lambda\, \eta_t\, t)^\alpha}, \quad \eta'_1 = \eta_1 \\
        a_t &= a_{t-1} + \mu_t\, (p_t - a_{t-1}), \qquad \mu_t = \frac{1}{\max(1,\; t - 1 - t_0)}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-2
        :math:`\eta`. It makes the rate of the update after its own; of the first update it is the rate itself.
    lambd : float >= 0, Schedule or callable, default 1e-4
        :math:`\lambda`, a decay of the parameters and of the rate.
    alpha : float >= 0, Schedule or callable, default 0.75
        Power of the falling rate.
    t0 : float >= 0, Schedule or callable, default 1e6
        Updates before the average is taken. Until then `ax` is a copy of the parameters.
    weight_decay : default 0, coupled
        The only kind: `lambd` is the decoupled one.

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
    State: ax, and the rate of the next update, per array, in `state_dict()["carry"]`. Polyak and Juditsky,
    "Acceleration of stochastic approximation by averaging", 1992; the rates are those of Bottou, "Stochastic gradient
    descent tricks", 2012. As torch, which keeps the rate in float32 unless its default dtype is float64; here it is
    float64. Keras and optax have no ASGD.
    """

    __slots__ = ()

    lambd: Number = Number(default=None)
    alpha: Number = Number(default=None)
    t0: Number = Number(default=None)
