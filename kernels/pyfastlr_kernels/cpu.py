"""The drive: what is compiled for each rule, convention and dtype, as ``void drive(job, phase, index)``.

In phase FOLD it turns a tensor's config row and count into the few numbers that the inner loop needs; in phase UPDATE
it updates a chunk. Which tensors and chunks, and by how many threads, is the launch's business, which is compiled once
for all rules (launch.py).

No fast-math: with none at all plain Python, numpy and compiled code agree bit for bit, however a buffer is split
(measured: within 10 % of the speed). ``error_model="numpy"``: checked divisions do not vectorise (12.9 ms against 1.9).
"""

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from . import folds, rules
from .chunks import (
    CARRY_AT,
    CHUNK,
    COUNT,
    COUNT_SIZE,
    COUPLED,
    DECOUPLED,
    FOLD,
    FOLD_CARRY,
    FOLD_COMMON,
    FOLD_RULE,
    FOLD_WIDTH,
    INDEPENDENT,
    JOB,
    STATES_AT,
    TENSOR,
    TENSOR_SIZE,
    row_dtype,
)  # fmt: skip
from .intrinsics import addresses, load, pointer, pointers, put, read_numbers, record, scaled, store, write_numbers
from .jit import PARTS

INLINED = {**PARTS, "inline": "always"}
DRIVE = types.void(types.int64, types.int64, types.int64)

for helper in (*rules.HELPERS, *folds.HELPERS):
    register_jitable(helper)

_F64 = 8  # bytes


def make_span(update, by_element):
    """Inner loop over n elements: with or without decay, as the numbers say.

    Each loop is a function of its own over range(n) from 0, or it does not vectorise (20 GB/s for 110).
    """
    prologue, epilogue = njit(**INLINED)(rules.prologue), njit(**INLINED)(rules.epilogue)
    prologue_undecayed, epilogue_undecayed = (
        njit(**INLINED)(x) for x in (rules.prologue_undecayed, rules.epilogue_undecayed)
    )

    @njit(**PARTS)
    def decayed(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        for i in range(n):
            d, t = update(p[i], prologue(p[i], g[i], scale, l2), load(s, i), h, r)
            put(p, i, epilogue(p[i], d, shrink + shed))
            store(s, i, t)

    @njit(**PARTS)
    def undecayed(n, p, g, k, s, h, r, scale):
        for i in range(n):
            d, t = update(p[i], prologue_undecayed(p[i], g[i], scale), load(s, i), h, r)
            put(p, i, epilogue_undecayed(p[i], d))
            store(s, i, t)

    @njit(**PARTS)
    def decayed_scaled(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        for i in range(n):
            d, t = update(p[i], prologue(p[i], g[i], scale, l2), load(s, i), h, scaled(r, k[i]))
            put(p, i, epilogue(p[i], d, shrink * k[i] + shed))
            store(s, i, t)

    @njit(**PARTS)
    def undecayed_scaled(n, p, g, k, s, h, r, scale):
        for i in range(n):
            d, t = update(p[i], prologue_undecayed(p[i], g[i], scale), load(s, i), h, scaled(r, k[i]))
            put(p, i, epilogue_undecayed(p[i], d))
            store(s, i, t)

    with_decay, without = (decayed_scaled, undecayed_scaled) if by_element else (decayed, undecayed)

    @njit(**INLINED)
    def span(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        if l2 != 0 or shrink != 0 or shed != 0:
            with_decay(n, p, g, k, s, h, r, scale, l2, shrink, shed)
        else:
            without(n, p, g, k, s, h, r, scale)

    return span


def make_fold(fold):
    """All numbers of one update, as float64: the three of decay, then h, r and the new carry."""
    fold = njit(**PARTS)(fold)

    @njit(**INLINED)
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


def make_drive(name, convention, dtype, by_element):
    """Python text of the drive of a rule; `by_element` if any of its tensors has an array as lr_scale."""
    rule = rules.RULES[name]
    fold = rule.folds[convention]
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, carry_like, row = real(0), rule.carry, row_dtype(rule.hyper)
    n_h, n_r = rules.arity(rule, fold)
    h_like, r_like, s_like = (zero,) * n_h, (zero,) * n_r, (zero,) * len(rule.slots)
    numbers = make_fold(fold)
    update = njit(**PARTS)(rule.update)
    span = make_span(update, False)
    span_scaled = make_span(update, True) if by_element else span

    @njit(**INLINED)
    def fold_one(job, index):
        t = record(job.tensors, index, TENSOR)
        counts = job.counts + index * COUNT_SIZE
        count = record(counts, 0, COUNT).count
        carry = read_numbers(counts + CARRY_AT, carry_like)
        common, h, r, carry = numbers(record(job.rows, t.row, row), float(count + 1), carry)
        out = job.folds + index * (FOLD_WIDTH * _F64)
        write_numbers(out + FOLD_COMMON * _F64, common)
        write_numbers(out + FOLD_RULE * _F64, h)
        write_numbers(out + (FOLD_RULE + n_h) * _F64, r)
        write_numbers(out + FOLD_CARRY * _F64, carry)

    @njit(**INLINED)
    def update_chunk(job, index):
        c = record(job.chunks, index, CHUNK)
        t = record(job.tensors, c.tensor, TENSOR)
        numbers = job.folds + t.slot * (FOLD_WIDTH * _F64)
        l2, shrink, shed = read_numbers(numbers, (zero, zero, zero))
        h = read_numbers(numbers + FOLD_RULE * _F64, h_like)
        r = read_numbers(numbers + (FOLD_RULE + n_h) * _F64, r_like)
        offset = c.first * itemsize
        p, g = pointer(t.p + offset, zero), pointer(t.g + offset, zero)
        s = pointers(addresses(job.tensors + c.tensor * TENSOR_SIZE + STATES_AT, s_like), offset, zero)
        scale = real(job.grad_scale)
        if by_element and t.scale != 0:
            span_scaled(c.size, p, g, pointer(t.scale + offset, zero), s, h, r, scale, l2, shrink, shed)
        else:
            span(c.size, p, g, p, s, h, r, scale, l2, shrink, shed)

    def drive(address, phase, index):
        job = record(address, 0, JOB)
        if phase == FOLD:
            fold_one(job, index)
        else:
            update_chunk(job, index)

    return drive
