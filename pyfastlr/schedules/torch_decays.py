"""torch's schedulers that start from the optimizer's rate, `lr` here: see `pyfastlr.schedules.torch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, repeat
from operator import mul
from typing import Any, NoReturn

from pyfastlr_kernels import compat_curves

from .algebra import Constant, Product
from .base import Schedule
from .checks import choice, each, factor, function, natural, nonnegative, positive, positive_integer, share
from .compat import Translated, called
from .cycles import ANNEALS, CosineRestarts
from .decays import Cosine, Exponential, Linear, Polynomial
from .steps import Piecewise


def _milestones(value: Any, name: str) -> tuple[int, ...]:
    """Check for indices in any order; return them sorted."""
    return tuple(sorted(each(natural)(value, name)))


class StepLR(Translated, Schedule, lr=nonnegative, step_size=positive_integer, gamma=positive):
    """A factor of gamma every `step_size` updates: ``lr·gamma^⌊n/step_size⌋``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first change.
    step_size : int >= 1
        Updates between changes.
    gamma : float > 0, default 0.1
        Factor of each change. Above 1, the rate grows.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = StepLR(0.5, step_size=30, gamma=0.5)
    >>> s(29), s(30)
    (0.5, 0.25)

    Notes
    -----
    Ends: changes at n = step_size, 2·step_size, ...

    Elsewhere: same as the staircases of Keras' ExponentialDecay and optax's exponential_decay; `S.StepDecay` changes
    one update earlier.
    """

    __slots__ = ()

    def __init__(self, lr: float, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(lr=lr, step_size=step_size, gamma=gamma)

    @staticmethod
    def _ours(lr: float, step_size: int, gamma: float) -> Schedule:
        return Exponential(lr, gamma, step_size, staircase=True)


class MultiStepLR(Translated, Schedule, lr=nonnegative, milestones=_milestones, gamma=positive):
    """A factor of gamma at each milestone: ``lr·gamma^(number of milestones <= n)``.

    Parameters
    ----------
    lr : float >= 0
        Rate before the first milestone.
    milestones : sequence of int >= 0
        In any order; a milestone given twice counts twice.
    gamma : float > 0, default 0.1
        Factor at each milestone.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = MultiStepLR(0.5, [60, 30, 30], gamma=0.5)
    >>> s(29), s(30), s(60)
    (0.5, 0.125, 0.0625)

    Notes
    -----
    Ends: update n = milestone is the first with the new rate.

    Elsewhere: same as optax's piecewise_constant_schedule; Keras' PiecewiseConstantDecay changes one update later.
    """

    __slots__ = ()

    def __init__(self, lr: float, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(lr=lr, milestones=milestones, gamma=gamma)

    @staticmethod
    def _ours(lr: float, milestones: tuple[int, ...], gamma: float) -> Schedule:
        after = {milestone: count for count, milestone in enumerate(milestones, 1)}
        products = list(accumulate(repeat(gamma, len(milestones)), mul, initial=lr))
        return Piecewise([*after], [products[count] for count in (0, *after.values())])


class ConstantLR(Translated, Schedule, lr=nonnegative, factor=factor, total_iters=natural):
    """A constant factor for the first updates: ``lr·factor`` for n < total_iters, then ``lr``.

    Parameters
    ----------
    lr : float >= 0
        Rate from total_iters on.
    factor : float > 0 and <= 1, default 1/3
    total_iters : int >= 0, default 5
        Updates with the factor.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = ConstantLR(0.5, factor=0.5, total_iters=4)
    >>> s(3), s(4)
    (0.25, 0.5)

    Notes
    -----
    Ends: lr from n = total_iters on; with total_iters = 0, the factor stays forever, as in torch. A factor of 0 is a
    ValueError; torch accepts it and divides by it at total_iters.

    Elsewhere: optax.constant_schedule and `S.Constant` have no factor.
    """

    __slots__ = ()

    def __init__(self, lr: float, factor: float = 1.0 / 3, total_iters: int = 5) -> None:
        super().__init__(lr=lr, factor=factor, total_iters=total_iters)

    @staticmethod
    def _ours(lr: float, factor: float, total_iters: int) -> Schedule:
        return Piecewise([total_iters], [lr * factor, lr]) if total_iters else Constant(lr * factor)


class LinearLR(Translated, Schedule, lr=nonnegative, start_factor=factor, end_factor=share, total_iters=natural):
    """A factor that changes linearly: ``lr·(start_factor + (end_factor - start_factor)·min(n/total_iters, 1))``.

    Parameters
    ----------
    lr : float >= 0
        Rate where the factor is 1.
    start_factor : float > 0 and <= 1, default 1/3
    end_factor : float >= 0 and <= 1, default 1
    total_iters : int >= 0, default 5
        Updates from one factor to the other.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = LinearLR(0.5, start_factor=0.5, total_iters=4)
    >>> s(0), s(2), s(4)
    (0.25, 0.375, 0.5)

    Notes
    -----
    Ends: lr·start_factor at n = 0, lr·end_factor from n = total_iters on; with total_iters = 0, always lr·start_factor,
    as in torch.

    Elsewhere: optax's linear_schedule and `S.Linear` take rates, not factors.
    """

    __slots__ = ()

    def __init__(self, lr: float, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5) -> None:
        super().__init__(lr=lr, start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)

    @staticmethod
    def _ours(lr: float, start_factor: float, end_factor: float, total_iters: int) -> Schedule:
        first = lr * start_factor
        return Linear(first, lr * end_factor, total_iters) if total_iters else Constant(first)


class ExponentialLR(Translated, Schedule, lr=nonnegative, gamma=positive):
    """Exponential decay: ``lr·gamma^n``.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    gamma : float > 0
        Factor per update. Above 1, the rate grows.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> ExponentialLR(0.5, gamma=0.5)(2)
    0.125

    Notes
    -----
    Ends: s(0) = lr, no last rate.

    Elsewhere: Keras' ExponentialDecay, optax's exponential_decay and `S.Exponential` can spread gamma over more than
    one update.
    """

    __slots__ = ()
    _ours = Exponential

    def __init__(self, lr: float, gamma: float) -> None:
        super().__init__(lr=lr, gamma=gamma)


class PolynomialLR(Translated, Schedule, lr=nonnegative, total_iters=natural, power=positive):
    """Polynomial decay to 0: ``lr·(1 - min(n/total_iters, 1))^power``.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    total_iters : int >= 0, default 5
        Updates to 0.
    power : float > 0, default 1
        Exponent.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> PolynomialLR(0.5, total_iters=4, power=2.0)(2)
    0.125

    Notes
    -----
    Ends: s(0) = lr, 0 from n = total_iters on; with total_iters = 0, always lr, as in torch.

    Elsewhere: Keras' PolynomialDecay, optax's polynomial_schedule and `S.Polynomial` can end above 0.
    """

    __slots__ = ()

    def __init__(self, lr: float, total_iters: int = 5, power: float = 1.0) -> None:
        super().__init__(lr=lr, total_iters=total_iters, power=power)

    @staticmethod
    def _ours(lr: float, total_iters: int, power: float) -> Schedule:
        return Polynomial(lr, total_iters, power=power) if total_iters else Constant(lr)


# --- Cosines ---------------------------------------------------------------------------------------------------------


class CosineAnnealingLR(Schedule, lr=nonnegative, T_max=positive_integer, eta_min=nonnegative):
    """A cosine that falls and rises again: ``eta_min + (lr - eta_min)·(1 + cos(π·n/T_max))/2``.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    T_max : int >= 1
        Updates of the fall.
    eta_min : float >= 0, default 0
        Rate at the end of the fall.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineAnnealingLR(0.5, T_max=10)
    >>> s(0), s(5), s(10), s(15), s(20)
    (0.5, 0.25, 0.0, 0.25, 0.5)

    Notes
    -----
    Ends: eta_min at n = T_max, 3·T_max, ..., lr at 2·T_max, 4·T_max, ...; never stops.

    Elsewhere: Keras' CosineDecay, optax's cosine_decay_schedule and `S.Cosine` stay at the last rate. torch computes
    each rate from the previous one. From the first rise on, it drifts away from this formula, by about 1e-12 of lr in
    3,000 updates.
    """

    __slots__ = ()
    curve = staticmethod(compat_curves.cosine_wave)
    equation = "{eta_min} + ({lr} - {eta_min})·(1 + cos(π·n/{T_max}))/2"

    def __init__(self, lr: float, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(lr=lr, T_max=T_max, eta_min=eta_min)


class CosineAnnealingWarmRestarts(
    Translated, Schedule, lr=nonnegative, T_0=positive_integer, T_mult=positive_integer, eta_min=nonnegative
):
    """Cosine with restarts: ``eta_min + (lr - eta_min)·(1 + cos(π·m/(T_0·T_mult^i)))/2`` at update m of cycle i.

    Parameters
    ----------
    lr : float >= 0
        Rate at the start of every cycle.
    T_0 : int >= 1
        Updates in the first cycle.
    T_mult : int >= 1, default 1
        Length of each cycle divided by that of the one before.
    eta_min : float >= 0, default 0
        Rate that each cycle falls towards.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = CosineAnnealingWarmRestarts(0.5, T_0=10, T_mult=2)
    >>> s(0), s(5), s(10), s(20), s(30)
    (0.5, 0.25, 0.5, 0.25, 0.5)

    Notes
    -----
    Ends: s = lr at a restart, which comes where the cosine would reach eta_min; never stops.

    Elsewhere: Keras' CosineDecayRestarts, optax's sgdr_schedule and `S.CosineRestarts` can also lower the peaks.
    """

    __slots__ = ()

    def __init__(self, lr: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        super().__init__(lr=lr, T_0=T_0, T_mult=T_mult, eta_min=eta_min)

    @staticmethod
    def _ours(lr: float, T_0: int, T_mult: int, eta_min: float) -> Schedule:
        return CosineRestarts(lr, T_0, T_mult, end=eta_min)


class SWALR(
    Translated, Schedule, lr=nonnegative, swa_lr=nonnegative, anneal_epochs=natural, anneal_strategy=choice(*ANNEALS)
):
    """From the training rate to the averaging rate: ``swa_lr + (lr - swa_lr)·f(min(n/anneal_epochs, 1))``.

    Parameters
    ----------
    lr, swa_lr : float >= 0
        First and last rate.
    anneal_epochs : int >= 0, default 10
        Updates from one to the other.
    anneal_strategy : {"cos", "linear"}
        f(x): (1 + cos(π·x))/2 or 1 - x.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = SWALR(0.5, swa_lr=0.25, anneal_epochs=4, anneal_strategy="linear")
    >>> s(0), s(2), s(4)
    (0.5, 0.375, 0.25)

    Notes
    -----
    Ends: lr at n = 0 (swa_lr if anneal_epochs = 0), swa_lr from n = anneal_epochs on.

    Elsewhere: Keras and optax lack it; `S.Cosine` or `S.Linear` does the same here.
    """

    __slots__ = ()

    def __init__(self, lr: float, swa_lr: float, anneal_epochs: int = 10, anneal_strategy: str = "cos") -> None:
        super().__init__(lr=lr, swa_lr=swa_lr, anneal_epochs=anneal_epochs, anneal_strategy=anneal_strategy)

    @staticmethod
    def _ours(lr: float, swa_lr: float, anneal_epochs: int, anneal_strategy: str) -> Schedule:
        if anneal_epochs == 0:
            return Constant(swa_lr)
        return Cosine(lr, anneal_epochs, swa_lr) if anneal_strategy == "cos" else Linear(lr, swa_lr, anneal_epochs)


# --- Any function ----------------------------------------------------------------------------------------------------


def LambdaLR(lr: float, lr_lambda: Callable[[int], float]) -> Schedule:
    """Any function of n as a factor: ``lr·lr_lambda(n)``.

    Parameters
    ----------
    lr : float >= 0
        Rate where the factor is 1.
    lr_lambda : callable
        Maps n to the factor; called once per update. A list of callables is not accepted.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> LambdaLR(0.5, lambda n: 1 / (1 + n))(1)
    0.25

    Notes
    -----
    Ends: those of the function.

    Elsewhere: in optax and Keras, any function is a schedule; same as `lr * S.as_schedule(lr_lambda)` here.
    """
    return Product(function(lr_lambda, "lr_lambda"), nonnegative(lr, "lr"))


class MultiplicativeLR(Schedule, lr=nonnegative, lr_lambda=called):
    """The product of any function's values: ``lr·∏(lr_lambda(k) for 1 <= k <= n)``.

    A product of arbitrary factors has no closed form. The last product is kept, so a run calls the function once per
    update, but a smaller n starts again from 1. There is no `compiled`.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    lr_lambda : callable
        Maps n to the factor. A list of callables is not accepted.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = MultiplicativeLR(1.0, lambda n: 1 / n)
    >>> s(0), s(1), s(2), s(4) == 1 / 2 / 3 / 4
    (1.0, 1.0, 0.5, True)

    Notes
    -----
    Ends: s(0) = lr. lr_lambda(0) is not called, except in a SequentialLR at its milestone.

    Elsewhere: Keras and optax lack it; with a constant factor, same as `S.Exponential`.
    """

    __slots__ = ()
    equation = "{lr}·∏(λ(k) for 1 <= k <= n); λ(n) = {lr_lambda}"

    def __init__(self, lr: float, lr_lambda: Callable[[int], float]) -> None:
        super().__init__(lr=lr, lr_lambda=lr_lambda)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, factor = self.parameters.values()
        last = 0, lr  # replaced as a whole: threads may repeat work, but never see an index with another's product

        def product(n: int) -> float:
            nonlocal last
            k, value = last
            if k > n:
                k, value = 0, lr
            while k < n:
                k += 1
                value *= factor(k)
            last = k, value
            return float(value)

        return product, ()

    @property
    def compiled(self) -> NoReturn:
        """Raise TypeError, because it would multiply from the start at every update."""
        raise TypeError("MultiplicativeLR cannot be compiled: write a Schedule class with the product in closed form")
