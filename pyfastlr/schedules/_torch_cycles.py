"""torch's schedulers with cycles of the rate and of the momentum: see `pyfastlr.schedules.torch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr.schedules._algebra import as_schedule
from pyfastlr.schedules._checks import choice, factor, flag, function, nonnegative, positive, positive_integer
from pyfastlr.schedules._cycles import Cyclic
from pyfastlr.schedules._foreign import FALLS, anneal, share
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import compat_curves


class CyclicLR(Schedule):
    """Triangles: ``base_lr + (max_lr - base_lr)·x·a``, x rising 0 to 1 in step_size_up updates and falling in down.

    The height a is 1 ("triangular"), 2^-cycle ("triangular2"), gamma^n ("exp_range"), or what scale_fn says.

    Parameters
    ----------
    base_lr, max_lr : float
        Rates, >= 0.
    step_size_up, step_size_down : int
        Updates of the rise and of the fall, >= 1; as many if not given.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height falls; not asked for with scale_fn.
    gamma : float
        Factor per update, > 0 and <= 1, in "exp_range"; not asked for in the other modes.
    scale_fn : callable
        Height of the cycle, counted from 1, or of update n; with one of your own there is no JSON and no `compiled`.
    scale_mode : {"cycle", "iterations"}
        Which of the two; not asked for without scale_fn.
    cycle_momentum : bool
        There is a `momentum`.
    base_momentum, max_momentum : float
        Its bounds, >= 0.

    Examples
    --------
    >>> s = CyclicLR(0.0, 1.0, step_size_up=2, step_size_down=4, mode="triangular2")
    >>> [s(n) for n in range(9)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.25, 0.5]
    >>> s.momentum()(0), s.momentum()(2)
    (0.9, 0.8)

    Notes
    -----
    Ends: base_lr at n = 0, up + down, ..., max_lr at n = step_size_up; never stops.

    Elsewhere: optax and Keras lack it; as `S.Cyclic`, but for scale_fn and the momentum. torch finds its place in the
    cycle as the fraction of a float, and loses a digit for every ten times as many cycles.
    """

    __slots__ = ()
    equation = (
        "{base_lr} + ({max_lr} - {base_lr})·x·a, x up in {step_size_up} and down in {step_size_down}, "
        "a = 1, 2^-cycle, {gamma}^n or a function ({mode}, {scale_fn})"
    )

    def __init__(
        self,
        base_lr: float,
        max_lr: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[int], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
    ) -> None:
        up = positive_integer(step_size_up, "step_size_up")
        super().__init__(
            base_lr=nonnegative(base_lr, "base_lr"),
            max_lr=nonnegative(max_lr, "max_lr"),
            step_size_up=up,
            step_size_down=up if step_size_down is None else positive_integer(step_size_down, "step_size_down"),
            mode=choice("triangular", "triangular2", "exp_range")(mode, "mode"),
            gamma=factor(gamma, "gamma"),
            scale_fn=None if scale_fn is None else as_schedule(function(scale_fn, "scale_fn")),
            scale_mode=choice("cycle", "iterations")(scale_mode, "scale_mode"),
            cycle_momentum=flag(cycle_momentum, "cycle_momentum"),
            base_momentum=nonnegative(base_momentum, "base_momentum"),
            max_momentum=nonnegative(max_momentum, "max_momentum"),
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        base, peak, up, down, mode, gamma, scale, scale_mode, *_ = self.parameters.values()
        if scale is not None:
            return compat_curves.cyclic_scaled, (scale, base, peak, up, down, scale_mode == "cycle")
        return Cyclic(base, peak, up, down, mode, gamma if mode == "exp_range" else 1.0)._bound()

    def momentum(self) -> CyclicLR:
        """Schedule of the momentum, or of Adam's first beta: from max_momentum down to base_momentum, and back."""
        low, high = _momentums(self)
        return CyclicLR(**{**self.parameters, "base_lr": high, "max_lr": low, "cycle_momentum": False})


class OneCycleLR(Schedule):
    """Up from max_lr/div_factor to max_lr, then down to max_lr/div_factor/final_div_factor, by a cosine or a line.

    With three phases the second goes down as far as the first came up, and the third to the end.

    Parameters
    ----------
    max_lr : float
        Highest rate, >= 0.
    total_steps : int
        Updates in all, >= 1; or instead of it:
    epochs, steps_per_epoch : int
        Two factors of it, >= 1.
    pct_start : float
        Fraction of them for the rise, >= 0 and <= 1, but not one update's, where torch divides by zero.
    anneal_strategy : {"cos", "linear"}
        Shape of all phases.
    cycle_momentum : bool
        There is a `momentum`.
    base_momentum, max_momentum : float
        Its bounds, >= 0.
    div_factor, final_div_factor : float
        > 0.
    three_phase : bool
        The fall has two parts.

    Examples
    --------
    >>> s = OneCycleLR(max_lr=1.0, total_steps=100)
    >>> s(0), s(29), s(99), s(100)
    (0.04, 1.0, 4e-06, 4e-06)
    >>> s.momentum()(0), s.momentum()(29), s.momentum()(99)
    (0.95, 0.85, 0.95)

    Notes
    -----
    Ends: the peak is at pct_start·total_steps - 1, which is rounded nowhere, the end at total_steps - 1. There the rate
    stays, where torch goes one step beyond and then raises an error.

    Elsewhere: optax's cosine_onecycle_schedule and `S.OneCycle` have the peak at int(pct_start·steps) and the end at
    steps.
    """

    __slots__ = ()
    equation = (
        "{max_lr}/{div_factor} up to {max_lr} at {pct_start}·{total_steps} - 1, "
        "down to {max_lr}/{div_factor}/{final_div_factor} at {total_steps} - 1, {anneal_strategy}"
    )

    def __init__(
        self,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise TypeError("`total_steps`, or `epochs` and `steps_per_epoch`, must be given")
            total_steps = positive_integer(epochs, "epochs") * positive_integer(steps_per_epoch, "steps_per_epoch")
        total_steps, pct_start = positive_integer(total_steps, "total_steps"), share(pct_start, "pct_start")
        if pct_start * total_steps == 1.0:
            raise ValueError(f"`pct_start` must not be 1/total_steps, where torch divides by zero, got {pct_start}")
        super().__init__(
            max_lr=nonnegative(max_lr, "max_lr"),
            total_steps=total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal(anneal_strategy, "anneal_strategy"),
            cycle_momentum=flag(cycle_momentum, "cycle_momentum"),
            base_momentum=nonnegative(base_momentum, "base_momentum"),
            max_momentum=nonnegative(max_momentum, "max_momentum"),
            div_factor=positive(div_factor, "div_factor"),
            final_div_factor=positive(final_div_factor, "final_div_factor"),
            three_phase=flag(three_phase, "three_phase"),
        )

    def _ends(self) -> tuple[float, float, float]:
        """Give the first value, the one at the peak and the last."""
        first = self.parameters["max_lr"] / self.parameters["div_factor"]
        return first, self.parameters["max_lr"], first / self.parameters["final_div_factor"]

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        first, peak, end = self._ends()
        rise, last = self.parameters["pct_start"] * self.parameters["total_steps"], self.parameters["total_steps"] - 1
        three = self.parameters["three_phase"]
        middle, down = (first, 2.0 * rise - 2.0) if three else (end, float(last))
        fall = FALLS["linear" if self.parameters["anneal_strategy"] == "linear" else "cosine"]
        return compat_curves.three_phases, (fall, first, peak, middle, end, rise - 1.0, down, last)

    def momentum(self) -> OneCycleMomentum:
        """Schedule of the momentum, or of Adam's first beta: max_momentum, but base_momentum at the peak."""
        _momentums(self)
        return OneCycleMomentum(**self.parameters)


class OneCycleMomentum(OneCycleLR):
    """The momentum of a `OneCycleLR`: from max_momentum down to base_momentum and back, where the rate peaks.

    Examples
    --------
    >>> m = OneCycleLR(1.0, total_steps=100).momentum()
    >>> m(0), m(29), m(99)
    (0.95, 0.85, 0.95)
    """

    __slots__ = ()
    equation = (
        "{max_momentum} down to {base_momentum} at {pct_start}·{total_steps} - 1, "
        "up to {max_momentum}, {anneal_strategy}"
    )

    def _ends(self) -> tuple[float, float, float]:
        low, high = _momentums(self)
        return high, low, high


def _momentums(schedule: CyclicLR | OneCycleLR) -> tuple[float, float]:
    """Give the bounds of the momentum."""
    if not schedule.parameters["cycle_momentum"]:
        raise ValueError("`cycle_momentum` must be True for a schedule of the momentum, got False")
    return schedule.parameters["base_momentum"], schedule.parameters["max_momentum"]
