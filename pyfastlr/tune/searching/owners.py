"""Whether the process that runs a trial is still alive, from a text in the database."""

from __future__ import annotations

import itertools
import os
import platform
import time
from pathlib import Path

_numbers = itertools.count()
_running: set[str] = set()  # owners of the searches that run in this process


def _started(pid: int) -> str:
    """Return when a process started, in the system's units, or "" if the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def begin() -> str:
    """Return the owner for a new search of this process."""
    pid = os.getpid()
    owner = f"{platform.node()} {pid} {_started(pid)} {next(_numbers)}.{time.time_ns()}"
    _running.add(owner)
    return owner


def end(owner: str) -> None:
    """Say that a search has ended: trials that it still has are free."""
    _running.discard(owner)


def is_dead(owner: str) -> bool:
    """Whether an owner has ended. One on another machine counts as alive."""
    node, pid, started, _ = owner.rsplit(" ", 3)
    if node != platform.node():
        return False
    if int(pid) == os.getpid():
        return owner not in _running
    if os.name != "posix":  # os.kill would end it. To run a trial twice is better than never.
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process
        pass
    return started != _started(int(pid))  # another process has the number now
