"""What all the optimizers share: Keras' class around the update, pyfastlr's inside."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from .backend import BACKEND
from .binding import Binding, Copies, InPlace, Kind, Trained, number
from .schedule import as_keras

AROUND = {"clip_norm": None, "clip_norm_each": None, "clip_value": None, "weight_decay": 0.0}


class Noted:
    """Variables of an optimizer, as its `build` makes them, and the bindings to them. No container: Keras tracks those.

    Attributes
    ----------
    state
        By the ending of their names.
    places
        Index of each variable to train, by its id.
    bindings
        By whether they are in place.
    run
        What makes an update, not traced by torch.compile.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.state: dict[str, list[Any]] = {}
        self.variables: list[Any] = []
        self.places: dict[int, int] = {}
        self.bindings: dict[bool, Binding] = {}
        self.run: Any = None


class Adapter(keras.optimizers.Optimizer):
    """Mixin in front of one of Keras' classes, which makes the variables and keeps the arguments.

    Keras' own code runs around the update: it unscales and accumulates gradients, averages the variables, applies
    constraints and counts. pyfastlr clips, decays and updates all variables in one call.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args:
            args = (as_keras(args[0]), *args[1:])
        elif "learning_rate" in kwargs:
            kwargs["learning_rate"] = as_keras(kwargs["learning_rate"])
        super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        theirs = cls.__mro__[2]
        arguments = list(inspect.signature(theirs).parameters.values())
        cls.__signature__ = inspect.Signature(arguments)
        cls.__doc__ = (
            f"Keras' `{theirs.__name__}` with pyfastlr's update: the same arguments, defaults, state and numbers.\n\n"
            f"`learning_rate` may also be a schedule of pyfastlr. docs/keras.md says what differs."
        )

    def _kind(self) -> Kind:
        """Our optimizer and its arguments, from Keras' attributes."""
        raise NotImplementedError

    @property
    def learning_rate(self) -> Any:
        """Rate of the next update. It may be set to a number or, if it is not a schedule of Keras, to a schedule."""
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        keras.optimizers.Optimizer.learning_rate.fset(self, as_keras(rate))

    # --- Variables ----------------------------------------------------------------------------------------------------

    def build(self, variables: Sequence[Any]) -> None:
        """Make the variables of the state, as Keras does."""
        if self.built:
            return
        trained = [v for v in variables if not self._overwrite_variable_with_gradient(v)]
        dtypes = sorted({v.dtype for v in trained})
        if dtypes not in ([], ["float32"], ["float64"]):
            raise ValueError(f"`variables` must all be float32, or all float64, got {' and '.join(dtypes)}")
        self._noted = Noted(self._kind())
        super().build(variables)
        self._noted.variables = trained
        self._noted.places = {id(v): k for k, v in enumerate(trained)}

    def add_variable_from_reference(self, reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
        """Make a variable like another, and note it."""
        variable = super().add_variable_from_reference(reference_variable, name=name, initializer=initializer)
        if not self._overwrite_variable_with_gradient(reference_variable):
            self._noted.state.setdefault(name, []).append(variable)
        return variable

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Exclude variables from weight decay, as Keras does."""
        super().exclude_from_weight_decay(var_list=var_list, var_names=var_names)
        if self.built:
            self._noted.bindings.clear()

    # --- The update ---------------------------------------------------------------------------------------------------

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable, without clipping and weight decay."""
        self._update([gradient], [variable], learning_rate, {"weight_decay": 0.0} if BACKEND == "jax" else AROUND)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        self._update(grads, trainable_variables, learning_rate, self._around())

    def _clip_gradients(self, grads: Any) -> Any:
        return super()._clip_gradients(grads) if BACKEND == "jax" else grads  # elsewhere, the update clips

    def _apply_weight_decay(self, variables: Any) -> None:
        pass  # the update decays

    def _around(self) -> dict[str, Any]:
        """Clipping and weight decay. Of several limits, Keras uses the first that is positive."""
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        if BACKEND == "jax":
            return {"weight_decay": decay}
        found = dict(AROUND, weight_decay=decay)
        limits = {"clip_norm_each": self.clipnorm, "clip_norm": self.global_clipnorm, "clip_value": self.clipvalue}
        for name, limit in limits.items():
            if limit and limit > 0:
                found[name] = limit
                break
        return found

    def _update(self, *given: Any) -> None:
        """Make an update. `torch.compile` runs it as it is (Keras' ``jit_compile=True``)."""
        noted, dynamo = self._noted, sys.modules.get("torch._dynamo")
        if noted.run is None:
            noted.run = self._run if dynamo is None else dynamo.disable(self._run)
        noted.run(*given)

    _update._torchdynamo_disable = True  # type: ignore[attr-defined]

    def _run(
        self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any, around: Mapping[str, Any]
    ) -> None:
        noted, kind = self._noted, self._kind()
        if kind[:2] != noted.kind[:2]:
            raise ValueError(
                f"`{self.name}` must keep the arguments that it was built with, {noted.kind.chosen}, got {kind.chosen}"
            )
        given: list[Any] = [None] * len(noted.variables)
        for g, v in zip(grads, variables, strict=True):
            given[noted.places[id(v)]] = g
        numbers = {**kind.numbers, **around}
        if BACKEND == "jax":
            from .functional import Functional

            Functional(kind, self._trained()).step(given, learning_rate, self.iterations, numbers)
            return
        # In a `StatelessScope`, the values are not the variables' own.
        in_place = BACKEND == "torch" and variables[0].value is variables[0]._value
        if in_place not in noted.bindings:
            noted.bindings[in_place] = (InPlace if in_place else Copies)(kind, self._trained())
        noted.bindings[in_place].step(given, number(learning_rate), int(number(self.iterations)), numbers)

    def _trained(self) -> Trained:
        noted = self._noted
        undecayed = [k for k, v in enumerate(noted.variables) if not self._use_weight_decay(v)]
        return Trained(noted.variables, noted.state, getattr(self, "_u_product", None), undecayed)
