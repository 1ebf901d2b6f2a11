"""The machine's limit: a loop that moves an optimizer's bytes and computes almost nothing.

It is meant as an upper bound at every size. The time to start threads must not count. So for small work, one call of
the step passes over the arrays many times (each thread passes many times over its own part, in one compiled call), and
the reported time is that of one pass. On one thread it is a bound, to a few per cent. On several threads it is slower
than a step when something else runs on the cores: its threads are Python threads, and lose more.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from pyfastlr_kernels.compile.intrinsics import load, pointer, pointers, put, scaled, store

from .work import Gradients, Work

# A claim in Python costs some 5 us, and waking a thread some 20. On Zen 5, SGD updates 2**18 elements in 10 us. There a
# loop that claimed only 2**18 elements at a time took 2.4 times as long as the step that it should bound.
UNIT = 1 << 21  # elements that a thread claims at once: at least 0.1 ms of work
CALL = 1 << 23  # least number of elements that one call of the step moves: at least 0.2 ms on two threads
_WORD = np.int64(0)
SHARED = 1 << 14  # least number of elements per thread: fewer do not pay for a second thread


F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    return cast(F, njit(error_model="numpy", nogil=True)(function))


@_compiled
def _move_once(n: Any, p: Any, g: Any, s: Any, minus_one: Any) -> None:
    """Read p, g and s, write p and s, with one addition or multiplication for each number written."""
    for i in range(n):
        put(p, i, p[i] + g[i])  # type: ignore[call-arg]  # an intrinsic gets its first argument from numba
        store(s, i, scaled(load(s, i, minus_one), minus_one))


@_compiled
def _move(passes: Any, n: Any, p: Any, g: Any, s: Any, first: Any, minus_one: Any, likes: Any) -> None:
    (p, g), s = pointers((p, g), first, (minus_one, minus_one)), pointers(s, first, likes)  # type: ignore[call-arg]
    for _ in range(passes):
        _move_once(n, p, g, s, minus_one)


@_compiled
def _read_once(n: Any, words: Any) -> Any:
    total = 0
    for i in range(n):
        total += words[i]
    return total


@_compiled
def _read(passes: Any, n: Any, start: Any, zero: Any) -> Any:
    """Read n words."""
    total = 0
    for _ in range(passes):
        total += _read_once(n, pointer(start, zero))  # type: ignore[call-arg]
    return total


class Loop:
    """The loop over one buffer and as many state arrays as the optimizer has.

    An average counts as one more. To clip a norm, all gradients are read before anything else is moved.
    """

    def __init__(self, work: Work, gradients: Gradients) -> None:
        (self.params,) = work.params()
        states = work.variant.states + ("ema_decay" in work.extra)
        self.state = [np.ones_like(self.params) for _ in range(states)]
        self._gradients = [g for (g,) in gradients]
        size = self.params.size
        threads = max(1, min(work.threads, size // SHARED))
        length = min(UNIT, -(-size // threads))
        self._passes = -(-UNIT // length)
        rounds = -(-CALL // (size * self._passes))
        self.updates = self._passes * rounds  # passes over all elements in one call of the step
        kinds = (True, False) if "clip_norm" in work.extra else (False,)  # read the gradients, move everything
        self._parts = [(x, min(length, size - k), k) for x in kinds for k in range(0, size, length)] * rounds
        self._helpers = [ThreadPoolExecutor(1) for _ in range(threads - 1)]

    def turn(self, k: int) -> Callable[[], None]:
        """Return the step with the k-th gradient."""
        return partial(self._step, self._gradients[k].ctypes.data)

    def _step(self, g: int) -> None:
        count = len(self._helpers) + 1
        parts = [iter(self._parts[k::count]) for k in range(count)]
        helping = [helper.submit(self._claim, g, parts[k:] + parts[:k]) for k, helper in enumerate(self._helpers, 1)]
        self._claim(g, parts)
        for done in helping:
            done.result()

    def _claim(self, g: int, parts: list[Iterator[tuple[bool, int, int]]]) -> None:
        """Move a thread's own parts, which may still be in its core's cache, then the parts that others have left."""
        p, s, minus_one = self.params.ctypes.data, tuple(x.ctypes.data for x in self.state), self.params.dtype.type(-1)
        likes, itemsize = (minus_one,) * len(s), self.params.itemsize
        for only_read, n, first in chain(*parts):  # threads share the iterators; the GIL gives each part to one thread
            if only_read:
                _read(self._passes, n * itemsize // _WORD.nbytes, g + first * itemsize, _WORD)
            else:
                _move(self._passes, n, p, g, s, first, minus_one, likes)
