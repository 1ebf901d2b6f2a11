"""A whole step as one compiled call, the work of a pool helper, and a step by addresses. Compiled once for all rules.

`launch` is a METH_FASTCALL function of CPython's C API: a call takes 60 ns, where a numba dispatcher takes 200 and a
cffi pointer 390. Its self is a tuple of the binding's address and of all objects that the tables point to, so they live
as long as any call. Its phases, of which the first four hold the interpreter lock:

1. **take**: become the optimizer's owner, or return BUSY. Two threads never step one optimizer at once, a thread never
   steps it from inside its own step, and a thread that has the optimizer's lock pauses all others.
2. **bind**: compare each array's record (address, shape, dtype, flags) with what the tables were built for, and store
   the gradients' addresses. An array that was replaced, resized or reinterpreted is refused, never trusted.
3. **schedules**: call schedules and callables for their numbers, then bind again: a callable may do anything.
4. **hyperparameters**: copy those that Python wrote, and put the schedules' numbers into the copy. From here on, no
   Python object is read and nothing can fail. A large step releases the interpreter lock.
5. **prepare**, **fold**, **update** (with the pool if that pays), **commit**: `run`. No Python code counts steps, so
   Ctrl-C cannot separate a step from its count. `prepare` is for options such as clipping (stages.py): it walks over
   the chunks to measure the gradient, and may end the step before anything is written.

`run` is the same for a caller without Python, which has put the gradients' addresses into the tensors.

The whole step runs in the default floating-point mode and then restores the caller's. The bits depend neither on the
caller's mode nor on which thread took which chunk.

The pool's protocol
-------------------
A caller takes the pool if it is free (OWNER). Otherwise, it walks the chunks alone, so callers in many threads neither
wait nor oversubscribe. It publishes the job, issues tickets, wakes sleeping helpers and starts to walk at once. When no
chunk is left, it withdraws the tickets and waits for the helpers that have started, not for those that never came: a
core that another process holds costs its share of the work, not a scheduler's quantum. A helper enters RUNNING before
it takes a ticket, so the caller cannot miss it. A helper that falls asleep first writes ASLEEP and then reads
GENERATION once more. The caller that wakes it writes AWAKE before releasing its lock, so no wake-up is lost and none
happens twice.
"""

import sys

import numpy as np
from numba import njit, types

from pyfastlr_kernels.compile.intrinsics import (
    atomic_add,
    atomic_read,
    atomic_swap,
    atomic_take,
    call_drive,
    call_plain,
    default_mode,
    float_mode,
    is_default_mode,
    pause,
    pointer,
    put,
    read_numbers,
    record,
    set_float_mode,
    write_numbers,
)
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.python_side import (
    ARRAY,
    BAD_SCALE,
    BINDING,
    BUSY,
    DATA_AT,
    DESCR_AT,
    FAILED,
    FLAGS_AT,
    GRADIENT,
    HEAD,
    MOVED,
    NDIM_AT,
    NO_WORKERS,
    NOTHING,
    SCHEDULED,
    SHAPE_AT,
    TYPE_AT,
)
from pyfastlr_kernels.tables import (
    AROUND,
    BEGIN,
    CARRY_AT,
    CHUNK,
    COUNT,
    COUNT_SIZE,
    DECIDE,
    FINISH,
    FOLD,
    FOLD_CARRY,
    FOLD_WIDTH,
    HELD,
    JOB,
    LINE,
    MAX_CARRY,
    OK,
    OPTIONS,
    PROGRESS,
    SWAPPED,
    TENSOR,
    THREAD,
    UPDATE,
    field_offset,
)

from .pool import (
    ALIVE,
    ASLEEP,
    AWAKE,
    FORKING,
    GENERATION,
    HELPERS,
    JOB_AT,
    LOCK,
    NATIVE,
    OWNER,
    RUNNING,
    STATE,
    STOP,
    TICKETS,
    YIELD,
)

_I64, _I32 = types.int64, types.int32
LAUNCH = _I64(_I64, _I64, _I64)  # PyObject *(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
HELP = types.void(_I64, _I64)  # void(pool, index)
RUN = _I64(_I64)  # status(job)

PyObject_CallOneArg = types.ExternalFunction("PyObject_CallOneArg", _I64(_I64, _I64))
Py_DecRef = types.ExternalFunction("Py_DecRef", types.void(_I64))
_UNSIGNED_LONG = types.uint32 if sys.platform == "win32" else types.int64
PyThread_get_thread_ident = types.ExternalFunction("PyThread_get_thread_ident", _UNSIGNED_LONG())
PyThread_acquire_lock = types.ExternalFunction("PyThread_acquire_lock", _I32(_I64, _I32))
PyThread_release_lock = types.ExternalFunction("PyThread_release_lock", types.void(_I64))
PyLong_AsLongLong = types.ExternalFunction("PyLong_AsLongLong", _I64(_I64))
PyLong_FromLongLong = types.ExternalFunction("PyLong_FromLongLong", _I64(_I64))
PyTuple_GetItem = types.ExternalFunction("PyTuple_GetItem", _I64(_I64, _I64))  # a borrowed reference
PyList_Size = types.ExternalFunction("PyList_Size", _I64(_I64))
PyList_GetItem = types.ExternalFunction("PyList_GetItem", _I64(_I64, _I64))  # a borrowed reference
PyEval_SaveThread = types.ExternalFunction("PyEval_SaveThread", _I64())
PyEval_RestoreThread = types.ExternalFunction("PyEval_RestoreThread", types.void(_I64))

# Elements, about 15 us of work. Releasing and retaking the interpreter lock costs 0.3 of the 5 us of a step of 10,000.
HOLD_BELOW = 1 << 15
SPINS = 2000  # pauses (20 to 100 us) before a helper sleeps: less than waking it costs

_OWNER_AT, _PAUSED_AT = field_offset(PROGRESS, "owner"), field_offset(PROGRESS, "paused")
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


# --- Bind: Python's arrays against the tables -------------------------------------------------------------------------


@njit(**PARTS)
def same_shape(array, ndim, shape):
    """Return whether the ndarray has that shape."""
    if half_word(array + NDIM_AT) != ndim:
        return False
    lengths = word(array + SHAPE_AT)
    for j in range(ndim):
        if word(lengths + 8 * j) != word(shape + 8 * j):
            return False
    return True


@njit(**PARTS)
def bind_arrays(b, held):
    """Return OK if no parameter and no rate per element has changed, else the status that names the first one."""
    n_held = b.n_held if held != b.none else 0
    if n_held > 0 and PyList_Size(held) != n_held:
        return MOVED
    for k in range(b.n_arrays):
        a = record(b.arrays, k, ARRAY)
        x = a.object
        if k < n_held:
            x = PyList_GetItem(held, k)
            if a.object != 0 and x != a.object:
                return MOVED - k
        if x == 0 or (a.object == 0 and word(x + TYPE_AT) != b.ndarray):
            return MOVED - k
        if (
            word(x + DATA_AT) != a.data
            or word(x + DESCR_AT) != a.dtype
            or (half_word(x + FLAGS_AT) & a.flags) != a.flags
            or not same_shape(x, a.ndim, a.shape)
        ):
            return MOVED - k
    return OK


@njit(**PARTS)
def overlaps(b, start, end):
    """Return whether [start, end) overlaps anything that a step writes: disjoint ranges in ascending order."""
    low, high = 0, b.n_written  # the first range that starts at or after `end`
    while low < high:
        middle = (low + high) >> 1
        if word(b.written + 8 * middle) < end:
            low = middle + 1
        else:
            high = middle
    return low > 0 and word(b.written + 8 * (b.n_written + low - 1)) > start


@njit(**PARTS)
def gradient_address(b, x, like):
    """Return the address of a gradient's elements, or 0 if it does not match the GRADIENT record at `like`."""
    need = record(like, 0, GRADIENT)
    if (
        word(x + TYPE_AT) != b.ndarray
        or word(x + DESCR_AT) != b.dtype
        or (half_word(x + FLAGS_AT) & b.flags) != b.flags
        or not same_shape(x, need.ndim, need.shape)
    ):
        return 0
    if need.size == 0:
        return b.job  # anything but 0: no element is read
    address = word(x + DATA_AT)
    return 0 if overlaps(b, address, address + need.size * b.itemsize) else address


@njit(**PARTS)
def start_of(job, k):
    """Return the address of tensor k's gradient, 0 if it has no elements."""
    t = record(job.tensors, k, TENSOR)
    return t.g if t.size > 0 else 0


@njit(**PARTS)
def sift(order, job, root, n):
    """Move the tensor at `root` down to its place in the heap, whose parents start at the higher addresses."""
    k = order[root]
    start = start_of(job, k)
    child = 2 * root + 1
    while child < n:
        if child + 1 < n and start_of(job, order[child]) < start_of(job, order[child + 1]):
            child += 1
        if start_of(job, order[child]) <= start:
            break
        put(order, root, order[child])
        root, child = child, 2 * child + 1
    put(order, root, k)


@njit(**PARTS)
def first_shared(job, itemsize, order):
    """Return OK if each gradient ends before the next one starts, k + 1 if gradient k does not, or -1 for no order."""
    last = end = 0
    for j in range(job.n_tensors):
        t = record(job.tensors, order[j], TENSOR)
        if t.g == 0 or t.size == 0:
            if last != 0:
                return -1
            continue
        if t.g < last:
            return -1
        if t.g < end:
            return order[j] + 1
        last, end = t.g, t.g + t.size * itemsize
    return OK


@njit(**PARTS)
def sharing(b, job):
    """Return OK, or k + 1 if gradient k shares memory with another one: a step that sets them to zero needs each alone.

    The order of addresses is kept from step to step, and sorted again only if it has changed.
    """
    n, order = job.n_tensors, pointer(b.order, _ZERO64)
    status = first_shared(job, b.itemsize, order)
    if status >= 0:
        return status
    for j in range(n // 2 - 1, -1, -1):
        sift(order, job, j, n)
    for end in range(n - 1, 0, -1):
        k = order[0]
        put(order, 0, order[end])
        put(order, end, k)
        sift(order, job, 0, end)
    return first_shared(job, b.itemsize, order)


@njit(**PARTS)
def bind_gradients(b, job, gradients):
    """Store the gradients' addresses: of one array for all tensors, or of a list with an array or None for each."""
    n = job.n_tensors
    if word(gradients + TYPE_AT) != b.list:
        address = gradient_address(b, gradients, b.whole) if b.whole != 0 else 0
        if address == 0:
            return 1
        for k in range(n):
            record(job.tensors, k, TENSOR).g = address + record(b.gradients, k, GRADIENT).offset
        return OK
    if PyList_Size(gradients) != n:
        return 1
    found = 0
    for k in range(n):
        x = PyList_GetItem(gradients, k)
        address = 0
        if x != b.none:
            address = gradient_address(b, x, b.gradients + k * GRADIENT_SIZE)
            if address == 0:
                return k + 1
            found += 1
        record(job.tensors, k, TENSOR).g = address
    if found == 0:
        return NOTHING
    return sharing(b, job) if b.order != 0 else OK


GRADIENT_SIZE = GRADIENT.itemsize


@njit(**PARTS)
def bind(b, job, gradients, held):
    """Check all arrays. Write only the gradients' addresses in the tables."""
    status = bind_arrays(b, held)
    return status if status != OK else bind_gradients(b, job, gradients)


# --- Schedules and hyperparameters ------------------------------------------------------------------------------------


@njit(**PARTS)
def may_update(job):
    """Return whether this call may make an update: a call that only accumulates needs no schedule."""
    if job.stages == 0:
        return True
    options = record(job.options, 0, OPTIONS)
    return options.calls + 1 >= options.every


@njit(**PARTS)
def is_outdated(b, job):
    """Return whether a later launch has taken over the options' record, since this one's caller read which to call."""
    return job.stages != 0 and record(job.options, 0, OPTIONS).bound != b.job


@njit(**PARTS)
def call_schedules(b, steps):
    """Call every schedule and callable for its number at this update. Write only to their table."""
    n = PyLong_FromLongLong(steps)
    for k in range(b.n_scheduled):
        s = record(b.scheduled, k, SCHEDULED)
        value = PyObject_CallOneArg(s.call, n)
        if value != 0 and not (word(value + TYPE_AT) == b.float and s.low <= number(value + HEAD) <= s.high):
            given = value
            value = PyObject_CallOneArg(s.convert, given)
            Py_DecRef(given)
        if value == 0:
            Py_DecRef(n)
            return FAILED
        s.value = number(value + HEAD)
        Py_DecRef(value)
    Py_DecRef(n)
    return OK


@njit(**PARTS)
def take_hyperparameters(b, job):
    """Copy the rows that Python wrote, and put the schedules' numbers into the copy."""
    for j in range(b.n_cells):
        pointer(job.rows, _ZERO64)[j] = word(b.rows + 8 * j)
    for k in range(b.n_scheduled):
        s = record(b.scheduled, k, SCHEDULED)
        for j in range(s.count):
            pointer(job.rows + 8 * word(b.row_cells + 8 * (s.first + j)), _ZERO_F)[0] = s.value
    return OK


# --- Run: the phases without Python -----------------------------------------------------------------------------------


@njit(**PARTS)
def same_carry(a, b):
    """Return whether two tensors' carries are equal. NaN never is, so each tensor with NaN is folded."""
    for j in range(MAX_CARRY):
        if number(a + 8 * j) != number(b + 8 * j):
            return False
    return True


@njit(**PARTS)
def fold(address, job):
    """Fold each tensor that has a gradient. Neighbours with the same group, count and carry share one result."""
    last, last_row, last_count, last_carry = -1, -1, -1, job.counts
    for k in range(job.n_tensors):
        t = record(job.tensors, k, TENSOR)
        if t.g == 0:
            t.fold_index = -1
            continue
        carry = job.counts + k * COUNT_SIZE + CARRY_AT
        count = record(job.counts, k, COUNT).count
        if last < 0 or t.row != last_row or count != last_count or not same_carry(carry, last_carry):
            call_drive(job.drive, address, FOLD, k)
            last, last_row, last_count, last_carry = k, t.row, count, carry
        t.fold_index = last
    return OK


@njit(**PARTS)
def walk(address, job, thread):
    """Claim chunks and update them until none is left.

    Each thread starts in its own segment, which stays in its cache from step to step, and then helps the others. No one
    waits for a thread that has not come.
    """
    stages, what = job.stages, job.what + THREAD * thread  # in registers, because a drive may write to any memory
    for k in range(job.threads):
        segment = (thread + k) % job.threads
        end = (segment + 1) * job.n_chunks // job.threads
        index = atomic_add(job.cursors + segment * LINE, 1)
        while index < end:
            if stages != 0:
                call_drive(stages, address, what, index)
            elif record(job.tensors, record(job.chunks, index, CHUNK).tensor, TENSOR).fold_index >= 0:
                call_drive(job.drive, address, UPDATE, index)
            index = atomic_add(job.cursors + segment * LINE, 1)


@njit(**PARTS)
def wake_helpers(pool):
    for k in range(atomic_read(pool + ALIVE)):
        helper = pool + HELPERS + k * LINE
        if atomic_read(helper + STATE) == ASLEEP and atomic_swap(helper + STATE, AWAKE) == ASLEEP:
            PyThread_release_lock(word(helper + LOCK))


@njit(**PARTS)
def walk_shared(address, job):
    """Walk the chunks with the pool's help, or alone if another caller has the pool."""
    pool = job.pool
    if not atomic_take(pool + OWNER, 1):
        walk(address, job, 0)
        return
    atomic_swap(pool + JOB_AT, address)
    atomic_swap(pool + TICKETS, job.threads - 1)
    atomic_add(pool + GENERATION, 1)
    wake_helpers(pool)
    walk(address, job, 0)
    atomic_swap(pool + TICKETS, 0)
    spins = 0
    while atomic_read(pool + RUNNING) > 0:
        spins += 1
        if spins < SPINS or word(pool + YIELD) == 0:
            pause()
        else:
            call_plain(word(pool + YIELD))  # the helper may be waiting for this very core
    atomic_swap(pool + OWNER, 0)


@njit(**PARTS)
def walk_all(address, job):
    """Walk over all chunks, with the pool if that pays."""
    for k in range(job.threads):
        pointer(job.cursors + k * LINE, _ZERO64)[0] = k * job.n_chunks // job.threads
    if job.threads > 1:
        walk_shared(address, job)
    else:
        walk(address, job, 0)


@njit(**PARTS)
def prepare(address, job):
    """Measure the gradient where options need it. A step that is skipped, accumulated or refused ends here."""
    if job.stages == 0:
        return OK
    if record(job.options, 0, OPTIONS).swapped != 0:
        return SWAPPED  # the parameters are their average now: nothing may be written
    call_drive(job.stages, address, BEGIN, 0)
    while job.what != 0:
        walk_all(address, job)
        call_drive(job.stages, address, DECIDE, 0)
    job.what = AROUND
    return record(job.options, 0, OPTIONS).status


@njit(**PARTS)
def update(address, job):
    """Update every chunk of the tensors that have a gradient."""
    walk_all(address, job)
    if job.stages != 0:
        call_drive(job.stages, address, FINISH, 0)
    return OK


@njit(**PARTS)
def commit(address, job):
    """Count the step for each tensor that had a gradient, and for the optimizer."""
    for k in range(job.n_tensors):
        index = record(job.tensors, k, TENSOR).fold_index
        if index >= 0:
            carry = job.counts + k * COUNT_SIZE + CARRY_AT
            write_numbers(carry, read_numbers(job.folds + (index * FOLD_WIDTH + FOLD_CARRY) * 8, _CARRY))
            record(job.counts, k, COUNT).count += 1
    progress = record(job.progress, 0, PROGRESS)
    progress.used_lr = number(job.rows)
    progress.steps += 1
    return OK


PHASES = (prepare, fold, update, commit)


def make_phases(phases):
    """Chain the phases, each ``status phase(address, job)``; the chain stops at the first that does not return OK."""
    first, rest = phases[0], phases[1:]
    if not rest:
        return first
    others = make_phases(rest)

    @njit(**PARTS)
    def run_phases(address, job):
        status = first(address, job)
        return status if status != OK else others(address, job)

    return run_phases


# --- Entry points -----------------------------------------------------------------------------------------------------


def make_run(phases=PHASES):
    """Make the step by addresses: ``status run(job)``."""
    run_phases = make_phases(phases)

    def run(address):
        mode = float_mode()
        if not is_default_mode(mode):
            set_float_mode(default_mode())
        status = run_phases(address, record(address, 0, JOB))
        if not is_default_mode(mode):
            set_float_mode(mode)
        return status

    return run


def make_launch(phases=PHASES):
    """Make the step by Python's arrays: ``launch(gradients, inv_scale, held, grads[, locked])``.

    ``gradients`` is an array, or a list that nothing else refers to. ``held`` is a list of the arrays that the
    parameters' container now holds, or None. If there are callables other than the library's own schedules, the binding
    has a function that rebuilds both from ``grads``, the user's argument. A fifth argument means that the caller has
    the optimizer's lock: then `paused` does not stop the step.
    """
    run_phases = make_phases(phases)

    @njit(**PARTS)
    def run_released(address, job):
        """Run the phases, without the interpreter lock if that pays."""
        if job.size < HOLD_BELOW or atomic_read(job.pool + FORKING) != 0:
            return run_phases(address, job)
        atomic_add(job.pool + NATIVE, 1)
        state = PyEval_SaveThread()
        status = run_phases(address, job)
        PyEval_RestoreThread(state)
        atomic_add(job.pool + NATIVE, -1)
        return status

    @njit(**PARTS)
    def scheduled_step(b, job, grads):
        """Call the schedules; return the renewed pair of gradients and held, or 0, and the status."""
        status = call_schedules(b, record(job.progress, 0, PROGRESS).steps)
        if status != OK or b.gather == b.none:
            return 0, status
        renewed = PyObject_CallOneArg(b.gather, grads)
        return renewed, (OK if renewed != 0 else FAILED)

    @njit(**PARTS)
    def step(b, job, gradients, inv_scale, held, grads):
        if word(inv_scale + TYPE_AT) != b.float or not 0.0 < number(inv_scale + HEAD) <= _LARGEST:
            return BAD_SCALE
        if job.threads > 1 and atomic_read(job.pool + ALIVE) < job.threads - 1:
            return NO_WORKERS
        if is_outdated(b, job):
            return BUSY
        status = bind(b, job, gradients, held)
        renewed = 0
        if status == OK and b.n_scheduled > 0 and may_update(job):
            renewed, status = scheduled_step(b, job, grads)
            if renewed != 0:
                gradients, held = PyTuple_GetItem(renewed, 0), PyTuple_GetItem(renewed, 1)
            if status == OK:
                status = bind(b, job, gradients, held)
        if status == OK:
            take_hyperparameters(b, job)
            job.grad_scale = job.sign * number(inv_scale + HEAD)
            status = run_released(b.job, job)
        if renewed != 0:
            Py_DecRef(renewed)
        return status

    def launch(self, arguments, count):
        b = record(PyLong_AsLongLong(PyTuple_GetItem(self, 0)), 0, BINDING)
        job = record(b.job, 0, JOB)
        progress = job.progress
        if count < 5 and atomic_read(progress + _PAUSED_AT) != 0:
            return PyLong_FromLongLong(BUSY)
        if not atomic_take(progress + _OWNER_AT, np.int64(PyThread_get_thread_ident())):
            return PyLong_FromLongLong(BUSY)
        mode = float_mode()
        if not is_default_mode(mode):
            set_float_mode(default_mode())
        status = step(b, job, word(arguments), word(arguments + 8), word(arguments + 16), word(arguments + 24))
        if not is_default_mode(mode):
            set_float_mode(mode)
        atomic_swap(progress + _OWNER_AT, 0)
        if status == FAILED:
            return 0
        return PyLong_FromLongLong(OK if status in (NOTHING, HELD) else status)

    return launch


def make_help():
    """Make a pool thread's function: ``help(pool, index)`` takes part in one generation after another, until STOP."""

    def help(pool, index):
        set_float_mode(default_mode())
        helper = pool + HELPERS + index * LINE
        seen = 0
        while True:
            spins = 0
            while atomic_read(pool + GENERATION) == seen and spins < SPINS:
                pause()
                spins += 1
            while atomic_read(pool + GENERATION) == seen:
                atomic_swap(helper + STATE, ASLEEP)
                if atomic_read(pool + GENERATION) == seen or atomic_swap(helper + STATE, AWAKE) != ASLEEP:
                    PyThread_acquire_lock(word(helper + LOCK), 1)  # the thread that released it has written AWAKE
            seen = atomic_read(pool + GENERATION)
            if atomic_read(pool + STOP) != 0:
                return
            atomic_add(pool + RUNNING, 1)
            ticket = atomic_add(pool + TICKETS, -1)
            if ticket > 0:
                address = atomic_read(pool + JOB_AT)
                walk(address, record(address, 0, JOB), ticket)
            atomic_add(pool + RUNNING, -1)

    return help
