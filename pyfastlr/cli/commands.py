"""The commands of `pyfastlr`. `pyfastlr.cli.main` calls `app`. Each command imports what only it needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import pyfastlr

from .bench import bench
from .build_capi import build_capi
from .checkpoint import checkpoint
from .console import check_picture, fail, under_way, usage_errors, writing
from .find_lr import find_lr
from .plot import plot as plot_schedules
from .search import search

if TYPE_CHECKING:
    from pyfastlr.demo import Point, Training

UNUSED = 30  # days

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # an exception here is a bug: a plain traceback is easier to report
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compiled optimizer steps over numpy arrays, with a learning rate for every step.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pyfastlr {pyfastlr.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    optimizer: Annotated[
        str, typer.Option(help="Optimizer class (AdamW, SGD, Lion, ...), in upper or lower case.")
    ] = "AdamW",
    schedule: Annotated[
        str,
        typer.Option(
            help="constant, cosine, cyclic, exponential, inverse-sqrt, inverse-time, linear, one-cycle, polynomial, "
            "restarts, step or wsd. cosine, linear and wsd start with a warm-up."
        ),
    ] = "cosine",
    steps: Annotated[int, typer.Option(min=1, help="Number of updates.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the weights and the mini-batches.")] = 0,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate. The default depends on the optimizer.")] = None,
    hidden: Annotated[int, typer.Option(min=1, help="Number of hidden units.")] = 128,
    batch: Annotated[int, typer.Option(min=1, help="Number of images in a mini-batch.")] = 64,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the optimizer.")] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw loss, accuracy and rate to this file.")
    ] = None,
) -> None:
    """Train a two-layer network on scikit-learn's digits and compare the optimizer with plain numpy."""
    from pyfastlr.demo import Training

    console = Console()
    with usage_errors():
        if plot is not None:
            check_picture(plot)  # before the training
        training = Training(
            optimizer, schedule, steps=steps, lr=lr, hidden=hidden, batch=batch, seed=seed, threads=threads
        )
    try:
        _train(training, console)
    except FloatingPointError as error:
        raise fail(str(error)) from None
    console.print(_summary(training))
    if plot is not None:
        from pyfastlr.plot import training as draw

        with writing("plot", plot):
            draw(training).savefig(plot)
        typer.echo(f"picture: {plot}")


def _train(training: "Training", console: Console) -> None:
    """Run the training with a progress bar, or with ten lines of progress if the output is not a terminal."""
    steps = len(training.losses)
    if not console.is_terminal:
        tenths = 0
        for point in training:
            if 10 * point.step // steps > tenths:
                tenths = 10 * point.step // steps
                console.print(f"{point.step:>{len(str(steps))}}/{steps}  {_describe(point)}", highlight=False)
                console.file.flush()  # otherwise a pipe shows everything at the end
        return
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}  {task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False) as progress:  # a refresh thread would be timed too
        task = progress.add_task("", total=steps)
        for point in training:
            progress.update(task, completed=point.step, description=_describe(point), refresh=True)


def _describe(point: "Point") -> str:
    return f"loss {point.loss:.4f}  rate {point.lr:.2e}  test accuracy {point.accuracy:.4f}"


def _summary(training: "Training") -> Table:
    from pyfastlr.demo import evaluate

    name, compared = training.name, training.plain is not None
    table = Table(
        title=f"{name}: {training.params.buffer.size:,} float32 weights, {len(training.losses):,} updates",
        caption="Both use the same gradients. Times are for the optimizer only."
        if compared
        else f"There is no plain numpy {name} to compare with.",
    )
    table.add_column()
    table.add_column("pyfastlr", justify="right")
    if compared:
        table.add_column(f"plain numpy {name}", justify="right")

    def row(label: str, ours: str, plain: str) -> None:
        table.add_row(label, ours, *([plain] if compared else []))

    weights = (training.params, training.plain_params)
    row("test accuracy", *(f"{evaluate(params, training.test_images)[1]:.4f}" for params in weights))
    row("final training loss (nats)", *(f"{evaluate(params, training.images)[0]:.6f}" for params in weights))
    if compared:
        row("largest difference in a weight", "", f"{training.largest_difference():.1e}")
    first, rest = training.seconds[0], training.seconds[1:]
    row("first update (compiles or loads)", *map(_duration, first))
    if len(rest):
        for what, times in (
            (f"the other {len(rest):,} updates", rest.sum(axis=0)),
            ("their median", np.median(rest, axis=0)),
        ):
            ours, plain = times
            row(what, _duration(ours), _duration(plain))
            if compared:
                row("  speed-up", f"{plain / ours:.1f}x", "")
    return table


def _duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what pyfastlr runs on: versions, instruction set, threads, cache."""
    from .info import collect

    with usage_errors():  # from environment variables
        facts = collect()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):<16} {' '.join(value) if isinstance(value, list) else value}")


@app.command()
def warmup(
    optimizer: Annotated[list[str] | None, typer.Option(help="Optimizer class; may be repeated. Default: all.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="float32 or float64; may be repeated. Default: both.")] = None,
    convention: Annotated[
        list[str] | None,
        typer.Option(help="torch, keras or optax; may be repeated. Default: the default of each class."),
    ] = None,
    by_element: Annotated[bool, typer.Option(help="Compile for lr_scale arrays instead of numbers.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help=f"Delete compiled code unused for {UNUSED} days; compile nothing.")
    ] = False,
) -> None:
    """Compile ahead of time, so that the first step does not have to."""
    from pyfastlr_kernels.compile import cache

    from .warmup import not_kept, targets, work

    if prune:
        count, size = cache.prune(UNUSED)
        typer.echo(f"{count} files of {size / 1e6:.1f} MB deleted: {cache.directory()}")
        return
    with usage_errors():
        todo = work(targets(optimizer, dtype, convention, by_element))
    before = len(cache.compiled)
    for number, (name, compile_it) in enumerate(todo, 1):
        with under_way(name, number, len(todo)):
            compile_it()
    new = cache.compiled[before:]
    if lost := not_kept(new):
        raise fail(
            f"{len(lost)} of {len(new)} compiled functions could not be saved in {cache.directory() or 'a cache'}"
        )
    typer.echo(f"{len(new)} functions compiled, {len(todo) - len(new)} already cached in {cache.directory()}")


app.add_typer(checkpoint)
app.command()(bench)
app.command()(build_capi)
app.command()(find_lr)
app.command("plot")(plot_schedules)
app.command()(search)
