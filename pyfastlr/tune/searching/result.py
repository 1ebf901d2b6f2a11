"""The result of a search: its trials, and the best values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .space import Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

State = Literal["finished", "diverged", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One evaluation of the objective.

    Attributes
    ----------
    number : int
        Index of the trial, from 0. A trial that is run again has the same number.
    parameters : dict
        What was drawn, by path: ``{"lr.lr": 0.03, "optimizer": "Adam"}``.
    value : float
        What the objective returned. If it diverged, it is infinite; NaN if the trial was pruned or failed.
    state : {"finished", "diverged", "pruned", "failed"}
        A trial fails by an exception or if its process ends. It is run again by the next call with the same storage.
    seconds : float
        Time that the objective took. NaN if it is not known.
    reports : dict
        What the objective reported, by step.

    Examples
    --------
    >>> from pyfastlr import tune
    >>> found = tune.search(lambda values: values["lr"] ** 2, {"lr": [0.5, 0.25]}, "grid", trials=2)
    >>> trial = found.trials[1]
    >>> trial.number, trial.parameters, trial.value, trial.state
    (1, {'lr': 0.25}, 0.0625, 'finished')
    """

    number: int
    parameters: Mapping[str, Any]
    value: float
    state: State
    seconds: float = math.nan
    reports: Mapping[int, float] = field(default_factory=dict)
    space: Space | None = field(default=None, repr=False, compare=False)

    @property
    def values(self) -> dict[str, Any]:
        """The values that the objective got, made anew."""
        assert self.space is not None
        return self.space.values(self.parameters)


@dataclass(frozen=True, repr=False)
class Search:
    """The result of `tune.search`. `print` it, or call its `plot`.

    Attributes
    ----------
    trials : tuple of Trial
        All trials in the order of their numbers.
    space, method, mode : dict, str, str
        As given.

    Examples
    --------
    >>> from pyfastlr import tune
    >>> found = tune.search(lambda values: (values["lr"] - 0.25) ** 2, {"lr": (0.0, 1.0)}, "grid", trials=5)
    >>> print(found)
    grid search, 5 trials: 5 finished
    best value 0, of trial 1:
      lr  0.25
    >>> found.best, found.best_value
    ({'lr': 0.25}, 0.0)
    """

    trials: tuple[Trial, ...]
    space: Mapping[str, Any]
    method: str
    mode: str
    searched: Space = field(repr=False)

    @property
    def best_trial(self) -> Trial:
        """The finished trial with the best value, the first one if several have it.

        Raises
        ------
        ValueError
            If no trial has finished.
        """
        finished = [x for x in self.trials if x.state == "finished"]
        if not finished:
            counts = self._counts() or "there are none"
            raise ValueError(f"no trial has finished, so there is no best one: {counts}. Try smaller learning rates.")
        return (min if self.mode == "min" else max)(finished, key=lambda x: x.value)

    @property
    def best(self) -> dict[str, Any]:
        """The best trial's values by name, for example for ``flr.AdamW(params, **search.best)``.

        Schedules and other objects of a `Call` are new ones each time.
        """
        return self.searched.values(self.best_trial.parameters)

    @property
    def best_value(self) -> float:
        """The best value of the objective."""
        return self.best_trial.value

    def plot(self, ax: Any = None) -> Axes | list[Axes]:
        """Draw the value of each trial against each parameter.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or list of them, optional
            Where to draw, one for each parameter. By default a new figure.

        Returns
        -------
        Axes or list of Axes
            One Axes if there is one parameter.
        """
        from pyfastlr.tune.axes import need_matplotlib

        need_matplotlib()
        from .drawing import draw

        return draw(self, ax)

    def _counts(self) -> str:
        states = [x.state for x in self.trials]
        return ", ".join(f"{states.count(x)} {x}" for x in dict.fromkeys(sorted(states)))

    def __repr__(self) -> str:
        text = f"<Search: {self.method}, {len(self.trials)} trials ({self._counts()})"
        if any(x.state == "finished" for x in self.trials):
            text += f", best {self.best_value:.6g}"
        return f"{text}>"

    def __str__(self) -> str:
        head = f"{self.method} search, {len(self.trials)} trials: {self._counts()}"
        if not any(x.state == "finished" for x in self.trials):
            return f"{head}\nno trial has finished"
        best = self.best_trial
        width = max(map(len, best.parameters))
        lines = [f"  {name:<{width}}  {_shown(x)}" for name, x in best.parameters.items()]
        return "\n".join([head, f"best value {best.value:.6g}, of trial {best.number}:", *lines])


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)
