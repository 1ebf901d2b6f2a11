"""What thinc's adapter keeps for each key: the optimizer of one array."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyfastlr.arrays.host import address
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.saving.copies import Frozen

_LARGEST_DECAY = 0.9999


class Key:
    """An array and its optimizer.

    Attributes
    ----------
    weights : ndarray
        The object of the last call. None in a copy, until its first call.
    optimizer : Optimizer
    step : callable
        Its method.
    turn, version : object
        The adapter's, when the hyperparameters were set.
    lr_scale : float
    values : dict
        The hyperparameters that are set.
    """

    __slots__ = ("lr_scale", "optimizer", "step", "turn", "values", "version", "weights")

    def __init__(self, weights: Any, optimizer: Optimizer) -> None:
        self.weights, self.turn, self.version = weights, None, None
        self.lr_scale, self.values = 1.0, dict[str, Any]()
        self._use(optimizer)

    def _use(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.step: Any = getattr(optimizer, "step", None)

    def __getstate__(self) -> tuple[Any, float, dict[str, Any]]:
        own = self.optimizer
        return own if isinstance(own, Frozen) else Frozen(own), self.lr_scale, self.values

    def __setstate__(self, state: tuple[Any, float, dict[str, Any]]) -> None:
        frozen, self.lr_scale, self.values = state
        self.weights = self.turn = self.version = None
        self._use(frozen)

    def move(self, weights: Any) -> bool:
        """Continue with another array of the same shape and dtype. Return whether it is in other memory."""
        own = self.optimizer
        if not isinstance(own, Frozen):
            held = own.params
            same = (weights.shape, weights.dtype) == (held.shape, held.dtype)
            if same and address(weights) == address(held):  # a new view, as of torch's parameters
                self.weights = weights
                return False
            own = Frozen(own)
        self._use(own.over(weights))
        self.weights = weights
        return True

    def set(self, values: Mapping[str, Any], lr_scale: float) -> None:
        """Set the hyperparameters that have changed."""
        for name, value in values.items():
            if self.values.get(name, value) != value:
                setattr(self.optimizer, name, value)
            self.values[name] = value
        if lr_scale != self.lr_scale:
            self.optimizer.lr_scale = lr_scale
            self.lr_scale = lr_scale

    def set_average_decay(self) -> None:
        """Set thinc's decay of the average for the next update: (1 + t) / (10 + t) at update t, from 1."""
        n = float(self.optimizer._lock.steps[0])
        self.optimizer.ema_decay = min((n + 2.0) / (n + 11.0), _LARGEST_DECAY)

    def step_copied(self, gradient: Any) -> None:
        """Make an update from a gradient that is strided or of another dtype. Any other raises its error."""
        if isinstance(gradient, np.ndarray) and gradient.flags.writeable:
            plain = np.ascontiguousarray(gradient, dtype=self.optimizer.params.dtype)
            if plain is not gradient:
                self.step(plain)
                gradient[...] = 0
                return
        self.step(gradient)
