"""The update kernels: any rule over the chunk table, one thread block per chunk.

There is a kernel for each rule, dtype and source of the folded numbers: by value if all tensors share them, or from a
table in device memory. One kernel serves all alignments. Arrays with the same offset in their 16-byte lines are read
and written in whole lines, except for some elements before the first line and after the last; all others are read and
written element by element.

The numbers arrive folded and rounded, so float32 kernels have no float64 instruction. The arithmetic is that of
`contract.make_element`, the same text as in the CPU's loop.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyfastlr_kernels import rules
from pyfastlr_kernels.rules import contract
from pyfastlr_kernels.tables import CHUNK, FOLD_RULE, TENSOR

from .compiler import SIMULATED, cuda, device_function, subroutine, types
from .tables import BINDING, LINE, NUMBERS, THREADS

if SIMULATED:
    from .simulated_memory import (
        differing,
        load,
        load_each,
        load_line,
        load_lines,
        moved,
        numbers,
        repeated,
        scaled,
        store,
        store_each,
        store_line,
        store_lines,
        uncounted,
        word,
        words,
    )
else:
    from .memory import (
        differing,
        load,
        load_each,
        load_line,
        load_lines,
        moved,
        numbers,
        repeated,
        scaled,
        store,
        store_each,
        store_line,
        store_lines,
        uncounted,
        word,
        words,
    )

_CHUNK, _FIRST, _SIZE = CHUNK.itemsize, CHUNK.fields["first"][1], CHUNK.fields["size"][1]
_TENSOR, _P = TENSOR.itemsize, TENSOR.fields["p"][1]
_SCALE, _STATES = TENSOR.fields["scale"][1], TENSOR.fields["s0"][1]
_BINDING, _FOLD_INDEX = BINDING.itemsize, BINDING.fields["fold_index"][1]


def make_element(rule: rules.Rule, real: Any, by_element: bool) -> Any:
    """Make the update of one element, its parameter and state; k is the factor of its rate.

    One text serves with and without decay: the device computes both and selects, which is free next to the memory time.
    """
    k = len(rule.slots)
    result = types.Tuple((real, types.UniTuple(real, k) if k else types.Tuple(())))
    update = device_function(rule.update)
    return subroutine(contract.make_element(update, scaled, by_element, device_function, rule.sets), lambda *_: result)


def make_line(element: Any, lanes: int) -> Any:
    """Make the update of a line of two or four elements."""

    def two(p, g, k, s, h, r, scale, common, decays):
        p0, s0 = element(p[0], g[0], k[0], s[0], h, r, scale, common, decays)
        p1, s1 = element(p[1], g[1], k[1], s[1], h, r, scale, common, decays)
        return (p0, p1), (s0, s1)

    def four(p, g, k, s, h, r, scale, common, decays):
        p0, s0 = element(p[0], g[0], k[0], s[0], h, r, scale, common, decays)
        p1, s1 = element(p[1], g[1], k[1], s[1], h, r, scale, common, decays)
        p2, s2 = element(p[2], g[2], k[2], s[2], h, r, scale, common, decays)
        p3, s3 = element(p[3], g[3], k[3], s[3], h, r, scale, common, decays)
        return (p0, p1, p2, p3), (s0, s1, s2, s3)

    return device_function({2: two, 4: four}[lanes])


def make_chunk(element: Any, dtype: str, by_element: bool) -> Any:
    """Make the update of one chunk by one thread block, from the update of an element.

    Its first argument is the thread's index: the simulator has one only in the module of the kernel itself.
    """
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    lanes = LINE // itemsize
    line = make_line(element, lanes)

    def chunk(thread, n, p, g, k, s, h, r, scale, common):
        decays = common.l2 != 0 or common.decoupled != 0 or common.independent != 0
        head, body = n, 0
        bits = (p ^ g) | differing(s, p)
        if by_element and k != 0:
            bits |= p ^ k
        if bits & (LINE - 1) == 0:
            head = min(n, (-p & (LINE - 1)) // itemsize)
            body = (n - head) // lanes * lanes
        i = head + lanes * thread
        while i < head + body:
            at = i * itemsize
            # Without `uncounted`, the compiler makes two loops of this one and unrolls them: 96 registers, not 85.
            ks = load_line(k + at, zero) if by_element and uncounted(k) != 0 else repeated(common.moves, zero)
            ps, ss = line(load_line(p + at, zero), load_line(g + at, zero), ks, load_lines(s, at, zero),
                          h, r, scale, common, decays)  # fmt: skip
            store_line(p + at, ps)
            store_lines(s, at, ss, zero)
            i += lanes * THREADS
        i = thread
        while i < n - body:  # before the first line and after the last
            at = (i if i < head else i + body) * itemsize
            k1 = load(k + at, zero) if by_element and k != 0 else common.moves
            p1, s1 = element(load(p + at, zero), load(g + at, zero), k1, load_each(s, at, zero),
                             h, r, scale, common, decays)  # fmt: skip
            store(p + at, p1)
            store_each(s, at, s1)
            i = uncounted(i + THREADS)

    return subroutine(chunk, lambda *_: types.void)


def make_place(rule: rules.Rule, chunk: Any, dtype: str, by_element: bool) -> Any:
    """Make the update of a chunk by its places in the tables; `others` are arrays that go with the state."""
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    s_like = (zero,) * len(rule.slots)

    def one_chunk(thread, t, c, g, others, scale, common, h, r):
        at = word(c + _FIRST) * itemsize
        k = word(t + _SCALE) if by_element else 0
        s = moved(words(t + _STATES, s_like) + others, at)
        k = k + at if k != 0 else 0
        chunk(thread, word(c + _SIZE), word(t + _P) + at, g + at, k, s, h, r, scale, common)

    return device_function(one_chunk)


def make_update(rule: rules.Rule, fold: Callable[..., Any], dtype: str, by_element: bool, by_value: bool) -> Any:
    """Make the update kernel of a rule and its signature.

    By value: ``(tensors, chunks, bindings, g, scale, common, h, r)``, where `g` is the gradient's address if there is
    one tensor, else 0. From a table: ``(tensors, chunks, bindings, table, scale)``, where each tensor's binding has its
    gradient's address and its row in the table.
    """
    real = types.float32 if dtype == "float32" else types.float64
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    h_like, r_like = contract.numbers_like(rule, fold, np.dtype(dtype).type)
    common_like, n_h = contract.Common(zero, zero, zero, zero), len(h_like)
    one_chunk = make_place(rule, make_chunk(make_element(rule, real, by_element), dtype, by_element), dtype, by_element)

    def update_by_value(tensors, chunks, bindings, g, scale, common, h, r):
        c = chunks + _CHUNK * cuda.blockIdx.x
        k = word(c)
        t = tensors + _TENSOR * k
        g = g if g != 0 else word(bindings + _BINDING * k)
        if g != 0:
            one_chunk(cuda.threadIdx.x, t, c, g, (), scale, common, h, r)

    def update_from_table(tensors, chunks, bindings, table, scale):
        c = chunks + _CHUNK * cuda.blockIdx.x
        k = word(c)
        b = bindings + _BINDING * k
        g = word(b)
        if g != 0:
            row = table + itemsize * NUMBERS * word(b + _FOLD_INDEX)
            h, r = row + itemsize * FOLD_RULE, row + itemsize * (FOLD_RULE + n_h)
            one_chunk(cuda.threadIdx.x, tensors + _TENSOR * k, c, g, (), scale, numbers(row, common_like),
                      numbers(h, h_like), numbers(r, r_like))  # fmt: skip

    tables = (types.int64,) * 4
    if not by_value:
        return update_from_table, types.void(*tables, real)
    tuples = [named(real, like) for like in (common_like, h_like, r_like)]
    return update_by_value, types.void(*tables, real, *tuples)


def named(real: Any, like: Any) -> Any:
    """Return numba's type of a NamedTuple of numbers."""
    return types.NamedUniTuple(real, len(like), type(like)) if like else types.NamedTuple((), type(like))
