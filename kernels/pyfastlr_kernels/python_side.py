"""The tables of a step called from Python, besides the job: Python objects by address, checked at every step.

The launch (cpu/launch.py) reads each array's own record (data, shape, dtype, flags) and compares it with what the
tables were built for. An array that has since been replaced, resized, reinterpreted or made read-only is refused.
"""

import ctypes
from collections.abc import Sequence

import numpy as np

_I, _F = np.int64, np.float64

# Flags of an ndarray (numpy/ndarraytypes.h).
C_CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400
READABLE = C_CONTIGUOUS | ALIGNED

# Offsets of the fields of numpy's public struct PyArrayObject_fields (numpy/ndarraytypes.h), after the object's header.
HEAD = object.__basicsize__
TYPE_AT, DATA_AT, NDIM_AT, SHAPE_AT, STRIDES_AT = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 24
DESCR_AT, FLAGS_AT = HEAD + 40, HEAD + 48

ARRAY = np.dtype(  # an array that must not have changed: a parameter, or a rate per element
    [
        ("object", _I),  # the user's ndarray; 0: the user's array is not an ndarray, so each step makes a view
        ("data", _I),
        ("ndim", _I),
        ("shape", _I),  # address of its ndim lengths
        ("dtype", _I),
        ("flags", _I),  # those that it must have
    ]
)
GRADIENT = np.dtype(  # what a tensor's gradient must be, or one gradient of all tensors
    [
        ("ndim", _I),
        ("shape", _I),
        ("size", _I),
        ("offset", _I),  # bytes before the tensor in one gradient of all tensors
    ]
)
SCHEDULED = np.dtype(  # a callable that gives a number at each update
    [
        ("call", _I),
        ("convert", _I),  # converts any other value to a float, or raises the error
        ("low", _F),
        ("high", _F),
        ("value", _F),
        ("first", _I),  # index in the list of row cells; a cell is the index of a float64 in the rows
        ("count", _I),
    ]
)
BINDING = np.dtype(
    [
        ("job", _I),
        ("arrays", _I),
        ("n_arrays", _I),
        ("n_held", _I),  # the first arrays, which a container holds: the caller passes them again at each step
        ("gradients", _I),
        ("whole", _I),  # GRADIENT of all tensors in one array, 0 for none
        ("written", _I),  # starts, then ends, of the ranges that a step writes, in ascending order
        ("n_written", _I),
        ("order", _I),  # address: int64 per tensor, to sort gradients by address; 0: they may share memory
        ("itemsize", _I),
        ("rows", _I),  # the hyperparameters that Python writes; each step copies them into the job's rows
        ("n_cells", _I),
        ("scheduled", _I),
        ("n_scheduled", _I),
        ("row_cells", _I),
        ("gather", _I),  # object: rebuilds gradients and held after calls that may have changed them; or None
        ("flags", _I),  # that a gradient must have: it may be written to
        ("dtype", _I),  # addresses of objects: the gradients' dtype, the types ndarray, list and float, and None
        ("ndarray", _I),
        ("list", _I),  # 0 if a list of gradients is refused
        ("float", _I),
        ("none", _I),
    ]
)

# What a launch returns besides OK. k > 0: gradient k - 1 cannot be bound as it is; k <= MOVED: array MOVED - k has
# changed.
BUSY, NO_WORKERS, BAD_SCALE, MOVED = -1, -2, -3, -4
NOTHING = 1 << 61  # no tensor has a gradient
FAILED = 1 << 62  # a callable raised: Python has the exception


def ndarray_record_fits() -> bool:
    """Return whether the records of arrays and floats are where the launch reads them, tested on our own objects."""

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
    if strides != shape + 16:  # only if both are in one piece of memory are they followed
        return False
    return [word(shape + 8 * j) for j in range(4)] == [2, 3, 6, 2]


def written_ranges(ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the starts, then the ends, of disjoint address ranges in ascending order, without empty ranges."""
    full = sorted((a, b) for a, b in ranges if b > a)
    return np.array([*(a for a, _ in full), *(b for _, b in full)], _I)
