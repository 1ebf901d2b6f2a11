"""Run scripts in separate processes and calls in separate threads, all of which end even after a failure."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

LONG = 300  # seconds: the last resort against a hang, far from what anything here takes


def run(script, *arguments, timeout=LONG, **environment):
    """Run a script in a new process that can import the tests' helpers; return its output."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def in_thread(work):
    """Run `work` in a new thread; return its result or raise its error."""
    (result,) = in_threads([work])
    return result


def in_threads(works):
    """Run each function in a new thread, all at the same time; return the results or raise the first error."""
    results, errors = {}, []

    def call(k, work):
        try:
            results[k] = work()
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    threads = [threading.Thread(target=call, args=pair, daemon=True) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    if errors:
        raise errors[0]
    assert len(results) == len(threads), "a thread hangs"
    return [results[k] for k in range(len(threads))]


class Beside:
    """Call `work` repeatedly in a thread while the block runs; raise its error at the end.

    `calls` is how many were done.
    """

    def __init__(self, work):
        self._work, self._ends, self._error, self.calls = work, False, None, 0
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self):
        try:
            while not self._ends:
                self._work()
                self.calls += 1
        except BaseException as error:  # noqa: BLE001  # raised by the thread that waits
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ends = True
        self._thread.join(LONG)
        if kind is None:
            if self._error is not None:
                raise self._error
            assert not self._thread.is_alive(), "the thread hangs"

    def wait(self, calls):
        """Until so many more calls were done."""
        target = self.calls + calls
        while self.calls < target and self._thread.is_alive():
            time.sleep(1e-4)
        if self._error is not None:
            raise self._error
