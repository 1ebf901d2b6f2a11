"""Setup for all tests: less garbage collection, and Ctrl-C handled as in a foreground program."""

import gc
import signal

import pytest

gc.set_threshold(50_000, 20, 100)  # numba creates millions of objects; collecting at each 700th takes 10 % of the time

# A shell without job control starts `pytest &` with SIGINT ignored, and children inherit that: tests that interrupt
# their children would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Exclude everything imported so far from garbage collection, because it stays."""
    gc.freeze()


@pytest.fixture
def parallel_from_the_first_chunk(monkeypatch):
    """All steps of more than one chunk use the pool, however small they are."""
    from pyfastlr.engines import host

    monkeypatch.setattr(host, "PARALLEL_ABOVE", 0)


@pytest.fixture(params=["compiled", "plain"])
def either_launch(request, monkeypatch):
    """Both launches: the one in Python is for numpys whose records are not known."""
    from pyfastlr.engines import plain_launch

    if request.param == "plain":
        monkeypatch.setattr(plain_launch, "is_needed", lambda: True)
