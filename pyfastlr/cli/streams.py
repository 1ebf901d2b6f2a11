"""Standard output and standard error, whatever is behind them: an ASCII terminal, a full disk, a reader that left."""

import codecs
import contextlib
import io
import os
import sys

#: What ASCII has for the characters that the commands and their libraries print. All others become "?".
ASCII = {"µ": "u", "±": "+-", "…": "...", "•": "*", "❱": ">", "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-"}
_NAME = "pyfastlr.ascii"


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace one character that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no text: as it was
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return ASCII.get(character, "?"), error.start + 1


def accept_every_character() -> None:
    """Make both streams print a substitute for what their encoding lacks, instead of raising UnicodeEncodeError."""
    codecs.register_error(_NAME, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def flush() -> None:
    """Write what is buffered; OSError says what the end of the process would otherwise complain about."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def fail(message: str, status: int = 1) -> int:
    """Say why the command failed, if there is a message, in one line on stderr; return the exit status.

    Streams that cannot be written to are closed for good, so that Python does not complain of them at its end.
    """
    if message and sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"pyfastlr: {message}\n")
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return status
