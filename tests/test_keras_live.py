"""Comparison with the live Keras, in float64 and in another process."""

from importlib.util import find_spec

import pytest

import pyfastlr as flr
from cases import CASES
from oracles import assert_same_run, default_run, other_process, problem, run_of, runs, trajectories

KERAS = [case for case in CASES if case.convention == "keras"]
RUN = problem(n=257, bank=101, seed=7)
pytestmark = pytest.mark.skipif(not (find_spec("keras") and find_spec("jax")), reason="keras or jax is not installed")


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


@pytest.mark.parametrize("case", KERAS, ids=lambda case: case.name)
def test_every_step_is_keras_s(case, there):
    theirs = there.submit(trajectories, case, RUN)
    for decay in runs(case):
        ours = run_of(case, RUN, decay)
        assert_same_run(ours, theirs.result()[decay], RUN.p)


@pytest.mark.parametrize("case", [case for case in KERAS if not case.kwargs], ids=lambda case: case.name)
def test_unset_arguments_are_keras_s(case, there):
    p = RUN.p.copy()
    opt = getattr(flr, case.cls)(p, convention="keras")
    for k in range(20):
        opt.step(RUN.gradient(k))
    assert_same_run(p, there.submit(default_run, case, RUN, 20).result(), RUN.p)
