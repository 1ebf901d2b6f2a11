"""Watch during training whether the optimizer is stable at its rate."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyfastlr.engines.hyper import Range, chosen, number
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules import Adjustable
from pyfastlr.schedules.checks import positive_integer
from pyfastlr.tune.problem import LossAndGrad

from .lanczos import Vector, random_unit
from .measuring import checked, measure
from .products import Hvp
from .recursion import group_ratios
from .result import Sharpness

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTIONS = ("warn", "cap", "raise", "record")
_MARGIN = Range(1e-6, 1.0, "a number from 1e-6 to 1")
_FRESH = 0.1  # length of the random part of a measurement's start vector


class Measurement(NamedTuple):
    """One measurement of a `StabilityMonitor`.

    Attributes
    ----------
    update : int
        Updates done before the measurement.
    lr : float
        Rate of the base group for the next update, as the measurement found it: below the last cap, before the next.
    sharpness : Sharpness

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> p = np.ones(2)
    >>> opt, monitor = flr.SGD(p, lr=0.1), tune.StabilityMonitor(lambda p, batch: (float(p @ p), 2 * p))
    >>> found = monitor.check(opt, None)
    >>> monitor.history[0].update, monitor.history[0].lr, round(monitor.history[0].sharpness, 6)
    (0, 0.1, 2.0)
    """

    update: int
    lr: float
    sharpness: Sharpness


class StabilityMonitor:
    """Measures the sharpness at intervals during training, and warns if the optimizer is unstable at its rate.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``, as for `sharpness`.
    every : int >= 1
        `check` measures at its first call, and at every `every`-th call after that. It also measures at the second call
        if an adaptive optimizer had no denominators before its first update.
    action : {"warn", "cap", "raise", "record"}
        What happens when the rate is beyond the bound. "warn": one RuntimeWarning, and no other until it was below
        again. "cap": the rates of all groups are limited to `margin` times the bound, by `schedules.Adjustable`, until
        the next measurement; one that is there already keeps the limit that it was built with, and loses another that
        was observed. "raise": a FloatingPointError. "record": nothing.
    hvp : callable, optional
        ``hvp(params, batch, v) -> Hv``, as for `sharpness`.
    tol : float
        Tolerance of a measurement.
    iterations : int
        Most products with the Hessian in one measurement.
    margin : float in (0, 1]
        Fraction of the bound that "cap" allows.
    seed : int
        Seed of the random vectors.

    Attributes
    ----------
    history : list of Measurement
    latest : Sharpness or None

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> h = np.array([1.0, 10.0])
    >>> def loss_and_grad(p, batch):
    ...     return 0.5 * h @ (p * p), h * p
    >>> p = np.ones(2)
    >>> opt = flr.SGD(p, lr=0.3)
    >>> monitor = tune.StabilityMonitor(loss_and_grad, every=5, action="cap")
    >>> for _ in range(20):
    ...     L = monitor.check(opt)
    ...     opt.step(loss_and_grad(p, None)[1])
    >>> f"bound {L.bound:.3f}, rate {opt.lr:.3f}, distance {abs(p).max():.3f}"
    'bound 0.200, rate 0.180, distance 0.019'

    Notes
    -----
    A measurement starts from the vector of the previous one, plus a random part so that another direction can overtake.
    Each product with the Hessian takes 2 gradients, and a measurement usually needs the fewest products, 5. So with
    ``every=10`` it costs one extra gradient per update. `latest.evaluations` is the number of gradients. Only the first
    measurement checks that gradients are repeatable and that the length of the step fits.

    Each batch has its own Hessian, so pass `check` a fixed batch (docs/stability.md). Cohen et al., "Gradient descent
    on neural networks typically occurs at the edge of stability", 2021. No framework has such a tool.
    """

    def __init__(
        self,
        loss_and_grad: LossAndGrad,
        every: int = 10,
        action: str = "warn",
        *,
        hvp: Hvp | None = None,
        tol: float = 0.1,
        iterations: int = 30,
        margin: float = 0.9,
        seed: int = 0,
    ) -> None:
        if not callable(loss_and_grad):
            raise TypeError(
                "`loss_and_grad` must be a function (params, batch) -> (loss, gradient), got "
                f"{type(loss_and_grad).__name__}"
            )
        self.loss_and_grad, self.hvp = loss_and_grad, hvp
        self.tol, self.iterations, self.seed = checked(hvp, tol, iterations, seed)
        self.every, self.action = positive_integer(every, "every"), chosen(action, ACTIONS, "action")
        self.margin = number(margin, "margin", _MARGIN)
        self.history: list[Measurement] = []
        self.latest: Sharpness | None = None
        self._calls = 0
        self._vector: Vector | None = None
        self._shrink = 1.0
        self._told: set[str] = set()

    def check(self, opt: Optimizer, batch: Any = None) -> Sharpness:
        """Measure if a measurement is due, and act on it. Call it before each step.

        Parameters
        ----------
        opt : Optimizer
        batch
            Passed to `loss_and_grad`.

        Returns
        -------
        Sharpness
            The latest measurement.

        Raises
        ------
        TypeError, ValueError
            As `sharpness`.
        FloatingPointError
            If the gradient is not finite, or, under the action "raise", if the rate is above the bound.
        """
        if not isinstance(opt, Optimizer):
            raise TypeError(f"`opt` must be an optimizer of pyfastlr, got {type(opt).__name__}")
        if self._calls % self.every == 0 or self._waits(opt):
            self._measure(opt, batch)
        self._calls += 1
        assert self.latest is not None
        return self.latest

    def _waits(self, opt: Optimizer) -> bool:
        """Whether the first update has just created the denominators that were missing before."""
        return self.latest is None or (self.latest.bound is None and self.history[-1].update == 0 < opt.steps)

    def _measure(self, opt: Optimizer, batch: Any) -> None:
        found, vector, shrink = measure(
            self.loss_and_grad, opt._parameters.params, batch, self.hvp, opt, self.tol, self.iterations,
            start=self._start(opt), seed=self.seed, shrink=self._shrink,
        )  # fmt: skip
        lr = opt.lr
        self.history.append(Measurement(opt.steps, lr, found))
        self.latest, self._vector, self._shrink = found, vector, shrink
        self._act(opt, lr, found)

    def _start(self, opt: Optimizer) -> Vector | None:
        """Previous vector plus a new random part."""
        if self._vector is None or self._vector.size != opt._parameters.size:
            return None
        fresh = random_unit(self._vector.size, [self.seed, len(self.history)])
        return self._vector + fresh * (_FRESH / np.linalg.norm(fresh))

    def _act(self, opt: Optimizer, lr: float, found: Sharpness) -> None:
        if found.bound is None:
            if opt.steps:  # before the first update there may be no denominators yet
                self._tell("none", f"StabilityMonitor has no bound for the rate: {found.reason}")
            return
        self._told.discard("none")
        if self.action == "cap":
            self._cap(opt, found.bound)
        elif lr <= found.bound:
            self._told.discard("above")
        else:
            words = (
                f"the rate {lr:.4g} is above {found.bound:.4g}, where {found.optimizer} becomes unstable at the "
                f"current curvature (update {opt.steps}, sharpness {found:.4g})"
            )
            if self.action == "raise":
                raise FloatingPointError(words)
            self._tell("above", words)

    def _tell(self, what: str, words: str) -> None:
        """Warn once, until the condition has ended."""
        if what not in self._told and self.action != "record":
            self._told.add(what)
            warnings.warn(words, RuntimeWarning, stacklevel=5)

    def _cap(self, opt: Optimizer, bound: float) -> None:
        """Limit the rate of every group that has its own rate."""
        own = opt._hyper.current.own
        for row, ratio in enumerate(group_ratios(opt) or ()):
            if "lr" not in own[row]:
                continue
            source = opt._hyper.current.source(row, "lr")
            if not isinstance(source, Adjustable):
                source = Adjustable(source)
                opt.groups[row]["lr"] = source
            own_limit = math.inf if source.arguments["limit"] is None else source.arguments["limit"]
            source.observe(limit=min(own_limit, self.margin * bound * ratio))  # infinity is none

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the rate, the bound and 2/L against the updates, and mark where the rate crosses the bound.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ValueError
            If nothing was measured.
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        from .drawing import draw_history, with_matplotlib

        with_matplotlib(ax)
        if not self.history:
            raise ValueError("StabilityMonitor has nothing to plot: `check` has not been called")
        return draw_history(self.history, ax)

    def __repr__(self) -> str:
        return f"StabilityMonitor(every={self.every}, action={self.action!r}, measurements={len(self.history)})"
