"""Scaling: throughput by size and threads, the size where more threads pay, and the effect of a busy neighbour."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np

from pyfastlr.benchmark.compare import Comparison, compare
from pyfastlr.benchmark.contenders import CONTENDERS, OURS, Contender, ours
from pyfastlr.benchmark.interleave import Run
from pyfastlr.benchmark.report import Row, contenders, rows
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import Gradients, Work, one
from pyfastlr.engines import host

SIZES = (
    16, 64, 256, 1024, 4096, 16_384, 32_768, 65_536, 131_072, 262_144, 1_000_000, 4_000_000, 10_000_000, 40_000_000,
    100_000_000,
)  # fmt: skip
DEFAULT_MAX = 40_000_000
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
BESIDE_NEIGHBOUR = ("pyfastlr", "pyfastlr threads=1", "torch fused")

ADAM = next(x for x in VARIANTS if x.name == "adam")


def _parallel(work: Work, gradients: Gradients) -> Run:
    """Run our step on all threads, however small it is."""
    with patch.object(host, "PARALLEL_ABOVE", 0):
        return ours(work, gradients)


PARALLEL = Contender("pyfastlr parallel", _parallel, lambda work: work.threads > 1)


def sweep(seconds: float, max_n: int = DEFAULT_MAX, sizes: Sequence[int] = SIZES) -> Iterator[list[Row]]:
    """Yield the rows of each size: all contenders, and our step forced onto all threads if it would use one."""
    for size in sizes:
        if size <= max_n:
            work = Work(ADAM, one(size))
            forced = [PARALLEL] if work.bytes < host.PARALLEL_ABOVE else []
            yield rows(compare(work, seconds, contenders(size) + forced))


def crossover(found: Sequence[Row]) -> tuple[int | None, int | None]:
    """Return the bytes from which on all threads were faster than one, by the minima and by the medians."""
    serial = {row.size: row for row in found if row.contender == "pyfastlr threads=1"}
    # Where `pyfastlr parallel` was left out, our step uses all threads anyway.
    parallel = {row.size: row for name in (OURS.name, PARALLEL.name) for row in found if row.contender == name}
    by_minima, by_medians = (
        [(row.bytes, getattr(parallel[size], what) < getattr(row, what)) for size, row in sorted(serial.items())]
        for what in ("minimum", "median")
    )
    return _from_there_on(by_minima), _from_there_on(by_medians)


def _from_there_on(faster: Sequence[tuple[int, bool]]) -> int | None:
    """Return the first place from which on all are true."""
    last = None
    for place, true in reversed(faster):
        if not true:
            break
        last = place
    return last


@contextmanager
def busy_neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """Run another process that never sleeps, on one of the cores that this process may use."""
    program = (
        "import os\nos.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\nprint(flush=True)\nwhile True:\n    pass"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # now it runs
        yield process
    finally:
        process.kill()
        process.communicate()


def beside_neighbour(seconds: float, size: int = 1_000_000) -> dict[str, dict[str, dict[str, float]]]:
    """Return quantiles of a step's seconds (parallel, serial, torch's fused one): alone, then with a busy neighbour."""
    measured = partial(compare, Work(ADAM, one(size)), seconds, [x for x in CONTENDERS if x.name in BESIDE_NEIGHBOUR])
    alone = quantiles(measured())
    with busy_neighbour():
        return {"alone": alone, "beside a busy neighbour": quantiles(measured())}


def quantiles(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return the quantiles by contender, in seconds."""
    return {
        name: {label: float(np.quantile(times.samples, q)) for label, q in QUANTILES.items()}
        for name, times in comparison.times.items()
    }
