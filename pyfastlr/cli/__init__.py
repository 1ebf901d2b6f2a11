"""The entry point of the `pyfastlr` command: what runs without the extras that its commands need."""

import sys

from . import streams

#: Package that may be missing -> the extra of pyfastlr that brings it.
EXTRAS = {"typer": "cli", "rich": "cli", "sklearn": "demo", "matplotlib": "demo"}


def main(name: str = "pyfastlr") -> None:
    """Run the command and exit: with 0, 1 if it failed, or 2 if it was called wrongly or an extra is missing.

    What a user can cause ends in one line on stderr. A traceback is a bug of pyfastlr.
    """
    streams.accept_every_character()
    try:
        status = _run(name)
        streams.flush()
    except MemoryError as error:
        status = streams.fail(f"there is not enough memory: {error}" if str(error) else "there is not enough memory")
    except KeyboardInterrupt:
        status = 1
    except OSError as error:
        if error.filename is not None:  # a file of our own, or of a library
            raise
        status = streams.fail("" if isinstance(error, BrokenPipeError) else f"cannot write output: {error.strerror}")
    sys.exit(status)


def _run(name: str) -> int:
    """Exit status of the command."""
    try:
        from .commands import app

        app(prog_name=name)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        # Where pyfastlr is installed, pip only adds what the extra needs: it looks for no index of ours.
        return streams.fail(
            f'this needs {package}, which is not installed: pip install "pyfastlr[{EXTRAS[package]}]"', status=2
        )
    return 0
