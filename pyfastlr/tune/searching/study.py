"""A ledger in an Optuna study: Bayesian search, databases, pruners, and several processes on one study."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import owners
from .ledger import Plan, Task
from .outcomes import Outcome
from .result import State, Trial
from .space import Number, Range, Space, place

PRUNERS = {"median": "MedianPruner", "hyperband": "HyperbandPruner", "successive_halving": "SuccessiveHalvingPruner"}
_ATTRIBUTES = "pyfastlr"


def need_optuna(what: str) -> Any:
    """Return the module, or raise an error that says what needs it."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{what} needs Optuna: pip install "pyfastlr[tune]"') from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Suppress Optuna's log lines, and its warnings that a part of it may change."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


class Study:
    """A ledger in an Optuna study. Several processes may have the same one.

    A trial has an *index*, which says what it tries, and an *owner*. Both are written in the one transaction that makes
    the trial, so that a process may be killed at any time. If two processes make a trial for the same index, the one
    with the higher number gives way. Trials whose owners have died are run again, with the same parameters.
    """

    def __init__(
        self,
        space: Space,
        plan: Plan | None,
        method: Any,
        trials: int,
        seed: int | None,
        mode: str,
        storage: Any,
        pruner: Any,
        name: str,
    ) -> None:
        optuna = self._optuna = need_optuna("a search with `storage`, `pruner` or Bayesian sampling")
        self._space, self._plan = space, plan
        self.total = trials if plan is None else plan.total
        self._storage, self._is_ours = _storage(optuna, storage)
        self._has_pruner = pruner is not None
        with _quiet(optuna):
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                direction="minimize" if mode == "min" else "maximize",
                pruner=optuna.pruners.NopPruner() if pruner is None else pruner,
                load_if_exists=True,
            )
        kind = method if isinstance(method, str) else type(method).__name__
        try:
            self.seed = self._checked(kind, seed, mode)
        except BaseException:
            self.close()
            raise
        self._study.sampler = method if not isinstance(method, str) else _sampler(optuna, self.seed)
        self._owner = owners.begin()

    def follow(self, plan: Plan) -> None:
        """Let a plan decide the parameters of all trials. A random one needs the study's seed."""
        self._plan = plan

    def _checked(self, method: str, seed: int | None, mode: str) -> int:
        """Check that the study is of the same search, and return its seed."""
        about: dict[str, Any] = {"space": self._space.described(), "mode": mode}
        if method == "grid":
            about["grid"] = str(self.total)
        found = self._study.user_attrs.get(_ATTRIBUTES)
        if found is None:
            if self._study.get_trials(deepcopy=False):
                raise ValueError("`storage` must not have a study of another program with this `name`, got one")
            drawn = int(np.random.default_rng().integers(2**31)) if seed is None else seed
            self._study.set_user_attr(_ATTRIBUTES, {**about, "seed": drawn})
            return drawn
        for key in ("space", "mode", "grid"):
            mine: Any = about.get(key)
            theirs: Any = found.get(key)
            if mine == theirs:
                continue
            if key == "grid":
                raise ValueError(f"`trials` and `method` must make the grid that `storage` has, {theirs}, got {mine}")
            if key == "mode":
                raise ValueError(f"`mode` must be that of the search in `storage`, {theirs!r}, got {mine!r}")
            for path in dict.fromkeys([*theirs, *mine]):
                if theirs.get(path) != mine.get(path):
                    raise ValueError(
                        f"`space` must be that of the search in `storage`: for `{path}`, it has "
                        f"{theirs.get(path, 'nothing')}, got {mine.get(path, 'nothing')}"
                    )
        if seed is not None and seed != found["seed"]:
            raise ValueError(f"`seed` must be that of the search in `storage`, {found['seed']}, or None, got {seed}")
        return int(found["seed"])

    # --- Trials ------------------------------------------------------------------------------------------------------

    def take(self) -> Task | None:
        """Return the next trial to run, or None if none is left for this process."""
        states = self._optuna.trial.TrialState
        while True:
            known = self._study.get_trials(deepcopy=False)
            known = [x for x in known if "index" in x.user_attrs]
            if self._free(known):
                continue
            if not any(x.state == states.WAITING for x in known):
                taken = {x.user_attrs["index"] for x in known if x.state != states.FAIL}
                number = next((k for k in range(self.total) if k not in taken), None)
                if number is None:
                    return None
                self._study.enqueue_trial(
                    self._parameters(number, known), user_attrs={"index": number, "owner": self._owner}
                )
            task = self._ask()
            if task is not None:
                return task

    def _free(self, known: list[Any]) -> bool:
        """Mark the running trials of dead processes as failed. Return whether there were any."""
        dead = [x for x in known if x.state.name == "RUNNING" and owners.is_dead(x.user_attrs["owner"])]
        for x in dead:
            self._tell(x.number, state=self._optuna.trial.TrialState.FAIL)
        return bool(dead)

    def _parameters(self, number: int, known: list[Any]) -> dict[str, Any]:
        """Return what is fixed before the sampler is asked: what the trial had when it failed, or the plan's."""
        if self._plan is not None:
            return self._plan.parameters(number)
        failed = [x.params for x in known if x.user_attrs["index"] == number and x.params]
        return dict(failed[-1]) if failed else {}

    def _ask(self) -> Task | None:
        """Take a waiting trial, unless it turns out that another process has it."""
        with _quiet(self._optuna):
            trial = self._study.ask()
        number = trial.user_attrs.get("index")
        if number is not None:
            trial.set_user_attr("owner", self._owner)
            fail = self._optuna.trial.TrialState.FAIL
            same = [x for x in self._study.get_trials(deepcopy=False) if x.user_attrs.get("index") == number]
            if not any(x.number < trial.number and x.state != fail for x in same):
                draw = _Suggested(trial)
                with _quiet(self._optuna):
                    self._space.build(draw)
                return Task(number, draw.parameters, trial)
        self._tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return None

    def should_stop(self, task: Task, loss: float, step: int) -> bool:
        """Record a report, and ask the pruner."""
        if not self._has_pruner:
            return False
        task.handle.report(loss, step)
        return bool(task.handle.should_prune())

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Record what came of a trial. The last call decides."""
        states = self._optuna.trial.TrialState
        task.handle.set_user_attr("seconds", outcome.seconds)
        if outcome.reports and not self._has_pruner:
            task.handle.set_user_attr("reports", {str(k): repr(x) for k, x in outcome.reports.items()})
        if outcome.state == "pruned":
            self._tell(task.handle, state=states.PRUNED)
        else:
            self._tell(task.handle, outcome.value)

    def fail(self, task: Task) -> None:
        """Record that a trial ended without an outcome."""
        self._tell(task.handle, state=self._optuna.trial.TrialState.FAIL)

    def _tell(self, trial: Any, *values: float, **options: Any) -> None:
        """Tell Optuna. It refuses a trial that has ended, because another process was first."""
        with contextlib.suppress(ValueError), _quiet(self._optuna):
            self._study.tell(trial, *values, **options)

    def trials(self) -> list[Trial]:
        """Return the trials in the order of their numbers. Of trials with one index, the last counts."""
        order = ("FAIL", "WAITING", "RUNNING", "PRUNED", "COMPLETE")
        found: dict[int, Any] = {}
        for x in self._study.get_trials(deepcopy=False):
            k = x.user_attrs.get("index")
            if k is not None and (k not in found or order.index(x.state.name) >= order.index(found[k].state.name)):
                found[k] = x
        ended = [k for k in sorted(found) if found[k].state.is_finished()]
        return [self._trial(k, found[k]) for k in ended if not (found[k].state.name == "FAIL" and not found[k].params)]

    def _trial(self, number: int, found: Any) -> Trial:
        state: State = "pruned" if found.state.name == "PRUNED" else "failed"
        value = math.nan
        if found.state.name == "COMPLETE":
            value = float(found.value)
            state = "finished" if math.isfinite(value) else "diverged"
        reports = {int(k): float(x) for k, x in found.user_attrs.get("reports", found.intermediate_values).items()}
        parameters = {path: found.params[path] for path in self._space.paths if path in found.params}
        return Trial(number, parameters, value, state, found.user_attrs.get("seconds", math.nan), reports, self._space)

    def close(self) -> None:
        """Give back the trials, and close the database."""
        owners.end(getattr(self, "_owner", ""))
        if self._is_ours and hasattr(self._storage, "engine"):
            self._storage.remove_session()
            self._storage.engine.dispose()


class _Suggested:
    """Draws from Optuna's sampler."""

    def __init__(self, trial: Any) -> None:
        self._trial, self.parameters = trial, dict[str, Any]()

    def number(self, path: str, range: Range) -> Number:
        """Return the sampler's number."""
        suggest = self._trial.suggest_int if range.is_integer else self._trial.suggest_float
        high = range.high if range.step is None else range.at(1.0)  # Optuna warns of ends that no step meets
        step = {} if range.step is None else {"step": range.step}
        value: Number = suggest(path, range.low, high, log=range.log, **step)
        self.parameters[path] = value
        return value

    def index(self, path: str, labels: list[Any]) -> int:
        """Return the index of the sampler's choice."""
        label = self._trial.suggest_categorical(path, labels)
        self.parameters[path] = label
        return place(label, labels)


def _sampler(optuna: Any, seed: int) -> Any:
    """Return a sampler that is seeded anew for each index, so that a resumed search goes on as if uninterrupted."""

    class Seeded(optuna.samplers.BaseSampler):  # type: ignore[misc]
        def _begin(self, trial: Any) -> Any:
            words = np.random.SeedSequence([seed, trial.user_attrs.get("index", 2**32)]).generate_state(1)
            with _quiet(optuna):
                self._inner = optuna.samplers.TPESampler(seed=int(words[0]), multivariate=True, group=True)
            return self._inner

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._begin(trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._inner.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self._inner.sample_independent(study, trial, name, distribution)

    return Seeded()


def _storage(optuna: Any, given: Any) -> tuple[Any, bool]:
    """Return Optuna's storage, and whether we have opened it.

    Raises
    ------
    TypeError, ValueError
        If it is no path, URL or storage, or a file cannot be written there.
    """
    if given is None:
        return optuna.storages.InMemoryStorage(), True
    if isinstance(given, optuna.storages.BaseStorage):
        return given, False
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"`storage` must be a path, a URL, an Optuna storage or None, got {type(given).__name__}")
    text = os.fspath(given)
    if "://" in text:
        return (_sqlite(optuna, text) if text.startswith("sqlite") else optuna.storages.RDBStorage(text)), True
    path = Path(text).absolute()
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"`storage` must be a file that can be written, got {text!r}")
    if path.suffix in (".log", ".journal"):
        journal = optuna.storages.journal.JournalFileBackend(str(path))
        with _quiet(optuna):
            return optuna.storages.JournalStorage(journal), True
    if path.exists() and not _is_sqlite(path):
        raise ValueError(f"`storage` must be an SQLite file or a new one, got another file, {text!r}")
    return _sqlite(optuna, f"sqlite:///{path}"), True


def _sqlite(optuna: Any, url: str) -> Any:
    """Return the storage of an SQLite file, in which each transaction locks the file when it begins.

    By default, the driver begins a transaction at the first write. Two processes can then both read that a trial is
    waiting, and both take it.
    """
    from sqlalchemy import event

    seconds = 60  # to wait for other processes
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": seconds}})

    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", connected)
    event.listen(storage.engine, "begin", begun)
    storage.engine.dispose()  # connections that were made before
    return storage


def _is_sqlite(path: Path) -> bool:
    """Whether a file is a database, or empty."""
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


def checked_pruner(pruner: Any) -> Any:
    """Return Optuna's pruner for a name, a pruner or None.

    Raises
    ------
    TypeError, ValueError
        If it is anything else.
    """
    if pruner is None:
        return None
    optuna = need_optuna("a search with a pruner")
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if isinstance(pruner, str):
        if pruner in PRUNERS:
            return getattr(optuna.pruners, PRUNERS[pruner])()
        raise ValueError(f"`pruner` must be one of {', '.join(PRUNERS)}, got {pruner!r}")
    raise TypeError(f"`pruner` must be a name, an Optuna pruner or None, got {type(pruner).__name__}")
