"""`pyfastlr plot`: schedules that are written on the command line, as a picture."""

from pathlib import Path
from string import ascii_lowercase
from typing import Annotated

import typer
from rich.console import Console

from pyfastlr.schedules import Schedule
from pyfastlr.schedules.names import written

from .console import check_picture, usage_errors, writing
from .expression import ExpressionError, schedule
from .rate_picture import MOST, SEVERAL, picture


def plot(
    schedules: Annotated[
        list[str],
        typer.Argument(
            metavar="SCHEDULE...",
            help='Schedules as in Python: "Cosine(1e-3, steps=1000).warmup(100)", "torch.StepLR(0.1, 30)", '
            '"0.5 * REX(1, 900)". They are parsed, not executed. Two or more are overlaid.',
        ),
    ],
    steps: Annotated[int, typer.Option(min=1, max=2**53, help="Draw the rates of this many updates.")] = 1000,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="Write the plot to this file instead of the terminal."),
    ] = None,
) -> None:
    """Draw learning-rate schedules, in the terminal or to a file."""
    parsed = [_schedule(text) for text in schedules]
    with usage_errors():
        if len(parsed) > MOST:
            raise ValueError(f"`schedules` must be at most {MOST}, got {len(parsed)}")
        if output is not None:
            check_picture(output, "output")
    if output is None:
        _show(parsed, steps)
        return
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")  # a file needs no window
    axes = parsed[0].plot(steps)
    for s in parsed[1:]:
        s.plot(steps, ax=axes)
    with writing("output", output):
        axes.figure.savefig(output)  # type: ignore[union-attr]
    typer.echo(f"picture: {output}")


def _schedule(text: str) -> Schedule:
    """Return the schedule, or print where the text is wrong. typer's box would break the lines."""
    try:
        return schedule(text)
    except ExpressionError as error:
        typer.echo(f"pyfastlr: {error}", err=True)
        raise typer.Exit(2) from None


def _show(schedules: list[Schedule], steps: int) -> None:
    """Draw in the terminal, with the names of the schedules below."""
    console = Console()
    lines = [picture(schedules, steps, console.width), ""]
    if len(schedules) == 1:
        lines += [written(schedules[0]), f"s(n) = {schedules[0].formula}"]
    else:
        lines += [f"{letter}  {written(s)}" for letter, s in zip(ascii_lowercase, schedules, strict=False)]
        lines.append(f"{SEVERAL}  several of them")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
