"""Write the C library into a folder: header, source and, with a compiler, the library."""

import os
import secrets
from pathlib import Path
from typing import NamedTuple

from pyfastlr.files.errors import path_text
from pyfastlr.files.replacing import replace

from .compilers import FLAGS, NoCompiler, find, system
from .source import header, source


class Built(NamedTuple):
    """The files that `build` wrote.

    Attributes
    ----------
    header, source
        fastlr.h and fastlr.c.
    library
        The library: libfastlr.so.0 on Linux, libfastlr.0.dylib on macOS, fastlr.dll on Windows. None if only the
        sources were asked for.
    """

    header: Path
    source: Path
    library: Path | None


def build(
    directory: str | os.PathLike[str], *, cc: str | None = None, target: str | None = None, sources_only: bool = False
) -> Built:
    """Write fastlr.h, fastlr.c and the compiled library into a folder, which is made if it is missing.

    The library needs only libm. Its bits are those of the Python classes. Each file is replaced as a whole, the library
    last: after an error or an interrupt, no file is half-written. If the compiler fails, nothing has changed.

    Parameters
    ----------
    directory : str or os.PathLike
        The folder.
    cc : str, optional
        The compiler: gcc, clang, zig cc, or another command that takes their options. By default ``$CC``, else the
        first of cc, gcc, clang and ``python -m ziglang cc`` (pip install ziglang).
    target : {"x86_64-linux", "aarch64-linux", "x86_64-windows", "aarch64-macos"}, optional
        Another system to compile for, by zig. By default this one.
    sources_only : bool
        Whether to leave out the library.

    Returns
    -------
    Built
        Paths of the files: ``header``, ``source``, ``library``.

    Raises
    ------
    NoCompiler
        If no compiler is found. The sources were written, and the message says how to compile them.
    CompileError
        If the compiler fails. The message has what it printed.
    ValueError
        If an argument is out of range, or the compiler cannot compile for the target.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pyfastlr import capi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     built = capi.build(folder, sources_only=True)
    ...     "fastlr_adamw_step" in built.header.read_text(), built.library
    (True, None)
    """
    folder = Path(path_text(directory, "directory", "folder"))
    if sources_only and (cc is not None or target is not None):
        raise ValueError(f"`{'cc' if target is None else 'target'}` needs a library, got sources_only=True")
    header_text, source_text = header(), source()
    compiled, missing = None, None
    if not sources_only:
        try:
            compiled = find(cc, target).library(header_text, source_text, target)
        except NoCompiler as error:
            missing = error
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "fastlr.h", folder / "fastlr.c"
    for path, text in zip(paths, (header_text, source_text), strict=True):
        _write(path, text.encode())
    if missing is not None:
        flags = " ".join((*FLAGS, "-c"))
        raise NoCompiler(f"{missing}. Only the sources are in {str(folder)!r}; compile them by: cc {flags} fastlr.c")
    if compiled is None:
        return Built(*paths, None)
    names = system(target)
    library = folder / names.library
    _write(library, compiled)
    for link in names.links:
        _link(folder / link, names.library)
    return Built(*paths, library)


def _write(path: Path, content: bytes) -> None:
    replace(str(path), lambda write: write(content))


def _link(path: Path, to: str) -> None:
    """Make the name by which a linker finds the library; a copy where there are no symbolic links."""
    temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}.tmp"
    try:
        os.symlink(to, temporary)
    except OSError:
        _write(path, (path.parent / to).read_bytes())
        return
    try:
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
