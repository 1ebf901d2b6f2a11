"""C and C++ programs over the library: every case, convention and dtype has the bits of the Python classes.

The same program (capi_programs.py) is compiled by gcc and by clang (``zig cc``), as C and as C++, for each level of
x86-64, under sanitizers, for valgrind, and for another processor. Every buffer ends at a page that is none.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import capi_functions
import capi_programs
from pyfastlr import capi
from pyfastlr.capi import zig_runtime
from pyfastlr.capi.compilers import FLAGS, TARGETS, Compiler
from pyfastlr.capi.source import header, source

pytestmark = [
    pytest.mark.capi,
    pytest.mark.skipif(sys.platform != "linux", reason="pages, sanitizers and valgrind are used as on Linux"),
]
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
ZIG = (sys.executable, "-m", "ziglang")
STEPS, FEW = 1000, 40  # FEW: under valgrind, which is 50 times slower
LEVELS = {"v1": [], "v2": ["sse4_2"], "v3": ["avx2", "fma"], "v4": ["avx512f", "avx512vl"]}
NO_CLONES = "-DFASTLR_NO_CLONES"


@dataclass(frozen=True)
class Toolchain:
    """How library and program are compiled, linked and run."""

    cc: tuple[str, ...] = ("gcc",)
    cxx: tuple[str, ...] = ()  # for a program in C++
    flags: tuple[str, ...] = FLAGS  # of the library
    both: tuple[str, ...] = ()  # of library and program
    under: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # of the processor


def _zig(level="", **options):
    return Toolchain((*ZIG, "cc"), both=(f"-mcpu=x86_64{level and '_' + level}",), **options)


SANITIZE = (
    "-g",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
X86 = platform.machine() == "x86_64"
TOOLCHAINS = {
    "gcc": Toolchain(),
    "g++": Toolchain(cxx=("g++", "-std=c++17")),
    "gcc-sanitized": Toolchain(both=SANITIZE, flags=("-std=c99", "-O1", *FLAGS[2:], NO_CLONES)),
    "gcc-valgrind": Toolchain(both=("-g",), under=("valgrind", "--quiet", "--error-exitcode=3", "--leak-check=full")),
    "zig": _zig() if X86 else Toolchain((*ZIG, "cc"), both=("-mcpu=baseline",)),
    "zig-c++": _zig(cxx=(*ZIG, "c++", "-std=c++17")) if X86 else Toolchain((*ZIG, "cc"), cxx=(*ZIG, "c++")),
    "aarch64": Toolchain(
        (*ZIG, "cc"),
        both=("-target", "aarch64-linux-musl"),
        under=() if platform.machine() == "aarch64" else ("qemu-aarch64",),
    ),
}
if X86:
    for _level, _needs in LEVELS.items():
        _march = "x86-64" if _level == "v1" else f"x86-64-{_level}"
        TOOLCHAINS[f"gcc-{_level}"] = Toolchain(
            flags=(*FLAGS, NO_CLONES), both=(f"-march={_march}",), needs=tuple(_needs)
        )
    for _level in ("v3", "v4"):
        TOOLCHAINS[f"zig-{_level}"] = _zig(_level, flags=(*FLAGS, NO_CLONES), needs=tuple(LEVELS[_level]))


def there(toolchain):
    """Skip if a tool is missing."""
    for tool in (toolchain.cc[0], *toolchain.cxx[:1], *toolchain.under[:1]):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if toolchain.cc[: len(ZIG)] == ZIG and importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed: the capi extra")
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    for feature in toolchain.needs:
        if feature not in words:
            pytest.skip(f"the processor has no {feature}")


def compile_by(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {(done.stdout + done.stderr)[-4000:]}"
    assert done.stderr == ""


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


@pytest.mark.parametrize("target", TARGETS)
def test_library_for_another_system(target, tmp_path):
    """Cross-compiled and linked, with no symbol left open."""
    there(Toolchain((*ZIG, "cc")))
    built = capi.build(tmp_path, target=target)
    magic = {"linux": b"\x7fELF", "windows": b"MZ", "macos": b"\xcf\xfa\xed\xfe"}[target.rpartition("-")[2]]
    content = built.library.read_bytes()
    assert content.startswith(magic)
    assert b"fastlr_adamw_step_tensors_f64" in content
    if target == "x86_64-linux" and shutil.which("objdump"):
        assert "%zmm" in disassembled(built.library)  # the levels
    if target.endswith("linux"):
        machine = {"x86_64": 62, "aarch64": 183}[target.partition("-")[0]]
        assert int.from_bytes(content[18:20], "little") == machine


def disassembled(path):
    return subprocess.run(["objdump", "-d", path], capture_output=True, text=True, check=True).stdout


def test_zig_does_not_compile_for_this_processor_only(tmp_path):
    there(Toolchain((*ZIG, "cc"), under=("objdump",)))
    if not X86:
        pytest.skip("for x86-64")
    path = tmp_path / "lib.so"
    path.write_bytes(Compiler((*ZIG, "cc", NO_CLONES), is_zig=True).library(header(), source()))
    text = disassembled(path)
    assert "%xmm" in text
    assert "%ymm" not in text


PRINT_LEVEL = """
#include <stdio.h>
int main(void)
{
    __builtin_cpu_init();
    printf("%d%d%d\\n", !!__builtin_cpu_supports("x86-64-v2"), !!__builtin_cpu_supports("x86-64-v3"),
           !!__builtin_cpu_supports("x86-64-v4"));
    return 0;
}
"""


@pytest.mark.skipif(not X86, reason="levels of x86-64")
def test_level_of_the_processor_under_zig(tmp_path):
    """zig's runtime knows none, so ours must agree with gcc's, on this processor and on emulated ones."""
    there(Toolchain((*ZIG, "cc")))
    there(Toolchain())
    (tmp_path / "print.c").write_text(PRINT_LEVEL)
    (tmp_path / zig_runtime.NAME).write_text(zig_runtime.SOURCE)
    compile_by(("gcc", "print.c", "-o", "gcc"), tmp_path)
    compile_by((*ZIG, "cc", *FLAGS, *WARNINGS, "-mcpu=x86_64", "print.c", zig_runtime.NAME, "-o", "zig"), tmp_path)

    def level(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert level(tmp_path / "zig") == level(tmp_path / "gcc")
    if shutil.which("qemu-x86_64"):
        for processor, found in {"Conroe": "000", "Nehalem": "100", "Haswell": "110"}.items():
            assert level("qemu-x86_64", "-cpu", processor, tmp_path / "zig") == f"{found}\n"


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_fast_math_is_an_error(compiler, folder):
    toolchain = TOOLCHAINS[compiler]
    there(toolchain)
    command = [*toolchain.cc, *FLAGS, "-ffast-math", "-c", "fastlr.c", "-o", os.devnull]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "#error" in done.stderr
