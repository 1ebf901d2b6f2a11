"""transformers' schedules under their own names: the functions of `transformers.optimization`.

The arguments are theirs, with the optimizer's rate `lr` in place of `optimizer` and without `last_epoch`. Each returns
one of our schedules. ``s(n)`` is the rate of the optimizer's step n, counting from 0.

`get_reduce_on_plateau_schedule`, `get_greedy_schedule` and `get_adafactor_schedule` depend on the run and are missing.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.transformers.get_linear_schedule_with_warmup(0.5, num_warmup_steps=10, num_training_steps=110)
>>> s
Warmup(schedule=Linear(start=0.5, end=0.0, steps=100), steps=10, start=0.0)
>>> s(0), s(10), s(60), s(110)
(0.0, 0.5, 0.25, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .algebra import Constant
from .base import Schedule
from .checks import natural, nonnegative, positive, unknown_attribute, updates
from .cycles import InverseSqrt
from .decays import InverseTime, Linear, Polynomial
from .transformers_cosines import (
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    get_wsd_schedule,
    warmed,
)

__all__ = [
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_scheduler",
    "get_wsd_schedule",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)


def get_constant_schedule(lr: float) -> Schedule:
    """The same rate at every update: ``lr``.

    Parameters
    ----------
    lr : float >= 0

    Raises
    ------
    TypeError, ValueError
        If the argument has the wrong type or is out of range.

    Examples
    --------
    >>> get_constant_schedule(0.5)
    Constant(lr=0.5)

    Notes
    -----
    Ends: none.

    Elsewhere: same as `S.Constant`.
    """
    return Constant(lr)


def get_constant_schedule_with_warmup(lr: float, num_warmup_steps: int) -> Schedule:
    """Linear warm-up, then a constant rate: ``lr·min(n/num_warmup_steps, 1)``.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_constant_schedule_with_warmup(0.5, num_warmup_steps=10)
    >>> s(0), s(5), s(10)
    (0.0, 0.25, 0.5)

    Notes
    -----
    Ends: 0 at n = 0, lr from n = num_warmup_steps on.

    Elsewhere: same as `S.Constant(lr).warmup(num_warmup_steps)`.
    """
    return Constant(lr).warmup(natural(num_warmup_steps, "num_warmup_steps"))


def get_linear_schedule_with_warmup(lr: float, num_warmup_steps: int, num_training_steps: int) -> Schedule:
    """Linear warm-up, then a straight line to 0 at num_training_steps.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int >= 0
        Total number of updates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_linear_schedule_with_warmup(0.5, num_warmup_steps=10, num_training_steps=110)
    >>> s(0), s(10), s(60), s(110)
    (0.0, 0.5, 0.25, 0.0)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps, 0 from num_training_steps on.

    Elsewhere: same as `S.Linear` with `.warmup`, whose steps do not include the warm-up; DeepSpeed's WarmupDecayLR with
    warmup_type "linear".
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    steps = natural(num_training_steps, "num_training_steps") - warmup
    return warmed(lr, warmup, Linear(lr, 0.0, steps) if steps > 0 else Constant(0.0))


def get_polynomial_decay_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, lr_end: float = 1e-7, power: float = 1.0
) -> Schedule:
    """Linear warm-up, then polynomial decay to lr_end: ``lr_end + (lr - lr_end)·(1 - x)^power``.

    x is the elapsed fraction of the updates after the warm-up.

    Parameters
    ----------
    lr : float > lr_end
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int > num_warmup_steps
        Total number of updates.
    lr_end : float >= 0, default 1e-7
        Last rate.
    power : float > 0, default 1
        Exponent.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_polynomial_decay_schedule_with_warmup(0.5, 10, 110, lr_end=0.0, power=2.0)
    >>> s(0), s(10), s(60), s(110)
    (0.0, 0.5, 0.125, 0.0)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps, lr_end from num_training_steps on.

    Elsewhere: same as `S.Polynomial` with `.warmup`.
    """
    lr, warmup, end = (
        nonnegative(lr, "lr"),
        natural(num_warmup_steps, "num_warmup_steps"),
        nonnegative(lr_end, "lr_end"),
    )
    steps, power = natural(num_training_steps, "num_training_steps") - warmup, positive(power, "power")
    if steps < 1:
        raise ValueError(f"`num_training_steps` must be above `num_warmup_steps` ({warmup}), got {num_training_steps}")
    if not end < lr:
        raise ValueError(f"`lr_end` must be below `lr` ({lr}), got {end}")
    return Polynomial(lr, steps, end, power).warmup(warmup)


def get_inverse_sqrt_schedule(lr: float, num_warmup_steps: int, timescale: float | None = None) -> Schedule:
    """Linear warm-up, then decay with an inverse square root: ``lr/√(1 + (n - num_warmup_steps)/timescale)``.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    timescale : float >= 1e-6
        Updates after the warm-up until the rate is lr/√2. By default num_warmup_steps, or 10,000 if that is 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_inverse_sqrt_schedule(0.5, num_warmup_steps=100)
    >>> s(0), s(50), s(100), s(400)
    (0.0, 0.25, 0.5, 0.25)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps; then falls like 1/√n without end.

    Elsewhere: same as `S.InverseSqrt(lr, num_warmup_steps)` with the default timescale; otherwise
    `S.InverseTime(lr, 1/timescale, power=0.5).warmup(num_warmup_steps)`.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    if timescale is not None:
        timescale = updates(timescale, "timescale")
    if warmup and timescale in (None, warmup):
        return InverseSqrt(lr, warmup)
    return InverseTime(lr, 1.0 / (timescale or 10_000), 0.5).warmup(warmup)


_BY_NAME: dict[str, Callable[..., Schedule]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
    "cosine_warmup_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    "warmup_stable_decay": get_wsd_schedule,
}


def get_scheduler(
    name: str,
    lr: float,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> Schedule:
    """Any schedule of this module by the name that `lr_scheduler_type` takes.

    Parameters
    ----------
    name : str
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
        "cosine_with_min_lr", "cosine_warmup_with_min_lr" or "warmup_stable_decay".
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps, num_training_steps : int >= 0
        Passed on to the schedules that take them. "constant" takes neither.
    scheduler_specific_kwargs : dict
        Further arguments of the schedule; "constant" and "constant_with_warmup" take none.

    Raises
    ------
    TypeError, ValueError
        If an argument is missing, has the wrong type or is out of range, or if the name is unknown.

    Examples
    --------
    >>> get_scheduler("cosine_with_min_lr", 0.5, 10, 110, {"min_lr": 0.1})(110)
    0.1

    Notes
    -----
    Ends: those of the schedule.

    Elsewhere: "reduce_lr_on_plateau" and "greedy" depend on the run: `S.Plateau` is a controller for that.
    """
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ValueError(f"`name` must be one of {', '.join(_BY_NAME)}, got {name!r}")
    further = dict(scheduler_specific_kwargs or {})
    make = _BY_NAME[name]
    if name == "constant":
        return make(lr)
    if num_warmup_steps is None:
        raise ValueError(f"`num_warmup_steps` must be given for {name!r}, got None")
    if name == "constant_with_warmup":
        return make(lr, num_warmup_steps)
    if name == "inverse_sqrt":
        return make(lr, num_warmup_steps, **further)
    if name == "warmup_stable_decay":
        return make(lr, num_warmup_steps, num_training_steps=num_training_steps, **further)
    if num_training_steps is None:
        raise ValueError(f"`num_training_steps` must be given for {name!r}, got None")
    return make(lr, num_warmup_steps, num_training_steps, **further)
