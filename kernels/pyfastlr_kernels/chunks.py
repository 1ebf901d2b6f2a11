"""The tables that a step walks: plain numpy records, filled here, read by the compiled drivers through their addresses.

A *buffer* is an array that the user hands over (one for a `Flat`, one per leaf for a dict). A *tensor* is a parameter
with its own update count, group and state; a *chunk* is a piece of a tensor that one thread updates in one go. The
*job* holds the addresses of all of them. Field names are the contract between this file and the drivers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MAX_STATES = 4
# One fold result: l2, shrink (both kinds), then h, r and the new carry.
FOLD_COMMON, FOLD_RULE, FOLD_CARRY = 0, 4, 20
FOLD_WIDTH = 24
MAX_CARRY = FOLD_WIDTH - FOLD_CARRY

UNIT = 1024  # a chunk starts and ends at a multiple of it, counted from the tensor's first element
CHUNK_LENGTH = 16384  # 448 KiB of float32 Adam: half a 1 MiB L2 cache
LINE = 64  # bytes in a cache line
CURSOR = LINE // 8  # one cursor per cache line, or threads slow one another down

_I, _F = np.int64, np.float64  # addresses too are int64: numba adds uint64 and int64 to a float64

BUFFER = np.dtype(
    [
        ("object", _I),  # id of the parameter's ndarray, whose address and shape are compared at each step
        ("given", _I),  # id of what the caller's container must still hold
        ("data", _I),  # its address
        ("ndim", _I),
        ("shape", _I),  # address of its ndim lengths
        ("size", _I),
        ("grad", _I),  # address of the gradient in this step, 0 for None
    ]
)
TENSOR = np.dtype(
    [
        ("buffer", _I),
        ("offset", _I),  # in bytes, in its buffer
        ("size", _I),
        ("row", _I),  # of its group
        ("slot", _I),  # row of the fold results, -1 without a gradient
        ("p", _I),
        ("g", _I),
        ("scale", _I),  # lr_scale's array, or 0
        *((f"s{k}", _I) for k in range(MAX_STATES)),
    ]
)
CHUNK = np.dtype([("tensor", _I), ("first", _I), ("size", _I)])
ASKED = np.dtype(  # what is asked for a number at each update
    [
        ("call", _I),  # ids: the callable, and what makes a float of any other value or raises the error
        ("convert", _I),
        ("low", _F),
        ("high", _F),
        ("value", _F),
        ("first", _I),  # in the list of places, which are indices of float64 in the config rows
        ("count", _I),
    ]
)
COUNT = np.dtype([("count", _I), ("carry", _F, (MAX_CARRY,))])  # what is saved with the state, per tensor
JOB = np.dtype(
    [
        ("drive", _I),
        ("buffers", _I),
        ("n_buffers", _I),
        ("single", _I),  # the gradient is one ndarray; else a list of them
        ("tensors", _I),
        ("counts", _I),
        ("n_tensors", _I),
        ("chunks", _I),
        ("n_chunks", _I),
        ("rows", _I),
        ("folds", _I),
        ("cursors", _I),
        ("spans", _I),  # starts and ends of all that a step writes, in ascending order
        ("n_spans", _I),
        ("size", _I),  # elements
        ("itemsize", _I),
        ("dtype", _I),  # ids: the gradients' dtype, numpy.ndarray, float, None
        ("ndarray", _I),
        ("float", _I),
        ("none", _I),
        ("asked", _I),
        ("n_asked", _I),
        ("places", _I),
        ("owner", _I),  # thread that is in the step or reads or writes what a step changes; 0 if none
        ("steps", _I),
        ("threads", _I),
        ("pool", _I),
        ("sign", _F),  # -1 to maximize
        ("grad_scale", _F),
        ("used_lr", _F),  # of the base group in the last step
    ]
)

COUNT_SIZE, TENSOR_SIZE = COUNT.itemsize, TENSOR.itemsize  # numba knows no itemsize


def _offset(dtype: np.dtype, field: str) -> int:
    """Bytes before a field."""
    assert dtype.fields is not None
    return dtype.fields[field][1]


CARRY_AT, STATES_AT = _offset(COUNT, "carry"), _offset(TENSOR, "s0")
FOLD, UPDATE = 0, 1  # what a drive is asked to do: with a tensor, with a chunk

# What a launch answers. k > 0: gradient k - 1 cannot be bound as it is; k <= MOVED: parameter MOVED - k is not where it
# was.
OK, BUSY, NO_WORKERS, BAD_SCALE, MOVED = 0, -1, -2, -3, -4

COUPLED, DECOUPLED, INDEPENDENT = 0.0, 1.0, 2.0
COMMON = ("lr", "lr_scale", "weight_decay", "decay", "tiny")  # of every rule's config row


def row_dtype(hyper: Sequence[str]) -> np.dtype:
    """Config row of a rule: float64 fields, the common ones first."""
    return np.dtype([(name, _F) for name in (*COMMON, *hyper)])


class Piece(NamedTuple):
    """One tensor as the table needs it."""

    buffer: int
    offset: int  # elements
    size: int
    row: int
    p: int  # address
    states: Sequence[int]
    scale: int  # address or 0


def tensor_table(pieces: Sequence[Piece], itemsize: int) -> np.ndarray:
    """Table of tensors, no gradients bound."""
    rows = [
        (
            t.buffer,
            t.offset * itemsize,
            t.size,
            t.row,
            -1,
            t.p,
            0,
            t.scale,
            *t.states,
            *(0,) * (MAX_STATES - len(t.states)),
        )
        for t in pieces
    ]
    return np.array(rows, TENSOR)


def chunk_length(size: int, threads: int) -> int:
    """Length of chunks: four or more a thread where the work allows, so that a late thread holds nobody up."""
    even = size // (4 * threads) // UNIT * UNIT
    return min(max(even, UNIT), CHUNK_LENGTH) if threads > 1 else CHUNK_LENGTH


def chunk_table(sizes: Sequence[int], length: int) -> np.ndarray:
    """Cut tensors of these sizes into chunks; empty tensors have none."""
    rows = [(k, first, min(length, size - first)) for k, size in enumerate(sizes) for first in range(0, size, length)]
    return np.array(rows, CHUNK)


def span_table(spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Starts, then ends, of disjoint address ranges in ascending order; empty ranges are left out."""
    full = sorted((a, b) for a, b in spans if b > a)
    return np.array([*(a for a, _ in full), *(b for _, b in full)], _I)
