"""What L-BFGS remembers between iterations, and the direction that follows from it."""

import math
from typing import NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array, aligned
from pyfastlr.linesearch.vectors import add_dot, dot


class Pair(NamedTuple):
    """A step s and the change y of the gradient along it. The vectors are never written again."""

    s: Array
    y: Array
    rho: float  # 1 / (s·y)


class Memory(NamedTuple):
    """The state of L-BFGS. It is never changed: an iteration makes a new one, so a step that fails leaves no trace."""

    steps: int = 0  # calls of `step`
    iterations: int = 0
    evaluations: int = 0  # calls of the closure
    pairs: tuple[Pair, ...] = ()
    scale: float = 1.0  # of the first approximation of the inverse Hessian
    gradient: Array | None = None  # where the last iteration began
    step: Array | None = None  # of the last iteration; None if it did not move

    def updated(self, gradient: Array, history: int, least: float) -> "Memory":
        """Add the pair of the last step, which led to this gradient, if its product is above `least` >= 0.

        A pair with s·y <= 0 would make the approximation of the Hessian indefinite.
        """
        if self.step is None or self.gradient is None:
            return self
        y = difference(gradient, self.gradient)
        product, square = dot(y, self.step), dot(y, y)
        if not (least < product < math.inf and 0.0 < square < math.inf):
            return self
        pairs = (*self.pairs, Pair(self.step, y, 1.0 / product))[-history:]
        return self._replace(pairs=pairs, scale=product / square)

    def direction(self, gradient: Array) -> Array:
        """Return minus the approximate inverse Hessian times the gradient, by the two-loop recursion.

        Source: J. Nocedal, Updating quasi-Newton matrices with limited storage, 1980. Each product is computed in the
        same pass as the sum before it.
        """
        pairs = self.pairs
        q = aligned(gradient.size, gradient.dtype)
        np.negative(gradient, out=q)
        if not pairs:
            q *= self.scale
            return q
        last = len(pairs) - 1
        alphas = [0.0] * len(pairs)
        product = dot(pairs[last].s, q)
        for k in range(last, -1, -1):
            alphas[k] = product * pairs[k].rho
            product = add_dot(q, -alphas[k], pairs[k].y, pairs[k - 1].s if k else None)
        q *= self.scale
        product = dot(pairs[0].y, q)
        for k, alpha in enumerate(alphas):
            beta = product * pairs[k].rho
            product = add_dot(q, alpha - beta, pairs[k].s, pairs[k + 1].y if k < last else None)
        return q


def difference(a: Array, b: Array) -> Array:
    """Return a - b in a new vector."""
    out = aligned(a.size, a.dtype)
    np.subtract(a, b, out=out)
    return out
