"""Standard output and standard error that work with an ASCII terminal, a full disk, or a closed pipe."""

import codecs
import contextlib
import io
import os
import sys

#: ASCII substitutes for characters that the commands and their libraries print. All other characters become "?".
ASCII = {"µ": "u", "±": "+-", "…": "...", "•": "*", "❱": ">", "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-"}
ASCII |= dict(zip("▁▂▃▄▅▆▇█▲┤└┬", "...#####^+++", strict=True))  # plots drawn with characters
ASCII |= {"·": "*", "π": "pi", "√": "sqrt", "∏": "prod", "²": "^2", "⌊": "floor(", "⌋": ")", "λ": "f"}  # formulas
ASCII |= {"⌈": "ceil(", "⌉": ")"}
_NAME = "pyfastlr.ascii"


def _substitute(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the substitute for one character that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # an undecodable byte of a file name: print it unchanged
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return ASCII.get(character, "?"), error.start + 1


def accept_every_character() -> None:
    """Make both streams print substitutes for missing characters, instead of raising UnicodeEncodeError."""
    codecs.register_error(_NAME, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def flush() -> None:
    """Write buffered output. An OSError here would otherwise appear as a complaint when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def fail(message: str, status: int = 1) -> int:
    """Print the message, if there is one, in one line on stderr; return the exit status.

    Streams that cannot be written to are redirected to the null device, so that Python does not complain at exit.
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
