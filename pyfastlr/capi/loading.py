"""The C library in this process, through cffi: found or built, loaded, and declared as its header says."""

import atexit
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from pyfastlr_kernels.compile import cache
from pyfastlr_kernels.compile.first_use import once

from . import processor
from .compilers import NoCompiler, find
from .source import header, source


class Found(NamedTuple):
    """A library and the text that declares its functions."""

    path: Path
    header: str


def declarations(text: str) -> str:
    r"""Return the declarations of a header as cffi takes them: without comments, C++ guards, and macros but numbers.

    Examples
    --------
    >>> print(declarations("#define FASTLR_API\n#define N 7\nFASTLR_API int f(void); /* 7 */\n"))
    #define N 7
    int f(void);
    """
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"^#ifdef __cplusplus\n.*?^#endif.*?\n", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^[ \t]*#(?!define \w+ \d+$)(?:.*\\\n)*.*$", "", text, flags=re.MULTILINE)
    lines = (line.rstrip() for line in re.sub(r"\bFASTLR_API\b[ \t]*", "", text).splitlines())
    return "\n".join(line for line in lines if line)


def installed() -> Found | None:
    """Return the library of the package pyfastlr-capi; None if it is missing or was built from other sources."""
    try:
        import pyfastlr_capi  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        if error.name != "pyfastlr_capi":
            raise
        return None
    path, include = Path(pyfastlr_capi.library), Path(pyfastlr_capi.include)
    text = (include / "fastlr.h").read_text(encoding="utf-8")
    if (text, (include / "fastlr.c").read_text(encoding="utf-8")) != (header(), source()):
        return None
    return Found(path, text)


def built() -> Found:
    """Return a library from the cache; if it is not there, compile it.

    It is for this machine's processor. Its name has a hash of all that determines its code: the sources, the compiler,
    its flags and the system.

    Raises
    ------
    NoCompiler, CompileError
        As `pyfastlr.capi.build`.
    """
    texts = header(), source()
    compiler = find()
    files, flags = compiler.files(*texts), processor.flags()
    key = (files, compiler.identity, compiler.flags(), flags, sys.platform, platform.machine())
    suffix = {"win32": "dll", "darwin": "dylib"}.get(sys.platform, "so")
    name = f"libfastlr-{hashlib.sha256(repr(key).encode()).hexdigest()[:20]}.{suffix}"
    path, image = cache.kept_library(name, lambda: compiler.library(*texts, more=flags))
    return Found(_in_a_folder_of_this_process(name, image) if path is None else path, texts[0])


def _in_a_folder_of_this_process(name: str, image: bytes) -> Path:
    """Write a library where only this process looks for it: a loader needs a file."""
    folder = tempfile.mkdtemp(prefix="pyfastlr-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked child
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    path = Path(folder, name)
    path.write_bytes(image)
    return path


@once
def library() -> Found:
    """Return the library that this process uses: the installed one, else a built one.

    Raises
    ------
    NoCompiler
        If there is none and no compiler is found.
    CompileError
        If the compiler fails.
    """
    found = installed()
    if found is not None:
        return found
    try:
        return built()
    except NoCompiler as error:
        raise NoCompiler(f"`pyfastlr.capi.lib` needs the package pyfastlr-capi of this version, or: {error}") from None


@once
def ffi() -> Any:
    """Return cffi's interface with everything that the header declares."""
    from cffi import FFI

    interface = FFI()
    interface.cdef(declarations(header()))
    return interface


@once
def lib() -> Any:
    """Return the library's functions, loaded.

    Raises
    ------
    NoCompiler, CompileError
        As `library`.
    OSError
        If the system cannot load it.
    """
    return ffi().dlopen(str(library().path))
