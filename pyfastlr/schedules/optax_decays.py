"""optax's schedules that go in one direction: see `pyfastlr.schedules.optax`."""

from __future__ import annotations

from collections.abc import Mapping

from .algebra import Constant
from .base import Schedule
from .checks import choice, elapsed, flag, natural, nonnegative, positive, updates
from .compat import FALLS, CosinePower, Interpolated, staircase_of
from .decays import Cosine, Exponential, Linear, Polynomial
from .steps import Piecewise


def constant_schedule(value: float) -> Schedule:
    """The same rate at every update: ``value``.

    Parameters
    ----------
    value : float >= 0

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> constant_schedule(0.5)
    Constant(lr=0.5)

    Notes
    -----
    Ends: none.

    Elsewhere: same as `S.Constant`; torch's ConstantLR is a warm-up.
    """
    return Constant(nonnegative(value, "value"))


def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: float, transition_begin: int = 0
) -> Schedule:
    """Polynomial decay: ``end_value + (init_value - end_value)·(1 - min(n/transition_steps, 1))^power``.

    Parameters
    ----------
    init_value, end_value : float >= 0
        First and last rate.
    power : float > 0
        Exponent.
    transition_steps : float >= 0
        Updates from one to the other.
    transition_begin : int >= 0, default 0
        Updates at init_value before the decay. The formula's n does not count them.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> polynomial_schedule(0.5, 0.0, power=2.0, transition_steps=4)(2)
    0.125

    Notes
    -----
    Ends: init_value up to n = transition_begin, end_value from n = transition_begin + transition_steps on; with
    transition_steps = 0, always init_value.

    Elsewhere: same as `S.Polynomial` with `.delay`; Keras' PolynomialDecay takes the steps before the end value;
    torch's PolynomialLR ends at 0.
    """
    init_value, end_value = nonnegative(init_value, "init_value"), nonnegative(end_value, "end_value")
    power, steps = positive(power, "power"), elapsed(transition_steps, "transition_steps")
    s = Polynomial(init_value, steps, end_value, power) if steps else Constant(init_value)
    return _delayed(s, transition_begin)


def linear_schedule(
    init_value: float, end_value: float, transition_steps: float, transition_begin: int = 0
) -> Schedule:
    """A straight line: ``init_value + (end_value - init_value)·min(n/transition_steps, 1)``.

    Parameters
    ----------
    init_value, end_value : float >= 0
        First and last rate.
    transition_steps : float >= 0
        Updates from one to the other.
    transition_begin : int >= 0, default 0
        Updates at init_value before the decay. The formula's n does not count them.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> linear_schedule(0.5, 0.25, transition_steps=2)
    Linear(start=0.5, end=0.25, steps=2)

    Notes
    -----
    Ends: init_value up to n = transition_begin, end_value from n = transition_begin + transition_steps on; with
    transition_steps = 0, always init_value.

    Elsewhere: same as `S.Linear` with `.delay`; torch's LinearLR takes factors.
    """
    init_value, end_value = nonnegative(init_value, "init_value"), nonnegative(end_value, "end_value")
    steps = elapsed(transition_steps, "transition_steps")
    return _delayed(Linear(init_value, end_value, steps) if steps else Constant(init_value), transition_begin)


def _delayed(schedule: Schedule, transition_begin: int) -> Schedule:
    """Return the schedule with its first rate held for transition_begin updates."""
    begin = natural(transition_begin, "transition_begin")
    return schedule.delay(begin) if begin and not isinstance(schedule, Constant) else schedule


def exponential_decay(
    init_value: float,
    transition_steps: float,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Exponential decay: ``init_value·decay_rate^(n/transition_steps)``, bounded by end_value.

    Parameters
    ----------
    init_value : float >= 0
        First rate.
    transition_steps : float >= 0
        Updates over which the rate changes by the factor decay_rate.
    decay_rate : float >= 0
        Factor per `transition_steps` updates.
    transition_begin : int >= 0, default 0
        Updates at init_value before the decay. The formula's n does not count them.
    staircase : bool, default False
        Round the exponent down.
    end_value : float >= 0
        Lower bound if decay_rate < 1, otherwise upper bound; none by default.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = exponential_decay(0.5, transition_steps=10, decay_rate=0.5, end_value=0.1)
    >>> s(10), s(20), s(30)
    (0.25, 0.125, 0.1)

    Notes
    -----
    Ends: init_value up to n = transition_begin; with transition_steps = 0 or decay_rate = 0, always init_value.

    Elsewhere: same as `S.Exponential` with `.delay` and `.clip`; Keras' ExponentialDecay has no transition_begin and no
    end_value; torch's ExponentialLR has transition_steps = 1.
    """
    init_value, steps = nonnegative(init_value, "init_value"), elapsed(transition_steps, "transition_steps")
    decay_rate, staircase = nonnegative(decay_rate, "decay_rate"), flag(staircase, "staircase")
    if steps == 0 or decay_rate == 0.0:
        return _delayed(Constant(init_value), transition_begin)
    s = _delayed(Exponential(init_value, decay_rate, steps, staircase), transition_begin)
    if end_value is None:
        return s
    end_value = nonnegative(end_value, "end_value")
    return s.clip(end_value, max(init_value, end_value)) if decay_rate < 1.0 else s.clip(0.0, end_value)


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """A factor for each boundary: ``init_value·∏(scale for boundary, scale if boundary <= n)``.

    Parameters
    ----------
    init_value : float >= 0
        First rate.
    boundaries_and_scales : dict of int >= 0 to float >= 0, default {}
        Factor at each boundary, in any order.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = piecewise_constant_schedule(0.5, {30: 0.5, 60: 0.1})
    >>> s(29), s(30), s(60)
    (0.5, 0.25, 0.025)

    Notes
    -----
    Ends: update n = boundary is the first with the new rate.

    Elsewhere: same as `S.Piecewise`, and as torch's MultiStepLR if all factors are equal; Keras' PiecewiseConstantDecay
    takes rates and changes one update later.
    """
    return Piecewise(*staircase_of(init_value, boundaries_and_scales))


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """Interpolation between the rates of `piecewise_constant_schedule`, each reached at its boundary.

    Parameters
    ----------
    interpolate_type : {"linear", "cosine"}
        Interpolate with straight lines or half periods of a cosine.
    init_value : float >= 0
        First rate.
    boundaries_and_scales : dict of int >= 0 to float >= 0, default {}
        The rate at each boundary divided by that at the one before, in any order.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = piecewise_interpolate_schedule("linear", 0.5, {10: 0.5, 20: 0.0})
    >>> s(0), s(5), s(10), s(15), s(20)
    (0.5, 0.375, 0.25, 0.125, 0.0)

    Notes
    -----
    Ends: init_value at n = 0, unless 0 is a boundary; the last rate from the last boundary on.

    Elsewhere: torch and Keras lack it; here it is `S.join` of `S.Linear` or `S.Cosine`.
    """
    interpolation = choice(*FALLS)(interpolate_type, "interpolate_type")
    return Interpolated(*staircase_of(init_value, boundaries_and_scales), interpolation)


def cosine_decay_schedule(init_value: float, decay_steps: float, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """Cosine decay: ``init_value·(alpha + (1 - alpha)·f^exponent)``, where the cosine f falls from 1 to 0.

    Parameters
    ----------
    init_value : float >= 0
        First rate.
    decay_steps : float >= 1e-6
        Updates to the last rate.
    alpha : float >= 0, default 0
        The last rate divided by the first.
    exponent : float > 0, default 1

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> cosine_decay_schedule(0.5, decay_steps=100, alpha=0.5)
    Cosine(lr=0.5, steps=100, end=0.25)

    Notes
    -----
    Ends: init_value at n = 0, alpha·init_value from n = decay_steps on.

    Elsewhere: same as Keras' CosineDecay and `S.Cosine` if the exponent is 1; torch's CosineAnnealingLR rises again.
    """
    init_value, steps = nonnegative(init_value, "init_value"), updates(decay_steps, "decay_steps")
    end, exponent = init_value * nonnegative(alpha, "alpha"), positive(exponent, "exponent")
    return Cosine(init_value, steps, end) if exponent == 1.0 else CosinePower(init_value, steps, end, exponent)
