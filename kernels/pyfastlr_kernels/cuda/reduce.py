"""The partial sums of the order-fixed sum of squares (pyfastlr_kernels/reduce.py has its definition) on a device.

A half-warp sums each block of UNIT elements, and again with other factors if its squares overflowed or vanished
(stage_rules.py). decide.py adds the partial sums up.
"""

from typing import Any

import numpy as np

from pyfastlr_kernels.reduce import LANES, UNIT, scale_for
from pyfastlr_kernels.stage_rules import clamped
from pyfastlr_kernels.tables import CHUNK, TENSOR, field_offset

from .compiler import SIMULATED, cuda, device_function, types
from .tables import AT, BINDING, ROW_AT, SCALE_AT, THREADS

if SIMULATED:
    from .simulated_memory import add_exactly, add_word, load, put_numbers, square_exactly, word
else:
    from .memory import add_exactly, add_word, load, put_numbers, square_exactly, word

_BLOCKS = THREADS // LANES  # blocks that a thread block sums at once
_WORD = 8  # bytes
_CHUNK, _FIRST, _SIZE = CHUNK.itemsize, field_offset(CHUNK, "first"), field_offset(CHUNK, "size")
_TENSOR, _ROW, _BINDING = TENSOR.itemsize, field_offset(TENSOR, "row"), BINDING.itemsize


def make_measure(dtype: str, clamps: bool) -> Any:
    """Make the kernel and its signature: ``(tensors, n_tensors, chunks, bindings, rows, options, found, unscale)``.

    It writes the sums of the gradients in the bindings to the `squares` of the OPTIONS record, 0 for a tensor without
    gradient, and adds the number of elements of each tensor that are not finite to its int64 in `found`. If it clamps,
    elements are first multiplied by `unscale` and limited to their row's clip_value, and none are counted; a loss scale
    divides `unscale`.
    """
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, limited, scale_of = real(0), device_function(clamped), device_function(scale_for)
    may_vanish = itemsize == 8

    def sum_block(start, n, unscale, limit, prescale):
        """Sum of this thread's lane over n elements at the address, and how many of them are not finite."""
        total, bad = 0.0, 0
        i = cuda.threadIdx.x % LANES
        while i < n:
            y = load(start + i * itemsize, zero)
            bad += 1 if y - y != 0 else 0
            y = limited(y, unscale, limit) if clamps else y
            total = add_exactly(total, square_exactly(float(y) * prescale))
            i += LANES
        return total, bad

    def sum_lanes(lanes, total):
        """The sum of a block's lanes in their order, for all its threads."""
        thread = cuda.threadIdx.x
        first = thread - thread % LANES
        lanes[thread] = total
        cuda.syncthreads()
        total = lanes[first]
        for j in range(1, LANES):
            total = add_exactly(total, lanes[first + j])
        cuda.syncthreads()
        return total

    sum_block, sum_lanes = device_function(sum_block), device_function(sum_lanes)

    def measure(tensors, n_tensors, chunks, bindings, rows, options, found, unscale):
        lanes = cuda.shared.array(THREADS, types.float64)
        thread = cuda.threadIdx.x
        c = chunks + _CHUNK * cuda.blockIdx.x
        k, first_blocks = word(c), word(options + AT.first_blocks)
        first, size, g = word(c + _FIRST), word(c + _SIZE), word(bindings + _BINDING * k)
        out = word(options + AT.squares) + (word(first_blocks + _WORD * k) + first // UNIT) * _WORD
        second = out + word(first_blocks + _WORD * n_tensors) * _WORD
        row = rows + word(tensors + _TENSOR * k + _ROW) * word(options + AT.row_size)
        scale = word(options + AT.loss_scale)
        unscale = real(unscale / load(scale + SCALE_AT.scale, 0.0) if scale != 0 else unscale)
        limit = real(load(row + ROW_AT.clip_value, 0.0))
        base = 0
        while base < size:
            start = base + (thread // LANES) * UNIT
            n = min(UNIT, size - start) if g != 0 else 0
            writes = thread % LANES == 0 and start < size
            x = g + (first + start) * itemsize
            total, bad = sum_block(x, n, unscale, limit, 1.0)
            if not clamps and bad != 0:
                add_word(found + _WORD * k, bad)
            total = sum_lanes(lanes, total)
            if writes:
                put_numbers(out + start // UNIT * _WORD, (total,), 0.0)
            if may_vanish:
                prescale = scale_of(total)
                total, _ = sum_block(x, n if prescale != 1.0 else 0, unscale, limit, prescale)
                total = sum_lanes(lanes, total)
                if writes and prescale != 1.0:
                    put_numbers(second + start // UNIT * _WORD, (total,), 0.0)
            base += _BLOCKS * UNIT

    return measure, types.void(*(types.int64,) * 7, types.float64)
