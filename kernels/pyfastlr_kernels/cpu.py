"""The drive: any rule, folded and walked over the chunk table, by one thread or several.

Compiled once for each rule, convention and dtype, as ``void drive(job, phase, thread)``. In phase FOLD one thread turns
the config rows and each tensor's count into the few numbers that the inner loop needs; in phase WALK every thread that
takes part claims chunks until none is left.

No fast-math: with none at all plain Python, numpy and compiled code agree bit for bit, however a buffer is split
(measured: within 10 % of the speed). ``error_model="numpy"``: checked divisions do not vectorise (12.9 ms against 1.9).
"""

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from . import folds, rules
from .chunks import (
    CHUNK,
    COUNT,
    COUPLED,
    DECOUPLED,
    FOLD_CARRY,
    FOLD_COMMON,
    FOLD_RULE,
    FOLD_WIDTH,
    INDEPENDENT,
    JOB,
    LINE,
    TENSOR,
    row_dtype,
)  # fmt: skip
from .intrinsics import (
    addresses,
    atomic_add,
    load,
    pointer,
    pointers,
    put,
    read_numbers,
    record,
    scaled,
    store,
    write_numbers,
)  # fmt: skip

OPTIONS = {"error_model": "numpy"}
# Nobody calls the parts from Python or C: without wrappers for that, a cold first step takes a quarter less time.
PARTS = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
FOLD, WALK = 0, 1
DRIVE = types.void(types.int64, types.int64, types.int64)

for helper in (*rules.HELPERS, *folds.HELPERS):
    register_jitable(helper)

_COUNT_SIZE, _CARRY_AT = COUNT.itemsize, COUNT.fields["carry"][1]
_TENSOR_SIZE, _STATES_AT = TENSOR.itemsize, TENSOR.fields["s0"][1]
_F64 = 8  # bytes


def arity(rule, fold):
    """Numbers in h and r: what the fold returns for any hyperparameters, here all one half."""

    class Half:
        def __getattr__(self, name):
            return 0.5

    h, r, _ = fold(Half(), 1.0, rule.carry)
    return len(h), len(r)


def make_span(update, by_element):
    """Inner loop: a function of its own over range(n) from 0, or it does not vectorise (20 GB/s for 110)."""
    prologue, epilogue = njit(**PARTS)(rules.prologue), njit(**PARTS)(rules.epilogue)

    @njit(**PARTS)
    def span(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        for i in range(n):
            d, t = update(p[i], prologue(p[i], g[i], scale, l2), load(s, i), h, r)
            put(p, i, epilogue(p[i], d, shrink + shed))
            store(s, i, t)

    @njit(**PARTS)
    def span_scaled(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        for i in range(n):
            d, t = update(p[i], prologue(p[i], g[i], scale, l2), load(s, i), h, scaled(r, k[i]))
            put(p, i, epilogue(p[i], d, shrink * k[i] + shed))
            store(s, i, t)

    return span_scaled if by_element else span


def make_fold(fold):
    """All numbers of one update, as float64: the three of decay, then h, r and the new carry."""
    fold = njit(**PARTS)(fold)

    @njit(**PARTS)
    def numbers(c, t, carry):
        h, r, carry = fold(c, t, carry)
        rate = c.lr * c.lr_scale
        common = (
            c.weight_decay if c.decay == COUPLED else 0.0,
            rate * c.weight_decay if c.decay == DECOUPLED else 0.0,
            c.weight_decay if c.decay == INDEPENDENT else 0.0,
        )
        return common, h, scaled(r, c.lr_scale), carry

    return numbers


def make_folds(rule, fold, row):
    """Phase FOLD. Neighbouring tensors of one group, count and carry share one result."""
    numbers = make_fold(fold)
    carry_like, n_carry = rule.carry, len(rule.carry)

    @njit(**PARTS)
    def fold_one(out, c, count, carry_address):
        common, h, r, carry = numbers(c, float(count), read_numbers(carry_address, carry_like))
        write_numbers(out + FOLD_COMMON * _F64, common)
        write_numbers(out + FOLD_RULE * _F64, h)
        write_numbers(out + (FOLD_RULE + len(h)) * _F64, r)
        write_numbers(out + FOLD_CARRY * _F64, carry)

    @njit(**PARTS)
    def same_carry(a, b):
        for j in range(n_carry):
            if pointer(a, 0.0)[j] != pointer(b, 0.0)[j]:
                return False
        return True

    @njit(**PARTS)
    def fold_all(job):
        last, last_row, last_count, last_carry = -1, -1, -1, job.counts
        for k in range(job.n_tensors):
            t = record(job.tensors, k, TENSOR)
            if t.slot < 0:
                continue
            carry = job.counts + k * _COUNT_SIZE + _CARRY_AT
            count = record(job.counts, k, COUNT).count
            if last < 0 or t.row != last_row or count != last_count or not same_carry(carry, last_carry):
                fold_one(
                    job.folds + k * (FOLD_WIDTH * _F64), record(job.rows, t.row, row), count + 1,
                    carry,
                )  # fmt: skip
                last, last_row, last_count, last_carry = k, t.row, count, carry
            t.slot = last

    return fold_all


def make_drive(name, convention, dtype, by_element):
    """Python text of the drive of a rule; `by_element` if any of its tensors has an array as lr_scale."""
    rule = rules.RULES[name]
    fold = rule.folds[convention]
    zero = np.dtype(dtype).type(0)
    n_h, n_r = arity(rule, fold)
    h_like, r_like, s_like = (zero,) * n_h, (zero,) * n_r, (zero,) * len(rule.slots)
    fold_all = make_folds(rule, fold, row_dtype(rule.hyper))
    update = njit(**PARTS)(rule.update)
    span, span_scaled = make_span(update, False), make_span(update, True)
    real = np.dtype(dtype).type
    itemsize = np.dtype(dtype).itemsize

    @njit(**PARTS)
    def update_chunk(job, index):
        c = record(job.chunks, index, CHUNK)
        t = record(job.tensors, c.tensor, TENSOR)
        if t.slot < 0:
            return
        numbers = job.folds + t.slot * (FOLD_WIDTH * _F64)
        l2, shrink, shed = read_numbers(numbers, (zero, zero, zero))
        h = read_numbers(numbers + FOLD_RULE * _F64, h_like)
        r = read_numbers(numbers + (FOLD_RULE + n_h) * _F64, r_like)
        offset = c.first * itemsize
        p, g = pointer(t.p + offset, zero), pointer(t.g + offset, zero)
        s = pointers(addresses(job.tensors + c.tensor * _TENSOR_SIZE + _STATES_AT, s_like), offset, zero)
        scale = real(job.grad_scale)
        if by_element and t.scale != 0:
            span_scaled(c.size, p, g, pointer(t.scale + offset, zero), s, h, r, scale, l2, shrink, shed)
        else:
            span(c.size, p, g, p, s, h, r, scale, l2, shrink, shed)

    @njit(**PARTS)
    def walk(job, thread):
        # Each thread starts in a segment of its own, so that its part stays in its cache from step to step, and then
        # helps the others: nobody waits for a thread that has not come.
        for k in range(job.threads):
            segment = (thread + k) % job.threads
            end = (segment + 1) * job.n_chunks // job.threads
            index = atomic_add(job.cursors + segment * LINE, 1)
            while index < end:
                update_chunk(job, index)
                index = atomic_add(job.cursors + segment * LINE, 1)

    def drive(address, phase, thread):
        job = record(address, 0, JOB)
        if phase == FOLD:
            fold_all(job)
        else:
            walk(job, thread)

    return drive
