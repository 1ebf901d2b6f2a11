"""The disk cache of compiled code: one file for each function, named by everything that shapes its code.

That is the sources of this package (sources.py), the versions of numba and llvmlite, Python and its binary interface,
the CPU's name and features, and numba's code-generation variables, as a sha256. So a file is never changed, only
written (to a temporary name, then renamed): no lock is needed, two processes at worst compile the same object twice,
and an edited rule, another CPU or another numba has files of its own. Each file carries the sha256 of its content; a
damaged one is compiled again. Numba's own cache is not used: it keys on one source file, pickles, and loses races
(numba#6264, numba#9348).

Code is loaded from the cache directory, so it is not used if others may write to it. Others may read it: what root
compiles while an image is built serves every user of it.
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

import llvmlite.binding as llvm

from .sources import hash_sources, version_of

_MAGIC = b"pyfastlr object 1\n"
# What numba reads from the environment and leaves out of its own key.
_VARIABLES = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME",
              "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO")  # fmt: skip

compiled: list[str] = []  # names of what this process had to compile, in order; the tests count them


def directory() -> Path | None:
    """Where compiled objects are kept: PYFASTLR_CACHE_DIR, else pyfastlr/ in the user's cache directory.

    None if there is neither, as in a container whose user has no home. A relative XDG_CACHE_HOME does not count: so the
    XDG Base Directory Specification has it.
    """
    asked = os.environ.get("PYFASTLR_CACHE_DIR")
    if asked:
        return Path(os.path.expanduser(asked)).absolute()
    base = _user_directory()
    return Path(base) / "pyfastlr" if os.path.isabs(base) else None


def _user_directory() -> str:
    """The user's cache directory; without a home, a path that is not absolute."""
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA", "")
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches")
    given = os.environ.get("XDG_CACHE_HOME", "")
    return given if os.path.isabs(given) else os.path.expanduser("~/.cache")


# --- The key ----------------------------------------------------------------------------------------------------------


@cache
def target() -> tuple[str, str]:
    """Name and features of this CPU, as LLVM has them."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _python() -> tuple[Any, ...]:
    """Python's binary interface: compiled code reads its objects, whose heads differ between builds of one version."""
    interface = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    return interface, getattr(sys, "abiflags", ""), object.__basicsize__, sys.version_info[:2]


@cache
def digest(sources: tuple[str, ...]) -> str:
    """All that shapes code from these files and folders of the package, hashed."""
    key = hashlib.sha256(repr((*target(), *_python(), sys.platform, platform.machine())).encode())
    for package in ("numba", "llvmlite"):
        key.update(version_of(package).encode())
    for name in _VARIABLES:
        key.update(f"{name}={os.environ.get(name)}".encode())
    hash_sources(key, sources)
    return key.hexdigest()[:20]


# --- The files --------------------------------------------------------------------------------------------------------


def kept(name: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """Code of that name from the cache, or else made and written there."""
    place = directory()
    path = place and place / f"{name}-{suffix}"
    image = _read(path) if path else None
    if image is None:
        image = make()
        compiled.append(name)
        if path:
            _write(path, image)
        else:
            _warn("this user has no home directory to keep it in; set PYFASTLR_CACHE_DIR")
    return image


_warned: list[str] = []


def _warn(problem: str) -> None:
    """Say it once in a process."""
    if not _warned:
        _warned.append(problem)
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
    _mark_used(path)
    return image


def _write(path: Path, image: bytes) -> None:
    """Write the file for this user alone to change, and for all whom the umask lets to read."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _trusted(path.parent):
            return
        temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}.tmp"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(image).digest() + image)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        _warn(str(problem))


# --- What is no longer used -------------------------------------------------------------------------------------------

_DAY = 24 * 3600.0  # seconds


def _mark_used(path: Path) -> None:
    """Set the time of a file at most once a day, so that `prune` can tell what nobody has read for long."""
    try:
        if time.time() - path.stat().st_mtime > _DAY:
            os.utime(path)
    except OSError:  # somebody else's file: it stays as old as it is
        pass


def files() -> Iterator[Path]:
    """All files of compiled code in the cache, whatever they were made for."""
    place = directory()
    if place is not None and place.is_dir():
        for path in sorted(place.iterdir()):
            if path.suffix in (".o", ".cubin", ".tmp") and path.is_file():
                yield path


def prune(older: float) -> tuple[int, int]:
    """Delete what no process has read for so many days; how many files and bytes that were.

    A process that runs has its code in memory, and one that starts compiles what it misses.
    """
    count = size = 0
    for path in files():
        status = path.stat()
        if time.time() - status.st_mtime >= older * _DAY:
            path.unlink(missing_ok=True)
            count, size = count + 1, size + status.st_size
    return count, size
