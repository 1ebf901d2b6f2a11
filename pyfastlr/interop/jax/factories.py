"""The optimizers as functions with optax's names and our arguments, made from the classes' declarations."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber, hint
from pyfastlr.optimizers.options import Options

from .settings import read
from .transformation import Transformation, transformation

# Of the arguments that all classes share, those that make sense here; `mask` is ours.
_COMMON = ("weight_decay", "decay", "lr_scale", "convention", "maximize", "threads")
# What is explained otherwise than in the classes.
_TEXTS = {
    "lr": """\
lr : float >= 0, Schedule, or callable
    Learning rate. A schedule of pyfastlr is evaluated inside the compiled program, in float64. Any other callable, such
    as a schedule of optax, is called with the traced count, an int32. The count is 0 for the first update. The rate, as
    all hyperparameters, may also be an array of jax, a traced one too: a program that gets it as an argument is not
    compiled again.""",
    "mask": """\
mask : tree of bool like params, or function of params that returns one, optional
    Which arrays weight decay applies to. The default is all.""",
    "lr_scale": """\
lr_scale : float > 0, optional
    Factor of the rate.""",
    "convention": """\
convention : {{{conventions}}}, optional
    Library whose formula and defaults are used (docs/conventions.md).""",
}
# Rprop's rate is no rate.
_START = """\
lr : float >= 0
    The initial step size of each element. It must be known when `init` is called."""
_HINTS = {
    "clip_norm": "put `optax.clip_by_global_norm` before it in an `optax.chain`",
    "clip_norm_each": "put `optax.clip_by_block_rms` or your own transformation before it in an `optax.chain`",
    "clip_value": "put `optax.clip` before it in an `optax.chain`",
    "nonfinite": "wrap it in `optax.apply_if_finite`",
    "ema_decay": "keep an average of the parameters by `optax.ema`",
    "accumulate": "wrap it in `optax.MultiSteps`",
    "groups": "use `optax.multi_transform`, or `mask` for weight decay",
    "params": "give the parameters to `init`",
    "loss_scale": "give its inverse to `update` as `inv_scale`",
    "learning_rate": "use `lr`, or give it as the first argument",
}


def _names(cls: type[Optimizer]) -> list[str]:
    """Names of a function's arguments: `lr`, the class's own, then the common ones."""
    own = [name for name in cls.fields if name not in Options.fields]
    return ["lr", *own, *(name for name in _COMMON if name != "mask")]


def factory(name: str, cls: type[Optimizer], **defaults: Any) -> Callable[..., Transformation]:
    """Return the function of a class. `defaults` are those of its arguments that differ."""
    names = _names(cls)
    parameter = inspect.Parameter
    parameters = [
        parameter(
            x,
            parameter.POSITIONAL_OR_KEYWORD if x == "lr" else parameter.KEYWORD_ONLY,
            default=None if x == "lr_scale" else defaults.get(x, cls.fields[x].default),
        )
        for x in names
    ]
    parameters.insert(names.index("decay") + 1, parameter("mask", parameter.KEYWORD_ONLY, default=None))
    signature = inspect.Signature(parameters, return_annotation=Transformation)

    def function(*positional: Any, **named: Any) -> Transformation:
        for x in named:
            if x not in signature.parameters:
                advice = f": {_HINTS[x]}" if x in _HINTS else hint(x, signature.parameters)
                raise TypeError(f"{name}() got an unexpected argument `{x}`{advice}")
        if len(positional) > 1:
            raise TypeError(
                f"{name}() takes 1 positional argument (lr), got {len(positional)}: pass the others by name"
            )
        given = signature.bind(*positional, **named)
        given.apply_defaults()
        mask = given.arguments.pop("mask")
        return transformation(read(cls, given.arguments, mask))

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = _documented(name, cls, names, defaults)
    return function


def _documented(name: str, cls: type[Optimizer], names: list[str], defaults: Mapping[str, Any]) -> str:
    """Help of a function, from its class's."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    intro, _, rest = doc.partition("Parameters\n----------\n")
    entries = {
        x.partition(" : ")[0]: x.rstrip() for x in re.split(r"\n(?=\w)", rest.partition("\nRaises\n------\n")[0])
    }
    known = ", ".join(f'"{x}"' for x in cls.conventions)
    texts = {x: text.format(conventions=known) for x, text in _TEXTS.items()}
    if isinstance(cls.fields["lr"], StartNumber):
        texts["lr"] = _START
    # Defaults in the class's help are those of its first convention.
    shown = [texts.get(x) or re.sub(r", default [^\n]*", "", entries[x], count=1) for x in names]
    shown.insert(names.index("decay") + 1, texts["mask"])
    convention = "optax" if "optax" in cls.conventions else next(iter(cls.conventions))
    values = {**{k: v for k, v in cls.conventions[convention].items() if v is not None}, **defaults}
    given = ", ".join(f"{k}={v!r}" for k, v in values.items())
    return (
        f"{intro}Parameters\n----------\n" + "\n".join(shown) + "\n\nReturns\n-------\nTransformation\n"
        "    With `init`, `update` and `apply`.\n\nRaises\n------\nTypeError, ValueError\n"
        "    If an argument has the wrong type or is out of range. Traced values are not checked.\n\nNotes\n-----\n"
        f"The default `convention` is {convention!r}, with {given}.\n"
        f"`pyfastlr.{cls.__name__}` has examples and sources.\n"
    )
