"""The search for hyperparameters by grid, at random, or guided by the results so far."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from pyfastlr.tune.values import count
from pyfastlr.tune.watching.displays import Display, Words

from . import workers
from .ledger import Ledger, Memory, Plan, Task
from .outcomes import evaluated
from .result import Search
from .space import Space
from .study import Study, checked_pruner, need_optuna

METHODS = ("bayesian", "random", "grid")


def search(
    objective: Callable[..., Any],
    space: Mapping[str, Any],
    method: Any = "bayesian",
    trials: int = 50,
    storage: Any = None,
    seed: int | None = None,
    jobs: int = 1,
    *,
    mode: str = "min",
    pruner: Any = None,
    name: str = "pyfastlr",
    progress: bool | None = None,
) -> Search:
    r"""Search the learning rate, the schedule and any other value for which an objective is best.

    Parameters
    ----------
    objective : callable
        ``objective(values) -> float``, with a dict of values by name: what to minimize, such as the validation loss
        after a training. NaN, an infinite number and a FloatingPointError mean that the training diverged: no other
        trial is worse. An objective with a second argument gets ``report(loss, step=None)`` to call during the
        training, for the pruner and for `Trial.reports`.
    space : dict
        What to try, by name:

        - ``(low, high)``: a number from this range, an integer if both are integers. If ``low > 0`` and
          ``high / low >= 100``, the scale is logarithmic. ``(low, high, "log")`` and ``(low, high, "linear")`` say it.
        - ``tune.Range(low, high, log=None, step=None, num=None)``: the same, with a step, or points in a grid.
        - a list or array: one of these values, of any type. Ranges and calls in it are searched if they are chosen.
        - ``tune.Call(function, ...)``: what the function returns, with arguments from ranges, lists and calls:
          ``tune.Call(S.Cosine, tune.Range(1e-4, 1.0), steps=1000)``.
        - a tuple with such parts, ``(0.9, tune.Range(0.99, 0.9999))``, or a dict of them.
        - one of Optuna's distributions.
        - anything else: this value in every trial.
    method : {"bayesian", "random", "grid"} or optuna.samplers.BaseSampler
        "bayesian" is Optuna's tree-structured Parzen estimator: it tries values like those of the best trials so far.
        "random" draws independently. "grid" tries all combinations of evenly spaced points; ranges without `num` have
        as many points as fit into `trials`.
    trials : int >= 1
        Number of trials, with those that `storage` has.
    storage : str, path or optuna.storages.BaseStorage, optional
        Where to keep the trials: a file, an SQLite database unless its name ends in ".log" or ".journal" (Optuna's
        journal); or a URL. The same call with the same storage goes on where the last one ended, even if that was
        killed: its unfinished trials are run again, with the same values. Several processes may share one storage.
    seed : int >= 0, optional
        With a seed and ``jobs=1``, two searches have the same trials, bit for bit, interrupted or not. Grid and random
        search have the same trials for any `jobs`. By default a random seed, which `storage` keeps.
    jobs : int >= 1
        Number of worker processes. They share the cores: BLAS and pyfastlr in a worker use ``cores / jobs`` threads.
    mode : {"min", "max"}
        Whether a smaller or a larger objective is better.
    pruner : {"median", "hyperband", "successive_halving"} or optuna.pruners.BasePruner, optional
        What stops a trial whose reports are worse than those of other trials.
    name : str
        Name of the study in `storage`, which may have several.
    progress : bool, optional
        Whether to show the progress and the best value on standard error. By default, if it is a terminal and rich is
        installed. True also prints lines into files and pipes.

    Returns
    -------
    Search
        With `best`, `best_value`, `trials` and `plot`. `print` it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range, if `objective` does not return a number, or if `storage`
        has a search of another space.
    ModuleNotFoundError
        If "bayesian", `storage` or `pruner` is used without Optuna, or ``jobs > 1`` without loky: the extra `tune`.
    RuntimeError
        If a worker process dies twice in the same trial.
    Exception
        Any other exception of the objective ends the search, with a note that names the trial and its values.

    Notes
    -----
    With a budget of trials, random search is better than a grid as soon as there are several parameters, of which few
    matter: a grid tries few different values of each (Bergstra and Bengio, 2012).

    Search on data that is not the test data: the best of many trials is lucky, and its value too good.

    torch, Keras and optax have no search. With Optuna's ``study.optimize``, the objective asks a trial for each value.
    Here, the space is separate, so grid, random and Bayesian search share it. scikit-learn has `GridSearchCV` and
    `RandomizedSearchCV` for its estimators.

    References
    ----------
    James Bergstra, Rémi Bardenet, Yoshua Bengio and Balázs Kégl, "Algorithms for Hyper-Parameter Optimization", 2011.
    James Bergstra and Yoshua Bengio, "Random Search for Hyper-Parameter Optimization", 2012. Takuya Akiba, Shotaro
    Sano, Toshihiko Yanase, Takeru Ohta and Masanori Koyama, "Optuna: A Next-generation Hyperparameter Optimization
    Framework", 2019.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> h = np.array([1.0, 10.0])
    >>> def objective(values):
    ...     w = np.ones(2)
    ...     opt = flr.SGD(w, **values)
    ...     for _ in range(20):
    ...         opt.step(h * w)
    ...     return 0.5 * w @ (h * w)
    >>> found = tune.search(objective, {"lr": (1e-3, 1.0), "momentum": [0.0, 0.5]}, "random", trials=40, seed=0)
    >>> 0.1 < found.best["lr"] < 0.3, found.best_value < 1e-3
    (True, True)
    >>> opt = flr.SGD(np.ones(2), **found.best)
    """
    if not callable(objective):
        raise TypeError(f"`objective` must be a function values -> float, got {type(objective).__name__}")
    searched = Space(space)
    trials, jobs = count(trials, "trials"), count(jobs, "jobs")
    if seed is not None:
        seed = count(seed, "seed", 0)
    if mode not in ("min", "max"):
        raise ValueError(f'`mode` must be "min" or "max", got {mode!r:.60}')
    if not isinstance(name, str) or not name:
        raise TypeError(f"`name` must be a str that is not empty, got {name!r:.60}")
    if progress not in (None, True, False):
        raise TypeError(f"`progress` must be True, False or None, got {progress!r:.60}")
    pruner = checked_pruner(pruner)
    method = _method(method)
    if jobs > 1:
        workers.need_loky()
    display = _display(progress)
    ledger = _ledger(searched, method, trials, storage, seed, mode, pruner, name)
    words = _Best(ledger, mode)
    try:
        _run(ledger, objective, searched, mode, jobs, words, display)
        found = tuple(ledger.trials())
    finally:
        ledger.close()
    return Search(found, searched.given, method if isinstance(method, str) else type(method).__name__, mode, searched)


def _method(given: Any) -> Any:
    """Return a checked method: a name, or an Optuna sampler."""
    if isinstance(given, str):
        if given in METHODS:
            return given
        raise ValueError(f"`method` must be one of {', '.join(METHODS)} or an Optuna sampler, got {given!r:.60}")
    optuna = need_optuna("a search with a sampler")
    if isinstance(given, optuna.samplers.BaseSampler):
        return given
    raise TypeError(f"`method` must be one of {', '.join(METHODS)} or an Optuna sampler, got {type(given).__name__}")


def _ledger(
    space: Space, method: Any, trials: int, storage: Any, seed: int | None, mode: str, pruner: Any, name: str
) -> Ledger:
    """Return the book of trials: Optuna's, or our own where nothing needs Optuna."""
    is_planned = method in ("grid", "random")
    if storage is None and is_planned and pruner is None:
        drawn = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        return Memory(space, Plan(space, method, trials, drawn))
    if not is_planned or method == "grid":
        plan = Plan(space, method, trials, 0) if method == "grid" else None
        return Study(space, plan, method, trials, seed, mode, storage, pruner, name)
    study = Study(space, None, method, trials, seed, mode, storage, pruner, name)
    study.follow(Plan(space, method, trials, study.seed))
    return study


def _run(
    ledger: Ledger,
    objective: Callable[..., Any],
    space: Space,
    mode: str,
    jobs: int,
    words: _Best,
    make_display: Callable[[Words, int], Display | None],
) -> None:
    """Run the trials that are left, under a progress bar."""
    done = words.begin()
    display = make_display(words, ledger.total)

    def ended() -> None:
        nonlocal done
        done += 1
        words.look()
        if display is not None and done >= display.due:
            display.look(done)

    def values(task: Task) -> dict[str, Any]:
        return space.values(task.parameters)

    try:
        if display is not None:
            display.begin()
        if jobs > 1:
            workers.run(ledger, objective, values, mode, jobs, ended)
        else:
            _run_here(ledger, objective, values, mode, ended)
    finally:
        if display is not None:
            display.end(done)


def _run_here(
    ledger: Ledger,
    objective: Callable[..., Any],
    values: Callable[[Task], dict[str, Any]],
    mode: str,
    ended: Callable[[], None],
) -> None:
    """Run the trials in this process."""
    while (task := ledger.take()) is not None:
        is_done = False
        try:
            chosen = values(task)
            outcome = evaluated(objective, chosen, mode, partial(ledger.should_stop, task))
            ledger.finish(task, outcome)
            is_done = True
        except Exception as error:
            workers.add_note(error, task, dict(task.parameters))
            raise
        finally:
            if not is_done:
                ledger.fail(task)
        ended()


# --- Progress ---------------------------------------------------------------------------------------------------------


class _Best(Words):
    """The best value so far, beside the bar."""

    def __init__(self, ledger: Ledger, mode: str) -> None:
        super().__init__(None, None, "search")
        self._ledger, self._better = ledger, operator.lt if mode == "min" else operator.gt
        self._best = math.nan

    def begin(self) -> int:
        """Return the number of trials that are there already."""
        self.look()
        return sum(x.state != "failed" for x in self._ledger.trials())

    def look(self) -> None:
        """Read the best value."""
        for x in self._ledger.trials():
            if x.state == "finished" and not self._best <= x.value <= self._best:
                self._best = x.value if math.isnan(self._best) or self._better(x.value, self._best) else self._best

    def numbers(self) -> str:
        """Return the text."""
        return "" if math.isnan(self._best) else f"best {self._best:.6g}"


def _display(progress: bool | None) -> Callable[[Words, int], Display | None]:
    """Return what makes the display, or makes none."""
    if progress is False:
        return lambda words, total: None
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        if progress is None:
            return lambda words, total: None
        raise ModuleNotFoundError('`progress` needs rich: pip install "pyfastlr[cli]"') from error
    if progress is None and not Console(stderr=True).is_terminal:
        return lambda words, total: None
    return lambda words, total: Display(words, total, None)
