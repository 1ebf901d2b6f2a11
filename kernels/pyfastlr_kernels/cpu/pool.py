"""The thread pool: a few daemon threads that help with the update phase of a step, and the memory that they share.

The library has its own pool because OpenMP, TBB and numba's workqueue each fail users in some way: workqueue aborts the
process when two threads enter it, and its launch costs 50 to 100 us; GNU OpenMP aborts a forked child; a layer may not
be installed. This pool starts when the first step needs it. When it is busy, a step runs on the caller's thread alone.
A forked child starts a new pool. The pool's threads wait without the interpreter lock. The protocol is in launch.py.

It uses only what every CPython has: each helper sleeps on a lock from `PyThread_allocate_lock`.
"""

import atexit
import ctypes
import os
import sys
import threading
import time
from typing import Any

import numpy as np

from pyfastlr_kernels.compile.first_use import ForkHooks, at_fork, once, whole
from pyfastlr_kernels.tables import LINE

# Offsets in the block, in bytes: one cache line each, then one line with two words per helper.
OWNER, GENERATION, JOB_AT, TICKETS, RUNNING, STOP, ALIVE, YIELD, NATIVE, FORKING = (LINE * k for k in range(10))
HELPERS = 10 * LINE
STATE, LOCK = 0, 8  # in a helper's line
MAX_THREADS = 1024
_SIZE = HELPERS + MAX_THREADS * LINE
AWAKE, ASLEEP = 0, 1


def default_threads() -> int:
    """Return the number of threads of a step if the user does not give it.

    It is PYFASTLR_NUM_THREADS, else the number of cores that this process may use, but not more than NUMBA_NUM_THREADS
    or OMP_NUM_THREADS: joblib, dask and job schedulers set those to give each process its share.
    """
    given = os.environ.get("PYFASTLR_NUM_THREADS", "")
    if given:
        if not given.isdecimal() or not 1 <= int(given) <= MAX_THREADS:
            raise ValueError(f"PYFASTLR_NUM_THREADS must be an integer from 1 to {MAX_THREADS}, got {given!r}")
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MAX_THREADS, *map(_limit, ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"))))


def _limit(variable: str) -> int:
    """Return the number of threads that another library's variable allows. OpenMP's may be a list: use its first."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) >= 1 else MAX_THREADS


def describe() -> str:
    """Return one line for `pyfastlr info`."""
    return "pyfastlr's own pool"


def _yield_address() -> int:
    """Return the address of the system's function that yields this core to other threads, or 0 if there is none."""
    try:
        if sys.platform == "win32":
            function: Any = ctypes.WinDLL("kernel32").SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class Pool:
    """A block of shared memory and its threads."""

    def __init__(self) -> None:
        self._raw = np.zeros(_SIZE + LINE, np.uint8)
        start = -self._raw.ctypes.data % LINE
        self._block = self._raw[start : start + _SIZE].view(np.int64)
        self.address: int = self._block.ctypes.data
        api = ctypes.pythonapi
        self._allocate, self._acquire, self._release = (
            api.PyThread_allocate_lock, api.PyThread_acquire_lock, api.PyThread_release_lock
        )  # fmt: skip
        self._allocate.restype = ctypes.c_void_p
        self._acquire.argtypes, self._release.argtypes = (ctypes.c_void_p, ctypes.c_int), (ctypes.c_void_p,)
        self._reset()

    def _reset(self) -> None:
        """Become a pool without helpers, whatever is in memory."""
        self._helpers: list[threading.Thread] = []
        self._ended = False
        self._block[:] = 0
        self._block[YIELD // 8] = _yield_address()

    def helpers(self) -> int:
        """Return the number of helpers."""
        return len(self._helpers)

    def ensure(self, threads: int) -> bool:
        """Start helpers until there are `threads` threads, the caller's included; return False if that fails."""
        return whole(lambda: self._start(threads))

    def _start(self, threads: int) -> bool:
        from .load import helper_address

        work = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(helper_address())
        while not self._ended and len(self._helpers) < min(threads, MAX_THREADS + 1) - 1:
            index = len(self._helpers)
            lock = self._allocate()
            if not lock:
                return False
            self._acquire(lock, 1)  # a helper sleeps by acquiring it again
            line = (HELPERS + LINE * index) // 8
            self._block[line + STATE // 8], self._block[line + LOCK // 8] = AWAKE, lock
            helper = threading.Thread(
                target=work, args=(self.address, index), name=f"pyfastlr-{index + 1}", daemon=True
            )
            try:
                helper.start()
            except RuntimeError:  # the system has no more threads
                return False
            self._helpers.append(helper)
            self._block[ALIVE // 8] = index + 1
        return not self._ended

    def end(self) -> None:
        """Make the helpers return before the interpreter frees their code."""
        whole(self._end)

    def _end(self) -> None:
        self._ended = True
        self._block[STOP // 8] = 1
        self._block[GENERATION // 8] += 1
        for index in range(len(self._helpers)):
            line = (HELPERS + LINE * index) // 8
            if self._block[line + STATE // 8] == ASLEEP:
                self._block[line + STATE // 8] = AWAKE
                self._release(int(self._block[line + LOCK // 8]))
        for helper in self._helpers:
            helper.join(1.0)
        self._block[ALIVE // 8] = 0

    # A fork copies the memory as it is, so it must not come in the middle of another thread's step.

    def before_fork(self) -> None:
        """Wait until no step runs without the interpreter lock; new steps keep it."""
        self._block[FORKING // 8] = 1
        while self._block[NATIVE // 8]:
            time.sleep(2e-5)

    def after_fork_in_parent(self) -> None:
        """Let steps release the interpreter lock again."""
        self._block[FORKING // 8] = 0


@once
def shared() -> Pool:
    """Return the pool of this process. A forked child has none of its threads."""
    pool = Pool()
    atexit.register(pool.end)
    at_fork(ForkHooks(pool.before_fork, pool.after_fork_in_parent, pool._reset))
    return pool
