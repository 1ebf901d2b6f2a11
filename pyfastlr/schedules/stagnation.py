"""Tests for stagnation: one function per convention (torch, Keras, optax, and a test of the slope).

Each takes the state and the next value, and returns the new state and whether the run stagnates now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

State = dict[str, Any]


class Criterion(NamedTuple):
    """Parameters of a test for stagnation.

    Attributes
    ----------
    patience, cooldown
        Observations without an improvement before a reaction; observations to ignore after a reaction.
    threshold, relative
        An improvement is a fall by more than this amount or, if relative, by more than this fraction of the best value.
    largest
        Whether larger values are better.
    probability
        For the slope: how often noise without a trend passes for an improvement.
    """

    patience: int
    cooldown: int
    threshold: float
    relative: bool
    largest: bool
    probability: float


Step = Callable[[State, float, Criterion, bool], tuple[State, bool]]


def start(convention: str, criterion: Criterion) -> State:
    """State before the first value."""
    worst = -math.inf if criterion.largest else math.inf
    best = None if convention == "keras" else worst
    return {"best": best, "bad": 0, "cooldown": 0, "mean": 0.0, "count": 0, "window": ()}


def _torch(state: State, value: float, criterion: Criterion, may_act: bool) -> tuple[State, bool]:
    """torch.optim.lr_scheduler.ReduceLROnPlateau.step: acts at more than `patience` bad values."""
    best, threshold = state["best"], criterion.threshold
    if criterion.largest:
        better = value > (best * (threshold + 1.0) if criterion.relative else best + threshold)
    else:
        better = value < (best * (1.0 - threshold) if criterion.relative else best - threshold)
    bad = 0 if better else state["bad"] + 1
    cooldown = state["cooldown"]
    if cooldown:
        cooldown, bad = cooldown - 1, 0
    acts = bad > criterion.patience
    if acts:
        cooldown, bad = criterion.cooldown, 0
    return {**state, "best": value if better else best, "bad": bad, "cooldown": cooldown}, acts


def _keras(state: State, value: float, criterion: Criterion, may_act: bool) -> tuple[State, bool]:
    """keras.callbacks.ReduceLROnPlateau: acts at `patience` bad values; the first value is the best, even if it is NaN.

    A cooldown ends before its last value is used, and nothing is reset while the rate cannot be reduced.
    """
    best, bad, cooldown = state["best"], state["bad"], state["cooldown"]
    if cooldown:
        cooldown, bad = cooldown - 1, 0
    acts = False
    if best is None or (
        value - criterion.threshold > best if criterion.largest else value + criterion.threshold < best
    ):
        best, bad = value, 0
    elif not cooldown:
        bad += 1
        acts = bad >= criterion.patience and may_act
        if acts:
            cooldown, bad = criterion.cooldown, 0
    return {**state, "best": best, "bad": bad, "cooldown": cooldown}, acts


def _optax(state: State, value: float, criterion: Criterion, may_act: bool) -> tuple[State, bool]:
    """optax.contrib.reduce_on_plateau: acts at exactly `patience` bad values."""
    best = state["best"]
    rtol, atol = (criterion.threshold, 0.0) if criterion.relative else (0.0, criterion.threshold)
    better = value < (1.0 - rtol) * best - atol
    bad = 0 if better else state["bad"] + 1
    new = {**state, "best": value if better else best}
    if state["cooldown"]:
        return {**new, "bad": 0, "cooldown": state["cooldown"] - 1}, False
    acts = bad == criterion.patience
    return {**new, "bad": 0 if acts else bad, "cooldown": criterion.cooldown if acts else 0}, acts


def _slope(state: State, value: float, criterion: Criterion, may_act: bool) -> tuple[State, bool]:
    """Test blocks of `patience` values, each value once. The run stagnates if the slope of a block may be noise."""
    if state["cooldown"]:
        return {**state, "cooldown": state["cooldown"] - 1}, False
    sign = -1.0 if criterion.largest else 1.0
    best = value if sign * value < sign * state["best"] else state["best"]
    window = (*state["window"], value)
    if len(window) < criterion.patience:
        return {**state, "best": best, "window": window}, False
    acts = not falls([sign * x for x in window], criterion.probability)
    return {**state, "best": best, "window": (), "cooldown": criterion.cooldown if acts else 0}, acts


STEPS: dict[str, Step] = {"torch": _torch, "keras": _keras, "optax": _optax, "slope": _slope}


# --- The slope --------------------------------------------------------------------------------------------------------


def falls(values: Sequence[float], probability: float) -> bool:
    """Whether values fall: noise gives a least-squares line this steep with at most this probability.

    For independent normal noise, the slope divided by its standard error has Student's t distribution with n - 2
    degrees of freedom, so the probability is exact.
    """
    y = np.asarray(values, np.float64)
    if not np.isfinite(y).all():
        return False
    n = len(y)
    x = np.arange(n) - (n - 1) / 2
    y = y - y.mean()
    scale = float(np.abs(y).max())
    if scale == 0.0:
        return False
    y = y / scale  # squares do not overflow
    squares = float(x @ x)
    slope = float(x @ y) / squares
    residual = float(np.square(y - slope * x).sum())
    if residual <= 1e-28 * n:  # a straight line
        return slope < 0
    t = slope / math.sqrt(residual / (n - 2) / squares)
    return student_t(t, n - 2) <= probability


def student_t(t: float, degrees: int) -> float:
    """P(T <= t) of Student's t for integer degrees of freedom: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan2(abs(t), math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    square = cosine * cosine
    term = total = cosine if degrees % 2 else 1.0
    first = 2 if degrees % 2 else 1
    for k in range(first, degrees - 2, 2):
        term *= square * k / (k + 1)
        total += term
    if degrees == 1:
        total = 0.0
    inside = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
    return 0.5 + math.copysign(0.5, t) * inside
