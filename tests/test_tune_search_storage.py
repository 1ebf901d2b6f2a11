"""`tune.search` with a database: going on after any end, several processes, workers."""

import os
import signal
import subprocess
import sys
import time

import optuna
import pytest

from pyfastlr import tune

RATES = {"lr": (1e-5, 10.0), "momentum": [0.0, 0.9]}
PROGRAM = """
import sys, time
from pathlib import Path
from pyfastlr import tune

def objective(values):
    with open(sys.argv[2], "a") as log:  # one write: whole lines, from all processes
        log.write(f"{values['lr']!r}\\n")
    time.sleep(float(sys.argv[5]))
    return values["lr"]

if __name__ == "__main__":
    storage, jobs, method = sys.argv[1], int(sys.argv[3]), sys.argv[4]
    print("ready", flush=True)
    tune.search(objective, {"lr": (1e-5, 10.0), "momentum": [0.0, 0.9]}, method, trials=12, storage=storage, jobs=jobs)
"""


def value(values):
    return values["lr"]


def trials_of(found):
    return [(x.number, dict(x.parameters), x.value, x.state) for x in found.trials]


@pytest.mark.parametrize("name", ["search.db", "search.log"])
@pytest.mark.parametrize("method", ["random", "grid", "bayesian"])
def test_interrupted_equals_uninterrupted(tmp_path, method, name):
    """After each exception, the next call goes on, and the trials are those of one call: bit for bit."""
    whole = tune.search(value, RATES, method, trials=16, seed=5)
    calls = []

    def fragile(values):
        calls.append(values["lr"])
        if len(calls) % 4 == 2:
            raise KeyboardInterrupt if len(calls) % 8 == 2 else KeyError
        return values["lr"]

    for _ in range(30):
        try:
            found = tune.search(fragile, RATES, method, trials=16, seed=5, storage=tmp_path / name)
            break
        except (KeyError, KeyboardInterrupt):
            pass
    assert trials_of(found) == trials_of(whole)
    assert len(calls) == 16 + 5  # each of the five that failed was run once more
    again = tune.search(fragile, RATES, method, trials=16, storage=str(tmp_path / name))
    assert trials_of(again) == trials_of(whole)
    assert len(calls) == 21
    if method != "grid":
        more = tune.search(value, RATES, method, trials=20, storage=tmp_path / name)
        assert trials_of(more) == trials_of(tune.search(value, RATES, method, trials=20, seed=5))


@pytest.mark.parametrize(("jobs", "method"), [(1, "bayesian"), (1, "random"), (2, "bayesian"), (2, "grid")])
def test_killed_at_any_time(tmp_path, jobs, method):
    """SIGKILL at many moments: no finished trial is lost or run again, and the total is exact."""
    program, log, storage = tmp_path / "program.py", tmp_path / "log", tmp_path / "search.db"
    program.write_text(PROGRAM)

    def start(pause):
        arguments = [str(storage), str(log), str(jobs), method, str(pause)]
        return subprocess.Popen(
            [sys.executable, str(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    kills = 0
    for k in range(6):
        process = start(0.05)
        assert process.stdout.readline() == "ready\n"
        lines = len(log.read_text().splitlines()) if log.exists() else 0
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:  # until it has begun a trial or two
            if log.exists() and len(log.read_text().splitlines()) > lines:
                time.sleep(0.031 * k)
                break
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills >= 2
    process = start(0)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    study = optuna.load_study(study_name="pyfastlr", storage=f"sqlite:///{storage}")
    complete = [x for x in study.get_trials(deepcopy=False) if x.state == optuna.trial.TrialState.COMPLETE]
    total = 12
    assert sorted(x.user_attrs["index"] for x in complete) == list(range(total))
    runs = [float(x) for x in log.read_text().splitlines()]
    assert total <= len(runs) <= total + kills * jobs  # only what was running was run again
    assert {x.params["lr"] for x in complete} == set(runs)  # with the same values


def test_two_processes_share_the_work(tmp_path):
    program, log, storage = tmp_path / "program.py", tmp_path / "log", tmp_path / "search.db"
    program.write_text(PROGRAM)
    tune.search(value, RATES, "random", trials=1, seed=0, storage=storage)  # makes the tables
    processes = [
        subprocess.Popen([sys.executable, str(program), str(storage), str(log), "1", "random", "0.1"]) for _ in range(2)
    ]
    assert [x.wait(120) for x in processes] == [0, 0]
    runs = log.read_text().splitlines()
    assert len(runs) == len(set(runs)) == 11
    found = tune.search(value, RATES, "random", trials=12, storage=storage)
    assert trials_of(found) == trials_of(tune.search(value, RATES, "random", trials=12, seed=0))


def test_another_search_is_refused(tmp_path):
    path = tmp_path / "search.db"
    tune.search(value, RATES, "random", trials=2, seed=3, storage=path)
    changed = {"lr": (1e-4, 10.0), "momentum": [0.0, 0.9]}
    for space, options, message in (
        (changed, {}, "for `lr`, it has 1e-05 to 10.0 log, got 0.0001 to 10.0 log"),
        ({"lr": RATES["lr"]}, {}, "for `momentum`, it has 0.0, 0.9, got nothing"),
        (RATES, {"mode": "max"}, "`mode` must be that of the search in `storage`, 'min', got 'max'"),
        (RATES, {"seed": 4}, "`seed` must be that of the search in `storage`, 3, or None, got 4"),
        (RATES, {"method": "grid"}, "`trials` and `method` must make the grid that `storage` has, None, got 50"),
    ):
        with pytest.raises(ValueError, match=message):
            tune.search(value, space, **{"method": "random", **options}, storage=path)
    assert len(tune.search(value, changed, "random", trials=2, storage=path, name="other").trials) == 2
    assert tune.search(value, RATES, "bayesian", trials=12, storage=path).trials[11].state == "finished"
    other = tmp_path / "text.db"
    other.write_text("no database")
    with pytest.raises(ValueError, match="`storage` must be an SQLite file or a new one, got another file"):
        tune.search(value, RATES, "random", storage=other)


def test_storages_of_optuna(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    found = tune.search(value, RATES, "random", trials=3, seed=0, storage=url)
    storage = optuna.storages.RDBStorage(url)
    assert trials_of(tune.search(value, RATES, "random", trials=3, storage=storage)) == trials_of(found)
    storage.engine.dispose()


# --- Workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "grid"])
def test_workers_run_the_same_trials(method):
    shift = 1.0  # a closure
    found = tune.search(lambda v: v["lr"] + shift, RATES, method, trials=12, seed=2, jobs=2)
    alone = tune.search(lambda v: v["lr"] + shift, RATES, method, trials=12, seed=2)
    assert trials_of(found) == trials_of(alone)


def test_workers_prune_report_and_diverge():
    def objective(values, report):
        if values["lr"] > 3.0:
            raise FloatingPointError
        for k in range(20):
            report(values["lr"] + 1 / (k + 1), k)
        return values["lr"]

    found = tune.search(objective, RATES, trials=30, seed=0, jobs=2, pruner="median")
    states = {x.state for x in found.trials}
    assert states == {"finished", "diverged", "pruned"}
    assert all(len(x.reports) == 20 for x in found.trials if x.state == "finished")


def test_an_exception_in_a_worker(tmp_path):
    def objective(values):
        if values["lr"] > 1e-3:
            raise KeyError("mine")
        return values["lr"]

    with pytest.raises(KeyError, match="mine") as caught:
        tune.search(objective, RATES, trials=30, seed=0, jobs=2, storage=tmp_path / "x.db")
    assert any(x.startswith("in trial ") for x in caught.value.__notes__)
    found = tune.search(value, RATES, trials=30, jobs=2, storage=tmp_path / "x.db")
    assert [x.state for x in found.trials] == ["finished"] * 30


def test_a_worker_that_dies(tmp_path):
    """Once: its trial is run again. Always: the error names it."""
    marker = tmp_path / "died"

    def once(values):
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return values["lr"]

    found = tune.search(once, RATES, "random", trials=6, seed=0, jobs=2)
    assert trials_of(found) == trials_of(tune.search(value, RATES, "random", trials=6, seed=0))

    def always(values):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"a worker process ended 2 times while trials .* were running"):
        tune.search(always, RATES, "random", trials=6, seed=0, jobs=2)


def test_workers_share_the_cores():
    def threads(values):
        return float(os.environ["PYFASTLR_NUM_THREADS"])

    found = tune.search(threads, RATES, "random", trials=4, jobs=2)
    assert {x.value for x in found.trials} == {max(1.0, len(os.sched_getaffinity(0)) // 2)}
