r"""Optimizer steps for your own `@njit` code: the classes' updates, bit for bit, inside of a compiled loop.

Each function updates `p` and `state` in place. It is a numba dispatcher: call it from `@njit` code with any flags,
where it becomes part of your function, or from Python. It compiles at its first call; docs/njit.md has more. All take
these arguments, and only their own ones are described again:

p : float32[...] or float64[...]
    Parameters, C-contiguous, of any number of dimensions.
g : like p
    Gradient.
state : tuple of arrays like p
    In the order of ``opt.state``, zeros at first; `nadam` has one more at the end.
n : int >= 0
    Index of the update, from 0: a schedule's ``s.compiled(n)`` is the rate that goes with it.
lr : float
    Learning rate.
weight_decay, lr_scale : float
decay, convention : str
    As in the class. Literals: they choose the code. (From Python such a call is compiled against its literal each time,
    which takes 10 ms; without one it takes 1 us.)

None is the convention's default, as in the classes. Numbers are used as they come; the classes check their ranges. A
wrong dtype, number of dimensions, layout or tuple is a TypeError when the call is compiled, a wrong shape a ValueError
when it runs. Nothing is changed then. Arrays that overlap partly are the caller's fault, and not noticed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._njit import offered, pair, step

__all__ = [
    "adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "lion", "momentum", "nadam", "nesterov", "radam",
    "rmsprop", "rmsprop_centered", "rmsprop_centered_momentum", "rmsprop_momentum", "sgd",
]  # fmt: skip

Array = np.ndarray[Any, Any]
State = tuple[Array, ...]
Number = float | None
Betas = tuple[float, float] | None
Word = str | None


@offered
def sgd(p: Array, g: Array, state: State, n: int, lr: float, weight_decay: Number = None, decay: Word = None,
        convention: Word = None, lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient descent: `pyfastlr.SGD` without momentum.

    Parameters
    ----------
    state : ()

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), ()
    >>> kernels.sgd(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    step("sgd", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay))


@offered
def momentum(p: Array, g: Array, state: State, n: int, lr: float, momentum: float, dampening: Number = None,
             weight_decay: Number = None, decay: Word = None, convention: Word = None,
             lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient descent with momentum: `pyfastlr.SGD`.

    Parameters
    ----------
    state : (momentum_buffer,)
    momentum : float >= 0
    dampening : float

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2),)
    >>> kernels.momentum(p, np.array([1.0, -1.0]), state, 0, 0.1, momentum=0.9)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    step("momentum", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, momentum, dampening))


@offered
def nesterov(p: Array, g: Array, state: State, n: int, lr: float, momentum: float, weight_decay: Number = None,
             decay: Word = None, convention: Word = None, lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient descent with Nesterov's momentum: `pyfastlr.SGD` with ``nesterov=True``.

    Parameters
    ----------
    state : (momentum_buffer,)
    momentum : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2),)
    >>> kernels.nesterov(p, np.array([1.0, -1.0]), state, 0, 0.1, momentum=0.9)
    >>> p.round(6)
    array([0.81, 2.19])
    """
    step("nesterov", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, momentum, None))


@offered
def rmsprop(p: Array, g: Array, state: State, n: int, lr: float, alpha: Number = None, eps: Number = None,
            weight_decay: Number = None, decay: Word = None, convention: Word = None,
            lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient over a running root mean square: `pyfastlr.RMSProp`.

    Parameters
    ----------
    state : (square_avg,)
    alpha : float in [0, 1]
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2),)
    >>> kernels.rmsprop(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0., 3.])
    """
    step("rmsprop", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, alpha, eps))


@offered
def rmsprop_centered(p: Array, g: Array, state: State, n: int, lr: float, alpha: Number = None, eps: Number = None,
                     weight_decay: Number = None, decay: Word = None, convention: Word = None,
                     lr_scale: float = 1.0) -> None:  # fmt: skip
    """The same over a running standard deviation: `pyfastlr.RMSProp` with ``centered=True``.

    Parameters
    ----------
    state : (square_avg, grad_avg)
    alpha : float in [0, 1]
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.rmsprop_centered(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([-0.005038,  3.005038])
    """
    step("rmsprop_centered", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, alpha, eps))


@offered
def rmsprop_momentum(p: Array, g: Array, state: State, n: int, lr: float, momentum: float, alpha: Number = None,
                     eps: Number = None, weight_decay: Number = None, decay: Word = None, convention: Word = None,
                     lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient over a running root mean square, with momentum: `pyfastlr.RMSProp`.

    Parameters
    ----------
    state : (square_avg, momentum_buffer)
    momentum : float >= 0
    alpha : float in [0, 1]
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.rmsprop_momentum(p, np.array([1.0, -1.0]), state, 0, 0.1, momentum=0.9)
    >>> p.round(6)
    array([0., 3.])
    """
    step("rmsprop_momentum", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, alpha, eps, momentum))


@offered
def rmsprop_centered_momentum(p: Array, g: Array, state: State, n: int, lr: float, momentum: float,
                              alpha: Number = None, eps: Number = None, weight_decay: Number = None, decay: Word = None,
                              convention: Word = None, lr_scale: float = 1.0) -> None:  # fmt: skip
    """The same over a running standard deviation: `pyfastlr.RMSProp` with ``centered=True``.

    Parameters
    ----------
    state : (square_avg, grad_avg, momentum_buffer)
    momentum : float >= 0
    alpha : float in [0, 1]
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2), np.zeros(2))
    >>> kernels.rmsprop_centered_momentum(p, np.array([1.0, -1.0]), state, 0, 0.1, momentum=0.9)
    >>> p.round(6)
    array([-0.005038,  3.005038])
    """
    step(
        "rmsprop_centered_momentum",
        convention,
        decay,
        p,
        g,
        state,
        n,
        (lr, lr_scale, weight_decay, alpha, eps, momentum),
    )


@offered
def adagrad(p: Array, g: Array, state: State, n: int, lr: float, lr_decay: Number = None, eps: Number = None,
            weight_decay: Number = None, decay: Word = None, convention: Word = None,
            lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient over the root of the sum of all squares so far: `pyfastlr.AdaGrad`.

    Parameters
    ----------
    state : (sum,), at first the class's initial_accumulator_value
    lr_decay : float >= 0
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2),)
    >>> kernels.adagrad(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    step("adagrad", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, lr_decay, eps))


@offered
def adadelta(p: Array, g: Array, state: State, n: int, lr: float, rho: Number = None, eps: Number = None,
             weight_decay: Number = None, decay: Word = None, convention: Word = None,
             lr_scale: float = 1.0) -> None:  # fmt: skip
    """Gradient by the ratio of two running root mean squares: `pyfastlr.AdaDelta`.

    Parameters
    ----------
    state : (square_avg, acc_delta)
    rho : float in [0, 1]
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.adadelta(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.999684, 2.000316])
    """
    step("adadelta", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, rho, eps))


@offered
def lion(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, weight_decay: Number = None,
         decay: Word = None, convention: Word = None, lr_scale: float = 1.0) -> None:  # fmt: skip
    """Sign of an interpolated momentum: `pyfastlr.Lion`.

    Parameters
    ----------
    state : (exp_avg,)
    betas : pair of float in [0, 1)

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2),)
    >>> kernels.lion(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.8999, 2.0998])
    """
    beta1, beta2 = pair(betas)
    step("lion", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2))


@offered
def adam(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
         weight_decay: Number = None, decay: Word = None, convention: Word = None,
         lr_scale: float = 1.0) -> None:  # fmt: skip
    """Running mean of the gradient over the root of that of its square: `pyfastlr.Adam`.

    Parameters
    ----------
    state : (exp_avg, exp_avg_sq)
    betas : pair of float in [0, 1)
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.adam(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    beta1, beta2 = pair(betas)
    step("adam", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps))


@offered
def adamw(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
          weight_decay: Number = None, decay: Word = None, convention: Word = None,
          lr_scale: float = 1.0) -> None:  # fmt: skip
    """Adam with decoupled weight decay: `pyfastlr.AdamW`, with its default of `weight_decay`.

    Parameters
    ----------
    state : (exp_avg, exp_avg_sq)
    betas : pair of float in [0, 1)
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.adamw(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.899, 2.098])
    """
    beta1, beta2 = pair(betas)
    step("adamw", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps))


@offered
def amsgrad(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
            weight_decay: Number = None, decay: Word = None, convention: Word = None,
            lr_scale: float = 1.0) -> None:  # fmt: skip
    """Adam whose denominator never shrinks: `pyfastlr.AMSGrad`.

    Parameters
    ----------
    state : (exp_avg, exp_avg_sq, max_exp_avg_sq)
    betas : pair of float in [0, 1)
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2), np.zeros(2))
    >>> kernels.amsgrad(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    beta1, beta2 = pair(betas)
    step("amsgrad", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps))


@offered
def nadam(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
          momentum_decay: Number = None, weight_decay: Number = None, decay: Word = None, convention: Word = None,
          lr_scale: float = 1.0) -> None:  # fmt: skip
    """Adam with Nesterov's momentum: `pyfastlr.NAdam`.

    Parameters
    ----------
    state : (exp_avg, exp_avg_sq, carry), the last one float64[1], at first one
    betas : pair of float in [0, 1)
    eps : float >= 0
    momentum_decay : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2), np.ones(1))
    >>> kernels.nadam(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.894355, 2.105645])
    """
    beta1, beta2 = pair(betas)
    step("nadam", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps, momentum_decay))


@offered
def adamax(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
           weight_decay: Number = None, decay: Word = None, convention: Word = None,
           lr_scale: float = 1.0) -> None:  # fmt: skip
    """Adam with a running maximum of the gradient's magnitude: `pyfastlr.Adamax`.

    Parameters
    ----------
    state : (exp_avg, exp_inf)
    betas : pair of float in [0, 1)
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.adamax(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    beta1, beta2 = pair(betas)
    step("adamax", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps))


@offered
def radam(p: Array, g: Array, state: State, n: int, lr: float, betas: Betas = None, eps: Number = None,
          weight_decay: Number = None, decay: Word = None, convention: Word = None,
          lr_scale: float = 1.0) -> None:  # fmt: skip
    """Adam that waits until the variance of its denominator is tractable: `pyfastlr.RAdam`.

    Parameters
    ----------
    state : (exp_avg, exp_avg_sq)
    betas : pair of float in [0, 1)
    eps : float >= 0

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), (np.zeros(2), np.zeros(2))
    >>> kernels.radam(p, np.array([1.0, -1.0]), state, 0, 0.1)
    >>> p.round(6)
    array([0.9, 2.1])
    """
    beta1, beta2 = pair(betas)
    step("radam", convention, decay, p, g, state, n, (lr, lr_scale, weight_decay, beta1, beta2, eps))
