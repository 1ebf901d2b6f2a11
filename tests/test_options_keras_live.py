"""Options against the live Keras: clipnorm, global_clipnorm, clipvalue, use_ema, gradient accumulation, in float64."""

from importlib.util import find_spec

import pytest

from cases import CASES
from option_oracles import assert_close, keras_run, our_run, problem
from oracles import other_process

KERAS = [case for case in CASES if case.convention == "keras"]
CALLS = 12
pytestmark = pytest.mark.skipif(not (find_spec("keras") and find_spec("jax")), reason="keras or jax is not installed")

OPTIONS = {
    "global_clipnorm": {"clip_norm": 2.0},
    "clipnorm": {"clip_norm_each": 0.5},
    "clipvalue": {"clip_value": 0.5},
    "use_ema": {"ema_decay": 0.9, "clip_norm": 2.0},
    "ema_overwrite_frequency": {"ema_decay": 0.9, "overwrite": 3},
    "gradient_accumulation_steps": {"accumulate": 3, "clip_norm_each": 1.0},
}


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("case", KERAS, ids=lambda case: case.name)
def test_every_call_is_keras_s(case, name, there):
    start, g = problem(CALLS, seed=12)
    theirs = there.submit(keras_run, case, OPTIONS[name], start, g)
    ours = our_run(case, OPTIONS[name], start, g)
    for got, want in zip(ours, theirs.result(), strict=True):
        assert_close(got, want, start)
