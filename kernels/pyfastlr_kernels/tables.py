"""The tables that a step reads: numpy records, filled by the host, read by compiled code through their addresses.

This file has what any caller needs: addresses and numbers, no Python objects (python_side.py has those). A *tensor* is
a parameter with its own update count, group and state. A *chunk* is a piece of a tensor that one thread updates at
once. A *row* has the hyperparameters of a group. The *job* has the addresses of all tables. The *progress* outlives the
job: an optimizer keeps one progress for life, and gets a new job whenever anything but a number changes.

Field names are the contract between the host and compiled code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

LINE = 64  # bytes in a cache line
UNIT = 1024  # chunks start and end at multiples of it, counted from the tensor's first element
CHUNK_LENGTH = 16384  # 448 KiB of float32 Adam: half a 1 MiB L2 cache
CURSOR = LINE // 8  # one cursor per cache line, so that threads do not slow each other down
MAX_STATES = 4

# A row of folded numbers, float64: the driver's (contract.Common), then the rule's h and r, then the new carry.
FOLD_COMMON, FOLD_RULE, FOLD_CARRY, FOLD_WIDTH = 0, 4, 28, 32
MAX_CARRY = FOLD_WIDTH - FOLD_CARRY

_I, _F = np.int64, np.float64  # addresses are int64 too: in numba, uint64 + int64 is a float64

TENSOR = np.dtype(
    [
        ("size", _I),
        ("row", _I),  # of its group
        ("fold_index", _I),  # row of the folded numbers; -1: no gradient in this step
        ("p", _I),
        ("g", _I),  # address of the gradient in this step, 0 for none
        ("scale", _I),  # address of lr_scale's array, 0 for none
        *((f"s{k}", _I) for k in range(MAX_STATES)),
    ]
)
CHUNK = np.dtype([("tensor", _I), ("first", _I), ("size", _I)])
COUNT = np.dtype([("count", _I), ("carry", _F, (MAX_CARRY,))])  # saved with the state, per tensor
PROGRESS = np.dtype(
    [
        ("owner", _I),  # thread in a step, 0 for none
        ("paused", _I),  # not 0: another thread waits for the optimizer's lock or has it, so a step must take it too
        ("steps", _I),
        ("used_lr", _F),  # of the base group in the last step
    ]
)
JOB = np.dtype(
    [
        ("drive", _I),
        ("tensors", _I),
        ("n_tensors", _I),
        ("counts", _I),
        ("chunks", _I),
        ("n_chunks", _I),
        ("rows", _I),  # the hyperparameters of this step
        ("folds", _I),
        ("cursors", _I),
        ("zeros", _I),  # address of CHUNK_LENGTH zeros in the parameters' dtype, the rates of a frozen group; or 0
        ("size", _I),  # elements
        ("threads", _I),
        ("pool", _I),
        ("progress", _I),
        ("sign", _F),  # -1 to maximize
        ("grad_scale", _F),
    ]
)
COUNT_SIZE, TENSOR_SIZE = COUNT.itemsize, TENSOR.itemsize  # numba has no itemsize


def field_offset(dtype: np.dtype, field: str) -> int:
    """Return the offset of a field, in bytes."""
    assert dtype.fields is not None
    return dtype.fields[field][1]


CARRY_AT, STATES_AT = field_offset(COUNT, "carry"), field_offset(TENSOR, "s0")

FOLD, UPDATE = 0, 1  # what a drive does: fold a tensor, update a chunk
OK = 0  # what a phase returns if the step goes on

COUPLED, DECOUPLED, INDEPENDENT = 0.0, 1.0, 2.0
# In every rule's row: what a group may set, then what follows from the dtype.
COMMON = ("lr", "lr_scale", "weight_decay", "decay", "tiny", "half_ulp")


def row_dtype(hyper: Sequence[str]) -> np.dtype:
    """Return the dtype of a rule's config row: float64 fields, the common ones first."""
    return np.dtype([(name, _F) for name in (*COMMON, *hyper)])


def constants(dtype: Any) -> dict[str, float]:
    """Return the fields of a row that follow from the dtype: the smallest normal number, and half an ulp of 1."""
    info = np.finfo(dtype)
    return {"tiny": float(info.tiny), "half_ulp": float(info.eps) / 2}


def chunk_length(size: int, threads: int) -> int:
    """Return the length of chunks: with enough work, four or more per thread, so that a late thread delays nobody."""
    even = size // (4 * threads) // UNIT * UNIT
    return min(max(even, UNIT), CHUNK_LENGTH) if threads > 1 else CHUNK_LENGTH


def chunk_table(sizes: Sequence[int], length: int) -> np.ndarray:
    """Cut tensors of these sizes into chunks; empty tensors have none."""
    rows = [(k, first, min(length, size - first)) for k, size in enumerate(sizes) for first in range(0, size, length)]
    return np.array(rows, CHUNK)


def address(table: np.ndarray) -> int:
    """Return the address of a table's first byte."""
    start: int = table.ctypes.data
    return start
