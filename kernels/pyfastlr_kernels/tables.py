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
        ("packing", _I),  # address of a PACKING record, 0 if all state arrays have their own dtype
    ]
)
# How a tensor's state arrays are packed into fewer bytes (packing.py).
PACKING = np.dtype(
    [
        ("index", _I),  # of the tensor, for its count
        ("key", _I),  # of its random numbers
        *((f"format{k}", _I) for k in range(MAX_STATES)),
        *((f"scales{k}", _I) for k in range(MAX_STATES)),  # addresses: float32 per block, 0 for none
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
        ("stages", _I),  # address of the code for the options below, 0 if none is used (cpu/stages.py)
        ("options", _I),  # address of the OPTIONS record
        ("what", _I),  # of a walk over the chunks: what the stages do with each
        ("sign", _F),  # -1 to maximize
        ("grad_scale", _F),
    ]
)
# What a step does besides the update: measure, clip, skip, accumulate, average, copy. Only if an option asks for it.
OPTIONS = np.dtype(
    [
        ("norms", _I),  # 1: the norms of the gradient are needed
        ("each", _I),  # 1: each tensor is clipped by its own norm too
        ("policy", _I),  # for gradients that are not finite: PROPAGATE, RAISE or SKIP
        ("value", _I),  # 1: elements are clipped
        ("convention", _I),  # whose factor clips a norm: index in reduce.FACTORS
        ("every", _I),  # calls that make one update
        ("calls", _I),  # calls since the last update, without skipped ones
        ("mean", _I),  # 1: the mean of their gradients, 0: the sum
        ("zero", _I),  # 1: gradients are set to zero when they have been used
        ("update_norms", _I),
        ("param_norms", _I),
        ("n_rows", _I),
        ("row_size", _I),  # bytes
        ("clip_rows", _I),  # address: for each row, the row whose clip_norm and norm hold for it
        ("first_blocks", _I),  # address: for each tensor its first block among all blocks, then their number
        ("squares", _I),  # addresses: two float64 per block (stage_rules.py), of gradient, update, parameters
        ("update_squares", _I),
        ("param_squares", _I),
        ("bad", _I),  # address: for each tensor, elements of the gradient that are not finite
        ("tensor_norms", _I),  # addresses: float64 per tensor, of the gradient, the update, the parameters
        ("tensor_update_norms", _I),
        ("tensor_param_norms", _I),
        ("row_norms", _I),  # address: float64 per row
        ("factors", _I),  # address: float64 per tensor, by which the gradient is multiplied
        ("sums", _I),  # addresses: for each tensor the address of its accumulated gradient, average and copy; or 0
        ("averages", _I),
        ("copies", _I),
        ("summed", _I),  # address: int64 per tensor, 1 if it has had a gradient since the last update
        ("averaged", _I),  # updates in the average
        ("swapped", _I),  # 1: the parameters are exchanged with it, and no step is allowed
        ("scratch", _I),  # address: two chunks of numbers per thread
        ("scratch_size", _I),  # bytes per thread
        ("private", _I),  # address: for each thread a JOB, a TENSOR and a CHUNK of its own
        ("bound", _I),  # address of the job that the addresses above are for: an earlier job must not use them
        # What the last call did.
        ("status", _I),
        ("nonfinite", _I),
        ("first_bad", _I),  # tensor
        ("clipped", _I),
        ("grad_norm", _F),
        ("update_norm", _F),
        ("param_norm", _F),
        ("loss_scale", _I),  # address of a LOSS_SCALE record, 0 for none
        # Numbers of 16 bits (cpu/halves.py): packing.BFLOAT16 or FLOAT16; NATIVE for those of the arithmetic's dtype.
        ("gradient", _I),
        ("parameter", _I),
        ("copy", _I),
        ("precision", _I),
        ("rests", _I),  # address: for each tensor the address of what the state has of its parameter, or 0
        ("keys", _I),  # address: int64 per tensor, the key of its random numbers
    ]
)
# A dynamic loss scale. Its numbers are those of float32, as in torch.
LOSS_SCALE = np.dtype(
    [
        ("scale", _F),
        ("finite", _I),  # updates since it was last changed
        ("skipped", _I),  # calls skipped since the last update or change
        ("growth", _F),
        ("backoff", _F),
        ("interval", _I),
    ]
)
PROPAGATE, RAISE, SKIP = 0, 1, 2
MASTER, STOCHASTIC, KAHAN = 1, 2, 3  # how parameters of 16 bits are kept
NOT_MEASURED = -1.0  # no norm is negative
COUNT_SIZE, TENSOR_SIZE = COUNT.itemsize, TENSOR.itemsize  # numba has no itemsize


def field_offset(dtype: np.dtype, field: str) -> int:
    """Return the offset of a field, in bytes."""
    assert dtype.fields is not None
    return dtype.fields[field][1]


CARRY_AT, STATES_AT = field_offset(COUNT, "carry"), field_offset(TENSOR, "s0")
FORMATS_AT, SCALES_AT = field_offset(PACKING, "format0"), field_offset(PACKING, "scales0")

FOLD, UPDATE = 0, 1  # what a drive does: fold a tensor, update a chunk
# What the stages do (cpu/stages.py), plus THREAD times the thread's number. 0: no walk is left.
BEGIN, CHECK, MEASURE, DECIDE, AROUND, FINISH = range(1, 7)
THREAD = 256
OK = 0  # what a phase returns if the step goes on
# A step that makes no update: it was skipped or accumulated; it is refused, for its gradient or while parameters and
# average are exchanged.
HELD, NOT_FINITE, SWAPPED = 1 << 60, 1 << 59, 1 << 58

COUPLED, DECOUPLED, INDEPENDENT = 0.0, 1.0, 2.0
# In every rule's row: what a group may set, then what follows from the dtype.
COMMON = (
    "lr", "lr_scale", "weight_decay", "decay", "clip_norm", "clip_norm_each", "clip_value", "ema_decay", "tiny",
    "half_ulp",
)  # fmt: skip


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
