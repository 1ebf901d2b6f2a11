"""The timing: contenders take turns, and each turn yields samples of the time of one call.

What this guards against, all of it seen on shared machines: a clock that changes over the run (every contender is
measured in every round), the neighbour before (the order rotates, and every second round runs backwards), OpenMP's
threads that still spin for the contender before (a pause, then calls that are not timed), and the garbage collector.
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

STEADY = 1.5  # median over minimum; above, something else ran on the machine, and a ratio means little
NARROW = 0.5  # spread over minimum; above, the samples have two levels, and chance decides which is the median
DISTURBED = f"the median is above {STEADY} times the best time, or the spread above {NARROW} times"
SAMPLE = 200e-6  # seconds: so many calls are timed together, that the clock's own 50 ns do not show
TURN = 2e-3  # seconds of samples in a turn, or one sample
PAUSE = 3e-3  # seconds: GNU OpenMP's threads spin 1 to 2 ms after a call, pyfastlr's 0.1 ms
MIN_ROUNDS = 5

Step = Callable[[], Any]


class Run(NamedTuple):
    """A contender, ready to go."""

    turn: Callable[[int], Step]  # k -> the step with the k-th gradient of the pool, to be called any number of times
    result: Callable[[], Sequence[Any]] | None = None  # parameters now; None if it does not compute them
    updates: int = 1  # that one call of the step does


@dataclass(frozen=True)
class Times:
    """Seconds per update: one sample for every few calls."""

    samples: tuple[float, ...]
    calls: int  # in a sample

    @property
    def minimum(self) -> float:
        """The quickest sample: what the rest of the machine disturbed least."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """Of the samples."""
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        """Distance of the quartiles."""
        low, high = np.quantile(self.samples, (0.25, 0.75))
        return float(high - low)

    @property
    def disturbed(self) -> bool:
        """Whether something else ran on the machine meanwhile: no verdict is given then."""
        return disturbed(self.minimum, self.median, self.spread)


def disturbed(minimum: float, median: float, spread: float) -> bool:
    """Whether times with these figures tell that something else ran on the machine."""
    return median > STEADY * minimum or spread > NARROW * minimum


def order(names: Sequence[str], k: int) -> list[str]:
    """Turns of round k: forwards, backwards, then both with the first name moved to the end, and so on."""
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
    """Time the runs against each other for so many seconds, and at least MIN_ROUNDS rounds."""
    # The most of three: a call that was interrupted looks as if few would do.
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
    """Calls that take a sample's time."""
    calls = 1
    while (seconds := _time(step, calls, clock) * calls) < SAMPLE / 2:
        calls *= 2
    return max(1, round(calls * SAMPLE / seconds))


def _time(step: Step, calls: int, clock: Callable[[], float]) -> float:
    """Seconds per call."""
    times = repeat(None, calls)
    start = clock()
    for _ in times:
        step()
    return (clock() - start) / calls
