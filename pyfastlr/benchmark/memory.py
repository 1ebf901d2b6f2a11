"""Whether a measurement fits into the machine's memory: if not, Linux would end the process in the middle."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .contenders import Contender
from .work import POOL, Work

MEMINFO = Path("/proc/meminfo")


def needed(work: Work, contenders: Sequence[Contender]) -> int:
    """Bytes, about: parameters, state and one temporary of each contender, and the gradients.

    The gradients are there twice, and the parameters twice more, while results are compared.
    """
    each = 2 + work.variant.states
    arrays = 2 * POOL + 2 + each * sum(1 for x in contenders if x.takes(work))
    return arrays * work.layout.size * np.dtype(work.dtype).itemsize


def available(source: Path = MEMINFO) -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = source.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def check(work: Work, contenders: Sequence[Contender]) -> None:
    """Refuse what does not fit.

    Raises
    ------
    ValueError
        If more is needed than is available.
    """
    need, free = needed(work, contenders), available()
    if free is not None and need > free:
        raise ValueError(
            f"`sizes` must fit into memory: {work.layout.size:,} elements of {work.variant.name} need about "
            f"{need / 1e9:,.1f} GB, got {free / 1e9:,.1f} GB"
        )
