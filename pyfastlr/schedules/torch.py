"""torch's schedulers under their names: `torch.optim.lr_scheduler`, and `SWALR` of `torch.optim.swa_utils`.

The arguments are torch's, with two differences: in the place of `optimizer` stands its rate `lr` (not where torch sets
the rate itself: CyclicLR, OneCycleLR, SequentialLR, ChainedScheduler), and there is no `last_epoch`, because a schedule
has no state. ``s(n)`` is the rate at the optimizer's step n, counted from 0, if ``scheduler.step()`` follows each.

torch computes most rates from the last one, and its rounding grows with n; these are closed forms, within 1e-12 of
the highest rate. Plateau is missing here: it is no function of n.

Examples
--------
>>> from pyfastlr import schedules as S
>>> lr = 0.5
>>> warmup = S.torch.LinearLR(lr, start_factor=0.5, total_iters=2)
>>> s = S.torch.SequentialLR([warmup, S.torch.StepLR(lr, step_size=2, gamma=0.5)], milestones=[2])
>>> [s(n) for n in range(6)]
[0.25, 0.375, 0.5, 0.5, 0.25, 0.25]
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import reduce
from operator import mul
from typing import Any, NoReturn

from pyfastlr.schedules import _checks
from pyfastlr.schedules._algebra import Constant, Product, as_schedule
from pyfastlr.schedules._checks import function, nonnegative
from pyfastlr.schedules._foreign import nondecreasing
from pyfastlr.schedules._schedule import RateLike, Schedule
from pyfastlr.schedules._torch_cosines import SWALR, CosineAnnealingLR, CosineAnnealingWarmRestarts
from pyfastlr.schedules._torch_cycles import CyclicLR, OneCycleLR
from pyfastlr.schedules._torch_decays import ConstantLR, ExponentialLR, LinearLR, MultiStepLR, PolynomialLR, StepLR

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "SequentialLR",
    "StepLR",
]


def LambdaLR(lr: float, lr_lambda: Callable[[int], float]) -> Schedule:
    """A factor that is any function of the update: ``lr·lr_lambda(n)``.

    Parameters
    ----------
    lr : float
        Rate where the factor is 1, >= 0.
    lr_lambda : callable
        n to factor, called once per update; not a list of them.

    Examples
    --------
    >>> LambdaLR(0.5, lambda n: 1 / (1 + n))(1)
    0.25

    Notes
    -----
    Ends: those of the function.

    Elsewhere: none has it, for a function is a schedule in optax and Keras; here it is `lr * S.as_schedule(lr_lambda)`.
    """
    return Product(function(lr_lambda, "lr_lambda"), nonnegative(lr, "lr"))


class MultiplicativeLR(Schedule):
    """A product of what any function gives: ``lr·∏(lr_lambda(k) for 1 <= k <= n)``.

    A product of arbitrary factors has no closed form: the last one is kept, so that a run calls the function once per
    update, but n below the last begins again from 1. There is no `compiled`.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    lr_lambda : callable
        n to factor; not a list of them.

    Examples
    --------
    >>> s = MultiplicativeLR(1.0, lambda n: 1 / n)
    >>> s(0), s(1), s(2), s(4) == 1 / 2 / 3 / 4
    (1.0, 1.0, 0.5, True)

    Notes
    -----
    Ends: s(0) = lr, and lr_lambda(0) is not asked for, but in a SequentialLR after its milestone it is.

    Elsewhere: none has it; where the factor is constant it is `S.Exponential`.
    """

    __slots__ = ()
    equation = "{lr}·∏(λ(k) for 1 <= k <= n); λ(n) = {lr_lambda}"

    def __init__(self, lr: float, lr_lambda: Callable[[int], float]) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), lr_lambda=as_schedule(function(lr_lambda, "lr_lambda")))

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, factor = self.parameters.values()
        last = 0, lr  # replaced as a whole: threads may repeat work, but cannot tear it

        def product(n: int) -> float:
            nonlocal last
            k, value = last
            if k > n:
                k, value = 0, lr
            while k < n:
                k += 1
                value *= factor(k)
            last = k, value
            return float(value)

        return product, ()

    @property
    def compiled(self) -> NoReturn:
        """Refused: it would multiply from the start at every update."""
        raise TypeError("MultiplicativeLR cannot be compiled: write a Schedule class with the product in closed form")


# Of torch's, these multiply the optimizer's rate; the others overwrite it. The cosine does while it falls, to 0.
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


def SequentialLR(schedulers: Sequence[RateLike], milestones: Sequence[int]) -> Schedule:
    """One schedule after another: ``s(n - milestone)`` of the next schedule s from each milestone on.

    Parameters
    ----------
    schedulers : sequence of Schedule
        At least one.
    milestones : sequence of int
        >= 0, one fewer, not decreasing: between equal ones, or before 0, a schedule is skipped.

    Raises
    ------
    TypeError, ValueError
        Something else, naming it; a LinearLR or PolynomialLR with total_iters = 0 after a milestone, which torch
        divides by.

    Examples
    --------
    >>> s = SequentialLR([ConstantLR(0.5, factor=0.5), ExponentialLR(0.5, gamma=0.5)], milestones=[20])
    >>> s(0), s(5), s(20), s(21)
    (0.25, 0.5, 0.5, 0.25)

    Notes
    -----
    Ends: update n = milestone is the first with the next schedule. MultiplicativeLR and SWALR go on from the last rate
    before it, as torch's do; all others start from their own lr.

    Elsewhere: as optax's join_schedules and `S.join`, where nothing goes on from the last rate. torch's OneCycleLR
    overwrites the rate that the others start from with max_lr/div_factor: write that as their lr. torch cannot put a
    SequentialLR or ChainedScheduler into another one; here they are schedules as all others.
    """
    parts = _checks.each(as_schedule)(schedulers, "schedulers")
    at = nondecreasing(milestones, "milestones")
    if len(parts) != len(at) + 1:
        raise ValueError(f"`milestones` must be one fewer than the {len(parts)} schedulers, got {len(at)}")
    first = bisect_right(at, 0)
    result: Schedule = parts[first]
    for i in range(first, len(at)):
        if i + 1 == len(at) or at[i] < at[i + 1]:
            result = result.then(_entered(parts[i + 1], i + 1, result(at[i] - 1)), at[i])
    return result


def _entered(schedule: Schedule, i: int, last: float) -> Schedule:
    """Give what torch's scheduler does from a milestone on, if `last` is the rate before it."""
    match schedule:
        case MultiplicativeLR():
            factor = schedule.parameters["lr_lambda"]
            return MultiplicativeLR(last * factor(0), factor)
        case SWALR():
            return SWALR(**{**schedule.parameters, "lr": last})
        case ConstantLR() if schedule.parameters["total_iters"] == 0:
            return Constant(schedule.parameters["lr"])  # the one case where torch's two formulas for it differ
        case LinearLR() | PolynomialLR() if schedule.parameters["total_iters"] == 0:
            raise ValueError(f"`schedulers[{i}]` must have total_iters >= 1 after a milestone, got {schedule!r}")
    return schedule


def ChainedScheduler(schedulers: Sequence[Schedule]) -> Schedule:
    """The product of the schedules' factors: ``lr·∏(s(n)/lr for s in schedulers)``.

    Parameters
    ----------
    schedulers : sequence of Schedule
        At least one, all with the same lr. Only those that multiply the rate: MultiplicativeLR, StepLR, MultiStepLR,
        ConstantLR, LinearLR, ExponentialLR, PolynomialLR, and CosineAnnealingLR with eta_min = 0.

    Raises
    ------
    TypeError, ValueError
        Something else, naming it.

    Examples
    --------
    >>> s = ChainedScheduler([ConstantLR(1.0, factor=0.5, total_iters=2), ExponentialLR(1.0, gamma=0.5)])
    >>> [s(n) for n in range(4)]
    [0.5, 0.25, 0.25, 0.125]

    Notes
    -----
    Ends: those of the schedules; n counts for all of them.

    Elsewhere: in optax and Keras by hand, here `s * t`. In torch a chained CosineAnnealingLR forgets the other factors
    when it rises again after T_max: here they stay. The other schedulers overwrite the rate at every step, also in a
    chain: here they are a TypeError.
    """
    parts = _checks.each(_factor)(schedulers, "schedulers")
    if not parts:
        raise ValueError(f"`schedulers` must be at least one, got {schedulers!r}")
    lr = parts[0].parameters["lr"]
    for i, s in enumerate(parts):
        if s.parameters["lr"] != lr:
            raise ValueError(f"`schedulers[{i}]` must have the lr of the first, {lr}, got {s.parameters['lr']}")
    ones = (type(s)(**{**s.parameters, "lr": 1.0}) for s in parts[1:])
    product: Schedule = reduce(mul, ones, parts[0])
    return product


def _factor(value: Any, name: str) -> Schedule:
    """Check for one of the schedules that multiply the rate."""
    if not isinstance(value, _FACTORS):
        kinds = ", ".join(kind.__name__ for kind in _FACTORS)
        raise TypeError(f"`{name}` must be one of {kinds}, got {value!r}")
    if value.parameters.get("eta_min"):
        raise ValueError(f"`{name}` must have eta_min = 0 in a chain, got {value!r}")
    return value
