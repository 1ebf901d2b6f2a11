r"""The optimizers, from simple to complex. Each is a thin class over a rule in kernels/pyfastlr_kernels/rules.py.

All of them take these arguments, and only their own ones are described again in their classes:

params
    What is updated in place: one C-contiguous, writeable float32 or float64 ndarray of any shape, a dict or list of
    them (nested at will; names join by "."), a `Flat`, or arrays of other libraries in host memory or on a CUDA device
    (docs/cuda.md), by DLPack or ``__cuda_array_interface__``. Never copied.
lr : float >= 0, Schedule or callable
    Learning rate. A schedule or callable is asked once per update for its value at the 0-based index of the update.
weight_decay : float >= 0, Schedule or callable
decay : {"coupled", "decoupled", "independent"}, optional
    coupled: ``g += weight_decay * p``. decoupled: ``p *= 1 - lr * lr_scale * weight_decay`` with this update's rate,
    before the update. independent: ``p *= 1 - weight_decay``. None is the convention's.
convention : str, optional
    Whose formula and defaults: "torch", "keras" or "optax". None is torch's, or for Lion, which torch lacks, optax's.
    Under "optax" `lr` must be given. The classes below give torch's defaults; docs/conventions.md has all.
groups : list of dict, optional
    Own hyperparameters for some of the arrays: ``{"params": "head.*", "lr": 1e-4}``; "params" is a name, glob, index or
    a list of them; the first group that matches an array has it.
lr_scale : float >= 0, or array(s) like params
    Factor of the rate, for everything or element by element: the rate as a diagonal matrix. Such an array is read at
    every step, never copied.
maximize : bool
    Ascend instead.
threads : int, optional
    At most so many threads; None: PYFASTLR_NUM_THREADS, else the cores that the process may use. Results do not depend
    on it, bit for bit.
capturable : bool
    For parameters on a CUDA device: keep counts and hyperparameters there and evaluate schedules there, so that a CUDA
    graph can replay the step. Callables must be such that numba can compile them; a graph keeps those of its capture.

An argument that is None takes the convention's default. In the equations :math:`g` is the gradient with ``inv_scale``,
``maximize`` and coupled decay applied, :math:`t` the array's own count of updates from 1. State below the smallest
normal number of its dtype is set to zero. Non-finite gradients pass on to parameters and state, as in torch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, final

from ._hyper import boolean, number
from ._optimizer import Optimizer as Optimizer
from ._optimizer import Stats as Stats

__all__ = [
    "SGD", "AMSGrad", "AdaDelta", "AdaGrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "Optimizer", "RAdam",
    "RMSProp", "Stats",
]  # fmt: skip

Defaults = Mapping[str, Mapping[str, Any]]  # by convention


def _own(groups: Any, name: str) -> list[Any]:
    """Values that groups have for an argument; what is no list of dicts is refused later, with its name."""
    listed = groups if isinstance(groups, list | tuple) else ()
    return [group[name] for group in listed if isinstance(group, Mapping) and name in group]


def _uses_momentum(momentum: Any, groups: Any) -> bool:
    """Whether any group has or may get a momentum: then there is a buffer for it."""
    return any(callable(value) or number(value, "momentum") != 0.0 for value in (momentum, *_own(groups, "momentum")))


@final
class SGD(Optimizer):
    r"""Gradient descent, plain, with momentum, or with Nesterov's.

    .. math::
        b_t &= \mu\, b_{t-1} + (1 - \tau)\, g_t \qquad (b_1 = g_1) \\
        p_t &= p_{t-1} - \eta\, b_t \qquad \text{or, with nesterov,} \quad p_{t-1} - \eta\,(g_t + \mu\, b_t)

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    momentum : float >= 0, Schedule or callable, default 0
        :math:`\mu`. If it is 0 in all groups there is no buffer.
    dampening : float, default 0
        :math:`\tau`. The first gradient enters undampened.
    nesterov : bool
        Needs a momentum and no dampening.
    weight_decay : default 0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

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
    et al., "On the importance of initialization and momentum in deep learning", 2013. As torch; Keras has the rate
    inside of the buffer, which differs as soon as the rate changes; optax has no dampening.
    """

    _rules = ("sgd", "momentum", "nesterov")
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-2, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        momentum: Any = None,
        dampening: Any = None,
        nesterov: bool = False,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        given = {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay}
        own = {"momentum": momentum, "dampening": dampening}
        convention = self._choose_convention(convention)
        self._refuse_lacking(convention, own)
        default = self._defaults[convention]["momentum"]
        moving = _uses_momentum(default if momentum is None else momentum, groups)
        if boolean(nesterov, "nesterov") and not moving:
            raise ValueError("`nesterov` needs `momentum` > 0, got 0")
        if nesterov and (dampening or _own(groups, "dampening")):
            raise ValueError(f"`nesterov` needs `dampening` = 0, got {dampening!r}")
        if not moving and dampening is not None:
            number(0.0 if callable(dampening) else dampening, "dampening")
        super().__init__(
            params,
            ("nesterov" if nesterov else "momentum") if moving else "sgd",
            {**given, **own} if moving else given,
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class RMSProp(Optimizer):
    r"""Gradient over a running root mean square, plain, centered, or with momentum.

    .. math::
        v_t &= \alpha\, v_{t-1} + (1 - \alpha)\, g_t^2, \qquad a_t = \alpha\, a_{t-1} + (1 - \alpha)\, g_t \\
        d_t &= g_t / (\sqrt{v_t} + \epsilon), \qquad \text{centered:}\ g_t / (\sqrt{\max(v_t - a_t^2, 0)} + \epsilon) \\
        p_t &= p_{t-1} - \eta\, d_t, \qquad \text{with momentum:}\ p_{t-1} - \eta\, b_t,\ b_t = \mu\, b_{t-1} + d_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-2
    alpha : float in [0, 1], Schedule or callable, default 0.99
    eps : float >= 0, Schedule or callable, default 1e-8
        Outside of the root.
    momentum : float >= 0, Schedule or callable, default 0
        If it is 0 in all groups there is no buffer.
    centered : bool
    weight_decay : default 0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.RMSProp(p, lr=0.1).step(np.array([1.0, 100.0]))
    >>> p.round(6)
    array([0., 1.])

    Notes
    -----
    State: square_avg, grad_avg (centered), momentum_buffer (with momentum). Tieleman and Hinton, "Lecture 6.5 -
    RMSProp", 2012; centered: Graves, "Generating sequences with recurrent neural networks", 2013. As torch, except that
    the centered variance is at least zero (torch: NaN, when rounding makes it negative). Keras and optax have eps
    inside of the root and the rate inside of the buffer.
    """

    _rules = ("rmsprop", "rmsprop_centered", "rmsprop_momentum", "rmsprop_centered_momentum")
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "alpha": 0.9, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        alpha: Any = None,
        eps: Any = None,
        momentum: Any = None,
        centered: bool = False,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        given = {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay}
        own = {"alpha": alpha, "eps": eps}
        defaults = self._defaults[self._choose_convention(convention)]
        moving = _uses_momentum(defaults["momentum"] if momentum is None else momentum, groups)
        centered = boolean(centered, "centered")
        super().__init__(
            params,
            "rmsprop" + "_centered" * centered + "_momentum" * moving,
            {**given, **own, "momentum": momentum} if moving else {**given, **own},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class AdaGrad(Optimizer):
    r"""Gradient over the root of the sum of all squares so far.

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
        Outside of the root.
    weight_decay : default 0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

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
    2011. As torch. Keras and optax start the sum at 0.1 and have eps inside of the root.
    """

    _rules = ("adagrad",)
    _defaults: ClassVar[Defaults] = {
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
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        lr_decay: Any = None,
        initial_accumulator_value: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        defaults = self._defaults[self._choose_convention(convention)]
        start = initial_accumulator_value
        start = number(defaults["initial_accumulator_value"] if start is None else start, "initial_accumulator_value")
        super().__init__(
            params,
            "adagrad",
            {
                "lr": lr,
                "lr_scale": lr_scale,
                "weight_decay": weight_decay,
                "decay": decay,
                "lr_decay": lr_decay,
                "eps": eps,
            },
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
            initial={"sum": start},
        )


@final
class AdaDelta(Optimizer):
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
        Inside of both roots.
    weight_decay : default 0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AdaDelta(p).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.996838, 2.003162])

    Notes
    -----
    State: square_avg, acc_delta. Zeiler, "ADADELTA: an adaptive learning rate method", 2012. As torch; Keras has lr
    1e-3 and rho 0.95 as defaults, optax the same formula.
    """

    _rules = ("adadelta",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "decay": "coupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        rho: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "adadelta",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "rho": rho, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class Lion(Optimizer):
    r"""Sign of an interpolation between momentum and gradient.

    .. math::
        p_t &= p_{t-1} - \eta\, \mathrm{sign}(\beta_1 m_{t-1} + (1 - \beta_1)\, g_t), \qquad \mathrm{sign}(0) = 0 \\
        m_t &= \beta_2 m_{t-1} + (1 - \beta_2)\, g_t

    Parameters
    ----------
    lr : float >= 0, Schedule or callable
        Must be given. Three to ten times smaller than Adam's.
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.99)
    weight_decay : default 1e-3, decoupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0, 3.0])
    >>> flr.Lion(p, lr=0.1, weight_decay=0.0).step(np.array([5.0, -1e-9, 0.0]))
    >>> p
    array([0.9, 2.1, 3. ])

    Notes
    -----
    State: exp_avg. Chen et al., "Symbolic discovery of optimization algorithms", 2023. As optax. torch has no Lion;
    Keras the same formula with lr 1e-3.
    """

    _rules = ("lion",)
    _defaults: ClassVar[Defaults] = {
        "optax": {"lr": None, "betas": (0.9, 0.99), "weight_decay": 1e-3, "decay": "decoupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "lion",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class Adam(Optimizer):
    r"""Running mean of the gradient over the root of that of its square, both corrected for their start at zero.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : default 0.0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.Adam(p, lr=0.1).step(np.array([1e-3, -1e3]))
    >>> p.round(6)
    array([0.900001, 2.1     ])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Kingma and Ba, "Adam: a method for stochastic optimization", 2015. As torch and optax.
    Keras adds eps before it corrects the root (the paper's eps hat), which matters for gradients near eps.
    """

    _rules = ("adam",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "adam",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class AdamW(Optimizer):
    r"""Adam with decoupled weight decay.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2 \\ p_t &=
        p_{t-1}\,(1 - \eta \lambda) - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : default 1e-2, decoupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AdamW(p, lr=0.1, weight_decay=0.5).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.85, 2.  ])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019. As torch. optax
    has 1e-4 and Keras 4e-3 as default of weight_decay.
    """

    _rules = ("adam",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2, "decay": "decoupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 4e-3, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-4, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "adam",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class AMSGrad(Optimizer):
    r"""Adam whose denominator never shrinks.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad
        x_t = \max(x_{t-1}, v_t) \\
        p_t &= p_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{x_t / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 1e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : default 0.0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.AMSGrad(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_avg_sq, max_exp_avg_sq. Reddi, Kale and Kumar, "On the convergence of Adam and beyond", 2018. As
    torch and Keras: the maximum is of the uncorrected v; optax takes that of the corrected one.
    """

    _rules = ("amsgrad",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "amsgrad",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class NAdam(Optimizer):
    r"""Adam with Nesterov's momentum, whose weight follows a schedule of its own.

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
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    momentum_decay : float >= 0, Schedule or callable, default 4e-3
        :math:`\psi`.
    weight_decay : default 0.0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.NAdam(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.894355, 2.105645])

    Notes
    -----
    State: exp_avg, exp_avg_sq, and the product of the weights, per array, in `state_dict()["carry"]`. Dozat,
    "Incorporating Nesterov momentum into Adam", 2016. As torch. Keras has psi = 1; optax has no schedule of the weight.
    """

    _rules = ("nadam",)
    _defaults: ClassVar[Defaults] = {
        "torch": {
            "lr": 2e-3,
            "betas": (0.9, 0.999),
            "eps": 1e-8,
            "momentum_decay": 4e-3,
            "weight_decay": 0.0,
            "decay": "coupled",
        },
        "keras": {
            "lr": 1e-3,
            "betas": (0.9, 0.999),
            "eps": 1e-7,
            "weight_decay": 0.0,
            "decay": "decoupled",
        },
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        momentum_decay: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "nadam",
            {
                "lr": lr,
                "lr_scale": lr_scale,
                "weight_decay": weight_decay,
                "decay": decay,
                "betas": betas,
                "eps": eps,
                "momentum_decay": momentum_decay,
            },
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class Adamax(Optimizer):
    r"""Adam with the running maximum of the gradient's magnitude as denominator.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        p_t &= p_{t-1} - \frac{\eta}{1 - \beta_1^t}\, \frac{m_t}{u_t}

    Parameters
    ----------
    lr : float >= 0, Schedule or callable, default 2e-3
    betas : pair of float in [0, 1), Schedule or callable, default (0.9, 0.999)
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : default 0.0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.Adamax(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_inf. Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1. As torch
    and optax; Keras adds eps to the denominator instead.
    """

    _rules = ("adamax",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0, "decay": "decoupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "adamax",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )


@final
class RAdam(Optimizer):
    r"""Adam that waits with its denominator until the variance of that is tractable.

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
        With scheduled betas the corrections use the current ones.
    eps : float >= 0, Schedule or callable, default 1e-8
    weight_decay : default 0.0, coupled

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.array([1.0, 2.0])
    >>> flr.RAdam(p, lr=0.1).step(np.array([1.0, -1.0]))
    >>> p.round(6)
    array([0.9, 2.1])

    Notes
    -----
    State: exp_avg, exp_avg_sq. Liu et al., "On the variance of the adaptive learning rate and beyond", 2020. As torch.
    optax rectifies from rho >= 5 on and adds eps after the correction.
    """

    _rules = ("radam",)
    _defaults: ClassVar[Defaults] = {
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "coupled"},
        "optax": {"lr": None, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "decay": "decoupled"},
    }

    def __init__(
        self,
        params: Any,
        lr: Any = None,
        *,
        betas: Any = None,
        eps: Any = None,
        weight_decay: Any = None,
        decay: str | None = None,
        convention: str | None = None,
        groups: Any = None,
        lr_scale: Any = 1.0,
        maximize: bool = False,
        threads: int | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            "radam",
            {"lr": lr, "lr_scale": lr_scale, "weight_decay": weight_decay, "decay": decay, "betas": betas, "eps": eps},
            convention=convention,
            groups=groups,
            maximize=maximize,
            threads=threads,
            capturable=capturable,
        )
