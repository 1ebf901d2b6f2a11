"""optax's schedules under their own names: `optax.schedules`.

Each is a function with optax's arguments that returns one of our schedules, computed in float64. optax computes in
float32 unless `jax_enable_x64` is set, and loses digits of n from 2^24 on. A negative number of updates is a
ValueError; optax takes it as 0.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.optax.warmup_cosine_decay_schedule(0.0, 0.5, warmup_steps=10, decay_steps=110)
>>> s(0), s(10), s(60), s(110)
(0.0, 0.5, 0.25, 0.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .algebra import join
from .base import RateLike, Schedule
from .checks import natural, nonnegative, positive, positive_integer, share, unknown_attribute
from .compat import CosinePower, Interpolated
from .cycles import OneCycle
from .decays import Cosine
from .optax_decays import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    linear_schedule,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
)

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Lines from peak_value/div_factor up to the peak, back down, and on to peak_value/div_factor/final_div_factor.

    Parameters
    ----------
    transition_steps : int >= 1
        Total number of updates.
    peak_value : float >= 0
        Highest rate.
    pct_start, pct_final : float >= 0 and <= 1, default 0.3 and 0.85
        Fractions of the updates before the peak and before the last part. The second and the last part must each have
        at least one update.
    div_factor, final_div_factor : float > 0, default 25 and 1e4

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = linear_onecycle_schedule(100, 1.0)
    >>> s(0), s(30), s(85), s(100)
    (0.04, 1.0, 0.04, 4e-06)

    Notes
    -----
    Ends: the corners are at 0, int(pct_start·transition_steps), int(pct_final·transition_steps) and transition_steps;
    after the last one, the rate is constant.

    Elsewhere: in torch's OneCycleLR with three_phase and "linear", the fall is as long as the rise, and the corners are
    one update earlier; `S.OneCycle` with "linear" has no third part.
    """
    steps, peak = positive_integer(transition_steps, "transition_steps"), nonnegative(peak_value, "peak_value")
    up, down = int(share(pct_start, "pct_start") * steps), int(share(pct_final, "pct_final") * steps)
    if not up < down < steps:
        raise ValueError(
            "`pct_final` must leave each part at least one update, "
            f"got {pct_final} with pct_start {pct_start} and {steps} updates"
        )
    first = peak / positive(div_factor, "div_factor")
    return Interpolated(
        [up, down, steps], [first, peak, first, first / positive(final_div_factor, "final_div_factor")], "linear"
    )


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Cosines from peak_value/div_factor up to the peak, and down to peak_value/div_factor/final_div_factor.

    Parameters
    ----------
    transition_steps : int >= 1
        Total number of updates.
    peak_value : float >= 0
        Highest rate.
    pct_start : float > 0 and < 1, default 0.3
        Fraction of the updates before the peak.
    div_factor, final_div_factor : float > 0, default 25 and 1e4

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = cosine_onecycle_schedule(100, 1.0)
    >>> s(0), s(30), s(100)
    (0.04, 1.0, 4e-06)

    Notes
    -----
    Ends: the peak is at int(pct_start·transition_steps), the last rate from transition_steps on.

    Elsewhere: same as `S.OneCycle`; torch's OneCycleLR peaks and ends one update earlier.
    """
    return OneCycle(
        nonnegative(peak_value, "peak_value"),
        positive_integer(transition_steps, "transition_steps"),
        pct_start,
        positive(div_factor, "div_factor"),
        positive(final_div_factor, "final_div_factor"),
    )


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """Linear warm-up, then a constant rate: ``init_value + (peak_value - init_value)·min(n/warmup_steps, 1)``.

    Parameters
    ----------
    init_value, peak_value : float >= 0
        First and last rate.
    warmup_steps : int >= 0
        Updates from one to the other.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> warmup_constant_schedule(0.0, 0.5, warmup_steps=10)(5)
    0.25

    Notes
    -----
    Ends: init_value at n = 0, peak_value from n = warmup_steps on; with warmup_steps = 0, always init_value, as in
    optax.

    Elsewhere: same as `S.Constant(peak_value).warmup(warmup_steps, init_value)`, except for warmup_steps = 0; in torch,
    use LinearLR.
    """
    peak_value, warmup_steps = nonnegative(peak_value, "peak_value"), natural(warmup_steps, "warmup_steps")
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Linear warm-up, then cosine decay, with decay_steps updates in total.

    Parameters
    ----------
    init_value, peak_value, end_value : float >= 0
        First, highest and last rate; end_value is 0 by default.
    warmup_steps : int >= 0
        Updates of the warm-up.
    decay_steps : int > warmup_steps
        Updates of the warm-up and the decay together.
    exponent : float > 0, default 1
        Power to which the cosine is raised.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = warmup_cosine_decay_schedule(0.0, 0.5, warmup_steps=10, decay_steps=110)
    >>> s == Cosine(0.5, steps=100).warmup(10)
    True

    Notes
    -----
    Ends: init_value at n = 0, peak_value at warmup_steps, end_value from n = decay_steps on (0 if peak_value is 0).

    Elsewhere: the steps of Keras' CosineDecay and of `S.Cosine` do not include the warm-up, and Keras gives the end as
    a fraction; in torch, use a SequentialLR.
    """
    init_value, peak = nonnegative(init_value, "init_value"), nonnegative(peak_value, "peak_value")
    warmup, steps = natural(warmup_steps, "warmup_steps"), positive_integer(decay_steps, "decay_steps")
    if steps <= warmup:
        raise ValueError(f"`decay_steps` must be > warmup_steps ({warmup}), which it includes, got {steps}")
    end, exponent = nonnegative(end_value, "end_value") if peak else 0.0, positive(exponent, "exponent")
    fall = Cosine(peak, steps - warmup, end) if exponent == 1.0 else CosinePower(peak, steps - warmup, end, exponent)
    return fall.warmup(warmup, init_value)


def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: float,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Linear warm-up, then `exponential_decay` from peak_value.

    Parameters
    ----------
    init_value, peak_value : float >= 0
        First and highest rate.
    warmup_steps : int >= 0
        Updates of the warm-up.
    transition_steps, decay_rate, transition_begin, staircase, end_value
        Same as for `exponential_decay`, counting from the end of the warm-up.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = warmup_exponential_decay_schedule(0.0, 0.5, warmup_steps=10, transition_steps=10, decay_rate=0.5)
    >>> s(0), s(10), s(20)
    (0.0, 0.5, 0.25)

    Notes
    -----
    Ends: init_value at n = 0, peak_value at n = warmup_steps; then those of `exponential_decay`.

    Elsewhere: same as `S.Exponential(...).warmup(warmup_steps, init_value)`; in torch, use a SequentialLR.
    """
    init_value, peak = nonnegative(init_value, "init_value"), nonnegative(peak_value, "peak_value")
    warmup = natural(warmup_steps, "warmup_steps")
    fall = exponential_decay(peak, transition_steps, decay_rate, transition_begin, staircase, end_value)
    # With an end_value beyond the peak, the decay starts at end_value, but the warm-up still ends at the peak.
    return (
        fall.warmup(warmup, init_value)
        if fall(0) == peak
        else linear_schedule(init_value, peak, warmup).then(fall, warmup)
    )


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """One `warmup_cosine_decay_schedule` after another, each for its decay_steps.

    Parameters
    ----------
    cosine_kwargs : iterable of dict
        The arguments of each schedule; at least one.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> cycle = {"init_value": 0.0, "warmup_steps": 10, "decay_steps": 100}
    >>> s = sgdr_schedule([{**cycle, "peak_value": 0.5}, {**cycle, "peak_value": 0.25}])
    >>> s(0), s(10), s(100), s(110)
    (0.0, 0.5, 0.0, 0.25)

    Notes
    -----
    Ends: those of each schedule; the last one stays at its end_value.

    Elsewhere: torch's CosineAnnealingWarmRestarts, Keras' CosineDecayRestarts and `S.CosineRestarts` never stop, and
    their cycles have no warm-up.
    """
    cycles = list(cosine_kwargs)
    parts = [warmup_cosine_decay_schedule(**cycle) for cycle in cycles]
    return join(parts, list(accumulate(cycle["decay_steps"] for cycle in cycles[:-1])))


def join_schedules(schedules: Sequence[RateLike], boundaries: Sequence[int]) -> Schedule:
    """Several schedules: from each boundary on, the next schedule s gives ``s(n - boundary)``.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        At least one.
    boundaries : sequence of int >= 0
        One fewer than schedules, strictly increasing.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = join_schedules([constant_schedule(0.5), linear_schedule(0.25, 0.0, 2)], [30])
    >>> s(29), s(30), s(31)
    (0.5, 0.25, 0.125)

    Notes
    -----
    Ends: update n = boundary is the first of the next schedule.

    Elsewhere: same as `S.join` and torch's SequentialLR.
    """
    return join(schedules, boundaries)
