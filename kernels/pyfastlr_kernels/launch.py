"""The launch, which is a whole step, and the work of a helper, a pool thread's whole life.

The launch is a METH_FASTCALL function of CPython's C API, ``launch(gradients, inv_scale, parameters)``, its self the
address of the job: 60 ns a call, where a numba dispatcher takes 200 and a cffi pointer 390. In this order, holding the
interpreter lock:

1. It takes the job, or answers BUSY: two threads never step one optimizer at once, and a callable cannot step its own.
2. It reads each array's own record (address, dtype, shape, flags) and compares it with what the table expects, so that
   an array that was replaced, resized or reinterpreted since the last step is bound anew or refused, never trusted.
3. It asks schedules and callables for their numbers, and then looks at the arrays again: a callable may do anything.
4. It folds, and from here on nothing can fail. A large step gives the interpreter lock away.
5. It walks, with the pool if that pays, and counts the step: nothing in Python counts beside it, so Ctrl-C cannot tear
   the two apart.

The pool's protocol
-------------------
A caller takes the pool if it is free (OWNER); if not, it walks alone: callers in many threads neither wait nor
oversubscribe. It publishes the job, hands out tickets, wakes sleepers and walks at once itself. When no chunk is left
it withdraws the tickets and waits for those inside, not for those who never came: a core that a neighbour holds costs
its share of the work, not a scheduler's quantum. A worker enters RUNNING before it takes a ticket, so that the caller
cannot miss it.
"""

import numpy as np
from numba import njit, types

from .chunks import (
    ASKED,
    BAD_SCALE,
    BUFFER,
    BUSY,
    CARRY_AT,
    CHUNK,
    COUNT,
    COUNT_SIZE,
    FOLD,
    FOLD_CARRY,
    FOLD_WIDTH,
    JOB,
    LINE,
    MAX_CARRY,
    MOVED,
    NO_WORKERS,
    OK,
    TENSOR,
    UPDATE,
)  # fmt: skip
from .intrinsics import (
    atomic_add,
    atomic_read,
    atomic_swap,
    call_drive,
    pause,
    pointer,
    read_numbers,
    record,
    write_numbers,
)  # fmt: skip
from .jit import PARTS
from .pool import ALIVE, CONDITION, GENERATION, JOB_AT, MUTEX, OWNER, RUNNING, SLEEPERS, STOP, TICKETS

FAILED = 1 << 62  # a callable raised: Python has the exception

_I64, _I32 = types.int64, types.int32
LAUNCH = _I64(_I64, _I64, _I64)  # PyObject *(PyObject *self, PyObject *const *args, Py_ssize_t nargs)

PyObject_CallOneArg = types.ExternalFunction("PyObject_CallOneArg", _I64(_I64, _I64))
Py_DecRef = types.ExternalFunction("Py_DecRef", types.void(_I64))
PyThread_get_thread_ident = types.ExternalFunction("PyThread_get_thread_ident", _I64())
PyLong_AsLongLong = types.ExternalFunction("PyLong_AsLongLong", _I64(_I64))
PyLong_FromLongLong = types.ExternalFunction("PyLong_FromLongLong", _I64(_I64))
PyList_Size = types.ExternalFunction("PyList_Size", _I64(_I64))
PyList_GetItem = types.ExternalFunction("PyList_GetItem", _I64(_I64, _I64))  # a borrowed reference
PyEval_SaveThread = types.ExternalFunction("PyEval_SaveThread", _I64())
PyEval_RestoreThread = types.ExternalFunction("PyEval_RestoreThread", types.void(_I64))
sched_yield = types.ExternalFunction("sched_yield", _I32())
pthread_mutex_lock = types.ExternalFunction("pthread_mutex_lock", _I32(_I64))
pthread_mutex_unlock = types.ExternalFunction("pthread_mutex_unlock", _I32(_I64))
pthread_cond_wait = types.ExternalFunction("pthread_cond_wait", _I32(_I64, _I64))
pthread_cond_broadcast = types.ExternalFunction("pthread_cond_broadcast", _I32(_I64))

# PyArrayObject_fields, numpy's public struct (numpy/ndarraytypes.h), behind the object's head.
_HEAD = object.__basicsize__
_TYPE, _DATA, _NDIM, _SHAPE, _DESCR, _FLAGS = _HEAD - 8, _HEAD, _HEAD + 8, _HEAD + 16, _HEAD + 40, _HEAD + 48
_C_CONTIGUOUS_ALIGNED = 0x1 | 0x100

# Elements, some 15 us of work: giving the interpreter lock away and back costs 0.3 us of the 5 of a step of 10,000.
HOLD_BELOW = 1 << 15
SPINS = 2000  # of a pause each (20 to 100 us) before a worker sleeps: less than waking it costs

_ZERO64, _ZERO32, _ZERO_F = np.int64(0), np.int32(0), np.float64(0)
_LARGEST = float(np.finfo(np.float64).max)
_CARRY = (0.0,) * MAX_CARRY


@njit(**PARTS)
def word(address):
    return pointer(address, _ZERO64)[0]


@njit(**PARTS)
def half_word(address):
    return pointer(address, _ZERO32)[0]


@njit(**PARTS)
def number(address):
    return pointer(address, _ZERO_F)[0]


@njit(**PARTS)
def same_shape(array, b):
    """Whether the ndarray has the shape that the buffer had when the table was built."""
    if half_word(array + _NDIM) != b.ndim:
        return False
    shape = word(array + _SHAPE)
    for j in range(b.ndim):
        if word(shape + 8 * j) != word(b.shape + 8 * j):
            return False
    return True


@njit(**PARTS)
def overlaps(job, start, end):
    """Whether [start, end) overlaps anything that a step writes: the spans are disjoint and in ascending order."""
    low, high = 0, job.n_spans  # the first span that starts at or behind `end`
    while low < high:
        middle = (low + high) >> 1
        if word(job.spans + 8 * middle) < end:
            low = middle + 1
        else:
            high = middle
    return low > 0 and word(job.spans + 8 * (job.n_spans + low - 1)) > start


@njit(**PARTS)
def bind(job, gradients, parameters):
    """Check every parameter and gradient and note the gradients' addresses. Nothing is written but in the table."""
    if not job.single and PyList_Size(gradients) != job.n_buffers:
        return 1
    if parameters != job.none and PyList_Size(parameters) != job.n_buffers:
        return MOVED
    for k in range(job.n_buffers):
        b = record(job.buffers, k, BUFFER)
        if word(b.object + _DATA) != b.data or not same_shape(b.object, b):
            return MOVED - k
        if parameters != job.none and PyList_GetItem(parameters, k) != b.given:
            return MOVED - k
        g = gradients if job.single else PyList_GetItem(gradients, k)
        if g == job.none and not job.single:
            b.grad = 0
            continue
        if (
            word(g + _TYPE) != job.ndarray
            or word(g + _DESCR) != job.dtype
            or (half_word(g + _FLAGS) & _C_CONTIGUOUS_ALIGNED) != _C_CONTIGUOUS_ALIGNED
            or not same_shape(g, b)
        ):
            return k + 1
        address = word(g + _DATA)
        if b.size > 0 and overlaps(job, address, address + b.size * job.itemsize):
            return k + 1
        b.grad = address
    for k in range(job.n_tensors):
        t = record(job.tensors, k, TENSOR)
        grad = record(job.buffers, t.buffer, BUFFER).grad
        t.g = grad + t.offset
        t.slot = 0 if grad != 0 else -1
    return OK


@njit(**PARTS)
def same_carry(a, b):
    """Whether two tensors' running products are equal; NaN never is, and is folded for each."""
    for j in range(MAX_CARRY):
        if number(a + 8 * j) != number(b + 8 * j):
            return False
    return True


@njit(**PARTS)
def fold(address, job):
    """Fold each tensor that has a gradient. Neighbours of one group, count and carry share one result, its slot."""
    last, last_row, last_count, last_carry = -1, -1, -1, job.counts
    for k in range(job.n_tensors):
        t = record(job.tensors, k, TENSOR)
        if t.slot < 0:
            continue
        carry = job.counts + k * COUNT_SIZE + CARRY_AT
        count = record(job.counts, k, COUNT).count
        if last < 0 or t.row != last_row or count != last_count or not same_carry(carry, last_carry):
            call_drive(job.drive, address, FOLD, k)
            last, last_row, last_count, last_carry = k, t.row, count, carry
        t.slot = last


@njit(**PARTS)
def rewind(job):
    for k in range(job.threads):
        pointer(job.cursors + k * LINE, _ZERO64)[0] = k * job.n_chunks // job.threads


@njit(**PARTS)
def walk(address, job, thread):
    """Claim chunks and update them until none is left.

    Each thread starts in a segment of its own, so that its part stays in its cache from step to step, and then helps
    the others: nobody waits for a thread that has not come.
    """
    for k in range(job.threads):
        segment = (thread + k) % job.threads
        end = (segment + 1) * job.n_chunks // job.threads
        index = atomic_add(job.cursors + segment * LINE, 1)
        while index < end:
            if record(job.tensors, record(job.chunks, index, CHUNK).tensor, TENSOR).slot >= 0:
                call_drive(job.drive, address, UPDATE, index)
            index = atomic_add(job.cursors + segment * LINE, 1)


@njit(**PARTS)
def walk_shared(address, job):
    """Walk with the pool's help, or alone if another caller has it."""
    pool = job.pool
    if atomic_swap(pool + OWNER, 1) != 0:
        walk(address, job, 0)
        return
    atomic_swap(pool + JOB_AT, address)
    atomic_swap(pool + TICKETS, job.threads - 1)
    atomic_add(pool + GENERATION, 1)
    if atomic_read(pool + SLEEPERS) > 0:
        pthread_mutex_lock(pool + MUTEX)
        pthread_cond_broadcast(pool + CONDITION)
        pthread_mutex_unlock(pool + MUTEX)
    walk(address, job, 0)
    atomic_swap(pool + TICKETS, 0)
    spins = 0
    while atomic_read(pool + RUNNING) > 0:
        spins += 1
        if spins < SPINS:
            pause()
        else:
            sched_yield()  # the worker may be waiting for this very core
    atomic_swap(pool + OWNER, 0)


@njit(**PARTS)
def commit(job):
    """Count the step: of each tensor that had a gradient, and of the optimizer."""
    for k in range(job.n_tensors):
        slot = record(job.tensors, k, TENSOR).slot
        if slot >= 0:
            carry = job.counts + k * COUNT_SIZE + CARRY_AT
            write_numbers(carry, read_numbers(job.folds + (slot * FOLD_WIDTH + FOLD_CARRY) * 8, _CARRY))
            record(job.counts, k, COUNT).count += 1
    job.used_lr = number(job.rows)
    job.steps += 1


@njit(**PARTS)
def ask(job):
    """Ask every callable for its number of this update, and write them all, or none if one raises."""
    n = PyLong_FromLongLong(job.steps)
    for k in range(job.n_asked):
        asked = record(job.asked, k, ASKED)
        value = PyObject_CallOneArg(asked.call, n)
        if value != 0 and not (word(value + _TYPE) == job.float and asked.low <= number(value + _HEAD) <= asked.high):
            given = value
            value = PyObject_CallOneArg(asked.convert, given)
            Py_DecRef(given)
        if value == 0:
            Py_DecRef(n)
            return FAILED
        asked.value = number(value + _HEAD)
        Py_DecRef(value)
    Py_DecRef(n)
    for k in range(job.n_asked):
        asked = record(job.asked, k, ASKED)
        for j in range(asked.count):
            pointer(job.rows + 8 * word(job.places + 8 * (asked.first + j)), _ZERO_F)[0] = asked.value
    return OK


@njit(**PARTS)
def step(address, job, gradients, inv_scale, parameters):
    if word(inv_scale + _TYPE) != job.float or not 0.0 < number(inv_scale + _HEAD) <= _LARGEST:
        return BAD_SCALE
    if job.threads > 1 and atomic_read(job.pool + ALIVE) < job.threads - 1:
        return NO_WORKERS
    status = bind(job, gradients, parameters)
    if status == OK and job.n_asked > 0:
        status = ask(job)
        if status == OK:
            status = bind(job, gradients, parameters)
    if status != OK:
        return status
    job.grad_scale = job.sign * number(inv_scale + _HEAD)
    fold(address, job)
    rewind(job)
    state = PyEval_SaveThread() if job.size >= HOLD_BELOW else 0
    if job.threads > 1:
        walk_shared(address, job)
    else:
        walk(address, job, 0)
    commit(job)
    if state != 0:
        PyEval_RestoreThread(state)
    return OK


@njit(**PARTS)
def work(pool):
    """Be a helper: take part in one generation after the other until told to stop."""
    seen = 0
    while True:
        spins = 0
        while atomic_read(pool + GENERATION) == seen and spins < SPINS:
            pause()
            spins += 1
        if atomic_read(pool + GENERATION) == seen:
            pthread_mutex_lock(pool + MUTEX)
            atomic_add(pool + SLEEPERS, 1)
            while atomic_read(pool + GENERATION) == seen:
                pthread_cond_wait(pool + CONDITION, pool + MUTEX)
            atomic_add(pool + SLEEPERS, -1)
            pthread_mutex_unlock(pool + MUTEX)
        seen = atomic_read(pool + GENERATION)
        if atomic_read(pool + STOP) != 0:
            return
        atomic_add(pool + RUNNING, 1)
        ticket = atomic_add(pool + TICKETS, -1)
        if ticket > 0:
            address = atomic_read(pool + JOB_AT)
            walk(address, record(address, 0, JOB), ticket)
        atomic_add(pool + RUNNING, -1)


def make_launch():
    """Python text of the launch. Without arguments it only takes the job; with fewer than none it is a helper.

    A helper's self is the address of the pool, and nothing of Python's: two functions in one compile in less time.
    """

    def launch(self, arguments, count):
        if count < 0:
            work(self)
            return 0
        address = PyLong_AsLongLong(self)
        job = record(address, 0, JOB)
        if job.owner != 0:
            return PyLong_FromLongLong(BUSY)
        job.owner = PyThread_get_thread_ident()
        if count == 0:
            return PyLong_FromLongLong(OK)
        status = step(address, job, word(arguments), word(arguments + 8), word(arguments + 16))
        job.owner = 0
        return PyLong_FromLongLong(status) if status != FAILED else 0

    return launch
