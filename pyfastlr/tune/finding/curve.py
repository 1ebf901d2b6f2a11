"""How the losses of a sweep become a curve: smoothed, and ended where they diverge."""

import math


class Smoothing:
    """Mean of the losses so far with weights that fall by `beta` from one to the one before, unbiased.

    ``m_i = beta * m_(i-1) + (1 - beta) * loss_i``, ``smoothed_i = m_i / (1 - beta**i)``, with ``m_0 = 0`` and i from 1,
    as in fastai.
    """

    def __init__(self, beta: float) -> None:
        self._beta, self._mean, self._weight = beta, 0.0, 0.0

    def add(self, loss: float) -> float:
        """Smoothed loss with this one in it."""
        self._mean = self._beta * self._mean + (1 - self._beta) * loss
        self._weight = self._beta * self._weight + (1 - self._beta)
        return self._mean / self._weight


class Divergence:
    """When a smoothed loss has diverged from the best before it.

    That is above ``factor * best``, as in fastai, which means nothing where the best is zero or negative: there it is
    above ``best + (factor - 1) * max(|best|, |first|)``, which for a positive best that is the first is the same.
    """

    def __init__(self, factor: float) -> None:
        self._factor, self._first, self._best = factor, math.nan, math.inf

    def reached(self, smoothed: float) -> bool:
        """Whether this smoothed loss, which is one of the curve from now on, has diverged."""
        if math.isnan(self._first):
            self._first = smoothed
        self._best = min(self._best, smoothed)
        return smoothed > self.limit

    @property
    def limit(self) -> float:
        """What the next smoothed loss may be."""
        if self._best > 0:
            return self._factor * self._best
        return self._best + (self._factor - 1) * max(-self._best, abs(self._first))
