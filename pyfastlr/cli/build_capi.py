"""`pyfastlr build-capi`: the C library as sources and, with a compiler, as a library."""

from pathlib import Path
from typing import Annotated

import typer

from .console import fail, usage_errors


def build_capi(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files; it is made if it is missing.")
    ],
    sources_only: Annotated[bool, typer.Option("--sources-only", help="Write fastlr.h and fastlr.c only.")] = False,
    cc: Annotated[
        str | None,
        typer.Option(
            help='C compiler. Default: $CC, else cc, gcc, clang or "python -m ziglang cc" (ziglang from pip).'
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="x86_64-linux, aarch64-linux, x86_64-windows or aarch64-macos, by zig. Default: this system."
        ),
    ] = None,
) -> None:
    """Write the C library: fastlr.h, fastlr.c and the compiled library.

    The exit status is 1 without a compiler. The sources are written all the same.
    """
    from pyfastlr.capi import CompileError, NoCompiler, build

    try:
        with usage_errors():
            built = build(output, cc=cc, target=target, sources_only=sources_only)
    except (CompileError, NoCompiler) as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"`output`: {str(output)!r} could not be written: {error.strerror or error}") from None
    for path in built:
        if path is not None:
            typer.echo(path)
