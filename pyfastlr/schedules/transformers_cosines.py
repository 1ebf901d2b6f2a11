"""transformers' cosine and warm-up-stable-decay schedules. See `pyfastlr.schedules.transformers`."""

from __future__ import annotations

from pyfastlr_kernels import compat_curves

from .algebra import Constant
from .base import Schedule
from .checks import choice, natural, nonnegative, positive_integer, share
from .cycles import WSD
from .decays import Linear


class CosineWaves(Schedule, lr=nonnegative, steps=positive_integer, cycles=nonnegative, end=nonnegative):
    """Whole waves of the cosine: ``end + (lr - end)·(1 + cos(2π·cycles·n/steps))/2``.

    transformers' cosine schedules return this: they rise again after their last update.

    Examples
    --------
    >>> s = CosineWaves(0.5, steps=100, cycles=0.5, end=0.0)
    >>> s(0), s(50), s(100), s(200)
    (0.5, 0.25, 0.0, 0.5)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.cosine_waves)
    equation = "{end} + ({lr} - {end})·(1 + cos(2π·{cycles}·n/{steps}))/2"

    def __init__(self, lr: float, steps: int, cycles: float, end: float) -> None:
        super().__init__(lr=lr, steps=steps, cycles=cycles, end=end)


class HardRestarts(Schedule, lr=nonnegative, steps=positive_integer, cycles=nonnegative):
    """Equal cosine cycles, then 0: ``lr·(1 + cos(π·(cycles·n/steps mod 1)))/2`` for n < steps.

    transformers' schedule with hard restarts returns this.

    Examples
    --------
    >>> s = HardRestarts(0.5, steps=100, cycles=2)
    >>> s(0), s(25), s(50), s(75), s(100)
    (0.5, 0.25, 0.5, 0.25, 0.0)
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.hard_restarts)
    equation = "{lr}·(1 + cos(π·({cycles}·n/{steps} mod 1)))/2 for n < {steps}, then 0"

    def __init__(self, lr: float, steps: int, cycles: float) -> None:
        super().__init__(lr=lr, steps=steps, cycles=cycles)


def warmed(lr: float, steps: int, rest: Schedule, start: float = 0.0) -> Schedule:
    """Return the schedule after a linear warm-up to lr, which need not be its first rate."""
    if rest(0) == lr:
        return rest.warmup(steps, start)
    return Linear(start, lr, steps).then(rest, at=steps) if steps else rest


def get_cosine_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5
) -> Schedule:
    """Linear warm-up, then a cosine: ``lr·(1 + cos(2π·num_cycles·x))/2``.

    x is the elapsed fraction of the updates after the warm-up.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int >= 0
        Total number of updates.
    num_cycles : float >= 0, default 0.5
        Waves of the cosine; 0.5 is a fall to 0.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_cosine_schedule_with_warmup(0.5, num_warmup_steps=10, num_training_steps=110)
    >>> s(0), s(10), s(60), s(110), s(210)
    (0.0, 0.5, 0.25, 0.0, 0.5)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps, 0 at num_training_steps, where it rises again.

    Elsewhere: same as `S.Cosine` with `.warmup` until num_training_steps; optax's warmup_cosine_decay_schedule stays at
    the last rate.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    steps = max(1, natural(num_training_steps, "num_training_steps") - warmup)
    return CosineWaves(lr, steps, nonnegative(num_cycles, "num_cycles"), 0.0).warmup(warmup)


def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 1
) -> Schedule:
    """Linear warm-up, then equal cosine cycles: ``lr·(1 + cos(π·(num_cycles·x mod 1)))/2``.

    x is the elapsed fraction of the updates after the warm-up.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up and at each restart.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int >= 0
        Total number of updates.
    num_cycles : float >= 0, default 1
        Number of cycles. A cycle need not have a whole number of updates.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_cosine_with_hard_restarts_schedule_with_warmup(0.5, 10, 110, num_cycles=2)
    >>> s(0), s(10), s(35), s(60), s(110)
    (0.0, 0.5, 0.25, 0.5, 0.0)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps, 0 from num_training_steps on.

    Elsewhere: `S.CosineRestarts(lr, period=steps/num_cycles)` with `.warmup` is the same except for roundings at its
    restarts and never stops.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    steps = max(1, natural(num_training_steps, "num_training_steps") - warmup)
    return HardRestarts(lr, steps, nonnegative(num_cycles, "num_cycles")).warmup(warmup)


def _lowest(lr: float, min_lr: float | None, min_lr_rate: float | None) -> float:
    """Check the two ways to give the lowest rate; return it."""
    if (min_lr is None) == (min_lr_rate is None):
        raise ValueError(f"exactly one of `min_lr` and `min_lr_rate` must be given, got {min_lr} and {min_lr_rate}")
    return nonnegative(min_lr, "min_lr") if min_lr is not None else lr * nonnegative(min_lr_rate, "min_lr_rate")  # type: ignore[no-any-return]


def get_cosine_with_min_lr_schedule_with_warmup(
    lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> Schedule:
    """Linear warm-up, then a cosine that ends above 0: ``min_lr + (lr - min_lr)·(1 + cos(2π·num_cycles·x))/2``.

    x is the elapsed fraction of the updates after the warm-up.

    Parameters
    ----------
    lr : float >= 0
        Rate after the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int >= 0
        Total number of updates.
    num_cycles : float >= 0, default 0.5
        Waves of the cosine; 0.5 is a fall to the lowest rate.
    min_lr : float >= 0
        Lowest rate of the cosine. Give either this or min_lr_rate.
    min_lr_rate : float >= 0
        The lowest rate divided by lr.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_cosine_with_min_lr_schedule_with_warmup(0.5, 10, 110, min_lr=0.25)
    >>> s(0), s(10), s(60), s(110)
    (0.0, 0.5, 0.375, 0.25)

    Notes
    -----
    Ends: 0 at n = 0 (lr without a warm-up), lr at num_warmup_steps, the lowest rate at num_training_steps, where it
    rises again.

    Elsewhere: same as `S.Cosine` with `.warmup` until num_training_steps.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    steps = max(1, natural(num_training_steps, "num_training_steps") - warmup)
    low = _lowest(lr, min_lr, min_lr_rate)
    return CosineWaves(lr, steps, nonnegative(num_cycles, "num_cycles"), low).warmup(warmup)


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> Schedule:
    """Warm-up that starts above 0, then a cosine that ends above 0, both one update ahead.

    The warm-up is ``lr·(n + 1)/num_warmup_steps``, and the cosine, counted from num_warmup_steps - 1, is that of
    `get_cosine_with_min_lr_schedule_with_warmup`.

    Parameters
    ----------
    lr : float >= 0
        Rate of the last update of the warm-up.
    num_warmup_steps : int >= 0
        Updates of the warm-up.
    num_training_steps : int >= 0
        Total number of updates.
    num_cycles : float >= 0, default 0.5
        Waves of the cosine; 0.5 is a fall to the lowest rate.
    min_lr : float >= 0
        Lowest rate of the cosine. Give either this or min_lr_rate.
    min_lr_rate : float >= 0
        The lowest rate divided by lr.
    warmup_lr_rate : float >= 0 and <= 1
        First rate of the warm-up, divided by lr; by default 1/num_warmup_steps.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = get_cosine_with_min_lr_schedule_with_warmup_lr_rate(0.5, 10, 110, min_lr=0.25)
    >>> s(0), s(9), s(59), s(109)
    (0.05, 0.5, 0.375, 0.25)

    Notes
    -----
    Ends: lr/num_warmup_steps or lr·warmup_lr_rate at n = 0, lr at num_warmup_steps - 1, the lowest rate at
    num_training_steps - 1, where it rises again.

    Elsewhere: `S.Cosine(...).warmup(num_warmup_steps).advance(1)` is nearly the same.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    steps = max(1, natural(num_training_steps, "num_training_steps") - warmup)
    low = _lowest(lr, min_lr, min_lr_rate)
    rest = CosineWaves(lr, steps, nonnegative(num_cycles, "num_cycles"), low).advance(1)
    if warmup_lr_rate is not None:
        warmup_lr_rate = share(warmup_lr_rate, "warmup_lr_rate")
    if not warmup:
        return rest
    rise = (
        Linear(0.0, lr, warmup).advance(1)
        if warmup_lr_rate is None
        else Linear(warmup_lr_rate * lr, lr, max(1, warmup - 1))
    )
    return rise.then(rest, at=warmup)


def get_wsd_schedule(
    lr: float,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0,
    num_cycles: float = 0.5,
) -> Schedule:
    """Warm-up from min_lr_ratio·lr to lr, a constant rate, then a decay back to min_lr_ratio·lr.

    Parameters
    ----------
    lr : float >= 0
        Rate of the constant part.
    num_warmup_steps, num_decay_steps : int >= 0
        Updates of the warm-up and of the decay.
    num_training_steps : int
        Total number of updates; ignored if num_stable_steps is given.
    num_stable_steps : int >= 0
        Updates of the constant part. One of the two must be given.
    warmup_type, decay_type : {"linear", "cosine", "1-sqrt"}
        Shapes of the warm-up and of the decay.
    min_lr_ratio : float >= 0, default 0
        First and last rate, divided by lr.
    num_cycles : float >= 0, default 0.5
        Waves of a cosine decay.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if the constant part would have a negative length.

    Examples
    --------
    >>> s = get_wsd_schedule(0.5, 10, 20, num_stable_steps=80, decay_type="linear")
    >>> s(0), s(10), s(90), s(100), s(110)
    (0.0, 0.5, 0.5, 0.25, 0.0)

    Notes
    -----
    Ends: min_lr_ratio·lr at n = 0 (lr without a warm-up), lr for num_stable_steps updates, min_lr_ratio·lr at the end.

    Elsewhere: `S.WSD` has other defaults: a "1-sqrt" decay, a warm-up from `start`.
    """
    lr, warmup = nonnegative(lr, "lr"), natural(num_warmup_steps, "num_warmup_steps")
    decay = natural(num_decay_steps, "num_decay_steps")
    if num_stable_steps is not None:
        stable = natural(num_stable_steps, "num_stable_steps")
    elif num_training_steps is None:
        raise ValueError("one of `num_training_steps` and `num_stable_steps` must be given, got None and None")
    else:
        stable = natural(num_training_steps, "num_training_steps") - warmup - decay
        if stable < 0:
            raise ValueError(
                f"`num_training_steps` must be at least `num_warmup_steps` + `num_decay_steps` ({warmup + decay}), "
                f"got {num_training_steps}"
            )
    kinds = choice("linear", "cosine", "1-sqrt")
    rise, fall = kinds(warmup_type, "warmup_type"), kinds(decay_type, "decay_type")
    end, cycles = lr * nonnegative(min_lr_ratio, "min_lr_ratio"), nonnegative(num_cycles, "num_cycles")
    if not decay:
        rest: Schedule = Constant(lr).then(Constant(end), at=stable) if stable else Constant(end)
    elif fall == "cosine" and cycles != 0.5:
        waves = CosineWaves(lr, decay, cycles, end).then(Constant(end), at=decay)
        rest = Constant(lr).then(waves, at=stable) if stable else waves
    else:
        rest = WSD(lr, 0, stable, decay, end=end, shape=fall)
    if rest(0) == lr:
        return rest.warmup(warmup, end, rise)
    return Constant(lr).warmup(warmup, end, rise).then(rest, at=warmup) if warmup else rest
