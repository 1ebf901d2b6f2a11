"""AdaGrad and AdaDelta."""

from typing import final

from pyfastlr.engines.hyper import UP_TO_ONE

from .base import Optimizer
from .fields import Number, argument


@final
class AdaGrad(
    Optimizer,
    rules={"adagrad": {}},
    conventions={
        "torch": {
            "lr": 1e-2,
            "lr_decay": 0.0,
            "initial_accumulator_value": 0.0,
            "eps": 1e-10,
            "weight_decay": 0.0,
            "decay": "coupled",
        },
        "keras": {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "initial_accumulator_value": 0.1, "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "Adagrad", "keras": "Adagrad", "optax": "adagrad"},
    formulas={
        "": {"torch": "g / (√s + ε), s₀ = 0", "keras": "g / √(s + ε), s₀ = 0.1", "optax": "g / √(s + ε), s₀ = 0.1"}
    },
):
    r"""Gradient divided by the root of the sum of all squared gradients so far.

    .. math::
        s_t &= s_{t-1} + g_t^2 \\
        p_t &= p_{t-1} - \frac{\eta}{1 + (t - 1)\, \lambda}\, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-2
    lr_decay : float >= 0, Schedule or callable, default 0
        :math:`\lambda`.
    initial_accumulator_value : float >= 0, default 0
        :math:`s_0`.
    eps : float >= 0, Schedule or callable, default 1e-10
        Outside the root.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> opt = flr.AdaGrad(p, lr=0.5)
    >>> opt.step(np.array([3.0, 0.0]))
    >>> p.round(6)
    array([0.5, 2. ])

    Notes
    -----
    State: sum. Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    2011. Same as torch. Keras and optax start the sum at 0.1 and have eps inside the root.
    """

    __slots__ = ()

    lr_decay: Number = Number(default=None)
    initial_accumulator_value: float | None = argument(default=None, of_convention=True)
    eps: Number = Number(default=None)


@final
class AdaDelta(
    Optimizer,
    rules={"adadelta": {}},
    conventions={
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "decay": "coupled"},
    },
    peers={"torch": "Adadelta", "keras": "Adadelta", "optax": "adadelta"},
    formulas={
        "": {"torch": "√(a + ε) / √(v + ε) · g", "keras": "√(a + ε) / √(v + ε) · g", "optax": "√(a + ε) / √(v + ε) · g"}
    },
):
    r"""Gradient scaled by the ratio of two running root mean squares: of past updates and of gradients.

    .. math::
        v_t &= \rho\, v_{t-1} + (1 - \rho)\, g_t^2 \\
        x_t &= \frac{\sqrt{a_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t, \qquad
        a_t = \rho\, a_{t-1} + (1 - \rho)\, x_t^2 \\
        p_t &= p_{t-1} - \eta\, x_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1.0
    rho : float in [0, 1], Schedule or callable, default 0.9
    eps : float >= 0, Schedule or callable, default 1e-6
        Inside both roots.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AdaDelta(p).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.996838, 2.003162])

    Notes
    -----
    State: square_avg, acc_delta. Zeiler, "ADADELTA: an adaptive learning rate method", 2012. Same as torch and optax.
    Keras has the same formula; its defaults are lr 1e-3 and rho 0.95.
    """

    __slots__ = ()

    rho: Number = Number(default=None, allowed=UP_TO_ONE)
    eps: Number = Number(default=None)
