"""The library for other systems, compiled by zig: it links, and is as docs/capi.md says."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from capi_toolchains import NO_CLONES, WARNINGS, X86, ZIG, Toolchain, compile_by, there
from pyfastlr.capi import zig_runtime
from pyfastlr.capi.compilers import FLAGS, TARGETS, Compiler
from pyfastlr.capi.source import header, source

pytestmark = pytest.mark.capi
ROOT = Path(__file__).resolve().parents[1]
PAGE = runpy.run_path(str(ROOT / "scripts" / "capi_page.py"))
ROWS = re.findall(
    r"^\| ([\w-]+) \| (\S+) \| ([\d.]+) MB \| (\d*) \| (.*) \|$",
    PAGE["PAGE"].read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_the_page_has_every_system():
    assert [row[0] for row in ROWS] == list(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_library_for_another_system(target, tmp_path):
    """Cross-compiled and linked, with no symbol left open. If the page has other figures: scripts/capi_page.py."""
    there(Toolchain((*ZIG, "cc"), under=("readelf",)))
    content = PAGE["compiled"](target)
    magic = {"linux": b"\x7fELF", "windows": b"MZ", "macos": b"\xcf\xfa\xed\xfe"}[target.rpartition("-")[2]]
    assert content.startswith(magic)
    assert b"fastlr_adamw_step_tensors_f64" in content
    if target.endswith("linux"):
        machine = {"x86_64": 62, "aarch64": 183}[target.partition("-")[0]]
        assert int.from_bytes(content[18:20], "little") == machine
    if target == "x86_64-linux":
        (tmp_path / "library").write_bytes(content)
        assert "%zmm" in disassembled(tmp_path / "library")  # the levels
    found = PAGE["figures"](target, content)
    ((_, name, size, functions, needs),) = (row for row in ROWS if row[0] == target)
    assert name == found.library
    assert float(size) == pytest.approx(found.size / 1e6, rel=0.1, abs=0.01)
    assert functions == ("" if found.functions is None else str(found.functions))
    assert needs == ", ".join(found.needs or ())
    assert found.functions in (None, PAGE["functions"]())


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
