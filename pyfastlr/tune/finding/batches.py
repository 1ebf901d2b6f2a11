"""A user's batches, repeated as often as a tool needs them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import describe


class Batches:
    """An endless iterator over a user's batches.

    Parameters
    ----------
    batches : sequence, iterable, iterator or None
        A sequence, or an object with only `__len__` and `__getitem__`, is read in order. An iterable is iterated again
        when it ends. The batches of an iterator are stored and repeated. None: every batch is None.

    Raises
    ------
    TypeError, ValueError
        If `batches` has another type, looks like a single batch, or is empty.
    """

    def __init__(self, batches: Any) -> None:
        is_sized = hasattr(batches, "__len__") and hasattr(batches, "__getitem__")
        is_one = isinstance(batches, str | bytes | Mapping) or hasattr(
            batches, "shape"
        )  # arrays of any library, frames
        if is_one or not (is_sized or isinstance(batches, Iterable | None)):
            what = describe(batches) if isinstance(batches, np.ndarray) else type(batches).__name__
            raise TypeError(
                f"`batches` must be a list or another iterable of batches, or None, got {what}; if it is one batch, "
                "pass [batch]"
            )
        self._given: Any = batches
        self._drawn, self._place = list[Any](), 0
        self._is_sequence = isinstance(batches, Sequence) or (is_sized and not isinstance(batches, Iterable))
        self._current: Iterator[Any] | None = None
        self._is_iterator = isinstance(batches, Iterator)
        if self._is_sequence and not len(batches):
            raise ValueError("`batches` must have at least one batch, got an empty sequence")

    def begin(self, sweep: int, sweeps: int) -> None:
        """Start sweep k of several. In a sequence, each sweep starts at a different batch.

        Other batches continue where they are: shuffling is up to their iterator.
        """
        if self._is_sequence:
            self._place = sweep * len(self._given) // sweeps

    def __next__(self) -> Any:
        if self._given is None:
            return None
        if self._is_sequence:
            if not len(self._given):
                raise ValueError(
                    "`batches` must keep at least one batch, got a sequence that was emptied during the test"
                )
            batch = self._given[self._place % len(self._given)]
            self._place += 1
            return batch
        if self._is_iterator:
            return self._remembered()
        return self._again()

    def _remembered(self) -> Any:
        if self._current is None:
            try:
                batch = next(self._given)
            except StopIteration:
                self._current = iter(())
            else:
                self._drawn.append(batch)
                return batch
        if not self._drawn:
            raise ValueError("`batches` must have at least one batch, got an exhausted iterator")
        batch = self._drawn[self._place % len(self._drawn)]
        self._place += 1
        return batch

    def _again(self) -> Any:
        for _ in range(2):
            if self._current is None:
                self._current = iter(self._given)
                self._place = 0
            try:
                batch = next(self._current)
            except StopIteration:
                if not self._place:
                    break
                self._current = None
            else:
                self._place += 1
                return batch
        raise ValueError("`batches` must have at least one batch each time it is iterated over, got none")
