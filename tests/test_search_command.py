"""`pyfastlr search`: on the demo's network, on users' functions, and what it refuses."""

import json

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.cli import search_model
from pyfastlr.cli.commands import app
from pyfastlr.schedules import Cosine
from test_cli import run

USER = """
import math

def problem():
    return (lambda v: (math.log(v["lr"]) + 3) ** 2), {"lr": (1e-3, 1.0), "momentum": [0.0, 0.9]}

def broken():
    def objective(values):
        raise KeyError("half-way")
    return objective, {"lr": (1e-3, 1.0)}

def nan():
    return (lambda v: math.nan), {"lr": (1e-3, 1.0)}

def three():
    return 1, 2, 3

def wrong_space():
    return (lambda v: 0.0), {"lr": 0.1}
"""


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "users_search.py").write_text(USER, encoding="utf-8")
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, ["search", *map(str, arguments)], env={"COLUMNS": "120"})


def test_the_demos_network(user):
    picture = user / "search.png"
    result = invoke("--steps", 60, "--trials", 12, "--optimizer", "sgd", "--optimizer", "adamw", "--plot", picture)
    assert result.exit_code == 0, result.output
    assert "bayesian search, 12 trials" in result.output
    best = next(line for line in result.output.splitlines() if line.startswith("best: "))
    assert "(params, lr=Cosine(" in best
    assert float(result.output.split("test accuracy ")[1].split()[0]) > 0.85
    assert picture.stat().st_size > 5000


def test_the_objective_is_the_loss_of_held_out_images():
    """A training by hand, with plain numpy's shuffles and this library's optimizer."""
    from pyfastlr import demo

    values = {"optimizer": "AdamW", "schedule": "cosine", "lr": 0.01, "weight_decay": 0.1}
    reports = []
    found = search_model.make_objective(40, 3)(values, reports.append)
    (x, y), _ = demo.digits(3)
    order = np.random.default_rng(3).permutation(len(y))
    rng = np.random.default_rng(3)
    params = flr.Flat(demo.initial(128, rng))
    grads, losses = params.like(), []
    opt = flr.AdamW(params, lr=Cosine(0.01, 38).warmup(2), weight_decay=0.1)
    batches = demo.mini_batches((x[order[300:]], y[order[300:]]), 64, rng)
    with threadpool_limits(1, user_api="blas"):  # another number of threads may give other bits
        for _ in range(40):
            losses.append(demo.loss_and_gradient(params, grads, *next(batches)))
            opt.step(grads)
    assert found == pytest.approx(demo.evaluate(params, (x[order[:300]], y[order[:300]]))[0], rel=1e-6)
    assert reports == [np.mean(losses[k : k + 4]) for k in range(0, 40, 4)]


def test_json_and_storage(user):
    arguments = ("users_search.py:problem", "--json", "--storage", user / "a.db", "--trials")
    first = json.loads(invoke(*arguments, 5).output)
    second = json.loads(invoke(*arguments, 9).output)
    assert second["trials"][:5] == first["trials"]
    assert len(second["trials"]) == 9
    assert second["best_value"] == min(x["value"] for x in second["trials"])
    problem = {"lr": (1e-3, 1.0), "momentum": [0.0, 0.9]}
    expected = tune.search(lambda v: (np.log(v["lr"]) + 3) ** 2, problem, trials=9, seed=0)
    assert second["best"] == expected.best_trial.parameters


def test_a_users_function_in_two_processes():
    result = invoke("users_search.py:problem", "--method", "random", "--trials", 6, "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert "best: {'lr': 0.0" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--lr", "1", "0.1"), 2, "`lr` must be 0 < LOW < HIGH, got 1.0 and 0.1"),
        (("--weight-decay", "1", "0.1"), 2, "`weight-decay` must be 0 <= LOW < HIGH"),
        (("--optimizer", "best"), 2, "`optimizer` must be one of AdaBelief"),
        (("--schedule", "best"), 2, "`schedule` must be one of constant"),
        (("--method", "best"), 2, "`method` must be one of bayesian, random, grid"),
        (("--plot", "a.txt"), 2, "`plot` must end in one of"),
        (("--storage", "no/such.db"), 2, "`storage` must be a file that can be written"),
        (("users_search.py:broken",), 1, "users_search.py:broken: KeyError: 'half-way'"),
        (("users_search.py:three",), 2, "`target` must return (objective, space), got 3 values"),
        (("users_search.py:wrong_space",), 2, "`space` must have a range or a list of choices"),
        (("users_search.py:nothing",), 2, "`target` must name a function"),
        (("users_search.py:nan", "--method", "random", "--trials", "3"), 1, "no trial has finished: all of them"),
    ],
)
def test_what_is_refused(arguments, code, message):
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.replace("│", " ").split())


def test_without_optuna():
    result = run("search", "users_search.py:problem", missing=("optuna",))
    assert result.returncode == 1
    assert 'needs Optuna: pip install "pyfastlr[tune]"' in result.stderr
    result = run("search", "users_search.py:problem", "--method", "random", "--trials", "3", missing=("optuna",))
    assert result.returncode == 0
