"""What prepares a gradient of some rows: whether all are in range, and the sum for a row that occurs several times.

Both are calls that keep the interpreter lock, so nobody else uses their scratch memory meanwhile.
"""

import numpy as np
from numba import types

from pyfastlr_kernels.compile.intrinsics import default_mode, float_mode, is_default_mode, pointer, put, set_float_mode

from .launch import word
from .row_replay import put_word

_I64 = types.int64
CHECK_ROWS = _I64(_I64, _I64, _I64, _I64)  # found(rows, n, n_rows, marks)
SUM_ROWS = types.void(_I64, _I64, _I64, _I64, _I64, _I64, _I64)
_WORD = 8  # bytes
_ZERO8, _ZERO32 = np.int8(0), np.int32(0)


def make_check_rows():
    """Make ``check_rows(rows, n, n_rows, marks)``.

    It returns the number of different rows, or -1 - i if row i is out of range. `marks` has a byte per row of the
    tensor, all zero before and after: those of a million rows fit into a core's cache.
    """

    def check_rows(rows, n, n_rows, marks):
        different, bad, seen = 0, -1, pointer(marks, _ZERO8)
        for i in range(n):
            row = word(rows + i * _WORD)
            if not 0 <= row < n_rows:
                bad = i
                break
            different += 1 - seen[row]
            put(seen, row, np.int8(1))
        for i in range(n if bad < 0 else bad):
            put(seen, word(rows + i * _WORD), _ZERO8)
        return different if bad < 0 else -1 - bad

    return check_rows


def make_sum_rows(dtype):
    """Make ``sum_rows(rows, n, values, width, places, to_rows, to_values)``: each row once, where it comes first.

    Its gradient is the sum of those given for it, added in their order. `places` has an int32 per row of the tensor,
    all zero before and after.
    """
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize

    def sum_rows(rows, n, values, width, places, to_rows, to_values):
        mode = float_mode()
        if not is_default_mode(mode):
            set_float_mode(default_mode())
        place, found = pointer(places, _ZERO32), 0  # of each row in the sums, from 1
        for i in range(n):
            row = word(rows + i * _WORD)
            x = pointer(values + i * width * itemsize, zero)
            if place[row] == 0:
                put_word(to_rows + found * _WORD, row)
                y = pointer(to_values + found * width * itemsize, zero)
                for j in range(width):
                    put(y, j, x[j])
                found += 1
                put(place, row, np.int32(found))
            else:
                y = pointer(to_values + (np.int64(place[row]) - 1) * width * itemsize, zero)
                for j in range(width):
                    put(y, j, y[j] + x[j])
        for i in range(found):
            put(place, word(to_rows + i * _WORD), _ZERO32)
        if not is_default_mode(mode):
            set_float_mode(mode)

    return sum_rows
