"""The kernel of a step that a CUDA graph replays: counts, schedules and folds on the device, by one thread.

For other steps, the host does this: it evaluates the schedules at this update, folds once for neighbouring tensors with
the same group, count and carry, and counts. A graph can replay the kernel; numbers passed by value would stay those of
its capture.
"""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels import rules
from pyfastlr_kernels import tables as host_tables
from pyfastlr_kernels.rules import contract
from pyfastlr_kernels.tables import COUNT, FOLD_RULE, OK, TENSOR

from .compiler import SIMULATED, device_function, subroutine, types
from .tables import AT, BINDING, NUMBERS, Curve

if SIMULATED:
    from .simulated_memory import numbers, put_numbers, put_word, scaled, word
else:
    from .memory import numbers, put_numbers, put_word, scaled, word

_F64 = 8  # bytes
_TENSOR, _ROW = TENSOR.itemsize, TENSOR.fields["row"][1]
_COUNT, _CARRY = COUNT.itemsize, COUNT.fields["carry"][1]
_BINDING, _FOLD_INDEX = BINDING.itemsize, BINDING.fields["fold_index"][1]


def schedule(curve: Curve) -> Any:
    """Make a device function of n. The call is written out, because inlined functions cannot take ``*parameters``."""
    names = {f"p{k}": schedule(x) if isinstance(x, Curve) else x for k, x in enumerate(curve.parameters)}
    scope = {"curve": device_function(curve.function), **names}
    exec(f"def at(n): return curve(n, {', '.join(names)})", scope)  # the names are ours
    return device_function(scope["at"])


def make_schedules(scheduled: Sequence[tuple[Curve, Sequence[int]]]) -> Any:
    """Make the device function ``f(rows, n)``, which writes each curve's value at n to its cells (float64 indices)."""
    if not scheduled:
        return device_function(lambda rows, n: None)
    curve, cells, rest = schedule(scheduled[0][0]), tuple(scheduled[0][1]), make_schedules(scheduled[1:])

    def evaluate(rows, n):
        value = float(curve(n))
        for cell in cells:
            put_numbers(rows + cell * _F64, (value,), value)
        rest(rows, n)

    return device_function(evaluate)


def make_evaluate(schedules: Any) -> Any:
    """Make the kernel of one thread that only evaluates schedules: ``(rows, steps)``."""

    def evaluate(rows, steps):
        schedules(rows, word(steps))

    return evaluate, types.void(types.int64, types.int64)


def make_advance(rule: rules.Rule, fold: Callable[..., Any], dtype: str, schedules: Any) -> Any:
    """Make the kernel of one thread, and its signature: a whole step except the update of the arrays.

    ``(tensors, n_tensors, bindings, counts, rows, table, steps, options)`` are addresses. The rows are config rows as
    on the host; the kernel writes the folded numbers to ``table``, in the parameters' dtype. If `options` is not 0
    and the status of that record is not OK, the step is skipped, and nothing is done.
    """
    real = np.dtype(dtype).type
    zero, width, carry_like = real(0), NUMBERS * np.dtype(dtype).itemsize, rule.carry
    names = host_tables.row_dtype(rule.hyper).names or ()
    row_size, row_like = _F64 * len(names), (0.0,) * len(names)
    config = namedtuple("config", names)  # type: ignore[misc]
    fold, common_numbers = device_function(fold), device_function(contract.common_numbers)
    itemsize = np.dtype(dtype).itemsize

    def fold_one(out, row, count, carry):
        c = config(*numbers(row, row_like))
        h, r, carry = fold(c, float(count), carry)
        put_numbers(out, common_numbers(c), zero)
        put_numbers(out + FOLD_RULE * itemsize, h, zero)
        put_numbers(out + (FOLD_RULE + len(h)) * itemsize, scaled(r, c.lr_scale), zero)
        return carry

    carried = types.UniTuple(types.float64, len(carry_like)) if carry_like else types.Tuple(())
    fold_one = subroutine(fold_one, lambda *_: carried)

    def advance(tensors, n_tensors, bindings, counts, rows, table, steps, options):
        if options != 0 and word(options + AT.status) != OK:
            return
        schedules(rows, word(steps))
        last, last_row, last_count = -1, -1, -1
        before, after = carry_like, carry_like
        for k in range(n_tensors):
            binding = bindings + k * _BINDING
            if word(binding) != 0:
                row, count = word(tensors + k * _TENSOR + _ROW), word(counts + k * _COUNT)
                carry = numbers(counts + k * _COUNT + _CARRY, carry_like)
                if last < 0 or row != last_row or count != last_count or carry != before:
                    after = fold_one(table + k * width, rows + row * row_size, count + 1, carry)
                    last, last_row, last_count, before = k, row, count, carry
                put_word(binding + _FOLD_INDEX, last)
                put_word(counts + k * _COUNT, count + 1)
                put_numbers(counts + k * _COUNT + _CARRY, after, 0.0)
        put_word(steps, word(steps) + 1)

    return advance, types.void(*(types.int64,) * 8)
