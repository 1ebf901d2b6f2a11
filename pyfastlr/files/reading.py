"""Read a file of arrays. All checks come before anything is allocated or written; only then the checksums do."""

import io
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

import numpy as np

from . import checksums
from .checksums import CHUNK, Checksums
from .errors import BadFile, Path, Problem, named, path_text
from .layout import LARGEST_HEADER, LENGTH, Layout, parse
from .writing import Progress


class Reader:
    """An open file. Its header has been checked; its data are checked whenever they are read.

    An open file stays the same file when another one takes its place. If its own bytes change, the checksums tell.

    Parameters
    ----------
    path : str or os.PathLike
    foreign : bool
        Accept safetensors files of other programs, which have no checksums.

    Attributes
    ----------
    path : str
    size : int
        Of the file, in bytes.
    layout : Layout
    checksums : Checksums or None
        None for a file of another program.

    Raises
    ------
    BadFile
        If it is not a whole file.
    OSError
        If it cannot be opened or read.
    """

    def __init__(self, path: Path, foreign: bool = False) -> None:
        self.path = path_text(path)
        self._file = _open(self.path)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self.layout, self.checksums = self._checked(self._begin, foreign)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _checked(self, work: Any, *arguments: Any) -> Any:
        """Call a function whose errors lack the path."""
        try:
            return work(*arguments)
        except Problem as problem:
            raise BadFile(f"{self.path}: {problem}") from None
        except OSError as error:
            raise named(error, self.path) from error

    def _begin(self, foreign: bool) -> tuple[Layout, Checksums | None]:
        if self.size < LENGTH:
            raise Problem(f"the file must have at least {LENGTH} bytes, got {self.size}")
        start = self._bytes(0, LENGTH)
        length, most = int.from_bytes(start, "little"), min(self.size - LENGTH, LARGEST_HEADER)
        if length > most:
            raise Problem(f"the header must be at most {most:,} bytes, got {length:,}: it is not a safetensors file")
        header = self._bytes(LENGTH, length)
        layout = parse(header, self.size)
        if not layout.is_ours:
            if foreign:
                return layout, None
            raise Problem(
                "it has no checksums, so it is not from pyfastlr: safetensors.numpy.load_file reads it unchecked"
            )
        place = layout.tensors[checksums.NAME]
        found = checksums.unpacked(self._bytes(layout.start + place.start, place.stop - place.start))
        if crc32(header, crc32(start)) != found.header:
            raise Problem("the header is damaged: its checksum differs")
        return layout, found

    # --- Data ---------------------------------------------------------------------------------------------------------

    def verify(self, progress: Progress | None = None) -> None:
        """Read all data, and compare the checksums."""
        self._checked(self._stream, {}, progress)

    def read_into(self, targets: Mapping[str, Any], everything: bool = True) -> None:
        """Read tensors into the memory of contiguous arrays of their dtype and size, and compare checksums.

        After an error, the arrays have undefined values.

        Parameters
        ----------
        targets : dict of ndarray
        everything : bool
            Compare every checksum, also of what no target gets. If False, only those of the chunks with targets.
        """
        self._checked(self._stream, {name: _memory(x) for name, x in targets.items()}, None, everything)
        for name, x in targets.items():
            if sys.byteorder == "big":  # pragma: no cover
                x.byteswap(inplace=True)
            if x.dtype == np.bool_ and x.size and x.view(np.uint8).max() > 1:
                raise BadFile(f"{self.path}: {name!r} must have the bytes 0 and 1, got {x.view(np.uint8).max()}")

    def read(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Read tensors, by default all, to new arrays, and compare every checksum."""
        tensors = self.layout.payload
        wanted = list(tensors if names is None else names)
        arrays = {name: np.empty(tensors[name].shape, self.numpy_dtype(name)) for name in wanted}
        self.read_into(arrays)
        return arrays

    def numpy_dtype(self, name: str) -> Any:
        """Type of a tensor's array."""
        try:
            return self.layout.tensors[name].numpy_dtype()
        except Problem as problem:
            raise BadFile(f"{self.path}: {name!r} cannot be read: {problem}") from None

    def _stream(self, targets: Mapping[str, Any], progress: Progress | None, everything: bool = True) -> None:
        """Read whole chunks, to the targets or to a scratch buffer, and compare each chunk's checksum."""
        size = self.layout.size
        scratch = memoryview(bytearray(min(CHUNK, size)))
        crc, position = 0, -1
        for name, at, stop in self._runs(targets, everything):
            start = at
            if at != position:
                self._file.seek(self.layout.start + at)
            while at < stop:
                end = min(stop, at - at % CHUNK + CHUNK)
                place = targets[name][at - start : end - start] if name else scratch[: end - at]
                self._fill(place)
                crc = crc32(place, crc)
                at = end
                if at % CHUNK == 0 or at == size:
                    self._compare((at - 1) // CHUNK, crc)
                    crc = 0
                    if progress is not None:
                        progress(self.layout.start + at, self.size)
            position = stop
        if progress is not None:
            progress(self.size, self.size)

    def _runs(self, targets: Mapping[str, Any], everything: bool) -> Iterable[tuple[str, int, int]]:
        """Parts of the data, of whole chunks together: a target with its place, or other data, with no name."""
        at, size = 0, self.layout.size
        for name, x in self.layout.payload.items():
            if name not in targets or x.start == x.stop:
                continue
            if not everything and x.start - x.start % CHUNK > at:  # none of the chunks until then has a target
                end = min(size, -(-at // CHUNK) * CHUNK)
                if at < end:
                    yield "", at, end
                at = max(end, x.start - x.start % CHUNK)
            if at < x.start:
                yield "", at, x.start
            yield name, x.start, x.stop
            at = x.stop
        end = size if everything else min(size, -(-at // CHUNK) * CHUNK)
        if at < end:
            yield "", at, end

    def _compare(self, chunk: int, crc: int) -> None:
        if self.checksums is None or self.checksums.chunks[chunk] == crc:
            return
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, self.layout.size)
        inside = [name for name, x in self.layout.payload.items() if x.start < last and x.stop > first]
        shown = ", ".join(map(repr, inside[:3])) + (f" and {len(inside) - 3} more" if len(inside) > 3 else "")
        raise Problem(f"bytes {first:,} to {last:,} of the data are damaged, of {shown}: their checksum differs")

    def _bytes(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        content = bytearray(count)
        self._fill(memoryview(content))
        return bytes(content)

    def _fill(self, place: memoryview) -> None:
        while place:
            try:
                count = self._file.readinto(place)
            except InterruptedError:
                continue
            if not count:
                raise Problem("it was cut off while it was read")
            place = place[count:]


def _open(path: str) -> Any:
    """Open a regular file. Opening a pipe does not wait for its writer."""
    file = io.FileIO(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise BadFile(f"{path}: it must be a regular file, got {stat.filemode(mode)}")
    return file


def _memory(x: Any) -> memoryview:
    """Bytes of a contiguous array."""
    if not x.flags.c_contiguous or not x.flags.writeable:
        raise ValueError("a target must be contiguous and writeable")
    return memoryview(x.reshape(-1).view(np.uint8))
