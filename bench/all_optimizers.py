"""Every optimizer, compared with the time of its bytes at Adam's bandwidth and with every peer that has it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pyfastlr.benchmark.compare import compare
from pyfastlr.benchmark.contenders import LIMIT, OURS, ours
from pyfastlr.benchmark.interleave import interleave
from pyfastlr.benchmark.report import Row, contenders, disturbed, rows, times
from pyfastlr.benchmark.variants import VARIANTS, Variant
from pyfastlr.benchmark.work import POOL, Work, one

from .scaling import ADAM

BYTES_SIZE = 20_000_000  # elements: twenty times the caches; the arrays of all optimizers take 5 GB
BYTES_TARGET = 1.15  # time / time that its bytes take at Adam's bandwidth
PEER_SIZES = (16, 64, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
MAIN = tuple(x for x in VARIANTS if x.name != "sgd-dampening")  # that is momentum's loop with another number
LOOPS = tuple(x for x in MAIN if not x.name.endswith("-optax"))  # a convention changes no loop


class Share(NamedTuple):
    """An optimizer's time in seconds, and its ratio to the time that its bytes take at Adam's bandwidth."""

    name: str
    bytes: int
    minimum: float
    median: float
    by_minima: float
    by_medians: float
    disturbed: bool  # this one's times or Adam's

    def __str__(self) -> str:
        reached = "reached" if self.by_minima <= BYTES_TARGET else "NOT REACHED"  # as all targets are judged
        return (
            f"  {self.name:<28}{self.bytes / self.minimum / 1e9:7.1f} GB/s{times(self.by_minima):>9}"
            f"{times(self.by_medians):>8}  <= {BYTES_TARGET}x  {'disturbed' if self.disturbed else reached}"
        )


def against_bytes(seconds: float, size: int = BYTES_SIZE, variants: Sequence[Variant] = LOOPS) -> list[Share]:
    """Measure all optimizers in turns, over buffers of one size."""
    works = [Work(variant, one(size)) for variant in variants]
    gradients = works[0].gradients()
    found = interleave({x.variant.name: ours(x, gradients) for x in works}, seconds, POOL)
    adam = found[ADAM.name]
    bytes_of_adam = Work(ADAM, one(size)).bytes
    return [
        Share(
            x.variant.name, x.bytes, (t := found[x.variant.name]).minimum, t.median,
            t.minimum / adam.minimum * bytes_of_adam / x.bytes, t.median / adam.median * bytes_of_adam / x.bytes,
            disturbed(t, adam),
        )
        for x in works
    ]  # fmt: skip


def against_peers(
    seconds: float, max_n: int, sizes: Sequence[int] = PEER_SIZES, variants: Sequence[Variant] = MAIN
) -> Iterator[list[Row]]:
    """Yield the rows of every optimizer at every size, all contenders in turns."""
    for size in sizes:
        if size <= max_n:
            for variant in variants:
                peers = [x for x in contenders(size) if x.name not in (LIMIT.name, "pyfastlr threads=1")]
                yield rows(compare(Work(variant, one(size)), seconds, peers))


def slower_than(found: Sequence[Row]) -> list[Row]:
    """Return the peers that are faster than ours by more than the measured spread, in the minimum or in the median.

    Disturbed rows are left out.
    """
    mine = next(row for row in found if row.contender == OURS.name)
    return [
        row
        for row in found
        if not disturbed(row, mine)
        and (mine.minimum - row.minimum > (spread := max(mine.spread, row.spread)) or mine.median - row.median > spread)
    ]


def summary(found: Sequence[Row]) -> str:
    """Return a line with our time and the fastest peer."""
    mine = next(row for row in found if row.contender == OURS.name)
    best = min((row for row in found if row is not mine), key=lambda row: row.ratio, default=None)
    peer = f"{best.contender} {times(best.ratio)} {times(best.ratio_of_medians)}" if best else "no peer"
    slower = "".join(f"  SLOWER than {row.contender}" for row in slower_than(found))
    marks = "  disturbed" * disturbed(mine, best) + slower
    return f"  {mine.size:>11,}  {mine.optimizer:<28}{mine.minimum * 1e6:>12.2f} µs   {peer}{marks}"
