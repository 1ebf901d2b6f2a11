"""The update kernel with what options do per element: clip, average, copy, set to zero.

The other arrays that an update writes go with the rule's state: they are read and written in the same lines, once, and
one that is only written is not read. So the loops are those of update.py, around another element.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels import rules
from pyfastlr_kernels.rules import contract
from pyfastlr_kernels.stage_rules import clamped, moved_average
from pyfastlr_kernels.tables import CHUNK, FOLD_RULE, OK, TENSOR, field_offset

from .compiler import SIMULATED, cuda, device_function, subroutine, types
from .tables import AT, BINDING, NUMBERS, Around
from .update import make_chunk, make_element, make_place

if SIMULATED:
    from .simulated_memory import moved, numbers, word, words
else:
    from .memory import moved, numbers, word, words

_CHUNK, _FIRST, _SIZE = CHUNK.itemsize, field_offset(CHUNK, "first"), field_offset(CHUNK, "size")
_TENSOR = TENSOR.itemsize
_BINDING, _FOLD_INDEX = BINDING.itemsize, field_offset(BINDING, "fold_index")
_WORD = 8  # bytes

# Arrays besides parameters and state, in their order: these, which are written for tensors without gradient too, then
# "before", the parameters before the update.
ALWAYS = ("average", "copy")


def _average(p, q, a, x):
    """Average of the new parameter q, before it a; p is the parameter before the update."""
    return moved_average(a, q, x.decay, x.rest) if x.started != 0 else q


def _copy(p, q, a, x):
    return q


def _before(p, q, a, x):
    return p


FOLLOWERS: dict[str, Callable[..., Any]] = {"average": _average, "copy": _copy, "before": _before}


def make_follow(names: Sequence[str]) -> Any:
    """Make ``follow(p, q, s, x)``, the new values of these arrays, whose old ones are the tuple s."""
    if not names:
        return device_function(lambda p, q, s, x: ())
    first, rest = device_function(FOLLOWERS[names[0]]), make_follow(names[1:])

    def follow(p, q, s, x):
        return (first(p, q, s[0], x),) + rest(p, q, s[1:], x)  # noqa: RUF005  # numba cannot unpack into a tuple

    return device_function(follow)


def make_update_around(
    rule: rules.Rule, fold: Callable[..., Any], dtype: str, by_element: bool, others: Sequence[str], clamps: bool
) -> Any:
    """Make the kernel and its signature: ``(tensors, chunks, bindings, table, options, around, arrays)``.

    The first four are those of `make_update`, from a table. `options` is the OPTIONS record: unless its status is OK,
    nothing is done. `around` has the numbers of each tensor, and `arrays` its addresses of `others`.
    """
    real = types.float32 if dtype == "float32" else types.float64
    zero, itemsize = np.dtype(dtype).type(0), np.dtype(dtype).itemsize
    h_like, r_like = contract.numbers_like(rule, fold, np.dtype(dtype).type)
    common_like, n_h, n_slots = contract.Common(zero, zero, zero, zero), len(h_like), len(rule.slots)
    x_like, arrays_like = Around(*(zero,) * len(Around._fields)), (zero,) * len(others)
    x_size, arrays_size = itemsize * len(x_like), _WORD * len(others)
    inner, follow, limited = make_element(rule, real, by_element), make_follow(others), device_function(clamped)

    def element(p, g, k, s, h, r, x, common, decays):
        g = limited(g, x.unscale, x.limit) if clamps else g
        q, t = inner(p, g, k, s[:n_slots], h, r, x.scale, common, decays)
        return q, t + follow(p, q, s[n_slots:], x)

    result = _result(real, n_slots + len(others))
    chunk = make_chunk(subroutine(element, lambda *_: result), dtype, by_element)
    one_chunk, held_chunk = make_place(rule, chunk, dtype, by_element), _make_held(real, dtype, others)

    def update_around(tensors, chunks, bindings, table, options, around, arrays):
        c = chunks + _CHUNK * cuda.blockIdx.x
        k = word(c)
        t, b = tensors + _TENSOR * k, bindings + _BINDING * k
        if word(options + AT.status) == OK:
            g, x = word(b), numbers(around + x_size * k, x_like)
            more = words(arrays + arrays_size * k, arrays_like)
            if g != 0:
                row = table + itemsize * NUMBERS * word(b + _FOLD_INDEX)
                h, r = row + itemsize * FOLD_RULE, row + itemsize * (FOLD_RULE + n_h)
                one_chunk(
                    cuda.threadIdx.x,
                    t,
                    c,
                    g,
                    more,
                    x,
                    numbers(row, common_like),
                    numbers(h, h_like),
                    numbers(r, r_like),
                )
            else:
                held_chunk(cuda.threadIdx.x, t, c, more, x)

    return update_around, types.void(*(types.int64,) * 7)


def _result(real: Any, n: int) -> Any:
    """Type of an element's update with n arrays besides the parameter."""
    return types.Tuple((real, types.UniTuple(real, n) if n else types.Tuple(())))


def _make_held(real: Any, dtype: str, others: Sequence[str]) -> Any:
    """Make what happens to a chunk of a tensor without gradient: its parameter is read, for an average and a copy."""
    names = [name for name in others if name in ALWAYS]
    if not names:
        return device_function(lambda thread, t, c, more, x: None)
    zero, itemsize, p_at, n = np.dtype(dtype).type(0), np.dtype(dtype).itemsize, field_offset(TENSOR, "p"), len(names)
    nothing, follow = contract.Common(zero, zero, zero, zero), make_follow(names)

    def element(a, p, k, s, h, r, x, common, decays):
        """Do to the first array what an update does to the parameter, which comes in place of the gradient."""
        t = follow(p, p, (a,) + s, x)  # noqa: RUF005
        return t[0], t[1:]

    chunk = make_chunk(subroutine(element, lambda *_: _result(real, n - 1)), dtype, False)

    def held_chunk(thread, t, c, more, x):
        at = word(c + _FIRST) * itemsize
        arrays = moved(more, at)
        chunk(thread, word(c + _SIZE), arrays[0], word(t + p_at) + at, 0, arrays[1:n], (), (), x, nothing)

    return device_function(held_chunk)
