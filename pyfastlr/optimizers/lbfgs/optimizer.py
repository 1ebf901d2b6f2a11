"""`LBFGS`, as the user sees it."""

import contextvars
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyfastlr.arrays.host import Array, shaped
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.engines.hyper import AT_LEAST_ZERO, Source, evaluation, number, source
from pyfastlr.engines.lock import StepLock
from pyfastlr.files.errors import Path
from pyfastlr.linesearch.losses import loss_of, pair_of
from pyfastlr.linesearch.vectors import Space, quiet
from pyfastlr.optimizers.saving.files import Progress, save_state
from pyfastlr.optimizers.saving.matching import Loaded
from pyfastlr.optimizers.saving.stateful import Stateful
from pyfastlr_kernels.compile.first_use import ForkHooks, at_fork, whole

from . import saving
from .arguments import REFUSED, Setting, settings_of
from .iterations import Iterations, Outcome
from .memory import Memory

Closure = Callable[[], tuple[Any, Any]]


class LBFGS(Stateful):
    r"""L-BFGS with torch's strong Wolfe line search: a quasi-Newton method for losses without noise.

    A step makes up to `max_iter` iterations, each with one or a few evaluations of the loss. An iteration moves along

    .. math::

        d = -H g, \qquad p \leftarrow p + \eta\, d

    where :math:`H` approximates the inverse Hessian from the last `history` pairs of a step :math:`s` and the change
    :math:`y` of the gradient along it, by the two-loop recursion, starting from :math:`H_0 = (s \cdot y / y \cdot y) I`
    of the last pair. The line search chooses :math:`\eta`, of which `lr` is the first trial, such that

    .. math::

        f(p + \eta d) \le f(p) + 10^{-4}\, \eta\, g \cdot d, \qquad |g(p + \eta d) \cdot d| \le 0.9\, |g \cdot d|.

    The very first iteration moves along :math:`-g`, with the first trial :math:`\min(1, 1/\sum |g|)` times `lr`.

    Parameters
    ----------
    params : array, dict or list of arrays, or Flat
        As in `Adam`, in host memory. All arrays together are one vector: there are no groups.
    lr : float >= 0, Schedule or callable
        First trial of each line search; the rate itself if `line_search` is None. A schedule is called once for each
        step, with the number of steps before it. Controllers may be given too.
    history : int >= 1
        Number of pairs to keep. Each needs twice the memory of the parameters. In the middle of a step there may be
        twice as many.
    line_search : {"strong_wolfe"} or None
        With None, each iteration moves by the rate `lr`, without a test of the loss.
    max_iter : int >= 1
        Most iterations of a step.
    tolerance_grad : float >= 0
        A step ends when no element of the gradient is larger.
    tolerance_change : float >= 0
        A step ends when the loss, or each parameter, changes by less.
    max_eval : int >= 1, optional
        Most evaluations of a step. An iteration that has begun makes at least one. By default ``max_iter * 5 // 4``.
    min_curvature : float >= 0
        A pair with a smaller product s·y is left out. The default is that of torch. It is an absolute number, so near
        a minimum, where s and y are small, no more pairs are added. With 0 all pairs of positive curvature are: for
        high precision, that took 0.5 of the evaluations on a logistic regression and 0.04 on Powell's singular
        function (docs/line_search.md).

    Attributes
    ----------
    params
        The container that was given.
    lr : float
        The rate of the next step. Set it to a number or schedule. The other arguments can be set too.
    steps, iterations, evaluations : int
        Numbers of steps done, of iterations, and of calls of the closure in them.
    loss : float or None
        Loss at the parameters, as the last step evaluated it. None before a step, and without a line search where the
        last iteration of a step has moved them.
    stopped : str or None
        Why the last step ended: one of "max_iter", "max_eval", "tolerance_grad" and "tolerance_change";
        "line_search" if it found no lower loss; "nonfinite" if a loss or gradient was not finite.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, for parameters on a device, and for arguments of other optimizers that L-BFGS cannot
        have, such as `groups` and `weight_decay`. The error says what to do instead.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = {"x": np.array([-1.5]), "y": np.array([2.0])}
    >>> def closure():  # Rosenbrock's function, at the parameters as they are now
    ...     x, y = p["x"], p["y"]
    ...     r = y - x * x
    ...     loss = float(((1 - x) ** 2 + 100 * r * r)[0])
    ...     return loss, {"x": -2 * (1 - x) - 400 * x * r, "y": 200 * r}
    >>> opt = flr.LBFGS(p, max_iter=100)
    >>> loss = opt.step(closure)  # where it began
    >>> loss, opt.loss < 1e-8, opt.stopped
    (12.5, True, 'tolerance_change')
    >>> p["x"].round(3), p["y"].round(3)
    (array([1.]), array([1.]))

    Notes
    -----
    The loss must be the same function of the parameters during a step, so use all data, or one large batch per step.
    Weight decay belongs into the loss and its gradient, ``loss + decay/2 * |p|**2`` and ``g + decay * p``, because the
    line search compares losses.

    If a loss or gradient is not finite where a step begins, the step changes nothing but its counts. In the line search
    such a trial counts as too long, and the interval before it is halved. Without a line search, the step goes back to
    the last finite point and ends. `stopped` is "nonfinite" then.

    Products are summed in float64, in blocks of 8,192 elements, so that the bits do not depend on the number of
    threads. They may depend on the processor and on numpy's BLAS.

    Sources: D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization, 1989; the line
    search is that of M. Schmidt's minFunc. torch has the same iterations and evaluations, with ``history_size=100`` and
    no line search by default, and goes on with infinite and NaN losses. scipy's L-BFGS-B has bounds and another line
    search. optax's `lbfgs` has one with approximate conditions, and makes one iteration per update.
    """

    __slots__ = ("__weakref__", "_before", "_lock", "_lr", "_memory", "_parameters", "_settings", "_space",
                 "loss", "stopped")  # fmt: skip

    history = Setting("Number of pairs to keep.")
    line_search = Setting('"strong_wolfe" or None.')
    max_iter = Setting("Most iterations of a step.")
    max_eval = Setting("Most evaluations of a step; None is ``max_iter * 5 // 4``.")
    tolerance_grad = Setting("A step ends when no element of the gradient is larger.")
    tolerance_change = Setting("A step ends when the loss, or each parameter, changes by less.")
    min_curvature = Setting("A pair with a smaller product s·y is left out.")

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        history: int = 10,
        line_search: str | None = "strong_wolfe",
        max_iter: int = 20,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        *,
        max_eval: int | None = None,
        min_curvature: float = 1e-10,
        **refused: Any,
    ) -> None:
        for name in refused:
            why = REFUSED.get(name, "it has no such argument")
            raise TypeError(f"`{name}` of LBFGS must be left out: {why}")
        self._settings = settings_of({
            "history": history, "line_search": line_search, "max_iter": max_iter, "max_eval": max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "min_curvature": min_curvature,
        })  # fmt: skip
        self._lr: Source = source(lr, "lr", AT_LEAST_ZERO)
        self._build(params)

    def _build(self, params: Any) -> None:
        """Create everything except the settings, as for a new optimizer."""
        self._parameters = Parameters(params)
        if self._parameters.device is not None:
            raise ValueError("`params` of LBFGS must be in host memory, got arrays on a CUDA device")
        self._space = Space(self._parameters)
        self._lock, self._memory = StepLock(), Memory()
        self._before: tuple[int, Array] | None = None  # while a step runs: its thread, and the values to go back to
        self.loss: float | None = None
        self.stopped: str | None = None
        _live.add(self)

    # --- The step -----------------------------------------------------------------------------------------------------

    def step(self, closure: Closure) -> float:
        """Make up to `max_iter` iterations. Return the loss where the step began, as torch does.

        Parameters
        ----------
        closure : callable
            ``closure() -> (loss, grads)`` at the parameters as they are now, which it must not change. The loss is a
            number. The gradients are like the parameters, as in the `step` of other optimizers. An entry that is None
            counts as zeros. They may be the same arrays in each call: they are copied.

        Returns
        -------
        float
            The loss of the first evaluation. `loss` is that of the last point.

        Raises
        ------
        TypeError, ValueError
            If the closure does not return a number and gradients like the parameters; if a parameter was replaced,
            resized or made read-only; if a schedule's value is invalid.
        RuntimeError
            If the closure calls it.

        Notes
        -----
        After any exception, also one of the closure, and after an interrupt, the parameters and the state are as before
        the step. In the middle of a step, the closure sees the parameters of a trial, and other threads that read them
        do too. Steps, copies and saves from other threads wait for its end.
        """
        if not callable(closure):
            raise TypeError(f"`closure` must be a function () -> (loss, grads), got {type(closure).__name__}")
        self._check_outside("step")
        with self._lock.held:
            self._parameters.check_in_place()
            n, found = self._memory.steps, list[Outcome]()
            rate = number(evaluation(self._lr)(n) if callable(self._lr) else self._lr, "lr", AT_LEAST_ZERO,
                          where=f" from the schedule at {n}" if callable(self._lr) else "")  # fmt: skip
            before = self._space.values()
            settle = partial(self._settle, found)
            work = partial(self._run, before, closure, rate)
            # An interrupt while one of the two `finally` blocks begins does not stop the other. The context keeps
            # numpy's floating-point warnings, which an interrupt might leave off, from the caller.
            try:
                try:
                    self._before = threading.get_ident(), before
                    self._lock.own()
                    found.append(contextvars.copy_context().run(work))
                finally:
                    whole(settle)
            finally:
                if self._before is not None:
                    whole(settle)
            return found[0].first_loss

    def _settle(self, found: list[Outcome]) -> None:
        """End a step: write its outcome, or what was there before if it has none."""
        if self._before is None:
            return
        if found:
            self._space.write(found[0].x)
            self._memory, self.loss, self.stopped = found[0].memory, found[0].loss, found[0].stopped
        else:
            self._space.write(self._before[1])
        self._before = None
        self._lock.disown()

    def _run(self, x: Array, closure: Closure, rate: float) -> Outcome:
        """Make the iterations of a step."""
        with quiet() as call:

            def evaluate() -> tuple[float, Array]:
                result = call(closure)
                self._parameters.check_in_place()
                loss, grads = pair_of(result, "closure")
                return loss_of(loss, "closure"), self._space.vector(grads, "grads")

            return Iterations(self._space, x, evaluate, self._settings, rate, self._memory).run()

    def _check_outside(self, what: str) -> None:
        if self._lock.is_mine():
            raise RuntimeError(f"a closure or callable must not {what} the optimizer that calls it")

    def _restore_in_child(self) -> None:
        """In a forked child, undo a step of another thread: that thread does not exist there."""
        if self._before is not None and self._before[0] != threading.get_ident():
            self._settle([])

    # --- Properties ---------------------------------------------------------------------------------------------------

    @property
    def params(self) -> Any:
        """The container that was given."""
        return self._parameters.params

    @property
    def lr(self) -> float:
        """Rate of the next step. Set it to a number, schedule or callable."""
        lr = self._lr
        return number(lr(self._memory.steps) if callable(lr) else lr, "lr", AT_LEAST_ZERO)

    @lr.setter
    def lr(self, value: Any) -> None:
        self._change(lr=source(value, "lr", AT_LEAST_ZERO))

    def _change(self, **values: Any) -> None:
        """Set arguments that are checked."""
        self._check_outside("change the arguments of")
        with self._lock.held:
            if "lr" in values:
                self._lr = values["lr"]
            else:
                self._settings = settings_of({**self._settings._asdict(), **values})

    @property
    def steps(self) -> int:
        """Number of steps done."""
        return self._memory.steps

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return self._memory.iterations

    @property
    def evaluations(self) -> int:
        """Number of calls of the closure in the steps that were done."""
        return self._memory.evaluations

    def __repr__(self) -> str:
        what = shaped(self._parameters.dtype, [self._parameters.size])
        given = ", ".join(f"{name}={value!r}" for name, value in self._settings._asdict().items() if value is not None)
        return f"LBFGS({what}, lr={self._lr!r}, {given}, steps={self.steps})"

    # --- Saving and restoring -----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget all pairs and counts. Keep parameters and arguments."""
        self._check_outside("reset")
        with self._lock.held:
            self._memory = Memory()

    def state_dict(self) -> dict[str, Any]:
        """Copy everything that an exact resume needs besides the parameters.

        Returns
        -------
        dict
            Its keys: format, class, dtype, structure (name and shape of each array), state (vectors like the
            parameters: gradient and step of the last iteration, s0, y0, s1, ... the pairs, the oldest first), counts
            (int64: steps, iterations, evaluations), carry (float64: the scale, then 1/(s·y) of each pair),
            hyperparameters, controllers. During a step, for the closure, those before it.

        Examples
        --------
        >>> import numpy as np, pyfastlr as flr
        >>> p = np.ones(2)
        >>> opt = flr.LBFGS(p, max_iter=1)
        >>> loss = opt.step(lambda: (p @ p, 2 * p))
        >>> opt.state_dict()["counts"]
        array([1, 1, 2])
        """
        with self._lock.reading():
            return saving.export(self)

    def load_state_dict(
        self, state: Mapping[str, Any], hyperparameters: bool = True, strict: bool = True, cast: bool = False
    ) -> Loaded:
        """Restore what `state_dict` returned. The next step is, bit for bit, that of the saved optimizer.

        After an error, nothing is changed.

        Parameters
        ----------
        state : dict
            From an `LBFGS` over arrays with the same names and shapes, in any container and order.
        hyperparameters : bool
            Restore the arguments too. As in `Adam`, a callable or controller must be there already.
        strict : bool
            With False as with True, the arrays must be the same: a pair is of all arrays together.
        cast : bool
            Convert a state of float64 to float32, or of float32 to float64.

        Returns
        -------
        Loaded
            Both of its tuples are empty.

        Raises
        ------
        TypeError, ValueError
            If the dict does not match the optimizer, or is damaged. The error names the key.
        """
        self._check_outside("change the state of")
        with self._lock.held:
            saving.load(self, state, hyperparameters, strict, cast)
        return Loaded()

    def save(self, path: Path, *, progress: Progress | None = None) -> None:
        """Save the state to a file, as `Adam.save` does. `pyfastlr.save` saves the parameters too."""
        save_state(path, self, progress)

    def load(self, path: Path, hyperparameters: bool = True, strict: bool = True, cast: bool = False) -> Loaded:
        """Restore the state from a file that `save` or `pyfastlr.save` wrote. After an error, nothing is changed."""
        return self.load_state_dict(saving.state_in(path), hyperparameters, strict, cast)

    def _live_state(self) -> tuple[dict[str, Any], Any]:
        return saving.export(self, live=True), self._parameters.layout or self._parameters.node

    def __getstate__(self) -> dict[str, Any]:
        """Copy everything at one moment, including the parameters' values."""
        return saving.snapshot(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        saving.rebuild(self, state, state["params"], state["arrays"])

    def __copy__(self) -> "LBFGS":
        """Return an optimizer that shares parameters and schedules, but has its own state."""
        return saving.shallow(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LBFGS":
        return saving.deep(self, memo)


_live: "weakref.WeakSet[LBFGS]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for optimizer in list(_live):
        optimizer._restore_in_child()


at_fork(ForkHooks(lambda: None, lambda: None, _after_fork_in_child))
