"""torch's SequentialLR and ChainedScheduler, nested as torch nests them. See `pyfastlr.schedules.torch`.

torch's schedulers change one number, the optimizer's rate. Most multiply it by the ratio of two of their factors. Which
factors count therefore depends on the order of construction and of the steps. Between two milestones the rate is a
number times one function for each scheduler that is at work; `run` finds that number as torch does, by going through
the operations of the one update at each milestone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import reduce
from math import cos, pi
from operator import mul
from typing import Any, NamedTuple

from .algebra import Constant, as_schedule
from .base import RateLike, Schedule
from .checks import each, nondecreasing
from .compat import Translated
from .decays import Linear
from .steps import Piecewise
from .torch_decays import (
    SWALR,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

# These torch schedulers multiply the optimizer's rate; the others overwrite it. CosineAnnealingLR multiplies while it
# falls to 0.
_FACTORS = (
    MultiplicativeLR,
    StepLR,
    MultiStepLR,
    ConstantLR,
    LinearLR,
    ExponentialLR,
    PolynomialLR,
    CosineAnnealingLR,
)


class SequentialLR(Translated, Schedule, schedulers=each(as_schedule, "schedules"), milestones=nondecreasing):
    """Several schedules: from each milestone on, the next schedule s gives ``s(n - milestone)``.

    Parameters
    ----------
    schedulers : sequence of Schedule
        At least one.
    milestones : sequence of int >= 0
        One fewer than schedulers, not decreasing. A schedule between equal milestones or before 0 is skipped.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if a LinearLR or PolynomialLR after a milestone has
        total_iters = 0 (torch would divide by it).

    Examples
    --------
    >>> s = SequentialLR([ConstantLR(0.5, factor=0.5), ExponentialLR(0.5, gamma=0.5)], milestones=[20])
    >>> s(0), s(5), s(20), s(21)
    (0.25, 0.5, 0.5, 0.25)
    >>> outer = SequentialLR([s, StepLR(0.5, step_size=10)], milestones=[30])
    >>> outer(18), outer(19), outer(20)
    (0.5, 0.5, 0.25)

    Notes
    -----
    Ends: update n = milestone is the first of the next schedule. MultiplicativeLR and SWALR continue from the rate
    before it, as in torch; all others start from their own lr. The milestones of a SequentialLR that is the first of
    another one come one update early, and its first schedule takes its first step at once: an ExponentialLR starts at
    lr·gamma. Both are as in torch.

    Elsewhere: same as optax's join_schedules and `S.join`, except that there no schedule continues from the rate
    before. torch's OneCycleLR overwrites the rate from which the others start with max_lr/div_factor: to reproduce
    that, pass this rate as their lr. In torch, a SequentialLR or ChainedScheduler after a milestone raises an error;
    here it starts with its own first rate.
    """

    __slots__ = ()

    def __init__(self, schedulers: Sequence[RateLike], milestones: Sequence[int]) -> None:
        super().__init__(schedulers=schedulers, milestones=milestones)

    @staticmethod
    def _ours(schedulers: tuple[Schedule, ...], milestones: tuple[int, ...]) -> Schedule:
        if len(schedulers) != len(milestones) + 1:
            raise ValueError(
                f"`milestones` must have one item fewer than the {len(schedulers)} schedulers, got {len(milestones)}"
            )
        return run(_Sequence(schedulers, milestones))


class ChainedScheduler(Translated, Schedule, schedulers=each(as_schedule, "schedules")):
    """The product of the schedules' factors: ``lr·∏(s(n)/lr for s in schedulers)``.

    Parameters
    ----------
    schedulers : sequence of Schedule
        At least one, all with the same lr. Only those that multiply the rate: MultiplicativeLR, StepLR, MultiStepLR,
        ConstantLR, LinearLR, ExponentialLR, PolynomialLR, and CosineAnnealingLR with eta_min = 0; and a SequentialLR
        or ChainedScheduler of such schedules.

    Raises
    ------
    TypeError, ValueError
        If there are no schedulers, or if one is of another kind or has another lr.

    Examples
    --------
    >>> s = ChainedScheduler([ConstantLR(1.0, factor=0.5, total_iters=2), ExponentialLR(1.0, gamma=0.5)])
    >>> [s(n) for n in range(4)]
    [0.5, 0.25, 0.25, 0.125]

    Notes
    -----
    Ends: those of the schedules; n is the same for all of them. With a SequentialLR inside, its milestones set the rate
    to the next schedule's, as in torch: of the others, only what they multiply from then on counts. Its construction
    also drops the first factors of the schedulers before it.

    Elsewhere: optax and Keras lack it; `s * t` does the same here. In torch, a chained CosineAnnealingLR drops the
    other factors when it rises again after T_max; here they stay. The other schedulers overwrite the rate at every
    step, even in a chain; here they raise TypeError.
    """

    __slots__ = ()

    def __init__(self, schedulers: Sequence[RateLike]) -> None:
        super().__init__(schedulers=schedulers)

    @staticmethod
    def _ours(schedulers: tuple[Schedule, ...]) -> Schedule:
        if not schedulers:
            raise ValueError("`schedulers` must have at least one item, got none")
        first: float | None = None
        for i, s in enumerate(schedulers):
            for leaf in _leaves(s):
                _check_factor(leaf, f"schedulers[{i}]")
                lr = leaf.parameters["lr"]
                first = lr if first is None else first
                if lr != first:
                    raise ValueError(f"`schedulers[{i}]` must have the same lr as the first, {first}, got {lr}")
        return run(_Chain(schedulers))


def _leaves(schedule: Schedule) -> Iterator[Schedule]:
    """Yield the schedules that are neither a SequentialLR nor a ChainedScheduler."""
    if isinstance(schedule, SequentialLR | ChainedScheduler):
        for part in schedule.parameters["schedulers"]:
            yield from _leaves(part)
    else:
        yield schedule


def _check_factor(leaf: Schedule, name: str) -> None:
    """Check for one of the schedules that multiply the rate."""
    if not isinstance(leaf, _FACTORS):
        kinds = ", ".join(kind.__name__ for kind in _FACTORS)
        raise TypeError(f"`{name}` must be one of {kinds}, or a SequentialLR or ChainedScheduler of them, got {leaf!r}")
    if leaf.parameters.get("eta_min"):
        raise ValueError(f"`{name}` must have eta_min = 0 in a chain, got {leaf!r}")


# --- What torch does in each update ----------------------------------------------------------------------------------


class _Operation(NamedTuple):
    """What one scheduler does to the rate in an update."""

    leaf: Schedule | None  # None: the rate is set back to the initial one
    epoch: int  # of the leaf, afterwards: torch's last_epoch
    kind: str  # "initial" by a constructor, "step" by step(), "set" at a milestone
    position: int  # in the list that the error names


class _Sequence(NamedTuple):
    schedulers: tuple[Schedule, ...]
    milestones: tuple[int, ...]


class _Chain(NamedTuple):
    schedulers: tuple[Schedule, ...]


def _node(schedule: Schedule) -> Any:
    """Return a composite as a node; any other schedule itself."""
    if isinstance(schedule, SequentialLR):
        return _Sequence(*schedule.parameters.values())
    return _Chain(*schedule.parameters.values()) if isinstance(schedule, ChainedScheduler) else schedule


def _operations(node: Any, n: int, ahead: int, position: int = 0) -> Iterator[_Operation]:
    """Yield the operations of update n in order. The clock of a nested SequentialLR is `ahead` updates ahead.

    torch's constructor of a SequentialLR makes the first step of its first scheduler. It takes back one step of each
    schedule inside, but not the clocks of nested SequentialLRs.
    """
    if isinstance(node, _Chain):
        for i, part in enumerate(node.schedulers):
            yield from _operations(_node(part), n, ahead, i)
    elif isinstance(node, _Sequence):
        if n == ahead == 0:
            yield _Operation(None, 0, "initial", position)
        active = bisect_right(node.milestones, n + ahead)
        part = _node(node.schedulers[active])
        if active == bisect_right(node.milestones, 0):
            yield from _operations(part, n, ahead + isinstance(part, _Sequence | _Chain), active)
            return
        entered = node.milestones[active - 1] - ahead
        whole = node.schedulers[active]  # after a milestone, torch refuses a composite: take its rates as they are
        yield _Operation(whole, n - max(entered, 0), "set" if n == entered else "step", active)
    else:
        yield _Operation(node, n, "initial" if n == ahead == 0 else "step", position)


def _milestones(node: Any, ahead: int) -> Iterator[int]:
    """Yield the updates at which another schedule takes over."""
    if isinstance(node, _Chain):
        for part in node.schedulers:
            yield from _milestones(_node(part), ahead)
    elif isinstance(node, _Sequence):
        own = [m - ahead for m in node.milestones]
        first = bisect_right(node.milestones, 0)
        part = _node(node.schedulers[first])
        yield from own
        for m in _milestones(part, ahead + isinstance(part, _Sequence | _Chain)):
            if first == len(own) or m < own[first]:
                yield m


def run(node: _Sequence | _Chain) -> Schedule:
    """Return the schedule that torch follows."""
    result: Schedule | None = None
    for at in sorted({0, *(m for m in _milestones(node, 0) if m > 0)}):
        operations = list(_operations(node, at, 0))
        if result is None:
            result = _segment(operations, None)
        else:
            result = result.then(_segment(operations, result(at - 1)), at)
    assert result is not None
    return result


def _segment(operations: list[_Operation], last: float | None) -> Schedule:
    """Return the rates from an update on, until the next milestone; `last` is the rate before it."""
    leaves = [x for x in operations if x.leaf is not None]
    if len(leaves) == 1:
        return _alone(leaves[0], last)
    if all(x.kind == "initial" and x.leaf is not None for x in operations):
        first, *others = (x.leaf for x in leaves)
        return reduce(mul, map(_unit, others), first)  # type: ignore[return-value]
    initial: float = leaves[0].leaf.parameters["lr"]  # type: ignore[union-attr]
    rate = initial if last is None else last
    for x in operations:
        if x.leaf is None:
            rate = initial
        elif x.kind == "set":
            rate = _entered(x, rate)(0)
        elif x.kind == "initial":
            rate *= _unit(x.leaf)(0)
        else:
            rate *= _ratio(x)
    parts = (_onward(x.leaf, x.epoch) for x in leaves if x.leaf is not None)
    return reduce(mul, (s for s in parts if s != Constant(1.0)), Constant(rate))


def _alone(x: _Operation, last: float | None) -> Schedule:
    """Return the rates of one scheduler that nothing else multiplies."""
    leaf = x.leaf
    assert leaf is not None
    if x.kind == "initial":
        return leaf
    if x.kind == "set":
        return _entered(x, last)
    # The first step of a nested scheduler: its constructor's step was taken back, and it is no longer "initial".
    match leaf:
        case ExponentialLR() | PolynomialLR() | MultiplicativeLR():
            return _ratio(x) * leaf
        case CosineAnnealingLR(parameters={"lr": lr, "T_max": half, "eta_min": end}):
            higher = CosineAnnealingLR(end + (lr - end) * _cosine_start(half), half, end)
            return higher.then(leaf.advance(half + 1), at=half + 1)
        case SWALR():
            raise TypeError(f"`schedulers[{x.position}]` must not be a SWALR inside another scheduler, got {leaf!r}")
    return leaf


def _entered(x: _Operation, last: float | None) -> Schedule:
    """Return the schedule that torch follows from a milestone on, where `last` is the rate before it."""
    match x.leaf:
        case MultiplicativeLR() if last is not None:
            factor = x.leaf.parameters["lr_lambda"]
            return MultiplicativeLR(last * factor(0), factor)
        case SWALR() if last is not None:
            return SWALR(**{**x.leaf.parameters, "lr": last})
        case ConstantLR() if x.leaf.parameters["total_iters"] == 0:
            return Constant(x.leaf.parameters["lr"])  # the only case where torch's two formulas for it differ
        case LinearLR() | PolynomialLR() if x.leaf.parameters["total_iters"] == 0:
            raise ValueError(f"`schedulers[{x.position}]` must have total_iters >= 1 after a milestone, got {x.leaf!r}")
    assert x.leaf is not None
    return x.leaf


# --- Factors of one scheduler ----------------------------------------------------------------------------------------


def _unit(leaf: Schedule | None) -> Schedule:
    """Return the schedule for the rate 1: its factors."""
    assert leaf is not None
    return type(leaf)(**{**leaf.parameters, "lr": 1.0})


def _cosine_start(half: int) -> float:
    """Return what the first step of torch's CosineAnnealingLR after its constructor's multiplies lr - eta_min by."""
    return 2.0 if half == 1 else 2.0 / (1.0 + cos(pi / half))


def _ratio(x: _Operation) -> float:
    """Return what one step multiplies the rate by, after which the scheduler's index is that of the operation."""
    leaf = x.leaf
    assert leaf is not None
    if x.epoch:
        return _onward(leaf, x.epoch - 1)(1)
    match leaf.parameters:
        case {"lr_lambda": factor}:
            return float(factor(0))
        case {"gamma": gamma} if isinstance(leaf, ExponentialLR):
            return float(gamma)
        case {"T_max": half}:
            return _cosine_start(half)
        case {"power": power, "total_iters": steps}:
            if not steps:
                raise ValueError(
                    f"`schedulers[{x.position}]` must have total_iters >= 1 inside another scheduler, got {leaf!r}"
                )
            return float((steps / (steps + 1.0)) ** power)
    return _unit(leaf)(0)


def _onward(leaf: Schedule, k: int) -> Schedule:
    """Return the product of the ratios from index k on, which is 1 at n = 0."""
    p = leaf.parameters
    left: int = p.get("total_iters", 0) - k
    match leaf:
        case StepLR():
            return _unit(leaf).advance(k % p["step_size"])
        case MultiStepLR():
            return MultiStepLR(1.0, [m - k for m in p["milestones"] if m > k], p["gamma"])
        case ConstantLR():
            return Piecewise([left], [1.0, 1.0 / p["factor"]]) if left > 0 else Constant(1.0)
        case LinearLR():
            return Linear(1.0, p["end_factor"] / _unit(leaf)(k), left) if left > 0 else Constant(1.0)
        case PolynomialLR():
            return PolynomialLR(1.0, left, p["power"]) if left > 0 else Constant(1.0)
        case MultiplicativeLR():
            return MultiplicativeLR(1.0, p["lr_lambda"].advance(k))
        case CosineAnnealingLR() if k:
            now = _unit(leaf)(k)
            if now == 0.0:
                raise ValueError(f"`schedulers` must not have a milestone where a chained schedule is 0, got {leaf!r}")
            return _unit(leaf).advance(k) * (1.0 / now)
    return _unit(leaf)
