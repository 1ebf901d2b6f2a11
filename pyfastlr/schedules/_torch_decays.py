"""torch's schedulers that multiply the rate by a closed form: see `pyfastlr.schedules.torch`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, repeat
from operator import mul

from pyfastlr.schedules import _checks
from pyfastlr.schedules._algebra import Constant
from pyfastlr.schedules._checks import natural, nonnegative, positive, positive_integer
from pyfastlr.schedules._decays import Exponential, Linear, Polynomial
from pyfastlr.schedules._foreign import Translated, share
from pyfastlr.schedules._schedule import Schedule
from pyfastlr.schedules._stairs import Piecewise


class StepLR(Translated, Schedule):
    """A factor every so many updates: ``lr·gamma^⌊n/step_size⌋``.

    Parameters
    ----------
    lr : float
        Rate before the first change, >= 0.
    step_size : int
        Updates from change to change, >= 1.
    gamma : float
        Factor, > 0; above 1 the rate grows.

    Examples
    --------
    >>> s = StepLR(0.5, step_size=30, gamma=0.5)
    >>> s(29), s(30)
    (0.5, 0.25)

    Notes
    -----
    Ends: changes at n = step_size, 2·step_size, ...

    Elsewhere: as the staircases of Keras' ExponentialDecay and optax's exponential_decay; `S.StepDecay` changes one
    update earlier.
    """

    __slots__ = ()

    def __init__(self, lr: float, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            step_size=positive_integer(step_size, "step_size"),
            gamma=positive(gamma, "gamma"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, step_size, gamma = self.parameters.values()
        return Exponential(lr, gamma, step_size, staircase=True)


class MultiStepLR(Translated, Schedule):
    """A factor at each milestone: ``lr·gamma^(number of milestones <= n)``.

    Parameters
    ----------
    lr : float
        Rate before the first milestone, >= 0.
    milestones : sequence of int
        >= 0, in any order; one that comes twice counts twice.
    gamma : float
        Factor, > 0.

    Examples
    --------
    >>> s = MultiStepLR(0.5, [60, 30, 30], gamma=0.5)
    >>> s(29), s(30), s(60)
    (0.5, 0.125, 0.0625)

    Notes
    -----
    Ends: update n = milestone is the first with the new rate.

    Elsewhere: as optax's piecewise_constant_schedule; Keras' PiecewiseConstantDecay changes one update later.
    """

    __slots__ = ()

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            milestones=tuple(sorted(_checks.each(natural)(milestones, "milestones"))),
            gamma=positive(gamma, "gamma"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, milestones, gamma = self.parameters.values()
        after = {milestone: count for count, milestone in enumerate(milestones, 1)}
        products = list(accumulate(repeat(gamma, len(milestones)), mul, initial=lr))
        return Piecewise([*after], [products[count] for count in (0, *after.values())])


class ConstantLR(Translated, Schedule):
    """A factor for the first updates: ``lr·factor`` for n < total_iters, then ``lr``.

    Parameters
    ----------
    lr : float
        Rate from total_iters on, >= 0.
    factor : float
        > 0 and <= 1.
    total_iters : int
        Updates with the factor, >= 0.

    Examples
    --------
    >>> s = ConstantLR(0.5, factor=0.5, total_iters=4)
    >>> s(3), s(4)
    (0.25, 0.5)

    Notes
    -----
    Ends: lr from n = total_iters on; with total_iters = 0 the factor stays for ever, as in torch. A factor of 0, which
    torch takes and divides by at total_iters, is a ValueError.

    Elsewhere: optax.constant_schedule and `S.Constant` have no factor.
    """

    __slots__ = ()

    def __init__(self, lr: float, factor: float = 1.0 / 3, total_iters: int = 5) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            factor=_checks.factor(factor, "factor"),
            total_iters=natural(total_iters, "total_iters"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, factor, total_iters = self.parameters.values()
        return Piecewise([total_iters], [lr * factor, lr]) if total_iters else Constant(lr * factor)


class LinearLR(Translated, Schedule):
    """A factor on a straight line: ``lr·(start_factor + (end_factor - start_factor)·min(n/total_iters, 1))``.

    Parameters
    ----------
    lr : float
        Rate where the factor is 1, >= 0.
    start_factor, end_factor : float
        First, > 0 and <= 1, and last, >= 0 and <= 1.
    total_iters : int
        Updates from one to the other, >= 0.

    Examples
    --------
    >>> s = LinearLR(0.5, start_factor=0.5, total_iters=4)
    >>> s(0), s(2), s(4)
    (0.25, 0.375, 0.5)

    Notes
    -----
    Ends: lr·start_factor at n = 0, lr·end_factor from n = total_iters on; with total_iters = 0 lr·start_factor stays
    for ever, as in torch.

    Elsewhere: optax's linear_schedule and `S.Linear` take rates, not factors.
    """

    __slots__ = ()

    def __init__(self, lr: float, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            start_factor=_checks.factor(start_factor, "start_factor"),
            end_factor=share(end_factor, "end_factor"),
            total_iters=natural(total_iters, "total_iters"),
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, start_factor, end_factor, total_iters = self.parameters.values()
        first = lr * start_factor
        return Linear(first, lr * end_factor, total_iters) if total_iters else Constant(first)


class ExponentialLR(Translated, Schedule):
    """A factor at every update: ``lr·gamma^n``.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    gamma : float
        Factor, > 0; above 1 the rate grows.

    Examples
    --------
    >>> ExponentialLR(0.5, gamma=0.5)(2)
    0.125

    Notes
    -----
    Ends: s(0) = lr, to no end.

    Elsewhere: Keras' ExponentialDecay, optax's exponential_decay and `S.Exponential` can spread gamma over more than
    one update.
    """

    __slots__ = ()

    def __init__(self, lr: float, gamma: float) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), gamma=positive(gamma, "gamma"))

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        return Exponential(*self.parameters.values())


class PolynomialLR(Translated, Schedule):
    """A power of what is left: ``lr·(1 - min(n/total_iters, 1))^power``.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    total_iters : int
        Updates to 0, >= 0.
    power : float
        Exponent, > 0.

    Examples
    --------
    >>> PolynomialLR(0.5, total_iters=4, power=2.0)(2)
    0.125

    Notes
    -----
    Ends: s(0) = lr, 0 from n = total_iters on; with total_iters = 0 lr for ever, as in torch.

    Elsewhere: Keras' PolynomialDecay, optax's polynomial_schedule and `S.Polynomial` have an end above 0.
    """

    __slots__ = ()

    def __init__(self, lr: float, total_iters: int = 5, power: float = 1.0) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"), total_iters=natural(total_iters, "total_iters"), power=positive(power, "power")
        )

    def native(self) -> Schedule:
        """Give the same schedule in terms of ours."""
        lr, total_iters, power = self.parameters.values()
        return Polynomial(lr, total_iters, power=power) if total_iters else Constant(lr)
