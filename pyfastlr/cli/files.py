"""Checks of the files that a command will write, before it begins."""

from pathlib import Path


def check_writable(option: str, path: Path) -> None:
    """Check that a file can be written, by opening it: permissions do not tell everything.

    An existing file keeps its content, and no new file is left behind.

    Raises
    ------
    ValueError
        If the file cannot be written.
    """
    try:
        new = not path.exists()
        if not new and not path.is_file():
            return  # opening a pipe would wait for its reader; a device needs no check
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as error:
        raise ValueError(
            f"`{option}` must be a file that can be written, got {str(path)!r}: {error.strerror}"
        ) from None
