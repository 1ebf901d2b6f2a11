"""Adam and its family."""

from typing import final

from pyfastlr.engines.hyper import BELOW_ONE

from .base import Optimizer
from .fields import Number, Pair


@final
class Adam(
    Optimizer,
    rules={"adam": {}},
    conventions={
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "Adam", "keras": "Adam", "optax": "adam"},
    formulas={"": {"torch": "m/c₁ / (√(v/c₂) + ε)", "keras": "√c₂/c₁ · m / (√v + ε)", "optax": "m/c₁ / (√(v/c₂) + ε)"}},
):
    r"""First moment divided by the root of the second, both bias-corrected.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.Adam(p, lr=0.1).step(np.array([1e-3, -1e3]))
    >>> p.round(6)
    array([0.900001, 2.1     ])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Kingma and Ba, "Adam: a method for stochastic optimization", 2015. Same as torch and
    optax. Keras adds eps before it corrects the root (the paper's eps hat), which matters for gradients near eps.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)


@final
class AdamW(
    Optimizer,
    rules={"adam": {}},
    conventions={
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "decay": "decoupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 4e-3, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4, "decay": "decoupled"},
    },
    peers={"torch": "AdamW", "keras": "AdamW", "optax": "adamw"},
    formulas={"": {"torch": "m/c₁ / (√(v/c₂) + ε)", "keras": "√c₂/c₁ · m / (√v + ε)", "optax": "m/c₁ / (√(v/c₂) + ε)"}},
):
    r"""Adam with decoupled weight decay.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        p_t &= p_{t-1}\,(1 - \eta \lambda)
            - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : float >= 0, Schedule or callable, default 1e-2 (decoupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AdamW(p, lr=0.1, weight_decay=0.5).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.85, 2.  ])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019. Same as torch. The
    default weight_decay is 1e-4 in optax and 4e-3 in Keras, whose eps differs as in Adam.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)


@final
class AMSGrad(
    Optimizer,
    rules={"amsgrad": {}},
    conventions={
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "Adam(amsgrad=True)", "keras": "Adam(amsgrad=True)", "optax": "amsgrad"},
    formulas={
        "": {
            "torch": "x = max(x, v), as Adam",
            "keras": "x = max(x, v), as Adam",
            "optax": "x = max(x, v/c₂), m/c₁ / (√x + ε)",
        }
    },
):
    r"""Adam whose denominator never decreases.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad
        x_t = \max(x_{t-1}, v_t) \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{x_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AMSGrad(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_avg_sq, max_exp_avg_sq. Reddi, Kale and Kumar, "On the convergence of Adam and beyond", 2018.
    Same as torch and Keras: the maximum is over v before bias correction. optax takes it after bias correction.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)


@final
class NAdam(
    Optimizer,
    rules={"nadam": {}},
    conventions={
        "torch": {
            "lr": 2e-3,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "momentum_decay": 4e-3,
            "weight_decay": 0.0,
            "decay": "coupled",
        },
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "NAdam", "keras": "Nadam", "optax": "nadam"},
    formulas={
        "": {
            "torch": "μₜ = β₁(1 - 0.96^(ψt)/2), ψ = 0.004",
            "keras": "the same with ψ = 1",
            "optax": "μₜ = β₁: β₁m/(1 - β₁ᵗ⁺¹) + (1 - β₁)g/c₁",
        }
    },
):
    r"""Adam with Nesterov momentum.

    .. math::
        \mu_t &= \beta_1 (1 - \tfrac12\, 0.96^{t \psi}), \qquad
        m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        p_t &= p_{t-1} - \eta\, \Bigl( \frac{1 - \mu_t}{1 - \prod_{i \le t} \mu_i}\, g_t
            + \frac{\mu_{t+1}}{1 - \prod_{i \le t+1} \mu_i}\, m_t \Bigr) \Big/
            \bigl( \sqrt{v_t / (1 - \beta_2^t)} + \epsilon \bigr)

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 2e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    momentum_decay : float >= 0, Schedule or callable, default 4e-3
        :math:`\psi`.
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.NAdam(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.894355, 2.105645])

    Notes
    -----
    State: exp_avg, exp_avg_sq, and per array the product of the :math:`\mu_i`, in `state_dict()["carry"]`. Dozat,
    "Incorporating Nesterov momentum into Adam", 2016. Same as torch. Keras has psi = 1. In optax, :math:`\mu` is
    constant.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)
    momentum_decay: Number = Number(default=None)


@final
class Adamax(
    Optimizer,
    rules={"adamax": {}},
    conventions={
        "torch": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "Adamax", "keras": "Adamax", "optax": "adamax"},
    formulas={
        "": {
            "torch": "u = max(β₂u, |g| + ε), m/c₁ / u",
            "keras": "u = max(β₂u, |g|), m/c₁ / (u + ε)",
            "optax": "as torch",
        }
    },
):
    r"""Adam whose denominator is the running maximum of the gradient's magnitude.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        p_t &= p_{t-1} - \frac{\eta}{1 - \beta_1^t}\, \frac{m_t}{u_t}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 2e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.Adamax(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_inf. Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1. Same as
    torch and optax. Keras adds eps to the denominator instead.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)


@final
class RAdam(
    Optimizer,
    rules={"radam": {}},
    conventions={
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    },
    peers={"torch": "RAdam", "optax": "radam"},
    formulas={
        "": {
            "torch": "if rho > 5: times √c₂ / (√v + ε), rectified",
            "optax": "if rho >= 5: divided by √(v/c₂) + ε, rectified",
        }
    },
):
    r"""Adam that leaves out the adaptive denominator until its variance can be estimated.

    .. math::
        \rho_\infty &= \tfrac{2}{1 - \beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \tfrac{2 t \beta_2^t}{1 - \beta_2^t}, \qquad
        \hat m_t = m_t / (1 - \beta_1^t) \\
        p_t &= p_{t-1} - \eta\, \hat m_t\, \sqrt{\tfrac{(\rho_t - 4)(\rho_t - 2)\, \rho_\infty}
            {(\rho_\infty - 4)(\rho_\infty - 2)\, \rho_t}}\, \frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
            \quad \text{if } \rho_t > 5, \text{ else } p_{t-1} - \eta\, \hat m_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        If they are scheduled, bias correction uses the current values.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : float >= 0, Schedule or callable, default 0 (coupled)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.RAdam(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020. Same as
    torch. optax rectifies if rho >= 5 and adds eps after bias correction.
    """

    __slots__ = ()

    betas: Pair = Pair(default=None, allowed=BELOW_ONE)
    eps: Number = Number(default=None)
