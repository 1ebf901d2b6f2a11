"""Whether a long run of zero or tiny gradients slows a step, where a CPU computes slowly with subnormal numbers.

A moment that decays at zero gradients passes through the subnormal numbers and would stay among them: 0.999 times a
small multiple of the smallest number is that multiple again. So rules set it to zero (rules/contract.py, `flush`). A
product that underflows costs time whatever is done with it: the square of a tiny gradient does at every step.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.benchmark.report import times
from pyfastlr.benchmark.variants import VARIANTS, Variant
from pyfastlr.optimizers import Optimizer

from .all_optimizers import LOOPS

SIZE = 4096  # elements: in the first caches, where computing takes all the time
BLOCK, BLOCKS = 64, 200  # 12,800 steps
NORMAL = 10  # blocks before the gradients become small
REPEATS = 3  # of the run; the best time of each block counts
LONG = 0.9  # of the blocks: all but the few in which a moment passes through the subnormal numbers
LIMIT = 1.3  # times as long as with normal gradients

# Gradients of the run. The squares of tiny ones are zero.
KINDS: Mapping[str, Callable[[Any], float]] = {
    "zero": lambda info: 0.0,
    "tiny": lambda info: float(info.tiny) * 1e8,  # 1e-30 in float32
    "subnormal squares": lambda info: float(np.sqrt(info.tiny)) / 10,
    "subnormal": lambda info: float(info.tiny) / 100,
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "clip_norm": {"clip_norm": 1.0},
    "clip_value": {"clip_value": 1.0},
    "ema_decay": {"ema_decay": 0.999},
    "accumulate": {"accumulate": 2},
    "measure": {"measure": ("update_norm", "param_norm")},
    "weight_decay": {"weight_decay": 0.1},
}


class Slowdown(NamedTuple):
    """Time of a long run with each kind of gradients, divided by the time with normal ones."""

    name: str
    dtype: str
    ratios: dict[str, float]

    def __str__(self) -> str:
        slow = [kind for kind, x in self.ratios.items() if x > LIMIT]
        figures = "".join(f"{times(x):>19}" for x in self.ratios.values())
        return f"  {self.name:<28}{self.dtype:<8}{figures}  {'slowed by ' + ', '.join(slow) if slow else ''}".rstrip()


HEAD = f"  {'':<28}{'':<8}" + "".join(f"{kind:>19}" for kind in KINDS)


def slowdown(make: Callable[[Any], Optimizer], dtype: str, small: float) -> float:
    """Run with gradients whose squares are just above the subnormal numbers, then with small ones."""
    signs = np.where(np.arange(SIZE) % 2, -1, 1).astype(dtype)
    normal, low = signs * np.sqrt(np.finfo(dtype).tiny).astype(dtype) * 1000, signs * np.dtype(dtype).type(small)
    best = np.full(BLOCKS, np.inf)
    for _ in range(REPEATS):
        opt = make(np.linspace(-1.0, 1.0, SIZE, dtype=dtype))
        opt.step(normal)
        best = np.minimum(best, [_block(partial(opt.step, normal if k < NORMAL else low)) for k in range(BLOCKS)])
    return float(np.quantile(best[NORMAL:], LONG) / np.median(best[:NORMAL]))


def _block(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    for _ in range(BLOCK):
        step()
    return time.perf_counter() - start


def slowdowns(variants: Sequence[Variant] = LOOPS) -> Iterator[Slowdown]:
    """Yield the slowdown of every optimizer, and of AdamW with each option."""
    adamw = next(x for x in VARIANTS if x.name == "adamw")
    runs: list[tuple[str, Variant, Mapping[str, Any]]] = [(x.name, x, {}) for x in variants]
    runs += [(f"adamw, {name}", adamw, options) for name, options in OPTIONS.items()]
    for dtype in ("float32", "float64"):
        for name, variant, options in runs:
            make = partial(_make, variant, options)
            yield Slowdown(name, dtype, {k: slowdown(make, dtype, x(np.finfo(dtype))) for k, x in KINDS.items()})


def _make(variant: Variant, options: Mapping[str, Any], p: Any) -> Optimizer:
    return variant.make(p, variant.lr, **options)
