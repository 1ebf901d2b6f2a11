"""Write the figures of docs/capi.md: what zig makes of the C library for each system. Needs ziglang and binutils."""

import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pyfastlr.capi.compilers import TARGETS, find, system
from pyfastlr.capi.source import header, source

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capi.md"
BEGIN, END = "<!-- capi:begin -->\n", "<!-- capi:end -->"


class Figures(NamedTuple):
    """What a library for a system is like."""

    target: str
    library: str
    size: int  # bytes
    functions: int | None  # that can be seen from outside; None: not known here
    needs: tuple[str, ...] | None

    def __str__(self) -> str:
        functions = "" if self.functions is None else str(self.functions)
        needs = "" if self.needs is None else ", ".join(self.needs)
        return f"| {self.target} | {self.library} | {self.size / 1e6:.2f} MB | {functions} | {needs} |"


def functions() -> int:
    """Return the number of functions in the header."""
    return len(re.findall(r"^FASTLR_API ", header(), re.MULTILINE))


def compiled(target: str) -> bytes:
    """Return the library for a target, compiled by zig."""
    return find(target=target).library(header(), source(), target)


def figures(target: str, content: bytes) -> Figures:
    """Return what a library for a target is like."""
    name = system(target).library
    if not target.endswith("linux"):
        return Figures(target, name, len(content), None, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return Figures(target, name, len(content), len(exported(path)), needed(path))


def exported(path: Path) -> list[str]:
    """Return the names that an ELF library defines for others."""
    return [line.split()[-1] for line in _printed("nm", "--dynamic", "--defined-only", path).splitlines()]


def needed(path: Path) -> tuple[str, ...]:
    """Return the libraries that an ELF library needs."""
    return tuple(re.findall(r"NEEDED.*\[(.+)\]", _printed("readelf", "--dynamic", path)))


def _printed(*command: object) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def table(found: Iterable[Figures]) -> str:
    """Return the table."""
    head = "| system | library | size | functions | needs |\n|---|---|--:|--:|---|\n"
    return head + "".join(f"{x}\n" for x in found)


def render(text: str, found: Iterable[Figures]) -> str:
    """Return the page with these figures."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"need a section from {BEGIN.strip()} to {END}, got none")
    return f"{head}{begin}{table(found)}{end}{tail}"


if __name__ == "__main__":
    PAGE.write_text(
        render(PAGE.read_text(encoding="utf-8"), [figures(x, compiled(x)) for x in TARGETS]), encoding="utf-8"
    )
