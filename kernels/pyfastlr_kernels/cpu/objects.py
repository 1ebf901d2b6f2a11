"""Comparisons of another library's objects with what tables were built for, each one call under the interpreter lock.

An adapter's tensors are Python objects. To ask 226 tensors with two state arrays for their addresses in Python takes
50 us (AMD EPYC, Zen 3), more than the step itself. The library may have a C function that gives the address of an
object's memory: ``void *f(PyObject *)``. It must not fail for the objects that it is called with.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pyfastlr_kernels.compile.intrinsics import pointer, put
from pyfastlr_kernels.compile.options import PARTS

_I64, _ZERO64 = types.int64, np.int64(0)
SAME_ADDRESSES = _I64(_I64, _I64, _I64, _I64)  # (function, objects, addresses, n) -> whether all are equal
SAME_ITEMS = _I64(_I64, _I64, _I64, _I64, _I64)  # (dicts, n, keys, n_keys, values) -> whether all are those objects
TAKE_ADDRESSES = _I64(_I64, _I64, _I64, _I64)  # (function, list, table, n) -> number that have changed

PyList_GetItem = types.ExternalFunction("PyList_GetItem", _I64(_I64, _I64))  # a borrowed reference
PyDict_GetItem = types.ExternalFunction("PyDict_GetItem", _I64(_I64, _I64))  # a borrowed reference, 0 if there is none


@intrinsic
def address_of(typingctx, function, item):
    """Call the C function ``void *f(PyObject *)`` at that address."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64)])
        return builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [args[1]])

    return _I64(_I64, _I64), code


@njit(**PARTS)
def word(table, k):
    return pointer(table, _ZERO64)[k]


def make_same_addresses():
    """Make the comparison of objects' addresses with a table of them."""

    def same_addresses(function, objects, addresses, n):
        for k in range(n):
            if address_of(function, word(objects, k)) != word(addresses, k):
                return 0
        return 1

    return same_addresses


def make_same_items():
    """Make the comparison of the items of n dicts, which have the same keys, with a table of objects."""

    def same_items(dicts, n, keys, n_keys, values):
        for k in range(n):
            for j in range(n_keys):
                if PyDict_GetItem(word(dicts, k), word(keys, j)) != word(values, k * n_keys + j):
                    return 0
        return 1

    return same_items


def make_take_addresses():
    """Make the function that stores the addresses of a list's objects in a table."""

    def take_addresses(function, objects, table, n):
        changed = 0
        for k in range(n):
            address = address_of(function, PyList_GetItem(objects, k))
            if address != word(table, k):
                put(pointer(table, _ZERO64), k, address)
                changed += 1
        return changed

    return take_addresses
