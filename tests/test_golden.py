"""Float64 runs of 2,100 steps against the files that scripts/make_golden.py wrote from the live libraries."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import reference
from cases import CASES, CONVENTIONS
from oracles import Problem, assert_same_run, rates, run_lr, run_of, runs, weight_decay

each_run = pytest.mark.parametrize(
    ("case", "decay"), [pytest.param(case, decay, id=f"{case.name}-{decay}") for case in CASES for decay in runs(case)]
)


@cache
def golden(library):
    with np.load(Path(__file__).parent / "golden" / f"{library}.npz") as file:
        data = dict(file)
    return data | {
        "about": json.loads(str(data["about"])),
        "problem": Problem(data["p"], data["bank"], data["schedule"]),
    }


@pytest.mark.parametrize("library", CONVENTIONS)
def test_file_has_exactly_the_rows_of_the_table(library):
    rows = {
        f"{case.name}/{decay}": {
            "lr": run_lr(case), "weight_decay": weight_decay(case, decay), "kwargs": dict(case.kwargs)
        }
        for case in CASES
        if case.convention == library
        for decay in runs(case)
    }  # fmt: skip
    assert golden(library)["about"]["rows"] == rows
    assert set(golden(library)["about"]["versions"]) >= {library, "numpy"}


@each_run
def test_optimizer_reproduces_the_file(case, decay):
    file = golden(case.convention)
    got = run_of(case, file["problem"], decay)[file["checkpoints"] - 1]
    assert_same_run(got, file[f"{case.name}/{decay}"], file["p"])


@each_run
def test_textbook_formula_reproduces_the_file(case, decay):
    """Up to update 500. The first few updates show the formula, and numpy is slow."""
    file = golden(case.convention)
    run, steps = file["problem"], file["checkpoints"][file["checkpoints"] <= 500]
    p, out = run.p, []
    lrs = rates(case, run)
    state = case.start(p, lrs[0])
    kind = case.decay if decay == "none" else decay
    for k in range(steps[-1]):
        g, lr, wd = run.gradient(k), case.rate(lrs[k], k + 1, lrs[k - 1]), weight_decay(case, decay)
        p, state = reference.update(case.row.formula, p, g, state, k + 1, lr, wd, kind, **case.hyper)
        out.append(p)
    assert_same_run(np.array(out)[steps - 1], file[f"{case.name}/{decay}"][: len(steps)], run.p)
