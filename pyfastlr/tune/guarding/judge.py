"""Detection for `SpikeGuard`: spikes of the loss and of the gradient's norm, and oscillation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyfastlr.schedules.gradients import cosine, dot

from .unrest import chance_of_turns, least_cosine, upper_bound

WATCHED = ("loss", "grad_norm", "cosine")
BLOCK = 32  # steps that are tested together for oscillation


class SpikeEvent(NamedTuple):
    """What the guard detected, and what it did.

    Attributes
    ----------
    call
        Index of the call of `step`, from 0.
    kind
        "spike", "not finite", "oscillation" or "recovery" (a cut of the rate was undone).
    what
        "loss", "grad_norm", "cosine" or "rate".
    value, bound
        The value, and the bound that it exceeded. For an oscillation of the loss, the value is the probability of that
        many turning points by chance. For a recovery, the value is the scale of the rate, and the bound is 1.
    actions
        The actions taken: any of "skip", "rollback" and "cut".

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> opt = flr.SGD(np.ones(3), lr=0.1)
    >>> guard = tune.SpikeGuard(opt, "skip")
    >>> guard.step(float("nan"), np.ones(3))
    'skip'
    >>> guard.events[0].kind, guard.events[0].actions
    ('not finite', ('skip',))
    """

    call: int
    kind: str
    what: str
    value: float
    bound: float
    actions: tuple[str, ...]


class Judge:
    """Pure functions of a guard's state and of the new loss and gradient.

    Parameters
    ----------
    threshold, rise, window, log, watch, oscillation, early
        As for `SpikeGuard`, checked.
    """

    def __init__(
        self,
        threshold: float,
        rise: float,
        window: int,
        log: bool,
        watch: Sequence[str],
        oscillation: float | None,
        early: float | None,
    ) -> None:
        self._threshold, self._rise, self.window, self._log = threshold, rise, window, log
        self._watch, self._oscillation, self._early = tuple(watch), oscillation, early

    @property
    def keeps_gradient(self) -> bool:
        """Whether `oscillation` reads the gradient, after the step."""
        return self._oscillation is not None and "cosine" in self._watch

    def check(self, loss: float) -> None:
        """Refuse a loss that has no logarithm."""
        if self._log and -math.inf < loss < 0.0:
            raise ValueError(
                f"`loss` must be >= 0 because logarithms are compared, got {loss}; otherwise pass log=False"
            )

    def spike(self, state: Mapping[str, Any], loss: float, norm: float) -> tuple[SpikeEvent | None, float]:
        """Return the event if this loss or norm is a spike, and the bound of the loss."""
        alarm, loss_bound = None, math.inf
        for what, value in (("loss", loss), ("grad_norm", norm)):
            log = self._log or what != "loss"
            level = math.inf
            if what in self._watch:
                level = upper_bound(state[what], self._threshold, self._rise, log, self._early)
            bound = _number(level, log)
            if what == "loss":
                loss_bound = bound
            if not math.isfinite(value):
                alarm = alarm or SpikeEvent(state["calls"], "not finite", what, value, math.inf, ())
            elif value > bound and not (log and math.log(value) <= level):  # exp(log(x)) may be below x
                alarm = alarm or SpikeEvent(state["calls"], "spike", what, value, bound, ())
        return alarm, loss_bound

    def levels(self, state: Mapping[str, Any], loss: float, norm: float) -> dict[str, tuple[float, ...]]:
        """Levels with those of this good step added."""
        new = {}
        for what, value, log in (("loss", loss, self._log), ("grad_norm", norm, True)):
            if what in self._watch and (value > 0.0 or not log):  # 0 has no logarithm
                new[what] = (*state[what], math.log(value) if log else value)[-self.window :]
        return new

    def oscillation(
        self, state: Mapping[str, Any], loss: float, arrays: Sequence[Any]
    ) -> tuple[dict[str, Any], SpikeEvent | None]:
        """Add this loss and gradient to the block of steps. At its end, return an event if they oscillate."""
        chance = self._oscillation
        if chance is None:
            return {}, None
        alarm, last = None, None
        block, cosines = (*state["block"], loss), state["cosines"]
        if "cosine" in self._watch:
            last = state["last"]
            cos = None if last is None else cosine(dot(arrays, last), dot(arrays, arrays), dot(last, last))
            cosines = cosines if cos is None else (*cosines, cos)
            last = tuple(None if x is None else x.copy() for x in arrays)
        if len(block) == BLOCK:
            found = chance_of_turns(block)
            if found <= chance:
                alarm = SpikeEvent(state["calls"], "oscillation", "loss", found, chance, ())
            elif cosines:
                mean, bound = math.fsum(cosines) / len(cosines), least_cosine(len(cosines), chance)
                if mean < bound:
                    alarm = SpikeEvent(state["calls"], "oscillation", "cosine", mean, bound, ())
            block, cosines = (), ()
        return {"block": block, "cosines": cosines, "last": last}, alarm


def _number(level: float, log: bool) -> float:
    if not log:
        return level
    return math.exp(level) if level < 700.0 else math.inf
