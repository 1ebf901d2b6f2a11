"""Write arrays to a file, mebibyte by mebibyte."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np

from pyfastlr.arrays.halves import half_of

from .checksums import CHUNK, Checksums
from .errors import Path, Problem, path_text
from .layout import arrange
from .replacing import Write, replace

Progress = Callable[[int, int], Any]


def write(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str], progress: Progress | None = None) -> None:
    """Write a file of arrays by name and metadata, strings by name. It replaces an older one as a whole.

    Each piece of an array is copied once, to a buffer of a mebibyte, from which both the checksum and the file come. So
    the file is consistent even if another thread writes to the array meanwhile, and arrays may have any strides and
    byte order.

    Parameters
    ----------
    path : str or os.PathLike
    arrays : dict of ndarray
        Of any dtype in `layout.DTYPES`.
    metadata : dict of str
    progress : callable, optional
        Called as ``progress(done, total)`` with bytes, after each mebibyte, and at the end when the file is on the disk
        and only the rename is left. An exception in it ends the call, and the old file stays.
    """
    file = path_text(path)
    try:
        header, layout = arrange(arrays, metadata)
    except Problem as problem:
        raise ValueError(str(problem)) from None
    total = layout.start + max(x.stop for x in layout.tensors.values())

    def produce(write: Write) -> None:
        write(header)
        done, found = len(header), []
        for chunk in _chunks(arrays[name] for name in layout.payload):
            found.append(crc32(chunk))
            write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        write(Checksums(crc32(header), tuple(found)).packed())

    replace(file, produce, None if progress is None else lambda: progress(total, total))


def _chunks(arrays: Iterable[Any]) -> Iterator[Any]:
    """Bytes of the arrays, in pieces of a chunk; the last one may be shorter. Each is valid until the next."""
    buffer, filled = np.empty(CHUNK, np.uint8), 0
    for piece in (piece for x in arrays for piece in _pieces(x)):
        at = 0
        while at < len(piece):
            n = min(CHUNK - filled, len(piece) - at)
            buffer[filled : filled + n] = piece[at : at + n]
            at, filled = at + n, filled + n
            if filled == CHUNK:
                yield buffer.data
                filled = 0
    if filled:
        yield buffer[:filled].data


def _pieces(x: Any) -> Iterator[Any]:
    """An array's bytes in C order and little-endian: itself, or pieces of a copy.

    An array of another kind, in a device's memory, gives parts of itself by ``x[a:b].copy()``.
    """
    if not isinstance(x, np.ndarray):
        line, n = x.reshape(-1), CHUNK // x.itemsize
        for at in range(0, x.size, n):
            yield from _pieces(line[at : at + n].copy())
        return
    if half_of(x.dtype) == "bfloat16":  # numpy's iterator knows no such dtype
        x = x.view(np.uint16)
    little = x.dtype.newbyteorder("<")
    if x.flags.c_contiguous and x.dtype == little:
        yield x.reshape(-1).view(np.uint8)
        return
    pieces = np.nditer(
        x, ["external_loop", "buffered", "zerosize_ok"], ["readonly"], little, order="C", casting="equiv",
        buffersize=CHUNK // 16,
    )  # fmt: skip
    for piece in pieces:
        yield np.ascontiguousarray(piece).view(np.uint8)
