"""The tables of one optimizer, filled, and kept alive with every array whose address they hold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels import chunks

from ._arrays import Array, aligned, span

PARALLEL_ABOVE = 1 << 20  # bytes that a step moves; below, waking a helper costs more than it brings


class Table:
    """Job, tensors, chunks, rows: built once, walked at every step.

    Parameters
    ----------
    buffers, given
        The arrays to be updated, as ndarrays, and the objects that the caller handed over, one each.
    tensors : list of (buffer, offset, size, row)
        Parameters: where they start in their buffer, in elements, and their group.
    states
        For each tensor its state arrays, 1-D.
    scales
        For each tensor its lr_scale array, 1-D, or None.
    """

    def __init__(
        self,
        buffers: Sequence[Array],
        given: Sequence[Any],
        tensors: Sequence[tuple[int, int, int, int]],
        states: Sequence[Sequence[Array]],
        scales: Sequence[Array | None],
        row_dtype: np.dtype[Any],
        n_rows: int,
        single: bool,
        threads: int,
    ) -> None:
        dtype = np.dtype(buffers[0].dtype.name)
        size = sum(buffer.size for buffer in buffers)
        n_states = len(states[0])
        moved = size * dtype.itemsize * (3 + 2 * n_states)
        self.threads = threads if moved >= PARALLEL_ABOVE else 1
        length = chunks.chunk_length(size, self.threads)
        shapes = [np.array(buffer.shape, np.int64) for buffer in buffers]
        self.buffers = np.array(
            [
                (id(buffer), id(held), *span(buffer)[:1], buffer.ndim, *span(shape)[:1], buffer.size, 0)
                for buffer, held, shape in zip(buffers, given, shapes, strict=True)
            ],
            chunks.BUFFER,
        )
        self.tensors = chunks.tensor_table(
            [
                chunks.Piece(
                    k, offset, n, row, span(buffers[k])[0] + offset * dtype.itemsize,
                    [span(x)[0] for x in of_tensor], 0 if scale is None else span(scale)[0],
                )
                for (k, offset, n, row), of_tensor, scale in zip(tensors, states, scales, strict=True)
            ],
            dtype.itemsize,
        )  # fmt: skip
        self.chunks = chunks.chunk_table([n for _, _, n, _ in tensors], length)
        self.threads = max(1, min(self.threads, len(self.chunks)))
        self.rows = np.zeros(n_rows, row_dtype)
        self.counts = np.zeros(len(tensors), chunks.COUNT)
        self.job = np.zeros(1, chunks.JOB)
        folds = aligned(len(tensors) * chunks.FOLD_WIDTH, np.float64)
        cursors = aligned(self.threads * chunks.CURSOR, np.int64)
        spans = chunks.span_table([span(x) for x in (*buffers, *(x for of_tensor in states for x in of_tensor))])
        self._keep = (buffers, given, shapes, states, scales, folds, cursors, spans, dtype)
        self._fill(
            buffers=span(self.buffers)[0], n_buffers=len(buffers), single=single,
            tensors=span(self.tensors)[0], counts=span(self.counts)[0], n_tensors=len(tensors),
            chunks=span(self.chunks)[0], n_chunks=len(self.chunks), rows=span(self.rows)[0],
            folds=span(folds)[0], cursors=span(cursors)[0], spans=span(spans)[0], n_spans=len(spans) // 2,
            size=size, itemsize=dtype.itemsize, dtype=id(dtype), ndarray=id(np.ndarray), none=id(None),
            threads=self.threads, grad_scale=1.0,
        )  # fmt: skip

    def _fill(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.job[name] = value

    def place(self, row: int, field: str) -> int:
        """Index of a field in `numbers`."""
        names = self.rows.dtype.names
        assert names is not None
        return int(row * len(names) + names.index(field))

    def numbers(self) -> Any:
        """Config rows as one line of float64, in the form that Python writes fastest."""
        numbers: Any = self.rows.view(np.float64)
        return memoryview(numbers)

    def field(self, name: str) -> Any:
        """One number of the job, as a line of one."""
        number: Any = self.job[name]
        return memoryview(number)

    def launch(self, drive: int) -> Callable[[Any, int, Any], int]:
        """Compiled step: (gradients, n, parameters' container or None) -> status."""
        from pyfastlr_kernels import jit, pool

        self._fill(drive=drive, pool=pool.shared().address)
        return jit.launch(span(self.job)[0])

    def single_thread(self) -> None:
        """Walk with the caller alone from now on."""
        self._fill(threads=1)
        self.threads = 1
