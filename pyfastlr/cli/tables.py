"""What `pyfastlr bench` prints of a report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from pyfastlr.benchmark.report import Report, Row


def heading(report: "Report") -> str:
    """The machine and the versions."""
    from pyfastlr.benchmark.report import PEERS, load_words

    facts = report.machine
    names = ("pyfastlr", "python", "numba", "numpy", *PEERS)
    versions = ", ".join(f"{name} {facts[name]}" for name in names if name in facts)
    return f"{facts['cpu']}, {load_words(facts)}\n{versions}"


def _table(title: str, words: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(*words, title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def work(rows: "Sequence[Row]") -> Table:
    """One work: a row for each contender."""
    from pyfastlr.benchmark.contenders import LIMIT, OURS
    from pyfastlr.benchmark.report import disturbed, duration, percent, times

    first = rows[0]
    ours = next((row for row in rows if row.contender == OURS.name), None)
    limit = next((row for row in rows if row.contender == LIMIT.name), None)
    layout = "" if first.layout == f"n{first.size}" else f" ({first.layout})"
    least, most = (pick(row.samples for row in rows) for pick in (min, max))
    samples = f"best of {least}" + (f" to {most}" if most > least else "")
    title = f"{first.optimizer}, {first.size:,} x {first.dtype}{layout}, {first.threads} threads, {samples}"
    table = _table(title, ["contender"], ["best", "median", "spread", "GB/s", "of limit", "ratio", "(medians)", ""])
    for row in rows:
        share = "" if row.share is None else percent(row.share) + "*" * disturbed(row, limit)
        ratios = (times(row.ratio), times(row.ratio_of_medians))
        table.add_row(
            row.contender, duration(row.minimum), duration(row.median), f"{100 * row.noise:.0f} %",
            f"{row.gigabytes_per_second:.1f}", share, *ratios, "disturbed" if disturbed(row, ours) else "",
        )  # fmt: skip
    return table


def legend(report: "Report") -> str:
    """What the columns mean, and of those that may mislead what there is."""
    from pyfastlr.benchmark.interleave import STEADY

    rows = report.rows
    lines = [
        "best, median: of samples of 0.2 ms or one step; spread: distance of their quartiles, over the median.",
        "GB/s: the bytes that the update must read and write, divided by the best time.",
        "ratio: 2x takes twice as long as pyfastlr, by the best times and (by the medians).",
    ]
    if any(row.share is not None for row in rows):
        lines.append(
            "of limit: the best time of a loop that moves the same bytes and computes next to nothing, over this one."
        )
    if any(row.share is not None and row.share > 1 for row in rows):
        lines.append(
            "  Above 100 % the loop is no bound: on several threads, which are Python's, it loses more than a step\n"
            "  where something else runs on the cores; on one thread it is a bound to a few per cent."
        )
    if any(row.disturbed for row in rows):
        lines.append(
            f"disturbed: the median is above {STEADY} times the best, of this or of ours. Something else ran on the\n"
            "  machine, so the ratios of that row are no result. * marks a share that is disturbed so."
        )
    return "\n".join(lines) + "\n"


CHANGES = """\
pyfastlr: its best time. Others: time over ours, where more is better for pyfastlr; the empty loop's is our share
  of the limit. noise: the spreads of all times in a figure, added as independent errors are.
better, worse: for pyfastlr; only where the best times and the medians agree and the change exceeds the noise.
"""


def changed(old: "Report", new: "Report") -> Table | None:
    """What both have, before and now; None if there is nothing."""
    from pyfastlr.benchmark.changes import changes
    from pyfastlr.benchmark.contenders import OURS
    from pyfastlr.benchmark.report import duration, times

    title = f"Since pyfastlr {old.machine['pyfastlr']}"
    table = _table(title, ["work", "contender"], ["before", "now", "change", "of medians", "noise", ""])
    for x in changes(old, new):
        row = x.new
        dtype = "" if row.dtype == "float32" else f" {row.dtype}"
        layout = f"{row.size:,}" if row.layout == f"n{row.size}" else row.layout
        words = map(duration if row.contender == OURS.name else times, (x.before, x.now))
        table.add_row(
            f"{row.optimizer} {layout}{dtype}", row.contender, *words,
            f"{100 * x.of_minima:+.0f} %", f"{100 * x.of_medians:+.0f} %", f"{100 * x.noise:.0f} %", x.verdict,
        )  # fmt: skip
    return table if table.row_count else None
