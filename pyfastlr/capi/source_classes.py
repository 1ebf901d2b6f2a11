"""What the C library has of each optimizer class: its configuration, states and rules, from the class itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyfastlr
from pyfastlr.engines.hyper import PAIRS, Range
from pyfastlr.optimizers.base import registry
from pyfastlr.optimizers.options import Options
from pyfastlr_kernels.rules import RULES, Rule

CONVENTIONS = ("torch", "keras", "optax")  # in the order of their constants
DECAYS = ("coupled", "decoupled", "independent")
LACKING = Range(0.0, 0.0, "0")  # of a hyperparameter that a convention's optimizer does not have

# Every configuration begins with these: type, name, explanation.
COMMON_FLAGS = (
    ("convention", "whose formula is used"),
    ("decay", "what weight_decay does"),
    ("maximize", "1 ascends the gradient, 0 descends it"),
)
COMMON_NUMBERS = (
    ("lr", "learning rate"),
    ("lr_scale", "factor of the rate; where it is 0, parameters keep their bits"),
    ("weight_decay", "strength of the weight decay"),
    ("inv_scale", "factor of the gradient, as 1/1024 if the loss was multiplied by 1024"),
    ("clip_factor", "another factor of the gradient, from fastlr_clip_factor; it may be 0 or NaN"),
)
STARTS = {"lr_scale": 1.0, "inv_scale": 1.0, "clip_factor": 1.0}  # defaults of all classes
INV_SCALE = pyfastlr.engines.hyper.ABOVE_ZERO


@dataclass(frozen=True)
class Class:
    """One optimizer class, in C."""

    cls: Any

    @property
    def name(self) -> str:
        """Name in Python."""
        return str(self.cls.__name__)

    @property
    def prefix(self) -> str:
        """Name in C."""
        return self.name.lower()

    @property
    def config(self) -> str:
        """Name of the type of its configurations."""
        return f"fastlr_{self.prefix}_config"

    @property
    def rules(self) -> dict[str, Rule]:
        """Rules by name, with what selects each last."""
        return {name: RULES[name] for name in self.cls.rules}

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states of all its rules, in the order in which the longest has them."""
        longest = max((rule.state_names for rule in self.rules.values()), key=len)
        assert all({*rule.state_names} <= {*longest} for rule in self.rules.values())
        return longest

    @property
    def carry(self) -> tuple[float, ...]:
        """Initial values of what is carried from update to update."""
        return next(iter(self.rules.values())).carry

    @property
    def conventions(self) -> Mapping[str, Mapping[str, Any]]:
        """Defaults by convention, that of the class first."""
        found: Mapping[str, Mapping[str, Any]] = self.cls.conventions
        return found

    @property
    def flags(self) -> tuple[str, ...]:
        """Arguments of its own that are true or false."""
        return tuple(name for name, x in self._own() if isinstance(x.default, bool))

    @property
    def own_numbers(self) -> tuple[str, ...]:
        """Arguments of its own that are numbers or pairs."""
        return tuple(name for name, x in self._own() if not isinstance(x.default, bool))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Arguments of a configuration that are numbers or pairs, with those of all classes."""
        return ("lr", "lr_scale", "weight_decay", *self.own_numbers)

    def _own(self) -> Iterator[tuple[str, Any]]:
        for name, field in self.cls.fields.items():
            if name not in Options.fields:
                yield name, field

    def is_pair(self, argument: str) -> bool:
        """Whether an argument is a pair of numbers."""
        return argument in PAIRS

    def ranges(self, argument: str, convention: str) -> list[tuple[str, Range]]:
        """Return the range of each number of an argument, by its name in Python's rows."""
        field = self.cls.fields[argument]
        if argument in self.own_numbers and field.of_convention and argument not in self.conventions[convention]:
            return [(name, LACKING) for name in PAIRS.get(argument, (argument,))]
        allowed = {**self.cls._ranges(), **self.cls.limits.get(convention, {})}
        return [(name, allowed[name]) for name in PAIRS.get(argument, (argument,))]

    def default(self, argument: str, convention: str) -> Any:
        """Return a default: a number, a pair, or None if it must be given."""
        if argument in STARTS:
            return STARTS[argument]
        defaults, field = self.conventions[convention], self.cls.fields[argument]
        if argument in defaults:
            return defaults[argument]
        return field.default if isinstance(field.default, float) else 0.0

    def places(self, argument: str) -> dict[str, str]:
        """Return the text of each number of an argument in a configuration, by its name in Python's rows."""
        if self.is_pair(argument):
            return {name: f"{argument}[{k}]" for k, name in enumerate(PAIRS[argument])}
        return {argument: argument}


CLASSES = tuple(Class(cls) for cls in registry if cls.__module__.startswith("pyfastlr."))
