"""Records in files: CSV, JSON lines (whole or appended one by one), and TensorBoard events."""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyfastlr.arrays.host import Array

from .table import Table, is_missing

FORMATS = (".csv", ".jsonl")
_BEGIN = b'{"step": '  # start of every JSON line
_TAIL = 1 << 16  # bytes: longer than a line

Path_ = str | os.PathLike[str]


def _path(path: Path_, called: str, formats: Sequence[str]) -> Path:
    found = Path(path)
    if found.suffix.lower() not in formats:
        raise ValueError(f"`{called}` must end in {' or '.join(formats)}, got {found.name!r}")
    return found


# --- Lines of JSON ----------------------------------------------------------------------------------------------------


def _heads(names: Sequence[str]) -> list[str]:
    """Text before each number of a line."""
    return [f", {json.dumps(name)}: " for name in names]


def _json(x: float) -> str:
    """JSON of a number. JSON has no NaN and no infinity, but 1e999 reads as infinity."""
    return repr(x) if math.isfinite(x) else "null" if math.isnan(x) else "1e999" if x > 0 else "-1e999"


def _line(heads: Sequence[str], row: Sequence[float], gone: Sequence[bool]) -> str:
    numbers = (head + _json(x) for head, x, is_gone in zip(heads, row[1:], gone[1:], strict=True) if not is_gone)
    return f'{{"step": {int(row[0])}{"".join(numbers)}}}\n'


class Log:
    """A file to which records are appended. One write appends whole lines.

    Parameters
    ----------
    path : str or path
        Ends in ``.jsonl``. Created if it does not exist.
    """

    def __init__(self, path: Path_) -> None:
        self._path = _path(path, "file", (".jsonl",))
        self._file = open(self._path, "ab+", buffering=0)  # noqa: SIM115  # stays open during the run
        try:
            self._cut_half_a_line()
        except BaseException:
            self._file.close()
            raise
        self._written, self._end = 0, self._file.seek(0, os.SEEK_END)  # records in the file, and their bytes
        self._begun: tuple[int, int] | None = None  # both numbers after a write that has begun
        self._heads: tuple[tuple[str, ...], list[str]] = ((), [])

    def _cut_half_a_line(self) -> None:
        """Check that this is a file of records, and cut off an incomplete last line."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        begin = self._file.read(len(_BEGIN)) or b""
        if not (begin == _BEGIN or _BEGIN.startswith(begin)):
            raise ValueError(f"`file` must be new or a file of records, got {str(self._path)!r}, begins with {begin!r}")
        self._file.seek(max(0, size - _TAIL))
        tail = self._file.read(_TAIL) or b""
        half = tail.rpartition(b"\n")[2]
        if half:
            self._file.truncate(size - len(half))

    def catch_up(self, table: Table, count: int) -> None:
        """Write the records that are not in the file yet."""
        if self._begun is not None:
            self._settle(*self._begun)
        first = self._written if table.capacity is None else max(self._written, count - table.capacity)
        if first >= count:
            return
        data = self._lines(table, range(first, count))
        self._begun = (count, self._end + len(data))
        done = self._file.write(data)
        if done != len(data):
            raise OSError(None, f"only {done} of {len(data)} bytes could be written", str(self._path))
        self._written, self._end, self._begun = count, self._end + len(data), None

    def _settle(self, written: int, end: int) -> None:
        """Find out whether an interrupted or failed write succeeded. Cut off a partial one."""
        if self._file.seek(0, os.SEEK_END) >= end:
            self._written, self._end, self._begun = written, end, None
        else:
            self._file.truncate(self._end)
            self._begun = None

    def _lines(self, table: Table, numbers: range) -> bytes:
        if self._heads[0] != table.names:
            self._heads = (table.names, _heads(table.names))
        lines = []
        for n in numbers:
            at = n % table.room
            row = table.unpack_from(table.buffer, at * table.stride)
            gone = _gone(table, at) if any(map(math.isnan, row)) else (False,) * len(row)
            lines.append(_line(self._heads[1], row, gone))
        return "".join(lines).encode()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _gone(table: Table, at: int) -> list[bool]:
    gone: list[bool] = is_missing(table.rows[at]).tolist()
    return gone


# --- Whole files ------------------------------------------------------------------------------------------------------


def save(path: Path_, names: Sequence[str], rows: Array) -> None:
    """Write records to a temporary file that then replaces `path`."""
    target = _path(path, "path", FORMATS)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    gone = is_missing(rows)
    pairs = zip(rows.tolist(), gone.tolist(), strict=True)
    try:
        with open(beside, "w", encoding="utf-8", newline="") as file:
            if target.suffix.lower() == ".csv":
                # Before Python 3.13, a single carriage return is not quoted.
                quoting: Any = csv.QUOTE_ALL if any("\r" in name for name in names) else csv.QUOTE_MINIMAL
                csv.writer(file, lineterminator="\n", quoting=quoting).writerow(["step", *names])
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([int(row[0]), *_fields(row, empty)] for row, empty in pairs)
            else:
                heads = _heads(names)
                file.writelines(_line(heads, row, empty) for row, empty in pairs)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _fields(row: Sequence[float], gone: Sequence[bool]) -> list[str]:
    return ["" if is_gone else repr(x) for x, is_gone in zip(row[1:], gone[1:], strict=True)]


def read(path: Path_, add: Callable[..., None]) -> None:
    """Call ``add(step, **numbers)`` for each record of a file. An error names the line."""
    source, number = _path(path, "path", FORMATS), 0
    with open(source, encoding="utf-8", newline="") as file:

        def lines() -> Iterator[str]:
            nonlocal number
            for line in file:
                number += 1
                yield line

        try:
            for step, numbers in (_of_csv if source.suffix.lower() == ".csv" else _of_json)(lines()):
                add(step, **numbers)
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(f"{str(source)!r} is not a file of records: line {number}: {error}") from None


def _of_csv(lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, float]]]:
    rows = csv.reader(lines, strict=True)
    header = next(rows, [])
    if header[:1] != ["step"] or len(set(header)) < len(header):
        raise ValueError(f"the first line must be 'step' and then different names, got {header}")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"there must be {len(header)} fields, got {len(row)}")
        yield int(row[0]), {name: float(x) for name, x in zip(header[1:], row[1:], strict=True) if x != ""}


def _of_json(lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, float]]]:
    for line in lines:
        if not line.endswith("\n"):
            return  # an incomplete line
        record = json.loads(line)
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            raise ValueError('there must be a JSON object with an integer "step"')
        step = record.pop("step")
        yield step, {name: math.nan if x is None else x for name, x in record.items()}


# --- TensorBoard ------------------------------------------------------------------------------------------------------


def to_tensorboard(folder: Path_, names: Sequence[str], rows: Array) -> None:
    """Write each number as a scalar."""
    writer = _event_writer(os.fspath(folder))
    try:
        for row, gone in zip(rows.tolist(), is_missing(rows).tolist(), strict=True):
            for name, x, is_gone in zip(names, row[1:], gone[1:], strict=True):
                if not is_gone:
                    writer.add_scalar(name, x, int(row[0]))
    finally:
        writer.close()


def _event_writer(folder: str) -> Any:
    """Writer of tensorboardX or of tensorboard. torch's needs tensorboard too."""
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError:
        try:
            from tensorboard.summary import Writer
        except ModuleNotFoundError as error:
            words = "to_tensorboard needs tensorboardX or tensorboard: pip install tensorboardX"
            raise ModuleNotFoundError(words) from error
        return Writer(folder)
    return SummaryWriter(folder)
