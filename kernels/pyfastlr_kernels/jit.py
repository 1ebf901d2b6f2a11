"""Compile once, load always: the one place with code generation, the disk cache and its key.

Numba compiles a function with a C signature, LLVM turns its IR into an object, and the object is what is kept and what
is linked into this process. A process that finds its objects in the cache never imports numba (0.3 to 0.6 s).

One file per function, named by the sha256 of all that shapes its code: the sources of this package, the versions of
numba and llvmlite, the CPU's name and features, and numba's code-generation variables. So a file is never changed, only
written (to a temporary name, then renamed): no lock is needed, two processes at worst compile the same object twice,
and an edited rule, another CPU or another numba has files of its own. Each file carries the sha256 of its object; a
damaged one is compiled again. Numba's own cache is not used: it keys on one source file, pickles, and loses races
(numba#6264, numba#9348).

Code is loaded from the cache directory, so it is not used if others may write to it.
"""

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

OPTIONS: dict[str, Any] = {"error_model": "numpy"}  # numba's, for all that we compile
# Nobody calls the parts from Python or C: without wrappers for that, a cold first step takes a quarter less time.
PARTS = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
ENTRY = "pyfastlr_entry"
_MAGIC = b"pyfastlr object 1\n"
# What shapes the launch, and what shapes a drive.
LAUNCH_SOURCES = ("chunks.py", "intrinsics.py", "launch.py", "pool.py")
DRIVE_SOURCES = ("rules.py", "folds.py", "chunks.py", "intrinsics.py", "cpu.py", "jit.py")
LAUNCH_IR = Path(__file__).with_name("launch.ll")
# What numba reads from the environment and leaves out of its own key.
_VARIABLES = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME",
              "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO")  # fmt: skip

compiled: list[str] = []  # names of what this process had to compile, in order; the tests count them
_loaded: dict[str, tuple[int, Any]] = {}  # address, and the tracker that keeps the code
_lock = threading.RLock()


def _after_fork() -> None:
    """Renew the lock: one that another thread held when the process forked would be held for ever in the child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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


@cache
def target() -> "tuple[str, str]":
    """Name and features of this CPU, as LLVM has them."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@cache
def digest(sources: "tuple[str, ...]" = DRIVE_SOURCES) -> str:
    """All that shapes code from these files, hashed."""
    key = hashlib.sha256(repr((*target(), sys.version_info[:2], sys.platform)).encode())
    for package in ("numba", "llvmlite"):
        key.update(importlib.metadata.version(package).encode())
    for name in _VARIABLES:
        key.update(f"{name}={os.environ.get(name)}".encode())
    _hash_files(key, sources)
    return key.hexdigest()[:20]


def versions() -> "tuple[str, str]":
    """What names the objects of these sources on this CPU: of the drives, of the launch."""
    return digest(), digest((*LAUNCH_SOURCES, "jit.py"))


def _hash_files(key: Any, sources: "tuple[str, ...]") -> None:
    for name in sources:
        key.update((Path(__file__).parent / name).read_bytes())


def load(name: str, version: str, make: Callable[[], bytes]) -> int:
    """Address of the compiled function of that name and version; `make` returns its object code."""
    with _lock:
        if name not in _loaded:
            _loaded[name] = _link(name, kept(name, f"{version}.o", make))
        return _loaded[name][0]


def kept(name: str, suffix: str, make: Callable[[], bytes]) -> bytes:
    """Image of that name from the cache, or else made and written there."""
    path = directory() / f"{name}-{suffix}"
    image = _read(path)
    if image is None:
        image = make()
        compiled.append(name)
        _write(path, image)
    return image


def _machine() -> Any:
    # The large code model: what refers to another section does so by 64 bits. By 32, LLVM's loader aborts the process
    # where gigabytes of arrays have come to lie between two sections of an object (seen once, with 5 GB of parameters).
    cpu, features = target()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=os.environ.get("NUMBA_CPU_NAME") or cpu, features=features, opt=3, reloc="pic", codemodel="large"
    )


def module(function: Callable[..., Any], signature: Any, machine: Any) -> Any:
    """Optimized LLVM module with the function as its one entry."""
    from numba import cfunc

    callback = cfunc(signature, **OPTIONS)(function)
    code = llvm.parse_assembly(callback.inspect_llvm())
    for item in (*code.functions, *code.global_variables):
        if item.name == callback.native_name:
            item.name, item.linkage = ENTRY, "external"
        elif not item.is_declaration:
            item.linkage = "internal"
    return _optimized(code, machine)


def _optimized(code: Any, machine: Any) -> Any:
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes = builder.getModulePassManager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(code, builder)
    return code


def emit(function: Callable[..., Any], signature: Any) -> bytes:
    """Object code of the function, its one symbol named ENTRY."""
    machine = _machine()
    image: bytes = machine.emit_object(module(function, signature, machine))
    return image


def assembly(function: Callable[..., Any], signature: Any) -> str:
    """Assembly of the function, to see what was vectorised."""
    machine = _machine()
    text: str = machine.emit_assembly(module(function, signature, machine))
    return text


@cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_machine())


def _link(name: str, image: bytes) -> "tuple[int, Any]":
    library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol(ENTRY)
    tracker = library.link(_linker(), name)
    return tracker[ENTRY], tracker


# --- The files -------------------------------------------------------------------------------------------------------


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


# --- The two kinds of function --------------------------------------------------------------------------------------


def drive(rule: str, convention: str, dtype: str, by_element: bool) -> int:
    """Address of the drive of a rule (cpu.py); conventions with the same fold share it."""
    from . import rules

    fold = rules.RULES[rule].folds[convention].__name__

    def make() -> bytes:
        from . import cpu

        return emit(cpu.make_drive(rule, convention, dtype, by_element), cpu.DRIVE)

    return load(f"{rule}-{fold}-{dtype}{'-by-element' if by_element else ''}", versions()[0], make)


class _MethodDef(ctypes.Structure):  # PyMethodDef
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80


def step() -> int:
    """Address of the launch, which is a helper's work too (launch.py)."""
    return load("launch", versions()[1], _emit_launch)


def _emit_launch() -> bytes:
    """Object code of the launch: from the IR beside this file, if that is of these sources, else from its text."""
    machine = _machine()
    text = LAUNCH_IR.read_text(encoding="utf-8") if LAUNCH_IR.exists() else ""
    if text.startswith(launch_stamp()):
        try:
            image: bytes = machine.emit_object(llvm.parse_assembly(text))  # it was optimized when it was made
            return image
        except RuntimeError:
            pass  # an LLVM that does not read what another wrote: the Python text is always there
    from . import launch

    return emit(launch.make_launch(), launch.LAUNCH)


def launch_stamp() -> str:
    """First line of the launch's IR: what it was made of, hashed, and the kinds of machine and Python it is for.

    Numba takes 3 s of a cold first step for the launch on a slow core, and it is the same for every rule and every CPU:
    numbers of 64 bits and calls. So its IR is made ahead (scripts/launch_ir.py), and LLVM makes the object in 0.1 s.
    """
    key = hashlib.sha256(repr(PARTS).encode())
    _hash_files(key, LAUNCH_SOURCES)
    kind = (sys.platform, platform.machine(), sys.implementation.name, object.__basicsize__)
    return f"; {' '.join(map(str, kind))} {key.hexdigest()}\n"


@cache
def _launch_definition() -> _MethodDef:
    return _MethodDef(b"launch", step(), _METH_FASTCALL, None)


def launch(job: int) -> Callable[..., int]:
    """Launch (launch.py) of the job at that address, as a function of CPython."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    function: Callable[..., int] = new(ctypes.addressof(_launch_definition()), job, None)
    return function
