"""The thread pool: a few daemon threads that help with the walk of a step, and a block of memory that they share.

It is the library's own because OpenMP, TBB and numba's workqueue each fail users in one way: the process is aborted
when two threads enter (workqueue) or in a forked child (GNU OpenMP), a launch costs 50 to 100 us (workqueue), or the
layer is not there. This one starts when the first step needs it, leaves the caller alone when it is busy, and is
started afresh in a forked child. Its threads wait without the interpreter lock. The protocol is in launch.py.
"""

import atexit
import os
import threading
from functools import cache
from typing import Any

import numpy as np

from .chunks import LINE

# Offsets in the block, in bytes: a cache line each. A POSIX mutex or condition takes at most 64 bytes.
OWNER, GENERATION, JOB_AT, TICKETS, RUNNING, SLEEPERS, STOP, ALIVE, MUTEX, CONDITION = (LINE * k for k in range(10))
_SIZE = 11 * LINE


def default_threads() -> int:
    """Threads of a step where the user names none: PYFASTLR_NUM_THREADS, else the cores that this process may use."""
    asked = os.environ.get("PYFASTLR_NUM_THREADS", "")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise ValueError(f"PYFASTLR_NUM_THREADS must be a positive integer, got {asked!r}")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available() -> bool:
    """Whether this system has what the pool is made of."""
    return os.name == "posix"


def describe() -> str:
    """One line for `pyfastlr info`."""
    return "pyfastlr's own pool (POSIX threads)" if available() else "none (one thread)"


@cache
def _c() -> "tuple[Any, Any]":
    from cffi import FFI

    ffi = FFI()
    ffi.cdef(
        "int pthread_mutex_init(void *, void *); int pthread_mutex_lock(void *); int pthread_mutex_unlock(void *);"
        "int pthread_cond_init(void *, void *); int pthread_cond_broadcast(void *);"
    )
    return ffi, ffi.dlopen(None)


class Pool:
    """The block and its threads."""

    def __init__(self) -> None:
        self._raw = np.zeros(_SIZE + LINE, np.uint8)
        start = -self._raw.ctypes.data % LINE
        self._block = self._raw[start : start + _SIZE].view(np.int64)
        self.address: int = self._block.ctypes.data
        self._forget()

    def _forget(self) -> None:
        """Be a pool without helpers, whatever the memory says."""
        self._lock = threading.Lock()
        self._helpers: list[threading.Thread] = []
        self._ended = False
        self._block[:] = 0

    def helpers(self) -> int:
        """Threads running beside the callers'."""
        return len(self._helpers)

    def ensure(self, threads: int) -> bool:
        """Start helpers until `threads` can walk, the caller's included; False if that cannot be."""
        from . import jit

        with self._lock:
            if self._ended:
                return False
            ffi, c = _c()
            if not self._helpers:
                c.pthread_mutex_init(ffi.cast("void *", self.address + MUTEX), ffi.NULL)
                c.pthread_cond_init(ffi.cast("void *", self.address + CONDITION), ffi.NULL)
            work = ffi.cast("int64_t (*)(int64_t, int64_t, int64_t)", jit.step())
            while len(self._helpers) < threads - 1:
                index = len(self._helpers) + 1
                helper = threading.Thread(
                    target=work, args=(self.address, 0, -1), name=f"pyfastlr-{index}", daemon=True
                )
                try:
                    helper.start()
                except RuntimeError:  # the system gives no more threads
                    return False
                self._helpers.append(helper)
                self._block[ALIVE // 8] = index
            return True

    def end(self) -> None:
        """Have the helpers return before the interpreter takes their code away."""
        with self._lock:
            self._ended = True
            if self._helpers:
                ffi, c = _c()
                self._block[STOP // 8] = 1
                self._block[GENERATION // 8] += 1
                c.pthread_mutex_lock(ffi.cast("void *", self.address + MUTEX))
                c.pthread_cond_broadcast(ffi.cast("void *", self.address + CONDITION))
                c.pthread_mutex_unlock(ffi.cast("void *", self.address + MUTEX))
                for helper in self._helpers:
                    helper.join(1.0)
                self._block[ALIVE // 8] = 0


@cache
def shared() -> Pool:
    """The pool of this process. A forked child has none of its threads, and any lock may be held by one of them."""
    pool = Pool()
    atexit.register(pool.end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=pool._forget)
    return pool
