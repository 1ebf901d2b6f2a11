"""The tables in device memory besides the arrays: the host's, unchanged, and two of the device's own."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyfastlr_kernels.tables import FOLD_CARRY

LINE = 16  # bytes: the widest access that all devices have
THREADS = 128  # per block
# Blocks that must fit a multiprocessor, by itemsize: 96 registers per thread for float32, 128 for float64. Adam has 40
# and 32 KiB of loads in flight then; a latency of 1 us needs about 25 on an H100 (3.35 TB/s, 132 multiprocessors).
BLOCKS = {4: 5, 8: 4}
NUMBERS = (
    FOLD_CARRY  # in a row of folded numbers: those of the host's tables without the carry, in the parameters' dtype
)

# A tensor's part in this step: the address of its gradient (0: none), and its row of folded numbers.
BINDING = np.dtype([("g", np.int64), ("fold_index", np.int64)])


class Curve(NamedTuple):
    """A schedule for the device: ``function(n, *parameters)``, where parameters may be curves."""

    function: Callable[..., float]
    parameters: tuple[Any, ...]
