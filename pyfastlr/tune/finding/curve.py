"""Smoothing of a sweep's losses, and the test for divergence that ends a sweep."""

import math


class Smoothing:
    """Exponential moving average of the losses, with bias correction.

    ``m_i = beta * m_(i-1) + (1 - beta) * loss_i``, ``smoothed_i = m_i / (1 - beta**i)``, with ``m_0 = 0`` and i from 1,
    as in fastai.
    """

    def __init__(self, beta: float) -> None:
        self._beta, self._smoothed, self._weight = beta, 0.0, 0.0

    def add(self, loss: float) -> float:
        """Smoothed loss with this one in it."""
        # m_i / (1 - beta**i) written as a change: of equal losses it is zero, so rounding makes no slopes.
        self._weight = self._beta * self._weight + (1 - self._beta)
        self._smoothed += (loss - self._smoothed) * ((1 - self._beta) / self._weight)
        return self._smoothed


class Divergence:
    """Test for divergence of the smoothed loss.

    The limit is ``factor * best``, as in fastai. That makes no sense if the best loss is zero or negative. The limit is
    then ``best + (factor - 1) * max(|best|, |first|)``, which equals the other one if the best is positive and first.
    """

    def __init__(self, factor: float) -> None:
        self._factor, self._first, self._best = factor, math.nan, math.inf

    def reached(self, smoothed: float) -> bool:
        """Add a smoothed loss to the curve, and return whether it has diverged."""
        if math.isnan(self._first):
            self._first = smoothed
        self._best = min(self._best, smoothed)
        return smoothed > self.limit

    @property
    def limit(self) -> float:
        """Largest smoothed loss that has not diverged."""
        if self._best > 0:
            return self._factor * self._best
        return self._best + (self._factor - 1) * max(-self._best, abs(self._first))
