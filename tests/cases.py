"""The one table of optimizers: it drives the tests, the benchmarks and the README's table.

Importing it imports no optimizer library: `Case.make` and `Case.live` do, when they are called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import reference

DECAYS = ("coupled", "decoupled", "independent")
CONVENTIONS = {"torch": "torch.optim", "keras": "keras.optimizers", "optax": "optax"}  # and their modules


@dataclass(frozen=True)
class Live:
    """Another library's optimizer, imported when it is called."""

    module: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    decayed: str | None = None  # the name under which it takes `weight_decay`, if it does

    def __call__(self, *args: Any, **options: Any) -> Any:
        name = self.decayed if "weight_decay" in options else self.name
        return getattr(import_module(self.module), name)(*args, **{**self.kwargs, **options})


@dataclass(frozen=True)
class Case:
    """One optimizer in one variant under one convention."""

    name: str
    cls: str  # in pyfastlr
    convention: str
    formula: Callable[..., Any]  # in reference.py
    lr: float  # the library's default, or a usual one where it has none
    state: tuple[str, ...]  # names of the state arrays, in order
    kwargs: Mapping[str, Any]  # what makes the variant, in pyfastlr as in the library
    hyper: Mapping[str, Any]  # all that the formula needs: the library's defaults, and the variant
    decay: str  # the library's kind
    live: Live  # call it as in the library: live(params, lr) for torch, live(lr) for the others; weight_decay=0.1

    def make(self, params: Any, lr: Any = None, **options: Any) -> Any:
        """The pyfastlr optimizer of this row, without weight decay unless the options have it."""
        import pyfastlr

        options = {"weight_decay": 0.0, "convention": self.convention, **self.kwargs, **options}
        return getattr(pyfastlr, self.cls)(params, self.lr if lr is None else lr, **options)


# The defaults of each library, in pyfastlr's names, that of `convention=None` first. A name that is not there is an
# argument that the library lacks; optax has no default of lr.
_BETAS = {"betas": (0.9, 0.999), "eps": 1e-8}
_KERAS_BETAS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7}
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {
        "torch": {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "nesterov": False},
        "keras": {"lr": 1e-2, "momentum": 0.0, "nesterov": False},
        "optax": {"momentum": 0.0, "nesterov": False},
    },
    "RMSProp": {
        "torch": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "centered": False, "momentum": 0.0},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "centered": False, "momentum": 0.0},
        "optax": {"alpha": 0.9, "eps": 1e-8, "centered": False, "momentum": 0.0},
    },
    "AdaGrad": {
        "torch": {"lr": 1e-2, "eps": 1e-10, "initial_accumulator_value": 0.0, "lr_decay": 0.0},
        "keras": {"lr": 1e-3, "eps": 1e-7, "initial_accumulator_value": 0.1},
        "optax": {"eps": 1e-7, "initial_accumulator_value": 0.1},
    },
    "Adam": {"torch": {"lr": 1e-3, **_BETAS}, "keras": _KERAS_BETAS, "optax": _BETAS},
    "AdamW": {
        "torch": {"lr": 1e-3, "weight_decay": 1e-2, **_BETAS},
        "keras": {"weight_decay": 4e-3, **_KERAS_BETAS},
        "optax": {"weight_decay": 1e-4, **_BETAS},
    },
    "AMSGrad": {"torch": {"lr": 1e-3, **_BETAS}, "keras": _KERAS_BETAS, "optax": _BETAS},
    "NAdam": {
        "torch": {"lr": 2e-3, "momentum_decay": 4e-3, **_BETAS},
        "keras": _KERAS_BETAS,
        "optax": _BETAS,
    },
    "Adamax": {"torch": {"lr": 2e-3, **_BETAS}, "keras": _KERAS_BETAS, "optax": _BETAS},
    "RAdam": {"torch": {"lr": 1e-3, **_BETAS}, "optax": _BETAS},
    "AdaDelta": {
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7},
        "optax": {"rho": 0.9, "eps": 1e-6},
    },
    "Lion": {
        "optax": {"weight_decay": 1e-3, "betas": (0.9, 0.99)},
        "keras": {"lr": 1e-3, "betas": (0.9, 0.99)},
    },
}
USUAL_LR = {"SGD": 1e-3, "RMSProp": 1e-2, "AdaGrad": 1e-2, "AdaDelta": 1.0, "Lion": 1e-4}  # under optax; else 1e-3


def decay_kind(cls: str, convention: str) -> str:
    """A library's kind of weight decay: optax adds AdaDelta's to the gradient."""
    if convention == "torch":
        return "decoupled" if cls == "AdamW" else "coupled"
    return "coupled" if (cls, convention) == ("AdaDelta", "optax") else "decoupled"


# The libraries' names in the order of CONVENTIONS, and optax's where it takes a weight decay.
_AMSGRAD = {"amsgrad": True}
_NAMES = {
    "SGD": ("SGD", "SGD", "sgd"),
    "RMSProp": ("RMSprop", "RMSprop", "rmsprop"),
    "AdaGrad": ("Adagrad", "Adagrad", "adagrad"),
    "Adam": ("Adam", "Adam", "adam"),
    "AdamW": ("AdamW", "AdamW", "adamw"),
    "AMSGrad": ("Adam", "Adam", "amsgrad"),
    "NAdam": ("NAdam", "Nadam", "nadam"),
    "Adamax": ("Adamax", "Adamax", "adamax"),
    "RAdam": ("RAdam", None, "radam"),
    "AdaDelta": ("Adadelta", "Adadelta", "adadelta"),
    "Lion": (None, "Lion", "lion"),
}
_DECAYED = {"adamw": "adamw", "nadam": "nadamw", "adamax": "adamaxw", "adadelta": "adadelta", "lion": "lion"}

_MOMENTS = ("exp_avg", "exp_avg_sq")
_BUFFER = ("momentum_buffer",)
_VARIANTS: dict[str, dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "SGD": {
        "sgd": ((), {}),
        "sgd-momentum": (_BUFFER, {"momentum": 0.9}),
        "sgd-dampening": (_BUFFER, {"momentum": 0.9, "dampening": 0.3}),
        "sgd-nesterov": (_BUFFER, {"momentum": 0.9, "nesterov": True}),
    },
    "RMSProp": {
        "rmsprop": (("square_avg",), {}),
        "rmsprop-momentum": (("square_avg", *_BUFFER), {"momentum": 0.9}),
        "rmsprop-centered": (("square_avg", "grad_avg"), {"centered": True}),
        "rmsprop-centered-momentum": (("square_avg", "grad_avg", *_BUFFER), {"centered": True, "momentum": 0.9}),
    },
    "AdaGrad": {
        "adagrad": (("sum",), {}),
        "adagrad-lr-decay": (("sum",), {"lr_decay": 0.01}),
        "adagrad-initial": (("sum",), {"initial_accumulator_value": 0.3}),
    },
    "Adam": {"adam": (_MOMENTS, {})},
    "AdamW": {"adamw": (_MOMENTS, {})},
    "AMSGrad": {"amsgrad": ((*_MOMENTS, "max_exp_avg_sq"), {})},
    "NAdam": {"nadam": (_MOMENTS, {})},
    "Adamax": {"adamax": (("exp_avg", "exp_inf"), {})},
    "RAdam": {"radam": (_MOMENTS, {})},
    "AdaDelta": {"adadelta": (("square_avg", "acc_delta"), {})},
    "Lion": {"lion": (("exp_avg",), {})},
}


def _cases(cls: str, convention: str) -> list[Case]:
    """The rows of an optimizer under a convention: the variants whose arguments the library has."""
    defaults = DEFAULTS[cls][convention]
    name = dict(zip(CONVENTIONS, _NAMES[cls], strict=True))[convention]
    rows = []
    for variant, (state, kwargs) in _VARIANTS[cls].items():
        if kwargs.keys() <= defaults.keys():
            theirs = {**kwargs, **(_AMSGRAD if cls == "AMSGrad" and convention != "optax" else {})}
            decayed = _DECAYED.get(name) if convention == "optax" else name
            hyper = {key: value for key, value in {**defaults, **kwargs}.items() if key not in ("lr", "weight_decay")}
            rows.append(
                Case(
                    variant if convention == next(iter(DEFAULTS[cls])) else f"{variant}-{convention}",
                    cls,
                    convention,
                    getattr(reference, "adam" if cls == "AdamW" else cls.lower()),
                    lr=defaults.get("lr", USUAL_LR.get(cls, 1e-3)),
                    state=state,
                    kwargs=kwargs,
                    hyper={"convention": convention, **hyper},
                    decay=decay_kind(cls, convention),
                    live=Live(CONVENTIONS[convention], name, theirs, decayed),
                )
            )
    return rows


CASES = tuple(case for cls, conventions in DEFAULTS.items() for x in conventions for case in _cases(cls, x))


def table() -> str:
    """The README's table of optimizers, as Markdown."""
    rows = ["| pyfastlr | state | torch | Keras | optax |", "|---|---|---|---|---|"]
    for cls in DEFAULTS:
        state = dict.fromkeys(name for case in CASES if case.cls == cls for name in case.state)
        peers = [
            f"`{name}(amsgrad=True)`" if (cls, name) == ("AMSGrad", "Adam") else f"`{name}`" if name else ""
            for name in _NAMES[cls]
        ]
        rows.append("| " + " | ".join([f"`{cls}`", ", ".join(state) or "none", *peers]) + " |")
    return "\n".join(rows)
