"""Schedules that change at once, at some updates."""

from __future__ import annotations

from collections.abc import Sequence

from pyfastlr_kernels import curves

from .base import Schedule
from .checks import factor, increasing, nonnegative, one_more, positive_integer, rates


class StepDecay(Schedule, lr=nonnegative, drop=factor, every=positive_integer):
    """A drop every `every` updates, counting from 1: ``lr·drop^⌊(1 + n)/every⌋``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first drop.
    drop : float > 0 and <= 1
        Factor of each drop.
    every : int >= 1
        Updates between drops.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = StepDecay(0.1, drop=0.5, every=10)
    >>> s(8), s(9), s(18), s(19)
    (0.1, 0.05, 0.05, 0.025)

    Notes
    -----
    Ends: drops at n = every - 1, 2·every - 1, ...; with every = 1, the first rate is lr·drop.

    Elsewhere: torch's StepLR and the staircases of Keras and optax drop at n = every, 2·every, ...; here, that is
    `Exponential(lr, drop, every, staircase=True)`.

    References
    ----------
    Common as "step-based decay" in course notes and blog posts; no first source is known.
    """

    __slots__ = ()
    curve = staticmethod(curves.step_decay)
    equation = "{lr}·{drop}^⌊(1 + n)/{every}⌋"

    def __init__(self, lr: float, drop: float, every: int) -> None:
        super().__init__(lr=lr, drop=drop, every=every)


class MultiStep(Schedule, lr=nonnegative, milestones=increasing, gamma=factor):
    """A drop at each milestone: ``lr·gamma^(number of milestones <= n)``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first milestone.
    milestones : sequence of int >= 0
        Strictly increasing; may be empty.
    gamma : float > 0 and <= 1, default 0.1
        Factor at each milestone.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = MultiStep(0.5, milestones=[30, 60], gamma=0.5)
    >>> s(29), s(30), s(60)
    (0.5, 0.25, 0.125)

    Notes
    -----
    Ends: update n = milestone is the first with the new rate.

    Elsewhere: same as torch's MultiStepLR and optax's piecewise_constant_schedule; timm drops one epoch earlier.

    References
    ----------
    He et al., Deep residual learning for image recognition, 2015, section 3.4.
    """

    __slots__ = ()
    curve = staticmethod(curves.multi_step)
    equation = "{lr}·{gamma}^(number of {milestones} <= n)"

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(lr=lr, milestones=milestones, gamma=gamma)


class Piecewise(Schedule, boundaries=increasing, values=rates):
    """A rate for each interval: ``values[number of boundaries <= n]``.

    Parameters
    ----------
    boundaries : sequence of int >= 0
        Strictly increasing; may be empty.
    values : sequence of float >= 0
        Rates, one more than there are boundaries.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if `values` is not one longer than `boundaries`.

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
        super().__init__(boundaries=boundaries, values=values)
        one_more(self.parameters["values"], self.parameters["boundaries"])
