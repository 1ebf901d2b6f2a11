"""Which trial comes next, and what came of each: in memory, for grid and random search without Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from .methods import Parameters, drawn, grid
from .outcomes import Outcome
from .result import Trial
from .space import Space


class Task(NamedTuple):
    """A trial to be run."""

    number: int
    parameters: Mapping[str, Any]
    handle: Any = None  # the ledger's own


class Ledger(Protocol):
    """The book of trials."""

    total: int

    def take(self) -> Task | None:
        """Return the next trial to run, or None if none is left."""

    def should_stop(self, task: Task, loss: float, step: int) -> bool:
        """Record a report, and return whether the pruner stops the trial."""

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Record what came of a trial."""

    def fail(self, task: Task) -> None:
        """Record that a trial ended without an outcome."""

    def trials(self) -> list[Trial]:
        """Return all trials in the order of their numbers."""

    def close(self) -> None:
        """Release what the ledger has open."""


class Plan:
    """The parameters of the k-th trial of a grid or a random search.

    Attributes
    ----------
    total : int
        Number of trials.
    """

    def __init__(self, space: Space, method: str, trials: int, seed: int) -> None:
        self._space, self._seed = space, seed
        self._points = grid(space, trials) if method == "grid" else None
        self.total = trials if self._points is None else len(self._points)

    def parameters(self, number: int) -> Parameters:
        """Return the parameters of a trial."""
        return drawn(self._space, self._seed, number) if self._points is None else self._points[number]


class Memory:
    """A ledger in memory."""

    def __init__(self, space: Space, plan: Plan) -> None:
        self._space, self._plan, self.total = space, plan, plan.total
        self._next, self._again = 0, list[int]()
        self._trials: dict[int, Trial] = {}

    def take(self) -> Task | None:
        """Return the next trial, first those that failed."""
        if self._again:
            number = self._again.pop()
        elif self._next < self.total:
            number, self._next = self._next, self._next + 1
        else:
            return None
        return Task(number, self._plan.parameters(number))

    def should_stop(self, task: Task, loss: float, step: int) -> bool:
        """Return False: pruners are Optuna's."""
        return False

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Record what came of a trial."""
        self._trials[task.number] = _trial(self._space, task, outcome)

    def fail(self, task: Task) -> None:
        """Plan the trial again."""
        self._again.append(task.number)
        self._trials[task.number] = _trial(self._space, task, Outcome(math.nan, "failed", math.nan, {}))

    def trials(self) -> list[Trial]:
        """Return all trials in the order of their numbers."""
        return [self._trials[k] for k in sorted(self._trials)]

    def close(self) -> None:
        """Do nothing."""


def _trial(space: Space, task: Task, outcome: Outcome) -> Trial:
    return Trial(task.number, task.parameters, *outcome[:2], *outcome[2:], space)  # type: ignore[arg-type]
