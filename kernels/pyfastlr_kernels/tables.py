"""The tables that a step walks: numpy records, filled by the host, read by compiled code through their addresses.

This file has what any caller needs: addresses and numbers, nothing of Python (python_side.py has that). A *tensor* is a
parameter with its own update count, group and state. A *chunk* is a piece of a tensor that one thread updates at once.
A *row* has the hyperparameters of a group. The *job* has the addresses of all tables; the *progress* is what outlives
it: an optimizer has one progress for life, and a new job whenever something but a number changes.

Field names are the contract between the host and compiled code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

LINE = 64  # bytes in a cache line
UNIT = 1024  # a chunk starts and ends at a multiple of it, counted from the tensor's first element
CHUNK_LENGTH = 16384  # 448 KiB of float32 Adam: half a 1 MiB L2 cache
CURSOR = LINE // 8  # one cursor per cache line, or threads slow one another down
MAX_STATES = 4

# A row of folded numbers, float64: what the driver needs (FoldCommon), then h and r of the rule, then the new carry.
FOLD_COMMON, FOLD_RULE, FOLD_CARRY, FOLD_WIDTH = 0, 4, 28, 32
MAX_CARRY = FOLD_WIDTH - FOLD_CARRY

_I, _F = np.int64, np.float64  # addresses too are int64: numba adds uint64 and int64 to a float64

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
COUNT = np.dtype([("count", _I), ("carry", _F, (MAX_CARRY,))])  # what is saved with the state, per tensor
PROGRESS = np.dtype(
    [
        ("owner", _I),  # thread that is in a step; 0 if none
        ("paused", _I),  # not 0: somebody waits or works under the optimizer's lock, so a step must ask for it too
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
        ("zeros", _I),  # CHUNK_LENGTH zeros in the parameters' dtype, or 0: the rate of a group that is frozen
        ("size", _I),  # elements
        ("threads", _I),
        ("pool", _I),
        ("progress", _I),
        ("sign", _F),  # -1 to maximize
        ("grad_scale", _F),
    ]
)
COUNT_SIZE, TENSOR_SIZE = COUNT.itemsize, TENSOR.itemsize  # numba knows no itemsize


def field_offset(dtype: np.dtype, field: str) -> int:
    """Bytes before a field."""
    assert dtype.fields is not None
    return dtype.fields[field][1]


CARRY_AT, STATES_AT = field_offset(COUNT, "carry"), field_offset(TENSOR, "s0")

FOLD, UPDATE = 0, 1  # what a drive is asked to do: with a tensor, with a chunk
OK = 0  # what a phase of a step answers if the step goes on

COUPLED, DECOUPLED, INDEPENDENT = 0.0, 1.0, 2.0
# Of every rule's row: what a group may set, then what follows from the dtype.
COMMON = ("lr", "lr_scale", "weight_decay", "decay", "tiny", "half_ulp")


def row_dtype(hyper: Sequence[str]) -> np.dtype:
    """Config row of a rule: float64 fields, the common ones first."""
    return np.dtype([(name, _F) for name in (*COMMON, *hyper)])


def constants(dtype: Any) -> dict[str, float]:
    """What a row has of the dtype: the smallest normal number, and half an ulp of 1."""
    info = np.finfo(dtype)
    return {"tiny": float(info.tiny), "half_ulp": float(info.eps) / 2}


def chunk_length(size: int, threads: int) -> int:
    """Length of chunks: four or more a thread where the work allows, so that a late thread holds nobody up."""
    even = size // (4 * threads) // UNIT * UNIT
    return min(max(even, UNIT), CHUNK_LENGTH) if threads > 1 else CHUNK_LENGTH


def chunk_table(sizes: Sequence[int], length: int) -> np.ndarray:
    """Cut tensors of these sizes into chunks; empty tensors have none."""
    rows = [(k, first, min(length, size - first)) for k, size in enumerate(sizes) for first in range(0, size, length)]
    return np.array(rows, CHUNK)


def address(table: np.ndarray) -> int:
    """Address of a table's first byte."""
    start: int = table.ctypes.data
    return start
