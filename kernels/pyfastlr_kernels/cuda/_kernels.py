"""The kernels: any rule over the chunk table, one block a chunk; and the folds, for steps that a graph replays.

Compiled for each rule, dtype and way of getting the folded numbers: by value, when all tensors share them, or from a
table in device memory. A kernel is one for all alignments: arrays that lie alike in their 16-byte lines are read and
written in whole lines, but for some elements before the first line and behind the last; all others one by one.

The numbers come folded and rounded, so that float32 kernels have no float64 instruction. The arithmetic is that of
`cpu.make_span`: rules.prologue, the rule, rules.epilogue, each with its form for no decay.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyfastlr_kernels import rules
from pyfastlr_kernels.chunks import CHUNK, FOLD_RULE, TENSOR

from ._backend import SIMULATED, cuda, device_function, subroutine, types
from ._tables import BINDING, LINE, NUMBERS, THREADS

if SIMULATED:
    from ._vec_host import (
        differing,
        load,
        load_each,
        load_line,
        load_lines,
        moved,
        numbers,
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
    from ._vec import (
        differing,
        load,
        load_each,
        load_line,
        load_lines,
        moved,
        numbers,
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
_TENSOR, _OFFSET, _P = TENSOR.itemsize, TENSOR.fields["offset"][1], TENSOR.fields["p"][1]
_SCALE, _STATES = TENSOR.fields["scale"][1], TENSOR.fields["s0"][1]
_BINDING, _SLOT = BINDING.itemsize, BINDING.fields["slot"][1]

prologue, epilogue = device_function(rules.prologue), device_function(rules.epilogue)
prologue_undecayed = device_function(rules.prologue_undecayed)
epilogue_undecayed = device_function(rules.epilogue_undecayed)


def make_element(rule: rules.Rule, real: Any, by_element: bool) -> Any:
    """Update of one element: its parameter and state; k is its rate's factor.

    One text with decay and without: the device computes both and selects, which costs it nothing beside the memory.
    """
    update = device_function(rule.update)

    def element(p, g, k, s, h, r, scale, l2, shrink, shed):
        decays = l2 != 0 or shrink != 0 or shed != 0
        g = prologue(p, g, scale, l2) if decays else prologue_undecayed(p, g, scale)
        d, t = update(p, g, s, h, r)
        return (epilogue(p, d, shrink + shed) if decays else epilogue_undecayed(p, d)), t

    def element_scaled(p, g, k, s, h, r, scale, l2, shrink, shed):
        decays = l2 != 0 or shrink != 0 or shed != 0
        g = prologue(p, g, scale, l2) if decays else prologue_undecayed(p, g, scale)
        d, t = update(p, g, s, h, scaled(r, k))
        return (epilogue(p, d, shrink * k + shed) if decays else epilogue_undecayed(p, d)), t

    k = len(rule.slots)
    result = types.Tuple((real, types.UniTuple(real, k) if k else types.Tuple(())))
    return subroutine(element_scaled if by_element else element, lambda *_: result)


def make_line(element: Any, lanes: int) -> Any:
    """Update of a line of two or four elements."""

    def two(p, g, k, s, h, r, scale, l2, shrink, shed):
        p0, s0 = element(p[0], g[0], k[0], s[0], h, r, scale, l2, shrink, shed)
        p1, s1 = element(p[1], g[1], k[1], s[1], h, r, scale, l2, shrink, shed)
        return (p0, p1), (s0, s1)

    def four(p, g, k, s, h, r, scale, l2, shrink, shed):
        p0, s0 = element(p[0], g[0], k[0], s[0], h, r, scale, l2, shrink, shed)
        p1, s1 = element(p[1], g[1], k[1], s[1], h, r, scale, l2, shrink, shed)
        p2, s2 = element(p[2], g[2], k[2], s[2], h, r, scale, l2, shrink, shed)
        p3, s3 = element(p[3], g[3], k[3], s[3], h, r, scale, l2, shrink, shed)
        return (p0, p1, p2, p3), (s0, s1, s2, s3)

    return device_function({2: two, 4: four}[lanes])


def make_chunk(rule: rules.Rule, dtype: str, by_element: bool) -> Any:
    """Update of one chunk by one block."""
    zero, one, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).type(1), np.dtype(dtype).itemsize
    lanes = LINE // itemsize
    ones = (one,) * lanes
    element = make_element(rule, types.float32 if dtype == "float32" else types.float64, by_element)
    line = make_line(element, lanes)

    def chunk(n, p, g, k, s, h, r, scale, l2, shrink, shed):
        head, body = n, 0
        bits = (p ^ g) | differing(s, p)
        if by_element and k != 0:
            bits |= p ^ k
        if bits & (LINE - 1) == 0:
            head = min(n, (-p & (LINE - 1)) // itemsize)
            body = (n - head) // lanes * lanes
        i = head + lanes * cuda.threadIdx.x
        while i < head + body:
            at = i * itemsize
            ks = load_line(k + at, zero) if by_element and k != 0 else ones
            ps, ss = line(load_line(p + at, zero), load_line(g + at, zero), ks, load_lines(s, at, zero),
                          h, r, scale, l2, shrink, shed)  # fmt: skip
            store_line(p + at, ps)
            store_lines(s, at, ss, zero)
            i += lanes * THREADS
        i = cuda.threadIdx.x
        while i < n - body:  # before the first line and behind the last
            at = (i if i < head else i + body) * itemsize
            k1 = load(k + at, zero) if by_element and k != 0 else one
            p1, s1 = element(load(p + at, zero), load(g + at, zero), k1, load_each(s, at, zero),
                             h, r, scale, l2, shrink, shed)  # fmt: skip
            store(p + at, p1)
            store_each(s, at, s1)
            i = uncounted(i + THREADS)

    return subroutine(chunk, lambda *_: types.void)


def make_update(rule: rules.Rule, fold: Callable[..., Any], dtype: str, by_element: bool, by_value: bool) -> Any:
    """Update kernel of a rule and its signature.

    By value: ``(tensors, chunks, bindings, g, scale, (l2, shrink, shed), h, r)``, where `g` is the gradient's address
    if all tensors lie in one buffer, else 0. From a table: ``(tensors, chunks, bindings, table, scale)``, and each
    tensor's binding has its gradient's address and its row in the table.
    """
    real = types.float32 if dtype == "float32" else types.float64
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    n_h, n_r = rules.arity(rule, fold)
    common_like, h_like, r_like, s_like = ((zero,) * k for k in (3, n_h, n_r, len(rule.slots)))
    chunk = make_chunk(rule, dtype, by_element)

    def one_chunk(t, c, g, scale, common, h, r):
        at = word(c + _FIRST) * itemsize
        k = word(t + _SCALE) if by_element else 0
        s = moved(words(t + _STATES, s_like), at)
        k = k + at if k != 0 else 0
        chunk(word(c + _SIZE), word(t + _P) + at, g + at, k, s, h, r, scale, common[0], common[1], common[2])

    one_chunk = device_function(one_chunk)

    def update_by_value(tensors, chunks, bindings, g, scale, common, h, r):
        c = chunks + _CHUNK * cuda.blockIdx.x
        k = word(c)
        t = tensors + _TENSOR * k
        g = g + word(t + _OFFSET) if g != 0 else word(bindings + _BINDING * k)
        if g != 0:
            one_chunk(t, c, g, scale, common, h, r)

    def update_from_table(tensors, chunks, bindings, table, scale):
        c = chunks + _CHUNK * cuda.blockIdx.x
        k = word(c)
        b = bindings + _BINDING * k
        g = word(b)
        if g != 0:
            row = table + itemsize * NUMBERS * word(b + _SLOT)
            h, r = row + itemsize * FOLD_RULE, row + itemsize * (FOLD_RULE + n_h)
            one_chunk(tensors + _TENSOR * k, c, g, scale, numbers(row, common_like), numbers(h, h_like),
                      numbers(r, r_like))  # fmt: skip

    tables = (types.int64,) * 4
    if not by_value:
        return update_from_table, types.void(*tables, real)
    tuples = [types.UniTuple(real, k) if k else types.Tuple(()) for k in (3, n_h, n_r)]
    return update_by_value, types.void(*tables, real, *tuples)
