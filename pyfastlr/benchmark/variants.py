"""The measured optimizers, and their names in the libraries that compute the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import pyfastlr
from pyfastlr.optimizers import registry
from pyfastlr.optimizers.fields import StartNumber
from pyfastlr_kernels.rules import RULES


@dataclass(frozen=True)
class Variant:
    """An optimizer with the arguments that select its rule, under one convention."""

    name: str
    cls: str  # in pyfastlr
    convention: str
    torch: str | None  # name in torch.optim, if that computes the same
    optax: str | None  # name in optax, likewise
    kwargs: Mapping[str, Any] = field(default_factory=dict)  # the same in all libraries

    def make(self, params: Any, lr: Any, **options: Any) -> pyfastlr.Optimizer:
        """Return our optimizer, without weight decay unless the options set it."""
        options = {"weight_decay": 0.0, "convention": self.convention, **self.kwargs, **options}
        optimizer: pyfastlr.Optimizer = getattr(pyfastlr, self.cls)(
            params, lr if self.scheduled or not callable(lr) else lr(0), **options
        )
        return optimizer

    @property
    def lr(self) -> float:
        """A usual rate: the default of the first convention that has one."""
        defaults = getattr(pyfastlr, self.cls).conventions.values()
        usual = next((x["lr"] for x in defaults if x["lr"] is not None), 1e-3)
        return 1e-4 if self.cls == "Lion" else float(usual)

    @property
    def scheduled(self) -> bool:
        """Whether the rate may be a schedule."""
        return not isinstance(getattr(pyfastlr, self.cls).fields["lr"], StartNumber)

    @cached_property
    def states(self) -> int:
        """Number of state arrays of its rule."""
        return len(RULES[self.make(np.zeros(1), self.lr).rule].slots)


def _variants() -> Iterator[Variant]:
    """Yield every rule of every class under its first convention, and under optax's if that is another formula.

    A convention changes only what is computed once per step, never the loop, so the others would show nothing new.
    """
    for cls in registry:
        first = next(iter(cls.conventions))
        torch, optax = (cls.peers.get(library, "").partition("(")[0] or None for library in ("torch", "optax"))
        for rule, kwargs in cls.rules.items():
            base = cls.__name__.lower()
            name = base if len(cls.rules) == 1 else "-".join((base, *rule.replace(base, "").split("_"))).rstrip("-")
            name = name.replace("--", "-")
            same = first == "optax" or _same_in_optax(cls, rule, first)
            yield Variant(name, cls.__name__, first, torch, optax if same else None, kwargs)
            if optax and not same and kwargs.keys() <= {*cls.conventions["optax"], *_flags(cls)}:
                yield Variant(f"{name}-optax", cls.__name__, "optax", None, optax, kwargs)


def _flags(cls: type[pyfastlr.Optimizer]) -> list[str]:
    """Return the arguments that every convention has."""
    return [name for name, field in cls.fields.items() if not field.of_convention]


def _same_in_optax(cls: type[pyfastlr.Optimizer], rule: str, convention: str) -> bool:
    """Return whether optax, with its defaults, computes the same as the convention."""
    if "optax" not in cls.conventions:
        return False
    ours, theirs = cls.conventions[convention], cls.conventions["optax"]
    numbers = set(ours) - {"lr", "weight_decay", "decay", "dampening"}
    folds = RULES[rule].folds
    return folds[convention] is folds["optax"] and all(ours[name] == theirs.get(name) for name in numbers)


VARIANTS = tuple(_variants())
