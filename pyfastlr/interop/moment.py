"""An optimizer's state between two steps in the form that all libraries share, and how it is written into ours."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import Array
from pyfastlr.engines.settings import Settings
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.saving import loading, snapshot, writing
from pyfastlr_kernels.rules import RULES

from .reading import count

Numbers = Mapping[int, Mapping[str, float]]  # by group and field of its row


class Moment(NamedTuple):
    """Counts and state by tensor, in the optimizer's order.

    Attributes
    ----------
    steps
        Updates done.
    counts
        Updates of each tensor.
    state
        For each slot, an array like each tensor.
    carry
        What the rule carries to the next update of each tensor, if it carries a number.
    average
        Updates in the average of the parameters, and the average of each tensor.
    """

    steps: int
    counts: Sequence[int]
    state: Mapping[str, Sequence[Array]]
    carry: Sequence[float] | None = None
    average: tuple[int, Sequence[Array]] | None = None


def moment_of(optimizer: Optimizer, others: Collection[str] = ()) -> Moment:
    """Copy the state of an optimizer: its rule's, and if it is among `others`, that of parameters of 16 bits."""
    given = optimizer.state_dict()
    carry, average = given["carry"], given["average"]
    return Moment(
        given["steps"],
        given["counts"].tolist(),
        {
            name: list(map(np.asarray, _tensors(optimizer, x)))
            for name, x in given["state"].items()
            if name in RULES[optimizer.rule].state_names or name in others
        },
        carry[:, 0].tolist() if carry.shape[1] else None,
        None if average is None else (average["updates"], _tensors(optimizer, average["values"])),
    )


def _tensors(optimizer: Optimizer, value: Any) -> list[Array]:
    """Arrays, in the optimizer's order, of a value of `state_dict`."""
    params = optimizer._parameters
    if params.layout is not None:
        return [value[name] for name in params.names] if isinstance(value, dict) else params.layout.views(value)
    return tree.match(params.node, value, "state")


def initial(optimizer: Optimizer, slot: str, k: int) -> Array:
    """State of tensor k before its first update."""
    params = optimizer._parameters
    return np.full(params.shapes[k], optimizer._state.initial[slot][k], params.dtype)


def is_scheduled(optimizer: Optimizer) -> bool:
    """Whether a hyperparameter depends on the number of updates."""
    return any(callable(x) for fields in optimizer._hyper.current.own for x in fields.values())


def steps_of(optimizer: Optimizer, steps: Any, counts: Sequence[int] | None, library: str) -> int:
    """Updates done: the argument `steps`, or else the largest count, or else 1 where the library does not count."""
    if steps is not None:
        return count(steps, "steps")
    if counts is not None:
        return max(counts)
    if is_scheduled(optimizer):
        name = type(optimizer).__name__
        raise ValueError(
            f"`steps` must be given, got None: {library} does not count the updates of {name}, and the optimizer has a "
            f"schedule, which needs their number"
        )
    return 1


def check_formula(optimizer: Any, library: str) -> None:
    """Check that the library has the optimizer, and that it continues with the library's formula."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {type(optimizer).__name__}")
    name, convention = type(optimizer).__name__, optimizer._convention
    folds = RULES[optimizer.rule].folds
    if library not in folds:
        raise ValueError(f"`opt` must be an optimizer that {library} has, got {name}")
    if folds[library] is not folds[convention]:
        raise ValueError(
            f"`opt` must have the convention {library!r}, got {convention!r}: its {name} has another formula"
        )


# --- Writing ----------------------------------------------------------------------------------------------------------


def write(optimizer: Optimizer, moment: Moment, numbers: Numbers, what: str) -> None:
    """Replace state and hyperparameters, both or neither. `what` names the caller in errors.

    What other libraries keep elsewhere is absent, as in a state of the first format: loading starts the average and the
    accumulated gradient anew, and leaves controllers and the loss scale.
    """
    params, rule = optimizer._parameters, RULES[optimizer.rule]
    carry = np.tile(np.array(rule.carry, np.float64), (len(params.names), 1))
    if moment.carry is not None:
        carry[:, 0] = moment.carry
    given: dict[str, Any] = {key: value for added in snapshot.ADDED.values() for key, value in added.items()}
    given |= {
        "format": snapshot.VERSION,
        **snapshot.header(optimizer),
        "steps": moment.steps,
        "counts": np.array(moment.counts, np.int64),
        "carry": carry,
        "state": {name: _container(optimizer, x) for name, x in moment.state.items()},
    }
    if moment.average is not None:
        given["average"] = {"updates": moment.average[0], "values": _container(optimizer, moment.average[1])}
    writing.check_outside(optimizer)
    with optimizer._lock.held:
        found = loading.checked(optimizer, given, cast=True)  # into packed state
        settings = _renumbered(optimizer._hyper.current, numbers)
        writing.write(optimizer, found.pairs, found.controllers, settings, what=what)


def _container(optimizer: Optimizer, tensors: Sequence[Array]) -> Any:
    """Container by the tensors' names; for a single array, the array."""
    names = optimizer._parameters.names
    return tensors[0] if names == [""] else dict(zip(names, tensors, strict=True))


def _renumbered(settings: Settings, numbers: Numbers) -> Settings:
    """Settings with other numbers. A group that follows the base group goes on to do so if its number is the base's."""
    for row in sorted(numbers):  # the base group first, because others follow it
        changed = {field: x for field, x in numbers[row].items() if _differs(settings.source(row, field), x)}
        if changed:
            settings = settings.replaced(row, changed, settings.rates)
    return settings


def _differs(value: Any, new: float) -> bool:
    """Whether a number is to be replaced. Schedules stay."""
    return not callable(value) and value != new


def checked_numbers(optimizer: Optimizer, values: Mapping[str, Any], label: str) -> dict[str, float]:
    """Check hyperparameters of another library under our names, and convert them to fields of a row."""
    known = optimizer._hyper.known
    fields = optimizer._hyper.checked({name: x for name, x in values.items() if name in known}, label)
    return {field: float(x) for field, x in fields.items()}
