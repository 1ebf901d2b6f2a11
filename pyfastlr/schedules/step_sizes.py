"""Controllers that compute the rate from a formula: Polyak's, from the loss, and Barzilai and Borwein's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from . import checks
from .base import RateLike
from .controller import Controller, observed
from .gradients import Bounded, Remembering, Tensors, difference, dot, vectors

_finite = checks.number("a finite number")
_growth = checks.optional(checks.number("a finite number > 1, or None", math.nextafter(1.0, 2.0)))
_formula = checks.choice("BB1", "BB2", "alternating")


class Polyak(Bounded):
    """The step size of Polyak, and its stochastic form SPS: the gap to the smallest loss over the squared gradient.

    ::

        rate = min((loss - f_min) / (c·|g|²), base(n))

    clipped to `low` and `high`. Call ``observe(loss=..., grads=g)`` before each step, with the loss and gradient of the
    batch of that step. It is for SGD without momentum, decay and clipping.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        Largest rate, and the rate before the first observation. Polyak's rate has no such bound: give a large one.
    f_min : float
        Smallest loss that is possible. For the stochastic form, that of each batch alone: 0 for networks that can fit
        every batch. A lower bound is safe if it is close; too low makes rates too large.
    c : float > 0
        1 is Polyak's step. SPS has at least 0.5: 0.5 is fastest on strongly convex losses.
    growth : float > 1 or None
        Most by which one observation raises the rate. Loizou et al. use 2**(batch size / number of examples), so that
        the rate doubles at most once per epoch.
    low : float >= 0
        Lower bound of the rate.
    high : float > 0 or None
        Upper bound of the rate, besides `base`; None for no other bound.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S
    >>> p = np.array([3.0, -4.0])
    >>> rate = S.Polyak(1e3)
    >>> opt = flr.SGD(p, lr=rate)
    >>> for _ in range(20):
    ...     loss, g = np.abs(p).sum(), np.sign(p)  # a loss with a kink, for which no fixed rate converges
    ...     changed = rate.observe(loss=loss, grads=g)
    ...     opt.step(g)
    >>> float(np.abs(p).max()) < 1e-5
    True

    Notes
    -----
    An observation with NaN or infinity is ignored, and so is a gradient of zero. A loss below `f_min` gives the rate
    `low`.

    Sources: B. T. Polyak, Introduction to Optimization, 1987, section 5.3; N. Loizou, S. Vaswani, I. Laradji and S.
    Lacoste-Julien, Stochastic Polyak Step-size for SGD, 2021: with a `base` it is their SPS_max. optax has
    ``polyak_sgd(max_learning_rate=base / c, scaling=c)``. torch and Keras do not have it.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Bounded.defaults, "f_min": 0.0, "c": 1.0, "growth": None}
    acted = "observation ignored"

    def __init__(
        self,
        base: RateLike | Controller,
        f_min: float = 0.0,
        c: float = 1.0,
        growth: float | None = None,
        low: float = 0.0,
        high: float | None = None,
    ) -> None:
        super().__init__(
            base, {"rate": None}, low, high,
            f_min=_finite(f_min, "f_min"), c=checks.positive(c, "c"), growth=_growth(growth, "growth"),
        )  # fmt: skip

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        return base if state["rate"] is None else min(base, state["rate"])

    def observe(self, loss: Any, grads: Any, **others: Any) -> bool:  # type: ignore[override]
        """Observe the loss and gradient of the next step, before that step.

        Parameters
        ----------
        loss : float
        grads : array, dict or list of arrays, or Flat
            float32 or float64. Leaves may be None; they count as zeros.

        Returns
        -------
        bool
            Whether the rate changed.

        Raises
        ------
        TypeError, ValueError
            If a value is not a number or an array. Nothing changes then.
        """
        value, arrays = observed(loss, "loss"), Tensors.of(grads, "grads").arrays
        square = self.arguments["c"] * dot(arrays, arrays)
        gap = max(value - self.arguments["f_min"], 0.0)
        if not (math.isfinite(value) and 0.0 < square < math.inf and math.isfinite(gap / square)):
            return self._ignore()
        return self._take({"rate": _grown(gap / square, self._rate(self._n), self.arguments["growth"])})

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with a rate in range."""
        return _with_rate(super().checked_state(d))


class BarzilaiBorwein(Remembering):
    """The step sizes of Barzilai and Borwein: the inverse of the curvature along the last step.

    With the last step s and the change y of the gradient along it ::

        BB1:  rate = s·s / s·y
        BB2:  rate = s·y / y·y

    clipped to `low` and `high`. "alternating" takes BB1 and BB2 in turn. Call ``observe(grads=g)`` before each step of
    SGD; then s is the last gradient times the last rate. With momentum, or another optimizer, call
    ``observe(grads=g, params=p)``.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The rate until there are two gradients. Later ones do not depend on it.
    formula : {"BB1", "BB2", "alternating"}
        BB1 is the longer step.
    growth : float > 1 or None
        Most by which one observation raises the rate.
    low : float >= 0
        Lower bound of the rate.
    high : float > 0 or None
        Upper bound of the rate; None for no bound.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S
    >>> h, p = np.array([1.0, 10.0, 100.0]), np.ones(3)
    >>> rate = S.BarzilaiBorwein(1e-3)
    >>> opt = flr.SGD(p, lr=rate)
    >>> for _ in range(40):
    ...     changed = rate.observe(grads=h * p)
    ...     opt.step(h * p)
    >>> float(np.abs(p).max()) < 1e-8  # the best fixed rate comes to 0.45
    True

    Notes
    -----
    The loss does not fall in every step, even on a quadratic: that is how it gets fast. So the method is for gradients
    of all data, or of large batches. Where the curvature s·y is not positive, the rate stays. A gradient with NaN or
    infinity is ignored. On losses that are not quadratic, bound it by `high` or `growth`, or search along each step
    with `tune.line_search`.

    The controller keeps a copy of one gradient, and with `params` of the parameters too.

    Sources: J. Barzilai and J. Borwein, Two-Point Step Size Gradient Methods, 1988; M. Raydan, The Barzilai and Borwein
    Gradient Method for the Large Scale Unconstrained Minimization Problem, 1997, for the bounds; Y.-H. Dai and R.
    Fletcher, Projected Barzilai-Borwein methods, 2005, for alternating. torch, Keras and optax do not have it.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Remembering.defaults, "formula": "BB1", "growth": None}

    def __init__(
        self,
        base: RateLike | Controller,
        formula: str = "BB1",
        growth: float | None = None,
        low: float = 0.0,
        high: float | None = None,
    ) -> None:
        super().__init__(
            base, {"rate": None, "grads": None, "pairs": 0, **self.nothing}, low, high,
            formula=_formula(formula, "formula"), growth=_growth(growth, "growth"),
        )  # fmt: skip

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        return base if state["rate"] is None else float(state["rate"])

    def observe(self, grads: Any, params: Any = None, **others: Any) -> bool:  # type: ignore[override]
        """Observe the gradient of the next step, before that step.

        Parameters
        ----------
        grads : array, dict or list of arrays, or Flat
            float32 or float64. Leaves may be None; they count as zeros.
        params : like grads, optional
            The parameters at which the gradient was computed.

        Returns
        -------
        bool
            Whether the rate changed.

        Raises
        ------
        TypeError, ValueError
            If a value is not an array, or names or shapes differ from the first call. Nothing changes then.
        """
        g, state, moved = self._observed(grads, "grads"), self.state, params is not None
        now = self._observed(params, "params").in_order_of(g.names, g.shapes, "params") if moved else g
        if math.isnan(dot(g.arrays, g.arrays)) or (moved and math.isnan(dot(now.arrays, now.arrays))):
            return self._ignore()
        new = {**state, **self._kept(now), "of": "params" if moved else "grads"}
        new["grads"] = g.copied().arrays if moved else None
        if state["last"] is not None and state["of"] == new["of"]:
            last = self._rate(self._n)
            if moved:
                s, y, unit = difference(now.arrays, state["last"]), difference(g.arrays, state["grads"]), 1.0
            else:  # s = -rate·last, y = g - last
                s, y, unit = list(state["last"]), difference(state["last"], g.arrays), last
            found = self._formula(dot(s, s), dot(s, y), dot(y, y), state["pairs"]) * unit
            if found > 0.0 and math.isfinite(found):
                new |= {"rate": _grown(found, last, self.arguments["growth"]), "pairs": state["pairs"] + 1}
        return self._take(new)

    def _formula(self, ss: float, sy: float, yy: float, pairs: int) -> float:
        """Rate from the products; NaN without positive curvature."""
        if not (ss > 0.0 and sy > 0.0 and yy > 0.0):
            return math.nan
        formula = self.arguments["formula"]
        return ss / sy if formula == "BB1" or (formula == "alternating" and pairs % 2 == 0) else sy / yy

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with a rate in range, and a gradient that fits the parameters."""
        state = _with_rate(super().checked_state(d))
        if (state["grads"] is not None) != (state["last"] is not None and state["of"] == "params"):
            raise ValueError("the state 'grads' of BarzilaiBorwein must be there if 'of' is 'params', and only then")
        if state["grads"] is not None:
            state["grads"] = vectors(state["grads"], state["shapes"], "grads", type(self).__name__)
        return state


def _grown(rate: float, last: float, growth: float | None) -> float:
    """Rate that is at most `growth` times the last one. From a rate of 0, it may be anything."""
    return rate if growth is None or last <= 0.0 else min(rate, growth * last)


def _with_rate(state: dict[str, Any]) -> dict[str, Any]:
    rate = state["rate"]
    return {**state, "rate": None if rate is None else checks.nonnegative(rate, "state['rate']")}
