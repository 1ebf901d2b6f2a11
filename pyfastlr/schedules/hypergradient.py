"""Controllers that learn the rate from gradients during a run: by the hypergradient, and by the cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from . import checks
from .base import RateLike
from .controller import Controller
from .gradients import Remembering, Sight

_mode = checks.choice("additive", "multiplicative")
STEP = 0.02  # default of `beta` in multiplicative mode


class Hypergradient(Remembering):
    """Learn the rate by gradient descent on it: raise it while the direction of the last step still lowers the loss.

    h = g·d is the negative derivative of the loss with respect to the rate of the last step. g is the current gradient,
    and d the direction of that step, p -= rate·d. The rate is ::

        additive:        base(n) + δ    δ += beta·h
        multiplicative:  base(n)·σ      σ *= 1 + beta·h/(|g|·|d|)

    clipped to `low` and `high`. Call ``observe(grads=g)`` once before each step. Then d is the last gradient, which is
    correct for SGD without momentum. With ``observe(grads=g, params=p)``, d is (p_before - p)/rate, which is correct
    for every optimizer, including momentum, decay and `lr_scale`.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The initial rate.
    beta : float > 0
        Step size of the learning. In multiplicative mode it is below 1, by default 0.02: one step changes the rate by
        at most that fraction. In additive mode it must be given, because it depends on the gradients' size; the paper
        uses 1e-3 for SGD and 1e-7 for Adam on its small problems.
    mode : {"multiplicative", "additive"}
    low : float >= 0
        Lower bound of the rate. In additive mode use one above 0: at a rate of 0 parameters do not move, and with
        `params` their direction is then unknown.
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
    >>> p = np.array([1.0, -2.0])
    >>> rate = S.Hypergradient(0.001, beta=0.01, mode="additive")
    >>> opt = flr.SGD(p, lr=rate)
    >>> for _ in range(3):
    ...     g = 2 * p
    ...     changed = rate.observe(grads=g)
    ...     opt.step(g)
    >>> changed, round(opt.lr, 3)
    (True, 0.32)

    Notes
    -----
    The controller keeps a copy of one gradient, or of the parameters. A gradient with NaN or infinity is ignored. The
    rate follows what lowers the loss of the next batch. That is greedy, so on noisy problems the rate tends to end
    lower than in a good schedule. A learned factor stays between 1e-12 and 1e12.

    With `params`, float32 parameters limit the precision of d: rounding adds about 6e-8·|p|/rate to each element.

    Source: A. G. Baydin, R. Cornish, D. Martinez Rubio, M. Schmidt and F. Wood, Online Learning Rate Adaptation with
    Hypergradient Descent, 2018. torch, Keras and optax do not have it. The authors' code updates a group's rate
    tensor by tensor within one step, so the result depends on their order. This class uses one product over all.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Remembering.defaults, "beta": STEP, "mode": "multiplicative"}

    def __init__(
        self,
        base: RateLike | Controller,
        beta: float | None = None,
        mode: str = "multiplicative",
        low: float = 0.0,
        high: float | None = None,
    ) -> None:
        mode = _mode(mode, "mode")
        if beta is None and mode == "additive":
            raise ValueError("`beta` must be given in additive mode, got None: it depends on the gradients' size")
        beta = (checks.positive if mode == "additive" else checks.fraction)(STEP if beta is None else beta, "beta")
        learned = {"offset": 0.0} if mode == "additive" else {"scale": 1.0}
        super().__init__(base, {**learned, **self.nothing}, low, high, beta=beta, mode=mode)

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        learned: float = base * state["scale"] if "scale" in state else base + state["offset"]
        return learned

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
        sight = self._look(grads, params)
        if sight is None:
            return self._ignore()
        return self._take({**self.state, **sight.kept, **self._step(sight)})

    def _step(self, sight: Sight) -> dict[str, float]:
        """New learned number after this gradient; empty if it does not change."""
        state, beta = self.state, self.arguments["beta"]
        if "scale" in state:
            cos = sight.cosine
            return {} if cos is None else {"scale": self._scaled(state["scale"], 1.0 + beta * cos)}
        base, rate = self._base_at(self._n), self._rate(self._n)
        if sight.product is None or (sight.moved and rate == 0.0):
            return {}
        learned = base + state["offset"] + beta * (sight.product / rate if sight.moved else sight.product)
        if not math.isfinite(learned):
            return {}
        return {"offset": min(max(learned, min(self._low, base)), max(self._high, base)) - base}

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with numbers in range."""
        state = super().checked_state(d)
        if "scale" in state:
            return {**state, "scale": checks.positive(state["scale"], "state['scale']")}
        return {**state, "offset": checks.number("a finite number")(state["offset"], "state['offset']")}


class GradientCosine(Remembering):
    """Raise the rate while successive gradients agree, and lower it when they oppose each other.

    c is the moving average of the cosine between successive gradients; the newest has the weight 1 - smoothing. The
    rate is base(n)·σ, clipped to `low` and `high`, and each observation sets ::

        σ *= 1 + up·c  if c > 0,   σ *= 1 + down·c  if c < 0

    so the rate changes by at most the fractions `up` and `down`. Opposing gradients show that a step went past the
    minimum: on a quadratic with curvature L along the step, the rate is then above 1/L; above 2/L the run diverges.

    Call ``observe(grads=g)`` once before each step of SGD. With momentum, or another optimizer, call
    ``observe(grads=g, params=p)``. The cosine is then that of the gradient and the parameters' change in the last step,
    positive for a descent direction.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The initial rate.
    up, down : float in (0, 1)
        Largest fraction by which one observation raises or lowers the rate. If `down` is above `up`, noise around a
        cosine of 0, where there is no progress, slowly lowers the rate.
    smoothing : float in [0, 1)
        Weight of the past in the moving average.
    low, high
        Bounds of the rate: low >= 0; high > 0, or None for no bound.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import schedules as S
    >>> rate = S.GradientCosine(0.1, up=0.1, down=0.5, smoothing=0.0)
    >>> for g in ([1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]):
    ...     changed = rate.observe(grads=np.array(g))
    ...     print(round(rate(0), 3), rate.cosine)
    0.1 None
    0.11 1.0
    0.055 -1.0

    Notes
    -----
    The controller keeps a copy of one gradient, or of the parameters. Gradients that are zero, or have NaN or infinity,
    do not change the rate. If the noise of gradients is larger than their mean, the cosine is near 0 at every rate.
    With momentum, successive gradients agree even at rates that are far too high, so pass `params`.

    Sources: L.-W. Chan and F. Fallside, An Adaptive Training Algorithm for Back Propagation Networks, 1987, with
    rate *= 1 + cos/2, for the weights' last change, without averaging; R. A. Jacobs, Increased Rates of Convergence
    Through Learning Rate Adaptation, 1988, for averaging over the past, and a larger decrease than increase.
    torch, Keras and optax do not have it.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Remembering.defaults, "up": 0.05, "down": 0.1, "smoothing": 0.9}

    def __init__(
        self,
        base: RateLike | Controller,
        up: float = 0.05,
        down: float = 0.1,
        smoothing: float = 0.9,
        low: float = 0.0,
        high: float | None = None,
    ) -> None:
        super().__init__(
            base, {"scale": 1.0, "mean": 0.0, "weight": 0.0, **self.nothing}, low, high,
            up=checks.fraction(up, "up"), down=checks.fraction(down, "down"),
            smoothing=checks.below_one(smoothing, "smoothing"),
        )  # fmt: skip

    @property
    def cosine(self) -> float | None:
        """Mean cosine of successive gradients; None before there are two."""
        state = self.state
        return state["mean"] / state["weight"] if state["weight"] else None

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        learned: float = base * state["scale"]
        return learned

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
        sight = self._look(grads, params)
        if sight is None:
            return self._ignore()
        new = {**self.state, **sight.kept}
        if sight.cosine is not None:
            keep, arguments = self.arguments["smoothing"], self.arguments
            mean, weight = keep * new["mean"] + (1 - keep) * sight.cosine, keep * new["weight"] + (1 - keep)
            average = mean / weight
            factor = 1.0 + (arguments["up"] if average > 0 else arguments["down"]) * average
            new |= {"mean": mean, "weight": weight, "scale": self._scaled(new["scale"], factor)}
        return self._take(new)

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with numbers in range."""
        state = super().checked_state(d)
        weight = checks.share(state["weight"], "state['weight']")
        mean = checks.number("a number between ±weight", -weight, weight)(state["mean"], "state['mean']")
        return {**state, "scale": checks.positive(state["scale"], "state['scale']"), "mean": mean, "weight": weight}
