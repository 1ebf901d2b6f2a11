"""For all tests: fewer collections of garbage, and Ctrl-C as a program in the foreground has it."""

import gc
import signal

gc.set_threshold(50_000, 20, 100)  # numba makes millions of small objects: collecting at each 700th is 10 % of the time

# A shell without job control starts `pytest &` with SIGINT ignored, and children inherit that: tests that interrupt
# their children would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What is imported by now stays: it need not be looked through either."""
    gc.freeze()
