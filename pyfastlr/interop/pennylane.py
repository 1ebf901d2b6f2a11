"""Optimizers with PennyLane's interface: its names with its numbers, and every other optimizer of pyfastlr.

`AdamOptimizer`, `GradientDescentOptimizer`, `MomentumOptimizer`, `NesterovMomentumOptimizer`, `AdagradOptimizer` and
`RMSPropOptimizer` have PennyLane's arguments, defaults and results. `PyfastlrOptimizer` takes any class of pyfastlr.

Examples
--------
>>> from pennylane import numpy as np
>>> from pyfastlr.interop.pennylane import AdamOptimizer
>>> def cost(x):
...     return np.sum((x - 1.0) ** 2)
>>> opt, x = AdamOptimizer(stepsize=0.1), np.array([0.0, 3.0], requires_grad=True)
>>> for _ in range(100):
...     x = opt.step(cost, x)
>>> bool(cost(x) < 1e-2)
True
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pennylane as qml

from pyfastlr import optimizers as classes
from pyfastlr.arrays.host import Array, describe
from pyfastlr.optimizers import Optimizer

from .progress import set_progress
from .renaming import renamed


class PyfastlrOptimizer(qml.GradientDescentOptimizer):
    """An optimizer of pyfastlr with PennyLane's interface.

    Parameters
    ----------
    optimizer : type
        A class of pyfastlr, such as ``pyfastlr.Lion``.
    stepsize : float, Schedule or callable, default 0.01
        The learning rate. A schedule or callable gets the index of the update, from 0. ``opt.stepsize`` may be changed
        between steps.
    **arguments
        The class's other arguments. `groups` name the arguments of the objective function by their index.

    Raises
    ------
    TypeError
        If `optimizer` is no class of pyfastlr; in a step, if a trainable argument is no float32 or float64 array.
    ValueError
        If a hyperparameter is out of range; in a step, if the shape of an argument has changed.

    Examples
    --------
    >>> import pyfastlr as flr
    >>> from pennylane import numpy as np
    >>> from pyfastlr import schedules as S
    >>> from pyfastlr.interop.pennylane import PyfastlrOptimizer
    >>> opt = PyfastlrOptimizer(flr.Lion, S.Cosine(0.1, steps=100), weight_decay=0.0)
    >>> x, data = np.array([0.0, 3.0], requires_grad=True), np.array(2.0, requires_grad=False)
    >>> x, data = opt.step(lambda x, data: np.sum((x - data) ** 2), x, data)
    >>> x
    tensor([0.1, 2.9], requires_grad=True)

    Notes
    -----
    As in PennyLane, an argument is trained if it has ``requires_grad=True``. All others are returned as they are. The
    arrays that you pass are never written: the step works on a copy and returns a new tensor. Errors change nothing.

    The state belongs to the index of an argument. An argument that becomes trainable later starts with a new state, and
    the count of the updates is one for all, as in PennyLane's Adam.
    """

    _their_names: ClassVar[Mapping[str, str]] = {"lr": "stepsize"}

    def __init__(self, optimizer: type[Optimizer], stepsize: Any = 0.01, **arguments: Any) -> None:
        if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer)):
            raise TypeError(f"`optimizer` must be a class of pyfastlr, such as pyfastlr.Adam, got {optimizer!r:.60}")
        known = {name: x for name, x in arguments.items() if name != "groups"}
        with renamed(self._their_names):
            optimizer(np.zeros(1), stepsize, **known, **self._hyperparameters())  # for its checks
        super().__init__(stepsize)
        self._class, self._arguments = optimizer, arguments
        self.reset()

    def reset(self) -> None:
        """Forget the state: the next step is the first."""
        self.opt: Optimizer | None = None
        self._arrays: dict[str, Array] = {}
        self._rate: Any = None

    @property
    def state(self) -> Any:
        """State of pyfastlr's optimizer by slot and index of the argument, or None before the first step."""
        return None if self.opt is None else self.opt.state

    @property
    def t(self) -> int | None:
        """Updates done, or None before the first step."""
        return None if self.opt is None else self.opt.steps

    def _hyperparameters(self) -> Mapping[str, Any]:
        """Those that may be changed between steps, besides the rate."""
        return {}

    def apply_grad(self, grad: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        """Return the arguments after an update.

        Parameters
        ----------
        grad : sequence of array
            The gradients of the trainable arguments, in their order.
        args : sequence
            The arguments of the objective function.

        Returns
        -------
        list
            New tensors for the trainable arguments, and the others as they are.
        """
        trained = [k for k, x in enumerate(args) if getattr(x, "requires_grad", False)]
        if not trained:
            return list(args)
        values = {str(k): _array(args[k], f"args[{k}]") for k in trained}
        with renamed(self._their_names):
            opt = self._bound(values)
        gradients: dict[str, Any] = dict.fromkeys(self._arrays)
        if len(grad) != len(trained):
            raise ValueError(f"`grad` must have a gradient for each of {len(trained)} arguments, got {len(grad)}")
        for (name, x), g in zip(values.items(), grad, strict=True):
            gradients[name] = np.asarray(g, x.dtype, order="C")
        for name, x in values.items():
            self._arrays[name][...] = x
        set_progress(opt, opt.steps)
        with renamed(self._their_names):
            opt.step(gradients)
        result = list(args)
        for k in trained:
            result[k] = qml.numpy.tensor(self._arrays[str(k)].copy(), requires_grad=True)
        return result

    def _bound(self, values: Mapping[str, Array]) -> Optimizer:
        """Optimizer over arrays like these, with the current hyperparameters."""
        for name, x in values.items():
            known = self._arrays.get(name)
            if known is not None and (known.shape != x.shape or known.dtype != x.dtype):
                raise ValueError(
                    f"`args[{name}]` must stay a {describe(known)}, got {describe(x)}: call `reset` for other arguments"
                )
        numbers = self._hyperparameters()
        new = {name: x.copy() for name, x in values.items() if name not in self._arrays}
        if self.opt is None:
            self.opt = self._class(new, self.stepsize, **{**self._arguments, **numbers})
            self._arrays, self._rate, self._numbers = new, self.stepsize, dict(numbers)
            return self.opt
        if new:
            self.opt.add(new)  # enters them in self._arrays, which the optimizer was built over
        if self.stepsize is not self._rate:
            self.opt.lr, self._rate = self.stepsize, self.stepsize
        for name, x in numbers.items():
            if x != self._numbers[name]:
                setattr(self.opt, name, x)
                self._numbers[name] = x
        return self.opt


def _array(x: Any, label: str) -> Array:
    """Array over an argument."""
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        raise TypeError(f"`{label}` must be a tensor of float32 or float64 with requires_grad=True, got {describe(x)}")
    return np.asarray(x)


class GradientDescentOptimizer(PyfastlrOptimizer):
    """PennyLane's ``GradientDescentOptimizer``: p - stepsize * g."""

    def __init__(self, stepsize: Any = 0.01) -> None:
        super().__init__(classes.SGD, stepsize)


class MomentumOptimizer(PyfastlrOptimizer):
    """PennyLane's ``MomentumOptimizer``: a = momentum * a + stepsize * g, p - a. This is Keras' convention."""

    def __init__(self, stepsize: Any = 0.01, momentum: float = 0.9) -> None:
        self.momentum = momentum
        super().__init__(classes.SGD, stepsize, convention="keras")

    def _hyperparameters(self) -> Mapping[str, Any]:
        return {"momentum": self.momentum}


class NesterovMomentumOptimizer(MomentumOptimizer):
    """PennyLane's ``NesterovMomentumOptimizer``: as momentum, with the gradient at p - momentum * a.

    ``pyfastlr.SGD(nesterov=True)`` takes the gradient at p itself and follows the shifted parameters instead.
    """

    def compute_grad(self, objective_fn: Any, args: Any, kwargs: Any, grad_fn: Any = None) -> tuple[Any, Any]:
        """Return the gradients of the trainable arguments at the shifted point, and the objective there if known."""
        shifted = list(args)
        if self.opt is not None and "momentum_buffer" in self.opt.state:
            for name, a in self.opt.state["momentum_buffer"].items():
                if getattr(args[int(name)], "requires_grad", False):
                    shifted[int(name)] = args[int(name)] - self.momentum * a
        found: tuple[Any, Any] = super().compute_grad(objective_fn, tuple(shifted), kwargs, grad_fn=grad_fn)
        return found


class AdamOptimizer(PyfastlrOptimizer):
    """PennyLane's ``AdamOptimizer``, whose eps stands beside the uncorrected root. This is Keras' convention."""

    _their_names: ClassVar[Mapping[str, str]] = {
        **PyfastlrOptimizer._their_names,
        "betas[0]": "beta1",
        "betas[1]": "beta2",
    }

    def __init__(self, stepsize: Any = 0.01, beta1: float = 0.9, beta2: float = 0.99, eps: float = 1e-8) -> None:
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        super().__init__(classes.Adam, stepsize, convention="keras")

    def _hyperparameters(self) -> Mapping[str, Any]:
        return {"betas": (self.beta1, self.beta2), "eps": self.eps}


class AdagradOptimizer(PyfastlrOptimizer):
    """PennyLane's ``AdagradOptimizer``: g / sqrt(a + eps), with a sum that starts with 0."""

    def __init__(self, stepsize: Any = 0.01, eps: float = 1e-8) -> None:
        self.eps = eps
        super().__init__(classes.AdaGrad, stepsize, convention="keras", initial_accumulator_value=0.0)

    def _hyperparameters(self) -> Mapping[str, Any]:
        return {"eps": self.eps}


class RMSPropOptimizer(PyfastlrOptimizer):
    """PennyLane's ``RMSPropOptimizer``: g / sqrt(a + eps). This is Keras' convention."""

    _their_names: ClassVar[Mapping[str, str]] = {**PyfastlrOptimizer._their_names, "alpha": "decay"}

    def __init__(self, stepsize: Any = 0.01, decay: float = 0.9, eps: float = 1e-8) -> None:
        self.decay, self.eps = decay, eps
        super().__init__(classes.RMSProp, stepsize, convention="keras")

    def _hyperparameters(self) -> Mapping[str, Any]:
        return {"alpha": self.decay, "eps": self.eps}
