"""Build the wheel pyfastlr-capi: the C library for one system, its header and its source.

    python scripts/capi_wheel.py -o DIR [--cc COMMAND] [--target SYSTEM]

A wheel compiled by zig with --target x86_64-linux or aarch64-linux needs glibc 2.17 or newer (manylinux2014). One that
the compiler of this machine made has the tag linux_*: it is for this machine and others like it.
"""

import argparse
import base64
import hashlib
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels")]

import pyfastlr  # noqa: E402
from pyfastlr.capi import CompileError, NoCompiler  # noqa: E402
from pyfastlr.capi.compilers import TARGETS, find, system  # noqa: E402
from pyfastlr.capi.source import header, source  # noqa: E402

#: Tags of wheels for other systems.
TAGS = {
    "x86_64-linux": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
    "aarch64-linux": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
    "x86_64-windows": ("win_amd64",),
    "aarch64-macos": ("macosx_11_0_arm64",),
}
PACKAGE = '''"""The C library of pyfastlr {version}.

``library`` is the library's path, ``include`` the folder with fastlr.h and fastlr.c.
"""

from pathlib import Path

__version__ = "{version}"

library = str(Path(__file__).parent / "{library}")
include = str(Path(__file__).parent / "include")
'''
METADATA = """Metadata-Version: 2.4
Name: pyfastlr-capi
Version: {version}
Summary: The C library of pyfastlr: optimizer steps over flat buffers, for C and whatever calls C
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.8
"""
WHEEL = """Wheel-Version: 1.0
Generator: pyfastlr scripts/capi_wheel.py
Root-Is-Purelib: false
"""


def contents(library: bytes, target: str | None) -> dict[str, bytes]:
    """Files of the package by their names."""
    name = system(target).library
    return {
        "pyfastlr_capi/__init__.py": PACKAGE.format(version=pyfastlr.__version__, library=name).encode(),
        f"pyfastlr_capi/{name}": library,
        "pyfastlr_capi/include/fastlr.h": header().encode(),
        "pyfastlr_capi/include/fastlr.c": source().encode(),
    }


def tags(target: str | None) -> tuple[str, ...]:
    """Platform tags; None is this system."""
    return TAGS[target] if target else (sysconfig.get_platform().replace("-", "_").replace(".", "_"),)


def write(folder: Path, files: dict[str, bytes], platforms: tuple[str, ...]) -> Path:
    """Write the wheel: the same bytes for the same content."""
    version = pyfastlr.__version__
    info = f"pyfastlr_capi-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": METADATA.format(version=version).encode(),
        f"{info}/WHEEL": (WHEEL + "".join(f"Tag: py3-none-{x}\n" for x in platforms)).encode(),
        f"{info}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"pyfastlr_capi-{version}-py3-none-{'.'.join(platforms)}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980, the zip format's first year
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main(arguments: list[str] | None = None) -> int:
    """Build the wheel and print its path."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), help="folder for the wheel")
    parser.add_argument("--cc", help="C compiler (default: $CC, else cc, gcc, clang or zig)")
    parser.add_argument("--target", choices=TARGETS, help="system to compile for, by zig (default: this one)")
    options = parser.parse_args(arguments)
    try:
        library = find(options.cc, options.target).library(header(), source(), options.target)
    except (CompileError, NoCompiler, ValueError) as error:
        print(f"capi_wheel: {error}", file=sys.stderr)
        return 1
    print(write(options.output, contents(library, options.target), tags(options.target)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
