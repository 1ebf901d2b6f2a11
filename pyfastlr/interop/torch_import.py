"""Import the state of an optimizer of torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyfastlr.arrays.host import Array, describe
from pyfastlr.engines.halves import MASTER
from pyfastlr.engines.hyper import boolean
from pyfastlr.optimizers import Optimizer
from pyfastlr_kernels.rules import RULES

from . import torch_names
from .moment import Moment, check_formula, checked_numbers, initial, steps_of, write
from .placing import Placed, placed
from .reading import array, count, finite, number


def from_torch(
    state_dict: Mapping[str, Any],
    opt: Optimizer,
    *,
    names: Sequence[str] | None = None,
    steps: int | None = None,
    hyperparameters: bool = True,
    cast: bool = False,
) -> None:
    """Continue a run of torch: load the ``state_dict()`` of its optimizer. After an error, nothing is changed.

    The parameters are not part of it: copy them too. The next update is then the one that torch would make.

    Parameters
    ----------
    state_dict : dict
        From SGD, RMSprop, Adagrad, Adam, AdamW, NAdam, Adamax, RAdam, Adadelta, Rprop or ASGD, also as loaded by
        ``torch.load(..., weights_only=True)`` or with numpy arrays in place of tensors. Parameters without an entry
        have not been updated yet: their count is 0. The average of the parameters and a partly accumulated gradient
        start anew; the loss scale and controllers stay, because torch keeps them elsewhere.
    opt : Optimizer
        Of the same class (`AMSGrad` for ``amsgrad=True``), in torch's convention or one with the same formula.
    names : sequence of str, optional
        Names of the parameters in `opt`, in torch's order: the groups one after the other. Without it, torch's
        "param_names" are used if they are the names in `opt`. Otherwise parameters are matched in order: `opt` must
        then have as many groups with arrays as torch, of the same sizes, or torch one group in the order of `opt`.
    steps : int, optional
        Updates done, where the schedules of `opt` continue; 0 restarts them. The default is the largest count. SGD does
        not count: the default is then 1 if there is a momentum buffer, and an optimizer with schedules needs `steps`.
    hyperparameters : bool, default True
        Whether to take over lr, weight_decay, momentum, dampening, alpha, eps, betas, lr_decay, rho, momentum_decay,
        etas, step_sizes, lambd and t0 of each group, as far as the class has them. Where `opt` has a schedule, the
        schedule stays.
    cast : bool, default False
        Convert state of another dtype, such as bfloat16.

    Raises
    ------
    TypeError, ValueError
        If the state is of another class or formula; if parameters, shapes, dtypes or keys differ; if maximize, amsgrad,
        nesterov, centered, or the kind of a weight decay that is not 0 disagree; if a count or hyperparameter is
        invalid; if a group has an `lr_scale` and hyperparameters are taken over.
    RuntimeError
        If the average is swapped in (`swap_ema`).

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> entry = {"step": 7, "exp_avg": np.full(2, 0.5), "exp_avg_sq": np.ones(2)}
    >>> group = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "params": [0]}
    >>> opt = flr.Adam({"w": np.zeros(2)})
    >>> flr.from_torch({"state": {0: entry}, "param_groups": [group]}, opt)
    >>> opt.steps, opt.lr, opt.betas, opt.state["exp_avg"]["w"]
    (7, 0.1, (0.9, 0.99), array([0.5, 0.5]))
    """
    check_formula(opt, "torch")
    hyperparameters, cast = boolean(hyperparameters, "hyperparameters"), boolean(cast, "cast")
    state, groups = _parts(state_dict)
    places = placed(groups, opt, names)
    for k, group in enumerate(groups):
        _check_group(opt, group, _label(k))
    for place in places:
        _check_decay(opt, place, groups[place.group], hyperparameters)
    values, counts, carry = _state(opt, _entries(state, places), places, groups, hyperparameters, cast)
    done = steps_of(opt, steps, counts, "torch") if torch_names.counts_updates(opt) else _uncounted(opt, steps, counts)
    numbers = _numbers(opt, places, groups) if hyperparameters else {}
    write(opt, Moment(done, counts, values, carry), numbers, "from_torch()")


def _state(
    opt: Optimizer, entries: Sequence[tuple[str, Mapping[str, Any]]], places: Sequence[Placed],
    groups: Sequence[Mapping[str, Any]], hyperparameters: bool, cast: bool,
) -> tuple[dict[str, list[Array]], list[int], list[float] | None]:  # fmt: skip
    """State by slot, counts and carries of the tensors. Without a count, it is 1 where there is any state."""
    rule, carried = RULES[opt.rule], torch_names.CARRIED.get(opt.rule)
    values: dict[str, list[Array]] = {name: [] for name in rule.state_names}
    if MASTER in opt._state.formats and all(MASTER in entry for _, entry in entries):
        values[MASTER] = []
    counts, carry = [], []
    for place, (label, entry) in zip(places, entries, strict=True):
        group = groups[place.group]
        present = _check_entry(opt, entry, group, label)
        for name, arrays in values.items():
            if name in present:
                k = place.tensor
                params = opt._parameters
                arrays.append(array(entry[name], f"{label}[{name!r}]", params.dtype, params.shapes[k], cast))
            else:
                arrays.append(_start(opt, place, name, group, hyperparameters))
        counts.append(count(entry["step"], f"{label}['step']") if "step" in present else int(bool(present)))
        if carried:
            carry.append(finite(entry[carried], f"{label}[{carried!r}]") if present else rule.carry[0])
    return values, counts, carry if carried else None


def _start(opt: Optimizer, place: Placed, name: str, group: Mapping[str, Any], hyperparameters: bool) -> Array:
    """State before the first update. torch makes Rprop's step sizes from the group's rate then."""
    start = initial(opt, name, place.tensor)
    if name == "step_size" and hyperparameters:
        start[...] = finite(group["lr"], f"{_label(place.group)}['lr']")
    return start


def _uncounted(opt: Optimizer, steps: Any, counts: list[int]) -> int:
    """Updates done if torch does not count them. They become the count of each tensor that has been updated."""
    has_buffers, any_updated = bool(RULES[opt.rule].state_names), any(counts)
    if has_buffers and not any_updated and steps is None:
        return 0
    done = steps_of(opt, steps, None, "torch")
    if any_updated and not done:
        raise ValueError("`steps` must be at least 1, because there is a momentum buffer, got 0")
    counts[:] = [done if n or not has_buffers else 0 for n in counts]
    return done


def _label(k: int) -> str:
    return f"state_dict['param_groups'][{k}]"


def _parts(given: Any) -> tuple[Mapping[Any, Any], list[Mapping[str, Any]]]:
    """Both parts of a state dict of torch, checked as far as every optimizer has them."""
    if not isinstance(given, Mapping):
        raise TypeError(f"`state_dict` must be a dict from an optimizer's state_dict(), got {describe(given)}")
    if set(given) != {"state", "param_groups"}:
        raise ValueError(
            f"`state_dict` must have the keys ['state', 'param_groups'] of torch's state_dict(), got {[*given]!r:.90}"
        )
    state, groups = given["state"], given["param_groups"]
    if not isinstance(state, Mapping):
        raise TypeError(f"`state_dict['state']` must be a dict, got {describe(state)}")
    if not isinstance(groups, list | tuple) or not all(isinstance(group, Mapping) for group in groups):
        raise TypeError(f"`state_dict['param_groups']` must be a list of dicts, got {describe(groups)}")
    for k, group in enumerate(groups):
        if not isinstance(group.get("params"), list | tuple):
            raise ValueError(f"`{_label(k)}['params']` must be a list, got {group.get('params')!r:.60}")
        if not all(isinstance(x, int | str) for x in group["params"]):
            raise TypeError(f"`{_label(k)}['params']` must have numbers or names, got {group['params']!r:.60}")
    return state, list(groups)


def _check_group(opt: Optimizer, group: Mapping[str, Any], label: str) -> None:
    """Check the class of a parameter group, and its flags."""
    name, found = torch_names.peer(opt), torch_names.class_of(group)
    if name not in found.split(" or "):
        raise ValueError(f"`{label}` must be of torch's {name}, like `opt`, got keys of {found}")
    for key in torch_names.hyperparameters(opt):
        if key not in group:
            raise ValueError(f"`{label}` must have the key {key!r}, as torch's {name} has, got {sorted(group)}")
        _plain(group[key], f"{label}[{key!r}]")
    for key, value in torch_names.flags(opt).items():
        if key in group and _flag(group[key], f"{label}[{key!r}]") != value:
            raise ValueError(f"`{label}[{key!r}]` must be {value}, as in `opt`, got {group[key]!r}")
    for key in ("momentum", "dampening"):
        if key not in group or key in opt._hyper.known or (key == "dampening" and opt.rule == "sgd"):
            continue  # without momentum, dampening has no effect
        theirs = number(group[key], f"{label}[{key!r}]")
        if theirs != 0.0:
            raise ValueError(f"`{label}[{key!r}]` must be 0, because `opt` ({opt.rule}) has none, got {theirs}")


def _check_decay(opt: Optimizer, place: Placed, group: Mapping[str, Any], hyperparameters: bool) -> None:
    """Check that a weight decay acts in the same way, if there is any."""
    row, label = opt._hyper.members[place.tensor], _label(place.group)
    own = opt._hyper.current.source(row, "weight_decay")
    theirs = number(group["weight_decay"], f"{label}['weight_decay']") if "weight_decay" in group else 0.0
    used = own if callable(own) or not hyperparameters or "weight_decay" not in group else theirs
    if used == 0.0:
        return
    kind, key = opt._hyper.get(row, "decay"), "decoupled_weight_decay"
    if kind != "independent" and key in group:
        if (kind == "decoupled") != _flag(group[key], f"{label}[{key!r}]"):
            raise ValueError(
                f"`{label}[{key!r}]` must be {kind == 'decoupled'}, because the decay of `opt` is {kind!r}, got "
                f"{group[key]!r}"
            )
    elif kind != "coupled" and not (kind == "decoupled" and torch_names.class_of(group) == "Adam or AdamW"):
        raise ValueError(f"`{label}` must decay weights as `opt` does, with decay={kind!r}, got torch's kind")


def _entries(state: Mapping[Any, Any], places: Sequence[Placed]) -> list[tuple[str, Mapping[str, Any]]]:
    """Label and entry of each tensor; without updates, the entry is empty. JSON turns torch's keys into strings."""
    found = []
    for place in places:
        key = place.id if place.id in state else str(place.id)
        entry = state.get(key, {})
        label = f"state_dict['state'][{key!r}]"
        if not isinstance(entry, Mapping):
            raise TypeError(f"`{label}` must be a dict, got {describe(entry)}")
        found.append((label, entry))
    known = {str(place.id) for place in places}
    unknown = [key for key in state if str(key) not in known]
    if unknown:
        raise ValueError(f"`state_dict['state']` must have only parameters of the groups, got {unknown[:5]}")
    return found


def _check_entry(opt: Optimizer, entry: Mapping[str, Any], group: Mapping[str, Any], label: str) -> set[str]:
    """Check the keys of a parameter's state. Return those that it has; none before the first update."""
    present = {key for key, value in entry.items() if value is not None}
    if not present:
        return present
    slots, carried = set(RULES[opt.rule].state_names), torch_names.CARRIED.get(opt.rule)
    need = slots | ({"step"} if torch_names.counts_updates(opt) else set()) | ({carried} if carried else set())
    may = {MASTER} if opt._parameters.half else set()
    may |= {"mu"} if opt.rule == "asgd" else set()  # which follows from the count and t0
    if "momentum_buffer" in need and number(group["momentum"], "momentum") == 0.0:
        need.discard("momentum_buffer")
        may.add("momentum_buffer")
    missing, unknown = sorted(need - present), sorted(map(str, present - need - may))
    if missing or unknown:
        raise ValueError(
            f"`{label}` must have the keys {sorted(need)} of torch's {torch_names.peer(opt)} like `opt` "
            f"({opt.rule}), got missing keys {missing} and unknown keys {unknown}"
        )
    return present


def _numbers(opt: Optimizer, places: Sequence[Placed], groups: Sequence[Mapping[str, Any]]) -> dict[int, Any]:
    """Hyperparameters of each group of the optimizer, from the groups of torch that its tensors are in."""
    found: dict[int, tuple[str, dict[str, float]]] = {}
    for place in places:
        row, label = opt._hyper.members[place.tensor], _label(place.group)
        group = {key: _plain(groups[place.group][key], f"{label}[{key!r}]") for key in torch_names.hyperparameters(opt)}
        values = checked_numbers(opt, group, label)
        if "lr" in values:
            torch_names.check_rate_factor(opt, row, "Put it into `lr`, or pass hyperparameters=False")
        other, before = found.setdefault(row, (label, values))
        for field, value in values.items():
            if before[field] != value:
                raise ValueError(
                    f"`{label}` must have the {field} of `{other}`, {before[field]!r}, because their parameters are in "
                    f"one group of `opt`, got {value!r}: build `opt` with groups like torch's, or pass "
                    f"hyperparameters=False"
                )
    return {row: values for row, (_, values) in found.items()}


def _flag(value: Any, label: str) -> bool:
    """True or False; None is False, as in torch."""
    if value is not None and not isinstance(value, int):
        raise TypeError(f"`{label}` must be True or False, got {value!r:.60}")
    return bool(value)


def _plain(value: Any, label: str) -> Any:
    """Number, or pair of numbers, which torch allows to be tensors."""
    if isinstance(value, list | tuple):
        return tuple(number(x, label) for x in value)
    return number(value, label)
