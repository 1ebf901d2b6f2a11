"""A step in which some tensors have a gradient of only some rows: one compiled call around the same drives.

``run_rows(job, call)`` is `run` (launch.py) with other updates for these tensors: for each row, it calls the drive with
a job, a tensor and a chunk of its own, as the stages do. Neighbouring rows are one chunk, and threads share the rows as
they share chunks. The caller keeps the interpreter lock, and has checked everything: nothing can fail between the first
write and the last.

With a history (`catch_up`), a row first gets the updates that it has missed, with a gradient of zero and the numbers
that were folded then. So its bits are those of a run in which it had a zero gradient each time. A replay ends early
where the rest cannot change a bit:

- The history's `quiet` and `still` come from a probe of each update: two elements, +0.0 and -0.0, with a state of zeros
  and a zero gradient. If neither moves and nothing decays, the descent was exactly +0.0, whatever the parameter is. A
  descent of -0.0 (to maximize) turns -0.0 into 0.0, and nothing else.
- So a row whose state is zero stays as it is under each update that is still. That is so for SGD, which has no state;
  with momentum, as soon as the buffer has decayed to zero; with Adam, for rows that have never had a gradient.
- AdaGrad divides by a root of a sum that a zero gradient leaves as it is. What is true for a sum of zero is then true
  for each that is not negative.

``check_rows`` and ``sum_rows`` prepare a gradient: rows in range, and each only once.
"""

import numpy as np
from numba import njit, types

from pyfastlr_kernels.compile.intrinsics import (
    atomic_read,
    atomic_swap,
    atomic_take,
    call_drive,
    default_mode,
    float_mode,
    is_default_mode,
    pointer,
    put,
    record,
    set_float_mode,
)
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.compile.prefetch import prefetch
from pyfastlr_kernels.python_side import BUSY
from pyfastlr_kernels.tables import (
    CHUNK,
    CHUNK_LENGTH,
    FOLD_WIDTH,
    JOB,
    LINE,
    OK,
    PROGRESS,
    STATES_AT,
    TENSOR,
    TENSOR_SIZE,
    THREAD,
    UPDATE,
    field_offset,
)

from .launch import PyThread_get_thread_ident, commit, fold, number, walk_all, word
from .rows_layout import GIVEN, HISTORY, NEVER, ROWS_CALL, SQUARES, STEP
from .stages_layout import CHUNK_AT, PRIVATE, TENSOR_AT

_I64, _I32 = types.int64, types.int32
PIECE = types.void(_I64, _I64, _I64)
RUN_ROWS = _I64(_I64, _I64)  # status(job, call)
CHECK_ROWS = _I64(_I64, _I64, _I64, _I64)  # found(rows, n, n_rows, marks)
SUM_ROWS = types.void(_I64, _I64, _I64, _I64, _I64, _I64, _I64)
_WORD = 8  # bytes
_JOB_WORDS, _TENSOR_WORDS = JOB.itemsize // _WORD, TENSOR_SIZE // _WORD
_GIVEN_SIZE = GIVEN.itemsize
_OWNER_AT = field_offset(PROGRESS, "owner")
# Rows of a large table are in no cache, and the processor cannot guess which one comes next. So their bytes are fetched
# this many rows before they are needed, of a long row only the first ones. Without, 10,000 rows of 64 float32 took 5.4
# instead of 2.9 ms on one core (Ice Lake).
AHEAD, FETCHED = 4, 1024
_ZERO64, _ZERO32, _ZERO8, _F64, _F32 = np.int64(0), np.int32(0), np.int8(0), np.float64(0), np.float32(0)
_MINUS_ZERO64, _MINUS_ZERO32 = np.int64(-(2**63)), np.int32(-(2**31))


@njit(**PARTS)
def put_word(address, value):
    put(pointer(address, _ZERO64), 0, value)


@njit(**PARTS)
def put_number(address, value):
    put(pointer(address, _F64), 0, value)


# --- Calling the drive on a range of elements -------------------------------------------------------------------------


@njit(**PARTS)
def take_private(address, job, given, thread):
    """Fill a thread's records for that tensor, and return their address."""
    mine = given.private + thread * PRIVATE
    for j in range(_JOB_WORDS):
        put_word(mine + j * _WORD, word(address + j * _WORD))
    for j in range(_TENSOR_WORDS):
        put_word(mine + TENSOR_AT + j * _WORD, word(job.tensors + given.tensor * TENSOR_SIZE + j * _WORD))
    own = record(mine, 0, JOB)
    own.tensors, own.chunks = mine + TENSOR_AT, mine + CHUNK_AT
    record(mine + CHUNK_AT, 0, CHUNK).tensor = 0
    return mine


@njit(**PARTS)
def update_part(mine, first, size, g, itemsize):
    """Update the elements, at most a chunk, with the gradient at g."""
    chunk = record(mine + CHUNK_AT, 0, CHUNK)
    chunk.first, chunk.size = first, size
    record(mine + TENSOR_AT, 0, TENSOR).g = g - first * itemsize
    call_drive(record(mine, 0, JOB).drive, mine, UPDATE, 0)


@njit(**PARTS)
def update_range(mine, first, size, g, itemsize):
    """Update the elements, with the gradient at g."""
    while size > CHUNK_LENGTH:
        update_part(mine, first, CHUNK_LENGTH, g, itemsize)
        first, size, g = first + CHUNK_LENGTH, size - CHUNK_LENGTH, g + CHUNK_LENGTH * itemsize
    if size > 0:
        update_part(mine, first, size, g, itemsize)


# --- Replaying the updates that a row has missed ----------------------------------------------------------------------


@njit(**PARTS)
def has_other_than(start, size, itemsize, bits64, bits32):
    """Return whether an element's bits differ from these."""
    if itemsize == _WORD:
        for i in range(size):
            if pointer(start, _ZERO64)[i] != bits64:
                return True
    else:
        for i in range(size):
            if pointer(start, _ZERO32)[i] != bits32:
                return True
    return False


@njit(**PARTS)
def has_minus_zero(start, size, itemsize):
    if itemsize == _WORD:
        for i in range(size):
            if pointer(start, _ZERO64)[i] == _MINUS_ZERO64:
                return True
    else:
        for i in range(size):
            if pointer(start, _ZERO32)[i] == _MINUS_ZERO32:
                return True
    return False


@njit(**PARTS)
def has_negative(start, size, itemsize):
    """Return whether an element is negative or NaN."""
    if itemsize == _WORD:
        for i in range(size):
            if not pointer(start, _F64)[i] >= _F64:
                return True
    else:
        for i in range(size):
            if not pointer(start, _F32)[i] >= _F32:
                return True
    return False


@njit(**PARTS)
def is_settled(history, tensor, first, size, itemsize, entry):
    """Return whether this entry and all later ones leave these elements and their state as they are."""
    if entry < history.quiet or history.rest == NEVER:
        return False
    for k in range(history.n_states):
        start = word(tensor + STATES_AT + k * _WORD) + first * itemsize
        if history.rest == SQUARES:
            if has_negative(start, size, itemsize):
                return False
        elif has_other_than(start, size, itemsize, _ZERO64, _ZERO32):
            return False
    p = record(tensor, 0, TENSOR).p + first * itemsize
    return entry >= history.still or not has_minus_zero(p, size, itemsize)


@njit(**PARTS)
def use_entry(mine, history, entry):
    own = record(mine, 0, JOB)
    own.folds = history.numbers + entry * (FOLD_WIDTH * _WORD)
    own.grad_scale = number(history.scales + entry * _WORD)
    record(mine + TENSOR_AT, 0, TENSOR).fold_index = 0


@njit(**PARTS)
def replay(mine, history, first, size, itemsize, entry):
    """Bring elements up to date that have had the entries before this one."""
    while size > 0:
        part = min(size, CHUNK_LENGTH)
        for e in range(entry, history.entries):
            if is_settled(history, mine + TENSOR_AT, first, part, itemsize, e):
                break
            use_entry(mine, history, e)
            update_part(mine, first, part, history.zeros, itemsize)
        first, size = first + part, size - part


@njit(**PARTS)
def replay_rows(mine, history, given, first, end):
    """Bring the rows from `first` to `end` up to date. Neighbours that have had the same updates are one range."""
    while first < end:
        entry, last = word(history.done + first * _WORD), first + 1
        while (
            last < end
            and word(history.done + last * _WORD) == entry
            and (last - first + 1) * given.width <= CHUNK_LENGTH
        ):
            last += 1
        if entry < history.entries:
            replay(mine, history, first * given.width, (last - first) * given.width, given.itemsize, entry)
        for row in range(first, last):
            put_word(history.done + row * _WORD, history.entries)
        first = last


@njit(**PARTS)
def probe(mine, history, itemsize):
    """Find out what the last entry does to elements with a state at rest, and note it."""
    entry, tensor = history.entries - 1, mine + TENSOR_AT
    for j in range((history.n_states + 2) * (LINE // _WORD)):
        put_word(history.probe + j * _WORD, 0)
    p = history.probe
    if itemsize == _WORD:
        put(pointer(p, _ZERO64), 1, _MINUS_ZERO64)
    else:
        put(pointer(p, _ZERO32), 1, _MINUS_ZERO32)
    record(tensor, 0, TENSOR).p = p
    for k in range(history.n_states):
        put_word(tensor + STATES_AT + k * _WORD, p + (k + 2) * LINE)
    use_entry(mine, history, entry)
    update_part(mine, 0, 2, p + LINE, itemsize)
    numbers = history.numbers + entry * (FOLD_WIDTH * _WORD)
    decays = number(numbers) != 0 or number(numbers + 8) != 0 or number(numbers + 16) != 0  # contract.Common
    moved = has_other_than(p, 1, itemsize, _ZERO64, _ZERO32)
    for k in range(history.n_states):
        if has_other_than(p + (k + 2) * LINE, 2, itemsize, _ZERO64, _ZERO32):
            moved = True
    if decays or moved:
        history.quiet = history.still = history.entries
    elif has_other_than(p + itemsize, 1, itemsize, _MINUS_ZERO64, _MINUS_ZERO32):
        history.still = history.entries


@njit(**PARTS)
def remember(address, job, given):
    """Add this update's folded numbers to the tensor's history, and note which rows have had it."""
    history = record(given.history, 0, HISTORY)
    folded = job.folds + record(job.tensors, given.tensor, TENSOR).fold_index * (FOLD_WIDTH * _WORD)
    numbers = history.numbers + history.entries * (FOLD_WIDTH * _WORD)
    for j in range(FOLD_WIDTH):
        put_number(numbers + j * _WORD, number(folded + j * _WORD))
    put_number(history.scales + history.entries * _WORD, job.grad_scale)
    history.entries += 1
    for i in range(given.n):
        put_word(history.done + word(given.rows + i * _WORD) * _WORD, history.entries)
    probe(take_private(address, job, given, 0), history, given.itemsize)


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


def make_check_rows():
    """Make ``check_rows(rows, n, n_rows, marks)``.

    It returns the number of different rows, or -1 - i if row i is out of range. `marks` has a byte per row of the
    tensor, all zero before and after: those of a million rows fit into a core's cache.
    """

    def check_rows(rows, n, n_rows, marks):
        different, bad, seen = 0, -1, pointer(marks, _ZERO8)
        for i in range(n):
            row = word(rows + i * _WORD)
            if not 0 <= row < n_rows:
                bad = i
                break
            different += 1 - seen[row]
            put(seen, row, np.int8(1))
        for i in range(n if bad < 0 else bad):
            put(seen, word(rows + i * _WORD), _ZERO8)
        return different if bad < 0 else -1 - bad

    return check_rows


def make_sum_rows(dtype):
    """Make ``sum_rows(rows, n, values, width, places, to_rows, to_values)``: each row once, where it comes first.

    Its gradient is the sum of those given for it, added in their order. `places` has an int32 per row of the tensor,
    all zero before and after.
    """
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize

    def sum_rows(rows, n, values, width, places, to_rows, to_values):
        place, found = pointer(places, _ZERO32), 0  # of each row in the sums, from 1
        for i in range(n):
            row = word(rows + i * _WORD)
            x = pointer(values + i * width * itemsize, zero)
            if place[row] == 0:
                put_word(to_rows + found * _WORD, row)
                y = pointer(to_values + found * width * itemsize, zero)
                for j in range(width):
                    put(y, j, x[j])
                found += 1
                put(place, row, np.int32(found))
            else:
                y = pointer(to_values + (np.int64(place[row]) - 1) * width * itemsize, zero)
                for j in range(width):
                    put(y, j, y[j] + x[j])
        for i in range(found):
            put(place, word(to_rows + i * _WORD), _ZERO32)

    return sum_rows
