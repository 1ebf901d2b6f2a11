"""The steps of a line search."""

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.linesearch.armijo import backtrack
from pyfastlr.linesearch.losses import loss_of
from pyfastlr.linesearch.vectors import Space, dot, max_abs, moved, quiet
from pyfastlr.linesearch.wolfe import Found, Point, strong_wolfe
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.optimizers.borrowed import Borrowed
from pyfastlr.schedules import checks
from pyfastlr.tune.finding.randomness import generators
from pyfastlr.tune.problem import Problem
from pyfastlr.tune.restoring import Saved, SavedParameters, SavedRandom, restored


class Rule(NamedTuple):
    """Arguments of `line_search`, checked."""

    condition: str
    lr: float
    reset: str
    growth: float
    high: float | None
    c1: float
    c2: float
    factor: float
    trials: int
    fallback: float

    def first(self, last: float) -> float:
        """First trial after a step with that rate."""
        return self.capped({"initial": self.lr, "keep": last, "grow": last * self.growth}[self.reset])

    def capped(self, rate: float) -> float:
        """Rate that is at most `high`."""
        return rate if self.high is None else min(rate, self.high)


class LineStep(NamedTuple):
    """What a step of a line search did.

    Attributes
    ----------
    lr : float
        The rate; 0 if the parameters stayed.
    loss, new_loss : float
        The loss before and after. `new_loss` is NaN for a `fallback` rate, which is not evaluated.
    evaluations : int
        Calls of the functions.
    accepted : bool
        Whether the condition is fulfilled. If not: the trials were used up; or the direction does not point downhill;
        or the loss or gradient was not finite, and the parameters stayed.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> p = np.array([2.0])
    >>> tune.line_search(lambda p, batch: (p @ p, 2 * p), p, lr=0.5).step()
    LineStep(lr=0.5, loss=4.0, new_loss=0.0, evaluations=2, accepted=True)
    """

    lr: float
    loss: float
    new_loss: float
    evaluations: int
    accepted: bool


class _State(NamedTuple):
    lr: float  # first trial of the next step
    steps: int
    evaluations: int


class LineSearch:
    """A rule that searches the rate of each step. `line_search` makes it.

    Attributes
    ----------
    lr : float
        First trial of the next step.
    steps, evaluations : int
        Numbers of steps done, and of calls of the functions in them.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> p = np.array([3.0, 4.0])
    >>> search = tune.line_search(lambda p, batch: (p @ p, 2 * p), p, reset="grow")
    >>> while search.step().loss > 1e-12:
    ...     pass
    >>> search.steps, search.lr, float(np.abs(p).max())
    (2, 1.0, 0.0)
    """

    def __init__(
        self, problem: Problem, optimizer: Optimizer | None, rule: Rule, loss: Callable[[Any, Any], Any] | None
    ) -> None:
        self._problem, self._optimizer, self._rule, self._loss = problem, optimizer, rule, loss
        self._space = Space(problem.parameters)
        self._generators = generators(problem.function, *([] if loss is None else [loss]))
        self._state = _State(rule.capped(rule.lr), 0, 0)
        self._lock = threading.RLock()
        self._is_running = False

    @property
    def lr(self) -> float:
        """First trial of the next step."""
        return self._state.lr

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return self._state.steps

    @property
    def evaluations(self) -> int:
        """Number of calls of the functions."""
        return self._state.evaluations

    def step(self, batch: Any = None, direction: Any = None) -> LineStep:
        """Search the rate of one step, and make the step.

        Parameters
        ----------
        batch
            Passed to the functions.
        direction : like params, optional
            To search along, in place of -g. It is not for a search with an `optimizer`.

        Returns
        -------
        LineStep
            With `lr`, `loss`, `new_loss`, `evaluations` and `accepted`.

        Raises
        ------
        TypeError, ValueError
            If a function's result or `direction` is invalid.
        RuntimeError
            If one of the functions calls it.

        Notes
        -----
        After any exception or interrupt, parameters, optimizer and random states are as before the step. If the loss or
        gradient is not finite, the optimizer makes no step.
        """
        if direction is not None and self._optimizer is not None:
            raise ValueError("`direction` must be left out: the direction is the step of the `optimizer`")
        vector = None if direction is None else self._space.vector(direction, "direction")
        with self._lock:
            if self._is_running:
                raise RuntimeError("`loss_and_grad` and `loss` must not call the step that calls them")
            random = SavedRandom(*self._generators)
            saved: list[Saved] = [_SavedSearch(self), SavedParameters(self._problem.parameters), random]
            if self._optimizer is not None:
                saved.append(Borrowed(self._optimizer))

            def work() -> LineStep:
                self._is_running = True
                with quiet() as call:
                    step, x = _Step(self, batch, random, call).run(vector)
                self._space.write(x)
                next_lr = self._rule.first(step.lr) if step.lr > 0 else self._state.lr
                before = self._state
                self._state = _State(next_lr, before.steps + 1, before.evaluations + step.evaluations)
                self._is_running = False
                saved.clear()  # one C call: the step is done, and nothing is restored any more
                return step

            return restored(saved, work)

    def state_dict(self) -> dict[str, Any]:
        """Copy of the state: numbers. That of the optimizer is its own."""
        return {"type": "LineSearch", **self._state._asdict()}

    def load_state_dict(self, d: Mapping[str, Any]) -> None:
        """Load the output of `state_dict`. If an error is raised, nothing has changed."""
        if not isinstance(d, Mapping) or set(d) != {"type", *_State._fields} or d["type"] != "LineSearch":
            raise ValueError(f"the state of LineSearch must be a dict from its state_dict(), got {d!r:.80}")
        steps, evaluations = (checks.natural(d[key], f"state[{key!r}]") for key in ("steps", "evaluations"))
        state = _State(checks.positive(d["lr"], "state['lr']"), steps, evaluations)
        with self._lock:
            self._state = state

    def __repr__(self) -> str:
        return f"LineSearch(condition={self._rule.condition!r}, lr={self.lr!r}, steps={self.steps})"


class _SavedSearch:
    """The state of a search, to be restored."""

    def __init__(self, search: LineSearch) -> None:
        self._search, self._state = search, search._state

    def restore(self) -> None:
        self._search._state, self._search._is_running = self._state, False


class _Step:
    """One step of a search: its evaluations, and where they lead."""

    def __init__(self, search: LineSearch, batch: Any, random: SavedRandom, call: Callable[..., Any]) -> None:
        self._problem, self._space, self._rule = search._problem, search._space, search._rule
        self._optimizer, self._loss, self._first = search._optimizer, search._loss, search._state.lr
        self._batch, self._random, self._evaluations = batch, random, 0
        self._x, self._call = self._space.values(), call

    def run(self, direction: Array | None) -> tuple[LineStep, Array]:
        """Return what the step did, and the new values of the parameters."""
        self._evaluations += 1
        loss, grads = self._call(self._problem, self._batch)
        gradient = self._space.vector(grads, "grads")
        if not (math.isfinite(loss) and math.isfinite(max_abs(gradient))):
            return LineStep(0.0, loss, loss, 1, False), self._x
        if direction is None:
            direction = np.negative(gradient) if self._optimizer is None else self._step_of(self._optimizer, grads)
        slope = dot(gradient, direction)
        if not -math.inf < slope < 0.0:
            return self._fallen_back(loss, direction)
        found = self._search(Point(0.0, loss, slope, gradient), direction)
        rate = found.point.rate
        if not found.is_good and (self._rule.condition == "armijo" or rate == 0.0):
            return self._fallen_back(loss, direction)
        step = LineStep(rate, loss, found.point.loss, self._evaluations, found.is_good)
        return step, moved(self._x, rate, direction)

    def _step_of(self, optimizer: Optimizer, grads: Any) -> Array:
        """The optimizer's own step."""
        self._call(optimizer.step, grads)
        step = self._space.values()
        step -= self._x
        return step

    def _search(self, start: Point, direction: Array) -> Found:
        rule = self._rule
        if rule.condition == "armijo":
            trial = self._evaluated if self._loss is None else self._evaluated_alone
            return backtrack(
                lambda rate: trial(rate, direction)[0], start, self._first, rule.trials, rule.c1, rule.factor
            )

        def evaluate(rate: float) -> Point:
            loss, gradient = self._evaluated(rate, direction)
            return Point(rate, loss, dot(gradient, direction), gradient)

        longest = max_abs(direction)
        return strong_wolfe(evaluate, start, self._first, rule.trials - 1, longest, rule.c1, rule.c2, 0.0)

    def _evaluated(self, rate: float, direction: Array) -> tuple[float, Array]:
        self._prepare(rate, direction)
        loss, grads = self._call(self._problem, self._batch)
        return loss, self._space.vector(grads, "grads")

    def _evaluated_alone(self, rate: float, direction: Array) -> tuple[float, None]:
        self._prepare(rate, direction)
        assert self._loss is not None
        loss = loss_of(self._call(self._loss, self._problem.parameters.params, self._batch), "loss")
        self._problem.check_in_place()
        return loss, None

    def _prepare(self, rate: float, direction: Array) -> None:
        self._space.write_moved(self._x, rate, direction)
        self._random.restore()
        self._evaluations += 1

    def _fallen_back(self, loss: float, direction: Array) -> tuple[LineStep, Array]:
        rate = self._rule.fallback
        if rate == 0.0:
            return LineStep(0.0, loss, loss, self._evaluations, False), self._x
        return LineStep(rate, loss, math.nan, self._evaluations, False), moved(self._x, rate, direction)
