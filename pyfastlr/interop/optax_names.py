"""Which states optax's optimizers have, and how to walk through one.

A state of optax is nested tuples and NamedTuples, one for each transformation of a chain. They are told by their
fields, and by their types' names where fields are the same. Checkpoints may have turned NamedTuples into dicts.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import describe
from pyfastlr.optimizers import Optimizer


class Part(NamedTuple):
    """One NamedTuple with state arrays. `slots` has our slot for each field, and the factor of ours in theirs."""

    type_name: str
    slots: Mapping[str, tuple[str, float]]
    counts: bool = True

    @property
    def fields(self) -> set[str]:
        """Names of its fields."""
        return {*self.slots, "count"} if self.counts else {*self.slots}


def _part(type_name: str, counts: bool = True, **slots: str) -> Part:
    return Part(type_name, {field: (slot, 1.0) for field, slot in slots.items()}, counts)


_ADAM = (_part("ScaleByAdamState", mu="exp_avg", nu="exp_avg_sq"),)
_TRACE = _part("TraceState", counts=False, trace="momentum_buffer")
# optax's rmsprop multiplies by the negative rate before it accumulates.
_NEGATIVE = Part("TraceState", {"trace": ("momentum_buffer", -1.0)}, counts=False)
_RMS = _part("ScaleByRmsState", counts=False, nu="square_avg")
_STDDEV = _part("ScaleByRStdDevState", counts=False, mu="grad_avg", nu="square_avg")

PARTS: dict[str, tuple[Part, ...]] = {
    "sgd": (),
    "momentum": (_TRACE,),
    "nesterov": (_TRACE,),
    "rmsprop": (_RMS,),
    "rmsprop_momentum": (_RMS, _NEGATIVE),
    "rmsprop_centered": (_STDDEV,),
    "rmsprop_centered_momentum": (_STDDEV, _NEGATIVE),
    "adagrad": (_part("ScaleByRssState", counts=False, sum_of_squares="sum"),),
    "adam": _ADAM,
    "amsgrad": (_part("ScaleByAmsgradState", mu="exp_avg", nu="exp_avg_sq", nu_max="max_exp_avg_sq"),),
    "nadam": _ADAM,
    "radam": _ADAM,
    "yogi": _ADAM,
    "adamax": (_part("ScaleByAdamState", mu="exp_avg", nu="exp_inf"),),
    "adadelta": (_part("ScaleByAdaDeltaState", counts=False, e_g="square_avg", e_x="acc_delta"),),
    "lion": (_part("ScaleByLionState", mu="exp_avg"),),
    "adabelief": (_part("ScaleByBeliefState", mu="exp_avg", nu="exp_avg_var"),),
    "rprop": (_part("ScaleByRpropState", counts=False, step_sizes="step_size", prev_updates="prev"),),
}

SCHEDULE = {"count"}  # of ScaleByScheduleState, and of a schedule inside inject_hyperparams
INJECTED = {"count", "hyperparams", "inner_state"}  # of inject_hyperparams; a newer optax has hyperparams_states too
ACCUMULATING = {"mini_step", "gradient_step", "inner_opt_state", "acc_grads", "skip_state"}  # of MultiSteps
_INNER = ("inner_state", "inner_opt_state", "inner_states", "hyperparams_states")
# Wrappers without numbers that must move: masked, multi_transform, apply_if_finite.
_WRAPPERS = ({"inner_state"}, {"inner_states"}, {"notfinite_count", "last_finite", "total_notfinite", "inner_state"})

#: Fields of a row by the names of optax's arguments.
ARGUMENTS = {
    "learning_rate": "lr", "b1": "beta1", "b2": "beta2", "eps": "eps", "eps_root": "eps_root", "decay": "alpha",
    "momentum": "momentum", "weight_decay": "weight_decay", "rho": "rho", "eta_minus": "eta_minus",
    "eta_plus": "eta_plus", "min_step_size": "step_size_min", "max_step_size": "step_size_max",
}  # fmt: skip
#: Arguments whose value must be this one, because we have no such hyperparameter. None: it only initializes state.
FIXED = {"eps_root": 0.0, "threshold": 5.0, "initial_accumulator_value": None, "initial_scale": None}

Change = Callable[[Mapping[str, Any], str, str], Mapping[str, Any]]


def walk(x: Any, label: str, change: Change) -> Any:
    """Copy of a state in which `change(fields, type_name, label)` gives new values for fields of each NamedTuple."""
    try:
        return _walk(x, label, change)
    except RecursionError:
        raise ValueError(f"`{label}` must be nested less deeply") from None


def _walk(x: Any, label: str, change: Change) -> Any:
    if isinstance(x, Mapping) and not _is_restored(x):
        return _like(x, {key: _walk(value, f"{label}[{key!r}]", change) for key, value in x.items()})
    if isinstance(x, list | tuple) and not hasattr(x, "_fields"):
        return type(x)([_walk(value, f"{label}[{k}]", change) for k, value in enumerate(x)])
    if isinstance(x, Mapping):
        fields, name = x, ""
    elif isinstance(x, tuple):
        fields, name = x._asdict(), type(x).__name__  # type: ignore[attr-defined]
    else:
        raise TypeError(f"`{label}` must be a state of optax, a NamedTuple or a tuple of them, got {describe(x)}")
    if not fields:
        return x  # EmptyState
    new = {} if set(fields) in _WRAPPERS else dict(change(fields, name, label))
    for field in _INNER:
        if field in fields:
            new[field] = _walk(fields[field], f"{label}.{field}", change)
    return {**x, **new} if isinstance(x, Mapping) else x._replace(**new)


def _is_restored(x: Mapping[Any, Any]) -> bool:
    """Whether a dict is what a checkpoint has made of a NamedTuple."""
    keys = set(x)
    fields = [part.fields for parts in PARTS.values() for part in parts]
    return keys in [*fields, *_WRAPPERS, SCHEDULE, ACCUMULATING] or keys >= INJECTED


def part_for(optimizer: Optimizer, fields: Mapping[str, Any], type_name: str, label: str) -> Part:
    """Part of the optimizer's rule that a NamedTuple is. Any other state is an error."""
    parts = PARTS[optimizer.rule]
    found = next((x for x in parts if set(fields) == x.fields and type_name in (x.type_name, "")), None)
    if found is None:
        need = " and ".join(x.type_name for x in parts) or "no state"
        raise ValueError(
            f"`{label}` must be part of the state of {type(optimizer).__name__} ({optimizer.rule}), {need}, got "
            f"{type_name or 'a dict'} with {', '.join(fields)}"
        )
    return found


class Coverage:
    """Which state arrays have been found, so that each is found once."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._slots = {
            slot: f"{part.type_name}.{field}"
            for part in PARTS[optimizer.rule]
            for field, (slot, _) in part.slots.items()
        }
        self._missing = {slot: set(range(len(optimizer._parameters.names))) for slot in self._slots}

    def add(self, slot: str, k: int, label: str) -> None:
        """Note the array of a slot for tensor k."""
        if k not in self._missing[slot]:
            raise ValueError(f"`{label}` must be the only state of its array, got a second one")
        self._missing[slot].remove(k)

    def check(self, argument: str) -> None:
        """Check that none is missing."""
        for slot, missing in self._missing.items():
            if missing:
                names = [self._optimizer._parameters.names[k] for k in sorted(missing)]
                what = "" if names == [""] else f" for {names[:5]}"
                raise ValueError(
                    f"`{argument}` must have {self._slots[slot]}{what}, as the state of "
                    f"{type(self._optimizer).__name__} ({self._optimizer.rule}) has, got none"
                )


def fill(optimizer: Optimizer, x: Any, label: str, make: Callable[[int, Any, str], Any]) -> Any:
    """Copy of a tree of arrays with `make(k, array, label)` for that of tensor k. Masked subtrees are left out."""
    names = {name: k for k, name in enumerate(optimizer._parameters.names)}

    def visit(x: Any, path: str) -> Any:
        if x is None or (isinstance(x, tuple) and getattr(x, "_fields", None) == ()):
            return x  # MaskedNode
        kind = tree.kind_of(x)
        if kind == "leaf":
            where = tree.label(label, path)
            if path not in names:
                got = f"an array {path!r}" if path else "a single array"
                raise ValueError(f"`{label}` must have the arrays of `opt`, {_shown(names)}, got {got}")
            return make(names[path], x, where)
        items = list(x.items()) if kind == "dict" else list(enumerate(x))
        prefix = f"{path}." if path else ""
        parts = {key: visit(value, f"{prefix}{key}") for key, value in items}
        return _like(x, parts if kind == "dict" else list(parts.values()))

    return visit(x, "")


def _shown(names: Mapping[str, int]) -> str:
    first = [*names][:5]
    return "a single array" if first == [""] else f"{first}{' and more' if len(names) > len(first) else ''}"


def _like(x: Any, parts: Any) -> Any:
    """Container of the same type with other entries."""
    if hasattr(x, "_fields"):
        return type(x)(*parts)
    return type(x)(parts)


def injected(fields: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Hyperparameters of inject_hyperparams that follow no schedule."""
    given, states = fields["hyperparams"], fields.get("hyperparams_states", {})
    for name, x in (("hyperparams", given), ("hyperparams_states", states)):
        if not isinstance(x, Mapping):
            raise TypeError(f"`{label}.{name}` must be a dict, got {describe(x)}")
    return {name: x for name, x in given.items() if name not in states}
