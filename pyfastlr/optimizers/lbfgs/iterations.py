"""The iterations of one step of L-BFGS."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array, aligned
from pyfastlr.linesearch.vectors import Space, dot, max_abs, moved, sum_abs
from pyfastlr.linesearch.wolfe import Point, strong_wolfe

from .memory import Memory


class Settings(NamedTuple):
    """Arguments of the constructor, checked. The rate is not one of them: a schedule gives it for each step."""

    history: int
    line_search: str | None
    max_iter: int
    max_eval: int | None
    tolerance_grad: float
    tolerance_change: float
    min_curvature: float


class Outcome(NamedTuple):
    """Result of a step."""

    x: Array  # the parameters' new values
    memory: Memory
    first_loss: float  # where the step began
    loss: float | None  # at x; None if it was not evaluated there
    stopped: str  # why it ended


Evaluate = Callable[[], tuple[float, Array]]


class Iterations:
    """The iterations of one step, from the current parameters. It writes only parameters, to evaluate them.

    Parameters
    ----------
    space, x
        The parameters, and their values now.
    closure
        Returns the loss and the gradient, a new vector, at the current parameters.
    settings, rate
        Arguments of the optimizer.
    memory
        From the last step.
    """

    def __init__(
        self, space: Space, x: Array, closure: Evaluate, settings: Settings, rate: float, memory: Memory
    ) -> None:
        self._space, self._closure, self._settings, self._rate = space, closure, settings, rate
        self._memory, self._evaluations = memory, 0
        self._most = settings.max_iter * 5 // 4 if settings.max_eval is None else settings.max_eval
        self._x = x  # it is never written to
        self._loss: float | None = None
        self._gradient = x  # until the first evaluation

    def run(self) -> Outcome:
        """Run until a limit or tolerance is reached."""
        first, self._gradient = self._evaluate()
        self._loss = first
        stopped = None if math.isfinite(first) and math.isfinite(largest := max_abs(self._gradient)) else "nonfinite"
        if stopped is None and largest <= self._settings.tolerance_grad:
            stopped = "tolerance_grad"
        done = 0
        while stopped is None:
            done += 1
            stopped = self._iterate(is_last=done == self._settings.max_iter)
        evaluations = self._memory.evaluations + self._evaluations
        memory = self._memory._replace(steps=self._memory.steps + 1, evaluations=evaluations)
        return Outcome(self._x, memory, first, self._loss, stopped)

    def _evaluate(self) -> tuple[float, Array]:
        self._evaluations += 1
        return self._closure()

    def _iterate(self, is_last: bool) -> str | None:
        """Make one iteration. Return why it was the last one, or None."""
        settings, gradient, before = self._settings, self._gradient, self._loss
        is_first = self._memory.iterations == 0
        memory = self._memory.updated(gradient, settings.history, settings.min_curvature)
        direction = memory.direction(gradient)
        self._memory = memory._replace(iterations=memory.iterations + 1, gradient=gradient, step=None)
        slope = dot(gradient, direction)
        if not slope <= -settings.tolerance_change:
            return "tolerance_change"
        rate = min(1.0, 1.0 / sum_abs(gradient)) * self._rate if is_first else self._rate
        stopped = None
        if settings.line_search is None:
            stopped = self._move(direction, rate, is_last)
        else:
            self._search(direction, slope, rate)
        if stopped is not None or is_last or self._evaluations >= self._most:
            return stopped or ("max_iter" if is_last else "max_eval")
        if max_abs(self._gradient) <= settings.tolerance_grad:
            return "tolerance_grad"
        step, loss = self._memory.step, self._loss
        if step is None:
            return "line_search"
        assert before is not None
        assert loss is not None
        small = max_abs(step) <= settings.tolerance_change or abs(loss - before) < settings.tolerance_change
        return "tolerance_change" if small else None

    def _search(self, direction: Array, slope: float, rate: float) -> None:
        """Move to the best point that the line search finds, which may be the current one."""

        def evaluate(rate: float) -> Point:
            self._space.write_moved(self._x, rate, direction)
            loss, gradient = self._evaluate()
            return Point(rate, loss, dot(gradient, direction), gradient)

        assert self._loss is not None
        start = Point(0.0, self._loss, slope, self._gradient)
        longest, tolerance = max_abs(direction), self._settings.tolerance_change
        found = strong_wolfe(evaluate, start, rate, self._most - self._evaluations, longest, tolerance=tolerance).point
        if found.rate != 0.0:
            self._take(direction, found.rate, found.loss, found.gradient)

    def _move(self, direction: Array, rate: float, is_last: bool) -> str | None:
        """Move by a fixed rate. If the loss there is not finite, stay, and return why the step ends."""
        if is_last:  # as torch: the next step evaluates that point, with data of its own
            self._take(direction, rate, None, self._gradient)
            return None
        self._space.write_moved(self._x, rate, direction)
        loss, gradient = self._evaluate()
        if not (math.isfinite(loss) and math.isfinite(max_abs(gradient))):
            return "nonfinite"
        self._take(direction, rate, loss, gradient)
        return None

    def _take(self, direction: Array, rate: float, loss: float | None, gradient: Array) -> None:
        step = aligned(direction.size, direction.dtype)
        np.multiply(direction, rate, out=step)
        self._x = moved(self._x, rate, direction)
        self._memory, self._loss, self._gradient = self._memory._replace(step=step), loss, gradient
