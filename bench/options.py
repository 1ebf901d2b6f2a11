"""The options of a step: against what other libraries need for the same, and against a step without them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pyfastlr.benchmark.compare import Comparison, compare
from pyfastlr.benchmark.contenders import LIMIT, OURS, PLAIN_LIMIT, PLAIN_OURS, Contender
from pyfastlr.benchmark.report import Row, contenders, disturbed, duration, rows, times
from pyfastlr.benchmark.variants import VARIANTS
from pyfastlr.benchmark.work import EXTRAS, Work, one

ADAMW = next(x for x in VARIANTS if x.name == "adamw")
PEER = 1.8  # torch's fused step with what it needs around it, divided by ours
ONE_READ = 1.05  # time with clip_norm, divided by that of the empty loop, which reads g once more too
SMALL = 0.15e-6  # seconds that clip_norm may add to a small step


class Cost(NamedTuple):
    """What the options of one work cost."""

    work: Work
    found: list[Row]
    figure: str
    reached: bool | None  # None: disturbed, or nothing to compare with

    def __str__(self) -> str:
        verdict = "no verdict" if self.reached is None else "reached" if self.reached else "NOT REACHED"
        return f"  {self.figure}  {verdict}"


def _minimum(found: Sequence[Row], contender: Contender) -> float:
    return next(row.minimum for row in found if row.contender == contender.name)


def against_torch(found: Sequence[Row]) -> tuple[str, bool] | None:
    """Compare with torch's clip_grad_norm_, fused step and average."""
    peer = next((row for row in found if row.contender == "torch fused"), None)
    if peer is None:
        return None
    return f"torch fused {times(peer.ratio)} {times(peer.ratio_of_medians)}, >= {PEER}x", peer.ratio >= PEER


def one_read(found: Sequence[Row]) -> tuple[str, bool] | None:
    """Compare what a clipped norm costs with what one more read of the gradients costs the empty loop."""
    share = _minimum(found, OURS) / _minimum(found, LIMIT)
    cost, needed = (_minimum(found, x) / _minimum(found, y) for x, y in ((OURS, PLAIN_OURS), (LIMIT, PLAIN_LIMIT)))
    return (
        f"{share:.3f} times the empty loop, <= {ONE_READ} (with / without: {cost:.3f}, the empty loop {needed:.3f})",
        share <= ONE_READ,
    )


def a_little(found: Sequence[Row]) -> tuple[str, bool] | None:
    """Compare with the same small step without options."""
    more = _minimum(found, OURS) - _minimum(found, PLAIN_OURS)
    return f"{1e9 * more:.0f} ns more, <= {duration(SMALL)}", more <= SMALL


Judge = Callable[[Sequence[Row]], tuple[str, bool] | None]
WORKS: tuple[tuple[int, tuple[str, ...], Judge], ...] = (
    (10_000_000, EXTRAS, against_torch),
    (40_000_000, ("clip_norm",), one_read),
    (64, ("clip_norm",), a_little),
)


def costs(seconds: float, max_n: int, measure: Callable[..., Comparison] = compare) -> "list[Cost]":
    """Measure each work, and compare it with its target. Without torch, there is none for the first."""
    found = []
    for size, extra, judge in WORKS:
        if size <= max_n:
            work = Work(ADAMW, one(size), extra=extra)
            these = rows(measure(work, seconds, contenders(size)))
            figure, reached = judge(these) or ("no torch", None)
            compared = [x for x in these if x.contender in _COMPARED[judge]]
            found.append(Cost(work, these, figure, None if disturbed(*compared) else reached))
    return found


_COMPARED = {
    against_torch: (OURS.name, "torch fused"),
    one_read: (OURS.name, LIMIT.name),
    a_little: (OURS.name, PLAIN_OURS.name),
}
