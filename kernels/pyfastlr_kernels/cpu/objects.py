"""Comparisons of another library's objects with what tables were built for, each one call under the interpreter lock.

An adapter's tensors are Python objects, which need 50 ns for each question (AMD EPYC, Zen 3). 226 tensors with two
state arrays and a gradient, asked for addresses, sizes and layouts, would take five times as long as their step. torch
has a C interface for compiled code (AOTInductor's shim), whose functions take the address of a C++ tensor and return an
error code. The C++ tensor is the first field of the Python object.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pyfastlr_kernels.compile.intrinsics import pointer, put, record
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.python_side import HEAD, TYPE_AT

_I64, _I32 = types.int64, types.int32
SAME_OBJECTS = _I64(_I64, _I64, _I64)  # (list, objects, n) -> whether the list has these objects
SAME_ITEMS = _I64(_I64, _I64, _I64, _I64, _I64)  # (dicts, n, keys, n_keys, values) -> whether all are those objects
SAME_MEMORY = _I64(_I64, _I64, _I64, _I64)  # (functions, tensors, memory, n) -> whether all are equal
TAKE_GRADIENTS = _I64(_I64, _I64, _I64, _I64, _I64)  # (functions, list, needs, table, n) -> number of new addresses

FUNCTIONS = np.dtype(  # of the library: int32 f(tensor, result *)
    [("data_ptr", np.int64), ("numel", np.int64), ("dtype", np.int64), ("layout", np.int64), ("contiguous", np.int64),
     ("dim", np.int64), ("strides", np.int64)]
)  # fmt: skip
NEED = np.dtype(  # what a gradient must be
    [
        ("type", np.int64),  # addresses of Python objects: its type, and None
        ("none", np.int64),
        ("numel", np.int64),
        ("dtype", np.int64),
        ("dim", np.int64),
        ("strides", np.int64),  # address; 0: contiguous
    ]
)
ODD = -1  # a gradient is not as it must be, so Python looks at all of them

PyList_GetItem = types.ExternalFunction("PyList_GetItem", _I64(_I64, _I64))  # a borrowed reference
PyDict_GetItem = types.ExternalFunction("PyDict_GetItem", _I64(_I64, _I64))  # a borrowed reference, 0 if there is none
_ZERO64 = np.int64(0)


@intrinsic
def ask(typingctx, function, tensor):
    """Call ``int32 f(tensor, int64 *result)``; return the result, -1 after an error. A shorter result is extended."""

    def code(context, builder, sig, args):
        word = ir.IntType(64)
        result = builder.alloca(word)
        builder.store(ir.Constant(word, 0), result)
        kind = ir.FunctionType(ir.IntType(32), [word, word.as_pointer()])
        status = builder.call(builder.inttoptr(args[0], ir.PointerType(kind)), [args[1], result])
        failed = builder.icmp_signed("!=", status, ir.Constant(ir.IntType(32), 0))
        return builder.select(failed, ir.Constant(word, -1), builder.load(result))

    return _I64(_I64, _I64), code


@njit(**PARTS)
def word(table, k):
    return pointer(table, _ZERO64)[k]


@njit(**PARTS)
def fits(functions, tensor, need):
    """Return whether a tensor is what a gradient must be."""
    if ask(functions.layout, tensor) != 0 or ask(functions.dtype, tensor) != need.dtype:
        return False
    if ask(functions.numel, tensor) != need.numel:
        return False
    if need.strides == 0:
        return ask(functions.contiguous, tensor) == 1
    if ask(functions.dim, tensor) != need.dim:
        return False
    strides = ask(functions.strides, tensor)
    for j in range(need.dim):
        if word(strides, j) != word(need.strides, j):
            return False
    return True


def make_same_objects():
    """Make the comparison of a list of n objects with a table."""

    def same_objects(given, objects, n):
        for k in range(n):
            if PyList_GetItem(given, k) != word(objects, k):
                return 0
        return 1

    return same_objects


def make_same_items():
    """Make the comparison of the items of n dicts, which have the same keys, with a table of objects."""

    def same_items(dicts, n, keys, n_keys, values):
        for k in range(n):
            for j in range(n_keys):
                if PyDict_GetItem(word(dicts, k), word(keys, j)) != word(values, k * n_keys + j):
                    return 0
        return 1

    return same_items


def make_same_memory():
    """Make the comparison of tensors with a table of addresses, sizes (or -1), and whether they are contiguous."""

    def same_memory(functions, tensors, memory, n):
        known = record(functions, 0, FUNCTIONS)
        for k in range(n):
            x = word(tensors, k) + HEAD
            if ask(known.data_ptr, x) != word(memory, 3 * k):
                return 0
            numel = word(memory, 3 * k + 1)
            if numel >= 0 and (ask(known.numel, x) != numel or ask(known.contiguous, x) != word(memory, 3 * k + 2)):
                return 0
        return 1

    return same_memory


def make_take_gradients():
    """Make the function that stores the addresses of a list's gradients in a table, 0 where there is none."""

    def take_gradients(functions, gradients, needs, table, n):
        known, changed = record(functions, 0, FUNCTIONS), 0
        for k in range(n):
            need, x = record(needs, k, NEED), PyList_GetItem(gradients, k)
            address = 0
            if x != need.none:
                if word(x, TYPE_AT >> 3) != need.type or not fits(known, x + HEAD, need):
                    return ODD
                address = ask(known.data_ptr, x + HEAD) if need.numel > 0 else table
            if address != word(table, k):
                put(pointer(table, _ZERO64), k, address)
                changed += 1
        return changed

    return take_gradients
