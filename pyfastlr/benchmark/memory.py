"""Check that a measurement fits into the machine's memory. Otherwise Linux would kill the process in the middle."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .contenders import Contender
from .work import POOL, Work

MEMINFO = Path("/proc/meminfo")


def needed(work: Work, contenders: Sequence[Contender]) -> int:
    """Return about how many bytes are needed: each contender's parameters, state and one temporary, and the gradients.

    While results are compared, there is a second copy of the gradients and two more copies of the parameters.
    """
    each = 2 + work.variant.states
    if work.extra:  # the average, and gradients of its own for a library that clips in place
        each += ("ema_decay" in work.extra) + POOL
    arrays = 2 * POOL + 2 + each * sum(1 for x in contenders if x.can(work))
    return arrays * work.layout.size * np.dtype(work.dtype).itemsize


def available(source: Path = MEMINFO) -> int | None:
    """Return the bytes that are available without swapping; None if the system does not say."""
    try:
        lines = source.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def check(work: Work, contenders: Sequence[Contender]) -> None:
    """Check that a measurement fits.

    Raises
    ------
    ValueError
        If it needs more memory than is available.
    """
    need, free = needed(work, contenders), available()
    if free is not None and need > free:
        raise ValueError(
            f"`sizes` must fit into memory: {work.layout.size:,} elements of {work.variant.name} need about "
            f"{need / 1e9:,.1f} GB, got {free / 1e9:,.1f} GB"
        )
