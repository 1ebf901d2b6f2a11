"""What a step does besides the update: measure, clip, skip, accumulate, average, copy. Compiled once per dtype.

The launch calls ``stages(job, what, index)`` only if an option asks for it, so that no other step pays for it. The
stages come around the same drives as every update: a gradient that is clipped by value goes through a chunk's worth of
scratch memory, which stays in the cache, and a clipped norm is part of the factor that a drive multiplies it by. So do
gradients and parameters of 16 bits.

- BEGIN decides which walks over the chunks come before the update.
- CHECK counts elements that are not finite, of the gradient that was passed. Nothing is written.
- MEASURE adds the gradient to the accumulated one, if there is one, and makes the partial sums of its squares.
- DECIDE, after each walk, ends the call (raise, skip, accumulate) or computes the norms and factors.
- AROUND updates a chunk, by the drive, with what belongs to it before and after.
- FINISH adds up the norms of the update.

All walks may be split among threads in any way: sums have a fixed order (pyfastlr_kernels/reduce.py), and everything
else is per element.
"""

import numpy as np
from numba import njit, types

from pyfastlr_kernels.compile.intrinsics import call_drive, pointer, record
from pyfastlr_kernels.compile.narrow import mixed
from pyfastlr_kernels.compile.options import INLINED, PARTS
from pyfastlr_kernels.packing import NATIVE
from pyfastlr_kernels.stage_rules import continues, make_factor, make_scaling, unscale
from pyfastlr_kernels.tables import (
    AROUND,
    BEGIN,
    CHECK,
    CHUNK,
    CHUNK_LENGTH,
    COUNT,
    COUNT_SIZE,
    DECIDE,
    HELD,
    JOB,
    LOSS_SCALE,
    MASTER,
    MEASURE,
    NOT_FINITE,
    NOT_MEASURED,
    OK,
    OPTIONS,
    PROPAGATE,
    RAISE,
    STOCHASTIC,
    TENSOR,
    TENSOR_SIZE,
    THREAD,
    UNIT,
    UPDATE,
    row_dtype,
)

from . import halves
from .elementwise import make_loops
from .reduce import make_count
from .stage_norms import ALL_ROWS, make_norms, number, put_number, put_word, word
from .stages_layout import CHUNK_AT, GRADIENT_AT, PARAMETER_AT, PRIVATE, TENSOR_AT

STAGES = types.void(types.int64, types.int64, types.int64)
_ROW = row_dtype(())
_WORD, _HALF = 8, 2  # bytes
_JOB_WORDS, _TENSOR_WORDS = JOB.itemsize // _WORD, TENSOR_SIZE // _WORD

unscale, continues = njit(**INLINED)(unscale), njit(**INLINED)(continues)
after_skip, after_update = (njit(**INLINED)(x) for x in make_scaling(njit(**INLINED)))
tensor_factor = njit(**INLINED)(make_factor(njit(**INLINED)))


@njit(**INLINED)
def row(job, o, k):
    """The common part of a group's row, whatever its rule has besides."""
    return record(job.rows + k * o.row_size, 0, _ROW)


@njit(**INLINED)
def is_last(o):
    """Whether this call makes an update."""
    return o.calls + 1 >= o.every


@njit(**PARTS)
def set_factors(o, job):
    """Clip the norm of each row's tensors, then each tensor's own, in their factors."""
    o.clipped = 0
    for k in range(job.n_tensors):
        t = record(job.tensors, k, TENSOR)
        if t.g == 0:
            continue
        clip_row = word(o.clip_rows, t.row)
        limit, own_limit = row(job, o, clip_row).clip_norm, row(job, o, t.row).clip_norm_each
        norm, own = number(o.row_norms, clip_row), number(o.tensor_norms, k)
        factor = tensor_factor(o.convention, norm, limit, o.each, own, own_limit)
        if factor != 1.0:
            o.clipped = 1
        put_number(o.factors, k, factor)


@njit(**PARTS)
def count_bad(o, n_tensors):
    """Add up the elements that are not finite."""
    o.nonfinite, o.first_bad = 0, -1
    for k in range(n_tensors):
        if word(o.bad, k) != 0:
            o.nonfinite += word(o.bad, k)
            if o.first_bad < 0:
                o.first_bad = k


# A step changes the scale of the loss here, not in Python, so that no interrupt and no other thread comes between them.


@njit(**PARTS)
def count_skipped(s, every):
    s.scale, s.finite, s.skipped = after_skip(s.scale, s.finite, s.skipped, every, s.backoff)


@njit(**PARTS)
def count_update(s):
    s.scale, s.finite, s.skipped = after_update(s.scale, s.finite, s.skipped, s.growth, s.backoff, s.interval)


def make_stages(dtype, half=False):
    """Make ``stages(job, what, index)`` for parameters of that dtype, as Python text.

    With `half`, gradients, parameters and copies may have numbers of 16 bits (halves.py).
    """
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, one = real(0), real(1)
    count, (write_squares, norm, tensor_norms) = njit(**PARTS)(make_count(dtype)), make_norms(dtype)
    add_scaled, clamp, difference, move_average, copy, fill_zero = make_loops(dtype)

    @njit(**INLINED)
    def at(start, first):
        return pointer(start + first * itemsize, zero)

    @njit(**INLINED)
    def numbers_of(o, g, c, thread):
        """Address of the numbers of a chunk of the user's gradient."""
        if half and o.gradient != NATIVE:
            out = o.scratch + thread * o.scratch_size + GRADIENT_AT * itemsize
            halves.widen(o.gradient, c.size, out, g + c.first * _HALF)
            return out
        return g + c.first * itemsize

    @njit(**INLINED)
    def fill_gradient(o, g, first, n):
        """Set elements of the user's gradient to zero."""
        if half and o.gradient != NATIVE:
            halves.zero(n, g + first * _HALF)
        else:
            fill_zero(n, at(g, first))

    @njit(**INLINED)
    def count_in(o, t, squares, is_own):
        """Count elements of a gradient, the user's or the accumulated one, that are not finite."""
        if half and o.gradient != NATIVE and not is_own:
            found = count_half(o, t, squares)
        else:
            found = count(t.g, t.size, squares)
        return found

    @njit(**PARTS)
    def count_half(o, t, squares):
        for k in range((t.size + UNIT - 1) // UNIT):
            x = number(squares, k)
            if x - x != 0:
                return halves.count_nonfinite(o.gradient, t.size, t.g)
        return 0

    @njit(**PARTS)
    def check_chunk(job, o, c, thread):
        """Make the sums of squares, in which what is not finite shows."""
        g = record(job.tensors, c.tensor, TENSOR).g
        if g != 0:
            write_squares(job, o, o.squares, c, numbers_of(o, g, c, thread))

    @njit(**PARTS)
    def measure_chunk(job, o, c, thread):
        t = record(job.tensors, c.tensor, TENSOR)
        start = t.g
        if o.every > 1:
            start = word(o.sums, c.tensor)
            if t.g != 0:
                g = pointer(numbers_of(o, t.g, c, thread), zero)
                add_scaled(c.size, at(start, c.first), g, real(job.grad_scale * job.sign))
                if o.zero != 0:
                    fill_gradient(o, t.g, c.first, c.size)
            if word(o.summed, c.tensor) == 0 and t.g == 0:
                return
            if not is_last(o):
                return
        if start == 0 or o.norms == 0:
            return
        source = start + c.first * itemsize if o.every > 1 else numbers_of(o, start, c, thread)
        if o.value != 0:
            scratch = o.scratch + thread * o.scratch_size
            limit = real(row(job, o, t.row).clip_value)
            clamp(c.size, pointer(scratch, zero), pointer(source, zero), real(unscale_of(job, o)), limit)
            source = scratch
        write_squares(job, o, o.squares, c, source)

    @njit(**INLINED)
    def unscale_of(job, o):
        return unscale(o.every, o.mean, job.grad_scale * job.sign)

    @njit(**PARTS)
    def count_tensors(job, o, is_own):
        for k in range(job.n_tensors):
            t = record(job.tensors, k, TENSOR)
            found = 0
            if t.g != 0:
                found = count_in(o, t, o.squares + word(o.first_blocks, k) * _WORD, is_own)
            put_word(o.bad, k, found)
        count_bad(o, job.n_tensors)

    @njit(**PARTS)
    def refuse(job, o):
        """End the call for a gradient that is not finite."""
        if o.policy == RAISE:
            o.status = NOT_FINITE
            return
        o.status = HELD
        if o.loss_scale != 0:
            count_skipped(record(o.loss_scale, 0, LOSS_SCALE), o.every)
        if o.zero != 0:
            for k in range(job.n_tensors):
                t = record(job.tensors, k, TENSOR)
                if t.g != 0:
                    fill_gradient(o, t.g, 0, t.size)

    @njit(**PARTS)
    def begin(job, o):
        o.status, o.nonfinite, o.first_bad, o.clipped = OK, 0, -1, 0
        o.grad_norm = o.update_norm = o.param_norm = NOT_MEASURED
        if o.loss_scale != 0:
            job.grad_scale /= record(o.loss_scale, 0, LOSS_SCALE).scale
        for k in range(job.n_tensors):
            put_number(o.factors, k, 1.0)
            put_word(o.bad, k, 0)
        # An infinite element passes as a finite one after it was clipped, or was added to others.
        if o.policy != PROPAGATE and (o.every > 1 or o.value != 0):
            job.what = CHECK
        else:
            job.what = MEASURE if o.every > 1 or o.norms != 0 else 0

    @njit(**PARTS)
    def decide(job, o):
        what = job.what
        job.what = 0
        if what == CHECK:
            count_tensors(job, o, False)
            if o.nonfinite != 0:
                unscale = job.grad_scale * job.sign
                tensor_norms(job, o, o.squares, o.tensor_norms, unscale)
                o.grad_norm = norm((job, o, o.squares, 0, job.n_tensors, ALL_ROWS), unscale)
                refuse(job, o)
            elif o.every > 1 or o.norms != 0:
                job.what = MEASURE
            return
        if o.every > 1:
            for k in range(job.n_tensors):
                if record(job.tensors, k, TENSOR).g != 0:
                    put_word(o.summed, k, 1)
            if not is_last(o):
                o.calls += 1
                o.status = HELD
                return
            for k in range(job.n_tensors):  # from here on, the gradient is the accumulated one
                record(job.tensors, k, TENSOR).g = word(o.sums, k) if word(o.summed, k) != 0 else 0
        if o.norms == 0:
            return
        unscale = 1.0 if o.value != 0 else unscale_of(job, o)
        tensor_norms(job, o, o.squares, o.tensor_norms, unscale)
        for r in range(o.n_rows):
            if word(o.clip_rows, r) == r:  # of the tensors that are clipped together
                put_number(o.row_norms, r, norm((job, o, o.squares, 0, job.n_tensors, r), unscale))
        o.grad_norm = norm((job, o, o.squares, 0, job.n_tensors, ALL_ROWS), unscale)
        if o.value == 0:
            count_tensors(job, o, o.every > 1)
            if o.nonfinite != 0 and o.policy != PROPAGATE and o.every == 1:
                refuse(job, o)
                return
        set_factors(o, job)

    @njit(**PARTS)
    def update_chunk(address, job, o, index, thread, p):
        """Call the drive on a chunk, with a job of its own for this thread. `p`: address of the chunk's parameters."""
        c = record(job.chunks, index, CHUNK)
        t = record(job.tensors, c.tensor, TENSOR)
        mine = o.private + thread * PRIVATE
        for j in range(_JOB_WORDS):
            put_word(mine, j, word(address, j))
        for j in range(_TENSOR_WORDS):
            put_word(mine + TENSOR_AT, j, word(job.tensors + c.tensor * TENSOR_SIZE, j))
        own, own_tensor, own_chunk = (
            record(mine, 0, JOB),
            record(mine + TENSOR_AT, 0, TENSOR),
            record(mine + CHUNK_AT, 0, CHUNK),
        )
        own_chunk.tensor, own_chunk.first, own_chunk.size = 0, c.first, c.size
        own.tensors, own.chunks = mine + TENSOR_AT, mine + CHUNK_AT
        own_tensor.p = p - c.first * itemsize
        factor = number(o.factors, c.tensor)
        g = t.g + c.first * itemsize if o.every > 1 else numbers_of(o, t.g, c, thread)
        own_tensor.g = g - c.first * itemsize
        if o.value != 0:
            scratch = o.scratch + thread * o.scratch_size
            limit = real(row(job, o, t.row).clip_value)
            clamp(c.size, pointer(scratch, zero), pointer(g, zero), real(unscale_of(job, o)), limit)
            own_tensor.g = scratch - c.first * itemsize
            own.grad_scale = job.sign * factor
        else:
            own.grad_scale = job.sign * unscale_of(job, o) * factor
        call_drive(job.drive, mine, UPDATE, 0)

    @njit(**INLINED)
    def rest_of(o, c):
        """Address of what the state has of a chunk of parameters of 16 bits."""
        size = itemsize if o.precision == MASTER else _HALF
        return word(o.rests, c.tensor) + c.first * size if o.precision != STOCHASTIC else 0

    @njit(**INLINED)
    def parameters_of(o, t, c, thread):
        """Address of the numbers of a chunk of parameters."""
        if half and o.parameter != NATIVE:
            rest = rest_of(o, c)
            out = o.scratch + thread * o.scratch_size + PARAMETER_AT * itemsize
            return halves.load_parameters(o.parameter, o.precision, c.size, out, t.p + c.first * _HALF, rest)
        return t.p + c.first * itemsize

    @njit(**INLINED)
    def write_parameters(job, o, t, c, p):
        """Round the updated numbers of a chunk at p, if they have 16 bits."""
        if half and o.parameter != NATIVE:
            there, rest = t.p + c.first * _HALF, rest_of(o, c)
            count = record(job.counts + c.tensor * COUNT_SIZE, 0, COUNT).count
            key = mixed(word(o.keys, c.tensor), count)
            halves.store_parameters(o.parameter, o.precision, c.size, there, rest, p, key, c.first)
            is_read = o.param_norms != 0 or o.averages != 0 or o.copies != 0
            if is_read and o.precision != MASTER:  # what follows is about the numbers as they are stored
                halves.load_parameters(o.parameter, o.precision, c.size, p, there, rest)

    @njit(**INLINED)
    def write_copy(o, c, p):
        start = word(o.copies, c.tensor)
        if half and o.copy != NATIVE:
            halves.nearest(o.copy, c.size, start + c.first * _HALF, p)
        else:
            copy(c.size, at(start, c.first), pointer(p, zero))

    @njit(**PARTS)
    def around(address, job, o, index, thread):
        c = record(job.chunks, index, CHUNK)
        t = record(job.tensors, c.tensor, TENSOR)
        if half and t.fold_index < 0 and o.param_norms == 0 and o.averages == 0 and o.copies == 0:
            return
        start = parameters_of(o, t, c, thread)
        p = pointer(start, zero)
        before = o.scratch + thread * o.scratch_size + CHUNK_LENGTH * itemsize
        if t.fold_index >= 0:
            if o.update_norms != 0:
                copy(c.size, pointer(before, zero), p)
            update_chunk(address, job, o, index, thread, start)
            if o.update_norms != 0:
                difference(c.size, pointer(before, zero), p)
                write_squares(job, o, o.update_squares, c, before)
            write_parameters(job, o, t, c, start)
            if o.every > 1:  # the accumulated gradient
                fill_zero(c.size, at(t.g, c.first))
            elif o.zero != 0:
                fill_gradient(o, t.g, c.first, c.size)
        if o.param_norms != 0:
            write_squares(job, o, o.param_squares, c, start)
        if o.averages != 0:
            average = at(word(o.averages, c.tensor), c.first)
            d = real(row(job, o, t.row).ema_decay)
            if continues(o.averaged, d):
                move_average(c.size, average, p, d, one - d)
            else:
                copy(c.size, average, p)
        if o.copies != 0:
            write_copy(o, c, start)

    @njit(**PARTS)
    def finish(job, o):
        job.what = 0
        if o.update_norms != 0:
            tensor_norms(job, o, o.update_squares, o.tensor_update_norms, 1.0)
            o.update_norm = norm((job, o, o.update_squares, 0, job.n_tensors, ALL_ROWS), 1.0)
        if o.param_norms != 0:
            tensor_norms(job, o, o.param_squares, o.tensor_param_norms, 1.0)
            o.param_norm = norm((job, o, o.param_squares, 0, job.n_tensors, ALL_ROWS), 1.0)
        if o.averages != 0:
            o.averaged += 1
        if o.loss_scale != 0:
            count_update(record(o.loss_scale, 0, LOSS_SCALE))
        if o.every > 1:
            o.calls = 0
            for k in range(job.n_tensors):
                put_word(o.summed, k, 0)

    def stages(address, what, index):
        job = record(address, 0, JOB)
        o = record(job.options, 0, OPTIONS)
        kind, thread = what % THREAD, what // THREAD
        if kind == AROUND:
            around(address, job, o, index, thread)
        elif kind == MEASURE:
            measure_chunk(job, o, record(job.chunks, index, CHUNK), thread)
        elif kind == CHECK:
            check_chunk(job, o, record(job.chunks, index, CHUNK), thread)
        elif kind == BEGIN:
            begin(job, o)
        elif kind == DECIDE:
            decide(job, o)
        else:
            finish(job, o)

    return stages
