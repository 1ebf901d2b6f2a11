"""A step in which some tensors have a gradient of only some rows: one compiled call around the same drives.

``run_rows(job, call)`` is `run` (launch.py) with other updates for these tensors: for each row, it calls the drive with
a job, a tensor and a chunk of its own, as the stages do. Neighbouring rows are one chunk, and threads share the rows as
they share chunks. The caller keeps the interpreter lock, and has checked everything: nothing can fail between the first
write and the last.

With a history (`catch_up`), a row first gets the updates that it has missed (row_replay.py). row_sums.py prepares a
gradient: rows in range, and each only once.
"""

import numpy as np
from numba import njit, types

from pyfastlr_kernels.compile.intrinsics import (
    atomic_read,
    atomic_swap,
    atomic_take,
    default_mode,
    float_mode,
    is_default_mode,
    record,
    set_float_mode,
)
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.compile.prefetch import prefetch
from pyfastlr_kernels.python_side import BUSY
from pyfastlr_kernels.tables import (
    CHUNK_LENGTH,
    JOB,
    LINE,
    OK,
    PROGRESS,
    STATES_AT,
    TENSOR,
    THREAD,
    field_offset,
)

from .launch import PyThread_get_thread_ident, commit, fold, walk_all, word
from .row_replay import put_word, remember, replay_rows, take_private, update_range
from .rows_layout import GIVEN, HISTORY, ROWS_CALL, STEP
from .stages_layout import TENSOR_AT

_I64 = types.int64
PIECE = types.void(_I64, _I64, _I64)
RUN_ROWS = _I64(_I64, _I64)  # status(job, call)
_WORD = 8  # bytes
_JOB_WORDS, _GIVEN_SIZE = JOB.itemsize // _WORD, GIVEN.itemsize
_OWNER_AT = field_offset(PROGRESS, "owner")
# Rows of a large table are in no cache, and the processor cannot guess which one comes next. So their bytes are fetched
# this many rows before they are needed, of a long row only the first ones. Without, 10,000 rows of 64 float32 took 5.4
# instead of 2.9 ms on one core (Ice Lake).
AHEAD, FETCHED = 4, 1024


# --- A tensor's rows --------------------------------------------------------------------------------------------------


@njit(**PARTS)
def end_of_run(given, i, end):
    """Return the index after the last neighbour of row i that one chunk with it can have."""
    last, size = i + 1, given.width
    while last < end and word(given.rows + last * _WORD) == word(given.rows + (last - 1) * _WORD) + 1:
        size += given.width
        if size > CHUNK_LENGTH:
            break
        last += 1
    return last


@njit(**PARTS)
def prefetch_row(tensor, n_states, first, size):
    """Fetch so many bytes of the parameter and of each state."""
    size = min(size, FETCHED)
    for line in range(0, size, LINE):
        prefetch(record(tensor, 0, TENSOR).p + first + line)
    for k in range(n_states):
        start = word(tensor + STATES_AT + k * _WORD) + first
        for line in range(0, size, LINE):
            prefetch(start + line)


@njit(**PARTS)
def update_rows(mine, job, given, i, end):
    """Update these rows of the gradient, each after what it has missed."""
    row_bytes = given.width * given.itemsize
    fold_index = record(mine + TENSOR_AT, 0, TENSOR).fold_index
    while i < end:
        row, last = word(given.rows + i * _WORD), end_of_run(given, i, end)
        for k in range(i + AHEAD, min(last + AHEAD, end)):
            prefetch_row(mine + TENSOR_AT, given.n_states, word(given.rows + k * _WORD) * row_bytes, row_bytes)
        if given.history != 0:
            replay_rows(mine, record(given.history, 0, HISTORY), given, row, row + last - i)
            own = record(mine, 0, JOB)
            own.folds, own.grad_scale = job.folds, job.grad_scale
            record(mine + TENSOR_AT, 0, TENSOR).fold_index = fold_index
        update_range(mine, row * given.width, (last - i) * given.width, given.values + i * row_bytes, given.itemsize)
        i = last


@njit(**PARTS)
def sync_rows(mine, given, first, end):
    """Bring these rows up to date."""
    history = record(given.history, 0, HISTORY)
    if given.rows == 0:
        replay_rows(mine, history, given, first, end)
        return
    for i in range(first, end):
        row = word(given.rows + i * _WORD)
        replay_rows(mine, history, given, row, row + 1)


def make_piece():
    """Make ``piece(job, what, index)``, by which a walk over the chunks (launch.py) is one over pieces of the rows."""

    def piece(address, what, index):
        job = record(address, 0, JOB)
        given = record(job.options, 0, GIVEN)
        mine = take_private(address, job, given, what // THREAD)
        first = index * given.piece
        end = min(first + given.piece, given.n)
        if what % THREAD == STEP:
            update_rows(mine, job, given, first, end)
        else:
            sync_rows(mine, given, first, end)

    return piece


# --- Entry points -----------------------------------------------------------------------------------------------------


@njit(**PARTS)
def walk_rows(address, job, call, i):
    """Walk over the pieces of one tensor's rows, with a job that has them as its chunks."""
    given = record(call.given, i, GIVEN)
    for j in range(_JOB_WORDS):
        put_word(call.walk + j * _WORD, word(address + j * _WORD))
    walk = record(call.walk, 0, JOB)
    walk.stages, walk.options = call.piece, call.given + i * _GIVEN_SIZE
    walk.what, walk.threads = call.what, given.threads
    walk.n_chunks = (given.n + given.piece - 1) // given.piece
    walk_all(call.walk, walk)


@njit(**PARTS)
def step(address, job, call):
    """Update, with the phases of launch.py."""
    fold(address, job)
    for i in range(call.n_given):
        given = record(call.given, i, GIVEN)
        walk_rows(address, job, call, i)
        if given.history != 0:
            remember(address, job, given)
    if call.dense != 0:
        for i in range(call.n_given):
            t = record(job.tensors, record(call.given, i, GIVEN).tensor, TENSOR)
            t.fold_index = -2 - t.fold_index  # negative: the walk leaves it out
        walk_all(address, job)
        for i in range(call.n_given):
            t = record(job.tensors, record(call.given, i, GIVEN).tensor, TENSOR)
            t.fold_index = -2 - t.fold_index
    commit(address, job)


@njit(**PARTS)
def sync(address, job, call):
    """Bring rows up to date. A history of which all rows have had everything starts anew."""
    for i in range(call.n_given):
        given = record(call.given, i, GIVEN)
        walk_rows(address, job, call, i)
        if given.rows == 0:
            history = record(given.history, 0, HISTORY)
            for row in range(given.n):
                put_word(history.done + row * _WORD, 0)
            history.entries = history.quiet = history.still = 0


def make_run_rows():
    """Make ``status run_rows(job, call)``."""

    def run_rows(address, call_address):
        job, call = record(address, 0, JOB), record(call_address, 0, ROWS_CALL)
        owner, me = job.progress + _OWNER_AT, np.int64(PyThread_get_thread_ident())
        inside = atomic_read(owner) == me  # a schedule that this thread's step calls may ask for the state
        if not inside and not atomic_take(owner, me):
            return BUSY
        status = OK
        mode = float_mode()
        if not is_default_mode(mode):
            set_float_mode(default_mode())
        if call.what != STEP:
            sync(address, job, call)
        elif inside or record(job.progress, 0, PROGRESS).steps != call.steps:
            status = BUSY
        else:
            step(address, job, call)
        if not is_default_mode(mode):
            set_float_mode(mode)
        if not inside:
            atomic_swap(owner, 0)
        return status

    return run_rows
