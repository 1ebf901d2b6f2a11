"""The timing: contenders take turns, and each turn yields samples of the time of one call.

It guards against four effects, all seen on shared machines: a clock speed that changes during the run (every contender
is measured in every round), the contender before (the order rotates, and every second round runs backwards), OpenMP
threads that still spin for that contender (a pause, then untimed calls), and the garbage collector.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

STEADY = 1.5  # median / minimum; above it, something else ran on the machine, and a ratio means little
NARROW = 0.5  # interquartile range / minimum; above it, the samples have two levels, and chance picks the median's
DISTURBED = f"the median is above {STEADY} times the best time, or the interquartile range is above {NARROW} times it"
SAMPLE = 200e-6  # seconds: calls are timed in batches this long, so that the clock's own 50 ns do not show
TURN = 2e-3  # seconds of samples in a turn; at least one sample
PAUSE = 3e-3  # seconds: GNU OpenMP's threads spin for 1 to 2 ms after a call, pyfastlr's for 0.1 ms
MIN_ROUNDS = 5

Step = Callable[[], Any]


class Run(NamedTuple):
    """A contender, ready to go."""

    turn: Callable[[int], Step]  # k -> the step with the pool's k-th gradient, which may be called any number of times
    result: Callable[[], Sequence[Any]] | None = None  # current parameters; None if the contender has none
    updates: int = 1  # done by one call of the step


@dataclass(frozen=True)
class Times:
    """Seconds per update: each sample is the mean over a few calls."""

    samples: tuple[float, ...]
    calls: int  # per sample

    @property
    def minimum(self) -> float:
        """Fastest sample: the one that the rest of the machine disturbed least."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """Median of the samples."""
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        """Interquartile range of the samples."""
        low, high = np.quantile(self.samples, (0.25, 0.75))
        return float(high - low)

    @property
    def disturbed(self) -> bool:
        """Whether something else ran on the machine at the same time; if so, no verdict is given."""
        return disturbed(self.minimum, self.median, self.spread)


def disturbed(minimum: float, median: float, spread: float) -> bool:
    """Return whether these figures show that something else ran on the machine."""
    return median > STEADY * minimum or spread > NARROW * minimum


def order(names: Sequence[str], k: int) -> list[str]:
    """Return the turns of round k: forwards, backwards, then both with the first name moved to the end, and so on."""
    first = k // 2 % len(names)
    rotated = [*names[first:], *names[:first]]
    return rotated[::-1] if k % 2 else rotated


def interleave(
    runs: Mapping[str, Run],
    seconds: float,
    pool: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Times]:
    """Time the runs in turns for this many seconds, and for at least MIN_ROUNDS rounds."""
    # The largest of three: an interrupted call is slow, so too few calls would seem enough.
    calls = {name: max(_calibrate(run.turn(0), clock) for _ in range(3)) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        end, k = clock() + seconds, 0
        while k < MIN_ROUNDS or clock() < end:
            for name in order(list(runs), k):
                step = runs[name].turn(k % pool)
                sleep(PAUSE)
                settling = _time(step, calls[name], clock) * calls[name]
                for _ in range(max(1, int(TURN / settling))):
                    samples[name].append(_time(step, calls[name], clock))
            k += 1
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(x / run.updates for x in samples[name]), calls[name]) for name, run in runs.items()}


def _calibrate(step: Step, clock: Callable[[], float]) -> int:
    """Return the number of calls that fill one sample."""
    calls = 1
    while (seconds := _time(step, calls, clock) * calls) < SAMPLE / 2:
        calls *= 2
    return max(1, round(calls * SAMPLE / seconds))


def _time(step: Step, calls: int, clock: Callable[[], float]) -> float:
    """Return the seconds per call."""
    times = repeat(None, calls)
    start = clock()
    for _ in times:
        step()
    return (clock() - start) / calls
