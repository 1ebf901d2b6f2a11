"""Rates that are learned from gradients while a run goes on: by the hypergradient, and by the cosine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from . import checks
from .base import RateLike
from .controller import Controller
from .gradients import Remembering, Sight

_mode = checks.choice("additive", "multiplicative")
STEP = 0.02  # of the multiplicative mode


class Hypergradient(Remembering):
    """Learn the rate by gradient descent on it: raise it while the last step's direction would still lower the loss.

    h = g·d, the derivative of the loss by the rate of the last step with the sign changed: g is the gradient now, and
    d the direction of that step, so that it was p -= rate·d. The rate in force is ::

        additive:        base(n) + δ    δ += beta·h
        multiplicative:  base(n)·σ      σ *= 1 + beta·h/(|g|·|d|)

    kept between `low` and `high`. Call ``observe(grads=g)`` once before each step. Then d is the last gradient, which
    is right for SGD without momentum. With ``observe(grads=g, params=p)`` it is (p_before - p)/rate, which is right for
    every optimizer, with its momentum, decay and `lr_scale`.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The rate to begin with.
    beta : float > 0
        Step of the learning. By default 0.02 in the multiplicative mode, where it must be below 1: one step changes the
        rate by at most that share. It must be given in the additive mode, where it depends on the gradients' size; the
        paper has 1e-3 for SGD and 1e-7 for Adam in its small problems.
    mode : {"multiplicative", "additive"}
    low : float >= 0
        Lower bound of the rate. In the additive mode give one above 0: at a rate of 0 parameters do not move, and with
        `params` their direction is not known any more.
    high : float > 0 or None
        Upper bound; None for none.

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
    It keeps a copy of one gradient, or of the parameters. A gradient with NaN or infinity in it leaves the rate as it
    is, and is forgotten. The rate follows what lowers the loss of the next batch; that is greedy, so on noisy problems
    it tends to end lower than a good schedule. A learned factor stays within 1e-12 and 1e12.

    With `params`, float32 parameters bound the precision of d: their rounding is about 6e-8·|p|/rate of each element.

    Source: A. G. Baydin, R. Cornish, D. Martinez Rubio, M. Schmidt and F. Wood, Online Learning Rate Adaptation with
    Hypergradient Descent, 2018. Elsewhere: none of torch, Keras and optax has it. The authors' code updates the rate
    of a group tensor by tensor inside of one step, so that it depends on their order; this takes one product over all.
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
            raise ValueError("`beta` must be given in the additive mode, got None: it depends on the gradients' size")
        beta = (checks.positive if mode == "additive" else checks.fraction)(STEP if beta is None else beta, "beta")
        learned = {"offset": 0.0} if mode == "additive" else {"scale": 1.0}
        super().__init__(base, {**learned, **self.nothing}, low, high, beta=beta, mode=mode)

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        learned: float = base * state["scale"] if "scale" in state else base + state["offset"]
        return learned

    def observe(self, grads: Any, params: Any = None, **others: Any) -> bool:  # type: ignore[override]
        """Take note of the gradient of the next step, before that step.

        Parameters
        ----------
        grads : array, dict or list of arrays, or Flat
            float32 or float64. Leaves may be None; they count as zeros.
        params : like grads, optional
            The parameters, at which that gradient was taken.

        Returns
        -------
        bool
            Whether the rate changed.

        Raises
        ------
        TypeError, ValueError
            If something is no array, or its names or shapes are not those of the first call. Nothing is changed then.
        """
        sight = self._look(grads, params)
        if sight is None:
            return self._ignore()
        return self._take({**self.state, **sight.kept, **self._step(sight)})

    def _step(self, sight: Sight) -> dict[str, float]:
        """Learned number after this gradient, if there is one."""
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
        """State with numbers in their ranges."""
        state = super().checked_state(d)
        if "scale" in state:
            return {**state, "scale": checks.positive(state["scale"], "state['scale']")}
        return {**state, "offset": checks.number("a finite number")(state["offset"], "state['offset']")}


class GradientCosine(Remembering):
    """Raise the rate while successive gradients agree, and lower it when they oppose each other.

    c is the mean cosine between a gradient and the one before it, the newest with the weight 1 - smoothing. The rate in
    force is base(n)·σ, kept between `low` and `high`, and each observation makes ::

        σ *= 1 + up·c  if c > 0,   σ *= 1 + down·c  if c < 0

    so it changes by at most the shares `up` and `down`. Gradients that oppose each other say that a step went beyond
    the bottom: on a quadratic with the curvature L along the step that is a rate above 1/L; at 2/L it diverges.

    Call ``observe(grads=g)`` once before each step of SGD. With momentum, or another optimizer, call
    ``observe(grads=g, params=p)``: then the cosine is that of the gradient and the way that the parameters went in the
    last step, downhill counted as positive.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The rate to begin with.
    up, down : float in (0, 1)
        Largest share of the rate by which one observation raises or lowers it. With `down` above `up` noise around a
        cosine of 0, where no progress is made, lowers the rate slowly.
    smoothing : float in [0, 1)
        Share of the past in the mean.
    low, high
        Bounds of the rate: low >= 0, high > 0 or None for none.

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
    It keeps a copy of one gradient, or of the parameters. Gradients that are zero, or have NaN or infinity in them,
    leave the rate as it is. Where the noise of gradients is larger than their mean, the cosine is near 0 at every rate.
    Under momentum successive gradients agree at rates that are far too high: pass `params` there.

    Sources: L.-W. Chan and F. Fallside, An Adaptive Training Algorithm for Back Propagation Networks, 1987, who have
    rate *= 1 + cos/2, with the way that the weights went, and no mean; R. A. Jacobs, Increased Rates of Convergence
    Through Learning Rate Adaptation, 1988, for the mean over the past and a fall that is steeper than the rise.
    Elsewhere: none of torch, Keras and optax has it.
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
        """Take note of the gradient of the next step, before that step.

        Parameters
        ----------
        grads : array, dict or list of arrays, or Flat
            float32 or float64. Leaves may be None; they count as zeros.
        params : like grads, optional
            The parameters, at which that gradient was taken.

        Returns
        -------
        bool
            Whether the rate changed.

        Raises
        ------
        TypeError, ValueError
            If something is no array, or its names or shapes are not those of the first call. Nothing is changed then.
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
        """State with numbers in their ranges."""
        state = super().checked_state(d)
        weight = checks.share(state["weight"], "state['weight']")
        mean = checks.number("a number between ±weight", -weight, weight)(state["mean"], "state['mean']")
        return {**state, "scale": checks.positive(state["scale"], "state['scale']"), "mean": mean, "weight": weight}
