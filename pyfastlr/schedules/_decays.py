"""Schedules that fall (or, with their ends exchanged, rise) once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyfastlr.schedules._checks import flag, nonnegative, positive, positive_integer
from pyfastlr.schedules._schedule import Schedule, fill
from pyfastlr_kernels import curves


class TimeDecay(Schedule):
    """Rate divided at every update by a number that grows: ``lr/∏(1 + decay·k for k < n)``.

    It is the recurrence ``s(n+1) = s(n)/(1 + decay·n)``, evaluated without a loop and within 1e-12 of it.

    Parameters
    ----------
    lr : float
        Rate of the first two updates, >= 0.
    decay : float
        Growth per update, >= 0; 0 is a constant rate.

    Examples
    --------
    >>> s = TimeDecay(0.1, decay=0.5)
    >>> s(0), s(1), s(2) == 0.1 / 1.5, s(3) == 0.1 / 1.5 / 2
    (0.1, 0.1, True, True)

    Notes
    -----
    Ends: s(0) = s(1) = lr; falls faster than any exponential, to 0 by underflow.

    Elsewhere: none has it; Keras' old `decay` argument was lr/(1 + decay·n), here `InverseTime`.

    References
    ----------
    Common as "time-based decay" in course notes and blog posts; no first source is known.
    """

    __slots__ = ()
    curve = staticmethod(curves.time_decay)
    equation = "{lr}/∏(1 + {decay}·k for k < n)"

    def __init__(self, lr: float, decay: float) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), decay=nonnegative(decay, "decay"))


class InverseTime(Schedule):
    """Rate over a number that grows linearly: ``lr/(1 + decay·n)``.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    decay : float
        Growth per update, >= 0.

    Examples
    --------
    >>> InverseTime(0.1, decay=0.25)(4)
    0.05

    Notes
    -----
    Ends: s(0) = lr; falls like 1/n, to no end.

    Elsewhere: Keras' InverseTimeDecay(lr, k, r) has decay = r/k (and a staircase); optax and torch lack it.

    References
    ----------
    Robbins and Monro, A stochastic approximation method, 1951.
    """

    __slots__ = ()
    curve = staticmethod(curves.inverse_time)
    equation = "{lr}/(1 + {decay}·n)"

    def __init__(self, lr: float, decay: float) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), decay=nonnegative(decay, "decay"))


class Exponential(Schedule):
    """A factor every so many updates: ``lr·rate^(n/steps)``, or with `decay` instead of `rate` ``lr·e^(-decay·n)``.

    Parameters
    ----------
    lr : float
        Rate of the first update, >= 0.
    rate : float
        Factor per `steps` updates, > 0; above 1 the rate grows, as a range test wants it.
    steps : int
        Updates that `rate` is spread over, >= 1.
    staircase : bool
        The exponent is rounded down: the rate changes at n = steps, 2·steps, ...
    decay : float
        The other form, >= 0; without `rate`, `steps` and `staircase`.

    Examples
    --------
    >>> Exponential(0.1, 0.5, steps=10)(20)
    0.025
    >>> Exponential(0.1, 0.5, steps=10, staircase=True)(19)
    0.05
    >>> round(Exponential(1.0, decay=0.01)(100), 6)
    0.367879

    Notes
    -----
    Ends: s(0) = lr, to no end; with staircase it changes at n = steps, 2·steps, ...; with decay it is lr·e^(-decay·n).

    Elsewhere: torch's ExponentialLR has steps = 1; with staircase it is StepLR; Keras' ExponentialDecay and optax's
    exponential_decay are this (optax also clamps at an end value: `.clip`).

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
        steps: int = 1,
        staircase: bool = False,
        decay: float | None = None,
    ) -> None:
        if (rate is None) == (decay is None):
            raise TypeError(f"`rate` or `decay` must be given, and not both, got {rate!r} and {decay!r}")
        steps, staircase = positive_integer(steps, "steps"), flag(staircase, "staircase")
        if decay is None:
            form: dict[str, Any] = {"rate": positive(rate, "rate"), "steps": steps, "staircase": staircase}
        elif steps != 1 or staircase:
            raise TypeError(f"`steps` and `staircase` go with `rate`, not with `decay`, got {steps} and {staircase}")
        else:
            form = {"decay": nonnegative(decay, "decay")}
        super().__init__(lr=nonnegative(lr, "lr"), **form)

    def _bound(self) -> tuple[Callable[..., float], tuple[Any, ...]]:
        lr, *form = self.parameters.values()
        if len(form) == 1:
            return curves.exponential_decay, (lr, *form)
        rate, steps, staircase = form
        return curves.staircase if staircase else curves.exponential, (lr, rate, steps)

    @property
    def formula(self) -> str:
        """The schedule with its numbers, in one line."""
        if "decay" in self.parameters:
            return fill("{lr}·e^(-{decay}·n)", self.parameters)
        return fill("{lr}·{rate}^⌊n/{steps}⌋" if self.parameters["staircase"] else self.equation, self.parameters)


class Linear(Schedule):
    """A straight line: ``start + (end - start)·min(n/steps, 1)``.

    Parameters
    ----------
    start, end : float
        Rates, >= 0.
    steps : int
        Updates from one to the other, >= 1.

    Examples
    --------
    >>> s = Linear(0.5, 0.25, steps=2)
    >>> s(0), s(1), s(2), s(3)
    (0.5, 0.375, 0.25, 0.25)

    Notes
    -----
    Ends: s(0) = start; end from n = steps on.

    Elsewhere: torch's LinearLR takes factors of the rate, by default 1/3 to 1 in 5 updates; optax's linear_schedule is
    this.

    References
    ----------
    Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017 (rising, as a warm-up).
    """

    __slots__ = ()
    curve = staticmethod(curves.linear)
    equation = "{start} + ({end} - {start})·min(n/{steps}, 1)"

    def __init__(self, start: float, end: float, steps: int) -> None:
        super().__init__(
            start=nonnegative(start, "start"), end=nonnegative(end, "end"), steps=positive_integer(steps, "steps")
        )


class Polynomial(Schedule):
    """A power of what is left: ``end + (lr - end)·(1 - min(n/steps, 1))^power``.

    Parameters
    ----------
    lr, end : float
        First and last rate, >= 0.
    steps : int
        Updates from one to the other, >= 1.
    power : float
        Exponent, > 0; 1 is a straight line.

    Examples
    --------
    >>> Polynomial(0.1, steps=10, power=2.0)(5)
    0.025

    Notes
    -----
    Ends: s(0) = lr; end from n = steps on.

    Elsewhere: torch's PolynomialLR has no end, optax's polynomial_schedule is this, Keras' PolynomialDecay ends at 1e-4
    by default and can cycle.

    References
    ----------
    Liu, Rabinovich and Berg, ParseNet: looking wider to see better, 2015.
    """

    __slots__ = ()
    curve = staticmethod(curves.polynomial)
    equation = "{end} + ({lr} - {end})·(1 - min(n/{steps}, 1))^{power}"

    def __init__(self, lr: float, steps: int, end: float = 0.0, power: float = 1.0) -> None:
        super().__init__(
            lr=nonnegative(lr, "lr"),
            steps=positive_integer(steps, "steps"),
            end=nonnegative(end, "end"),
            power=positive(power, "power"),
        )


class Cosine(Schedule):
    """Half a period of the cosine: ``end + (lr - end)·(1 + cos(π·min(n/steps, 1)))/2``.

    Parameters
    ----------
    lr, end : float
        First and last rate, >= 0.
    steps : int
        Updates from one to the other, >= 1.

    Examples
    --------
    >>> s = Cosine(0.1, steps=100)
    >>> s(0), s(50), s(100), s(101)
    (0.1, 0.05, 0.0, 0.0)

    Notes
    -----
    Ends: s(0) = lr; end from n = steps on.

    Elsewhere: torch's CosineAnnealingLR rises again past T_max; optax and Keras give the end as a fraction alpha of lr.
    With warm-up, optax counts it in decay_steps, Keras and `.warmup` do not.

    References
    ----------
    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2016, equation 5.
    """

    __slots__ = ()
    curve = staticmethod(curves.cosine)
    equation = "{end} + ({lr} - {end})·(1 + cos(π·min(n/{steps}, 1)))/2"

    def __init__(self, lr: float, steps: int, end: float = 0.0) -> None:
        super().__init__(lr=nonnegative(lr, "lr"), steps=positive_integer(steps, "steps"), end=nonnegative(end, "end"))
