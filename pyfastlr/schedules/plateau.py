"""Controllers that react when the loss stops falling: they cut the rate, or restart the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pyfastlr.arrays.host import BITS, Array
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels.compile.first_use import whole

from . import checks
from .base import RateLike
from .controller import Controller, Wrapper, observed
from .stagnation import STEPS, Criterion, start

MIN_WINDOW = 3  # fewest values for a slope and its error
_convention = checks.choice("torch", "keras", "optax", "slope")
_probability = checks.fraction


class _OnStagnation(Wrapper):
    """Base of `Plateau` and `RestartOnPlateau`: the criterion, and the mean of several values."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "patience": 10, "threshold": 1e-4, "cooldown": 0, "min_lr": 0.0, "mode": "min", "convention": "torch",
        "average": 1, "probability": 0.05, "eps": 1e-8,
    }  # fmt: skip

    def __init__(
        self,
        base: RateLike | Controller,
        state: dict[str, Any],
        *,
        patience: int,
        threshold: float,
        threshold_mode: str | None,
        cooldown: int,
        mode: str,
        convention: str,
        average: int,
        probability: float,
        **arguments: Any,
    ) -> None:
        convention = _convention(convention, "convention")
        default = "abs" if convention == "keras" else "rel"
        threshold_mode = checks.choice("rel", "abs")(
            default if threshold_mode is None else threshold_mode, "threshold_mode"
        )
        mode = checks.choice("min", "max")(mode, "mode")
        threshold = checks.nonnegative(threshold, "threshold")
        if convention == "keras" and threshold_mode == "rel":
            raise ValueError("`threshold_mode` must be 'abs' under Keras' convention, got 'rel'")
        if convention == "optax":
            if mode == "max":
                raise ValueError("`mode` must be 'min' under optax's convention, got 'max': observe the negative value")
            if threshold == 0.0 or (threshold_mode == "rel" and threshold > 1.0):
                need = "> 0 and <= 1" if threshold_mode == "rel" else "> 0"
                raise ValueError(f"`threshold` must be {need} under optax's convention, got {threshold}")
        smallest = MIN_WINDOW if convention == "slope" else 0
        patience = checks.integer(smallest)(patience, "patience")
        self._criterion = Criterion(
            patience, checks.natural(cooldown, "cooldown"), threshold, threshold_mode == "rel", mode == "max",
            _probability(probability, "probability"),
        )  # fmt: skip
        super().__init__(
            base,
            {**start(convention, self._criterion), **state},
            patience=patience, threshold=threshold, threshold_mode=threshold_mode, cooldown=self._criterion.cooldown,
            mode=mode, convention=convention, average=checks.positive_integer(average, "average"),
            probability=self._criterion.probability, **arguments,
        )  # fmt: skip

    @property
    def best(self) -> float | None:
        """Best value so far; None before the first."""
        best: float | None = self.state["best"]
        return None if best is None or best in (np.inf, -np.inf) else best

    def observe(self, loss: float, **others: Any) -> bool:  # type: ignore[override]
        """Observe a loss, or another measure of progress.

        Parameters
        ----------
        loss : float
            NaN and infinity are not an improvement (but under Keras' convention, a NaN as the first value is the best).

        Returns
        -------
        bool
            Whether this observation changed the rate.

        Raises
        ------
        TypeError
            If the loss is not a number.
        """
        value = observed(loss, "loss")
        state = self.state
        count = state["count"] + 1
        mean = (state["count"] * state["mean"] + value) / count
        if count < self.arguments["average"]:
            self.state = {**state, "mean": mean, "count": count}
            return False
        state = {**state, "mean": 0.0, "count": 0}
        new, acts = STEPS[self.arguments["convention"]](state, mean, self._criterion, self._may_act())
        self._take(state, self._react(new) if acts else new, mean, acts)
        return acts

    def _may_act(self) -> bool:
        return True

    def _react(self, state: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _take(self, before: dict[str, Any], state: dict[str, Any], value: float, acts: bool) -> None:
        """Store the new state."""
        self.history.append((value, acts))
        self.state = state

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State whose window has fewer numbers than the patience."""
        state = super().checked_state(d)
        window = tuple(observed(x, "state['window']") for x in state["window"] or ())
        if len(window) >= max(1, self._criterion.patience) or state["count"] >= self.arguments["average"]:
            raise ValueError(
                f"the state of {type(self).__name__} must have fewer values than `patience` and `average`, got {d}"
            )
        if state["mean"] is None or isinstance(state["best"], str | list | tuple | dict):
            raise TypeError(f"the state of {type(self).__name__} must have numbers for 'mean' and 'best', got {d}")
        convention = self.arguments["convention"]
        if (state["best"] is None and convention != "keras") or (window and convention != "slope"):
            raise ValueError(f"the state of {type(self).__name__} must be of {convention}'s convention, got {d}")
        return {**state, "window": window}


class Plateau(_OnStagnation):
    """Cut the rate when the loss stops falling: ``max(factor·rate, min_lr)`` at each reduction.

    Call `observe(loss)` once per epoch or evaluation. The rate is ``base(n)`` with all reductions so far.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The rate without reductions.
    factor : float in (0, 1)
    patience : int
        Number of observations without an improvement. torch's convention reduces at the next one, Keras' and optax' at
        the last of them. Under "slope", the number of values that are tested together, at least 3.
    threshold : float >= 0
        A fall by more than this is an improvement. Not used under "slope".
    threshold_mode : {"rel", "abs"}
        Whether the threshold is a fraction of the best value, or absolute. By default "rel"; Keras has only "abs".
    cooldown : int >= 0
        Number of observations to ignore after a reduction.
    min_lr : float >= 0
        Lower bound of the reduced rate. Under optax's convention, lower bound of the factor of the base.
    mode : {"min", "max"}
        Whether smaller or larger values are better.
    convention : {"torch", "keras", "optax", "slope"}
        Rule that decides when the loss has stopped falling; see Notes.
    average : int >= 1
        Number of losses whose mean is one observation (optax's `accumulation_size`). For losses of mini-batches.
    probability : float in (0, 1)
        Under "slope": how often noise without a trend passes for an improvement.
    eps : float >= 0
        Under torch's convention: a reduction by this or less is not made.
    params : array, Flat, dict or list, optional
        Parameters in host memory. A copy is kept at each new best loss, and copied back at each reduction. The
        optimizer's state does not change; `opt.reset()` resets it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> from pyfastlr import schedules as S
    >>> rate = S.Plateau(0.1, factor=0.5, patience=1)
    >>> [(rate.observe(loss), rate(n)) for n, loss in enumerate([1.0, 0.8, 0.8, 0.8])]
    [(False, 0.1), (False, 0.1), (False, 0.1), (True, 0.05)]

    Notes
    -----
    The conventions reduce at different times. For losses that do not fall, with patience 10 and no cooldown:

    - "torch" at the 11th loss after the best (bad > patience), `threshold` relative;
    - "keras" at the 10th (bad >= patience), `threshold` absolute. The first value is the best, even if NaN: then
      nothing ever counts as an improvement;
    - "optax" at the 10th (bad == patience); the reductions multiply one scale, which multiplies the base;
    - "slope" tests blocks of 10 losses. It keeps the rate if a least-squares line through them is so steep that noise
      without a trend (independent, normal) falls as steeply with at most `probability`, by Student's t-test.

    Sources: D. E. King, Automatic Learning Rate Scheduling That Really Works (dlib.net), 2018, for the slope (with
    probability 0.51 and overlapping windows). torch.optim.lr_scheduler.ReduceLROnPlateau,
    keras.callbacks.ReduceLROnPlateau, optax.contrib.reduce_on_plateau.
    """

    def __init__(
        self,
        base: RateLike | Controller,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str | None = None,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "min",
        convention: str = "torch",
        *,
        average: int = 1,
        probability: float = 0.05,
        eps: float = 1e-8,
        params: Any = None,
    ) -> None:
        factor, min_lr = checks.fraction(factor, "factor"), checks.nonnegative(min_lr, "min_lr")
        eps = checks.nonnegative(eps, "eps")
        super().__init__(
            base, {"reductions": 0, "kept": None}, patience=patience, threshold=threshold,
            threshold_mode=threshold_mode, cooldown=cooldown, mode=mode, convention=convention, average=average,
            probability=probability, factor=factor, min_lr=min_lr, eps=eps,
        )  # fmt: skip
        self._parameters = None if params is None else Parameters(params, halves=BITS)
        if self._parameters is not None and self._parameters.device is not None:
            raise ValueError("`params` must be in host memory, got arrays on a CUDA device")
        self._cached = (0.0, 0, 0.0)  # base, reductions, rate

    defaults: ClassVar[Mapping[str, Any]] = {**_OnStagnation.defaults, "factor": 0.1}

    @property
    def reductions(self) -> int:
        """Number of reductions so far."""
        reductions: int = self.state["reductions"]
        return reductions

    def _rate(self, n: int) -> float:
        base, reductions = self._base_at(n), self.state["reductions"]
        cached = self._cached
        if cached[0] != base or cached[1] != reductions:
            cached = self._cached = base, reductions, self._reduced(base, reductions)
        return cached[2]

    def _reduced(self, rate: float, reductions: int) -> float:
        """Rate after this many reductions, rounded after each one as in the other libraries."""
        factor, low = self.arguments["factor"], self.arguments["min_lr"]
        if self.arguments["convention"] == "optax":
            scale = 1.0
            for _ in range(reductions):
                scale = max(scale * factor, low)
            return float(max(scale, low) * rate)
        least = self.arguments["eps"] if self.arguments["convention"] == "torch" else 0.0
        for _ in range(reductions):
            lower = max(rate * factor, low)
            if not rate - lower > least:
                break
            rate = lower
        return rate

    def _may_act(self) -> bool:
        """Under Keras' convention, False if the rate is at its minimum, compared in float32."""
        if self.arguments["convention"] != "keras":
            return True
        return bool(np.float32(self._rate(self._n)) > np.float32(self.arguments["min_lr"]))

    def _react(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "reductions": state["reductions"] + 1}

    def _take(self, before: dict[str, Any], state: dict[str, Any], value: float, acts: bool) -> None:
        parameters = self._parameters
        if parameters is not None and state["best"] != before["best"] and state["best"] == value:
            state = {**state, "kept": [x.copy() for x in parameters.arrays]}
        elif parameters is not None and acts and state["kept"] is not None:
            whole(lambda: self._return(parameters.arrays, state, value))  # parameters and rate, or neither
            return
        super()._take(before, state, value, acts)

    def _return(self, arrays: Sequence[Array], state: dict[str, Any], value: float) -> None:
        """Set the state and write the kept parameters back."""
        for array, best in zip(arrays, state["kept"], strict=True):
            np.copyto(array, best)
        super()._take(state, state, value, True)

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State whose kept parameters are like the current ones."""
        state = super().checked_state(d)
        kept = state["kept"]
        arrays = [] if self._parameters is None else self._parameters.arrays
        if kept is not None:
            if self._parameters is None:
                raise ValueError("the state of Plateau has kept parameters, so the constructor needs `params`")
            found = [(x.dtype, x.shape) for x in kept] if all(isinstance(x, np.ndarray) for x in kept) else None
            if found != [(x.dtype, x.shape) for x in arrays]:
                raise ValueError("the state 'kept' of Plateau must be arrays like `params`, got others")
        return state

    def __getstate__(self) -> dict[str, Any]:
        """Include the container of the parameters, so that an optimizer that is copied or pickled too shares it."""
        given = None if self._parameters is None else self._parameters.params
        return {**super().__getstate__(), "_parameters": given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        given = state["_parameters"]
        self.__dict__.update(state, _parameters=None if given is None else Parameters(given, halves=BITS))

    acted = "rate reduced"


class RestartOnPlateau(_OnStagnation):
    """Restart a schedule when the loss stops falling: ``factor^k·base(n - start)`` after k restarts.

    `start` is the first update after the observation that triggered the restart. Warm restarts (Loshchilov and Hutter
    2017) happen at fixed times; these happen when the cycle no longer improves the loss.

    Parameters
    ----------
    base : Schedule or callable
        The cycle. It starts again at base(0).
    patience, threshold, threshold_mode, cooldown, mode, convention, average, probability
        As for `Plateau`.
    factor : float in (0, 1]
        Factor of the rate at each restart.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import schedules as S
    >>> rate = S.RestartOnPlateau(S.Cosine(0.1, steps=4), patience=1, factor=0.5)
    >>> opt = flr.SGD(np.ones(3), lr=rate)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     opt.step(np.ones(3))
    ...     changed = rate.observe(loss)
    >>> changed, opt.lr
    (True, 0.05)

    Notes
    -----
    Source: I. Loshchilov and F. Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017, for the restarts.
    torch, Keras and optax do not have it.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**_OnStagnation.defaults, "factor": 1.0}

    def __init__(
        self,
        base: RateLike | Controller,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str | None = None,
        cooldown: int = 0,
        factor: float = 1.0,
        mode: str = "min",
        convention: str = "torch",
        *,
        average: int = 1,
        probability: float = 0.05,
    ) -> None:
        super().__init__(
            base, {"restarts": 0, "start": 0, "pending": False}, patience=patience, threshold=threshold,
            threshold_mode=threshold_mode, cooldown=cooldown, mode=mode, convention=convention, average=average,
            probability=probability, factor=checks.factor(factor, "factor"),
        )  # fmt: skip

    @property
    def restarts(self) -> int:
        """Number of restarts so far."""
        restarts: int = self.state["restarts"]
        return restarts

    def _at(self, n: int) -> float:
        """Rate of update n. The first update after a restart, or after `opt.reset()`, becomes its start."""
        state = self.state
        if state["pending"] or n < state["start"]:
            self.state = {**state, "start": n, "pending": False}
        return super()._at(n)

    def _index(self, n: int) -> int:
        state = self.state
        return 0 if state["pending"] else max(0, n - state["start"])

    def _rate(self, n: int) -> float:
        rate = self._base_at(self._index(n))
        for _ in range(self.state["restarts"]):
            rate *= self.arguments["factor"]
        return rate

    def _react(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "restarts": state["restarts"] + 1, "pending": True}

    acted = "restart"
