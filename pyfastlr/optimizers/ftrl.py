"""FTRL."""

from typing import final

from pyfastlr.engines.hyper import ABOVE_ZERO, Range

from .base import Optimizer
from .fields import Number, argument
from .options import Options


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
    demo_lr="its rate must not be 0, where the demo's warm-up starts",
    formulas={"": {"keras": "z += g - (√n - √n₋₁)p/η, p = (clip(z, ±l1) - z) / ((√n + β)/η + 2 l2), n₀ = 0.1"}},
):
    r"""Follow the regularized leader: sparse weights, computed from the sum of all gradients so far.

    .. math::
        n_t &= n_{t-1} + g_t^2, \qquad
        z_t = z_{t-1} + g_t + 2 \lambda_s\, p_{t-1} - \frac{\sqrt{n_t} - \sqrt{n_{t-1}}}{\eta}\, p_{t-1} \\
        p_t &= \frac{\min(\max(z_t, -\lambda_1), \lambda_1) - z_t}{(\sqrt{n_t} + \beta) / \eta + 2 \lambda_2}

    A parameter is exactly zero while :math:`|z| \le \lambda_1`. Its initial value hardly matters: the first update
    computes it from the first gradient, and sets it to zero if that gradient is zero.

    Parameters
    ----------
    lr : float > 0, Schedule or callable, default 1e-3
        A rate of 0 is an error, because the formula divides by it. Where `lr_scale` is 0, parameter and state do not
        change.
    learning_rate_power : float, default -0.5
        Only -0.5, the square root, is supported.
    initial_accumulator_value : float >= 0, default 0.1
        :math:`n_0`.
    l1_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_1`.
    l2_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_2`.
    l2_shrinkage_regularization_strength : float >= 0, Schedule or callable, default 0
        :math:`\lambda_s`. The gradient in :math:`n` does not include it.
    beta : float >= 0, Schedule or callable, default 0
        :math:`\beta`.
    weight_decay : float >= 0, Schedule or callable, default 0 (decoupled)
        Applied to the parameter before the update, as in Keras.

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
    State: accumulator, linear. McMahan et al., "Ad click prediction: a view from the trenches", 2013. Same as Keras,
    which also has other powers. If `initial_accumulator_value` and l2 are 0, Keras gives NaN for a parameter that has
    had no gradient; here it keeps its value. torch and optax have no FTRL.
    """

    __slots__ = ()

    lr: Number = Number(default=None, kw_only=False, allowed=ABOVE_ZERO, text=Options.lr.text)
    learning_rate_power: float = argument(default=-0.5, allowed=Range(-0.5, -0.5, "-0.5, the only supported value"))
    initial_accumulator_value: float | None = argument(default=None, of_convention=True)
    l1_regularization_strength: Number = Number(default=None)
    l2_regularization_strength: Number = Number(default=None)
    l2_shrinkage_regularization_strength: Number = Number(default=None)
    beta: Number = Number(default=None)
