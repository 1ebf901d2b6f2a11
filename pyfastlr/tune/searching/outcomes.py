"""One call of the objective: what it returns, reports and raises."""

from __future__ import annotations

import inspect
import math
import operator
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pyfastlr.tune.values import real

Ask = Callable[[float, int], bool]  # (loss, step) -> whether the trial should stop


class Pruned(Exception):  # no error: a trial that was stopped early
    """Raised by ``report`` to stop a trial that is worse than others. Let it pass, or raise it yourself.

    Examples
    --------
    >>> from pyfastlr import tune
    >>> def objective(values):
    ...     if values["lr"] < 0.5:
    ...         raise tune.Pruned("too slow")
    ...     return values["lr"]
    >>> found = tune.search(objective, {"lr": [0.1, 0.6, 0.7]}, "grid", trials=3)
    >>> [x.state for x in found.trials]
    ['pruned', 'finished', 'finished']
    """


class Outcome(NamedTuple):
    """What came of a call."""

    value: float  # infinite if it diverged, NaN if it was pruned
    state: str
    seconds: float
    reports: dict[int, float]


class Report:
    """Second argument of an objective: ``report(loss, step=None)`` during a training.

    It raises `tune.Pruned` if the search has a pruner, and this says that the trial should stop. A loss that is not
    finite stops the trial too: it has diverged.
    """

    def __init__(self, ask: Ask | None) -> None:
        self._ask, self.losses = ask, dict[int, float]()

    def __call__(self, loss: Any, step: int | None = None) -> None:
        """Record the loss after a step; the default counts from 0."""
        number = real(loss, "loss")
        if step is None:
            at = max(self.losses, default=-1) + 1
        elif isinstance(step, bool) or not hasattr(step, "__index__") or operator.index(step) < 0:
            raise TypeError(f"`step` must be an integer >= 0, got {step!r:.60}")
        else:
            at = operator.index(step)
        self.losses[at] = number
        if not math.isfinite(number):
            raise FloatingPointError(f"the loss is {number} at step {at}")
        if self._ask is not None and self._ask(number, at):
            raise Pruned(f"pruned at step {at}")


def takes_report(objective: Callable[..., Any]) -> bool:
    """Whether an objective has a second argument without a default."""
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return False
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(places) > 1 and places[1].default is inspect.Parameter.empty


def evaluated(objective: Callable[..., Any], values: dict[str, Any], mode: str, ask: Ask | None) -> Outcome:
    """Call the objective.

    Raises
    ------
    TypeError
        If it does not return a number.
    Exception
        What it raises, except FloatingPointError, which means that the training diverged, and `Pruned`.
    """
    report = Report(ask)
    worst = math.inf if mode == "min" else -math.inf
    arguments = (values, report) if takes_report(objective) else (values,)
    start = time.perf_counter()
    try:
        result = objective(*arguments)
    except FloatingPointError:
        return Outcome(worst, "diverged", time.perf_counter() - start, report.losses)
    except Pruned:
        return Outcome(math.nan, "pruned", time.perf_counter() - start, report.losses)
    seconds = time.perf_counter() - start
    try:
        value = real(result, "objective")
    except TypeError:
        raise TypeError(f"`objective` must return a number, got {result!r:.60}") from None
    if not math.isfinite(value):
        return Outcome(worst, "diverged", seconds, report.losses)
    return Outcome(value, "finished", seconds, report.losses)
