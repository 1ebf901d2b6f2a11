"""The examples in C and Rust, and the C code of the pages: they compile, run and reach their results."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from pyfastlr import capi
from pyfastlr.capi.source import header

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "capi"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
pytestmark = [
    pytest.mark.capi,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    """Folder with the library, without the levels of x86-64: a third of the time to compile."""
    folder = tmp_path_factory.mktemp("lib")
    capi.build(folder, cc="gcc -DFASTLR_NO_CLONES")
    return folder


def compiled(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def by_gcc(source, lib, folder, *flags):
    """Compile and link a C program as the pages say."""
    links = (f"-L{lib}", "-lfastlr", "-lm", f"-Wl,-rpath,{lib}")
    compiled(["gcc", "-O2", *WARNINGS, *flags, f"-I{lib}", source, *links, "-o", "program"], folder)
    return folder / "program"


def output(*command, code=0):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_training_loop(lib, tmp_path):
    program = by_gcc(EXAMPLES / "train.c", lib, tmp_path)
    text = output(program)
    assert "(expected: at most 1e-05)" in text
    assert 0 < int(text.split()[0]) < 1000  # clipped
    assert "(expected: at most 1e-05)" in output(program, 60, code=1)


def test_openmp(lib, tmp_path):
    program = by_gcc(EXAMPLES / "openmp.c", lib, tmp_path, "-fopenmp")
    for size in (1_000_003, 40_000, 7, 0):
        assert "the same bits (expected: the same)" in output(program, size)


def test_rust(lib, tmp_path):
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed")
    rpath = f"link-args=-Wl,-rpath,{lib}"
    command = ["rustc", "-O", EXAMPLES / "train.rs", "-L", lib, "-l", "fastlr", "-C", rpath, "-o", "program"]
    compiled(command, tmp_path)
    text = output(tmp_path / "program")
    assert "(expected: 2 x - 1, to 0.01)" in text
    assert "lr = NaN is refused: `lr` must be a finite number" in text
    assert "(expected: 2 x - 1, to 0.01)" in output(tmp_path / "program", 5, code=1)


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_program_of_the_page(lib, tmp_path):
    (program,) = blocks("docs/capi.md", "c")
    (tmp_path / "main.c").write_text(program, encoding="utf-8")
    assert [abs(float(x)) < 0.01 for x in output(by_gcc("main.c", lib, tmp_path)).split()] == [True] * 3


def test_lines_of_the_readme(lib, tmp_path):
    (lines,) = blocks("README.md", "c")
    program = f"""
        #include "fastlr.h"
        static int train(float *p, float *g, float *m, float *v, size_t n, int64_t updates)
        {{
            int error = FASTLR_OK;
            {lines}
            return error;
        }}
        int main(void)
        {{
            float p[2] = {{1.0f, 2.0f}}, g[2] = {{1.0f, 1.0f}}, m[2] = {{0}}, v[2] = {{0}};
            return train(p, g, m, v, 2, 10) == FASTLR_OK && p[0] < 1.0f ? 0 : 1;
        }}
    """
    (tmp_path / "main.c").write_text(program, encoding="utf-8")
    output(by_gcc("main.c", lib, tmp_path))


def test_struct_of_the_page_is_that_of_the_example():
    (struct,) = blocks("docs/capi.md", "rust")
    assert struct in (EXAMPLES / "train.rs").read_text(encoding="utf-8")


def test_only_the_functions_of_the_header_are_visible(lib):
    page = runpy.run_path(str(ROOT / "scripts" / "capi_page.py"))
    names = page["exported"](lib / "libfastlr.so.0")
    assert sorted(names) == sorted(re.findall(r"^FASTLR_API .*?(\w+)\(", header(), re.MULTILINE))
    assert set(page["needed"](lib / "libfastlr.so.0")) <= {"libm.so.6", "libc.so.6"}
