"""Steps with fewer bytes of state, gradients and parameters: python -m bench.low_precision [--seconds S].

All are in turn, so that a busy machine slows all of them. The ratios are float32's time by the others', of the fastest
calls and of the medians. Bytes are those that a step must move: parameters and state in and out, gradients in.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

import pyfastlr as flr

SIZES = (10_000, 1_000_000, 40_000_000)
DTYPES = (None, "bfloat16", "int8")
MAKERS: dict[str, Any] = {
    "Adam": lambda p, **more: flr.Adam(p, 1e-3, **more),
    "SGD, momentum": lambda p, **more: flr.SGD(p, 1e-3, momentum=0.9, **more),
    "Lion": lambda p, **more: flr.Lion(p, 1e-4, **more),
}


def bytes_per_element(opt: flr.Optimizer, n: int) -> float:
    """Bytes that a step moves for an element."""
    return 12 + 2 * sum(x.nbytes for x in opt.state.values()) / n


def interleaved(steps: dict[Any, Callable[[], Any]], n: int, seconds: float) -> dict[Any, tuple[float, float]]:
    """Fastest and median time of each step, all in turn."""
    calls = max(1, 100_000 // n)
    for step in steps.values():  # the first call compiles, and touches the memory
        step()
    times: dict[Any, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(calls):
                step()
            times[name].append((time.perf_counter() - start) / calls)
    return {name: (min(x), statistics.median(x)) for name, x in times.items()}


def measure(name: str, n: int, seconds: float) -> dict[str | None, tuple[float, float, float]]:
    """Fastest and median time of a step for each dtype, and its bytes."""
    g = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    opts = {dtype: MAKERS[name](np.zeros(n, np.float32), state_dtype=dtype) for dtype in DTYPES}
    found = interleaved({dtype: partial(opt.step, g) for dtype, opt in opts.items()}, n, seconds)
    return {dtype: (*x, bytes_per_element(opts[dtype], n)) for dtype, x in found.items()}


def table(seconds: float) -> str:
    """All measurements as Markdown."""
    lines = [
        "| optimizer | elements | float32 | bfloat16 | ratio | medians | bytes | 8 bits | ratio | medians | bytes |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in MAKERS:
        for n in SIZES:
            found = measure(name, n, seconds)
            fastest, median, moved = found[None]
            cells = [name, f"{n:,}", f"{fastest * 1e6:,.1f} µs"]
            for dtype in DTYPES[1:]:
                a, b, c = found[dtype]
                cells += [f"{a * 1e6:,.1f} µs", f"{fastest / a:.2f}", f"{median / b:.2f}", f"{moved / c:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


HALVES: dict[str, tuple[Any, Any, dict[str, Any]]] = {  # dtypes of parameters and gradients, options of Adam
    "float32": (np.float32, np.float32, {}),
    "float32, gradients bfloat16": (np.float32, bfloat16, {}),
    "float32, gradients and state bfloat16": (np.float32, bfloat16, {"state_dtype": "bfloat16"}),
    "bfloat16, master": (bfloat16, bfloat16, {}),
    "bfloat16, kahan": (bfloat16, bfloat16, {"precision": "kahan"}),
    "bfloat16, stochastic": (bfloat16, bfloat16, {"precision": "stochastic"}),
    "bfloat16, stochastic, state bfloat16": (
        bfloat16, bfloat16, {"precision": "stochastic", "state_dtype": "bfloat16"}),
}  # fmt: skip


def halves_table(seconds: float) -> str:
    """Measurements of Adam with parameters and gradients of 16 bits as Markdown."""
    lines = ["| parameters | elements | memory | time | ratio | medians | bytes |", "|---|--:|--:|--:|--:|--:|--:|"]
    for n in SIZES:
        g = np.random.default_rng(0).standard_normal(n).astype(np.float32)
        opts = {name: flr.Adam(np.zeros(n, p), 1e-3, **more) for name, (p, _, more) in HALVES.items()}
        grads = {name: g.astype(dtype) for name, (_, dtype, _) in HALVES.items()}
        found = interleaved({name: partial(opt.step, grads[name]) for name, opt in opts.items()}, n, seconds)
        base = found["float32"]
        moved = {}
        for name, opt in opts.items():
            state = sum(x.nbytes for x in opt.state.values()) / n
            moved[name] = 2 * opt.params.itemsize + grads[name].itemsize + 2 * state
            memory = opt.params.itemsize + state
            a, b = found[name]
            ratios = f"{base[0] / a:.2f} | {base[1] / b:.2f} | {moved['float32'] / moved[name]:.2f}"
            lines.append(f"| {name} | {n:,} | {memory:.0f} | {a * 1e6:,.1f} µs | {ratios} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    seconds = parser.parse_args().seconds
    print(table(seconds), halves_table(seconds), sep="\n\n")


if __name__ == "__main__":
    main()
