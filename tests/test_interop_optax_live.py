"""States move to and from the live optax, in another process: the run goes on as if it had stayed."""

from importlib.util import find_spec

import pytest

import moving
from cases import CASES
from moving import CONTAINERS, RUN
from oracles import assert_same_run, other_process

OPTAX = [case for case in CASES if case.convention == "optax"]
WRAPPED = ("adam-optax", "rmsprop-centered-momentum-optax", "adagrad-optax", "rprop-optax")
PLACES = [
    *((case, container, "") for case in OPTAX for container in CONTAINERS),
    *((x, "dict", wrap) for x in OPTAX if x.name in WRAPPED for wrap in ("chain", "inject", "multi")),
    *((x, "dict", wrap) for x in OPTAX if x.name == "adam-optax" for wrap in ("finite", "multisteps")),
]
pytestmark = pytest.mark.skipif(not (find_spec("optax") and find_spec("jax")), reason="optax or jax is not installed")


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


def ids(value):
    return value.name if hasattr(value, "name") else value


@pytest.mark.parametrize(("case", "container", "wrap"), PLACES, ids=ids)
def test_a_run_of_optax_goes_on_here(case, container, wrap, there):
    got, want, lost = there.submit(moving.to_here, case, container, wrap=wrap).result()
    assert_same_run(got, want, RUN.p)
    if case.state:  # the test sees a state that is lost
        with pytest.raises(AssertionError, match="of what is allowed"):
            assert_same_run(lost, want, RUN.p)


@pytest.mark.parametrize(("case", "container", "wrap"), PLACES, ids=ids)
def test_a_run_goes_on_in_optax(case, container, wrap, there):
    got, want = there.submit(moving.from_here, case, container, wrap=wrap).result()
    assert_same_run(got, want, RUN.p)


@pytest.mark.parametrize(("case", "container", "wrap"), PLACES, ids=ids)
def test_there_and_back_to_the_bit(case, container, wrap, there):
    for before, after in there.submit(moving.there_and_back, case, container, wrap=wrap).result():
        assert before == after


def test_the_page_s_example(there):
    assert there.submit(moving.failures_of_page, "jax.numpy as jnp, optax").result() == (11, "")


def test_other_states_are_refused_by_name(there):
    found = there.submit(moving.optax_refusals).result()
    assert {name: text.partition(", got ")[2] for name, text in found.items()} == {
        "adabelief": "ScaleByBeliefState with count, mu, nu",
        "sgd": "TraceState with trace",
        "bias": "ScaleByRmsWithCountState with count, nu",
        "ema": "EmaState with count, ema",
        "plateau": found["plateau"].partition(", got ")[2],
        "masked": "none",
        "twice": "a second one",
        "array": "an array 'w'",
    }
    assert "got ReduceLROnPlateauState with" in found["plateau"]


def test_dtypes_are_those_of_the_example(there):
    there.submit(moving.optax_dtypes).result()
