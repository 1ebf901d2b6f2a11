"""The strong Wolfe search of torch's and minFunc's L-BFGS: bracket a good rate, then zoom into the bracket.

A rate t along a descent direction d is good if the loss has fallen enough and the slope is flat enough ::

    f(x + t·d) <= f(x) + c1·t·g·d        (Armijo)
    |g(x + t·d)·d| <= c2·|g·d|           (strong curvature)

The order of the trials is torch's, so that the evaluations are the same. Losses and slopes that are not finite are new
here: such a rate is too large, and the bracket before it is halved, because nothing can be interpolated.

Source: J. Nocedal and S. Wright, Numerical Optimization, 2nd edition, 2006, algorithms 3.5 and 3.6.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A rate, with the loss, slope and gradient there."""

    rate: float
    loss: float
    slope: float  # of the loss along the direction
    gradient: Any

    @property
    def is_finite(self) -> bool:
        """Whether loss and slope are. If an element of the gradient is not, the slope is not."""
        return math.isfinite(self.loss) and math.isfinite(self.slope)


class Found(NamedTuple):
    """The best point of a search, and whether it is good: fulfils the search's conditions."""

    point: Point
    is_good: bool


Evaluate = Callable[[float], Point]


class Conditions(NamedTuple):
    """The two conditions for a search from a point."""

    start: Point
    c1: float
    c2: float

    def falls_enough(self, p: Point) -> bool:
        """Armijo's condition."""
        return p.is_finite and not p.loss > self.start.loss + self.c1 * p.rate * self.start.slope

    def is_flat(self, p: Point) -> bool:
        """The curvature condition."""
        return abs(p.slope) <= -self.c2 * self.start.slope


def strong_wolfe(
    evaluate: Evaluate,
    start: Point,
    rate: float,
    most: int,
    longest: float = 1.0,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
) -> Found:
    """Search a rate that fulfils the strong Wolfe conditions.

    Parameters
    ----------
    evaluate
        Returns the point at a rate.
    start
        The point at rate 0. Its slope is negative.
    rate
        The first trial. With 0, nothing is evaluated.
    most
        Number of trials after the first.
    longest
        Largest absolute element of the direction. The search ends when the bracket times this is below `tolerance`.
    """
    if rate == 0:
        return Found(start, False)
    conditions = Conditions(start, c1, c2)
    before, now = start, evaluate(rate)
    for trial in range(most):
        # torch compares with the last trial only from the third on.
        if not conditions.falls_enough(now) or (trial > 1 and now.loss >= before.loss):
            return _zoom(evaluate, conditions, [before, now], most - trial, longest, tolerance)
        if conditions.is_flat(now):
            return Found(now, True)
        if now.slope >= 0:
            return _zoom(evaluate, conditions, [before, now], most - trial, longest, tolerance)
        bounds = now.rate + 0.01 * (now.rate - before.rate), now.rate * 10
        rate = _cubic(before, now, bounds)
        before, now = now, evaluate(rate)
    return Found(_lower([start, now]), False)


def _zoom(
    evaluate: Evaluate, conditions: Conditions, bracket: list[Point], most: int, longest: float, tolerance: float
) -> Found:
    """Shrink a bracket, of which one end is the lowest point so far, until that is good.

    The ends keep their places in the list, low or high, because rounding in the interpolation depends on their order.
    """
    near_before = False  # the last trial was near an end of the bracket
    low, high = _order(bracket)
    for _ in range(most):
        least, largest = sorted(p.rate for p in bracket)
        if largest == least or (largest - least) * longest < tolerance:
            break
        if all(p.is_finite for p in bracket):
            rate, near_before = _kept_away(
                _cubic(bracket[0], bracket[1], (least, largest)), least, largest, near_before
            )
        else:
            rate, near_before = (least + largest) / 2, False
        p = evaluate(rate)
        if not conditions.falls_enough(p) or p.loss >= bracket[low].loss:
            bracket[high] = p
            low, high = _order(bracket)
            continue
        if conditions.is_flat(p):
            return Found(p, True)
        if p.slope * (bracket[high].rate - bracket[low].rate) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = p
    return Found(bracket[low], False)


def _kept_away(rate: float, least: float, largest: float, near_before: bool) -> tuple[float, bool]:
    """Move a trial a tenth of the bracket away from its end, if it is at the end or near it for the second time."""
    margin = 0.1 * (largest - least)
    if min(largest - rate, rate - least) >= margin:
        return rate, False
    if near_before or rate >= largest or rate <= least:
        return (largest - margin if abs(rate - largest) < abs(rate - least) else least + margin), False
    return rate, True


def _order(bracket: list[Point]) -> tuple[int, int]:
    """Indices of the lower and the higher end."""
    return (0, 1) if _lower(bracket) is bracket[0] else (1, 0)


def _lower(points: list[Point]) -> Point:
    """The finite point with the lower loss. One of the two is finite."""
    first, second = points
    return first if not second.is_finite or (first.is_finite and first.loss <= second.loss) else second


def _cubic(a: Point, b: Point, bounds: tuple[float, float]) -> float:
    """Minimum of the cubic through both points' losses and slopes, within bounds; without one, the bounds' middle."""
    low, high = bounds
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.rate - b.rate)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (low + high) / 2
    first, second = (a, b) if a.rate <= b.rate else (b, a)
    d2 = math.sqrt(square)
    divisor = second.slope - first.slope + 2 * d2
    if divisor == 0:
        return (low + high) / 2
    place = second.rate - (second.rate - first.rate) * ((second.slope + d2 - d1) / divisor)
    return min(max(place, low), high) if place == place else (low + high) / 2
