"""The tables that `pyfastlr bench` prints of a report."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from pyfastlr.benchmark.report import Report, Row


MARK = "*"  # of a disturbed measurement


def heading(report: "Report") -> str:
    """Return the machine and the versions."""
    from pyfastlr.benchmark.report import PEERS, load_words

    facts = report.machine
    names = ("pyfastlr", "python", "numba", "numpy", *PEERS)
    versions = ", ".join(f"{name} {facts[name]}" for name in names if name in facts)
    return f"{facts['cpu']}, {load_words(facts)}\n{versions}"


def _table(title: str, word: str, figures: Sequence[str]) -> Table:
    """Return a table that fits into 80 columns; in a narrower terminal the names keep their width."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(word, min_width=18, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _name(row: "Row") -> str:
    """Return what was measured."""
    layout = "" if row.layout == f"n{row.size}" else f" ({row.layout})"
    return f"{row.optimizer}, {row.size:,} x {row.dtype}{layout}, {row.threads} threads"


def work(rows: "Sequence[Row]") -> Table:
    """Return the table of one work: a row for each contender."""
    from pyfastlr.benchmark.contenders import LIMIT, OURS
    from pyfastlr.benchmark.report import disturbed, duration, percent, times

    first = rows[0]
    ours = next((row for row in rows if row.contender == OURS.name), None)
    limit = next((row for row in rows if row.contender == LIMIT.name), None)
    least, most = (pick(row.samples for row in rows) for pick in (min, max))
    samples = f"best of {least}" + (f" to {most}" if most > least else "")
    table = _table(
        f"{_name(first)}, {samples}", "contender", ["best", "median", "spread", "GB/s", "limit", "ratio", "medians", ""]
    )
    for row in rows:
        share = "" if row.share is None else percent(row.share) + MARK * disturbed(row, limit)
        ratios = (times(row.ratio), times(row.ratio_of_medians))
        table.add_row(
            row.contender, duration(row.minimum), duration(row.median), f"{100 * row.noise:.0f} %",
            f"{row.gigabytes_per_second:.1f}", share, *ratios, MARK * disturbed(row, ours),
        )  # fmt: skip
    return table


def legend(report: "Report") -> str:
    """Return what the columns mean, with notes only for what this report has."""
    from pyfastlr.benchmark.contenders import ABOVE_LIMIT, LIMIT_IS
    from pyfastlr.benchmark.interleave import DISTURBED

    rows = report.rows
    notes = [
        "best, median: over samples of 0.2 ms or one step. spread: their interquartile range, divided by the median.",
        "GB/s: the bytes that the update must read and write, divided by the best time.",
        "ratio, medians: 2x takes twice as long as pyfastlr, for the best times and for the medians.",
    ]
    if any(row.share is not None for row in rows):
        notes.append(f"limit: the best time of {LIMIT_IS}, divided by this one.")
    if any(row.share is not None and row.share > 1 for row in rows):
        notes.append(f"Above 100 %: {ABOVE_LIMIT}")
    if any(row.disturbed for row in rows):
        notes.append(
            f"{MARK} disturbed: {DISTURBED}, of this library or of pyfastlr. Something else ran on the machine, so the "
            "ratios in that row are not results. A share of the limit is marked if its row or the loop was disturbed."
        )
    return _lines(notes)


def _lines(notes: Sequence[str]) -> str:
    return "\n".join(fill(note, 80, subsequent_indent="  ") for note in notes) + "\n"


def changed(old: "Report", new: "Report") -> Table | None:
    """Return the table of what both reports have, before and now; None if there is nothing."""
    from pyfastlr.benchmark.changes import changes
    from pyfastlr.benchmark.contenders import OURS
    from pyfastlr.benchmark.report import duration, times

    title = f"Since pyfastlr {old.machine['pyfastlr']}"
    table = _table(title, "contender", ["before", "now", "change", "medians", "noise", ""])
    key = None
    for x in changes(old, new):
        row = x.new
        if row.key != key:
            key = row.key
            table.add_section()
            what = f"{row.size:,}" if row.layout == f"n{row.size}" else row.layout
            table.add_row(f"{row.optimizer} {what}" + f" {row.dtype}" * (row.dtype != "float32"))
        words = map(duration if row.contender == OURS.name else times, (x.before, x.now))
        table.add_row(
            f"  {row.contender}", *words,
            f"{100 * x.of_minima:+.0f} %", f"{100 * x.of_medians:+.0f} %", f"{100 * x.noise:.0f} %", x.verdict,
        )  # fmt: skip
    return table if table.row_count else None


def changed_legend() -> str:
    """Return what the columns of `changed` mean."""
    return _lines(
        [
            "pyfastlr: its best time. Others: their time divided by ours, where more is better for pyfastlr. The empty "
            "loop's ratio is our share of the limit. change, medians: of the best times, of the medians.",
            "noise: the spreads of all times in a figure, added as independent errors.",
            "better, worse: for pyfastlr; only if the best times and the medians agree and the change exceeds the "
            "noise.",
        ]
    )
