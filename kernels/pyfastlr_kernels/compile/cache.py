"""The disk cache of compiled code: one file per function, named by a hash of everything that shapes its code.

The sha256 covers the sources of this package (sources.py), the versions of numba and llvmlite, Python and its ABI, the
CPU's name and features, and numba's code-generation variables. So a file is never changed, only written (to a temporary
name, then renamed). No lock is needed: at worst, two processes compile the same object twice. An edited rule, another
CPU or another numba gets its own files. Each file carries the sha256 of its content; a damaged one is compiled again.
Numba's own cache is not used: it keys on one source file, pickles, and loses races (numba#6264, numba#9348).

Code is loaded from the cache directory, so a directory that others may write to is not used. Others may read it: code
that root compiles while building an image serves every user of the image.
"""

import hashlib
import os
import platform
import secrets
import stat
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .sources import hash_sources, version_of

_MAGIC = b"pyfastlr object 1\n"
# Environment variables that numba reads but leaves out of its own key.
_VARIABLES = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME",
              "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO")  # fmt: skip

compiled: list[str] = []  # names of the objects that this process compiled, in order; the tests count them


def directory() -> Path | None:
    """Return the folder of compiled objects: PYFASTLR_CACHE_DIR, else pyfastlr/ in the user's cache directory.

    Return None if there is neither, as in a container whose user has no home. A relative XDG_CACHE_HOME is ignored, as
    the XDG Base Directory Specification requires.
    """
    given = os.environ.get("PYFASTLR_CACHE_DIR")
    if given:
        return Path(os.path.expanduser(given)).absolute()
    base = _user_directory()
    return Path(base) / "pyfastlr" if os.path.isabs(base) else None


def _user_directory() -> str:
    """Return the user's cache directory, or a path that is not absolute if the user has no home."""
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches")
    given = os.environ.get("XDG_CACHE_HOME", "")
    return given if os.path.isabs(given) else os.path.expanduser("~/.cache")


# --- The key ----------------------------------------------------------------------------------------------------------


@cache
def target() -> tuple[str, str]:
    """Return LLVM's name and features of this CPU."""
    import llvmlite.binding as llvm  # the C library (pyfastlr.capi) keeps its files here where LLVM may be missing

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _python() -> tuple[Any, ...]:
    """Return Python's ABI: compiled code reads its objects, whose headers differ between builds of one version."""
    interface = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return interface, getattr(sys, "abiflags", ""), object.__basicsize__, sys.version_info[:2]


@cache
def digest(sources: tuple[str, ...]) -> str:
    """Return a hash of everything that shapes code from these files and folders of the package."""
    key = hashlib.sha256(repr((*target(), *_python(), sys.platform, platform.machine())).encode())
    for package in ("numba", "llvmlite"):
        key.update(version_of(package).encode())
    for name in _VARIABLES:
        key.update(f"{name}={os.environ.get(name)}".encode())
    hash_sources(key, sources)
    return key.hexdigest()[:20]


# --- The files --------------------------------------------------------------------------------------------------------


def kept(name: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """Return the code of that name from the cache; if it is missing, make it and write it there."""
    place = directory()
    path = place and place / f"{name}-{suffix}"
    image = _read(path) if path else None
    if image is None:
        image = make()
        compiled.append(name)
        if path:
            _write(path, image)
        else:
            _warn("this user has no home directory; set PYFASTLR_CACHE_DIR")
    return image


def kept_library(name: str, make: Callable[[], bytes]) -> tuple[Path | None, bytes]:
    """Return the path and the code of that shared library; if it is not in the cache, make it and write it there.

    The file is for the system's loader, so its sha256 comes last: loaders ignore what follows the library. The path is
    None if the cache cannot be used.
    """
    place = directory()
    path = place and place / name
    image = _read(path, at_end=True) if path else None
    if image is None:
        image = make()
        compiled.append(name)
        if path is None:
            _warn("this user has no home directory; set PYFASTLR_CACHE_DIR")
        elif not _write(path, image, at_end=True):
            path = None
    return path, image


_warned: list[str] = []


def _warn(problem: str) -> None:
    """Warn once per process."""
    if not _warned:
        _warned.append(problem)
        warnings.warn(f"pyfastlr compiles without its cache: {problem}", RuntimeWarning, stacklevel=2)


def _trusted(place: Path) -> bool:
    """Return whether only this user and root can have put code there."""
    if not hasattr(os, "getuid"):
        return True
    status = place.stat()
    if status.st_uid in (0, os.getuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    _warn(f"others may write to {place}")
    return False


def _seal(image: bytes) -> bytes:
    """Return what shows that a file is whole."""
    return _MAGIC + hashlib.sha256(image).digest()


def _read(path: Path, at_end: bool = False) -> bytes | None:
    try:
        if not _trusted(path.parent):
            return None
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        _warn(str(problem))
        return None
    size = len(_MAGIC) + 32
    seal, image = (content[-size:], content[:-size]) if at_end else (content[:size], content[size:])
    if seal != _seal(image):
        _warn(f"{path} is damaged and is compiled again")
        return None
    _mark_used(path)
    return image


def _write(path: Path, image: bytes, at_end: bool = False) -> bool:
    """Write the file; return whether that worked. Only this user may change it; others may read it if the umask allows.

    The seal is at the beginning or at the end.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _trusted(path.parent):
            return False
        temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}.tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(image + _seal(image) if at_end else _seal(image) + image)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        _warn(str(problem))
        return False
    return True


# --- Unused files -----------------------------------------------------------------------------------------------------

_DAY = 24 * 3600.0  # seconds
_SUFFIXES = (".o", ".cubin", ".so", ".dylib", ".dll", ".tmp")


def _mark_used(path: Path) -> None:
    """Update a file's time, at most once a day, so that `prune` can tell which files are unused."""
    try:
        if time.time() - path.stat().st_mtime > _DAY:
            os.utime(path)
    except OSError:  # another user's file: it keeps its time
        pass


def files() -> Iterator[Path]:
    """Yield all files of compiled code in the cache, for any target and version."""
    place = directory()
    if place is not None and place.is_dir():
        for path in sorted(place.iterdir()):
            if path.suffix in _SUFFIXES and path.is_file():
                yield path


def prune(older: float) -> tuple[int, int]:
    """Delete files that no process has read for `older` days; return the number of files and of bytes.

    A running process has its code in memory, and a new one compiles what is missing.
    """
    count = size = 0
    for path in files():
        status = path.stat()
        if time.time() - status.st_mtime >= older * _DAY:
            path.unlink(missing_ok=True)
            count, size = count + 1, size + status.st_size
    return count, size
