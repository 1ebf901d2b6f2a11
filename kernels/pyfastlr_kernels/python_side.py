"""What a step that Python calls needs beside the job: Python's objects by their addresses, to be checked at every step.

The launch (cpu/launch.py) reads each array's own record (data, shape, dtype, flags) and compares it with what the
tables were built for, so an array that was replaced, resized, reinterpreted or made read-only since is refused.
"""

import ctypes
from collections.abc import Sequence

import numpy as np

_I, _F = np.int64, np.float64

# Flags of an ndarray (numpy/ndarraytypes.h).
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400
READABLE = C_CONTIGUOUS | ALIGNED

# Where the fields of PyArrayObject_fields are, numpy's public struct (numpy/ndarraytypes.h), behind the object's head.
HEAD = object.__basicsize__
TYPE_AT, DATA_AT, NDIM_AT, SHAPE_AT, STRIDES_AT = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 24
DESCR_AT, FLAGS_AT = HEAD + 40, HEAD + 48

ARRAY = np.dtype(  # an array that must still be what it was: a parameter, or a rate per element
    [
        ("object", _I),  # the ndarray that the user gave; 0: not an ndarray, so a view is made at each step
        ("data", _I),
        ("ndim", _I),
        ("shape", _I),  # address of its ndim lengths
        ("dtype", _I),
        ("flags", _I),  # that it must have
    ]
)
GRADIENT = np.dtype(  # what a tensor's gradient must be, or that of all tensors in one buffer
    [
        ("ndim", _I),
        ("shape", _I),
        ("size", _I),
        ("offset", _I),  # bytes before the tensor in the gradient of all
    ]
)
SCHEDULED = np.dtype(  # what is called for a number at each update
    [
        ("call", _I),
        ("convert", _I),  # makes a float of any other value, or raises the error
        ("low", _F),
        ("high", _F),
        ("value", _F),
        ("first", _I),  # in the list of row cells, which are indices of float64 in the rows
        ("count", _I),
    ]
)
BINDING = np.dtype(
    [
        ("job", _I),
        ("arrays", _I),
        ("n_arrays", _I),
        ("n_held", _I),  # arrays that the caller hands over again, because a container holds them; the first ones
        ("gradients", _I),
        ("whole", _I),  # GRADIENT of all tensors in one array, 0 if there is none
        ("written", _I),  # starts, then ends, of the ranges that a step writes, in ascending order
        ("n_written", _I),
        ("itemsize", _I),
        ("rows", _I),  # the hyperparameters that Python writes: copied into the job's at each step
        ("n_cells", _I),
        ("scheduled", _I),
        ("n_scheduled", _I),
        ("row_cells", _I),
        ("gather", _I),  # object: makes gradients and held anew, called after what may have changed them; or None
        ("dtype", _I),  # addresses of objects: the gradients' dtype, the types ndarray, list and float, and None
        ("ndarray", _I),
        ("list", _I),  # 0 where a list of gradients is refused
        ("float", _I),
        ("none", _I),
    ]
)

# What a launch answers beside OK. k > 0: gradient k - 1 cannot be bound as it is; k <= MOVED: array MOVED - k is not
# what it was.
BUSY, NO_WORKERS, BAD_SCALE, MOVED = -1, -2, -3, -4
NOTHING = 1 << 61  # no tensor has a gradient
FAILED = 1 << 62  # a callable raised: Python has the exception


def ndarray_record_fits() -> bool:
    """Whether an array's record, and a float's, are where the launch reads them; asked of objects of our own."""

    def word(at: int) -> int:
        return ctypes.c_int64.from_address(at).value

    x, number = np.zeros((2, 3), np.int16), 0.3
    at = id(x)
    ndim, flags = (ctypes.c_int32.from_address(at + field).value for field in (NDIM_AT, FLAGS_AT))
    if not (
        word(at + TYPE_AT) == id(np.ndarray)
        and word(at + DATA_AT) == x.__array_interface__["data"][0]
        and ndim == 2
        and word(at + DESCR_AT) == id(x.dtype)
        and flags & (READABLE | WRITEABLE) == READABLE | WRITEABLE
        and ctypes.c_double.from_address(id(number) + HEAD).value == number
    ):
        return False
    shape, strides = word(at + SHAPE_AT), word(at + STRIDES_AT)
    if strides != shape + 16:  # both are in one piece of memory: only then are they followed
        return False
    return [word(shape + 8 * j) for j in range(4)] == [2, 3, 6, 2]


def written_ranges(ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Starts, then ends, of disjoint address ranges in ascending order; empty ranges are left out."""
    full = sorted((a, b) for a, b in ranges if b > a)
    return np.array([*(a for a, _ in full), *(b for _, b in full)], _I)
