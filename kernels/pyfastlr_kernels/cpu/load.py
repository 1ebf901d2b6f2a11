"""Compiled code of the CPU target, loaded or compiled on first use: drives, the launch, the helper."""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

from pyfastlr_kernels import rules
from pyfastlr_kernels.compile.cache import digest, kept
from pyfastlr_kernels.compile.codegen import emit, load
from pyfastlr_kernels.compile.first_use import once

from .prebuilt import Prebuilt

# The sources of a drive, and of the launch.
DRIVE_SOURCES = ("rules", "packing.py", "tables.py", "cpu/loop.py", "cpu/drive.py", "cpu/packed.py",
                 "compile/intrinsics.py", "compile/narrow.py", "compile/options.py", "compile/codegen.py")  # fmt: skip
LAUNCH_SOURCES = ("tables.py", "python_side.py", "cpu/launch.py", "cpu/pool.py", "compile/intrinsics.py",
                  "compile/options.py")  # fmt: skip
SUM_SOURCES = ("tables.py", "reduce.py", "cpu/reduce.py", "compile/lanes.py", "compile/intrinsics.py",
               "compile/options.py", "compile/codegen.py")  # fmt: skip
STAGES_SOURCES = ("reduce.py", "stage_rules.py", "packing.py", "tables.py", "cpu/stages.py", "cpu/stage_norms.py",
                  "cpu/stages_layout.py", "cpu/elementwise.py", "cpu/halves.py", "cpu/reduce.py", "compile/halves.py",
                  "compile/lanes.py", "compile/narrow.py", "compile/intrinsics.py", "compile/options.py",
                  "compile/codegen.py")  # fmt: skip
OBJECT_SOURCES = ("cpu/objects.py", "python_side.py", "compile/intrinsics.py", "compile/options.py",
                  "compile/codegen.py")  # fmt: skip
ROWS_SOURCES = (*LAUNCH_SOURCES, "cpu/rows.py", "cpu/row_replay.py", "cpu/row_sums.py", "cpu/rows_layout.py",
                "cpu/stages_layout.py", "compile/prefetch.py", "compile/codegen.py")  # fmt: skip
DRIVE, LAUNCH, HELP, RUN = "pyfastlr_drive", "pyfastlr_launch", "pyfastlr_help", "pyfastlr_run"
STAGES = "pyfastlr_stages"
_STEP = (LAUNCH, HELP, RUN)
OBJECTS = {name: f"pyfastlr_{name}" for name in ("same_objects", "same_items", "same_memory", "take_gradients")}
SQUARES, NONFINITE = "pyfastlr_squares", "pyfastlr_nonfinite"
_ROWS = ("run_rows", "piece", "check_rows", "sum_rows_float32", "sum_rows_float64")
ROWS = {name: f"pyfastlr_{name}" for name in _ROWS}


def versions() -> tuple[str, ...]:
    """Return the digests in the names of this CPU's objects: drives, launch, stages, sums, checks of tensors, rows."""
    launch = digest((*LAUNCH_SOURCES, "compile/codegen.py"))
    return (
        digest(DRIVE_SOURCES), launch, digest(STAGES_SOURCES), digest(SUM_SOURCES), digest(OBJECT_SOURCES),
        digest(ROWS_SOURCES),
    )  # fmt: skip


def _drive(
    rule: str, convention: str, dtype: str, by_element: bool, changes: bool = False, packed: tuple[str, ...] = ()
) -> tuple[str, Callable[[], bytes]]:
    """Return the name of a drive's object and the function that makes it. Conventions with the same fold share it."""
    fold = rules.RULES[rule].folds[convention].__name__

    def make() -> bytes:
        from . import drive

        made = drive.make_drive(rule, convention, dtype, by_element, changes, packed)
        # Packing has so many instructions besides the divisions that 512-bit vectors are worth it on every CPU that has
        # them (bfloat16, Adam, 10,000 elements on an Ice Lake: 6.3 instead of 8.5 us).
        entries = {DRIVE: (made, drive.DRIVE)}
        return emit(entries, widest=True) if packed else emit(entries)

    kinds = (("by-element", by_element), ("changes", changes))
    return "-".join([rule, fold, dtype, *(kind for kind, is_used in kinds if is_used), *packed]), make


def drive_address(
    rule: str, convention: str, dtype: str, by_element: bool, changes: bool = False, packed: tuple[str, ...] = ()
) -> int:
    """Return the address of a rule's drive.

    With `changes`, it only computes what to add to parameters. `packed`: forms of state (packed.py).
    """
    name, make = _drive(rule, convention, dtype, by_element, changes, packed)
    return load(name, versions()[0], make, (DRIVE,))[DRIVE]


def drive_object(rule: str, convention: str, dtype: str, by_element: bool) -> bytes:
    """Return the object code of a rule's drive, the same bytes that `drive_address` links."""
    name, make = _drive(rule, convention, dtype, by_element)
    return kept(name, f"{versions()[0]}.o", make)


def packed_drive_object(rule: str, convention: str, forms: tuple[str, ...]) -> bytes:
    """Return the object code of a rule's drive for packed state."""
    name, make = _drive(rule, convention, "float32", False, packed=forms)
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
    return load(f"sums-{dtype}", versions()[3], lambda: emit(sum_entries(dtype)), (SQUARES, NONFINITE))


def object_addresses() -> dict[str, int]:
    """Return the addresses of the comparisons of another library's objects (objects.py), by name."""

    def make() -> bytes:
        from . import objects

        return emit(
            {
                symbol: (getattr(objects, f"make_{name}")(), getattr(objects, name.upper()))
                for name, symbol in OBJECTS.items()
            }
        )

    found = load("objects", versions()[4], make, tuple(OBJECTS.values()))
    return {name: found[symbol] for name, symbol in OBJECTS.items()}


def rows_addresses() -> dict[str, int]:
    """Return the addresses of a step over some rows of a tensor, and of what prepares it (rows.py), by name."""

    def make() -> bytes:
        from . import row_sums, rows

        return emit(
            {
                ROWS["run_rows"]: (rows.make_run_rows(), rows.RUN_ROWS),
                ROWS["piece"]: (rows.make_piece(), rows.PIECE),
                ROWS["check_rows"]: (row_sums.make_check_rows(), row_sums.CHECK_ROWS),
                **{
                    ROWS[f"sum_rows_{x}"]: (row_sums.make_sum_rows(x), row_sums.SUM_ROWS)
                    for x in ("float32", "float64")
                },
            }
        )

    found = load("rows", versions()[5], make, tuple(ROWS.values()))
    return {name: found[symbol] for name, symbol in ROWS.items()}


def stages_address(name: str) -> int:
    """Return the address of the code for what a step does besides the update (stages.py): a key of STAGES_CODE."""
    return load(f"stages-{name}", versions()[2], STAGES_CODE[name].emit, (STAGES,))[STAGES]


def stages_object(dtype: str) -> bytes:
    """Return the object code of the stages, the same bytes that `stages_address` links."""
    return kept(f"stages-{dtype}", f"{versions()[2]}.o", STAGES_CODE[dtype].emit)


def stages_entries(name: str) -> dict[str, Any]:
    """Return the stages' function as Python text, with its signature."""
    from . import stages

    dtype, _, half = name.partition("-")
    return {STAGES: (stages.make_stages(dtype, bool(half)), stages.STAGES)}


def step_addresses() -> dict[str, int]:
    """Return the addresses of the launch, the helper's function and the step by addresses (launch.py)."""
    return load("launch", versions()[1], LAUNCH_CODE.emit, _STEP)


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


LAUNCH_CODE = Prebuilt("launch.ll", LAUNCH_SOURCES, launch_entries, is_finished=True)
STAGES_CODE = {  # by dtype, and with numbers of 16 bits besides
    name: Prebuilt(f"stages-{name}.ll", STAGES_SOURCES, partial(stages_entries, name), False, widest="half" in name)
    for name in ("float32", "float64", "float32-half")
}


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
