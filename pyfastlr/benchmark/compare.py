"""A comparison: contenders start with the same data, their results are checked against ours, then they are timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .contenders import CONTENDERS, OURS, Absent, Contender
from .interleave import Run, Times, interleave
from .work import POOL, Gradients, Work

CHECKED = 3  # steps before the comparison of the parameters
TOLERANCE = 1e-3  # of the largest change of any parameter, in addition to rounding of the parameters
OUTLIERS = 1_000_000  # one element in this many may differ: Lion's sign is arbitrary where a sum rounds to zero


class Mismatch(AssertionError):
    """A contender does not do the same work as ours."""


@dataclass(frozen=True)
class Comparison:
    """Times by contender, and the reasons why others have none."""

    work: Work
    times: Mapping[str, Times]
    absent: Mapping[str, str]

    def ratios(self, name: str) -> tuple[float, float]:
        """Return the contender's time divided by ours: of the minima, of the medians."""
        theirs, ours = self.times[name], self.times[OURS.name]
        return theirs.minimum / ours.minimum, theirs.median / ours.median


def compare(work: Work, seconds: float, contenders: Sequence[Contender] = CONTENDERS) -> Comparison:
    """Measure the contenders that can do this work; ours must be one of them.

    Raises
    ------
    Mismatch
        If a contender's parameters differ from ours after a few steps.
    """
    gradients = work.gradients()
    runs: dict[str, Run] = {}
    absent: dict[str, str] = {}
    for contender in contenders:
        if contender.can(work):
            try:
                runs[contender.name] = contender.start(work, gradients)
            except (ImportError, Absent) as problem:
                absent[contender.name] = str(problem)
    check(work, runs, gradients)
    return Comparison(work, interleave(runs, seconds, POOL), absent)


def check(work: Work, runs: Mapping[str, Run], gradients: Gradients) -> None:
    """Do a few steps of each run, and compare its parameters with ours."""
    untouched = work.gradients()
    for name, run in runs.items():
        for k in range(CHECKED):
            run.turn(k % POOL)()
        if not all(map(np.array_equal, chain(*gradients), chain(*untouched))):
            raise Mismatch(f"{name} writes into the gradients, which all contenders share ({work.name})")
    before = work.params()
    results = {name: run.result() for name, run in runs.items() if run.result is not None}
    ours = results.pop(OURS.name)
    before *= len(ours) // len(before)  # an average starts at the parameters
    for name, theirs in results.items():
        for k, (start, mine, other) in enumerate(zip(before, ours, theirs, strict=True)):
            problem = _difference(start, mine, np.asarray(other))
            if problem:
                raise Mismatch(f"{name} does not do the same work as {OURS.name} ({work.name}): array {k} {problem}")


def _difference(start: Any, ours: Any, theirs: Any) -> str:
    """Return what is wrong with a contender's array, or an empty string."""
    if theirs.dtype != ours.dtype or theirs.shape != ours.shape:
        return f"is {theirs.dtype}{list(theirs.shape)}, not {ours.dtype}{list(ours.shape)}"
    rounding = CHECKED * np.finfo(ours.dtype).eps * np.abs(start).max()
    allowed = TOLERANCE * np.abs(ours - start).max() + rounding
    distance = np.abs(ours - theirs)
    off = np.count_nonzero(~(distance <= allowed))  # counts NaN too
    return f"differs in {off} elements, by up to {distance.max():.2g}" if off > ours.size // OUTLIERS else ""
