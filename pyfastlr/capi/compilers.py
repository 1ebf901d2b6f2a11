"""C compilers: which one builds the library, with which flags, and what the result is called on its system."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import zig_runtime

#: Flags that keep the bits: C99, no fused multiply-add, and no errno or trap that would keep a loop from vectorising.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_LIBRARY = ("-shared", "-fvisibility=hidden", "-DFASTLR_BUILD", "-s")
MAJOR = 0  # of the ABI: part of the library's name on Linux and macOS


class System(NamedTuple):
    """What a library is called on a system, and what its linker needs to know."""

    library: str
    links: tuple[str, ...]  # other names of the library: what a linker looks for
    flags: tuple[str, ...]


_ELF = System(
    f"libfastlr.so.{MAJOR}", ("libfastlr.so",), ("-fPIC", f"-Wl,-soname,libfastlr.so.{MAJOR}", "-Wl,--no-undefined")
)
_MACH_O = System(
    f"libfastlr.{MAJOR}.dylib",
    ("libfastlr.dylib",),
    ("-fPIC", f"-Wl,-install_name,@rpath/libfastlr.{MAJOR}.dylib"),
)
_PE = System("fastlr.dll", (), ())
_SYSTEMS = {"linux": _ELF, "macos": _MACH_O, "windows": _PE}

#: Systems to compile for on any other -> their names in zig. glibc 2.17 is that of manylinux2014.
TARGETS = {
    "x86_64-linux": "x86_64-linux-gnu.2.17",
    "aarch64-linux": "aarch64-linux-gnu.2.17",
    "x86_64-windows": "x86_64-windows-gnu",
    "aarch64-macos": "aarch64-macos",
}


class NoCompiler(RuntimeError):
    """There is no C compiler. The message says what would be one."""


class CompileError(RuntimeError):
    """The compiler failed. The message ends with what it printed."""


class Compiler(NamedTuple):
    """A command that compiles C.

    Attributes
    ----------
    command
        The program and its first arguments.
    is_zig
        Whether it is ``zig cc``, which compiles for other systems too, and for this machine's CPU unless told not to.
    """

    command: tuple[str, ...]
    is_zig: bool

    def __str__(self) -> str:
        return shlex.join(self.command)

    @property
    def identity(self) -> tuple[object, ...]:
        """What changes if another compiler is installed. No process is started for it."""
        program = Path(os.path.realpath(shutil.which(self.command[0]) or self.command[0]))
        status = program.stat()
        return self.command, str(program), status.st_size, status.st_mtime_ns, self._package()

    def _package(self) -> str | None:
        from pyfastlr_kernels.compile.sources import version_of

        return version_of("ziglang") if self.command[1:3] == ("-m", "ziglang") else None

    def flags(self, target: str | None = None) -> tuple[str, ...]:
        """Flags of a library.

        Parameters
        ----------
        target
            One of `TARGETS`; None is this system.

        Raises
        ------
        ValueError
            If the target is unknown, or the compiler has no targets.
        """
        if target is None:
            # zig compiles for this machine's CPU by default; the library chooses its instructions when it runs.
            return (*FLAGS, *(("-mcpu=baseline",) if self.is_zig else ()), *_LIBRARY, *system(None).flags)
        if target not in TARGETS:
            raise ValueError(f"`target` must be one of {', '.join(TARGETS)}, got {target!r}")
        if not self.is_zig:
            raise ValueError(f"`target` needs zig (pip install ziglang), got the compiler {self}")
        return ("-target", TARGETS[target], *FLAGS, *_LIBRARY, *system(target).flags)

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run the compiler in a folder.

        Raises
        ------
        CompileError
            If it cannot be started or fails.
        """
        environment = dict(os.environ)
        if self.is_zig:  # its caches: the user's, unless there is no home directory
            environment.setdefault("ZIG_LOCAL_CACHE_DIR", str(folder / "zig"))
            if not os.path.isabs(os.path.expanduser("~")):
                environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder / "zig"))
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError as error:
            raise CompileError(f"{self} could not be started: {error.strerror}") from None
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()[-4000:]
            raise CompileError(f"{self} failed with status {done.returncode}: {said or 'it printed nothing'}")

    def files(self, header: str, source: str, target: str | None = None) -> dict[str, str]:
        """Text of all files of the library, by name."""
        needs_levels = self.is_zig and zig_runtime.is_needed(target)
        more = {zig_runtime.NAME: zig_runtime.SOURCE} if needs_levels else {}
        return {"fastlr.h": header, "fastlr.c": source, **more}

    def library(self, header: str, source: str, target: str | None = None, more: Sequence[str] = ()) -> bytes:
        """Compile ``fastlr.c`` and return the library's content; `more` are further flags.

        Raises
        ------
        CompileError, ValueError
            As `run` and `flags`.
        """
        flags, files = self.flags(target), self.files(header, source, target)
        with tempfile.TemporaryDirectory(prefix="pyfastlr-") as temporary:
            folder = Path(temporary)
            for name, text in files.items():
                (folder / name).write_bytes(text.encode())
            library = system(target).library
            self.run([*flags, *more, *(x for x in files if x.endswith(".c")), "-lm", "-o", library], folder)
            return (folder / library).read_bytes()


def system(target: str | None) -> System:
    """Names and flags of a target's system; None is this one."""
    if target is not None:
        return _SYSTEMS[target.rpartition("-")[2]]
    return {"win32": _PE, "darwin": _MACH_O}.get(sys.platform, _ELF)


def find(cc: str | None = None, target: str | None = None) -> Compiler:
    """Find a compiler.

    Parameters
    ----------
    cc
        The command, such as ``"gcc"`` or ``"zig cc"``. None means ``$CC``, else the first of cc, gcc, clang and
        ``python -m ziglang cc`` (pip install ziglang). For another system, only zig is looked for.
    target
        One of `TARGETS`; None is this system.

    Raises
    ------
    NoCompiler
        If there is none, or the given one is not there.
    ValueError
        If the command is empty.
    """
    given, argument = (os.environ.get("CC"), "$CC") if cc is None and target is None else (cc, "`cc`")
    if given is not None and (cc is not None or given.strip()):
        return _given(given, argument)
    for name in ("cc", "gcc", "clang") if target is None else ():
        if shutil.which(name):
            return Compiler((name,), is_zig=False)
    if importlib.util.find_spec("ziglang") is not None:
        return Compiler((sys.executable, "-m", "ziglang", "cc"), is_zig=True)
    if shutil.which("zig"):
        return Compiler(("zig", "cc"), is_zig=True)
    needed = "a C compiler (cc, gcc or clang), or zig" if target is None else "zig"
    raise NoCompiler(f"no C compiler was found: install {needed} (pip install ziglang), or name one in `cc` or $CC")


def _given(command: str, argument: str) -> Compiler:
    """Compiler that the user names."""
    try:
        parts = tuple(shlex.split(command, posix=os.name == "posix"))
    except ValueError as error:
        raise ValueError(f"{argument} must be a command, got {command!r}: {error}") from None
    if not parts:
        raise ValueError(f"{argument} must be a command, got {command!r}")
    program = shutil.which(parts[0])
    if not program:
        raise NoCompiler(f"{argument} must be a command that exists, got {command!r}")
    if os.path.dirname(parts[0]):
        parts = (os.path.abspath(program), *parts[1:])  # it will run in another folder
    stem = Path(parts[0]).stem.lower()
    if stem in ("cl", "clang-cl"):
        raise ValueError(f"{argument} must take the options of gcc (gcc, clang or zig cc), got {command!r}")
    return Compiler(parts, is_zig=stem == "zig" or parts[1:3] == ("-m", "ziglang"))
