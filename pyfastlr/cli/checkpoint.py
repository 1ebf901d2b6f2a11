"""`pyfastlr checkpoint`: what is in a file, and whether it is whole."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pyfastlr.files import BadFile, Reader
from pyfastlr.optimizers.saving.files import Contents

from .console import fail

checkpoint = typer.Typer(
    name="checkpoint",
    no_args_is_help=True,
    help="Show what is in a file from pyfastlr.save, or check that it is whole.",
)
_ELSEWHERE = ("structure", "container", "state", "counts", "carry")  # keys of a state that its arrays show
_SHOWN = 400  # characters of a value
_SAID = {
    "format": "state format",
    "average": "average, updates",
    "accumulated": "accumulated, calls",
    "used_lr": "last rate",
}

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file from pyfastlr.save, or another safetensors file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@checkpoint.command()
def inspect(path: File, as_json: Json = False) -> None:
    """Show the optimizer, its hyperparameters, the extra values and the arrays in a file.

    Only the header is read and checked. `verify` reads everything. The exit status is 0, or 1 if the file is damaged.
    """
    with _failing(), Reader(path, foreign=True) as file:
        facts = _facts(file)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in _rows(facts):
        console.print(f"{_short(name):<20} {_short(value)}", markup=False)
    console.print(_table(facts["arrays"]))


@checkpoint.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files from pyfastlr.save.")],
    as_json: Json = False,
) -> None:
    """Read files and compare every checksum. The exit status is 0 if all are whole, and 1 otherwise."""
    results: list[dict[str, Any]] = []
    for path in paths:
        problem = _problem(path)
        results.append({"file": str(path), "whole": problem is None, "problem": problem})
        if problem is not None:
            typer.echo(f"pyfastlr: {problem}", err=True)
        elif not as_json:
            typer.echo(f"{path}: whole")
    if as_json:
        typer.echo(json.dumps(results, indent=2))
    if not all(x["whole"] for x in results):
        raise typer.Exit(1)


def _problem(path: Path) -> str | None:
    """Why a file is not whole; None if it is."""
    try:
        with Reader(path) as file:
            Contents(file)
            file.verify()
    except (BadFile, OSError) as error:
        return str(error)
    return None


@contextmanager
def _failing() -> Iterator[None]:
    """Turn a bad file into a message and exit status 1."""
    try:
        yield
    except (BadFile, OSError) as error:
        raise fail(str(error)) from None


def _facts(file: Reader) -> dict[str, Any]:
    data = Contents(file).data
    state = {key: x for key, x in data.get("state", {}).items() if key not in _ELSEWHERE}
    return {
        "file": file.path,
        "bytes": file.size,
        "checksums": None if file.checksums is None else "crc32",
        "optimizer": state or None,
        "extra": data.get("extra", {}).get("extra", {}),
        "arrays": [
            {"name": name, "dtype": x.dtype, "shape": list(x.shape), "bytes": x.stop - x.start}
            for name, x in file.layout.payload.items()
        ],
    }


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values to print, without what is empty."""
    yield "file", facts["file"]
    yield "bytes", f"{facts['bytes']:,}"
    yield (
        "checksums",
        "none: it is from another program" if facts["checksums"] is None else "CRC-32; the header is whole",
    )
    for name, value in (facts["optimizer"] or {}).items():
        if name == "hyperparameters" and isinstance(value, list):
            for k, group in enumerate(value):
                yield f"group {k}", {key: x for key, x in group.items() if x is not None}
        elif value not in (None, [], {}) and value is not False:
            yield _SAID.get(name, name), value
    if isinstance(facts["extra"], dict):
        yield from ((f"extra {name}", value) for name, value in facts["extra"].items())


def _short(value: Any) -> str:
    """One line without control characters."""
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _table(arrays: list[dict[str, Any]]) -> Table:
    table = Table()
    for name, justify in (("array", "left"), ("dtype", "left"), ("shape", "right"), ("bytes", "right")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for x in arrays:
        shape = "x".join(map(str, x["shape"])) or "scalar"
        table.add_row(escape(x["name"]), x["dtype"], shape, f"{x['bytes']:,}")
    return table
