"""The input of every tool: a function for loss and gradient, and parameters that it must not replace."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array, address
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.linesearch.losses import loss_of, pair_of
from pyfastlr.optimizers.base import Optimizer

LossAndGrad = Callable[[Any, Any], tuple[float, Any]]


class Problem:
    """A user's ``loss_and_grad(params, batch)`` and its parameters. Every result is checked.

    Parameters
    ----------
    loss_and_grad : callable
        Returns a pair: the loss (a number) and the gradient (like the parameters). Leaves of the gradient may be None.
    params : array, Flat, dict or list
        Arrays in host memory, float32 or float64.

    Attributes
    ----------
    parameters : Parameters
        The arrays, their names and shapes.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or the parameters are on a device.
    """

    def __init__(self, loss_and_grad: LossAndGrad, params: Any) -> None:
        if not callable(loss_and_grad):
            raise TypeError(
                "`loss_and_grad` must be a function (params, batch) -> (loss, gradient), got "
                f"{type(loss_and_grad).__name__}"
            )
        self.function, self.parameters = loss_and_grad, Parameters(params)
        if self.parameters.device is not None:
            raise ValueError("`params` must be in host memory, got arrays on a CUDA device: copy them to the host")

    def __call__(self, batch: Any) -> tuple[float, Any]:
        """Return the loss as a float, which may be NaN or infinite, and the gradient at the current parameters.

        Raises
        ------
        TypeError, ValueError
            If the function does not return a number and a gradient like the parameters, or if it has replaced, resized
            or removed one of the parameters' arrays.
        """
        result = self.function(self.parameters.params, batch)
        self.check_in_place()
        loss, gradient = pair_of(result, "loss_and_grad")
        value = loss_of(loss, "loss_and_grad")
        try:
            self.parameters.checked(self.parameters.gather(gradient))
        except (TypeError, ValueError) as error:
            words = f"`loss_and_grad` must return a gradient like the parameters: {error}"
            raise type(error)(words) from None
        return value, gradient

    def vector(self, gradient: Any) -> Array:
        """Return the gradient as a new float64 vector in the order of the parameters. None gives zeros."""
        parameters = self.parameters
        leaves = parameters.checked(parameters.gather(gradient))
        if not (type(leaves) is list and not parameters.is_leaf):
            return np.array(leaves, np.float64).reshape(-1)
        parts = [
            np.zeros(size) if x is None else np.asarray(x, np.float64).reshape(-1)
            for x, size in zip(leaves, parameters.sizes, strict=True)
        ]
        return np.concatenate(parts)

    def is_of(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer updates these parameters: the same arrays, all of them and whole, in this order."""
        mine, theirs = self.parameters, optimizer._parameters
        return (
            [*map(address, mine.arrays)] == theirs.addresses
            and mine.sizes == theirs.sizes
            and mine.dtype == theirs.dtype
        )

    def check_in_place(self) -> None:
        """If an array of the parameters has been replaced or changed its memory, raise an error that names it."""
        parameters = self.parameters
        try:
            inside = parameters.inside()
        except (TypeError, ValueError) as error:
            raise type(error)(f"`loss_and_grad` must not change the structure of `params`: {error}") from None
        shapes = parameters.shapes if parameters.layout is None else [(parameters.size,)]
        for k, (now, given, array, start, shape) in enumerate(
            zip(inside, parameters.given, parameters.arrays, parameters.addresses, shapes, strict=True)
        ):
            moved = isinstance(now, np.ndarray) and (
                address(now) != start or now.shape != shape or now.dtype.name != parameters.dtype.name
            )
            if now is not given or moved or not array.flags.writeable:
                raise ValueError(
                    f"`loss_and_grad` must leave `{parameters.array_label(k)}` as it is, got "
                    f"{'another array' if now is not given else 'one that was resized, moved or made read-only'}"
                )
