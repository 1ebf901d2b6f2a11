"""Changes between two reports, and whether they exceed the noise."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .contenders import OURS
from .report import Report, Row, disturbed


@dataclass(frozen=True)
class Change:
    """One contender at the same work, in an old and a new report.

    For pyfastlr the figure is its time. For the others it is their time divided by ours: a machine's speed changes from
    hour to hour, ratios much less. For the empty loop, that ratio is our share of the limit.
    """

    old: Row
    new: Row
    before: float  # seconds or a ratio, of the minima
    now: float
    of_minima: float  # now / before - 1
    of_medians: float
    noise: float  # of both: the relative spreads of all times in the figure, added as independent errors
    disturbed: bool

    @property
    def verdict(self) -> str:
        """Whether ours became better: only if the minima and the medians agree and the change exceeds the noise."""
        if self.disturbed:
            return "disturbed"
        low, high = sorted((self.of_minima, self.of_medians))
        if low <= self.noise and high >= -self.noise:
            return "noise"
        grew = low > self.noise
        return "better" if grew != (self.new.contender == OURS.name) else "worse"


def changes(old: Report, new: Report) -> Iterator[Change]:
    """Yield the changes for what both reports have, in the order of the new one."""
    was = {(row.key, row.contender): row for row in old.rows}
    ours = {row.key: row for row in new.rows if row.contender == OURS.name}
    for now in new.rows:
        if before := was.get((now.key, now.contender)):
            yield _change(before, now, was.get((now.key, OURS.name)), ours.get(now.key))


def _change(old: Row, new: Row, old_ours: Row | None, new_ours: Row | None) -> Change:
    if new.contender == OURS.name:
        parts = [old, new]
        before, now, medians = old.minimum, new.minimum, new.median / old.median
    else:
        parts = [row for row in (old, new, old_ours, new_ours) if row is not None]
        before, now, medians = old.ratio, new.ratio, new.ratio_of_medians / old.ratio_of_medians
    noise = math.hypot(*(row.noise for row in parts))
    return Change(old, new, before, now, now / before - 1, medians - 1, noise, disturbed(*parts))
