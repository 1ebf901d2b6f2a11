"""`pyfastlr bench`: a step of ours and of every library that is there, in turns, on this machine."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .console import check_picture, usage_errors

if TYPE_CHECKING:
    from pyfastlr.benchmark.report import Report, Row
    from pyfastlr.benchmark.work import Work

SIZES = "64,1000,10000,100000,1000000,10000000"


def bench(
    optimizer: Annotated[
        list[str] | None, typer.Option(help="Optimizer class, in any case; may be repeated. Without it, Adam.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Elements of one buffer, separated by commas.")] = SIZES,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of pyfastlr, torch and the empty loop.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="Of timing for each size, all contenders together.")] = 1.5,
    save: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Save what was measured.")] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a picture of throughput against size to this file.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Show what changed since this file was saved by --json.")
    ] = None,
    load: Annotated[Path | None, typer.Option(dir_okay=False, help="Show a saved file instead of measuring.")] = None,
) -> None:
    """Time whole steps against every other library that is installed, in turns, after checking that results agree."""
    from pyfastlr.benchmark import report as reports

    console = Console()
    with usage_errors():
        if plot is not None:
            check_picture(plot)  # now, not after the measurement
        if save is not None and not os.access(save if save.exists() else save.parent, os.W_OK):
            raise ValueError(f"`json` must be a file that can be written, got {str(save)!r}")
        old = None if compare is None else reports.read(compare)
        if load is not None:
            report = reports.read(load)
        else:
            works = _works(optimizer or ["Adam"], sizes, dtype, threads)
            report = reports.Report(reports.machine())
    console.print(_heading(report), highlight=False, soft_wrap=True)
    if load is None:
        _measure(report, works, seconds, console)
    for key in dict.fromkeys(row.key for row in report.rows):
        console.print(_table([row for row in report.rows if row.key == key]))
    for name, reason in report.absent.items():
        console.print(f"{name}: left out, {reason}", highlight=False, markup=False, soft_wrap=True)
    if old is not None:
        _show_changes(old, report, console)
    if save is not None:
        save.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        typer.echo(f"saved: {save}")
    if plot is not None:
        from pyfastlr.benchmark.picture import throughput

        with usage_errors():
            throughput(report).savefig(plot)
        typer.echo(f"picture: {plot}")


def _works(optimizers: list[str], sizes: str, dtype: str, threads: int | None) -> "list[Work]":
    from pyfastlr.arrays.host import DTYPES
    from pyfastlr.benchmark.report import works
    from pyfastlr.benchmark.variants import VARIANTS
    from pyfastlr.engines.hyper import chosen
    from pyfastlr_kernels.cpu.pool import default_threads

    known = list(dict.fromkeys(x.cls for x in VARIANTS))
    names = list(dict.fromkeys(chosen(name, known, "optimizer") for name in optimizers))
    try:
        numbers = [int(size) for size in sizes.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ValueError(f"`sizes` must be integers from 1 on, separated by commas, got {sizes!r}")
    return works(names, list(dict.fromkeys(numbers)), chosen(dtype, DTYPES, "dtype"), threads or default_threads())


def _measure(report: "Report", works: "list[Work]", seconds: float, console: Console) -> None:
    from pyfastlr.benchmark.compare import compare
    from pyfastlr.benchmark.report import contenders

    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}  {task.description}"), TimeElapsedColumn())
    # A refresh thread would run on a core that is being timed.
    with Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(works))
        for work in works:
            progress.update(task, description=work.name, refresh=True)
            report.take(compare(work, seconds, contenders(work.layout.size)))
            progress.update(task, advance=1, refresh=True)


def _heading(report: "Report") -> str:
    from pyfastlr.benchmark.report import PEERS

    facts = report.machine
    names = ("pyfastlr", "python", "numba", "numpy", *PEERS)
    versions = ", ".join(f"{name} {facts[name]}" for name in names if name in facts)
    return f"{facts['cpu']}, load {facts['load']:.1f}\n{versions}"


def _table(rows: "list[Row]") -> Table:
    """One work: a row for each contender."""
    from pyfastlr.benchmark.report import duration, times

    first = rows[0]
    layout = "" if first.layout == f"n{first.size}" else f" ({first.layout})"
    title = f"{first.optimizer}, {first.size:,} x {first.dtype}{layout}, {first.threads} threads"
    table = Table("contender", title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("best", "median", "spread", "GB/s", "of limit", "/ ours"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        share = "" if row.share is None else f"{100 * row.share:.0f} %"
        cells = (*map(duration, (row.minimum, row.median, row.spread)), f"{row.gigabytes_per_second:.1f}", share)
        table.add_row(row.contender, *cells, times(row.ratio))
    return table


def _show_changes(old: "Report", new: "Report", console: Console) -> None:
    from pyfastlr.benchmark.contenders import OURS
    from pyfastlr.benchmark.report import changes, duration, times

    if old.machine["cpu"] != new.machine["cpu"]:
        console.print(f"The old file is of another machine: {old.machine['cpu']}", highlight=False, soft_wrap=True)
    table = Table(
        *("work", "contender"),
        title=f"Since pyfastlr {old.machine['pyfastlr']}",
        title_justify="left",
        caption="pyfastlr: its time. Others: time / ours, where more is better for pyfastlr;\n"
        "the empty loop's is our share of the limit.",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("before", "now", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for was, row in changes(old, new):
        ours = row.contender == OURS.name
        before, now = (was.minimum, row.minimum) if ours else (was.ratio, row.ratio)
        words = map(duration if ours else times, (before, now))
        table.add_row(f"{row.optimizer} {row.size:,}", row.contender, *words, f"{100 * (now / before - 1):+.0f} %")
    console.print(table if table.row_count else "Nothing in common with the old file.")
