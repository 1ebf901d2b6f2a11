"""Runs of 2,100 steps against the files that scripts/make_golden.py wrote from the live libraries, in float64."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import reference
from cases import CASES
from oracles import RUNS, STEPS, Problem, weight_decay

RUN_OF_CASE = [pytest.param(case, decay, id=f"{case.name}-{decay}") for case in CASES for decay in RUNS]


@cache
def golden(library):
    with np.load(Path(__file__).parent / "golden" / f"{library}.npz") as file:
        data = dict(file)
    data["about"] = json.loads(str(data["about"]))
    return data


def check(case, decay, at_step):
    """Compare with the file to 1e-10 of the largest distance of any parameter from its start, over the checkpoints."""
    file = golden(case.convention)
    want = file[f"{case.name}/{decay}"]
    got = np.array([at_step[k] for k in file["checkpoints"]])
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want - file["p"]).max()


def run_of(case):
    file = golden(case.convention)
    return Problem(file["p"], file["bank"], file["schedule"])


@pytest.mark.parametrize("convention", sorted({case.convention for case in CASES}))
def test_file_has_exactly_the_rows_of_the_table(convention):
    rows = {
        f"{case.name}/{decay}": {"lr": case.lr, "weight_decay": weight_decay(case, decay), "kwargs": dict(case.kwargs)}
        for case in CASES
        if case.convention == convention
        for decay in RUNS
    }
    assert golden(convention)["about"]["rows"] == rows


@pytest.mark.parametrize(("case", "decay"), RUN_OF_CASE)
def test_optimizer_reproduces_the_file(case, decay):
    run, at_step = run_of(case), {}
    p = run.p.copy()
    options = {} if decay in ("none", case.decay) else {"decay": decay}  # the convention's own kind is the default
    rate = lambda n: case.lr * run.schedule[n]  # noqa: E731
    opt = case.make(p, rate, weight_decay=weight_decay(case, decay), **options)
    for k in range(STEPS):
        opt.step(run.gradient(k))
        at_step[k + 1] = p.copy()
    check(case, decay, at_step)


@pytest.mark.parametrize(("case", "decay"), RUN_OF_CASE)
def test_textbook_formula_reproduces_the_file(case, decay):
    run, at_step = run_of(case), {}
    p = run.p
    state = reference.initial(case.state, p, **case.kwargs)
    kind = case.decay if decay == "none" else decay
    for k in range(STEPS):
        g, lr, wd = run.gradient(k), case.lr * run.schedule[k], weight_decay(case, decay)
        p, state = reference.update(case.formula, p, g, state, k + 1, lr, wd, kind, **case.kwargs)
        at_step[k + 1] = p
    check(case, decay, at_step)
