"""Schedules that change at once."""

from __future__ import annotations

from collections.abc import Sequence

from pyfastlr.schedules._checks import factor, increasing, nonnegative, positive_integer, rates
from pyfastlr.schedules._schedule import Schedule
from pyfastlr_kernels import curves


class StepDecay(Schedule):
    """A factor every so many updates, one update early: ``lr·drop^⌊(1 + n)/every⌋``.

    Parameters
    ----------
    lr : float
        Rate before the first drop, >= 0.
    drop : float
        Factor, > 0 and <= 1.
    every : int
        Updates from drop to drop, >= 1.

    Examples
    --------
    >>> s = StepDecay(0.1, drop=0.5, every=10)
    >>> s(8), s(9), s(18), s(19)
    (0.1, 0.05, 0.05, 0.025)

    Notes
    -----
    Ends: drops at n = every - 1, 2·every - 1, ...; with every = 1 the first update has lr·drop.

    Elsewhere: torch's StepLR and the staircases of Keras and optax drop at n = every, 2·every, ...: here
    `Exponential(lr, drop, every, staircase=True)`.

    References
    ----------
    The formula of "step-based decay" in course notes and blog posts; no first source is known.
    """

    __slots__ = ()
    curve = staticmethod(curves.step_decay)
    equation = "{lr}·{drop}^⌊(1 + n)/{every}⌋"

    def __init__(self, lr: float, drop: float, every: int) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), drop=factor(drop, "drop"), every=positive_integer(every, "every"))


class MultiStep(Schedule):
    """A factor at each milestone: ``lr·gamma^(number of milestones <= n)``.

    Parameters
    ----------
    lr : float
        Rate before the first milestone, >= 0.
    milestones : sequence of int
        Strictly increasing, >= 0; may be empty.
    gamma : float
        Factor, > 0 and <= 1.

    Examples
    --------
    >>> s = MultiStep(0.5, milestones=[30, 60], gamma=0.5)
    >>> s(29), s(30), s(60)
    (0.5, 0.25, 0.125)

    Notes
    -----
    Ends: update n = milestone is the first with the new rate.

    Elsewhere: as torch's MultiStepLR and optax's piecewise_constant_schedule; timm drops one epoch early.

    References
    ----------
    He et al., Deep residual learning for image recognition, 2015, section 3.4.
    """

    __slots__ = ()
    curve = staticmethod(curves.multi_step)
    equation = "{lr}·{gamma}^(number of {milestones} <= n)"

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"), milestones=increasing(milestones, "milestones"), gamma=factor(gamma, "gamma")
        )


class Piecewise(Schedule):
    """A rate for each interval: ``values[number of boundaries <= n]``.

    Parameters
    ----------
    boundaries : sequence of int
        Strictly increasing, >= 0; may be empty.
    values : sequence of float
        Rates, >= 0, one more than boundaries.

    Examples
    --------
    >>> s = Piecewise([10], [0.1, 0.02])
    >>> s(9), s(10)
    (0.1, 0.02)

    Notes
    -----
    Ends: update n = boundary is the first with the new rate.

    Elsewhere: Keras' PiecewiseConstantDecay changes one update later, at n = boundary + 1.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012, section 5.
    """

    __slots__ = ()
    curve = staticmethod(curves.piecewise)
    equation = "{values}[number of {boundaries} <= n]"

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        boundaries, values = increasing(boundaries, "boundaries"), rates(values, "values")
        if len(values) != len(boundaries) + 1:
            raise ValueError(f"`values` must be one more than the {len(boundaries)} boundaries, got {len(values)}")
        super().__init__(boundaries=boundaries, values=values)
