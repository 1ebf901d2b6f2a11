"""What the bytes of a file mean: safetensors' header and the places of the tensors.

A file is the length of the header (8 bytes, little-endian), the header (UTF-8 JSON, then spaces) and the tensors'
bytes in C order and little-endian, without gaps. The header has, for each tensor, its dtype, shape and place, and
``__metadata__``, strings by name. Tensors are in order of falling item size, so each is aligned to its items. Data
start at a multiple of 64 bytes.

A file of ours also has the metadata `MARK` and the tensor of checksums, which is the last one (checksums.py).

Nothing read is trusted. `parse` refuses whatever is not exactly this, before anything of a size from the file is
allocated.
"""

import json
import re
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.arrays.halves import half_of

from . import checksums, strict_json
from .errors import Problem

METADATA, MARK, VERSION = "__metadata__", "pyfastlr", "1"
LENGTH = 8  # bytes of the header's length
LARGEST_HEADER = 32 << 20  # bytes: some 300,000 tensors. safetensors reads 100 MB; parsing takes 20 times that memory
_ALIGNED = 64  # bytes
_DIMENSIONS = 32  # numpy 1's limit
_LARGEST = 2**63 - 1  # bytes in an array

#: safetensors' names of dtypes, with numpy's.
DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "C64": "c8", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "b1",
}  # fmt: skip
_NAMES = {ours: theirs for theirs, ours in DTYPES.items()}
# Those that numpy lacks, with the bytes of an item: other programs' files have them.
_FOREIGN = {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}
_BFLOAT16 = "BF16"  # which numpy has from the package ml_dtypes
_SIZES = {_BFLOAT16: 2, **{name: np.dtype(ours).itemsize for name, ours in DTYPES.items()}, **_FOREIGN}


class Tensor(NamedTuple):
    """Entry of the header. `start` and `stop` count from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def numpy_dtype(self) -> "np.dtype[Any]":
        """Type of its array's items, in native byte order. bfloat16 is uint16 without ml_dtypes."""
        if self.dtype == _BFLOAT16:
            return _bfloat16()
        if self.dtype not in DTYPES:
            raise Problem(f"numpy has no dtype for {self.dtype}")
        return np.dtype(DTYPES[self.dtype])


class Layout(NamedTuple):
    """Contents of a header: tensors in the order of their places, and metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    start: int  # of the data in the file

    @property
    def is_ours(self) -> bool:
        """Whether either mark of a file of ours is there: then both must be."""
        return MARK in self.metadata or checksums.NAME in self.tensors

    @property
    def payload(self) -> dict[str, Tensor]:
        """Tensors without the checksums."""
        return {name: x for name, x in self.tensors.items() if name != checksums.NAME}

    @property
    def size(self) -> int:
        """Bytes of data without the checksums."""
        return max((x.stop for x in self.payload.values()), default=0)


# --- Writing ----------------------------------------------------------------------------------------------------------


def arrange(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> tuple[bytes, Layout]:
    """Header with its length, and places, for a file of these arrays."""
    metadata = _checked_metadata({MARK: VERSION, **metadata})
    tensors: dict[str, Tensor] = {}
    at = 0
    for name, x in sorted(arrays.items(), key=lambda pair: -pair[1].dtype.itemsize):
        check_name(name)
        if name in (METADATA, checksums.NAME):
            raise ValueError(f"no array may have the name {name!r}")
        dtype = _BFLOAT16 if half_of(x.dtype) == "bfloat16" else _NAMES.get(x.dtype.str[1:])
        if dtype is None:
            raise TypeError(
                f"`{name}` must have one of the dtypes bfloat16, {', '.join(map(_said, DTYPES))}, got {x.dtype}"
            )
        if x.ndim > _DIMENSIONS:
            raise ValueError(f"`{name}` must have at most {_DIMENSIONS} dimensions, got {x.ndim}")
        tensors[name] = Tensor(dtype, x.shape, at, at + x.nbytes)
        at += x.nbytes
    size = checksums.packed_size(at)
    tensors[checksums.NAME] = Tensor("U8", (size,), at, at + size)
    entries: dict[str, Any] = {METADATA: metadata}
    for name, t in tensors.items():
        entries[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": (t.start, t.stop)}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH + len(text)) % _ALIGNED)
    if len(text) > LARGEST_HEADER:
        raise ValueError(
            f"the names, shapes and plain values of a file must take at most {LARGEST_HEADER:,} bytes, got "
            f"{len(text):,}: put large values into arrays"
        )
    return len(text).to_bytes(LENGTH, "little") + text, Layout(tensors, metadata, LENGTH + len(text))


def _bfloat16() -> "np.dtype[Any]":
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return np.dtype(np.uint16)
    found: np.dtype[Any] = np.dtype(bfloat16)
    return found


def _said(name: str) -> str:
    return np.dtype(DTYPES[name]).name


# --- Reading ----------------------------------------------------------------------------------------------------------


def parse(text: bytes, file_size: int) -> Layout:
    """Check a header and read it. `file_size` is the size of the whole file.

    Raises
    ------
    Problem
        If anything is wrong.
    """
    if not text.startswith(b"{"):
        raise Problem(f"the header must begin with '{{', got {text[:20]!r}")
    try:
        entries = strict_json.loads(text)
    except ValueError as error:
        raise Problem(f"the header must be JSON: {error}") from None
    metadata = _checked_metadata(entries.pop(METADATA, {}))
    tensors = dict(sorted((_entry(name, x) for name, x in entries.items()), key=lambda pair: pair[1][2:]))
    at = 0
    for name, x in tensors.items():
        if x.start != at:
            what = "overlaps the tensor before it" if x.start < at else "leaves a gap"
            raise Problem(f"{name!r} must begin at byte {at} of the data, got {x.start}: it {what}")
        at = x.stop
    start = LENGTH + len(text)
    if start + at != file_size:
        what = "it was cut off" if file_size < start + at else "something follows"
        raise Problem(f"the file must have {start + at:,} bytes, got {file_size:,}: {what}")
    layout = Layout(tensors, metadata, start)
    if layout.is_ours:
        _check_ours(layout)
    return layout


def _check_ours(layout: Layout) -> None:
    version, found = layout.metadata.get(MARK), layout.tensors.get(checksums.NAME)
    if version != VERSION:
        raise Problem(
            f"the metadata {MARK!r} must be {VERSION!r}, the version that this pyfastlr reads, got {version!r}"
        )
    if found is None:
        raise Problem(f"it must have the checksums {checksums.NAME!r}: it was damaged, or written again by a program")
    size = checksums.packed_size(layout.size)
    if (found.dtype, found.shape) != ("U8", (size,)) or found.start != layout.size:
        raise Problem(
            f"{checksums.NAME!r} must be the last tensor, U8 of {size} bytes, got {found.dtype} of shape "
            f"{list(found.shape)} at byte {found.start}"
        )


def _entry(name: str, value: Any) -> tuple[str, Tensor]:
    check_name(name)
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise Problem(f"{name!r} must have dtype, shape and data_offsets, got {_short(value)}")
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise Problem(f"the dtype of {name!r} must be one of {', '.join(_SIZES)}, got {_short(dtype)}")
    if not _is_naturals(shape) or len(shape) > _DIMENSIONS:
        raise Problem(f"the shape of {name!r} must be at most {_DIMENSIONS} integers >= 0, got {_short(shape)}")
    if not _is_naturals(place) or len(place) != 2 or not place[0] <= place[1]:
        raise Problem(f"the data_offsets of {name!r} must be two integers, 0 <= first <= last, got {_short(place)}")
    itemsize = _SIZES[dtype]
    if itemsize * prod(x or 1 for x in shape) > _LARGEST:  # numpy refuses such an empty array, too
        raise Problem(f"the shape of {name!r} must have fewer than 2**63 bytes, got {_short(shape)}")
    if itemsize * prod(shape) != place[1] - place[0]:
        raise Problem(
            f"{name!r} must have {itemsize * prod(shape)} bytes, {dtype} of shape {shape}, got {place[1] - place[0]}"
        )
    return name, Tensor(dtype, tuple(shape), *place)


def _is_naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and x >= 0 for x in value)


def _short(value: Any) -> str:
    text = f"{value!s:.200}" if type(value) is not str else repr(value[:80])
    return text if len(text) <= 80 else text[:77] + "..."


def _checked_metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(x, str) for pair in value.items() for x in pair):
        raise Problem(f"{METADATA!r} must have strings by name, got {_short(value)}")
    try:
        "".join(x for pair in value.items() for x in pair).encode()
    except UnicodeEncodeError as error:
        raise Problem(f"{METADATA!r} must be Unicode text: {error}") from None
    return value


_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # Unicode's Cc, Zl, Zp and Cs
_TRAVERSAL = re.compile(r"(^|[./\\])\.\.($|[/\\])")  # a dot before it: the name of a container and its separator


def check_name(name: str) -> None:
    """Refuse a name that is dangerous to print, or as the name of a file.

    Raises
    ------
    Problem
        If it is empty, longer than 1,000 characters, or has control characters or "..".
    """
    if not 0 < len(name) <= 1000:
        raise Problem(f"a name of a tensor must have 1 to 1000 characters, got {len(name)}: {name[:40]!r}")
    if _CONTROL.search(name):
        raise Problem(f"the name of a tensor must have no control characters, got {name[:80]!r}")
    if _TRAVERSAL.search(name):
        raise Problem(f"the name of a tensor must not have '..' as a folder, got {name[:80]!r}")
