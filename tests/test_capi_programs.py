"""C and C++ programs over the library: every case, convention and dtype has the bits of the Python classes.

The same program (capi_programs.py) is compiled by gcc and by clang (``zig cc``), as C and as C++, for each level of
x86-64, under sanitizers, for valgrind, and for another processor. Every buffer ends at a page that is none.
"""

import os
import subprocess
import sys
from functools import cache

import pytest

import capi_functions
import capi_programs
from capi_toolchains import TOOLCHAINS, WARNINGS, Toolchain, compile_by, there
from pyfastlr.capi.compilers import FLAGS
from pyfastlr.capi.source import header, source

pytestmark = [
    pytest.mark.capi,
    pytest.mark.skipif(sys.platform != "linux", reason="pages, sanitizers and valgrind are used as on Linux"),
]
STEPS, FEW = 1000, 40  # FEW: under valgrind, which is 50 times slower


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with the sources, the program and its data."""
    place = tmp_path_factory.mktemp("capi")
    (place / "fastlr.h").write_text(header(), encoding="utf-8")
    (place / "fastlr.c").write_text(source(), encoding="utf-8")
    (place / "program.c").write_text(capi_programs.program(), encoding="utf-8")
    (place / "functions.c").write_text(capi_functions.program(), encoding="utf-8")
    for steps in (STEPS, FEW):
        capi_programs.data(steps).write(place / f"data-{steps}")
    return place


@cache
def expected(steps):
    return capi_programs.expected(capi_programs.data(steps))


@cache
def library(cc, flags, folder):
    """The library's object file; two toolchains may share it."""
    path = folder / f"fastlr-{abs(hash((cc, flags)))}.o"
    compile_by((*cc, *flags, *WARNINGS, "-c", "fastlr.c", "-o", path), folder)
    return path


def linked(toolchain, folder, source="program"):
    """The compiled program."""
    compiled = library(toolchain.cc, (*toolchain.flags, *toolchain.both), folder)
    cc = (*toolchain.cxx, "-x", "c++") if toolchain.cxx else (*toolchain.cc, "-std=c99", "-D_DEFAULT_SOURCE")
    name = f"{source}-{abs(hash(toolchain))}"
    compile_by((*cc, "-O1", *WARNINGS, *toolchain.both, "-c", f"{source}.c", "-o", f"{name}.o"), folder)
    # Linked as C: the program needs nothing of C++, and zig would build all of libc++ for it.
    compile_by((*toolchain.cc, *toolchain.both, f"{name}.o", compiled, "-lm", "-o", name), folder)
    return folder / name


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_bits_of_the_python_classes(name, folder):
    toolchain = TOOLCHAINS[name]
    there(toolchain)
    program = linked(toolchain, folder)
    steps = FEW if "valgrind" in toolchain.under else STEPS
    for form in ([], ["tensors"]) if name != "aarch64" else ([],):
        done = subprocess.run(
            [*toolchain.under, program, folder / f"data-{steps}", *form], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        assert done.stderr == b""
        found = capi_programs.read(done.stdout)
        assert [key for key, bits in expected(steps).items() if found[key] != bits] == [], form


@cache
def functions(name, folder):
    """What all other functions return, and write."""
    toolchain = TOOLCHAINS[name]
    program = linked(toolchain, folder, "functions")
    done = subprocess.run([*toolchain.under, program], capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert done.stderr == b""
    return done.stdout


@pytest.mark.parametrize("name", [x for x in TOOLCHAINS if x != "gcc"])
def test_functions_have_the_same_bits_everywhere(name, folder):
    """Norms, options, loss scale, schedules: those of gcc are compared with Python's elsewhere (through ctypes)."""
    there(TOOLCHAINS["gcc"])
    there(TOOLCHAINS[name])
    assert functions(name, folder) == functions("gcc", folder)


def test_a_write_behind_a_buffer_would_be_seen(folder):
    """The proof's own proof: the page after a buffer cannot be touched."""
    there(Toolchain())
    text = capi_programs.program().replace("g, s0, k, SIZE));", "g, s0, k, SIZE + 1));")
    assert text != capi_programs.program()
    (folder / "wrong.c").write_text(text, encoding="utf-8")
    compiled = library(("gcc",), FLAGS, folder)
    compile_by(("gcc", "-std=c99", "-D_DEFAULT_SOURCE", "wrong.c", compiled, "-lm", "-o", "wrong"), folder)
    done = subprocess.run([folder / "wrong", folder / f"data-{FEW}"], capture_output=True, check=False)
    assert done.returncode == -11


FAST = {
    "gcc": (
        "-ffast-math",
        "-ffinite-math-only",
        "-funsafe-math-optimizations",
        "-freciprocal-math",
        "-fno-signed-zeros",
    ),
    "zig": ("-ffast-math", "-ffinite-math-only"),
}


@pytest.mark.parametrize(("compiler", "flag"), [(name, flag) for name, flags in FAST.items() for flag in flags])
def test_fast_math_is_an_error(compiler, flag, folder):
    toolchain = TOOLCHAINS[compiler]
    there(toolchain)
    command = [*toolchain.cc, *FLAGS, flag, "-c", "fastlr.c", "-o", os.devnull]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "#error" in done.stderr
