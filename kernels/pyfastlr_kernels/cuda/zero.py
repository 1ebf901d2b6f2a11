"""The kernel of `zero_grad`: it sets gradients to zero when they have been used, or when their step is skipped."""

from typing import Any

import numpy as np

from pyfastlr_kernels.tables import CHUNK, field_offset

from .compiler import SIMULATED, cuda, types
from .tables import BINDING, THREADS

if SIMULATED:
    from .simulated_memory import store, word
else:
    from .memory import store, word

_CHUNK, _FIRST, _SIZE = CHUNK.itemsize, field_offset(CHUNK, "first"), field_offset(CHUNK, "size")
_BINDING = BINDING.itemsize


def make_zero(dtype: str) -> Any:
    """Make the kernel and its signature: ``(chunks, bindings)``.

    Neighbouring threads write neighbouring elements, so a warp fills whole lines of memory.
    """
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize

    def set_to_zero(chunks, bindings):
        c = chunks + _CHUNK * cuda.blockIdx.x
        g = word(bindings + _BINDING * word(c))
        if g != 0:
            start, i = g + word(c + _FIRST) * itemsize, cuda.threadIdx.x
            while i < word(c + _SIZE):
                store(start + i * itemsize, zero)
                i += THREADS

    return set_to_zero, types.void(types.int64, types.int64)
