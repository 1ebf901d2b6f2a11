"""How the C programs of the tests are compiled and run: compilers, levels of x86-64, sanitizers, emulators."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyfastlr.capi.compilers import FLAGS

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
ZIG = (sys.executable, "-m", "ziglang")
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
