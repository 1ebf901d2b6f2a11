"""The machine's limit: a loop that moves an optimizer's bytes and computes next to nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import njit

from pyfastlr_kernels.intrinsics import load, pointer, pointers, put, scaled, store

from .work import Work

PART = 1 << 18  # elements that a thread claims at once: 0.1 ms of work, so that claiming in Python is lost in it


@njit(error_model="numpy")
def _span(n, p, g, s, minus_one):
    """Read p, g and s, write p and s: one addition or multiplication for each number written."""
    for i in range(n):
        put(p, i, p[i] + g[i])
        store(s, i, scaled(load(s, i), minus_one))


@njit(error_model="numpy", nogil=True)
def _move(n, p, g, s, offset, minus_one):
    p, g = pointer(p + offset, minus_one), pointer(g + offset, minus_one)
    _span(n, p, g, pointers(s, offset, minus_one), minus_one)


class Loop:
    """The loop over one buffer and as many state arrays as the optimizer has; threads claim parts as they come free."""

    def __init__(self, work: Work, gradients: list[list[Any]], threads: int) -> None:
        (self.params,) = work.params()
        self.state = [np.ones_like(self.params) for _ in work.case.state]
        self._gradients = [g for (g,) in gradients]
        size, itemsize = self.params.size, self.params.itemsize
        self._parts = [(min(PART, size - k), k * itemsize) for k in range(0, size, PART)]
        self._helpers = [ThreadPoolExecutor(1) for _ in range(threads - 1)]

    def turn(self, k: int) -> Callable[[], None]:
        """Step with the k-th gradient."""
        return partial(self._step, self._gradients[k].ctypes.data)

    def _step(self, g: int) -> None:
        left = iter(self._parts)
        helping = [helper.submit(self._claim, g, left) for helper in self._helpers]
        self._claim(g, left)
        for done in helping:
            done.result()

    def _claim(self, g: int, left: Iterator[tuple[int, int]]) -> None:
        p, s, minus_one = self.params.ctypes.data, tuple(x.ctypes.data for x in self.state), self.params.dtype.type(-1)
        for n, offset in left:  # an iterator that threads share: the interpreter lock makes each part one thread's
            _move(n, p, g, s, offset, minus_one)
