"""Files that a command is to write, checked before it begins."""

from pathlib import Path


def check_writable(option: str, path: Path) -> None:
    """Refuse a file that cannot be written, by opening it: permissions do not tell everything.

    Raises
    ------
    ValueError
        If it cannot; nothing is left behind, and a file that is there keeps its content.
    """
    try:
        new = not path.exists()
        if not new and not path.is_file():
            return  # a pipe would wait for its reader, a device has nothing to try
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as error:
        raise ValueError(
            f"`{option}` must be a file that can be written, got {str(path)!r}: {error.strerror}"
        ) from None
