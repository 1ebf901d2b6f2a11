"""The functions of memory.py in plain Python, for the simulator, whose device memory is the host's."""

import ctypes
import threading
from functools import reduce
from operator import or_

import numpy as np

from .tables import LINE

_adding = threading.Lock()  # the simulator's threads are Python's
_C = {np.dtype(np.float32): ctypes.c_float, np.dtype(np.float64): ctypes.c_double}


def _at(address, like, k):
    """Array of k numbers of the type of `like` at the address."""
    return np.ctypeslib.as_array((_C[np.dtype(type(like))] * k).from_address(int(address)))


def _line(address, like, k):
    """Numbers of a line. A device reads lines only at multiples of their length."""
    if int(address) % LINE:
        raise ValueError(f"misaligned line at {int(address):#x}")
    return _at(address, like, k)


def _lanes(like):
    return LINE // np.dtype(type(like)).itemsize


def word(address):
    return ctypes.c_int64.from_address(int(address)).value


def words(address, like):
    return tuple(word(address + 8 * j) for j in range(len(like)))


def put_word(address, value):
    ctypes.c_int64.from_address(int(address)).value = int(value)


def numbers(address, like):
    return _like(like, _at(address, like[0], len(like)) if like else ())


def _like(like, values):
    """Values in a tuple or NamedTuple of the type of `like`."""
    return type(like)(*values) if hasattr(like, "_fields") else tuple(values)


def repeated(x, like):
    return (x,) * _lanes(like)


def put_numbers(address, values, like):
    _at(address, like, len(values))[:] = values


def load(address, like):
    return _at(address, like, 1)[0]


def store(address, value):
    _at(address, value, 1)[0] = value


def load_line(address, like):
    return tuple(_line(address, like, _lanes(like)))


def store_line(address, line):
    _line(address, line[0], len(line))[:] = line


def load_each(starts, offset, like):
    return tuple(load(start + offset, like) for start in starts)


def store_each(starts, offset, values):
    for start, value in zip(starts, values, strict=True):
        store(start + offset, value)


def load_lines(starts, offset, like):
    lines = [load_line(start + offset, like) for start in starts]
    return tuple(tuple(line[j] for line in lines) for j in range(_lanes(like)))


def store_lines(starts, offset, elements, like):
    for start, line in zip(starts, zip(*elements, strict=True), strict=True):
        store_line(start + offset, line)


def scaled(numbers, k):
    return _like(numbers, (x * k for x in numbers))


def moved(starts, offset):
    return tuple(start + offset for start in starts)


def differing(addresses, address):
    return reduce(or_, (x ^ address for x in addresses), 0)


def uncounted(i):
    return i


def add_exactly(a, b):
    return a + b


def square_exactly(x):
    return float(x) * float(x)


def add_word(address, value):
    with _adding:
        put_word(address, word(address) + value)
