"""States move to and from the live Keras, in another process: the run goes on as if it had stayed."""

from importlib.util import find_spec

import pytest

import moving
from cases import CASES
from moving import CONTAINERS, RUN
from oracles import assert_same_run, other_process

KERAS = [case for case in CASES if case.convention == "keras"]
pytestmark = pytest.mark.skipif(not (find_spec("keras") and find_spec("jax")), reason="keras or jax is not installed")


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", KERAS, ids=lambda case: case.name)
def test_a_run_of_keras_goes_on_here(case, container, there):
    got, want, lost = there.submit(moving.to_here, case, container).result()
    assert_same_run(got, want, RUN.p)
    if case.state:  # the test sees a state that is lost
        with pytest.raises(AssertionError, match="of what is allowed"):
            assert_same_run(lost, want, RUN.p)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", KERAS, ids=lambda case: case.name)
def test_a_run_goes_on_in_keras(case, container, there):
    got, want = there.submit(moving.from_here, case, container).result()
    assert_same_run(got, want, RUN.p)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("case", KERAS, ids=lambda case: case.name)
def test_there_and_back_to_the_bit(case, container, there):
    for before, after in there.submit(moving.there_and_back, case, container).result():
        assert before == after


def test_the_page_s_example(there):
    assert there.submit(moving.failures_of_page, "keras").result() == (10, "")


def test_the_optimizer_of_a_model(there):
    """With a schedule, averages and a decay; every form of its variables."""
    there.submit(moving.keras_model).result()


def test_accumulated_gradients_are_refused(there):
    there.submit(moving.keras_accumulation_is_refused).result()
