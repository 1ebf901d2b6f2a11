"""Setup for all tests: less garbage collection, and Ctrl-C handled as in a foreground program."""

import gc
import signal

gc.set_threshold(50_000, 20, 100)  # numba creates millions of objects; collecting at each 700th takes 10 % of the time

# A shell without job control starts `pytest &` with SIGINT ignored, and children inherit that: tests that interrupt
# their children would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Exclude everything imported so far from garbage collection, because it stays."""
    gc.freeze()
