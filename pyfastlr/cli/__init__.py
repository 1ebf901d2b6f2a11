"""The entry point of the `pyfastlr` command: what runs without the extras that its commands need."""

import sys

#: Package that may be missing -> the extra of pyfastlr that brings it.
EXTRAS = {"typer": "cli", "rich": "cli", "sklearn": "demo", "matplotlib": "demo"}


def main() -> None:
    """Run the command; where an extra is missing, say what to install and exit with status 2."""
    try:
        from .commands import app

        app(prog_name="pyfastlr")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        message = f'pyfastlr: this needs {package}, which is not installed: pip install "pyfastlr[{EXTRAS[package]}]"'
        sys.stderr.write(message + "\n")
        sys.exit(2)
