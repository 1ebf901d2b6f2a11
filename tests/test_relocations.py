"""Objects can be loaded at any address and on every system: what they require of the linker."""

import re
import shutil
import subprocess

import llvmlite.binding as llvm
import pytest

from pyfastlr_kernels.compile import codegen
from pyfastlr_kernels.cpu import drive, load

# What the launch needs of CPython: on all systems, and in the stable interface or unchanged since 3.11.
PYTHON = {
    "PyEval_RestoreThread", "PyEval_SaveThread", "PyList_GetItem", "PyList_Size", "PyLong_AsLongLong",
    "PyLong_FromLongLong", "PyObject_CallOneArg", "PyThread_acquire_lock", "PyThread_get_thread_ident",
    "PyThread_release_lock", "PyTuple_GetItem", "Py_DecRef",
}  # fmt: skip
MATH = {"pow"}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
@pytest.mark.parametrize("name", ["launch", "stages-float32", "stages-float64", "adam-float32", "adam-float64"])
def test_every_relocation_has_64_bits(tmp_path, name):
    if name == "launch":
        image = load.LAUNCH_CODE.emit()
    elif name.startswith("stages"):
        image = load.STAGES_CODE[name.split("-")[1]].emit()
    else:
        rule, dtype = name.split("-")
        image = load.drive_object(rule, "torch", dtype, True)
    path = tmp_path / "object.o"
    path.write_bytes(image)
    text = subprocess.run(["readelf", "-rW", path], capture_output=True, text=True, check=True).stdout
    kinds = set(re.findall(r"R_X86_64_\w+", text))
    assert kinds  # with the small code model R_X86_64_PC32 is among them
    assert kinds <= {"R_X86_64_64", "R_X86_64_PC64", "R_X86_64_GOTOFF64", "R_X86_64_GOTPC64", "R_X86_64_GOT64"}


def undefined(image, path):
    """Names that an object leaves to the linker; the table of addresses is the linker's own."""
    path.write_bytes(image)
    lines = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout.split()
    return set(lines[1::2]) - {"_GLOBAL_OFFSET_TABLE_"}


needs_nm = pytest.mark.skipif(shutil.which("nm") is None, reason="nm (binutils) is not installed")


@needs_nm
def test_the_launch_asks_for_python_alone(tmp_path):
    """No pthread_* or sched_yield, which Windows lacks."""
    assert undefined(load.LAUNCH_CODE.emit(), tmp_path / "launch.o") == PYTHON


@needs_nm
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_stages_ask_for_nothing(tmp_path, dtype):
    """But memset and memcpy, which LLVM makes of loops."""
    assert undefined(load.STAGES_CODE[dtype].emit(), tmp_path / "stages.o") <= {"memset", "memcpy", "memmove"}


@needs_nm
@pytest.mark.parametrize("triple", ["x86_64-pc-windows-msvc-elf", "x86_64-apple-darwin", "aarch64-unknown-linux-gnu"])
@pytest.mark.parametrize("name", ["launch", "drive"])
def test_objects_for_other_systems_ask_for_no_more(tmp_path, name, triple):
    """Emitted here, not run: COFF would require `_fltused`, which nothing in a Python process defines."""
    if name == "launch" and triple.startswith("aarch64"):
        pytest.skip(
            "the floating-point mode is set by instructions of x86-64 in this IR; aarch64 has a text of its own"
        )
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    if name == "launch":
        text = load.LAUNCH_CODE.text()
    else:
        code = drive.make_drive("adam", "torch", "float32", True)
        text = str(codegen.module({load.DRIVE: (code, drive.DRIVE)}, codegen.machine()))
    module = llvm.parse_assembly(text)
    module.triple = triple
    there = llvm.Target.from_triple(triple).create_target_machine(opt=3, reloc="pic", codemodel="large")
    if "apple" in triple:  # Mach-O, which nm of other systems does not read: names in the text
        found = {x.removeprefix("_") for x in re.findall(r"\b_[A-Za-z]\w+", there.emit_assembly(module))}
        assert found & (PYTHON | MATH) == (PYTHON if name == "launch" else MATH)
        assert not {x for x in found if x.startswith(("pthread", "sched", "fltused"))}
    else:
        assert undefined(there.emit_object(module), tmp_path / "object.o") == (PYTHON if name == "launch" else MATH)


def test_windows_takes_elf_objects():
    assert codegen.triple("win32") == codegen.triple("linux") + "-elf"


def test_what_cannot_be_linked_can_be_tried_again(capfd):
    """It fails in the same way again; a name that stayed registered would hide the reason."""
    code = llvm.parse_assembly("""
        declare void @pyfastlr_there_is_no_such_function()
        define void @f() { call void @pyfastlr_there_is_no_such_function() ret void }
    """)
    image = codegen.machine().emit_object(code)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Failed to materialize symbols"):
            codegen._link("test", image, ("f",))
    assert capfd.readouterr().err.count("Symbols not found: [ pyfastlr_there_is_no_such_function ]") == 2
