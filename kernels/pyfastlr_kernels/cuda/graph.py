"""The kernel of a step that a CUDA graph replays: counts, schedules and folds on the device, by one thread.

What the host does for other steps: evaluate schedules at this update, fold once for neighbouring tensors of one group,
count and carry, and count. A graph can replay that, where numbers passed by value would be those of its capture.
"""

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels import rules
from pyfastlr_kernels import tables as host_tables
from pyfastlr_kernels.rules import contract
from pyfastlr_kernels.tables import COUNT, FOLD_RULE, TENSOR

from .compiler import SIMULATED, device_function, subroutine, types
from .tables import BINDING, NUMBERS, Curve

if SIMULATED:
    from .simulated_memory import numbers, put_numbers, put_word, scaled, word
else:
    from .memory import numbers, put_numbers, put_word, scaled, word

_F64 = 8  # bytes
_TENSOR, _ROW = TENSOR.itemsize, TENSOR.fields["row"][1]
_COUNT, _CARRY = COUNT.itemsize, COUNT.fields["carry"][1]
_BINDING, _SLOT = BINDING.itemsize, BINDING.fields["slot"][1]


def schedule(curve: Curve) -> Any:
    """Device function of n. The call is written out: what is inlined cannot take ``*parameters``."""
    names = {f"p{k}": schedule(x) if isinstance(x, Curve) else x for k, x in enumerate(curve.parameters)}
    scope = {"curve": device_function(curve.function), **names}
    exec(f"def at(n): return curve(n, {', '.join(names)})", scope)  # the names are ours
    return device_function(scope["at"])


def make_schedules(asked: Sequence[tuple[Curve, Sequence[int]]]) -> Any:
    """Device function ``f(rows, n)``: each curve's value at n into its places, which are indices of float64."""
    if not asked:
        return device_function(lambda rows, n: None)
    curve, places, rest = schedule(asked[0][0]), tuple(asked[0][1]), make_schedules(asked[1:])

    def evaluate(rows, n):
        value = float(curve(n))
        for place in places:
            put_numbers(rows + place * _F64, (value,), value)
        rest(rows, n)

    return device_function(evaluate)


def make_advance(rule: rules.Rule, fold: Callable[..., Any], dtype: str, schedules: Any) -> Any:
    """Kernel of one thread, and its signature: everything of a step but the walk.

    ``(tensors, n_tensors, bindings, counts, rows, table, steps)``: addresses; rows are config rows as on the host, and
    ``table`` takes the folded numbers in the parameters' dtype.
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

    def advance(tensors, n_tensors, bindings, counts, rows, table, steps):
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
                put_word(binding + _SLOT, last)
                put_word(counts + k * _COUNT, count + 1)
                put_numbers(counts + k * _COUNT + _CARRY, after, 0.0)
        put_word(steps, word(steps) + 1)

    return advance, types.void(*(types.int64,) * 7)
