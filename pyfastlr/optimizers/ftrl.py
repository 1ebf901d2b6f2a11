"""FTRL."""

from typing import final

from pyfastlr.engines.hyper import ABOVE_ZERO, Range

from .base import Optimizer
from .fields import Number, argument


@final
class FTRL(
    Optimizer,
    rules={"ftrl": {}},
    conventions={
        "keras": {
            "lr": 1e-3,
            "initial_accumulator_value": 0.1,
            "l1_regularization_strength": 0.0,
            "l2_regularization_strength": 0.0,
            "l2_shrinkage_regularization_strength": 0.0,
            "beta": 0.0,
            "weight_decay": 0.0,
            "decay": "decoupled",
        },
    },
    peers={"keras": "Ftrl"},
    demo_lr=None,
    formulas={"": {"keras": "z += g - (√n - √n₋₁)p/η, p = (clip(z, ±l1) - z) / ((√n + β)/η + 2 l2), n₀ = 0.1"}},
):
    r"""Follow the regularized leader: sparse weights, set by the sum of all gradients so far.

    .. math::
        n_t &= n_{t-1} + g_t^2, \qquad
        z_t = z_{t-1} + g_t + 2 \lambda_s\, p_{t-1} - \frac{\sqrt{n_t} - \sqrt{n_{t-1}}}{\eta}\, p_{t-1} \\
        p_t &= \frac{\min(\max(z_t, -\lambda_1), \lambda_1) - z_t}{(\sqrt{n_t} + \beta) / \eta + 2 \lambda_2}

    A parameter is exactly zero while :math:`|z| \le \lambda_1`. What it starts at hardly matters: its first update sets
    it by its first gradient, and to zero if that is zero.

    Parameters
    ----------
    lr : float > 0, Schedule or callable, default 1e-3
        A rate of 0 is an error, because the formula divides by it. Where `lr_scale` is 0, parameter and state stay.
    learning_rate_power : float, default -0.5
        Only -0.5, the root, is there.
    initial_accumulator_value : float >= 0, default 0.1
        :math:`n_0`.
    l1_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_1`.
    l2_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_2`.
    l2_shrinkage_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_s`. Not a part of the gradient in :math:`n`.
    beta : float >= 0, Schedule or callable, default 0
        :math:`\beta`.
    weight_decay : default 0, decoupled
        Of the parameter before the update, as in Keras.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([0.0, 0.0])
    >>> opt = flr.FTRL(p, lr=0.1, l1_regularization_strength=0.5)
    >>> opt.step(np.array([3.0, 0.1]))
    >>> p.round(6), opt.state["linear"]
    (array([-0.082874,  0.      ]), array([3. , 0.1]))

    Notes
    -----
    State: accumulator, linear. McMahan et al., "Ad click prediction: a view from the trenches", 2013. As Keras, which
    has other powers too. With an `initial_accumulator_value` of 0 and no l2 Keras makes NaN of a parameter that has had
    no gradient; here it keeps its value. torch and optax have no FTRL.
    """

    __slots__ = ()

    lr: Number = Number(default=None, kw_only=False, allowed=ABOVE_ZERO)
    learning_rate_power: float = argument(default=-0.5, allowed=Range(-0.5, -0.5, "-0.5, the only one that is there"))
    initial_accumulator_value: float | None = argument(default=None, of_convention=True)
    l1_regularization_strength: Number = Number(default=None)
    l2_regularization_strength: Number = Number(default=None)
    l2_shrinkage_regularization_strength: Number = Number(default=None)
    beta: Number = Number(default=None)
