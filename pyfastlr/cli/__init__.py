"""The entry point of the `pyfastlr` command. It runs without the extras that the commands need."""

import sys

from . import streams

#: Package that may be missing -> the extra of pyfastlr that installs it.
EXTRAS = {"typer": "cli", "rich": "cli", "sklearn": "demo", "matplotlib": "demo"}


def main(name: str = "pyfastlr") -> None:
    """Run the command and exit: with 0, with 1 after a failure, or with 2 for wrong usage or a missing extra.

    An error that a user can cause prints one line on stderr. A traceback is a bug in pyfastlr.
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
        if error.filename is not None:  # one of our files, or a library's
            raise
        status = streams.fail("" if isinstance(error, BrokenPipeError) else f"cannot write output: {error.strerror}")
    sys.exit(status)


def _run(name: str) -> int:
    """Run the command and return its exit status."""
    try:
        from .commands import app

        app(prog_name=name)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        # pyfastlr is already installed, so pip adds the extra's dependencies and does not look for pyfastlr itself.
        return streams.fail(
            f'this needs {package}, which is not installed: pip install "pyfastlr[{EXTRAS[package]}]"', status=2
        )
    return 0
