"""The partial sums of the order-fixed sum of squares (pyfastlr_kernels/reduce.py has its definition) on a device.

A half-warp sums each block of UNIT elements, and again with other factors if its squares overflowed or vanished
(stage_rules.py). decide.py adds the partial sums up.
"""

from typing import Any

import numpy as np

from pyfastlr_kernels.reduce import LANES, UNIT, scale_for
from pyfastlr_kernels.stage_rules import clamped
from pyfastlr_kernels.tables import CHUNK, OK, TENSOR, field_offset

from .compiler import SIMULATED, cuda, device_function, types
from .tables import AT, BINDING, ROW_AT, SCALE_AT, THREADS

if SIMULATED:
    from .simulated_memory import add_exactly, add_word, load, put_numbers, square_exactly, word
else:
    from .memory import add_exactly, add_word, load, put_numbers, square_exactly, word

_BLOCKS = THREADS // LANES  # blocks that a thread block sums at once
_WORD = 8  # bytes
_CHUNK, _FIRST, _SIZE = CHUNK.itemsize, field_offset(CHUNK, "first"), field_offset(CHUNK, "size")
_TENSOR, _ROW, _P = TENSOR.itemsize, field_offset(TENSOR, "row"), field_offset(TENSOR, "p")
_BINDING = BINDING.itemsize


def make_sums(dtype: str, clamps: bool, differs: bool) -> Any:
    """Make ``sums(thread, lanes, x, other, counts, size, unscale, limit, out, second)``.

    A thread block writes both sums of each block of a chunk of elements at address x, those of none if `counts` is
    false. If it `differs`, they are of the differences to the elements `other` bytes further on. It returns how many
    of the thread's elements are not finite. If it clamps, elements are first multiplied by `unscale` and limited.
    """
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    limited, scale_of, may_vanish = device_function(clamped), device_function(scale_for), itemsize == 8

    def sum_block(lane, start, other, n, unscale, limit, prescale):
        """Sum of this thread's lane over n elements at the address, and how many of them are not finite."""
        total, bad = 0.0, 0
        i = lane
        while i < n:
            y = load(start + i * itemsize, zero)
            y = y - load(start + other + i * itemsize, zero) if differs else y
            bad += 1 if y - y != 0 else 0
            y = limited(y, unscale, limit) if clamps else y
            total = add_exactly(total, square_exactly(float(y) * prescale))
            i += LANES
        return total, bad

    def sum_lanes(thread, lanes, total):
        """The sum of a block's lanes in their order, for all its threads."""
        first = thread - thread % LANES
        lanes[thread] = total
        cuda.syncthreads()
        total = lanes[first]
        for j in range(1, LANES):
            total = add_exactly(total, lanes[first + j])
        cuda.syncthreads()
        return total

    sum_block, sum_lanes = device_function(sum_block), device_function(sum_lanes)

    def sums(thread, lanes, x, other, counts, size, unscale, limit, out, second):
        base, bad, lane = 0, 0, thread % LANES
        while base < size:
            start = base + (thread // LANES) * UNIT
            n = min(UNIT, size - start) if counts else 0
            writes, at = lane == 0 and start < size, start // UNIT * _WORD
            total, found = sum_block(lane, x + start * itemsize, other, n, unscale, limit, 1.0)
            bad += found
            total = sum_lanes(thread, lanes, total)
            if writes:
                put_numbers(out + at, (total,), 0.0)
            if may_vanish:
                prescale = scale_of(total)
                n = n if prescale != 1.0 else 0
                total, _ = sum_block(lane, x + start * itemsize, other, n, unscale, limit, prescale)
                total = sum_lanes(thread, lanes, total)
                if writes and prescale != 1.0:
                    put_numbers(second + at, (total,), 0.0)
            base += _BLOCKS * UNIT
        return bad

    return device_function(sums)


def make_measure(dtype: str, clamps: bool) -> Any:
    """Make the kernel and its signature: ``(tensors, n_tensors, chunks, bindings, rows, options, found, unscale)``.

    It writes the sums of the gradients in the bindings to the `squares` of the OPTIONS record, 0 for a tensor without
    gradient, and adds the number of elements of each tensor that are not finite to its int64 in `found`. If it clamps,
    elements are first multiplied by `unscale` and limited to their row's clip_value, and none are counted; a loss scale
    divides `unscale`.
    """
    real, itemsize, sums = np.dtype(dtype).type, np.dtype(dtype).itemsize, make_sums(dtype, clamps, False)

    def measure(tensors, n_tensors, chunks, bindings, rows, options, found, unscale):
        lanes = cuda.shared.array(THREADS, types.float64)
        c = chunks + _CHUNK * cuda.blockIdx.x
        k, first_blocks = word(c), word(options + AT.first_blocks)
        first, size, g = word(c + _FIRST), word(c + _SIZE), word(bindings + _BINDING * k)
        out = word(options + AT.squares) + (word(first_blocks + _WORD * k) + first // UNIT) * _WORD
        second = out + word(first_blocks + _WORD * n_tensors) * _WORD
        row = rows + word(tensors + _TENSOR * k + _ROW) * word(options + AT.row_size)
        scale = word(options + AT.loss_scale)
        unscale = real(unscale / load(scale + SCALE_AT.scale, 0.0) if scale != 0 else unscale)
        limit, x = real(load(row + ROW_AT.clip_value, 0.0)), g + first * itemsize
        bad = sums(cuda.threadIdx.x, lanes, x, 0, g != 0, size, unscale, limit, out, second)
        if not clamps and bad != 0:
            add_word(found + _WORD * k, bad)

    return measure, types.void(*(types.int64,) * 7, types.float64)


def make_measure_after(dtype: str, differs: bool) -> Any:
    """Make the kernel and its signature: ``(tensors, n_tensors, chunks, bindings, options, before)``.

    After an update, it writes the sums of the parameters to the `param_squares` of the OPTIONS record. If it `differs`,
    it writes those of their changes to `update_squares`, 0 for a tensor without gradient; `before` has the address of
    each tensor's parameters before the update.
    """
    real, itemsize, sums = np.dtype(dtype).type, np.dtype(dtype).itemsize, make_sums(dtype, False, differs)
    squares_at = AT.update_squares if differs else AT.param_squares
    one = real(1)

    def measure_after(tensors, n_tensors, chunks, bindings, options, before):
        lanes = cuda.shared.array(THREADS, types.float64)
        if word(options + AT.status) == OK:
            c = chunks + _CHUNK * cuda.blockIdx.x
            k, first_blocks = word(c), word(options + AT.first_blocks)
            first, size, p = word(c + _FIRST), word(c + _SIZE), word(tensors + _TENSOR * k + _P)
            out = word(options + squares_at) + (word(first_blocks + _WORD * k) + first // UNIT) * _WORD
            second = out + word(first_blocks + _WORD * n_tensors) * _WORD
            other = word(before + _WORD * k) - p if differs else 0
            counts = not differs or word(bindings + _BINDING * k) != 0
            sums(cuda.threadIdx.x, lanes, p + first * itemsize, other, counts, size, one, one, out, second)

    return measure_after, types.void(*(types.int64,) * 6)
