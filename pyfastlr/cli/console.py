"""Parts that the commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from .files import check_writable


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a wrong argument into typer's message and exit status 2."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def fail(message: str) -> typer.Exit:
    """Print on stderr why the command failed; return the exception to raise, for exit status 1."""
    typer.echo(f"pyfastlr: {message}", err=True)
    return typer.Exit(1)


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turn an error while a file is written (such as a full disk) into a message and exit status 1."""
    try:
        yield
    except OSError as error:
        raise fail(f"`{option}`: {str(path)!r} could not be written: {error.strerror or error}") from None


@contextmanager
def under_way(what: str, number: int, total: int) -> Iterator[None]:
    """Show the current work on stderr: as a temporary progress bar in a terminal, otherwise as a line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        typer.echo(f"{number}/{total}  {what}", err=True)
        yield
        return
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}  {task.description}"))
    # A refresh thread would run on a core that is being measured.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        progress.add_task(what, total=total, completed=number - 1)
        progress.refresh()
        yield


def check_picture(path: Path, option: str = "plot") -> None:
    """Raise ValueError if a picture cannot be written to this file."""
    from pyfastlr.plot import FORMATS

    if path.suffix[1:].lower() not in FORMATS:
        raise ValueError(f"`{option}` must end in one of {', '.join(sorted(FORMATS))}, got {path.name!r}")
    check_writable(option, path)
