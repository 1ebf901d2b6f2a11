"""Write the README's performance table and picture, or check them: `python scripts/readme_performance.py FILE`.

`python -m bench --scaling --json FILE` saves FILE. The default is the file that the README names. `--check` writes
nothing and fails if the table is not that of the file.
"""

import json
import re
import sys
from pathlib import Path
from textwrap import wrap

from pyfastlr.benchmark.contenders import ABOVE_LIMIT, CONTENDERS, LIMIT, LIMIT_IS, OURS
from pyfastlr.benchmark.interleave import DISTURBED
from pyfastlr.benchmark.picture import throughput
from pyfastlr.benchmark.report import Report, Row, duration, percent, read, times, warning

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "performance.png"
SECTION = re.compile(r"(<!-- performance:begin -->\n)(.*?)(<!-- performance:end -->)", re.DOTALL)
SOURCE = re.compile(r"\[saved run\]\((bench/results/[^)]+)\)")
SHOWN = ("pyfastlr", "numpy", "torch for-loop", "torch foreach", "torch fused", "optax jit", "DeepSpeedCPUAdam")
MARK = "†"  # of a disturbed measurement
SPECIAL = {"transformer-226": "226 arrays, {:,} elements", "tiny-226": "226 arrays of 64 elements"}


def section(report: Report, name: str) -> str:
    """Return the text between the markers, from the report saved under this file name."""
    facts = report.machine
    versions = ", ".join(f"{x} {facts[x]}" for x in ("numpy", "torch", "jax", "optax", "deepspeed") if x in facts)
    there = {row.contender for row in report.rows}
    shown = [x.name for x in CONTENDERS if x.name in there and x.name in SHOWN]
    peers = [x for x in shown if x != OURS.name]
    machine = f"{facts['threads']} threads of {facts['cpu'].partition(' (')[0]}"
    lines = [
        f"One step of Adam, float32, {machine}: the best time, with the median in parentheses.",
        "15x means that the library took 15 times as long as pyfastlr.",
        "",
        f"| parameters | pyfastlr | samples | share of limit | {' | '.join(peers)} |",
        "|---" + "|--:" * (3 + len(peers)) + "|",
    ]
    lines += [_line({row.contender: row for row in rows}, peers) for rows in report.works()]
    if busy := warning(facts):
        lines += ["", f"**{busy}**"]
    return "\n".join(
        [
            *lines,
            *_notes(report),
            "",
            "![Throughput of an Adam step against the number of elements](docs/performance.png)",
            "",
            f"From a [saved run](bench/results/{name}) with pyfastlr {facts['pyfastlr']}, Python {facts['python']},",
            f"{versions}.",
            "`pyfastlr bench` measures your machine; [docs/benchmarks.md](docs/benchmarks.md) says how.",
            "",
        ]
    )


def _line(rows: dict[str, Row], peers: list[str]) -> str:
    """Return the table's line for one work; mark each ratio of a disturbed row, or the size if ours was disturbed."""
    ours, limit = rows[OURS.name], rows.get(LIMIT.name)
    what = SPECIAL.get(ours.layout, "{:,} elements").format(ours.size)
    share = "" if limit is None else _pair(limit, percent(limit.ratio), percent(limit.ratio_of_medians), ours)
    cells = [
        what + MARK * ours.disturbed,
        f"{duration(ours.minimum)} ({duration(ours.median)})",
        str(ours.samples),
        share,
        *(
            _pair(row, times(row.ratio), times(row.ratio_of_medians), ours) if (row := rows.get(x)) else ""
            for x in peers
        ),
    ]
    return f"| {' | '.join(cells)} |"


def _pair(row: Row, best: str, median: str, ours: Row) -> str:
    return f"{best} ({median})" + MARK * (row.disturbed and not ours.disturbed)


def _notes(report: Report) -> list[str]:
    """Return the notes below the table: only those that this table needs."""
    notes = []
    if any(row.disturbed for row in report.rows):
        notes += [
            "",
            f"{MARK} Disturbed: {DISTURBED}.",
            "Something else ran on the machine, so the ratio is not a result.",
            "If the size is marked, pyfastlr's own times were disturbed, so no ratio in that row is a result.",
        ]
    limits = [row for row in report.rows if row.contender == LIMIT.name]
    if limits:
        notes += ["", f"The limit is {LIMIT_IS}."]
    if any(max(row.ratio, row.ratio_of_medians) > 1 for row in limits):
        notes += wrap(ABOVE_LIMIT, 116)
    return notes


def render(text: str, source: Path) -> str:
    """Return the README's text with the section made from the saved run."""
    if not SECTION.search(text):
        raise ValueError("need a section from <!-- performance:begin --> to <!-- performance:end -->, got none")
    new = section(read(source), source.name)
    return SECTION.sub(lambda found: found[1] + new + found[3], text)


def draw(source: Path) -> None:
    """Draw the picture, from the sweep over sizes if the run has one."""
    report = read(source)
    sweep = json.loads(source.read_text(encoding="utf-8")).get("scaling")
    throughput(Report(report.machine, [Row(**row) for row in sweep] if sweep else report.rows)).savefig(PICTURE)


def main(arguments: list[str]) -> None:
    """Write the section, or check it."""
    readme = ROOT / "README.md"
    before = readme.read_text(encoding="utf-8")
    files = [x for x in arguments if x != "--check"] or SOURCE.findall(before)
    if len(files) != 1:
        sys.exit("need one file, saved by `python -m bench --scaling --json FILE`")
    source = ROOT / files[0]
    if source.resolve().parent != ROOT / "bench" / "results":
        sys.exit("the file must be in bench/results")
    after = render(before, source)
    if "--check" not in arguments:
        readme.write_text(after, encoding="utf-8")
        draw(source)
    elif before != after:
        sys.exit("README.md differs from its saved run: run python scripts/readme_performance.py")


if __name__ == "__main__":
    main(sys.argv[1:])
