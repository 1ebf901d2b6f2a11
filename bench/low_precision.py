"""Steps with state in bfloat16 and 8 bits against float32: python -m bench.low_precision [--seconds S].

All are in turn, so that a busy machine slows all of them. The ratios are float32's time by the others', of the fastest
calls and of the medians. Bytes are those that a step must move: parameters and state in and out, gradients in.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np

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


def measure(name: str, n: int, seconds: float) -> dict[str | None, tuple[float, float, float]]:
    """Fastest and median time of a step for each dtype, and its bytes."""
    g = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    opts = {dtype: MAKERS[name](np.zeros(n, np.float32), state_dtype=dtype) for dtype in DTYPES}
    calls = max(1, 100_000 // n)
    times: dict[str | None, list[float]] = {dtype: [] for dtype in DTYPES}
    end, warm = time.perf_counter() + seconds, True
    while warm or time.perf_counter() < end:
        for dtype, opt in opts.items():
            start = time.perf_counter()
            for _ in range(calls):
                opt.step(g)
            times[dtype].append((time.perf_counter() - start) / calls)
        if warm:  # the first round compiles, and touches the memory
            times, warm = {dtype: [] for dtype in DTYPES}, False
            end = time.perf_counter() + seconds
            continue
    return {dtype: (min(x), statistics.median(x), bytes_per_element(opts[dtype], n)) for dtype, x in times.items()}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row")
    print(table(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
