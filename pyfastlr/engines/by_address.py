"""Steps over memory that another library owns, given by addresses: the same compiled step, without Python's arrays.

An adapter checks its library's tensors itself and keeps them alive. `HostEngine` is for users' own arrays.
"""

import ctypes
import operator
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pyfastlr.arrays.host import aligned
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.rules import RULES

from . import halves, host
from .hyper import OFF

_RELEASE_ABOVE = 1 << 15  # elements: as in a launch, a smaller step keeps the interpreter lock


class AddressStep:
    """One rule's step over tensors in host memory, as a few calls of C functions.

    Every array must be contiguous, aligned, and apart from all others that are written.

    Parameters
    ----------
    rule, convention, dtype : str
        Which code runs.
    sizes, members : sequence of int
        For each tensor, its number of elements and its row of hyperparameters.
    n_rows : int
    parameters : sequence of int
        Addresses.
    states : sequence of sequence of int
        Addresses of each of the rule's slots.
    maximize : bool
    threads : int
        At most so many are used, and one if there is little to do.
    half : {"bfloat16", "float16"}, optional
        What parameters and gradients are, if `dtype`, that of the state, is float32.
    masters : sequence of int
        With `half`: addresses of the parameters in float32. A number that does not fit its parameter is replaced.

    Attributes
    ----------
    counts, carry : ndarray
        Views of each tensor's number of updates, and of the numbers that it carries to the next one.
    gradients : ndarray
        The gradients' addresses, which the caller writes before each step. 0: the tensor takes no part.
    """

    def __init__(
        self,
        rule: str,
        convention: str,
        dtype: str,
        sizes: Sequence[int],
        members: Sequence[int],
        n_rows: int,
        parameters: Sequence[int],
        states: Sequence[Sequence[int]],
        maximize: bool,
        threads: int,
        half: str | None = None,
        masters: Sequence[int] = (),
    ) -> None:
        n, size, itemsize = len(sizes), sum(sizes), np.dtype(dtype).itemsize
        moved = size * itemsize * (3 + 2 * len(states))
        threads = threads if moved >= host.PARALLEL_ABOVE else 1
        tensors = np.zeros(n, tables.TENSOR)
        tensors["size"], tensors["fold_index"], tensors["row"], tensors["p"] = sizes, -1, members, parameters
        for k, addresses in enumerate(states):
            tensors[f"s{k}"] = addresses
        length = tables.chunk_length(size, threads)
        chunks = tables.chunk_table(sizes, length if half is None else min(length, halves.CHUNK_LENGTH))
        self.threads = max(1, min(threads, len(chunks)))
        counts = np.zeros(n, tables.COUNT)
        counts["carry"][:, : len(RULES[rule].carry)] = RULES[rule].carry
        self._rows = np.zeros(n_rows, tables.row_dtype(RULES[rule].hyper))
        self._base = {**tables.constants(dtype), **OFF, "lr_scale": 1.0}
        self._sign, self._is_large = -1.0 if maximize else 1.0, size >= _RELEASE_ABOVE
        folds, progress = aligned(n * tables.FOLD_WIDTH, np.float64), np.zeros(1, tables.PROGRESS)
        cursors = aligned(self.threads * tables.CURSOR, np.int64)
        code = host.load_code()
        self._job = job = np.zeros(1, tables.JOB)
        for field, table in {
            "tensors": tensors, "counts": counts, "chunks": chunks, "rows": self._rows, "folds": folds,
            "cursors": cursors, "progress": progress,
        }.items():  # fmt: skip
            job[field] = tables.address(table)
        job["drive"] = code.drive_address(rule, convention, dtype, False)
        self._options = None if half is None else halves.MasterOptions(half, masters, self.threads)
        if self._options is not None:
            job["stages"], job["options"] = code.stages_address(f"{dtype}-half"), self._options.address
        job["n_tensors"], job["n_chunks"], job["size"], job["threads"] = n, len(chunks), size, self.threads
        job["sign"] = self._sign  # which the stages divide the scale of the gradient by
        self._pool = pool.shared()
        job["pool"] = self._pool.address
        self._keep = (tensors, counts, chunks, folds, cursors, progress)
        self.counts, self.carry, self.gradients = counts["count"], counts["carry"], tensors["g"]
        scale: Any = job["grad_scale"]
        self._scale: Any = memoryview(scale)
        run = code.step_addresses()[code.RUN]
        self._held, self._released = (
            partial(kind(ctypes.c_int64, ctypes.c_int64)(run), tables.address(job))
            for kind in (ctypes.PYFUNCTYPE, ctypes.CFUNCTYPE)
        )
        self._alive, self._forking, native = (
            np.ctypeslib.as_array((ctypes.c_int64 * 1).from_address(self._pool.address + at))
            for at in (pool.ALIVE, pool.FORKING, pool.NATIVE)
        )
        self._enter, self._leave = partial(np.add, native, 1, native), partial(np.subtract, native, 1, native)

    def set_row(self, k: int, numbers: Mapping[str, float]) -> None:
        """Set the hyperparameters of a row. Names that the rule does not have are left out."""
        row = {**self._base, **numbers}
        self._rows[k] = tuple(row[name] for name in self._rows.dtype.names)

    def calls(self, inv_scale: float = 1.0) -> list[Callable[[], Any]]:
        """Functions of C that make one step, one after the other.

        An interrupt or an error cannot come between them if one call of C makes them all: `together`. A large step
        releases the interpreter lock. A fork waits for its end, as for a launch (`Pool.before_fork`).
        """
        self._scale[0] = self._sign * inv_scale
        if self.threads > 1 and self._alive[0] < self.threads - 1:
            self._pool.ensure(self.threads)
        if not self._is_large or self._forking[0]:
            return [self._held]
        return [self._enter, self._released, self._leave]


def together(calls: Sequence[Callable[[], Any]]) -> None:
    """Make these calls by one call of C: if all are functions of C, no interrupt comes between two of them."""
    deque(map(operator.call, calls), maxlen=0)
