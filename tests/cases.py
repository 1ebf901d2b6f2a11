"""The table of optimizers that drives the tests, the benchmarks and the README's table.

Importing it imports no optimizer library; calling `Case.make` or `Case.live` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

import reference

DECAYS = ("coupled", "decoupled", "independent")
CONVENTIONS = {"torch": "torch.optim", "keras": "keras.optimizers", "optax": "optax"}  # and their modules
TORCH, KERAS, OPTAX = CONVENTIONS
SIGNED = {"exp_avg", "momentum_buffer", "grad_avg"}  # states that may be negative; rows add theirs


def this_rate(before: float, lr: float, t: int, **_: Any) -> float:
    """Rate of update t if the formula uses that update's own rate."""
    return lr


@dataclass(frozen=True)
class Flush:
    """Where eps is in each convention, and so hides a flushed state: "outside" the root, "inside", or "plain"."""

    where: Mapping[str, str]
    slot: str = "exp_avg_sq"
    weight: str = "betas"  # the argument that has the weight of the past
    own: Mapping[str, Any] = field(default_factory=dict)  # arguments without which nothing is subnormal


@dataclass(frozen=True)
class Row:
    """One optimizer: its names and defaults in each library, and its facts for the tests of all optimizers."""

    formula: Callable[..., Any]  # (p, g, state, t, lr, convention, **hyper) -> (p, state), as in reference.py
    # Each library's defaults, in pyfastlr's names, that of `convention=None` first. A name that is not there is an
    # argument that the library lacks; optax has no default of lr.
    defaults: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, str]  # the libraries' names
    variants: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]]  # state's names and arguments, by the case's name
    theirs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # arguments that only the library needs
    # The names under which libraries take weight decay. Not there: torch and Keras by their own name, optax not at all.
    decayed: Mapping[str, str | None] = field(default_factory=dict)
    decay: Mapping[str, str] = field(default_factory=dict)  # the library's kind; else torch's is coupled, others' not
    usual_lr: float = 1e-3  # under optax
    decays: tuple[str, ...] = DECAYS  # those that pyfastlr has
    start: Mapping[str, Any] = field(default_factory=dict)  # what a state starts at, or whose argument: else at zero
    signed: tuple[str, ...] = ()
    unflushed: tuple[str, ...] = ()  # states that keep subnormal numbers
    squared: tuple[str, ...] = ()  # states that are only squared, and zero where the square is subnormal
    flush: Flush | None = None  # if it depends on eps whether subnormal state is flushed
    lr: str = "any"  # or "positive"; or "start": a number that state starts at, not a rate
    rate: Callable[..., float] = this_rate  # (lr before, lr, t, **hyper): what the formula takes as lr
    carry: Callable[..., float] | None = None  # (t, lr, **hyper): what is carried into update t
    sets: bool = False  # the formula gives the parameter itself, not what it moves by
    pulls: bool = False  # the parameter itself is a term of the update, without weight decay too
    moves: bool = False  # it moves by a zero gradient too
    bounded: bool = False  # an infinite gradient leaves finite state
    refused: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # values of arguments that are out of range


@dataclass(frozen=True)
class Live:
    """Another library's optimizer. The library is imported at the call."""

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
    lr: float  # the library's default, or a usual one where it has none
    state: tuple[str, ...]  # names of the state arrays, in order
    kwargs: Mapping[str, Any]  # what makes the variant, in pyfastlr as in the library
    hyper: Mapping[str, Any]  # all that the formula needs: the library's defaults, and the variant
    decay: str  # the library's kind
    live: Live  # call it as in the library: live(params, lr) for torch, live(lr) for the others; weight_decay=0.1
    row: Row

    def make(self, params: Any, lr: Any = None, **options: Any) -> Any:
        """The pyfastlr optimizer of this row, without weight decay unless the options have it."""
        import pyfastlr

        options = {"weight_decay": 0.0, "convention": self.convention, **self.kwargs, **options}
        return getattr(pyfastlr, self.cls)(params, self.lr if lr is None else lr, **options)

    def start(self, p: Any, lr: float) -> dict[str, Any]:
        """State before the first update."""
        values = {**self.hyper, "lr": lr}
        first = {name: values.get(x) if isinstance(x, str) else x for name, x in self.row.start.items()}
        return {name: np.full_like(p, first.get(name, 0.0)) for name in self.state}

    def rate(self, lr: float, t: int, before: float | None = None) -> float:
        """What the formula takes as the rate of update t; the one before had the same lr unless it is given."""
        return self.row.rate(lr if before is None else before, lr, t, **self.hyper)

    def schedule(self, lr: Any) -> Any:
        """A schedule, or its first value where only a number is taken."""
        return lr(0) if self.row.lr == "start" else lr


_MOMENTS, _BUFFER = ("exp_avg", "exp_avg_sq"), ("momentum_buffer",)
_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
_KERAS_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7}
_AMSGRAD = {"amsgrad": True}
_OUTSIDE = Flush(dict.fromkeys(CONVENTIONS, "outside"))


def _row(formula: Callable[..., Any], torch: Any, keras: Any, optax: Any, variants: Any, **options: Any) -> Row:
    """Row of an optimizer, with its name and defaults in each library, or None."""
    theirs = {x: given for x, given in zip(CONVENTIONS, (torch, keras, optax), strict=True) if given}
    first = options.pop("first", next(iter(theirs)))
    theirs = dict(sorted(theirs.items(), key=lambda item: item[0] != first))
    names, defaults = ({x: given[k] for x, given in theirs.items()} for k in (0, 1))
    if isinstance(variants, tuple):
        variants = {formula.__name__: (variants, {})}
    return Row(formula, defaults, names, variants, **options)


ROWS: dict[str, Row] = {
    "SGD": _row(
        reference.sgd,
        ("SGD", {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "nesterov": False}),
        ("SGD", {"lr": 1e-2, "momentum": 0.0, "nesterov": False}),
        ("sgd", {"momentum": 0.0, "nesterov": False}),
        {
            "sgd": ((), {}),
            "sgd-momentum": (_BUFFER, {"momentum": 0.9}),
            "sgd-dampening": (_BUFFER, {"momentum": 0.9, "dampening": 0.3}),
            "sgd-nesterov": (_BUFFER, {"momentum": 0.9, "nesterov": True}),
        },
    ),
    "RMSProp": _row(
        reference.rmsprop,
        ("RMSprop", {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "centered": False, "momentum": 0.0}),
        ("RMSprop", {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "centered": False, "momentum": 0.0}),
        ("rmsprop", {"alpha": 0.9, "eps": 1e-8, "centered": False, "momentum": 0.0}),
        {
            "rmsprop": (("square_avg",), {}),
            "rmsprop-momentum": (("square_avg", *_BUFFER), {"momentum": 0.9}),
            "rmsprop-centered": (("square_avg", "grad_avg"), {"centered": True}),
            "rmsprop-centered-momentum": (
                ("square_avg", "grad_avg", *_BUFFER), {"centered": True, "momentum": 0.9}
            ),
        },
        usual_lr=1e-2,
        squared=("grad_avg",),
        flush=Flush({TORCH: "outside", KERAS: "inside", OPTAX: "inside"}, "square_avg", "alpha"),
    ),
    "AdaGrad": _row(
        reference.adagrad,
        ("Adagrad", {"lr": 1e-2, "eps": 1e-10, "initial_accumulator_value": 0.0, "lr_decay": 0.0}),
        ("Adagrad", {"lr": 1e-3, "eps": 1e-7, "initial_accumulator_value": 0.1}),
        ("adagrad", {"eps": 1e-7, "initial_accumulator_value": 0.1}),
        {
            "adagrad": (("sum",), {}),
            "adagrad-lr-decay": (("sum",), {"lr_decay": 0.01}),
            "adagrad-initial": (("sum",), {"initial_accumulator_value": 0.3}),
        },
        usual_lr=1e-2,
        start={"sum": "initial_accumulator_value"},
        unflushed=("sum",),
    ),
    "Adam": _row(
        reference.adam, ("Adam", {"lr": 1e-3, **_ADAM}), ("Adam", _KERAS_ADAM), ("adam", _ADAM), _MOMENTS,
        decayed={OPTAX: "adamw"}, flush=_OUTSIDE,
    ),
    "AdamW": _row(
        reference.adam,
        ("AdamW", {"lr": 1e-3, "weight_decay": 1e-2, **_ADAM}),
        ("AdamW", {"weight_decay": 4e-3, **_KERAS_ADAM}),
        ("adamw", {"weight_decay": 1e-4, **_ADAM}),
        {"adamw": (_MOMENTS, {})},
        decay={TORCH: "decoupled"},
        flush=_OUTSIDE,
        decayed={OPTAX: "adamw"},
    ),
    "AMSGrad": _row(
        reference.amsgrad, ("Adam", {"lr": 1e-3, **_ADAM}), ("Adam", _KERAS_ADAM), ("amsgrad", _ADAM),
        (*_MOMENTS, "max_exp_avg_sq"), theirs={TORCH: _AMSGRAD, KERAS: _AMSGRAD},
        flush=_OUTSIDE,
    ),
    "NAdam": _row(
        reference.nadam, ("NAdam", {"lr": 2e-3, "momentum_decay": 4e-3, **_ADAM}), ("Nadam", _KERAS_ADAM),
        ("nadam", _ADAM), _MOMENTS, decayed={OPTAX: "nadamw"}, carry=reference.nadam_carry,
        flush=_OUTSIDE,
    ),
    "Adamax": _row(
        reference.adamax, ("Adamax", {"lr": 2e-3, **_ADAM}), ("Adamax", _KERAS_ADAM), ("adamax", _ADAM),
        ("exp_avg", "exp_inf"), decayed={OPTAX: "adamaxw"},
        flush=Flush({TORCH: "plain", KERAS: "plain"}, "exp_inf"),
    ),
    "RAdam": _row(reference.radam, ("RAdam", {"lr": 1e-3, **_ADAM}), None, ("radam", _ADAM), _MOMENTS),
    "AdaDelta": _row(
        reference.adadelta,
        ("Adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-6}),
        ("Adadelta", {"lr": 1e-3, "rho": 0.95, "eps": 1e-7}),
        ("adadelta", {"rho": 0.9, "eps": 1e-6}),
        ("square_avg", "acc_delta"),
        usual_lr=1.0,
        decay={OPTAX: "coupled"},
        decayed={OPTAX: "adadelta"},
        flush=Flush(dict.fromkeys(CONVENTIONS, "inside"), "square_avg", "rho"),
    ),
    "Lion": _row(
        reference.lion,
        None,
        ("Lion", {"lr": 1e-3, "betas": (0.9, 0.99)}),
        ("lion", {"weight_decay": 1e-3, "betas": (0.9, 0.99)}),
        ("exp_avg",),
        first=OPTAX,
        usual_lr=1e-4,
        decayed={OPTAX: "lion"},
    ),
}  # fmt: skip


def adabelief(p, g, state, t, lr, convention, betas, eps, eps_root):
    m = betas[0] * state["exp_avg"] + (1 - betas[0]) * g
    v = betas[1] * state["exp_avg_var"] + (1 - betas[1]) * (g - m) * (g - m) + eps_root
    step = lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p - step, {"exp_avg": m, "exp_avg_var": v}


ROWS["AdaBelief"] = _row(
    adabelief,
    None,
    None,
    ("adabelief", {"betas": (0.9, 0.999), "eps": 1e-16, "eps_root": 1e-16}),
    ("exp_avg", "exp_avg_var"),
    flush=Flush({OPTAX: "outside"}, "exp_avg_var", own={"eps_root": 0.0}),
)


def yogi(p, g, state, t, lr, convention, betas, eps):
    m, v = betas[0] * state["exp_avg"] + (1 - betas[0]) * g, state["exp_avg_sq"]
    v = v - (1 - betas[1]) * np.sign(v - g * g) * (g * g)
    step = lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p - step, {"exp_avg": m, "exp_avg_sq": v}


ROWS["Yogi"] = _row(
    yogi,
    None,
    None,
    ("yogi", {"betas": (0.9, 0.999), "eps": 1e-3}),
    _MOMENTS,
    start={"exp_avg": 1e-6, "exp_avg_sq": 1e-6},
    moves=True,
    flush=Flush({OPTAX: "outside"}),
)


def rprop(p, g, state, t, lr, convention, etas, step_sizes):
    """`lr` is a factor of the moves: `unscaled`."""
    sign, step = np.sign(g * state["prev"]), state["step_size"]
    scaled = step * reference.where(sign == 0, 1.0, reference.where(sign > 0, etas[1], etas[0]))
    limited = np.minimum(np.maximum(scaled, step_sizes[0]), step_sizes[1])
    step = reference.where((sign == 0) & (convention == OPTAX), step, limited)
    move = reference.where(sign < 0, 0.0, step * np.sign(g))
    if convention == OPTAX:
        return p - lr * reference.where(sign < 0, 0.0, state["prev"]), {"prev": move, "step_size": step}
    return p - lr * move, {"prev": reference.where(sign < 0, 0.0, g), "step_size": step}


def unscaled(before: float, lr: float, t: int, **_: Any) -> float:
    """Factor of an update whose step size is in the state."""
    return 1.0


ROWS["Rprop"] = _row(
    rprop,
    ("Rprop", {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}),
    None,
    ("rprop", {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}),
    ("prev", "step_size"),
    usual_lr=1e-2,
    decay={OPTAX: "coupled"},
    decayed={TORCH: None},
    decays=("coupled", "independent"),
    start={"step_size": "lr"},
    signed=("prev",),
    unflushed=("prev", "step_size"),
    lr="start",
    rate=unscaled,
    bounded=True,
    refused={"etas": ((0.5, 1.0), (0.0, 1.2), (1.2, 0.5)), "step_sizes": ((-1.0, 50.0),)},
)


def asgd(p, g, state, t, lr, convention, lambd, alpha, t0):
    """`lr` is the rate of the update itself: `asgd_rate`."""
    p = p - lr * (lambd * p + g)
    mu = 1 / max(1, t - 1 - t0)
    return p, {"ax": p if mu == 1 else state["ax"] + mu * (p - state["ax"])}


def asgd_rate(before: float, lr: float, t: int, lambd: float, alpha: float, **_: Any) -> float:
    """Rate of update t: lr for the first one, later computed from the lr of the previous update."""
    return lr if t == 1 else before / (1 + lambd * before * (t - 1)) ** alpha


def asgd_carry(t: int, lr: float, **hyper: Any) -> float:
    """Rate carried over to update t, if lr is constant."""
    return asgd_rate(lr, lr, t, **hyper)


ROWS["ASGD"] = _row(
    asgd,
    ("ASGD", {"lr": 1e-2, "lambd": 1e-4, "alpha": 0.75, "t0": 1e6}),
    None,
    None,
    {"asgd": (("ax",), {}), "asgd-averaging": (("ax",), {"lambd": 0.01, "alpha": 0.6, "t0": 3.0})},
    decays=("coupled",),
    signed=("ax",),
    unflushed=("ax",),
    rate=asgd_rate,
    carry=asgd_carry,
    pulls=True,
    moves=True,
)


def ftrl(
    p, g, state, t, lr, convention, learning_rate_power, initial_accumulator_value, l1_regularization_strength,
    l2_regularization_strength, l2_shrinkage_regularization_strength, beta,
):  # fmt: skip
    n, l1 = state["accumulator"] + g * g, l1_regularization_strength
    sigma = (np.sqrt(n) - np.sqrt(state["accumulator"])) / lr
    z = state["linear"] + (g + 2 * l2_shrinkage_regularization_strength * p) - sigma * p
    clipped = np.minimum(np.maximum(z, -l1), l1)
    p = (clipped - z) / ((np.sqrt(n) + beta) / lr + 2 * l2_regularization_strength)
    return p, {"accumulator": n, "linear": z}


_FTRL = ("l1_regularization_strength", "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta")
ROWS["FTRL"] = _row(
    ftrl,
    None,
    ("Ftrl", {"lr": 1e-3, "learning_rate_power": -0.5, "initial_accumulator_value": 0.1, **dict.fromkeys(_FTRL, 0.0)}),
    None,
    {
        "ftrl": (("accumulator", "linear"), {}),
        "ftrl-regularized": (("accumulator", "linear"), dict(zip(_FTRL, (0.02, 0.3, 0.01, 0.5), strict=True))),
    },
    start={"accumulator": "initial_accumulator_value"},
    signed=("linear",),
    unflushed=("accumulator", "linear"),
    lr="positive",
    sets=True,
    pulls=True,
    moves=True,
    refused={"learning_rate_power": (-1.0, 0.0), "beta": (-0.1,)},
)


# --- Cases from the rows ----------------------------------------------------------------------------------------------


def decay_kind(cls: str, convention: str) -> str:
    """Kind of weight decay in a library."""
    return ROWS[cls].decay.get(convention, "coupled" if convention == TORCH else "decoupled")


def _cases(cls: str, convention: str) -> list[Case]:
    """Rows of an optimizer in a convention: the variants whose arguments the library has."""
    row = ROWS[cls]
    defaults, name = row.defaults[convention], row.names[convention]
    decayed = row.decayed.get(convention, None if convention == OPTAX else name)
    cases = []
    for variant, (state, kwargs) in row.variants.items():
        if kwargs.keys() <= defaults.keys():
            hyper = {key: value for key, value in {**defaults, **kwargs}.items() if key not in ("lr", "weight_decay")}
            cases.append(
                Case(
                    variant if convention == next(iter(row.defaults)) else f"{variant}-{convention}",
                    cls,
                    convention,
                    lr=defaults.get("lr", row.usual_lr),
                    state=state,
                    kwargs=kwargs,
                    hyper={"convention": convention, **hyper},
                    decay=decay_kind(cls, convention),
                    live=Live(CONVENTIONS[convention], name, {**kwargs, **row.theirs.get(convention, {})}, decayed),
                    row=row,
                )
            )
    return cases


DEFAULTS = {cls: row.defaults for cls, row in ROWS.items()}
SIGNED |= {name for row in ROWS.values() for name in row.signed}
CASES = tuple(case for cls, row in ROWS.items() for x in row.defaults for case in _cases(cls, x))


def table() -> str:
    """The README's table of optimizers, as Markdown."""
    lines = ["| pyfastlr | state | torch | Keras | optax |", "|---|---|---|---|---|"]
    for cls, row in ROWS.items():
        state = dict.fromkeys(name for case in CASES if case.cls == cls for name in case.state)
        peers = []
        for x in CONVENTIONS:
            given = ", ".join(f"{key}={value}" for key, value in row.theirs.get(x, {}).items())
            peers.append(f"`{row.names[x]}{f'({given})' if given else ''}`" if x in row.names else "")
        lines.append("| " + " | ".join([f"`{cls}`", ", ".join(state) or "none", *peers]) + " |")
    return "\n".join(lines)
