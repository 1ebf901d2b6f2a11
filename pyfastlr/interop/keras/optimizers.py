"""The optimizers: for each of Keras' classes, ours, and how Keras' attributes map to our arguments.

`Adapter` writes the docstrings.
"""

# ruff: noqa: D101, D102

from typing import Any

import keras

from pyfastlr import optimizers as flr

from .adapter import Adapter
from .backend import BACKEND
from .binding import Kind

registered = keras.saving.register_keras_serializable(package="pyfastlr")


def _moments(optimizer: Any) -> dict[str, Any]:
    return {"betas": (optimizer.beta_1, optimizer.beta_2), "eps": optimizer.epsilon}


@registered
class SGD(Adapter, keras.optimizers.SGD):
    def _kind(self) -> Kind:
        return Kind(flr.SGD, {"nesterov": self.nesterov}, {"momentum": self.momentum})

    def add_variable_from_reference(self, reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
        variable = super().add_variable_from_reference(reference_variable, name=name, initializer=initializer)
        if BACKEND == "torch" and name == "momentum":
            variable.__class__ = Negated
        return variable


class Negated(keras.Variable):
    """A variable of torch that stores the negative of its value: Keras' SGD adds its momentum, ours subtracts it."""

    @property
    def value(self) -> Any:
        """The momentum with Keras' sign."""
        found = super().value
        return -found if found is self._value else found  # another one is from a `StatelessScope`

    def _direct_assign(self, value: Any) -> None:
        self._value.data.copy_(-value)


@registered
class RMSprop(Adapter, keras.optimizers.RMSprop):
    def _kind(self) -> Kind:
        numbers = {"alpha": self.rho, "eps": self.epsilon, "momentum": self.momentum}
        return Kind(flr.RMSProp, {"centered": self.centered}, numbers)


@registered
class Adagrad(Adapter, keras.optimizers.Adagrad):
    def _kind(self) -> Kind:
        return Kind(flr.AdaGrad, {}, {"eps": self.epsilon})


@registered
class Adadelta(Adapter, keras.optimizers.Adadelta):
    def _kind(self) -> Kind:
        return Kind(flr.AdaDelta, {}, {"rho": self.rho, "eps": self.epsilon})


@registered
class Adam(Adapter, keras.optimizers.Adam):
    def _kind(self) -> Kind:
        return Kind(flr.AMSGrad if self.amsgrad else flr.Adam, {}, _moments(self))


@registered
class AdamW(Adapter, keras.optimizers.AdamW):
    def _kind(self) -> Kind:
        return Kind(flr.AMSGrad if self.amsgrad else flr.AdamW, {}, _moments(self))


@registered
class Adamax(Adapter, keras.optimizers.Adamax):
    def _kind(self) -> Kind:
        return Kind(flr.Adamax, {}, _moments(self))


@registered
class Nadam(Adapter, keras.optimizers.Nadam):
    def _kind(self) -> Kind:
        return Kind(flr.NAdam, {}, _moments(self))


@registered
class Lion(Adapter, keras.optimizers.Lion):
    def _kind(self) -> Kind:
        return Kind(flr.Lion, {}, {"betas": (self.beta_1, self.beta_2)})


@registered
class Ftrl(Adapter, keras.optimizers.Ftrl):
    def _kind(self) -> Kind:
        names = ("learning_rate_power", "l1_regularization_strength", "l2_regularization_strength",
                 "l2_shrinkage_regularization_strength", "beta")  # fmt: skip
        return Kind(flr.FTRL, {}, {name: getattr(self, name) for name in names})
