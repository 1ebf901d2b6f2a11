"""The tables in device memory besides the arrays: the host's, unchanged, and two of the device's own."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyfastlr_kernels.tables import FOLD_CARRY, LOSS_SCALE, OPTIONS, field_offset, row_dtype

LINE = 16  # bytes: the widest access that all devices have
THREADS = 128  # per block
# Blocks that must fit a multiprocessor, by itemsize: 96 registers per thread for float32, 128 for float64. Adam has 40
# and 32 KiB of loads in flight then; a latency of 1 us needs about 25 on an H100 (3.35 TB/s, 132 multiprocessors).
BLOCKS = {4: 5, 8: 4}
NUMBERS = (
    FOLD_CARRY  # in a row of folded numbers: those of the host's tables without the carry, in the parameters' dtype
)

CHECKING, CHECKED = 1, 2  # what `decide` does about a gradient that is not finite: look for it; go on if there was none

# A tensor's part in this step: the address of its gradient (0: none), and its row of folded numbers.
BINDING = np.dtype([("g", np.int64), ("fold_index", np.int64)])


def _offsets(record: Any) -> Any:
    """Offsets of a record's fields, by their names."""
    of_fields: Any = namedtuple("Offsets", record.names)  # type: ignore[misc]
    return of_fields(*(field_offset(record, name) for name in record.names))


AT, SCALE_AT = _offsets(OPTIONS), _offsets(LOSS_SCALE)
ROW_AT = _offsets(row_dtype(()))  # of the fields that the rows of all rules have


class Around(NamedTuple):
    """A tensor's numbers for what options do per element, in the parameters' dtype."""

    scale: float  # of the gradient, with all that clips its norm
    unscale: float  # before `limit`, if its elements are clipped; `scale` does not have it then
    limit: float
    decay: float  # of the average
    rest: float  # 1 - decay
    started: float  # 0: the average is that of the first update, the parameters


class Curve(NamedTuple):
    """A schedule for the device: ``function(n, *parameters)``, where parameters may be curves."""

    function: Callable[..., float]
    parameters: tuple[Any, ...]
