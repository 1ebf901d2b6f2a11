"""Set the number of updates of an optimizer inside another library's, which has one count for all arrays."""

from pyfastlr.optimizers import Optimizer


def set_progress(optimizer: Optimizer, steps: int, carry: float | None = None) -> None:
    """Set the count of every array to `steps`, and what the rule carries, if `carry` is a number.

    Called before each step: the other library's numbers may have been loaded or changed since the last.
    """
    counts = optimizer._state.counts
    counts["count"] = steps
    if carry is not None:
        counts["carry"][:, 0] = carry
    optimizer._lock.progress["steps"] = steps
