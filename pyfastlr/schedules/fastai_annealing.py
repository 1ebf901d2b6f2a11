"""fastai's annealing functions. See `pyfastlr.schedules.fastai`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr_kernels import compat_curves

from .base import Schedule
from .checks import choice, nonnegative, positive, positive_integer

CURVES: dict[str, Callable[..., float]] = {
    "linear": compat_curves.window_linear,
    "cosine": compat_curves.window_cosine,
    "exponential": compat_curves.window_exponential,
    "power": compat_curves.window_power,
}


class Annealed(
    Schedule,
    kind=choice(*CURVES),
    start=nonnegative,
    end=nonnegative,
    steps=positive_integer,
    low=nonnegative,
    high=positive,
    power=positive,
):
    """From start to end while the fraction n/steps goes from `low` to `high`.

    fastai's annealing functions return this.

    Examples
    --------
    >>> s = Annealed("linear", 0.5, 0.25, steps=100, low=0.5, high=0.75)
    >>> s(50), s(60), s(75), s(100)
    (0.5, 0.4, 0.25, 0.25)
    """

    __slots__ = ()
    equation = "{kind} from {start} to {end} while n/{steps} goes from {low} to {high}"

    def __init__(
        self, kind: str, start: float, end: float, steps: int, low: float = 0.0, high: float = 1.0, power: float = 1.0
    ) -> None:
        super().__init__(kind=kind, start=start, end=end, steps=steps, low=low, high=high, power=power)
        kind, start, end, _, low, high, _ = self.parameters.values()
        if not low < high:
            raise ValueError(f"`high` must be above `low` ({low}), got {high}")
        if kind == "exponential" and not (start > 0.0 and end > 0.0):
            raise ValueError(f"`start` and `end` must be > 0 for an exponential, got {start} and {end}")

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        kind, *window, power = self.parameters.values()
        return CURVES[kind], (*window, power) if kind == "power" else tuple(window)

    def _equation(self) -> str:
        return self.equation + ", power {power}" if self.parameters["kind"] == "power" else self.equation

    def within(self, steps: int, low: float, high: float) -> Annealed:
        """Return the same annealing within another window."""
        return Annealed(**{**self.parameters, "steps": steps, "low": low, "high": high})


def SchedLin(start: float, end: float, steps: int = 1) -> Annealed:
    """A straight line: ``start + (end - start)·min(n/steps, 1)``.

    Parameters
    ----------
    start, end : float >= 0
        First and last rate.
    steps : int >= 1, default 1
        Updates from one to the other. `combine_scheds` replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> SchedLin(0.5, 0.25, steps=4)(2)
    0.375

    Notes
    -----
    Ends: start at n = 0, end from n = steps on.

    Elsewhere: same as `S.Linear`.
    """
    return Annealed("linear", start, end, steps)


def SchedCos(start: float, end: float, steps: int = 1) -> Annealed:
    """Half a period of the cosine: ``start + (end - start)·(1 - cos(π·min(n/steps, 1)))/2``.

    Parameters
    ----------
    start, end : float >= 0
        First and last rate.
    steps : int >= 1, default 1
        Updates from one to the other. `combine_scheds` replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> SchedCos(0.5, 0.25, steps=4)(2)
    0.375

    Notes
    -----
    Ends: start at n = 0, end from n = steps on.

    Elsewhere: same as `S.Cosine(start, steps, end)`.
    """
    return Annealed("cosine", start, end, steps)


def SchedNo(start: float, end: float, steps: int = 1) -> Annealed:
    """The same rate at every update: ``start``.

    Parameters
    ----------
    start, end : float >= 0
        The rate; end is ignored.
    steps : int >= 1, default 1
        Ignored, unless `combine_scheds` replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> SchedNo(0.5, 0.25, steps=4)(2)
    0.5

    Notes
    -----
    Ends: none.

    Elsewhere: same as `S.Constant`.
    """
    nonnegative(end, "end")
    return Annealed("linear", start, start, steps)


def SchedExp(start: float, end: float, steps: int = 1) -> Annealed:
    """A constant factor per update: ``start·(end/start)^min(n/steps, 1)``.

    Parameters
    ----------
    start, end : float > 0
        First and last rate.
    steps : int >= 1, default 1
        Updates from one to the other. `combine_scheds` replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> SchedExp(1.0, 0.25, steps=4)(2)
    0.5

    Notes
    -----
    Ends: start at n = 0, end from n = steps on.

    Elsewhere: same as `S.Exponential(start, end/start, steps)` until n = steps.
    """
    return Annealed("exponential", start, end, steps)


def SchedPoly(start: float, end: float, power: float, steps: int = 1) -> Annealed:
    """A power of the elapsed fraction: ``start + (end - start)·min(n/steps, 1)^power``.

    Parameters
    ----------
    start, end : float >= 0
        First and last rate.
    power : float > 0
        Exponent.
    steps : int >= 1, default 1
        Updates from one to the other. `combine_scheds` replaces it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> SchedPoly(0.0, 1.0, power=2.0, steps=4)(2)
    0.25

    Notes
    -----
    Ends: start at n = 0, end from n = steps on.

    Elsewhere: `S.Polynomial` has the power of the remaining fraction instead.
    """
    return Annealed("power", start, end, steps, power=power)
