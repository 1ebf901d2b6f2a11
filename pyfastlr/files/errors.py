"""The error for what is not a whole file, and the paths in errors."""

import os
from typing import Any

Path = str | os.PathLike[str]


class BadFile(ValueError):
    """A file is damaged, incomplete, of an unknown version, or not from `save`.

    The message starts with the path. Nothing was changed or returned.

    Examples
    --------
    >>> import os, tempfile, pyfastlr as flr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.safetensors")
    ...     with open(path, "wb") as file:
    ...         _ = file.write(b"not one of ours")
    ...     flr.load(path)
    Traceback (most recent call last):
    ...
    pyfastlr.files.errors.BadFile: .../run.safetensors: the header must be at most ... bytes, got ...
    """


class Problem(ValueError):
    """What is wrong with a file, without its path."""


def path_text(path: Any, name: str = "path", kind: str = "file") -> str:
    """Check the path of a file or folder, and convert it to a str."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`{name}` must be a str or os.PathLike, got {path!r:.80}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"`{name}` must be the path of a {kind}, got {text!r:.80}")
    return text


def named(error: OSError, path: str) -> OSError:
    """Make the same error name the user's path: most system calls have only a number of the open file."""
    return OSError(error.errno, error.strerror or str(error), path)
