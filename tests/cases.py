"""The one table of optimizers: it drives the tests, the benchmarks and the README's table.

Importing it imports no optimizer library: `Case.make`, `Case.torch` and `Case.optax` do, when they are called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import reference

DECAYS = ("coupled", "decoupled", "independent")


@dataclass(frozen=True)
class Case:
    """One optimizer in one variant under one convention."""

    name: str
    cls: str  # in pyfastlr
    formula: Callable[..., Any]  # in reference.py
    lr: float  # the convention's default, or a usual one where it has none
    state: tuple[str, ...] = ()  # names of the state arrays, in order
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    decay: str = "coupled"  # the convention's kind
    convention: str = "torch"
    peers: Mapping[str, str] = field(default_factory=dict)  # library -> its name for this optimizer
    torch: Callable[..., Any] | None = None  # the live optimizer: call it as torch's, torch(params, lr, weight_decay=0)
    optax: Callable[..., Any] | None = None  # the live transformation: call it as optax's, optax(lr, weight_decay=0)

    def make(self, params: Any, lr: Any = None, **options: Any) -> Any:
        """The pyfastlr optimizer of this row, without weight decay unless the options have it."""
        import pyfastlr

        options = {"weight_decay": 0.0, "convention": self.convention, **self.kwargs, **options}
        return getattr(pyfastlr, self.cls)(params, self.lr if lr is None else lr, **options)


@dataclass(frozen=True)
class Live:
    """Another library's optimizer, imported when it is called."""

    module: str
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(import_module(self.module), self.name)(*args, **{**self.kwargs, **options})


def _torch(cls: str, **kwargs: Any) -> Live:
    return Live("torch.optim", cls, kwargs)


_SGD = {"cls": "SGD", "formula": reference.sgd, "lr": 1e-3, "peers": {"torch": "SGD", "keras": "SGD", "optax": "sgd"}}
_RMSPROP = {
    "cls": "RMSProp",
    "formula": reference.rmsprop,
    "lr": 1e-2,
    "peers": {"torch": "RMSprop", "keras": "RMSprop", "optax": "rmsprop"},
}
_ADAGRAD = {
    "cls": "AdaGrad",
    "formula": reference.adagrad,
    "lr": 1e-2,
    "state": ("sum",),
    "peers": {"torch": "Adagrad", "keras": "Adagrad", "optax": "adagrad"},
}
_BUFFER = ("momentum_buffer",)
_MOMENTS = ("exp_avg", "exp_avg_sq")


def _variant(family: dict[str, Any], name: str, state: tuple[str, ...] = (), **kwargs: Any) -> Case:
    """A row of a family whose keyword arguments are torch's too."""
    options = {"state": state, **family}
    return Case(name, kwargs=kwargs, torch=_torch(family["peers"]["torch"], **kwargs), **options)


CASES: tuple[Case, ...] = (
    _variant(_SGD, "sgd"),
    _variant(_SGD, "sgd-momentum", _BUFFER, momentum=0.9),
    _variant(_SGD, "sgd-dampening", _BUFFER, momentum=0.9, dampening=0.3),
    _variant(_SGD, "sgd-nesterov", _BUFFER, momentum=0.9, nesterov=True),
    _variant(_RMSPROP, "rmsprop", ("square_avg",)),
    _variant(_RMSPROP, "rmsprop-momentum", ("square_avg", *_BUFFER), momentum=0.9),
    _variant(_RMSPROP, "rmsprop-centered", ("square_avg", "grad_avg"), centered=True),
    _variant(_RMSPROP, "rmsprop-centered-momentum", ("square_avg", "grad_avg", *_BUFFER), centered=True, momentum=0.9),
    _variant(_ADAGRAD, "adagrad"),
    _variant(_ADAGRAD, "adagrad-lr-decay", lr_decay=0.01),
    _variant(_ADAGRAD, "adagrad-initial", initial_accumulator_value=0.1),
    Case(
        "adam",
        "Adam",
        reference.adam,
        lr=1e-3,
        state=_MOMENTS,
        peers={"torch": "Adam", "keras": "Adam", "optax": "adam"},
        torch=_torch("Adam"),
    ),
    Case(
        "adamw",
        "AdamW",
        reference.adam,
        lr=1e-3,
        state=_MOMENTS,
        decay="decoupled",
        peers={"torch": "AdamW", "keras": "AdamW", "optax": "adamw"},
        torch=_torch("AdamW"),
    ),
    Case(
        "amsgrad",
        "AMSGrad",
        reference.amsgrad,
        lr=1e-3,
        state=(*_MOMENTS, "max_exp_avg_sq"),
        peers={"torch": "Adam(amsgrad=True)", "keras": "Adam(amsgrad=True)", "optax": "amsgrad"},
        torch=_torch("Adam", amsgrad=True),
    ),
    Case(
        "nadam",
        "NAdam",
        reference.nadam,
        lr=2e-3,
        state=_MOMENTS,
        peers={"torch": "NAdam", "keras": "Nadam", "optax": "nadam"},
        torch=_torch("NAdam"),
    ),
    Case(
        "adamax",
        "Adamax",
        reference.adamax,
        lr=2e-3,
        state=("exp_avg", "exp_inf"),
        peers={"torch": "Adamax", "keras": "Adamax", "optax": "adamax"},
        torch=_torch("Adamax"),
    ),
    Case(
        "radam",
        "RAdam",
        reference.radam,
        lr=1e-3,
        state=_MOMENTS,
        peers={"torch": "RAdam", "optax": "radam"},
        torch=_torch("RAdam"),
    ),
    Case(
        "adadelta",
        "AdaDelta",
        reference.adadelta,
        lr=1.0,
        state=("square_avg", "acc_delta"),
        peers={"torch": "Adadelta", "keras": "Adadelta", "optax": "adadelta"},
        torch=_torch("Adadelta"),
    ),
    Case(
        "lion",
        "Lion",
        reference.lion,
        lr=1e-4,
        state=("exp_avg",),
        decay="decoupled",
        convention="optax",
        peers={"keras": "Lion", "optax": "lion"},
        optax=Live("optax", "lion"),
    ),
)


def table() -> str:
    """The README's table of optimizers, as Markdown."""
    rows = ["| pyfastlr | state | torch | Keras | optax |", "|---|---|---|---|---|"]
    for cls in dict.fromkeys(case.cls for case in CASES):
        variants = [case for case in CASES if case.cls == cls]
        peers = {library: peer for case in variants for library, peer in case.peers.items()}
        names = dict.fromkeys(name for case in variants for name in case.state)
        cells = [
            f"`{cls}`",
            ", ".join(names) or "none",
            *(f"`{peers[x]}`" if x in peers else "" for x in ("torch", "keras", "optax")),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
