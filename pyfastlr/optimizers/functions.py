"""Names, arguments and help of the functions in `pyfastlr.kernels`, from the optimizer classes. Does not use numba."""

from collections.abc import Iterator
from typing import NamedTuple

from pyfastlr.engines.hyper import PAIRS
from pyfastlr_kernels.rules import RULES

from .base import Optimizer, registry
from .options import Options

COMMON = ("weight_decay", "decay", "convention", "lr_scale")  # last arguments of every function


class Function(NamedTuple):
    """A function for `@njit` code: one rule of a class."""

    name: str
    cls: type[Optimizer]
    rule: str
    arguments: tuple[str, ...]  # the function's own, after p, g, state, n and lr
    required: tuple[str, ...]  # own arguments without a default

    @property
    def state(self) -> tuple[str, ...]:
        """Names of the state arrays."""
        rule = RULES[self.rule]
        return (*rule.state_names, *("carry" for _ in rule.carry))

    def signature(self) -> str:
        """Annotated arguments, as Python source."""
        own = [f"{x}: float" if x in self.required else f"{x}: {_kind(x)} = None" for x in self.arguments]
        return ", ".join(
            ("p: Array", "g: Array", "state: State", "n: int", "lr: float", *own, "weight_decay: Number = None",
             "decay: Word = None", "convention: Word = None", "lr_scale: float = 1.0")
        )  # fmt: skip

    def fields(self) -> list[str]:
        """Argument of the compiled step for each field of the rule: a name in the function body, or None."""
        of_pair = [field for name in self.arguments for field in PAIRS.get(name, ())]
        return [field if field in self.arguments or field in of_pair else "None" for field in RULES[self.rule].hyper]

    def text(self) -> str:
        """Python source of the function, for numba."""
        names = [x.partition(":")[0] for x in self.signature().split(", ")]
        defaults = [x.partition(" = ")[2] for x in self.signature().split(", ")]
        arguments = ", ".join(
            f"{name}={default}" if default else name for name, default in zip(names, defaults, strict=True)
        )
        lines = [f"def {self.name}({arguments}):"]
        lines += [f"    {', '.join(PAIRS[x])} = pair({x})" for x in self.arguments if x in PAIRS]
        given = ", ".join(("lr", "lr_scale", "weight_decay", *self.fields()))
        lines.append(f"    step({self.name!r}, convention, decay, p, g, state, n, ({given}))")
        return "\n".join(lines)

    def doc(self) -> str:
        """Help of the function."""
        state, start = _tuple(self.state), _tuple(self._start())
        chosen = self.cls.rules[self.rule]
        given = "".join(f", {x}={chosen[x]}" for x in self.required)
        flag = "".join(f", {x}={value}" for x, value in chosen.items() if x not in self.required)
        convention = next(iter(self.cls.conventions))
        kinds = {x: self.cls.fields[x].kind.removesuffix(", Schedule or callable") for x in self.arguments}
        own = "".join(f"    {x} : {kind}\n" for x, kind in kinds.items())
        return f"""{self.title()}

    The update of `pyfastlr.{self.cls.__name__}`, bit for bit, for your own `@njit` code. Updates p and state in place.

    Parameters
    ----------
    p : float32[...] or float64[...]
        Parameters. C-contiguous, with any number of dimensions.
    g : like p
        Gradient.
    state : {state}
        Arrays in the order of ``opt.state``{", then the float64[1] carry" if RULES[self.rule].carry else ""}.
    n : int >= 0
        Index of the update, from 0.
    lr : float
        Learning rate.
{own}    weight_decay, lr_scale : float
    decay, convention : str
        As in the class. In `@njit` code they must be literals, because they select the compiled code. By default,
        the convention of {convention}, with its defaults.

    Raises
    ------
    TypeError
        At compile time, if a dtype, number of dimensions, layout or tuple is wrong.
    ValueError
        At run time, if a shape is wrong or n < 0. Nothing is changed in that case.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import kernels
    >>> p, state = np.array([1.0, 2.0]), {start}
    >>> kernels.{self.name}(p, np.array([1.0, -1.0]), state, 0, 0.1{given})
    >>> q = np.array([1.0, 2.0])
    >>> flr.{self.cls.__name__}(q, lr=0.1{given}{flag}).step(np.array([1.0, -1.0]))
    >>> p.tobytes() == q.tobytes()
    True
    """

    def _start(self) -> Iterator[str]:
        """State arrays for two parameters before the first update, as Python source."""
        rule, defaults = RULES[self.rule], next(iter(self.cls.conventions.values()))
        rate = {"lr": 0.1}  # of the example
        for slot in rule.slots:
            value = {**defaults, **rate}[slot.initial] if isinstance(slot.initial, str) else slot.initial
            yield f"np.full(2, {value})" if value else "np.zeros(2)"
        for value in rule.carry:
            yield {0.0: "np.zeros(1)", 1.0: "np.ones(1)"}[value]

    def title(self) -> str:
        """First line of the class's help."""
        return (self.cls.__doc__ or "").partition("\n")[0]


def _kind(argument: str) -> str:
    return "Betas" if argument in PAIRS else "Number"


def _tuple(items: "Iterator[str] | tuple[str, ...]") -> str:
    parts = list(items)
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _functions() -> Iterator[Function]:
    for cls in registry:
        for rule in cls.rules:
            fields = set(RULES[rule].hyper) - ({"dampening"} if rule == "nesterov" else set())
            own = tuple(
                name
                for name, x in cls.fields.items()
                if x.is_hyperparameter and name not in Options.fields and set(PAIRS.get(name, (name,))) <= fields
            )
            required = tuple(x for x in own if x == "momentum")
            name = rule if len(cls.rules) > 1 else cls.__name__.lower()
            yield Function(name, cls, rule, (*required, *(x for x in own if x not in required)), required)


FUNCTIONS = {function.name: function for function in _functions()}
