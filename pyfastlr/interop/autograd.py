"""`autograd.misc.optimizers` with pyfastlr's update, and the same loop for every other optimizer of pyfastlr.

`adam`, `sgd` and `rmsprop` have autograd's arguments, defaults and results. `minimize` takes any class of pyfastlr.

Examples
--------
>>> import autograd.numpy as np
>>> from autograd import grad
>>> from pyfastlr.interop.autograd import adam
>>> def loss(params, i):
...     return np.sum((params["w"] - 1.0) ** 2) + params["b"] ** 2
>>> found = adam(grad(loss), {"w": np.zeros(2), "b": 3.0}, num_iters=2000, step_size=0.01)
>>> found["w"].round(2)
array([1., 1.])
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.misc import flatten

from pyfastlr import optimizers as classes
from pyfastlr.engines.hyper import BELOW_ONE, number
from pyfastlr.optimizers import Optimizer

from .renaming import renamed

Gradient = Callable[[Any, int], Any]
Callback = Callable[[Any, int, Any], Any]
_THEIR_NAMES = {"lr": "step_size", "params": "init_params", "grads": "grad"}


def minimize(
    optimizer: type[Optimizer],
    grad: Gradient,
    init_params: Any,
    callback: Callback | None = None,
    num_iters: int = 100,
    step_size: Any = None,
    **arguments: Any,
) -> Any:
    """Minimize a function with an optimizer of pyfastlr.

    Parameters
    ----------
    optimizer : type
        A class of pyfastlr, such as ``pyfastlr.Lion``.
    grad : callable
        ``grad(params, i)`` returns the gradient of iteration i, from 0, with the structure of the parameters:
        ``autograd.grad(loss)`` for a ``loss(params, i)``.
    init_params : array, number, or lists, tuples and dicts of them, nested freely
        They are not changed.
    callback : callable, optional
        Called before each update, as ``callback(params, i, gradient)``. It may keep what it gets.
    num_iters : int >= 0, default 100
    step_size : float, Schedule or callable, optional
        The learning rate. The default is the class's.
    **arguments
        The class's other arguments. The parameters are one array for it, so `groups` has no use.

    Returns
    -------
    like init_params
        The parameters after the last update.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import autograd.numpy as np, pyfastlr as flr
    >>> from autograd import grad
    >>> from pyfastlr import schedules as S
    >>> from pyfastlr.interop.autograd import minimize
    >>> def loss(params, i):
    ...     x, y = params
    ...     return np.sum(x**2) + (y - 2.0) ** 2
    >>> x, y = minimize(flr.Lion, grad(loss), (np.ones(3), 0.0), num_iters=300, step_size=S.Linear(0.05, 0.0, 300))
    >>> x.round(2) + 0, round(float(y), 2)
    (array([0., 0., 0.]), 2.0)
    """
    if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer)):
        raise TypeError(f"`optimizer` must be a class of pyfastlr, such as pyfastlr.Adam, got {optimizer!r:.60}")
    x, unflatten = _flat(init_params)
    with renamed(_THEIR_NAMES):
        opt = optimizer(x, step_size, **arguments)
    return _run(opt, x, unflatten, grad, callback, num_iters)


def adam(
    grad: Gradient,
    init_params: Any,
    callback: Callback | None = None,
    num_iters: int = 100,
    step_size: Any = 0.001,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> Any:
    """Autograd's ``adam``: torch's convention. The arguments are those of `minimize`; `b1` and `b2` are its betas.

    Examples
    --------
    >>> from pyfastlr.interop.autograd import adam
    >>> float(adam(lambda x, i: 2 * x, 3.0, num_iters=1, step_size=0.5).round(6))
    2.5
    """
    betas = number(b1, "b1", BELOW_ONE), number(b2, "b2", BELOW_ONE)
    return minimize(classes.Adam, grad, init_params, callback, num_iters, step_size, betas=betas, eps=eps)


def sgd(
    grad: Gradient,
    init_params: Any,
    callback: Callback | None = None,
    num_iters: int = 200,
    step_size: Any = 0.1,
    mass: float = 0.9,
) -> Any:
    """Autograd's ``sgd``: b = mass * b + (1 - mass) * g, p - step_size * b. `mass` is from 0 to less than 1.

    It is SGD in optax's convention, where nothing dampens the gradient, with 1 - mass as `lr_scale`.

    Examples
    --------
    >>> from pyfastlr.interop.autograd import sgd
    >>> float(sgd(lambda x, i: 2 * x, 3.0, num_iters=1, step_size=0.5).round(6))
    2.7
    """
    mass = number(mass, "mass", BELOW_ONE)
    scaled = {"momentum": mass, "lr_scale": 1.0 - mass, "convention": "optax"}
    return minimize(classes.SGD, grad, init_params, callback, num_iters, step_size, **scaled)


def rmsprop(
    grad: Gradient,
    init_params: Any,
    callback: Callback | None = None,
    num_iters: int = 100,
    step_size: Any = 0.1,
    gamma: float = 0.9,
    eps: float = 1e-8,
) -> Any:
    """Autograd's ``rmsprop``: torch's convention, with a mean of squares that starts with 1 instead of 0.

    Examples
    --------
    >>> from pyfastlr.interop.autograd import rmsprop
    >>> float(rmsprop(lambda x, i: 2 * x, 3.0, num_iters=1, step_size=0.5).round(6))
    1.585786
    """
    x, unflatten = _flat(init_params)
    with renamed({**_THEIR_NAMES, "alpha": "gamma"}):
        opt = classes.RMSProp(x, step_size, alpha=gamma, eps=eps)
    opt.state["square_avg"][...] = 1.0
    return _run(opt, x, unflatten, grad, callback, num_iters)


def _flat(init_params: Any) -> tuple[Any, Any]:
    """Copy of the parameters as one array, and what makes their structure from it. Integers become float64."""
    x, unflatten = flatten(init_params)
    return np.array(x, np.float64 if x.dtype.kind in "iu" else None), unflatten


def _run(opt: Optimizer, x: Any, unflatten: Any, grad: Gradient, callback: Callback | None, num_iters: int) -> Any:
    for i in range(num_iters):
        g = flatten(grad(unflatten(x), i))[0]
        if callback:
            callback(unflatten(x.copy()), i, unflatten(g.copy()))
        with renamed(_THEIR_NAMES):
            opt.step(g)
    return unflatten(x)
