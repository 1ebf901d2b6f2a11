"""The functions that XLA calls, compiled once for all rules: a whole step, and the values of a schedule.

``handle(frame, context)`` is a step over all tensors of a call. It builds the tables of tables.py in memory of its own,
so calls may run side by side, and runs the same phases as any other step (cpu/launch.py). XLA calls it in its own
threads, without the interpreter lock, and it never needs that lock. Like a step from Python, it uses the pool if the
pool is free and large enough, and a fork waits for it.

Nothing raises. A call that does not fit returns an error to XLA, before anything is written.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pyfastlr_kernels import tables
from pyfastlr_kernels.compile.intrinsics import (
    atomic_add,
    atomic_read,
    default_mode,
    float_mode,
    pointer,
    record,
    set_float_mode,
)
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.cpu.launch import half_word, number, word
from pyfastlr_kernels.cpu.pool import ALIVE, FORKING, NATIVE
from pyfastlr_kernels.tables import (
    CARRY_AT,
    CHUNK,
    COUNT,
    COUNT_SIZE,
    FOLD_WIDTH,
    JOB,
    LINE,
    PROGRESS,
    STATES_AT,
    TENSOR,
    TENSOR_SIZE,
)

from .layout import (
    API,
    ARRAY,
    ARRAY_ATTRIBUTE,
    BUFFER,
    CHANGE,
    CONTEXT,
    ERROR,
    ERROR_SIZE,
    EXECUTE,
    EXTENSION,
    F32,
    F64,
    FRAME,
    INVALID_ARGUMENT,
    METADATA,
    METADATA_EXTENSION,
    NO_MEMORY,
    NO_PLAN,
    OK,
    OLD,
    PLAN_CELLS,
    PLAN_HEAD,
    PLAN_OPERANDS,
    PLAN_PARAMETERS,
    PLAN_ROWS,
    PLAN_TENSORS,
    PLAN_THREADS,
    RESOURCE_EXHAUSTED,
    S32,
    S64,
    U32,
    WRONG_ARRAY,
    WRONG_COUNT,
    WRONG_NUMBER,
)

_I64 = types.int64
HANDLE = _I64(_I64, _I64)  # XLA_FFI_Error *(XLA_FFI_CallFrame *frame, CONTEXT *context)

malloc = types.ExternalFunction("malloc", _I64(_I64))
free = types.ExternalFunction("free", types.void(_I64))
memcpy = types.ExternalFunction("memcpy", _I64(_I64, _I64, _I64))
memset = types.ExternalFunction("memset", _I64(_I64, types.int32, _I64))

_LLVM_I64 = ir.IntType(64)
_ZERO64, _ZERO32, _ZERO_F, _ZERO_F32 = np.int64(0), np.int32(0), np.float64(0), np.float32(0)
_LARGEST_COUNT = np.iinfo(np.int32).max
_JOB_SIZE, _PROGRESS_SIZE, _CHUNK_SIZE = JOB.itemsize, PROGRESS.itemsize, CHUNK.itemsize
_FRAME_SIZE, _BUFFER_SIZE, _FOLD_SIZE = FRAME.itemsize, BUFFER.itemsize, FOLD_WIDTH * 8
_METADATA_SIZE, _ERROR_SIZE = METADATA.itemsize, ERROR.itemsize
_chunk_length = njit(**PARTS)(tables.chunk_length)


@intrinsic
def call_run(typingctx, function, argument):
    """Call the C function int64(int64) at that address."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(_LLVM_I64, [_LLVM_I64])
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [args[1]])

    return types.int64(types.int64, types.int64), code


@intrinsic
def call_curve(typingctx, function, n):
    """Call the C function float64(int64) at that address."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(ir.DoubleType(), [_LLVM_I64])
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [args[1]])

    return types.float64(types.int64, types.int64), code


# --- XLA's records ----------------------------------------------------------------------------------------------------


@njit(**PARTS)
def argument(f, k):
    return record(word(f.args_items + 8 * k), 0, BUFFER)


@njit(**PARTS)
def result(f, k):
    return record(word(f.rets_items + 8 * k), 0, BUFFER)


@njit(**PARTS)
def elements(buffer):
    size = 1
    for j in range(buffer.rank):
        size *= word(buffer.dims + 8 * j)
    return size


@njit(**PARTS)
def answer_query(f, c):
    """Answer XLA's question for the handler's version; return whether it was one."""
    at = f.extension
    while at != 0:
        extension = record(at, 0, EXTENSION)
        if extension.type == METADATA_EXTENSION:
            metadata = record(extension.metadata, 0, METADATA)
            metadata.major, metadata.minor, metadata.traits = c.major, c.minor, 0
            if metadata.struct_size >= _METADATA_SIZE:
                metadata.state_type = 0
            return True
        at = extension.next
    return False


@njit(**PARTS)
def new_error(f, c, status):
    """Return an error of XLA with the message of a status, or 0 if there is none."""
    if status == OK or f.api == 0:
        return 0
    memory = malloc(_ERROR_SIZE)
    if memory == 0:
        return 0
    memset(memory, _ZERO32, _ERROR_SIZE)
    error = record(memory, 0, ERROR)
    error.struct_size, error.message = ERROR_SIZE, word(c.errors + 8 * status)
    error.code = RESOURCE_EXHAUSTED if status == NO_MEMORY else INVALID_ARGUMENT
    made = call_run(record(f.api, 0, API).create_error, memory)
    free(memory)
    return made


@njit(**PARTS)
def is_known(f, c):
    """Return whether the frame has all fields that the handler reads."""
    return f.struct_size >= _FRAME_SIZE and f.api != 0 and record(f.api, 0, API).major == c.major


@njit(**PARTS)
def plan_of(f):
    """Return the address of the plan, or 0 if there is none."""
    if f.attrs_size != 1 or half_word(f.attrs_types) != ARRAY_ATTRIBUTE:
        return 0
    array = record(word(f.attrs_items), 0, ARRAY)
    return array.data if array.dtype == S64 and array.size >= PLAN_HEAD else 0


# --- Checks -----------------------------------------------------------------------------------------------------------


@njit(**PARTS)
def first_array(c, plan):
    """Return the number of arguments before the arrays."""
    return 2 + (1 if c.n_carry > 0 else 0) + word(plan + 8 * PLAN_OPERANDS)


@njit(**PARTS)
def n_blocks(c, plan):
    """Return the number of arrays of each tensor among the arguments."""
    return c.n_states + 1 + (1 if word(plan + 8 * PLAN_PARAMETERS) != 0 else 0)


@njit(**PARTS)
def check_numbers(f, c, plan):
    """Check count, carry, numbers and operands."""
    count, n_carry = argument(f, 0), 1 if c.n_carry > 0 else 0
    if count.dtype != S32 or elements(count) != 1 or result(f, 0).dtype != S32 or elements(result(f, 0)) != 1:
        return WRONG_NUMBER
    if n_carry > 0:
        carry, next_carry = argument(f, 1), result(f, 1)
        if carry.dtype != U32 or elements(carry) != 2 * c.n_carry or elements(next_carry) != 2 * c.n_carry:
            return WRONG_NUMBER
    numbers = argument(f, 1 + n_carry)
    if numbers.dtype != U32 or elements(numbers) != 2 * (word(plan + 8 * PLAN_ROWS) * c.row_fields + 1):
        return WRONG_NUMBER
    for k in range(word(plan + 8 * PLAN_OPERANDS)):
        operand = argument(f, 2 + n_carry + k)
        size = 2 if operand.dtype == U32 else 1
        if elements(operand) != size or operand.dtype not in (F32, F64, U32):
            return WRONG_NUMBER
    return OK


@njit(**PARTS)
def check_arrays(f, c, plan):
    """Check dtypes and sizes of all arrays."""
    n, first = word(plan + 8 * PLAN_TENSORS), first_array(c, plan)
    returned = 2 if c.n_carry > 0 else 1
    for k in range(n):
        size = elements(argument(f, first + k))
        for j in range(n_blocks(c, plan)):
            a = argument(f, first + j * n + k)
            if a.dtype != c.dtype or elements(a) != size:
                return WRONG_ARRAY
        for j in range(1 + c.n_states):
            a = result(f, returned + j * n + k)
            if a.dtype != c.dtype or elements(a) != size:
                return WRONG_ARRAY
    return OK


@njit(**PARTS)
def check(f, c, plan):
    """Check that a call fits its plan, and that this code can read it."""
    if not is_known(f, c):
        return OLD
    if plan == 0:
        return NO_PLAN
    n = word(plan + 8 * PLAN_TENSORS)
    carried = 1 if c.n_carry > 0 else 0
    if f.args_size != first_array(c, plan) + n_blocks(c, plan) * n or f.rets_size != 1 + carried + (1 + c.n_states) * n:
        return WRONG_COUNT
    status = check_numbers(f, c, plan)
    return status if status != OK else check_arrays(f, c, plan)


# --- The tables of a step ---------------------------------------------------------------------------------------------


@njit(**PARTS)
def operand_value(buffer):
    """Return an operand as a float64."""
    if buffer.dtype == F32:
        return float(pointer(buffer.data, _ZERO_F32)[0])
    return number(buffer.data)


@njit(**PARTS)
def fill_rows(f, c, plan, rows):
    """Copy the numbers, put the operands into their cells, and return the factor of the gradient."""
    carried = 1 if c.n_carry > 0 else 0
    n_numbers = word(plan + 8 * PLAN_ROWS) * c.row_fields + 1
    memcpy(rows, argument(f, 1 + carried).data, 8 * n_numbers)
    cells = plan + 8 * PLAN_HEAD
    for k in range(word(plan + 8 * PLAN_CELLS)):
        operand, cell = word(cells + 16 * k), word(cells + 16 * k + 8)
        pointer(rows + 8 * cell, _ZERO_F)[0] = operand_value(argument(f, 2 + carried + operand))
    return number(rows + 8 * (n_numbers - 1))


@njit(**PARTS)
def in_place(a, b, size):
    """Return the address of a result that has an argument's elements; XLA has often given both the same memory."""
    if b.data != a.data and size > 0:
        memcpy(b.data, a.data, size)
    return b.data


@njit(**PARTS)
def fill_tensors(f, c, plan, job, count):
    """Fill the table of tensors and their counts; copy what is updated in place and is not there yet."""
    n, first = word(plan + 8 * PLAN_TENSORS), first_array(c, plan)
    returned, blocks = (2 if c.n_carry > 0 else 1), n_blocks(c, plan)
    row_of = plan + 8 * (PLAN_HEAD + 2 * word(plan + 8 * PLAN_CELLS))
    for k in range(n):
        t = record(job.tensors, k, TENSOR)
        t.size = elements(argument(f, first + k))
        size = t.size * c.itemsize
        t.row = word(row_of + 8 * k)
        if c.kind == CHANGE:
            t.g, t.scale = argument(f, first + k).data, result(f, returned + k).data
            t.p = argument(f, first + n + k).data if blocks > 1 + c.n_states else t.g
        else:
            t.p = in_place(argument(f, first + k), result(f, returned + k), size)
            t.g = argument(f, first + n + k).data
        if t.size == 0:
            t.g = job.tensors  # not 0, which would mean that there is no gradient; no element is read
        for j in range(c.n_states):
            a = argument(f, first + (blocks - c.n_states + j) * n + k)
            address = in_place(a, result(f, returned + (1 + j) * n + k), size)
            pointer(job.tensors + k * TENSOR_SIZE + STATES_AT + 8 * j, _ZERO64)[0] = address
        record(job.counts, k, COUNT).count = count
        if c.n_carry > 0:
            memcpy(job.counts + k * COUNT_SIZE + CARRY_AT, argument(f, 1).data, 8 * c.n_carry)


@njit(**PARTS)
def fill_chunks(job, length):
    """Cut the tensors into chunks."""
    index = 0
    for k in range(job.n_tensors):
        size = record(job.tensors, k, TENSOR).size
        for first in range(0, size, length):
            chunk = record(job.chunks, index, CHUNK)
            chunk.tensor, chunk.first, chunk.size = k, first, min(length, size - first)
            index += 1
    job.n_chunks = index


@njit(**PARTS)
def usable_threads(c, asked):
    """Return the number of threads that may take part; more than one marks this step as one that a fork waits for."""
    if asked > 1:
        atomic_add(c.pool + NATIVE, 1)
        threads = min(asked, atomic_read(c.pool + ALIVE) + 1)
        if threads > 1 and atomic_read(c.pool + FORKING) == 0:
            return threads
        atomic_add(c.pool + NATIVE, -1)
    return 1


@njit(**PARTS)
def step(f, c, plan):
    """Make the step."""
    n, first = word(plan + 8 * PLAN_TENSORS), first_array(c, plan)
    total = 0
    for k in range(n):
        total += elements(argument(f, first + k))
    threads = usable_threads(c, word(plan + 8 * PLAN_THREADS))
    length = _chunk_length(total, threads)
    chunks = total // length + n  # at least as many as there are
    numbers = word(plan + 8 * PLAN_ROWS) * c.row_fields + 1
    tensors_at = LINE * threads
    job_at = tensors_at + n * TENSOR_SIZE
    counts_at = job_at + _JOB_SIZE + _PROGRESS_SIZE
    chunks_at = counts_at + n * COUNT_SIZE
    rows_at = chunks_at + chunks * _CHUNK_SIZE
    folds_at = rows_at + 8 * numbers
    memory = malloc(folds_at + n * _FOLD_SIZE + LINE)
    if memory == 0:
        if threads > 1:
            atomic_add(c.pool + NATIVE, -1)
        return NO_MEMORY
    start = (memory + LINE - 1) // LINE * LINE
    memset(start, _ZERO32, chunks_at)
    job = record(start + job_at, 0, JOB)
    job.drive, job.n_tensors, job.size, job.threads, job.pool = c.drive, n, total, threads, c.pool
    job.cursors, job.tensors, job.counts, job.chunks = start, start + tensors_at, start + counts_at, start + chunks_at
    job.rows, job.folds, job.progress = start + rows_at, start + folds_at, start + job_at + _JOB_SIZE
    job.sign = 1.0
    count = half_word(argument(f, 0).data)
    job.grad_scale = fill_rows(f, c, plan, job.rows)
    fill_tensors(f, c, plan, job, count)
    fill_chunks(job, length)
    call_run(c.run, start + job_at)
    pointer(result(f, 0).data, _ZERO32)[0] = np.int32(min(np.int64(count) + 1, _LARGEST_COUNT))
    if c.n_carry > 0:
        memcpy(result(f, 1).data, job.counts + CARRY_AT, 8 * c.n_carry)
    free(memory)
    if threads > 1:
        atomic_add(c.pool + NATIVE, -1)
    return OK


def make_handle():
    """Make the handler of a step."""

    def handle(frame, context):
        f, c = record(frame, 0, FRAME), record(context, 0, CONTEXT)
        if answer_query(f, c) or f.stage != EXECUTE:
            return 0
        plan = plan_of(f) if is_known(f, c) else 0
        status = check(f, c, plan)
        return new_error(f, c, status if status != OK else step(f, c, plan))

    return handle


# --- Schedules --------------------------------------------------------------------------------------------------------


@njit(**PARTS)
def check_schedule(f, c):
    """Check a call of a schedule: indices as int32, and as many float32, float64 or pairs of uint32."""
    if not is_known(f, c):
        return OLD
    if f.args_size != 1 or f.rets_size != 1:
        return WRONG_COUNT
    indices, values = argument(f, 0), result(f, 0)
    size = elements(indices) * (2 if values.dtype == U32 else 1)
    if indices.dtype != S32 or elements(values) != size or values.dtype not in (F32, F64, U32):
        return WRONG_NUMBER
    return OK


@njit(**PARTS)
def evaluate(f, c):
    """Fill the result with the schedule's values."""
    indices, values = argument(f, 0), result(f, 0)
    mode = float_mode()
    set_float_mode(default_mode())
    for k in range(elements(indices)):
        value = call_curve(c.curve, max(np.int64(half_word(indices.data + 4 * k)), 0))
        if values.dtype == F32:
            pointer(values.data, _ZERO_F32)[k] = np.float32(value)
        else:
            pointer(values.data, _ZERO_F)[k] = value
    set_float_mode(mode)
    return OK


def make_evaluate():
    """Make the handler of a schedule."""

    def handle(frame, context):
        f, c = record(frame, 0, FRAME), record(context, 0, CONTEXT)
        if answer_query(f, c) or f.stage != EXECUTE:
            return 0
        status = check_schedule(f, c)
        return new_error(f, c, status if status != OK else evaluate(f, c))

    return handle
