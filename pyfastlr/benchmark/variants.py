"""The optimizers that are measured, and the names under which the peers compute the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import pyfastlr
from pyfastlr_kernels.rules import RULES


@dataclass(frozen=True)
class Variant:
    """An optimizer with arguments that choose another rule, under one convention."""

    name: str
    cls: str  # in pyfastlr
    convention: str
    torch: str | None  # in torch.optim, where it computes the same
    optax: str | None  # in optax, likewise
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # the same here and there

    def make(self, params: Any, lr: Any, **options: Any) -> pyfastlr.Optimizer:
        """Our optimizer, without weight decay unless the options have it."""
        options = {"weight_decay": 0.0, "convention": self.convention, **self.kwargs, **options}
        optimizer: pyfastlr.Optimizer = getattr(pyfastlr, self.cls)(params, lr, **options)
        return optimizer

    @property
    def lr(self) -> float:
        """A usual rate: that of the first convention that has one."""
        defaults = getattr(pyfastlr, self.cls).conventions
        return 1e-4 if self.cls == "Lion" else float(next(x["lr"] for x in defaults.values() if x["lr"] is not None))

    @cached_property
    def states(self) -> int:
        """State arrays, from the slots of the rule that it runs."""
        return len(RULES[self.make(np.zeros(1), self.lr).rule].slots)


_IN_TORCH = {"RMSProp": "RMSprop", "AdaGrad": "Adagrad", "AMSGrad": "Adam", "AdaDelta": "Adadelta"}  # else our name
_NESTEROV = {"momentum": 0.9, "nesterov": True}
_KWARGS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {
        "sgd": {},
        "sgd-momentum": {"momentum": 0.9},
        "sgd-dampening": {"momentum": 0.9, "dampening": 0.3},
        "sgd-nesterov": _NESTEROV,
    },
    "RMSProp": {
        "rmsprop": {},
        "rmsprop-momentum": {"momentum": 0.9},
        "rmsprop-centered": {"centered": True},
        "rmsprop-centered-momentum": {"centered": True, "momentum": 0.9},
    },
    **{
        name: {name.lower(): {}}
        for name in ("AdaGrad", "Adam", "AdamW", "AMSGrad", "NAdam", "Adamax", "RAdam", "AdaDelta", "Lion")
    },
}
# Under torch's convention, those in which optax, with its defaults, does the same.
_SAME_IN_OPTAX = {"sgd", "sgd-momentum", "sgd-nesterov", "adam", "adamw", "adamax", "adadelta"}


def _variants() -> Iterator[Variant]:
    """Every variant under its first convention, and under optax's where that is another formula.

    A convention changes what is computed once per step, never the loop, so that others would show nothing new.
    """
    for cls, variants in _KWARGS.items():
        conventions = getattr(pyfastlr, cls).conventions
        first = next(iter(conventions))
        in_torch = _IN_TORCH.get(cls, cls) if "torch" in conventions else None
        for name, kwargs in variants.items():
            same = first == "optax" or name in _SAME_IN_OPTAX
            yield Variant(name, cls, first, in_torch, cls.lower() if same else None, kwargs)
            if not same and kwargs.keys() <= conventions["optax"].keys():
                yield Variant(f"{name}-optax", cls, "optax", None, cls.lower(), kwargs)


VARIANTS = tuple(_variants())
