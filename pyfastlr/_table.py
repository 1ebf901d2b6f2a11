"""The tables of one optimizer, filled, and kept alive with every array whose address they hold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels import chunks

from ._arrays import Array, aligned, span

# A callable, the conversion of what is no float in its range, low, high, and places in the config rows.
Asked = tuple[Callable[[int], Any], Callable[[Any], float], float, float, list[int]]
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
            size=size, itemsize=dtype.itemsize, dtype=id(dtype), ndarray=id(np.ndarray), float=id(float), none=id(None),
            threads=self.threads, used_lr=np.nan,
        )  # fmt: skip

    def _fill(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.job[name] = value

    def place(self, row: int, field: str) -> int:
        """Index of a field in `numbers`."""
        names = self.rows.dtype.names
        assert names is not None
        return int(row * len(names) + names.index(field))

    def write(self, row: int, field: str, value: float) -> None:
        """Write a number into a config row."""
        self.rows[field][row] = value

    def ask(self, asked: Sequence[Asked]) -> None:
        """Ask these at each update: (callable, conversion of what is no float in its range, low, high, places)."""
        self.asked = asked
        records: list[Any] = []
        places: list[int] = []
        for call, convert, low, high, at in asked:
            records.append((id(call), id(convert), low, high, 0.0, len(places), len(at)))
            places += at
        table, flat = np.array(records, chunks.ASKED), np.array(places, np.int64)
        self._asked = (table, flat)
        self._fill(asked=span(table)[0], n_asked=len(table), places=span(flat)[0])

    def field(self, name: str) -> Any:
        """One number of the job, as a line of one: Python reads and writes it at [0]."""
        number: Any = self.job[name]
        return memoryview(number)

    def launch(self, drive: int) -> Callable[..., int]:
        """Compiled step: (gradients, inv_scale, parameters' list or None) -> status."""
        from pyfastlr_kernels import jit, pool

        self._fill(drive=drive, pool=pool.shared().address)
        return jit.launch(span(self.job)[0])

    def single_thread(self) -> None:
        """Walk with the caller alone from now on."""
        self._fill(threads=1)
        self.threads = 1
