"""torch's schedulers under their own names: `torch.optim.lr_scheduler`, and `SWALR` of `torch.optim.swa_utils`.

The arguments are torch's, with two differences. The optimizer's rate `lr` replaces `optimizer`, except where torch sets
the rate itself: CyclicLR, OneCycleLR, SequentialLR, ChainedScheduler. There is no `last_epoch`, because a schedule has
no state. ``s(n)`` is the rate of the optimizer's step n, counting from 0, if ``scheduler.step()`` follows each step.

torch computes most rates from the previous one, so its rounding error grows with n. These are closed forms and agree
with torch to within 1e-12 of the highest rate. ReduceLROnPlateau is missing, because it is not a function of n.

Examples
--------
>>> from pyfastlr import schedules as S
>>> lr = 0.5
>>> warmup = S.torch.LinearLR(lr, start_factor=0.5, total_iters=2)
>>> s = S.torch.SequentialLR([warmup, S.torch.StepLR(lr, step_size=2, gamma=0.5)], milestones=[2])
>>> [s(n) for n in range(6)]
[0.25, 0.375, 0.5, 0.5, 0.25, 0.25]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyfastlr_kernels import compat_curves

from .base import Schedule
from .checks import (
    choice,
    factor,
    flag,
    nonnegative,
    optional,
    positive,
    positive_integer,
    share,
    unknown_attribute,
)
from .compat import called
from .cycles import ANNEALS, MODES, Cyclic
from .torch_decays import (
    SWALR,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .torch_nested import ChainedScheduler, SequentialLR

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "SequentialLR",
    "StepLR",
]

if not TYPE_CHECKING:  # checkers know the names
    __getattr__ = unknown_attribute(__name__, __all__)

# --- Cycles of the rate and of the momentum --------------------------------------------------------------------------


class CyclicLR(
    Schedule,
    base_lr=nonnegative,
    max_lr=nonnegative,
    step_size_up=positive_integer,
    step_size_down=positive_integer,
    mode=choice(*MODES),
    gamma=factor,
    scale_fn=optional(called),
    scale_mode=choice("cycle", "iterations"),
    cycle_momentum=flag,
    base_momentum=nonnegative,
    max_momentum=nonnegative,
):
    """Triangular cycles: ``base_lr + (max_lr - base_lr)·x·a``; x goes from 0 up to 1 and back down.

    The height a is 1 ("triangular"), 2^-cycle ("triangular2"), gamma^n ("exp_range"), or the value of scale_fn.

    Parameters
    ----------
    base_lr, max_lr : float >= 0
        Lowest and highest rate.
    step_size_up, step_size_down : int >= 1, default 2000
        Updates of the rise and of the fall; step_size_down defaults to step_size_up.
    mode : {"triangular", "triangular2", "exp_range"}
        How the height of the peaks falls; ignored with scale_fn.
    gamma : float > 0 and <= 1, default 1
        Factor per update in "exp_range"; ignored in the other modes.
    scale_fn : callable
        The height as a function of the cycle, counting from 1, or of update n. If it is not a Schedule, there is no
        JSON form and no `compiled`.
    scale_mode : {"cycle", "iterations"}
        Whether scale_fn gets the cycle or n; ignored without scale_fn.
    cycle_momentum : bool, default True
        Whether `momentum` can be called.
    base_momentum, max_momentum : float >= 0, default 0.8 and 0.9
        The momentum's bounds.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

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

    Elsewhere: optax and Keras lack it; `S.Cyclic` has no scale_fn and no momentum. torch computes the position in the
    cycle as the fractional part of a float, and loses one digit for every factor of 10 in the number of cycles.
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
        super().__init__(
            base_lr=base_lr,
            max_lr=max_lr,
            step_size_up=step_size_up,
            step_size_down=step_size_up if step_size_down is None else step_size_down,
            mode=mode,
            gamma=gamma,
            scale_fn=scale_fn,
            scale_mode=scale_mode,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
        )

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        base, peak, up, down, mode, gamma, scale, scale_mode, *_ = self.parameters.values()
        if scale is not None:
            return compat_curves.cyclic_scaled, (scale, base, peak, up, down, scale_mode == "cycle")
        return Cyclic(base, peak, up, down, mode, gamma if mode == "exp_range" else 1.0)._bound()

    def momentum(self) -> CyclicLR:
        """Return the schedule of the momentum or Adam's first beta: from max_momentum to base_momentum and back."""
        low, high = _momentums(self)
        return CyclicLR(**{**self.parameters, "base_lr": high, "max_lr": low, "cycle_momentum": False})


class OneCycleLR(
    Schedule,
    max_lr=nonnegative,
    total_steps=positive_integer,
    pct_start=share,
    anneal_strategy=choice(*ANNEALS),
    cycle_momentum=flag,
    base_momentum=nonnegative,
    max_momentum=nonnegative,
    div_factor=positive,
    final_div_factor=positive,
    three_phase=flag,
):
    """Cosines or lines from max_lr/div_factor up to max_lr, then down to max_lr/div_factor/final_div_factor.

    With three phases, the second falls as far as the first rose, and the third falls to the end.

    Parameters
    ----------
    max_lr : float >= 0
        Highest rate.
    total_steps : int >= 1
        Total number of updates.
    epochs, steps_per_epoch : int >= 1
        Two factors of total_steps, to give instead of it.
    pct_start : float >= 0 and <= 1, default 0.3
        Fraction of the updates for the rise. It must not be 1/total_steps, where torch divides by zero.
    anneal_strategy : {"cos", "linear"}
        Shape of all phases.
    cycle_momentum : bool, default True
        Whether `momentum` can be called.
    base_momentum, max_momentum : float >= 0, default 0.85 and 0.95
        The momentum's bounds.
    div_factor, final_div_factor : float > 0, default 25 and 1e4
    three_phase : bool, default False
        Whether the fall has two parts.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if neither total_steps nor its factors are given.

    Examples
    --------
    >>> s = OneCycleLR(max_lr=1.0, total_steps=100)
    >>> s(0), s(29), s(99), s(100)
    (0.04, 1.0, 4e-06, 4e-06)
    >>> s.momentum()(0), s.momentum()(29), s.momentum()(99)
    (0.95, 0.85, 0.95)

    Notes
    -----
    Ends: the peak is at pct_start·total_steps - 1, which is not rounded, the last rate from total_steps - 1 on. torch
    goes one step further and then raises an error.

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
                raise TypeError(
                    "`total_steps`, or both `epochs` and `steps_per_epoch`, must be given, "
                    f"got {total_steps}, {epochs} and {steps_per_epoch}"
                )
            total_steps = positive_integer(epochs, "epochs") * positive_integer(steps_per_epoch, "steps_per_epoch")
        super().__init__(
            max_lr=max_lr,
            total_steps=total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    def _ends(self) -> tuple[float, float, float]:
        """Return the first value, the peak and the last value."""
        first = self.parameters["max_lr"] / self.parameters["div_factor"]
        return first, self.parameters["max_lr"], first / self.parameters["final_div_factor"]

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        first, peak, end = self._ends()
        pct_start, steps, three = (self.parameters[name] for name in ("pct_start", "total_steps", "three_phase"))
        rise, last = pct_start * steps, steps - 1
        if rise == 1.0:
            raise ValueError(f"`pct_start` must not be 1/total_steps, where torch divides by zero, got {pct_start}")
        middle, down = (first, 2.0 * rise - 2.0) if three else (end, float(last))
        fall = ANNEALS[self.parameters["anneal_strategy"]]
        return compat_curves.three_phases, (fall, first, peak, middle, end, rise - 1.0, down, last)

    def momentum(self) -> OneCycleMomentum:
        """Return the schedule of the momentum or Adam's first beta: base_momentum at the rate's peak."""
        _momentums(self)
        return OneCycleMomentum(**self.parameters)


class OneCycleMomentum(OneCycleLR):
    """The momentum of a `OneCycleLR`: from max_momentum down to base_momentum at the rate's peak, and back.

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
    """Return the bounds of the momentum."""
    if not schedule.parameters["cycle_momentum"]:
        raise ValueError("`cycle_momentum` must be True for a momentum schedule, got False")
    return schedule.parameters["base_momentum"], schedule.parameters["max_momentum"]
