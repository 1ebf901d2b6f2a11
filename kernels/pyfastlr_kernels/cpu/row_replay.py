"""Calling a drive on a range of elements, and on rows that have missed updates.

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
"""

import numpy as np
from numba import njit

from pyfastlr_kernels.compile.intrinsics import call_drive, pointer, put, record
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.tables import CHUNK, CHUNK_LENGTH, FOLD_WIDTH, JOB, LINE, STATES_AT, TENSOR, TENSOR_SIZE, UPDATE

from .launch import number, word
from .rows_layout import HISTORY, NEVER, SQUARES
from .stages_layout import CHUNK_AT, PRIVATE, TENSOR_AT

_WORD = 8  # bytes
_JOB_WORDS, _TENSOR_WORDS = JOB.itemsize // _WORD, TENSOR_SIZE // _WORD
_ZERO64, _ZERO32, _F64, _F32 = np.int64(0), np.int32(0), np.float64(0), np.float32(0)
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
