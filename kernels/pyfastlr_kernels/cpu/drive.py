"""The drive: the code compiled for each rule, convention and dtype, as ``void drive(job, what, index)``.

FOLD turns a tensor's config row and count into the few numbers that the inner loop needs; UPDATE updates a chunk. The
launch (launch.py), compiled once for all rules, decides which tensors and chunks, and on how many threads.
"""

import numpy as np
from numba import njit, types

from pyfastlr_kernels import rules
from pyfastlr_kernels.compile.intrinsics import (
    addresses,
    pointer,
    pointers,
    read_numbers,
    record,
    scaled,
    write_numbers,
)
from pyfastlr_kernels.compile.options import INLINED, PARTS
from pyfastlr_kernels.rules import contract
from pyfastlr_kernels.tables import (
    CARRY_AT,
    CHUNK,
    COUNT,
    COUNT_SIZE,
    FOLD,
    FOLD_CARRY,
    FOLD_COMMON,
    FOLD_RULE,
    FOLD_WIDTH,
    JOB,
    STATES_AT,
    TENSOR,
    TENSOR_SIZE,
    row_dtype,
)

from .loop import inlined, make_update
from .packed import make_packed

DRIVE = types.void(types.int64, types.int64, types.int64)
_F64 = 8  # bytes


def make_fold(fold, options=PARTS):
    """Make the function of all numbers of one update, as float64: the driver's, h, r times lr_scale, the carry."""
    fold, common_numbers = inlined(fold), inlined(contract.common_numbers)

    @njit(**options)
    def numbers(c, t, carry):
        h, r, carry = fold(c, t, carry)
        return common_numbers(c), h, scaled(r, c.lr_scale), carry

    return numbers


def make_drive(name, convention, dtype, by_element, changes=False, packed=()):
    """Make the drive of a rule, as Python text; `by_element` if a tensor may have a rate per element or be frozen.

    With `changes`, an update leaves the parameters alone, and stores what must be added to them at `scale`. `packed`:
    the forms of state that tensors may have (packed.py), if some of it is packed.
    """
    rule = rules.RULES[name]
    fold = rule.folds[convention]
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, row = real(0), row_dtype(rule.hyper)
    carry_like = rule.carry
    h_like, r_like = contract.numbers_like(rule, fold, real)
    common_like = contract.Common(zero, zero, zero, zero)
    n_h = len(h_like)
    slots_like = tuple(np.dtype(slot.storage or dtype).type(0) for slot in rule.slots)
    numbers = make_fold(fold)
    update = make_update(rule.update, False, sets=rule.sets, changes=changes)
    update_by_element = make_update(rule.update, True, sets=rule.sets) if by_element else update

    @njit(**INLINED)
    def fold_tensor(job, index):
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
    def update_native(job, t, states, first, size, p, g, k, h, r, grad_scale, common):
        p, g = pointer(p, zero), pointer(g, zero)
        s = pointers(addresses(states, slots_like), first, slots_like)
        if changes:
            update(size, p, g, pointer(k, zero), s, h, r, grad_scale, common)
        elif by_element and k != 0:
            update_by_element(size, p, g, pointer(k, zero), s, h, r, grad_scale, common)
        else:
            update(size, p, g, p, s, h, r, grad_scale, common)

    update_any = make_packed(rule, by_element, packed, update_native) if packed else update_native

    @njit(**INLINED)
    def update_chunk(job, index):
        c = record(job.chunks, index, CHUNK)
        t = record(job.tensors, c.tensor, TENSOR)
        folded = job.folds + t.fold_index * (FOLD_WIDTH * _F64)
        common = read_numbers(folded + FOLD_COMMON * _F64, common_like)
        h = read_numbers(folded + FOLD_RULE * _F64, h_like)
        r = read_numbers(folded + (FOLD_RULE + n_h) * _F64, r_like)
        states, start = job.tensors + c.tensor * TENSOR_SIZE + STATES_AT, c.first * itemsize
        k = t.scale + start if t.scale != 0 else (job.zeros if common.moves == 0 else 0)
        update_any(job, t, states, c.first, c.size, t.p + start, t.g + start, k, h, r, real(job.grad_scale), common)

    def drive(address, what, index):
        job = record(address, 0, JOB)
        if what == FOLD:
            fold_tensor(job, index)
        else:
            update_chunk(job, index)

    return drive
