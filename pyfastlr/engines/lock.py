"""The optimizer's lock, which separates steps from all other access to its state."""

import threading
import time
import weakref
from typing import Any

import numpy as np

from pyfastlr_kernels import tables
from pyfastlr_kernels.compile.first_use import ForkHooks, at_fork


class StepLock:
    """A reentrant lock, and the optimizer's progress record, through which compiled steps respect the lock.

    A step does not take the lock. It owns the progress record while it runs, by one atomic instruction in compiled
    code, which nothing can interrupt. Code that needs exclusive access to the optimizer writes

    >>> with opt._lock.held:    # doctest: +SKIP
    ...     opt._lock.pause()
    ...     ...

    `pause` keeps new steps out and waits for the running one. A step that is kept out takes the lock too, and lets
    steps in again when it is done (`HostEngine.settle`). So waiting is fair: a caller waits for one step and for the
    callers before it. There is nothing to undo: an interrupt leaves at most `paused` set, which costs the next step a
    microsecond.

    `held` is entered and left by C code, so an interrupt cannot come between acquiring it and entering the block.
    """

    __slots__ = ("__weakref__", "_inside", "_paused", "address", "held", "owner", "progress", "steps", "used_lr")

    RECORD = ("progress", "address", "owner", "_paused", "steps", "used_lr")  # attributes over the progress record

    def __init__(self) -> None:
        raw = np.zeros(2 * tables.LINE, np.uint8)  # its own cache line, to avoid false sharing
        start = -raw.ctypes.data % tables.LINE
        self.progress: Any = raw[start : start + tables.PROGRESS.itemsize].view(tables.PROGRESS)
        self.address = tables.address(self.progress)
        self.owner, self._paused = self._cell("owner"), self._cell("paused")
        self.steps, self.used_lr = self._cell("steps"), self._cell("used_lr")
        self.used_lr[0] = np.nan
        self.held = threading.RLock()
        self._inside = False
        _live.add(self)

    def _cell(self, field: str) -> Any:
        """View of one number, read and written at [0]."""
        number: Any = self.progress[field]
        return memoryview(number)

    def pause(self) -> None:
        """Keep other threads' steps out, and wait for a running one. The caller must hold `held`."""
        self._paused[0] = 1
        mine = threading.get_ident()
        delay = 2e-5
        while self.owner[0] not in (0, mine):
            time.sleep(delay)
            delay = min(2 * delay, 1e-3)

    def resume(self) -> None:
        """Let steps in again."""
        self._paused[0] = 0

    def is_mine(self) -> bool:
        """Whether this thread is inside a step, that is, in a schedule or callable that the step calls."""
        owned: bool = self.held._is_owned()  # type: ignore[attr-defined]
        return (self._inside and owned) or bool(self.owner[0] == threading.get_ident())

    def own(self) -> None:
        """Mark this thread as inside a step that is not compiled. It counts only while the thread holds `held`."""
        self._inside = True

    def disown(self) -> None:
        """Remove the mark that `own` set."""
        self._inside = False

    def _reset_in_child(self) -> None:
        """Reset in a forked child. Only the thread that forked exists there, so only its own step continues."""
        self.held = threading.RLock()
        if not self.is_mine():
            self.owner[0] = 0


_live: "weakref.WeakSet[StepLock]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_live):
        lock._reset_in_child()


at_fork(ForkHooks(lambda: None, lambda: None, _after_fork_in_child))
