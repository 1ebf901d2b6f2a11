"""For all tests: numba makes millions of small objects, and collecting them at every 700th is a tenth of the time."""

import gc

gc.set_threshold(50_000, 20, 100)


def pytest_collection_finish():
    """What is imported by now stays: it need not be looked through either."""
    gc.freeze()
