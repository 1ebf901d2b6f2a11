"""The arguments of an optimizer, checked as its class checks them, and which of its numbers are known when.

A number that Python has is written into the call. A number that only the running program has (a traced value, a
schedule's value) is an operand of it, so no value of it compiles anything again.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from pyfastlr.engines.hyper import ABOVE_ZERO, number
from pyfastlr.optimizers import Optimizer
from pyfastlr.schedules import Custom, Schedule
from pyfastlr.schedules.checks import got
from pyfastlr.schedules.controller import is_controller
from pyfastlr_kernels.rules import RULES, Rule
from pyfastlr_kernels.xla.layout import row_fields


class Operand:
    """A number that the program has only when it runs, where a class would get a callable."""

    def __init__(self, value: Any, name: str) -> None:
        if value.shape != () or not jax.numpy.issubdtype(value.dtype, np.number) or np.iscomplexobj(value):
            raise TypeError(f"`{name}` must be a number, got an array of shape {value.shape} and dtype {value.dtype}")
        self.value = value

    def __call__(self, n: int) -> NoReturn:
        """Raise an error: only a program calls for it."""
        raise TypeError("a traced number has no value yet")

    def __repr__(self) -> str:
        return f"an array of jax{_STATIC}"


class Settings(NamedTuple):
    """What an optimizer of a rule is built with."""

    cls: type[Optimizer]
    rule_name: str
    convention: str
    fields: Mapping[str, Any]  # of the rule's row: a float, a Schedule, a callable of the count, or an array
    initial: Mapping[str, float]  # of each state
    sign: float
    threads: int | None
    mask: Any  # which parameters decay: a tree of bools, a function of the parameters that returns one, or None

    @property
    def rule(self) -> Rule:
        """The rule."""
        return RULES[self.rule_name]

    @property
    def decays(self) -> bool:
        """Whether there is, or may be, weight decay."""
        weight = self.fields["weight_decay"]
        return not (isinstance(weight, float) and weight == 0.0)

    @property
    def needs_parameters(self) -> bool:
        """Whether an update depends on the parameters."""
        return self.decays or self.rule.sets


def read(cls: type[Optimizer], arguments: Mapping[str, Any], mask: Any) -> Settings:
    """Check the arguments of an optimizer."""
    arguments = dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, jax.Array) and (name == "lr_scale" or not cls.fields[name].is_hyperparameter):
            raise TypeError(f"`{name}` must be known when the program is compiled, got an array of jax{_STATIC}")
    scale = arguments["lr_scale"]
    arguments["lr_scale"] = 1.0 if scale is None else number(scale, "lr_scale", ABOVE_ZERO, also=_FROZEN)
    if arguments["convention"] is None and "optax" in cls.conventions:
        arguments["convention"] = "optax"
    # The class itself checks them, for one element.
    opt = cls(np.zeros(1), **{name: _for_class(value, name) for name, value in arguments.items()})
    own = opt._hyper.current.own[0]
    row = opt._hyper.current.rows[0]
    fields = {
        name: _source(own[name], name) if name in own else float(row[name]) for name in row_fields(opt.rule)
    }  # fmt: skip
    initial = {name: float(x[0]) for name, x in opt.state.items()}
    sign = -1.0 if arguments["maximize"] else 1.0
    return Settings(cls, opt.rule, opt.convention or "", fields, initial, sign, arguments["threads"], mask)


_STATIC = " (for `optax.inject_hyperparams`, name it in `static_args`)"
_FROZEN = " for all parameters (to freeze some, use `optax.masked` or `optax.set_to_zero`)"


def _for_class(value: Any, name: str) -> Any:
    """Return an argument with a callable in place of each array of jax."""
    if isinstance(value, jax.Array):
        return Operand(value, name)
    if isinstance(value, tuple | list):
        return tuple(_for_class(x, f"{name}[{k}]") for k, x in enumerate(value))
    return value


def _source(value: Any, name: str) -> Any:
    """Return a number, an array of jax, one of our schedules, or a callable of the count."""
    if is_controller(value):
        raise TypeError(
            f"`{name}` must be a number, a schedule or a callable of the count, got {type(value).__name__}: a "
            "controller reacts to a run, and a compiled program cannot call it; see `optax.contrib.reduce_on_plateau`"
        )
    if isinstance(value, Custom):
        function = value.parameters["function"]
        return function.value if isinstance(function, Operand) else function
    if isinstance(value, Schedule):
        check_compilable(value, name)
    return value


def check_compilable(schedule: Schedule, name: str) -> None:
    """Check that a schedule is made of curves only."""
    for part in schedule.parameters.values():
        if isinstance(part, Schedule):
            check_compilable(part, name)
    if isinstance(schedule, Custom):
        function: Callable[..., Any] = schedule.parameters["function"]
        raise TypeError(
            f"`{name}` must be made of schedules that can be compiled, {got(function)} inside one: write a Schedule "
            "class with a curve, or pass a callable alone, which is called with the traced count"
        )
