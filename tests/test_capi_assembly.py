"""Every loop of the C library is vectorised, at every level of x86-64, and nothing is contracted."""

import platform
import re
import shutil
import subprocess
from collections import defaultdict

import pytest

from c_library import compiler
from pyfastlr.capi.compilers import FLAGS
from pyfastlr.capi.source import header, source

LEVELS = ("default", "arch_x86_64_v2", "arch_x86_64_v3", "arch_x86_64_v4")
LOOPS = re.findall(r"^static FASTLR_CLONES \w+ (\w+)\(", source(), re.MULTILINE)
SCALAR = {("default", "count_loop_f64")}  # gcc needs comparisons of 64-bit integers, which SSE2 does not have
# Packed arithmetic in the loop's type; a loop that only counts compares.
PACKED = re.compile(r"v?(mul|add|sub|cmp\w*)(p[sd])$")


pytestmark = pytest.mark.capi  # compiling for four levels takes 20 s


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """Instructions of each function: mnemonics and operands."""
    if compiler() is None or shutil.which("objdump") is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler and objdump on x86-64")
    folder = tmp_path_factory.mktemp("assembly")
    (folder / "fastlr.h").write_text(header())
    (folder / "fastlr.c").write_text(source())
    subprocess.run([compiler(), *FLAGS, "-c", "fastlr.c"], cwd=folder, check=True)
    command = ["objdump", "-d", "--no-show-raw-insn", "fastlr.o"]
    text = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    found, name = defaultdict(list), ""
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+ <(.*)>:$", line)
        if head:
            name = head[1]
        elif "\t" in line and name:
            found[name].append(line.split("\t", 1)[1].split())
    if not any(".arch_x86_64_v3" in x for x in found):
        pytest.skip("this compiler or C library has no target_clones")
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_every_loop_is_vectorised(code, level):
    by_loop = {loop: next((code[x] for x in code if re.match(rf"{loop}\.{level}\b", x)), None) for loop in LOOPS}
    missing = [loop for loop, lines in by_loop.items() if lines is None]
    assert not missing
    scalar = []
    for loop, lines in by_loop.items():
        kind = "pd" if "f64" in loop or loop.startswith("block_sum") else "ps"
        if not any((m := PACKED.match(line[0])) and m[2] == kind for line in lines):
            scalar.append((level, loop))
    assert {*scalar} <= SCALAR
    assert len(LOOPS) == 152 + 14  # 19 rules in 4 forms and 2 types; and those of the options


def test_nothing_is_contracted(code):
    assert not [x for x, lines in code.items() for line in lines if re.match(r"vfn?m(add|sub)", line[0])]


def test_gcc_contracts_nothing_without_the_flag_either(tmp_path):
    if compiler() is None or shutil.which("objdump") is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler and objdump on x86-64")
    (tmp_path / "fastlr.h").write_text(header())
    (tmp_path / "fastlr.c").write_text(source())
    (tmp_path / "control.c").write_text("double f(double a, double b, double c) { return a * b + c; }")
    found = {}
    for name in ("fastlr", "control"):
        flags = ["-std=gnu99", "-O2", "-mfma", "-DFASTLR_NO_CLONES"]
        subprocess.run([compiler(), *flags, "-c", f"{name}.c"], cwd=tmp_path, check=True)
        text = subprocess.run(["objdump", "-d", f"{name}.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
        found[name] = bool(re.search(r"vfn?m(add|sub)", text.stdout))
    assert not found["fastlr"]
    if not found["control"]:
        pytest.skip("this compiler contracts nothing anyway")
