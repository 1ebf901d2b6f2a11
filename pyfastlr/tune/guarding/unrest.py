"""Tests for spikes and for oscillation, with known rates of false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

FEWEST = 32  # values that the test for spikes needs
CONSISTENT = 1.4826  # standard deviation of a normal distribution divided by its median absolute deviation
LEAST_LIKELY = 2e-6  # about the probability that all 30 inner values of 32 are turning points


def upper_bound(levels: Sequence[float], threshold: float, rise: float, log: bool, early: float | None) -> float:
    """Level above which a value is a spike: median + threshold·σ, and at least the median raised by `rise`.

    σ is 1.4826 times the median absolute deviation. If levels fall, both are computed around a line through the medians
    of the two halves, and the median is the line's value a quarter of the window ago. Otherwise a run that learns fast
    would hide its spikes. With fewer than 32 levels, the bound is `early` times the largest if levels are logarithms,
    otherwise infinite.
    """
    n = len(levels)
    if n < FEWEST:
        return max(levels) + math.log(early) if levels and log and early is not None else math.inf
    half = n // 2
    slope = min(0.0, (_median(sorted(levels[-half:])) - _median(sorted(levels[:half]))) / (n - half))
    residuals = [x - slope * (k - 0.5 * (n - 1)) for k, x in enumerate(levels)]
    middle = _median(sorted(residuals))
    deviation = _median(sorted(abs(x - middle) for x in residuals))
    middle += slope * n / 4
    least = math.log1p(rise) if log else rise * abs(middle)
    return middle + max(threshold * CONSISTENT * deviation, least)


def _median(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def turning_points(values: Sequence[float]) -> int:
    """Number of inner values that are above or below both neighbours."""
    return sum(a < b > c or a > b < c for a, b, c in zip(values, values[1:], values[2:], strict=False))


@cache
def _tails(n: int) -> tuple[float, ...]:
    """P(at least k turning points) in n independent values of one continuous distribution, for k = 0, 1, ...

    The number of monotonic runs is one more. R(n, k) of the n! orders have k runs, and (D. André, 1884)
    R(n, k) = k·R(n-1, k) + 2·R(n-1, k-1) + (n-k)·R(n-1, k-2).
    """
    shares = [0.0, 1.0]  # of two values: one run
    for m in range(3, n + 1):
        before = [*shares, 0.0, 0.0]
        shares = [0.0] + [
            (k * before[k] + 2.0 * before[k - 1] + (m - k) * (before[k - 2] if k > 1 else 0.0)) / m for k in range(1, m)
        ]
    return tuple(math.fsum(shares[k + 1 :]) for k in range(len(shares)))


def chance_of_turns(values: Sequence[float]) -> float:
    """Probability of at least this many turning points by chance. Equal values make it larger."""
    tails = _tails(len(values))
    turns = turning_points(values)
    return tails[turns] if turns < len(tails) else 0.0


def least_cosine(n: int, probability: float) -> float:
    """Mean of n cosines below which gradients oppose each other, with at most this probability by chance.

    Azuma's bound exp(-n·c²/2), if each gradient is as likely as its negative.
    """
    return -math.sqrt(2.0 * math.log(1.0 / probability) / n)
