"""What the commands have in common."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn a wrong argument into typer's message and exit status."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def check_picture(path: Path) -> None:
    """Refuse a file that no picture can be written to."""
    from pyfastlr.plot import FORMATS

    if path.suffix[1:].lower() not in FORMATS:
        raise ValueError(f"`plot` must end in one of {', '.join(sorted(FORMATS))}, got {path.name!r}")
    if not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"`plot` must be a file that can be written, got {str(path)!r}")
