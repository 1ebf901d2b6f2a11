"""Adam's targets, and the check whether a row reaches them."""

from typing import NamedTuple

from pyfastlr.benchmark.contenders import OURS
from pyfastlr.benchmark.report import Row, disturbed, duration, times
from pyfastlr.benchmark.work import TINY, TRANSFORMER, one

LAYOUTS = (one(64), one(10_000), one(1_000_000), one(40_000_000), TRANSFORMER, TINY)

# Each contender's time divided by ours (minima) must reach this. For the empty loop it is our share of its speed.
RATIOS = {
    "n64": {"numpy": 5.0, "optax jit": 8.0, "torch fused": 30.0},
    "n10000": {"numpy": 6.0, "optax jit": 4.0, "torch fused": 12.0},
    "n1000000": {"numpy": 15.0, "optax jit": 2.3, "torch fused": 1.5, "DeepSpeedCPUAdam": 1.5},
    "n40000000": {"numpy": 9.0, "torch fused": 1.05, "DeepSpeedCPUAdam": 1.05, "empty loop": 0.95},
    "transformer-226": {"torch fused": 1.5},
    "tiny-226": {"torch fused": 25.0},
}
SECONDS = {"n64": 2.0e-6, "cold": 2.0, "warm": 0.3}  # at most


class Verdict(NamedTuple):
    """A target, and whether it was reached. Both are None if there is none; a disturbed row gets no verdict."""

    target: float | None
    reached: bool | None
    disturbed: bool

    def __str__(self) -> str:
        if self.disturbed:
            return "disturbed"
        return "" if self.reached is None else "reached" if self.reached else "NOT REACHED"


def judge(row: Row, ours: Row) -> Verdict:
    """Compare a row, and ours at the same work, with the targets."""
    limit = SECONDS.get(row.layout) if row.contender == OURS.name else None
    target = RATIOS[row.layout].get(row.contender)
    reached = row.ratio >= target if target else row.minimum <= limit if limit else None
    spoiled = disturbed(row, ours)
    return Verdict(target or limit, None if spoiled else reached, spoiled)


def show(row: Row, verdict: Verdict) -> str:
    """Return a line of the table."""
    target = verdict.target
    wanted = "" if target is None else f">= {target:g}x" if target >= 0.1 else f"<= {duration(target)}"
    return (
        f"  {row.contender:<19}{duration(row.minimum):>9}{duration(row.median):>10}{duration(row.spread):>10}"
        f"{row.gigabytes_per_second:8.1f}{times(row.ratio):>9}{times(row.ratio_of_medians):>9}  {wanted:>10}  {verdict}"
    )
