"""Backtracking: shorten a rate by a factor until the loss has fallen enough.

Source: L. Armijo, Minimization of functions having Lipschitz continuous first partial derivatives, 1966.
"""

import math
from collections.abc import Callable

from .wolfe import Found, Point


def backtrack(
    evaluate: Callable[[float], float], start: Point, rate: float, most: int, c1: float, factor: float
) -> Found:
    """Find the first of the rates rate, rate·factor, rate·factor², ... with f(x + t·d) <= f(x) + c1·t·g·d.

    Parameters
    ----------
    evaluate
        Returns the loss at a rate. One that is not finite counts as too high.
    start
        The point at rate 0. Its slope is negative.
    most
        Number of trials.

    Returns
    -------
    Found
        The accepted point, or the last trial. Its slope and gradient are not known.
    """
    for k in range(most):
        if k:
            rate *= factor
        loss = evaluate(rate)
        if math.isfinite(loss) and loss <= start.loss + c1 * rate * start.slope:
            return Found(Point(rate, loss, math.nan, None), True)
    return Found(Point(rate, loss, math.nan, None), False)
