"""A comparison: contenders started on the same data, their results checked against ours, then timed in turns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .contenders import CONTENDERS, OURS, Absent, Contender
from .interleave import Run, Times, interleave
from .work import POOL, Gradients, Work

CHECKED = 3  # steps before the comparison of the parameters
TOLERANCE = 1e-3  # of the largest move of any parameter, beside what rounding the parameters can do
OUTLIERS = 1_000_000  # one element of so many may differ: Lion's sign falls either way where a sum rounds to zero


class Mismatch(AssertionError):
    """A contender does other work than ours."""


@dataclass(frozen=True)
class Comparison:
    """Times by contender, and why the others have none."""

    work: Work
    times: Mapping[str, Times]
    absent: Mapping[str, str]

    def ratios(self, name: str) -> tuple[float, float]:
        """How many times ours is faster: by the minima, by the medians."""
        theirs, ours = self.times[name], self.times[OURS.name]
        return theirs.minimum / ours.minimum, theirs.median / ours.median


def compare(work: Work, seconds: float, contenders: Sequence[Contender] = CONTENDERS) -> Comparison:
    """Measure what takes part in this work; ours is always one of them.

    Raises
    ------
    Mismatch
        If a contender's parameters are not ours after a few steps.
    """
    gradients = work.gradients()
    runs: dict[str, Run] = {}
    absent: dict[str, str] = {}
    for contender in contenders:
        if contender.takes(work):
            try:
                runs[contender.name] = contender.start(work, gradients)
            except (ImportError, Absent) as problem:
                absent[contender.name] = str(problem)
    check(work, runs, gradients)
    return Comparison(work, interleave(runs, seconds, POOL), absent)


def check(work: Work, runs: Mapping[str, Run], gradients: Gradients) -> None:
    """Have each run do a few steps, and compare its parameters with ours."""
    untouched = work.gradients()
    for name, run in runs.items():
        for k in range(CHECKED):
            run.turn(k % POOL)()
        if not all(map(np.array_equal, chain(*gradients), chain(*untouched))):
            raise Mismatch(f"{name} writes into the gradients, which are everybody's ({work.name})")
    before = work.params()
    results = {name: run.result() for name, run in runs.items() if run.result is not None}
    ours = results.pop(OURS.name)
    for name, theirs in results.items():
        for k, (start, mine, other) in enumerate(zip(before, ours, theirs, strict=True)):
            problem = _difference(start, mine, np.asarray(other))
            if problem:
                raise Mismatch(f"{name} does not do the work of {OURS.name} ({work.name}): array {k} {problem}")


def _difference(start: Any, ours: Any, theirs: Any) -> str:
    """What is wrong with a contender's array, or nothing."""
    if theirs.dtype != ours.dtype or theirs.shape != ours.shape:
        return f"is {theirs.dtype}{list(theirs.shape)}, not {ours.dtype}{list(ours.shape)}"
    rounding = CHECKED * np.finfo(ours.dtype).eps * np.abs(start).max()
    allowed = TOLERANCE * np.abs(ours - start).max() + rounding
    distance = np.abs(ours - theirs)
    off = np.count_nonzero(~(distance <= allowed))  # so that NaN is off
    return f"differs in {off} elements, by up to {distance.max():.2g}" if off > ours.size // OUTLIERS else ""
