"""Export the state of an optimizer to torch."""

from importlib import import_module
from typing import Any

from pyfastlr.engines.halves import MASTER
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber

from . import torch_names
from .moment import Moment, check_formula, moment_of

#: How torch runs a step, by the key of a group, with the default; and the classes without that key.
_SWITCHES = {
    "foreach": (None, ()),
    "capturable": (False, ("SGD", "Adagrad")),
    "differentiable": (False, ()),
    "fused": (None, ("RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD")),
}
_DECOUPLED = "decoupled_weight_decay"


def to_torch(opt: Optimizer, *, tensors: bool | None = None) -> dict[str, Any]:
    """Export the state for ``load_state_dict`` of the same optimizer in torch.

    The parameters are not part of it. torch's next update is then the one that `opt` would make.

    Parameters
    ----------
    opt : Optimizer
        In torch's convention, or one with the same formula.
    tensors : bool, optional
        Whether arrays and counts are tensors of torch, or numpy arrays and ints. The default is tensors if torch can be
        imported.

    Returns
    -------
    dict
        "state" and "param_groups", with the keys of the installed torch. The groups are those of `opt` that have
        arrays, first the base group. Hyperparameters are the numbers for the next update; of a schedule, its value.
        Arrays without an update have no entry, as in torch. The average of the parameters, a partly accumulated
        gradient, the loss scale and clipping are left out.

    Raises
    ------
    TypeError, ValueError
        If torch lacks the optimizer or has another formula; if a weight decay is not of a kind that torch's optimizer
        has; if a group has an `lr_scale`.
    ImportError
        If `tensors` is True and torch cannot be imported.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.SGD({"w": np.zeros(2), "b": np.zeros(1)}, lr=0.1, momentum=0.9)
    >>> opt.step({"w": np.ones(2), "b": None})
    >>> exported = flr.to_torch(opt, tensors=False)
    >>> exported["state"]
    {0: {'momentum_buffer': array([1., 1.])}}
    >>> exported["param_groups"][0]["momentum"], exported["param_groups"][0]["params"]
    (0.9, [0, 1])
    """
    check_formula(opt, "torch")
    torch = None
    if tensors is None or tensors:
        try:
            torch = import_module("torch")
        except ImportError:
            if tensors:
                raise
    moment = moment_of(opt, (MASTER,))  # which interop.torch has too
    state, groups, defaults = {}, [], _defaults(opt, torch)
    ids = iter(range(len(moment.counts)))
    for row, members in torch_names.rows_of(opt).items():
        group = {**defaults, **_group(opt, row, members, moment.steps, defaults), "params": []}
        for k in members:
            id_, entry = next(ids), _entry(opt, moment, k, torch)
            group["params"].append(id_)
            if entry:
                state[id_] = entry
        groups.append(group)
    return {"state": state, "param_groups": groups}


def _defaults(opt: Optimizer, torch: Any) -> dict[str, Any]:
    """Keys of a group, in torch's order, with the default of each that is no hyperparameter."""
    name = torch_names.peer(opt)
    if torch is not None:
        group = getattr(torch.optim, name)([torch.zeros(0)]).state_dict()["param_groups"][0]
        return {key: value for key, value in group.items() if key not in ("params", "param_names")}
    found: dict[str, Any] = dict.fromkeys(torch_names.hyperparameters(opt))
    found |= {key: value for key, (value, without) in _SWITCHES.items() if name not in without}
    if name in ("Adam", "AdamW", "NAdam", "RAdam"):
        found[_DECOUPLED] = name == "AdamW"
    return found


def _group(opt: Optimizer, row: int, members: list[int], steps: int, defaults: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters and flags of a group, for the next update."""
    torch_names.check_rate_factor(opt, row, "Put it into `lr`")
    found: dict[str, Any] = {}
    for name in torch_names.hyperparameters(opt):
        # A rule without momentum has neither momentum nor dampening: torch's defaults are 0.
        found[name] = opt._hyper.number(row, name, steps) if name in opt._hyper.known else 0.0
    if isinstance(opt.fields["lr"], StartNumber):
        found["lr"] = opt._hyper.number(row, "lr", steps)
    start = opt._state.arguments.get("initial_accumulator_value")
    if start is not None:
        found["initial_accumulator_value"] = start[members[0]]
    return {**found, **torch_names.flags(opt), **_decay(opt, row, found.get("weight_decay"), defaults)}


def _decay(opt: Optimizer, row: int, strength: float | None, defaults: dict[str, Any]) -> dict[str, bool]:
    """Flag of a group for the kind of its weight decay, if torch has a flag. Refuse a kind that torch lacks."""
    kind = opt._hyper.get(row, "decay")
    source = opt._hyper.current.source(row, "weight_decay")
    decays = callable(source) or source != 0.0
    always = _DECOUPLED not in defaults and torch_names.peer(opt) == "AdamW"  # an old torch, which has no flag
    kinds = ["coupled", "decoupled"] if _DECOUPLED in defaults else ["decoupled" if always else "coupled"]
    if strength is None:
        kinds = []
    if decays and kind not in kinds:
        has = f"has {' and '.join(kinds)} weight decay only" if kinds else "has no weight decay"
        raise ValueError(
            f"`opt.groups[{row}]` must have a weight decay of 0 or one that torch has, got {kind!r} weight decay: "
            f"torch's {torch_names.peer(opt)} {has}"
        )
    return {_DECOUPLED: kind == "decoupled"} if _DECOUPLED in defaults and kind in kinds else {}


def _entry(opt: Optimizer, moment: Moment, k: int, torch: Any) -> dict[str, Any]:
    """State of tensor k in torch's form; empty before its first update."""
    n = moment.counts[k]
    if not n and not torch_names.has_state_at_once(opt):
        return {}
    entry: dict[str, Any] = {}
    scalar: Any = float
    if torch is not None:
        wide = torch.get_default_dtype() == torch.float64
        scalar = _scalar(torch, torch.float64 if wide else torch.float32)
    if torch_names.counts_updates(opt):
        entry["step"] = n if torch is None else scalar(n)
    if moment.carry is not None:
        entry[torch_names.CARRIED[opt.rule]] = scalar(moment.carry[k])
    if opt.rule == "asgd":
        row = opt._hyper.members[k]
        entry["mu"] = scalar(1.0 / max(1.0, n - opt._hyper.number(row, "t0", moment.steps)))
    for name, arrays in moment.state.items():
        entry[name] = arrays[k].copy() if torch is None else torch.from_numpy(arrays[k].copy())
    return entry


def _scalar(torch: Any, dtype: Any) -> Any:
    """Function that makes a tensor without dimensions."""
    return lambda x: torch.tensor(float(x), dtype=dtype)
