"""`pyfastlr bench`: time a step of pyfastlr and of every installed library, in turns, on this machine."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .console import check_picture, fail, under_way, usage_errors, writing
from .files import check_writable

if TYPE_CHECKING:
    from pyfastlr.benchmark.report import Report
    from pyfastlr.benchmark.work import Work

SIZES = "64,1e3,1e4,1e5,1e6,1e7"
MEASURES = ("optimizer", "sizes", "dtype", "threads", "seconds", "extra")  # options that choose what is measured


def bench(
    context: typer.Context,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(help="Optimizer class, in upper or lower case; may be repeated. Default: Adam."),
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Elements in the buffer; several sizes are separated by commas. 1e6 is a million.")
    ] = SIZES,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of pyfastlr, torch and the empty loop.")
    ] = None,
    extra: Annotated[
        str | None,
        typer.Option(help="What else a step does: clip_norm, inv_scale, ema_decay, separated by commas."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help="Seconds of measurement for each size, shared by all libraries.")
    ] = 1.5,
    save: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Save the results to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw throughput against size to this file.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Show the changes since this file, saved by --json.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Show this file, saved by --json, instead of measuring.")
    ] = None,
) -> None:
    """Time whole steps against every other installed library, in turns, after checking that the results agree."""
    from pyfastlr.benchmark import report as reports

    from . import tables

    console = Console()
    with usage_errors():
        if plot is not None:
            check_picture(plot)  # before the measurement
        if save is not None:
            check_writable("json", save)
        old = None if compare is None else reports.read(compare)
        if load is not None:
            _refuse_measurement_options(context)
            report = reports.read(load)
        else:
            works = _works(optimizer or ["Adam"], sizes, dtype, threads, extra)
            if not math.isfinite(seconds):
                raise ValueError(f"`seconds` must be a finite number >= 0, got {seconds!r}")
            report = reports.Report(reports.machine())
    _print(console, tables.heading(report))
    if warning := reports.warning(report.machine):
        _print(console, warning)
    console.print()
    if load is None:
        _measure(report, works, seconds, console)
    else:
        for rows in report.works():
            console.print(tables.work(rows), "")
    _print(console, tables.legend(report))
    for name, reason in report.absent.items():
        _print(console, f"{name}: left out: {reason}")
    if old is not None:
        if old.machine["cpu"] != report.machine["cpu"]:
            _print(console, f"The old file is from another machine: {old.machine['cpu']}")
        if table := tables.changed(old, report):
            console.print(table, "")
            _print(console, tables.changed_legend())
        else:
            _print(console, "The old file has no measurement in common with this one.")
    if save is not None:
        with writing("json", save):
            save.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        typer.echo(f"saved: {save}")
    if plot is not None:
        from pyfastlr.benchmark.picture import throughput

        with usage_errors():
            picture = throughput(report)
        with writing("plot", plot):
            picture.savefig(plot)
        typer.echo(f"picture: {plot}")


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _refuse_measurement_options(context: typer.Context) -> None:
    """Refuse options that choose what is measured: with a saved file they would be ignored."""
    for name in MEASURES:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ValueError(f"`{name}` must be left out with `load`, which measures nothing")


def _works(optimizers: list[str], sizes: str, dtype: str, threads: int | None, extra: str | None) -> "list[Work]":
    from pyfastlr.arrays.host import DTYPES
    from pyfastlr.benchmark.memory import check
    from pyfastlr.benchmark.report import contenders, works
    from pyfastlr.benchmark.variants import VARIANTS
    from pyfastlr.benchmark.work import EXTRAS
    from pyfastlr.engines.hyper import chosen
    from pyfastlr_kernels.cpu.pool import default_threads

    known = list(dict.fromkeys(x.cls for x in VARIANTS))
    names = list(dict.fromkeys(chosen(name, known, "optimizer") for name in optimizers))
    numbers = list(dict.fromkeys(map(_size, sizes.split(","))))
    given = [chosen(x.strip(), EXTRAS, "extra") for x in extra.split(",")] if extra else []
    more = tuple(x for x in EXTRAS if x in given)
    found = works(names, numbers, chosen(dtype, DTYPES, "dtype"), threads or default_threads(), more)
    for work in found:
        check(work, contenders(work.layout.size))
    return found


def _size(text: str) -> int:
    """Return the number of elements from "1000000" or "1e6"."""
    try:
        size = int(text)
    except ValueError:
        try:
            size = int(number) if (number := float(text)).is_integer() else 0
        except ValueError:
            size = 0
    if size < 1:
        raise ValueError(f"`sizes` must be integers >= 1, separated by commas, got {text!r}")
    return size


def _measure(report: "Report", works: "list[Work]", seconds: float, console: Console) -> None:
    """Measure each work and print its table at once."""
    from pyfastlr.benchmark.compare import Mismatch, compare
    from pyfastlr.benchmark.report import contenders

    from . import tables

    for number, work in enumerate(works, 1):
        console.file.flush()  # otherwise a pipe shows everything at the end
        with under_way(work.name, number, len(works)):
            try:
                comparison = compare(work, seconds, contenders(work.layout.size))
            except Mismatch as problem:
                raise fail(str(problem)) from None
        console.print(tables.work(report.take(comparison)), "")
