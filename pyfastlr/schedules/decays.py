"""Schedules that go in one direction: down, or up if their ends are swapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr_kernels import curves

from .base import Schedule
from .checks import flag, nonnegative, number, positive, updates

bounded = number("a number >= -300 and <= 300", -300.0, 300.0)  # e^600 is finite


def unless_one(exponent: Any, name: str) -> dict[str, float]:
    """Check an exponent; return it by name, or nothing if it is 1.

    So the text, the JSON and the curve of the schedules that do not use this option are those without it.
    """
    value: float = positive(exponent, name)
    return {} if value == 1.0 else {name: value}


class TimeDecay(Schedule, lr=nonnegative, decay=nonnegative):
    """Rate divided by a larger number at each update: ``lr/∏(1 + decay·k for k < n)``.

    This is the recurrence ``s(n+1) = s(n)/(1 + decay·n)``, evaluated without a loop to within 1e-12.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first two updates.
    decay : float >= 0
        Growth of the divisor per update.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = TimeDecay(0.1, decay=0.5)
    >>> s(0), s(1), s(2) == 0.1 / 1.5, s(3) == 0.1 / 1.5 / 2
    (0.1, 0.1, True, True)

    Notes
    -----
    Ends: s(0) = s(1) = lr; falls faster than any exponential, until it underflows to 0.

    Elsewhere: not in torch, Keras or optax; Keras' old `decay` argument was lr/(1 + decay·n), here `InverseTime`.

    References
    ----------
    Common as "time-based decay" in course notes and blog posts; no first source is known.
    """

    __slots__ = ()
    curve = staticmethod(curves.time_decay)
    equation = "{lr}/∏(1 + {decay}·k for k < n)"

    def __init__(self, lr: float, decay: float) -> None:
        super().__init__(lr=lr, decay=decay)


class InverseTime(Schedule, lr=nonnegative, decay=nonnegative, power=positive):
    """Rate divided by a power of a number that grows linearly: ``lr/(1 + decay·n)^power``.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    decay : float >= 0
        Growth of the number per update.
    power : float > 0, default 1
        Exponent.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> InverseTime(0.1, decay=0.25)(4)
    0.05
    >>> InverseTime(0.1, decay=1.0, power=0.5)(3)
    0.05

    Notes
    -----
    Ends: s(0) = lr; falls like n^-power without end.

    Elsewhere: Keras' InverseTimeDecay(lr, k, r) has decay = r/k (and a staircase); optax and torch lack it.
    scikit-learn's "invscaling" has decay = 1 and power = power_t, and counts samples. Its MLPs change the rate once per
    epoch: there, decay is the number of samples, with `.every`.

    References
    ----------
    Robbins and Monro, A stochastic approximation method, 1951.
    """

    __slots__ = ()
    equation = "{lr}/(1 + {decay}·n)"

    def __init__(self, lr: float, decay: float, power: float = 1.0) -> None:
        super().__init__(lr=lr, decay=decay, **unless_one(power, "power"))

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        curve = curves.inverse_power if "power" in self.parameters else curves.inverse_time
        return curve, tuple(self.parameters.values())

    def _equation(self) -> str:
        return self.equation + "^{power}" if "power" in self.parameters else self.equation


class Exponential(Schedule, lr=nonnegative, rate=positive, steps=updates, staircase=flag, decay=nonnegative):
    """Exponential decay: ``lr·rate^(n/steps)``, or ``lr·e^(-decay·n)`` if `decay` is given instead of `rate`.

    Parameters
    ----------
    lr : float >= 0
        Rate of the first update.
    rate : float > 0
        Factor per `steps` updates. Above 1 the rate grows, as for a range test.
    steps : float >= 1e-6, default 1
        Updates over which the rate changes by the factor `rate`; need not be an integer.
    staircase : bool, default False
        Round the exponent down.
    decay : float >= 0
        Exponent of the second form, without `rate`, `steps` and `staircase`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if not exactly one of `rate` and `decay` is given.

    Examples
    --------
    >>> Exponential(0.1, 0.5, steps=10)(20)
    0.025
    >>> Exponential(0.1, 0.5, steps=10, staircase=True)(19)
    0.05
    >>> Exponential(0.1, 0.5, steps=2.5)(5)
    0.025
    >>> round(Exponential(1.0, decay=0.01)(100), 6)
    0.367879

    Notes
    -----
    Ends: s(0) = lr, no last rate; with staircase, s changes at n = steps, 2·steps, ...; with decay, s is
    lr·e^(-decay·n).

    Elsewhere: torch's ExponentialLR has steps = 1; with staircase, same as torch's StepLR; same as Keras'
    ExponentialDecay and optax's exponential_decay (optax can also clamp at an end value; here, use `.clip`).

    References
    ----------
    Senior et al., An empirical study of learning rates in deep neural networks for speech recognition, 2013.
    """

    __slots__ = ()
    equation = "{lr}·{rate}^(n/{steps})"

    def __init__(
        self,
        lr: float,
        rate: float | None = None,
        steps: float = 1,
        staircase: bool = False,
        decay: float | None = None,
    ) -> None:
        if (rate is None) == (decay is None):
            raise TypeError(f"exactly one of `rate` and `decay` must be given, got {rate!r} and {decay!r}")
        steps, staircase = updates(steps, "steps"), flag(staircase, "staircase")
        if decay is None:
            super().__init__(lr=lr, rate=rate, steps=steps, staircase=staircase)
        elif steps != 1 or staircase:
            raise TypeError(f"`steps` and `staircase` must not be given with `decay`, got {steps} and {staircase}")
        else:
            super().__init__(lr=lr, decay=decay)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, *form = self.parameters.values()
        if len(form) == 1:
            return curves.exponential_decay, (lr, *form)
        rate, steps, staircase = form
        curve = curves.exponential
        if staircase:
            curve = curves.staircase if isinstance(steps, int) else curves.staircase_fractional
        return curve, (lr, rate, steps)

    def _equation(self) -> str:
        if "decay" in self.parameters:
            return "{lr}·e^(-{decay}·n)"
        return "{lr}·{rate}^⌊n/{steps}⌋" if self.parameters["staircase"] else self.equation


class Linear(Schedule, start=nonnegative, end=nonnegative, steps=updates):
    """A straight line: ``start + (end - start)·min(n/steps, 1)``.

    Parameters
    ----------
    start, end : float >= 0
        First and last rate.
    steps : float >= 1e-6
        Updates from one to the other; need not be an integer.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = Linear(0.5, 0.25, steps=2)
    >>> s(0), s(1), s(2), s(3)
    (0.5, 0.375, 0.25, 0.25)

    Notes
    -----
    Ends: s(0) = start; end from n = steps on.

    Elsewhere: same as optax's linear_schedule; torch's LinearLR takes factors of the rate, by default 1/3 to 1 in
    5 updates.

    References
    ----------
    Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017 (rising, as a warm-up).
    """

    __slots__ = ()
    curve = staticmethod(curves.linear)
    equation = "{start} + ({end} - {start})·min(n/{steps}, 1)"

    def __init__(self, start: float, end: float, steps: float) -> None:
        super().__init__(start=start, end=end, steps=steps)


class Polynomial(Schedule, lr=nonnegative, steps=updates, end=nonnegative, power=positive, k_decay=positive):
    """Polynomial decay: ``end + (lr - end)·(1 - min(n/steps, 1))^power``.

    Parameters
    ----------
    lr : float >= 0
        First rate.
    steps : float >= 1e-6
        Updates from the first rate to the last; need not be an integer.
    end : float >= 0, default 0
        Last rate.
    power : float > 0, default 1
        Exponent; 1 gives a straight line.
    k_decay : float > 0, default 1
        Exponent of the fraction n/steps. Above 1, the rate stays high for longer.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> Polynomial(0.1, steps=10, power=2.0)(5)
    0.025

    Notes
    -----
    Ends: s(0) = lr; end from n = steps on.

    Elsewhere: same as optax's polynomial_schedule; torch's PolynomialLR ends at 0; Keras' PolynomialDecay ends at 1e-4
    by default and can cycle; timm's PolyLRScheduler has k_decay too.

    References
    ----------
    Liu, Rabinovich and Berg, ParseNet: looking wider to see better, 2015; Zhang and Li, k-decay: a new method for
    learning rate schedule, 2020.
    """

    __slots__ = ()
    equation = "{end} + ({lr} - {end})·(1 - min(n/{steps}, 1))^{power}"

    def __init__(self, lr: float, steps: float, end: float = 0.0, power: float = 1.0, k_decay: float = 1.0) -> None:
        super().__init__(lr=lr, steps=steps, end=end, power=power, **unless_one(k_decay, "k_decay"))

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        curve = curves.polynomial_delayed if "k_decay" in self.parameters else curves.polynomial
        return curve, tuple(self.parameters.values())

    def _equation(self) -> str:
        return _delayed(self.equation) if "k_decay" in self.parameters else self.equation


class Cosine(Schedule, lr=nonnegative, steps=updates, end=nonnegative, k_decay=positive):
    """Cosine decay: ``end + (lr - end)·(1 + cos(π·min(n/steps, 1)))/2``.

    Parameters
    ----------
    lr : float >= 0
        First rate.
    steps : float >= 1e-6
        Updates from the first rate to the last; need not be an integer.
    end : float >= 0, default 0
        Last rate.
    k_decay : float > 0, default 1
        Exponent of the fraction n/steps. Above 1, the rate stays high for longer.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = Cosine(0.1, steps=100)
    >>> s(0), s(50), s(100), s(101)
    (0.1, 0.05, 0.0, 0.0)
    >>> round(Cosine(0.1, steps=100, k_decay=2.0)(50), 6)
    0.085355

    Notes
    -----
    Ends: s(0) = lr; end from n = steps on.

    Elsewhere: torch's CosineAnnealingLR rises again after T_max; optax and Keras give the end as a fraction alpha of
    lr. optax's decay_steps include the warm-up; those of Keras and of `.warmup` do not. timm's CosineLRScheduler has
    k_decay too.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016, equation 5; Zhang and Li,
    k-decay: a new method for learning rate schedule, 2020.
    """

    __slots__ = ()
    equation = "{end} + ({lr} - {end})·(1 + cos(π·min(n/{steps}, 1)))/2"

    def __init__(self, lr: float, steps: float, end: float = 0.0, k_decay: float = 1.0) -> None:
        super().__init__(lr=lr, steps=steps, end=end, **unless_one(k_decay, "k_decay"))

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        curve = curves.cosine_delayed if "k_decay" in self.parameters else curves.cosine
        return curve, tuple(self.parameters.values())

    def _equation(self) -> str:
        return _delayed(self.equation) if "k_decay" in self.parameters else self.equation


def _delayed(equation: str) -> str:
    """Return the equation with k-decay."""
    return equation.replace("min(n/{steps}, 1)", "min(n/{steps}, 1)^{k_decay}")


class Tanh(Schedule, lr=nonnegative, steps=updates, end=nonnegative, lower=bounded, upper=bounded):
    """Decay along the hyperbolic tangent: ``end + (lr - end)·(1 - tanh(lower + (upper - lower)·n/steps))/2``.

    Parameters
    ----------
    lr : float >= 0
        Rate that the schedule starts just below.
    steps : float >= 1e-6
        Updates before `end`; need not be an integer.
    end : float >= 0, default 0
        Last rate.
    lower, upper : float >= -300 and <= 300, default -7 and 3
        Arguments of the hyperbolic tangent at n = 0 and at n = steps; `upper` must be the larger.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, or if `upper` is not above `lower`.

    Examples
    --------
    >>> s = Tanh(0.1, steps=100)
    >>> round(s(0), 9), round(s(70), 9), round(s(99), 6), s(100)
    (0.099999917, 0.05, 0.000302, 0.0)

    Notes
    -----
    Ends: s(0) is below lr by 8e-7 of lr - end (with lower = -7); just before n = steps, the rate is above end by
    2.5e-3 of it (with upper = 3); end from n = steps on.

    Elsewhere: timm's TanhLRScheduler can also restart; torch, Keras and optax lack it.

    References
    ----------
    Hsueh, Li and Wu, Stochastic gradient descent with hyperbolic-tangent decay on classification, 2018.
    """

    __slots__ = ()
    curve = staticmethod(curves.tanh_decay)
    equation = (
        "{end} + ({lr} - {end})·(1 - tanh({lower} + ({upper} - {lower})·n/{steps}))/2 for n < {steps}, then {end}"
    )

    def __init__(self, lr: float, steps: float, end: float = 0.0, lower: float = -7.0, upper: float = 3.0) -> None:
        super().__init__(lr=lr, steps=steps, end=end, lower=lower, upper=upper)
        *_, low, high = self.parameters.values()
        if not low < high:
            raise ValueError(f"`upper` must be above `lower` ({low}), got {high}")


class REX(Schedule, lr=nonnegative, steps=updates, end=nonnegative):
    """Reflected exponential decay: ``end + (lr - end)·2z/(1 + z)``, where ``z = 1 - min(n/steps, 1)``.

    Parameters
    ----------
    lr : float >= 0
        First rate.
    steps : float >= 1e-6
        Updates from the first rate to the last; need not be an integer.
    end : float >= 0, default 0
        Last rate.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> s = REX(0.3, steps=100)
    >>> s(0), round(s(50), 9), s(100)
    (0.3, 0.2, 0.0)

    Notes
    -----
    Ends: s(0) = lr; end from n = steps on.

    Elsewhere: not in torch, Keras, optax, timm or transformers; pytorch_optimizer's REXScheduler is the same.

    References
    ----------
    Chen, Wolfe and Kyrillidis, REX: revisiting budgeted training with an improved schedule, 2021.
    """

    __slots__ = ()
    curve = staticmethod(curves.rex)
    equation = "{end} + ({lr} - {end})·2·(1 - min(n/{steps}, 1))/(2 - min(n/{steps}, 1))"

    def __init__(self, lr: float, steps: float, end: float = 0.0) -> None:
        super().__init__(lr=lr, steps=steps, end=end)
