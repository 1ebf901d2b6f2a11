"""The one lock of an optimizer, which keeps steps and everything else that touches its state apart."""

import threading
import time
import weakref
from typing import Any

import numpy as np

from pyfastlr_kernels import tables
from pyfastlr_kernels.compile.first_use import ForkHooks, at_fork


class StepLock:
    """A reentrant lock, and the progress of the optimizer, through which compiled steps honour it.

    A step does not take the lock: it owns the progress while it runs, by one atomic instruction in compiled code, which
    nothing can interrupt. Who needs the optimizer for itself writes

    >>> with opt._lock.held:    # doctest: +SKIP
    ...     opt._lock.pause()
    ...     ...

    `pause` keeps new steps out and waits for the one under way. A step that finds itself kept out takes the lock too,
    and lets steps in again when it is done (`HostEngine.settle`). So waiting is fair: whoever asks waits for one step
    and for those that asked before. There is nothing to undo: an interrupt anywhere leaves at most `paused` set, which
    costs the next step a microsecond.

    `held` is entered and left by C code, so that an interrupt cannot come between acquiring it and the block.
    """

    __slots__ = ("__weakref__", "_inside", "_paused", "address", "held", "owner", "progress", "steps", "used_lr")

    def __init__(self) -> None:
        raw = np.zeros(2 * tables.LINE, np.uint8)  # a cache line of its own, so that no neighbour slows a step
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
        """One number, read and written at [0]."""
        number: Any = self.progress[field]
        return memoryview(number)

    def pause(self) -> None:
        """Keep steps of other threads out, and wait for one that is under way; `held` must be held."""
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
        """Whether this thread is inside a step: in a schedule or callable that the step calls."""
        owned: bool = self.held._is_owned()  # type: ignore[attr-defined]
        return (self._inside and owned) or bool(self.owner[0] == threading.get_ident())

    def own(self) -> None:
        """Be inside a step that is not compiled; `held` must be held, and only while it is does this count."""
        self._inside = True

    def disown(self) -> None:
        """Be outside again."""
        self._inside = False

    def _be_new(self) -> None:
        """Be free in a forked child: only the thread that forked is there, and only its own step goes on."""
        self.held = threading.RLock()
        if not self.is_mine():
            self.owner[0] = 0


_live: "weakref.WeakSet[StepLock]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_live):
        lock._be_new()


at_fork(ForkHooks(lambda: None, lambda: None, _after_fork_in_child))
