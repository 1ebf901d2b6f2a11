"""The disk cache of compiled code: one file for each function, named by everything that shapes its code.

That is the sources of this package, the versions of numba and llvmlite, Python's version, the CPU's name and features,
and numba's code-generation variables, as a sha256. So a file is never changed, only written (to a temporary name, then
renamed): no lock is needed, two processes at worst compile the same object twice, and an edited rule, another CPU or
another numba has files of its own. Each file carries the sha256 of its content; a damaged one is compiled again.
Numba's own cache is not used: it keys on one source file, pickles, and loses races (numba#6264, numba#9348).

Code is loaded from the cache directory, so it is not used if others may write to it.
"""

import hashlib
import importlib.metadata
import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

_MAGIC = b"pyfastlr object 1\n"
PACKAGE = Path(__file__).parent.parent
# What numba reads from the environment and leaves out of its own key.
_VARIABLES = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME",
              "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO")  # fmt: skip

compiled: list[str] = []  # names of what this process had to compile, in order; the tests count them


def directory() -> Path:
    """Where compiled objects are kept: PYFASTLR_CACHE_DIR, else pyfastlr/ in the user's cache directory."""
    asked = os.environ.get("PYFASTLR_CACHE_DIR")
    if asked:
        return Path(asked)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or os.path.expanduser("~/.cache")) / "pyfastlr"


# --- The key ----------------------------------------------------------------------------------------------------------


@cache
def target() -> tuple[str, str]:
    """Name and features of this CPU, as LLVM has them."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@cache
def digest(sources: tuple[str, ...]) -> str:
    """All that shapes code from these files and folders of the package, hashed."""
    key = hashlib.sha256(repr((*target(), sys.version_info[:2], sys.platform)).encode())
    for package in ("numba", "llvmlite"):
        key.update(importlib.metadata.version(package).encode())
    for name in _VARIABLES:
        key.update(f"{name}={os.environ.get(name)}".encode())
    hash_sources(key, sources)
    return key.hexdigest()[:20]


def hash_sources(key: Any, sources: tuple[str, ...], package: Path = PACKAGE) -> None:
    """Add the content of files of a package, or of all files of a folder, to a hash."""
    for name in sources:
        path = package / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else (path,):
            key.update(file.read_bytes())


# --- The files --------------------------------------------------------------------------------------------------------


def kept(name: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """Code of that name from the cache, or else made and written there."""
    path = directory() / f"{name}-{suffix}"
    image = _read(path)
    if image is None:
        image = make()
        compiled.append(name)
        _write(path, image)
    return image


@cache
def _warn(problem: str) -> None:
    """Say it once in a process."""
    warnings.warn(f"pyfastlr compiles without its cache: {problem}", RuntimeWarning, stacklevel=2)


def _trusted(place: Path) -> bool:
    """Whether nobody but this user and root may have put code there."""
    if not hasattr(os, "getuid"):
        return True
    status = place.stat()
    if status.st_uid in (0, os.getuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    _warn(f"others may write to {place}")
    return False


def _read(path: Path) -> bytes | None:
    try:
        if not _trusted(path.parent):
            return None
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        _warn(str(problem))
        return None
    head = len(_MAGIC) + 32
    image = content[head:]
    if content[:head] != _MAGIC + hashlib.sha256(image).digest():
        _warn(f"{path} is damaged; it is compiled again")
        return None
    return image


def _write(path: Path, image: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _trusted(path.parent):
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(image).digest() + image)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        _warn(str(problem))
