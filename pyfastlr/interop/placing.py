"""Which parameter of torch is which array here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyfastlr.optimizers import Optimizer

from .reading import all_names
from .torch_names import rows_of


class Placed(NamedTuple):
    """A tensor of the optimizer, torch's id of it, and the index of its group in torch."""

    tensor: int
    id: Any
    group: int


def placed(groups: Sequence[Mapping[str, Any]], opt: Optimizer, names: Sequence[str] | None) -> list[Placed]:
    """For each tensor of the optimizer, in its order, where it is in torch's groups."""
    entries = [(id_, k) for k, group in enumerate(groups) for id_ in group["params"]]
    ours = opt._parameters.names
    if len({str(id_) for id_, _ in entries}) != len(entries):
        raise ValueError("`state_dict['param_groups']` must have each parameter once, got one twice")
    if len(entries) != len(ours):
        raise ValueError(
            f"`state_dict['param_groups']` must have the {len(ours)} parameters of `opt`, got {len(entries)}"
        )
    order = _by_name(groups, opt, names, [id_ for id_, _ in entries])
    if order is None:
        order = _in_order(groups, opt)
    found = [Placed(k, *entry) for k, entry in zip(order, entries, strict=True)]
    return sorted(found, key=lambda place: place.tensor)


def _by_name(
    groups: Sequence[Mapping[str, Any]], opt: Optimizer, names: Sequence[str] | None, ids: Sequence[Any]
) -> list[int] | None:
    """Tensor for each of torch's parameters by its name, or None if the names are not those of the optimizer."""
    ours, label = {name: k for k, name in enumerate(opt._parameters.names)}, "names"
    if names is None:
        label, names = "param_names", [x for group in groups for x in group.get("param_names", ())]
        if not names and all(isinstance(x, str) and not x.isdecimal() for x in ids):
            names = list(ids)  # of torch.distributed.checkpoint
        if not set(names) & set(ours):
            return None
    return [ours[name] for name in all_names(names, list(ours), label)]


def _in_order(groups: Sequence[Mapping[str, Any]], opt: Optimizer) -> list[int]:
    """Tensor for each of torch's parameters, by the order of groups and parameters."""
    theirs = [len(group["params"]) for group in groups if len(group["params"])]
    rows = rows_of(opt)
    if len(theirs) == 1:
        return list(range(theirs[0]))
    if theirs != [len(tensors) for tensors in rows.values()]:
        sizes = [len(tensors) for tensors in rows.values()]
        raise ValueError(
            f"`state_dict['param_groups']` must have groups of {sizes} parameters like `opt`, got groups of {theirs}: "
            f"pass the parameters' `names` in torch's order"
        )
    return [k for tensors in rows.values() for k in tensors]
