"""The partial sums of the order-fixed sum of squares (pyfastlr_kernels/reduce.py has its definition) on a device.

A half-warp sums each block of UNIT elements. decide.py adds the partial sums up.
"""

from typing import Any

import numpy as np

from pyfastlr_kernels.reduce import LANES, UNIT
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
    """Make the kernel and its signature: ``(tensors, chunks, bindings, rows, options, found, unscale, again)``.

    It writes the partial sums of the gradients in the bindings to the `squares` of the OPTIONS record, 0 for a tensor
    without gradient, and adds the number of elements of each tensor that are not finite to its int64 in `found`. If
    it clamps, elements are first multiplied by `unscale` and limited to their row's clip_value, and none are counted;
    a loss scale divides `unscale`. With `again`, it makes the sums again if the record's `prescale` is not 1, and
    counts none.
    """
    real, itemsize = np.dtype(dtype).type, np.dtype(dtype).itemsize
    zero, limited = real(0), device_function(clamped)

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

    sum_block = device_function(sum_block)

    def measure(tensors, chunks, bindings, rows, options, found, unscale, again):
        lanes = cuda.shared.array(THREADS, types.float64)
        prescale = load(options + AT.prescale, 0.0) if again != 0 else 1.0
        if again == 0 or prescale != 1.0:
            thread = cuda.threadIdx.x
            c = chunks + _CHUNK * cuda.blockIdx.x
            k = word(c)
            first, size, g = word(c + _FIRST), word(c + _SIZE), word(bindings + _BINDING * k)
            out = (
                word(options + AT.squares) + (word(word(options + AT.first_blocks) + _WORD * k) + first // UNIT) * _WORD
            )
            row = rows + word(tensors + _TENSOR * k + _ROW) * word(options + AT.row_size)
            scale = word(options + AT.loss_scale)
            unscale = unscale / load(scale + SCALE_AT.scale, 0.0) if scale != 0 else unscale
            limit = real(load(row + ROW_AT.clip_value, 0.0))
            base = 0
            while base < size:
                start = base + (thread // LANES) * UNIT
                total, bad = 0.0, 0
                if g != 0:
                    total, bad = sum_block(
                        g + (first + start) * itemsize, min(UNIT, size - start), real(unscale), limit, prescale
                    )
                lanes[thread] = total
                if not clamps and bad != 0 and again == 0:
                    add_word(found + _WORD * k, bad)
                cuda.syncthreads()
                if thread % LANES == 0 and start < size:
                    total = lanes[thread]
                    for j in range(1, LANES):
                        total = add_exactly(total, lanes[thread + j])
                    put_numbers(out + start // UNIT * _WORD, (total,), 0.0)
                cuda.syncthreads()
                base += _BLOCKS * UNIT

    return measure, types.void(*(types.int64,) * 6, types.float64, types.int64)
