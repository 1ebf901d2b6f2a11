"""An optimizer of pyfastlr over the variables of one of Keras: on torch in their own memory, elsewhere over copies."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.interop.keras_names import KEPT
from pyfastlr.interop.progress import set_progress
from pyfastlr.optimizers import Optimizer


class Kind(NamedTuple):
    """An optimizer of pyfastlr: class, arguments that choose its rule, its hyperparameters without the rate."""

    cls: type[Optimizer]
    chosen: Mapping[str, Any]
    numbers: Mapping[str, Any]


class Trained(NamedTuple):
    """Keras' variables, each list in the same order."""

    variables: Sequence[Any]  # to train
    state: Mapping[str, Sequence[Any]]  # by the ending of their names
    product: Any  # Nadam's running product, or None
    undecayed: Sequence[int]  # places of the variables without weight decay


class Binding:
    """Base class: one optimizer for all variables."""

    def __init__(self, kind: Kind, trained: Trained) -> None:
        self.kind, self.trained, self.rate = kind, trained, 0.0
        self.start()

    def start(self) -> None:
        """Build the optimizer with `bind`."""
        raise NotImplementedError

    def step(self, gradients: Sequence[Any], rate: float, steps: int, numbers: Mapping[str, Any]) -> None:
        """Bring gradients to `update`. None: there is none."""
        raise NotImplementedError

    def bind(self, arrays: list[Array]) -> None:
        """Build the optimizer over these arrays."""
        undecayed = list(self.trained.undecayed)
        groups = [{"params": undecayed, "weight_decay": 0.0}] if undecayed else None
        cls, chosen, numbers = self.kind
        self.optimizer = cls(arrays, lambda n: self.rate, convention="keras", groups=groups, **chosen, **numbers)
        self.numbers, self.arrays = dict(numbers), arrays
        state, blocks = self.optimizer.state, KEPT[self.optimizer.rule].blocks
        #: Keras' variables, our arrays, and the factor of ours in theirs, for each kind of state
        self.slots = [
            (self.trained.state[ending], state[slot], sign)
            for block in blocks
            for ending, (slot, sign) in block.items()
        ]

    def update(self, gradients: list[Any], rate: float, steps: int, numbers: Mapping[str, Any]) -> None:
        """Make the update after `steps` others, with these hyperparameters. None: there is no gradient."""
        optimizer, product, self.rate = self.optimizer, self.trained.product, rate
        if numbers != self.numbers:
            for name, x in numbers.items():
                if x != self.numbers.get(name):
                    setattr(optimizer, name, x)
                    self.numbers[name] = x
        set_progress(optimizer, steps, None if product is None else number(product))
        optimizer.step(gradients)
        if product is not None:
            present = next(k for k, g in enumerate(gradients) if g is not None)
            product.assign(optimizer._state.counts["carry"][present, 0])


class Copies(Binding):
    """Copies of parameters and state, for variables that get a new array at each update."""

    def start(self) -> None:
        """Copy the parameters."""
        self.bind([np.array(host(v.value), order="C") for v in self.trained.variables])

    def step(self, gradients: Sequence[Any], rate: float, steps: int, numbers: Mapping[str, Any]) -> None:
        """Copy the values, update the copies, and assign them."""
        params, variables = self.arrays, self.trained.variables
        present = [k for k, g in enumerate(gradients) if g is not None]
        given: list[Any] = [None] * len(params)
        for k in present:
            params[k][...] = host(variables[k].value)
            given[k] = np.asarray(host(gradients[k]), params[k].dtype, order="C")
            for theirs, ours, sign in self.slots:
                np.multiply(host(theirs[k].value), sign, out=ours[k])
        self.update(given, rate, steps, numbers)
        for k in present:
            variables[k].assign(params[k].copy())
            for theirs, ours, sign in self.slots:
                theirs[k].assign(ours[k] * sign)


class InPlace(Binding):
    """Parameters and state in the memory of torch's tensors. Keras' state variables become views of our state."""

    def start(self) -> None:
        """Take the variables' memory for the parameters, and give our state's memory to Keras' variables."""
        import torch

        self.torch, tensors = torch, [v.value.detach() for v in self.trained.variables]
        for v, x in zip(self.trained.variables, tensors, strict=True):
            if x.device.type != "cpu" or not x.is_contiguous():
                raise ValueError(
                    f"`{v.path}` must be contiguous and on the CPU, got strides {x.stride()} on {x.device.type}"
                )
        self.bind([x.numpy() for x in tensors])
        for theirs, ours, _ in self.slots:
            for v, x in zip(theirs, ours, strict=True):
                stored = v._value  # of a momentum with the other sign, `value` is a copy
                x[...] = stored.detach().numpy()
                stored.data = torch.from_numpy(x)
        self.places = [x.data_ptr() for x in tensors]

    def step(self, gradients: Sequence[Any], rate: float, steps: int, numbers: Mapping[str, Any]) -> None:
        """Update the variables' memory."""
        tensors = [v._value for v in self.trained.variables]  # `value` takes 2 us for each
        if [x.data_ptr() for x in tensors] != self.places:
            self.start()
        given = [None if g is None else _as_array(g, x) for g, x in zip(gradients, tensors, strict=True)]
        self.update(given, rate, steps, numbers)
        # A graph that saved the old values must not be used.
        changed = [x for x, g in zip(tensors, gradients, strict=True) if g is not None]
        self.torch.autograd.graph.increment_version(changed)


def _as_array(g: Any, x: Any) -> Array:
    """Array over the memory of a gradient; over a copy, if it has another dtype or is not contiguous."""
    if g.dtype is not x.dtype:
        g = g.to(x.dtype)
    array: Array = g.detach().contiguous().numpy()
    return array


def host(x: Any) -> Array:
    """Convert a tensor of Keras' backend."""
    # On torch, Keras' function makes numpy 2 warn.
    array: Array = x.detach().numpy() if hasattr(x, "detach") else keras.ops.convert_to_numpy(x)
    return array


def number(x: Any) -> float:
    """Convert a number, variable or tensor with one element."""
    value = getattr(x, "value", x)
    return float(value.item() if hasattr(value, "item") else value)
