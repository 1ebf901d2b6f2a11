"""Compiled code of the CPU target, loaded or compiled on first use: drives, the launch, the helper."""

import ctypes
import hashlib
import pkgutil
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm

from pyfastlr_kernels import rules
from pyfastlr_kernels.compile.cache import digest, kept
from pyfastlr_kernels.compile.codegen import emit, load, machine
from pyfastlr_kernels.compile.first_use import once
from pyfastlr_kernels.compile.options import PARTS
from pyfastlr_kernels.compile.sources import PACKAGE, are_text, hash_sources

# The sources of a drive, and of the launch.
DRIVE_SOURCES = ("rules", "tables.py", "cpu/loop.py", "cpu/drive.py", "compile/intrinsics.py", "compile/options.py",
                 "compile/codegen.py")  # fmt: skip
LAUNCH_SOURCES = ("tables.py", "python_side.py", "cpu/launch.py", "cpu/pool.py", "compile/intrinsics.py",
                  "compile/options.py")  # fmt: skip
SUM_SOURCES = ("tables.py", "reduce.py", "cpu/reduce.py", "compile/lanes.py", "compile/intrinsics.py",
               "compile/options.py", "compile/codegen.py")  # fmt: skip
STAGES_SOURCES = ("reduce.py", "stage_rules.py", "tables.py", "cpu/stages.py", "cpu/stages_layout.py",
                  "cpu/elementwise.py",
                  "cpu/reduce.py", "compile/lanes.py", "compile/intrinsics.py", "compile/options.py",
                  "compile/codegen.py")  # fmt: skip
LAUNCH_IR = PACKAGE / "cpu" / "launch.ll"
DRIVE, LAUNCH, HELP, RUN = "pyfastlr_drive", "pyfastlr_launch", "pyfastlr_help", "pyfastlr_run"
STAGES = "pyfastlr_stages"
_STEP = (LAUNCH, HELP, RUN)
SQUARES, NONFINITE = "pyfastlr_squares", "pyfastlr_nonfinite"


def versions() -> tuple[str, str]:
    """Return the digests in the names of this CPU's objects: of the drives, of the launch."""
    return digest(DRIVE_SOURCES), digest((*LAUNCH_SOURCES, "compile/codegen.py"))


def _drive(rule: str, convention: str, dtype: str, by_element: bool) -> tuple[str, Callable[[], bytes]]:
    """Return the name of a drive's object and the function that makes it. Conventions with the same fold share it."""
    fold = rules.RULES[rule].folds[convention].__name__

    def make() -> bytes:
        from . import drive

        return emit({DRIVE: (drive.make_drive(rule, convention, dtype, by_element), drive.DRIVE)})

    return f"{rule}-{fold}-{dtype}{'-by-element' if by_element else ''}", make


def drive_address(rule: str, convention: str, dtype: str, by_element: bool) -> int:
    """Return the address of a rule's drive."""
    name, make = _drive(rule, convention, dtype, by_element)
    return load(name, versions()[0], make, (DRIVE,))[DRIVE]


def drive_object(rule: str, convention: str, dtype: str, by_element: bool) -> bytes:
    """Return the object code of a rule's drive, the same bytes that `drive_address` links."""
    name, make = _drive(rule, convention, dtype, by_element)
    return kept(name, f"{versions()[0]}.o", make)


def sum_entries(dtype: str) -> dict[str, Any]:
    """Return the sums over elements of a dtype (reduce.py) as Python text, with their signatures."""
    from . import reduce

    return {
        SQUARES: (reduce.make_squares(dtype), reduce.SQUARES),
        NONFINITE: (reduce.make_count(dtype), reduce.COUNT),
    }


def sum_addresses(dtype: str) -> dict[str, int]:
    """Return the addresses of the sums over elements of a dtype: SQUARES, and the count NONFINITE."""
    return load(f"sums-{dtype}", digest(SUM_SOURCES), lambda: emit(sum_entries(dtype)), (SQUARES, NONFINITE))


def _stages(dtype: str) -> tuple[str, Callable[[], bytes]]:
    """Return the name of the stages' object and the function that makes it."""

    def make() -> bytes:
        from . import stages

        return emit({STAGES: (stages.make_stages(dtype), stages.STAGES)})

    return f"stages-{dtype}", make


def stages_address(dtype: str) -> int:
    """Return the address of the code for what a step does besides the update (stages.py)."""
    name, make = _stages(dtype)
    return load(name, digest(STAGES_SOURCES), make, (STAGES,))[STAGES]


def stages_object(dtype: str) -> bytes:
    """Return the object code of the stages, the same bytes that `stages_address` links."""
    name, make = _stages(dtype)
    return kept(name, f"{digest(STAGES_SOURCES)}.o", make)


def step_addresses() -> dict[str, int]:
    """Return the addresses of the launch, the helper's function and the step by addresses (launch.py)."""
    return load("launch", versions()[1], _emit_launch, _STEP)


def helper_address() -> int:
    """Return the address of the function that a pool thread runs."""
    return step_addresses()[HELP]


def launch_entries() -> dict[str, Any]:
    """Return the launch's functions as Python text, with their signatures."""
    from . import launch

    return {
        LAUNCH: (launch.make_launch(), launch.LAUNCH),
        HELP: (launch.make_help(), launch.HELP),
        RUN: (launch.make_run(), launch.RUN),
    }


def _emit_launch() -> bytes:
    """Return the launch's object code: from the IR in this folder if it was made of these sources, else from text."""
    text = _launch_ir()
    if text.startswith(launch_stamp()) or (not are_text() and text.startswith(_stamp(""))):
        try:
            image: bytes = machine().emit_object(llvm.parse_assembly(text))  # already optimized
            return image
        except RuntimeError as problem:  # this LLVM cannot read another version's IR
            warnings.warn(
                f"LLVM {'.'.join(map(str, llvm.llvm_version_info))} cannot read code that comes with pyfastlr, so "
                f"numba compiles it again, which takes a few seconds once ({str(problem).splitlines()[0]})",
                RuntimeWarning,
                stacklevel=2,
            )
    return emit(launch_entries())


def _launch_ir() -> str:
    """Return the launch's IR, also from a zip; empty if it is missing."""
    try:
        content = pkgutil.get_data(__package__, LAUNCH_IR.name)
    except OSError:
        return ""
    return content.decode() if content else ""


def launch_stamp() -> str:
    """Return the first line of the launch's IR: how it was generated, for which target and from which sources.

    On a slow core, numba takes 3 s of a cold first step for the launch. The launch is the same for every rule and every
    CPU: 64-bit numbers and calls. So its IR is made in advance (scripts/launch_ir.py), and LLVM makes the object in
    0.1 s.
    """
    key = hashlib.sha256(repr(PARTS).encode())
    hash_sources(key, LAUNCH_SOURCES)
    return _stamp(f"{key.hexdigest()}\n")


def _stamp(digest: str) -> str:
    """Return the line for this digest. Byte code cannot be edited: without sources, the line's start is enough."""
    kind = (sys.platform, platform.machine(), sys.implementation.name, object.__basicsize__)
    made_for = " ".join(map(str, kind))
    return f"; Generated by scripts/launch_ir.py, do not edit. For {made_for}, from {digest}"


class _MethodDef(ctypes.Structure):  # PyMethodDef
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80


@once
def _launch_definition() -> _MethodDef:
    """Return CPython's description of the launch. Every launch points to it, so it is made once and never freed."""
    return _MethodDef(b"launch", step_addresses()[LAUNCH], _METH_FASTCALL, None)


def prepare_launch() -> None:
    """Load or compile what every launch needs."""
    _launch_definition()


def bound_launch(binding: int, keep: tuple[Any, ...]) -> Callable[..., int]:
    """Return the launch of the binding at that address as a CPython function that keeps these objects alive."""
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    definition = _launch_definition()
    function: Callable[..., int] = new(ctypes.addressof(definition), (binding, *keep), None)
    return function
