"""Options against the live optax: clipping, averages of the parameters, MultiSteps and apply_if_finite, in float64."""

from importlib.util import find_spec

import numpy as np
import pytest

from cases import CASES
from option_oracles import assert_close, optax_run, our_run, problem
from oracles import other_process

OPTAX = [case for case in CASES if case.convention == "optax"]
CALLS = 24
pytestmark = pytest.mark.skipif(not (find_spec("optax") and find_spec("jax")), reason="optax or jax is not installed")

OPTIONS = {
    "clip_by_global_norm": {"clip_norm": 2.0},
    "clip": {"clip_value": 0.5},
    "both": {"clip_value": 0.5, "clip_norm": 0.75},
    "incremental_update": {"ema_decay": 0.9, "clip_norm": 2.0},
    "MultiSteps": {"accumulate": 3, "clip_norm": 1.0},
    "apply_if_finite": {"nonfinite": "skip", "clip_value": 5.0},
}


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("case", OPTAX, ids=lambda case: case.name)
def test_every_call_is_optax_s(case, name, there):
    options = OPTIONS[name]
    start, g = problem(CALLS, seed=11)
    if "nonfinite" in options:
        for k, bad in ((0, np.nan), (3, np.inf), (4, -np.inf), (9, np.nan)):
            g[k, k] = bad
    theirs = there.submit(optax_run, case, options, start, g)
    ours = our_run(case, options, start, g)
    for got, want in zip(ours, theirs.result(), strict=True):
        assert_close(got, want, start)
