"""Stop when a loss no longer improves, and restore the parameters of its best value."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import BITS, describe
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.engines.hyper import AT_LEAST_ZERO, number
from pyfastlr.tune.values import count, real
from pyfastlr_kernels.compile.first_use import whole


class _Progress(NamedTuple):
    """The state, replaced by one assignment, so an interrupt leaves the old or the new one."""

    seen: int = 0
    wait: int = 0
    stopped: bool = False
    best: float = math.nan
    best_index: int = -1
    kept: int = 0  # index of the copy that has the best parameters


class EarlyStopping:
    r"""Says when to stop: when the loss has not improved for `patience` observations.

    A loss is better than the best before it if, for mode "min",

    .. math:: \mathrm{loss} + \mathrm{threshold} < \mathrm{best} \quad\text{("abs")}, \qquad
        \mathrm{loss} + \mathrm{threshold} \cdot |\mathrm{best}| < \mathrm{best} \quad\text{("rel")},

    and for mode "max" if it is above the best by as much. NaN never counts as better, and neither does the worst
    infinity, even as the first value.

    Parameters
    ----------
    patience : int >= 0
        Number of observations in a row without a better loss after which to stop. 0 is the same as 1. The first
        observation never stops.
    mode : {"min", "max"}
        Whether smaller or larger is better.
    threshold : float >= 0
        Smallest improvement that counts.
    threshold_mode : {"abs", "rel"}
        Whether `threshold` is absolute, or a fraction of the best loss.
    min_updates : int >= 0
        Number of observations at the start that are counted but otherwise ignored: they neither set the best loss nor
        use up patience.
    params : array, Flat, dict or list, optional
        Parameters in host memory. A copy of those with the best loss is kept, and `restore` writes it back.

    Attributes
    ----------
    best : float or None
        Best loss; None before the first.
    best_index : int or None
        Observation of the best loss, counting from 0; None before the first.
    stopped : bool
        Whether patience has run out. It stays True until `reset`.
    wait : int
        Observations since the best loss.
    seen : int
        Observations so far.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> params = np.zeros(2)
    >>> stop = tune.EarlyStopping(patience=2, params=params)
    >>> for loss in [3.0, 1.0, float("nan"), 2.0, 0.5]:
    ...     params += 1  # in real use: updates, then the loss on validation data
    ...     if stop.observe(loss):
    ...         break
    >>> loss, stop.best, stop.best_index
    (2.0, 1.0, 1)
    >>> stop.restore()
    >>> params
    array([2., 2.])

    Notes
    -----
    The decisions are those of Keras' ``EarlyStopping``; its `min_delta` is `threshold` with "abs", and its
    `start_from_epoch` is `min_updates`. The differences: Keras' patience is 0 by default. In Keras the first value is
    the best even if it is NaN, and then nothing ever counts as better. Before the first best loss, Keras keeps the
    parameters of the first epoch; this class keeps those at its construction. Keras has no relative threshold. torch's
    ReduceLROnPlateau has one, but it multiplies the best by 1 - threshold, so for negative losses worse values count as
    better. `baseline` and ``mode="auto"``, which guesses from a metric's name, are not supported here. torch and optax
    have no early stopping.

    Lutz Prechelt, Early Stopping - But When?, 1998, compares such criteria.
    """

    def __init__(
        self,
        patience: int = 10,
        *,
        mode: str = "min",
        threshold: float = 0.0,
        threshold_mode: str = "abs",
        min_updates: int = 0,
        params: Any = None,
    ) -> None:
        self._patience = count(patience, "patience", 0)
        self._mode = _choice(mode, "mode", ("min", "max"))
        self._threshold = number(threshold, "threshold", AT_LEAST_ZERO)
        self._threshold_mode = _choice(threshold_mode, "threshold_mode", ("abs", "rel"))
        self._min_updates = count(min_updates, "min_updates", 0)
        self._params, self._progress = params, _Progress()
        self._parameters = None if params is None else Parameters(params, halves=BITS)
        if self._parameters is not None and self._parameters.device is not None:
            raise ValueError("`params` must be in host memory, got arrays on a CUDA device")
        #: Two copies: the best parameters, and room for the next best. An interrupt leaves one of them whole.
        arrays = [] if self._parameters is None else self._parameters.arrays
        self._copies: list[list[Any]] = [[x.copy() for x in arrays] for _ in range(2)]

    def observe(self, loss: float) -> bool:
        """Take a loss, and return whether to stop.

        Parameters
        ----------
        loss : float
            Loss of the current parameters: call this before the next step changes them.

        Returns
        -------
        bool
            `stopped`.

        Raises
        ------
        TypeError
            If the loss is not a real number; nothing changes then.

        Examples
        --------
        >>> from pyfastlr import tune
        >>> stop = tune.EarlyStopping(patience=1)
        >>> stop.observe(1.0), stop.observe(0.5), stop.observe(0.5)
        (False, False, True)
        """
        value, now = real(loss, "loss"), self._progress
        seen = now.seen + 1
        if now.seen < self._min_updates:
            self._progress = now._replace(seen=seen)
        elif self._is_better(value, now.best):
            kept = 1 - now.kept
            for copy, array in zip(self._copies[kept], self._arrays(), strict=True):
                np.copyto(copy, array)
            self._progress = _Progress(seen, 0, now.stopped, value, now.seen, kept)
        else:
            wait = now.wait + 1
            out_of_patience = wait >= self._patience and now.seen > 0
            self._progress = now._replace(seen=seen, wait=wait, stopped=now.stopped or out_of_patience)
        return self._progress.stopped

    def _is_better(self, loss: float, best: float) -> bool:
        sign = 1.0 if self._mode == "min" else -1.0
        if math.isnan(best):  # none yet
            best = sign * math.inf
        margin = self._threshold * (abs(best) if self._threshold_mode == "rel" and math.isfinite(best) else 1.0)
        return sign * loss + margin < sign * best  # the same order of operations as Keras, for the same rounding

    def _arrays(self) -> list[Any]:
        return [] if self._parameters is None else self._parameters.arrays

    def restore(self) -> None:
        """Write the parameters of the best loss back into the given arrays. An interrupt cannot leave this half-done.

        If no loss ever counted (all were NaN), these are the parameters at construction. The optimizer's state does not
        change.

        Raises
        ------
        ValueError
            If `params` were not given.
        """
        if self._parameters is None:
            raise ValueError("`restore` needs the parameters: EarlyStopping(..., params=params)")

        def work() -> None:
            for array, copy in zip(self._arrays(), self._copies[self._progress.kept], strict=True):
                np.copyto(array, copy)

        whole(work)

    def reset(self) -> None:
        """Forget all losses, for another run. The current parameters replace the kept ones."""
        fresh = _Progress(kept=1 - self._progress.kept)
        for copy, array in zip(self._copies[fresh.kept], self._arrays(), strict=True):
            np.copyto(copy, array)
        self._progress = fresh

    # --- What there is to see -----------------------------------------------------------------------------------------

    @property
    def best(self) -> float | None:
        """Best loss; None before the first."""
        return None if math.isnan(self._progress.best) else self._progress.best

    @property
    def best_index(self) -> int | None:
        """Observation of the best loss, counting from 0; None before the first."""
        return None if self._progress.best_index < 0 else self._progress.best_index

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return self._progress.stopped

    @property
    def wait(self) -> int:
        """Observations since the best loss."""
        return self._progress.wait

    @property
    def seen(self) -> int:
        """Observations so far."""
        return self._progress.seen

    def __repr__(self) -> str:
        state = f"stopped at {self.seen - 1}" if self.stopped else f"wait={self.wait}"
        return f"EarlyStopping(patience={self._patience}, mode={self._mode!r}, best={self.best}, {state})"

    # --- Saving -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copy everything that a resumed run needs besides the constructor's arguments.

        Returns
        -------
        dict
            seen, wait, stopped, best and best_index (None before the first), and params: the kept arrays by name, the
            buffer of a `Flat` as "", None if no parameters are kept.
        """
        now = self._progress
        kept = [x.copy() for x in self._copies[now.kept]]
        return {
            "seen": now.seen,
            "wait": now.wait,
            "stopped": now.stopped,
            "best": self.best,
            "best_index": self.best_index,
            "params": None if self._parameters is None else dict(zip(self._names(), kept, strict=True)),
        }

    def _names(self) -> list[str]:
        parameters = self._parameters
        return [] if parameters is None else [""] if parameters.layout is not None else parameters.names

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the output of `state_dict`. If an error is raised, nothing has changed.

        Parameters
        ----------
        state : dict
            From an EarlyStopping that keeps parameters of the same names, shapes and dtype as this one, or none.

        Raises
        ------
        TypeError, ValueError
            If the state does not fit.
        """
        need = set(self.state_dict())
        if not isinstance(state, Mapping) or set(state) != need:
            got = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(f"`state` must have the keys {sorted(need)}, got {got}")
        if not isinstance(state["stopped"], bool | np.bool_):
            raise TypeError(f"`state['stopped']` must be True or False, got {state['stopped']!r}")
        best, index = state["best"], state["best_index"]
        if (best is None) != (index is None) or (best is not None and math.isnan(real(best, "state['best']"))):
            raise ValueError(f"`state` must have both `best` and `best_index` or neither, got {best!r} and {index!r}")
        kept = 1 - self._progress.kept
        new = _Progress(
            count(state["seen"], "state['seen']", 0),
            count(state["wait"], "state['wait']", 0),
            bool(state["stopped"]),
            math.nan if best is None else real(best, "state['best']"),
            -1 if index is None else count(index, "state['best_index']", 0),
            kept,
        )
        for copy, array in zip(self._copies[kept], self._checked_params(state["params"]), strict=True):
            np.copyto(copy, array)
        self._progress = new

    def _checked_params(self, given: Any) -> list[Any]:
        names, arrays = self._names(), self._arrays()
        if given is None and self._parameters is None:
            return []
        if not isinstance(given, Mapping) or self._parameters is None or set(given) != set(names):
            kept = "no parameters" if self._parameters is None else f"arrays for {names}"
            raise ValueError(f"`state['params']` must have {kept}, got {describe(given)}")
        for name, array in zip(names, arrays, strict=True):
            x = given[name]
            if not isinstance(x, np.ndarray) or x.shape != array.shape or x.dtype != array.dtype:
                raise ValueError(f"`state['params'][{name!r}]` must be {describe(array)}, got {describe(x)}")
        return [given[name] for name in names]

    def __getstate__(self) -> dict[str, Any]:
        options = {
            "patience": self._patience,
            "mode": self._mode,
            "threshold": self._threshold,
            "threshold_mode": self._threshold_mode,
            "min_updates": self._min_updates,
            "params": self._params,
        }
        return {"options": options, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["options"])  # type: ignore[misc]
        self.load_state_dict(state["state"])


def _choice(value: Any, called: str, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{called}` must be {' or '.join(map(repr, known))}, got {value!r}")
    return value
