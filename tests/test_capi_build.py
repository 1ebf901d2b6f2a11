"""Building the C library: compilers, flags, targets; whole files or none; the cache that `pyfastlr.capi.lib` uses."""

import ctypes
import importlib
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pyfastlr_kernels.compile.cache as cache
from processes import run
from pyfastlr import capi
from pyfastlr.capi import compilers, loading, processor
from pyfastlr.capi.compilers import Compiler
from pyfastlr.cli.commands import app

building = importlib.import_module("pyfastlr.capi.build")  # the module, not the function of that name

HEADER = """\
#if defined(_WIN32) && defined(FASTLR_BUILD)
#define FASTLR_API __declspec(dllexport)
#else
#define FASTLR_API __attribute__((visibility("default")))
#endif
#ifdef __cplusplus
extern "C" {
#endif
/* The number. */
FASTLR_API int fastlr_version(void);
#ifdef __cplusplus
}
#endif
"""
SOURCE = (
    '#include "fastlr.h"\nint hidden(void);\nint hidden(void) { return 7; }\nint fastlr_version(void) { return 100; }\n'
)
BROKEN = '#include "fastlr.h"\nint fastlr_version(void) { return nothing; }\n'
SMALL = f"""
import importlib
from pyfastlr.capi import loading
for module in (importlib.import_module("pyfastlr.capi.build"), loading):
    module.header, module.source = lambda: {HEADER!r}, lambda: {SOURCE!r}
"""
needs_cc = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler")
NAMES = {"linux": ["fastlr.c", "fastlr.h", "libfastlr.so", "libfastlr.so.0"]}
FILES = NAMES.get(sys.platform, [])


def use(monkeypatch, source=SOURCE):
    for module in (building, loading):
        monkeypatch.setattr(module, "header", lambda: HEADER)
        monkeypatch.setattr(module, "source", lambda: source)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A library of one function, which compiles at once, and a cache of this test."""
    use(monkeypatch)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", [])


@pytest.fixture
def nothing_installed(monkeypatch, small):
    """A machine without any compiler."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


# --- The compiler -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ({"cc", "gcc", "clang"}, ("cc",)),
        ({"gcc", "clang"}, ("gcc",)),
        ({"clang", "zig"}, ("clang",)),
        ({"zig", "ziglang"}, (sys.executable, "-m", "ziglang", "cc")),
        ({"zig"}, ("zig", "cc")),
    ],
)
def test_first_compiler_that_is_there(monkeypatch, there, found):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: name if name in there else None)
    assert compilers.find().command == found
    assert compilers.find().is_zig == ("zig" in "".join(found))


def test_cc_comes_before_the_environment_and_that_before_the_search(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setenv("CC", "ccache my-gcc")
    assert compilers.find().command == ("ccache", "my-gcc")
    assert compilers.find("other").command == ("other",)
    assert compilers.find("zig cc").is_zig
    assert compilers.find(f"{sys.executable} -m ziglang cc").is_zig
    monkeypatch.setenv("CC", " ")
    assert compilers.find().command == ("cc",)


def test_only_zig_compiles_for_another_system(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("CC", "gcc")
    assert compilers.find(target="aarch64-linux") == Compiler(("zig", "cc"), is_zig=True)
    with pytest.raises(ValueError, match=r"`target` needs zig \(pip install ziglang\), got the compiler gcc"):
        compilers.find("gcc", "aarch64-linux").flags("aarch64-linux")


def test_without_a_compiler(nothing_installed):
    with pytest.raises(capi.NoCompiler, match=r"install a C compiler \(cc, gcc or clang\), or zig"):
        compilers.find()
    with pytest.raises(capi.NoCompiler, match=r"install zig \(pip install ziglang\)"):
        compilers.find(target="aarch64-macos")
    with pytest.raises(capi.NoCompiler, match="`cc` must be a command that exists, got 'gcc-99'"):
        compilers.find("gcc-99")


@pytest.mark.parametrize("command", ["", "  ", '"'])
def test_cc_must_be_a_command(command):
    with pytest.raises(ValueError, match=f"`cc` must be a command, got '{command}'"):
        compilers.find(command)


@needs_cc
def test_a_compiler_may_have_a_relative_path(small, tmp_path, monkeypatch):
    (tmp_path / "my-cc").symlink_to(shutil.which("cc") or shutil.which("gcc"))
    monkeypatch.chdir(tmp_path)
    assert capi.build("out", cc="./my-cc").library.exists()


def test_a_compiler_with_other_options_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(ValueError, match=r"`cc` must take the options of gcc .*, got 'cl'"):
        compilers.find("cl")


def test_flags_keep_the_bits():
    for compiler in (Compiler(("cc",), False), Compiler(("zig", "cc"), True)):
        flags = compiler.flags()
        assert {"-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"} < {*flags}
        assert "-fvisibility=hidden" in flags
        assert not [x for x in flags if "fast" in x.replace("fastlr", "").replace("FASTLR", "") or "-march" in x]
        assert ("-mcpu=baseline" in flags) == compiler.is_zig  # else zig compiles for this machine's CPU


@pytest.mark.parametrize(
    ("target", "library"),
    [
        ("x86_64-linux", "libfastlr.so.0"),
        ("aarch64-linux", "libfastlr.so.0"),
        ("x86_64-windows", "fastlr.dll"),
        ("aarch64-macos", "libfastlr.0.dylib"),
    ],
)
def test_names_on_other_systems(target, library):
    assert compilers.system(target).library == library
    assert compilers.TARGETS[target] in Compiler(("zig", "cc"), True).flags(target)


def test_zig_gets_what_its_runtime_lacks():
    """Else the library would always use the loops of the lowest level."""
    gcc, zig = Compiler(("cc",), False), Compiler(("zig", "cc"), True)
    assert list(gcc.files(HEADER, SOURCE)) == ["fastlr.h", "fastlr.c"]
    assert list(zig.files(HEADER, SOURCE, "x86_64-linux")) == ["fastlr.h", "fastlr.c", "cpu_levels.c"]
    for target in ("aarch64-linux", "x86_64-windows", "aarch64-macos"):
        assert list(zig.files(HEADER, SOURCE, target)) == ["fastlr.h", "fastlr.c"]


# --- The files --------------------------------------------------------------------------------------------------------


@needs_cc
@pytest.mark.skipif(sys.platform != "linux", reason="names on Linux")
def test_build_writes_sources_and_library(small, tmp_path):
    built = capi.build(tmp_path / "new" / "folder")
    folder = built.library.parent
    assert names(folder) == FILES
    assert built.header.read_text() == HEADER
    assert built.source.read_text() == SOURCE
    assert os.readlink(folder / "libfastlr.so") == "libfastlr.so.0"
    library = ctypes.CDLL(str(built.library))
    assert library.fastlr_version() == 100
    assert not hasattr(library, "hidden")
    assert "libfastlr.so.0" in subprocess.run(
        ["readelf", "-d", built.library], capture_output=True, text=True, check=True
    ).stdout.partition("SONAME")[2].partition("\n")[0]  # fmt: skip


@needs_cc
def test_build_replaces_what_is_there(small, tmp_path, monkeypatch):
    capi.build(tmp_path / "o")
    use(monkeypatch, SOURCE.replace("100", "101"))
    built = capi.build(tmp_path / "o")
    assert ctypes.CDLL(str(built.library)).fastlr_version() == 101
    assert names(tmp_path / "o") == FILES


def test_sources_only(nothing_installed, tmp_path):
    built = capi.build(tmp_path / "o", sources_only=True)
    assert built == (tmp_path / "o" / "fastlr.h", tmp_path / "o" / "fastlr.c", None)
    assert names(tmp_path / "o") == ["fastlr.c", "fastlr.h"]


def test_without_a_compiler_the_sources_are_left(nothing_installed, tmp_path):
    with pytest.raises(capi.NoCompiler, match=r"Only the sources are in '.*'; compile them by: cc -std=c99 -O3 .*-c"):
        capi.build(tmp_path / "o")
    assert names(tmp_path / "o") == ["fastlr.c", "fastlr.h"]


@needs_cc
def test_a_failed_compilation_changes_nothing(small, tmp_path, monkeypatch):
    use(monkeypatch, BROKEN)
    with pytest.raises(capi.CompileError, match=r"(?s)failed with status 1: .*nothing"):
        capi.build(tmp_path / "o")
    assert not (tmp_path / "o").exists()
    use(monkeypatch)
    capi.build(tmp_path / "o")
    use(monkeypatch, BROKEN)
    with pytest.raises(capi.CompileError):
        capi.build(tmp_path / "o")
    assert (tmp_path / "o" / "fastlr.c").read_text() == SOURCE
    assert names(tmp_path / "o") == FILES


@pytest.mark.parametrize("stop", range(1, 5))
def test_an_interrupt_leaves_whole_files(small, tmp_path, monkeypatch, stop):
    """While it compiles, and at each of the writes: what is there is the old file or the new one."""
    monkeypatch.setattr(Compiler, "library", lambda *_: b"old" if stop else b"")
    built = capi.build(tmp_path / "o", cc=sys.executable)
    written = []

    def interrupted(path, content, there=building._write):
        written.append(path)
        if len(written) == stop:
            raise KeyboardInterrupt
        there(path, content)

    def compiled(*_):
        if stop == 4:
            raise KeyboardInterrupt
        return b"new"

    monkeypatch.setattr(building, "_write", interrupted)
    monkeypatch.setattr(Compiler, "library", compiled)
    use(monkeypatch, SOURCE + "/* new */\n")
    with pytest.raises(KeyboardInterrupt):
        capi.build(tmp_path / "o", cc=sys.executable)
    assert names(tmp_path / "o") == FILES
    assert built.source.read_text() in (SOURCE, SOURCE + "/* new */\n")
    assert built.library.read_bytes() == b"old"


@needs_cc
def test_an_interrupt_ends_the_compiler(small, tmp_path):
    """No temporary folder stays, and the compiler does not run on."""
    script = f"""
        import os, sys, tempfile, threading, time, _thread
        tempfile.tempdir = sys.argv[1]
        from pyfastlr.capi.compilers import Compiler
        slow = Compiler((sys.executable, "-c", "import time; open('begun', 'w').close(); time.sleep(60)"), False)
        def interrupt():
            while not [x for x in os.listdir(sys.argv[1]) if os.path.exists(os.path.join(sys.argv[1], x, "begun"))]:
                time.sleep(0.01)
            os.kill(os.getpid(), 2)
        threading.Thread(target=interrupt).start()
        begin = time.monotonic()
        try:
            slow.library({HEADER!r}, {SOURCE!r})
        except KeyboardInterrupt:
            print(time.monotonic() - begin < 30, os.listdir(sys.argv[1]))
    """
    place = tmp_path / "temporary"
    place.mkdir()
    assert run(script, place) == "True []"


def test_arguments_that_need_a_library(small, tmp_path):
    with pytest.raises(ValueError, match="`cc` needs a library, got sources_only=True"):
        capi.build(tmp_path, cc="gcc", sources_only=True)
    with pytest.raises(ValueError, match="`target` needs a library, got sources_only=True"):
        capi.build(tmp_path, target="x86_64-linux", sources_only=True)
    with pytest.raises(TypeError, match=r"`directory` must be a str or os\.PathLike"):
        capi.build(3)
    assert names(tmp_path) == []


def test_target_is_one_of_four(small, tmp_path):
    with pytest.raises(ValueError, match=r"`target` must be one of x86_64-linux, .*, got 'sparc-solaris'"):
        capi.build(tmp_path, cc="zig cc" if shutil.which("zig") else f"{sys.executable} -m ziglang cc",
                   target="sparc-solaris")  # fmt: skip
    assert names(tmp_path) == []


# --- The command ------------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["build-capi", *map(str, arguments)], env={"COLUMNS": "200"})


@needs_cc
def test_command_prints_the_files(small, tmp_path):
    result = invoke("-o", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        str(tmp_path / "o" / name) for name in ("fastlr.h", "fastlr.c", compilers.system(None).library)
    ]


def test_command_writes_sources_only(nothing_installed, tmp_path):
    result = invoke("-o", tmp_path / "o", "--sources-only")
    assert result.exit_code == 0
    assert names(tmp_path / "o") == ["fastlr.c", "fastlr.h"]


def test_command_says_that_there_is_no_compiler(nothing_installed, tmp_path):
    result = invoke("--output", tmp_path / "o")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("pyfastlr: no C compiler was found: install a C compiler")
    assert names(tmp_path / "o") == ["fastlr.c", "fastlr.h"]


@needs_cc
def test_command_shows_what_the_compiler_said(small, tmp_path, monkeypatch):
    use(monkeypatch, BROKEN)
    result = invoke("-o", tmp_path / "o")
    assert result.exit_code == 1
    assert "nothing" in result.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cc", ""], "`cc` must be a command, got ''"),
        (["--sources-only", "--cc", "gcc"], "`cc` needs a library, got sources_only=True"),
        (["--target", "pdp-11", "--cc", "zigzig/zig cc"], "a command that exists"),
        ([], "Missing option '--output'"),
    ],
)
def test_command_refuses(small, tmp_path, arguments, message):
    result = invoke(*(["-o", tmp_path / "o"] if arguments else []), *arguments)
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())


@needs_cc
def test_command_names_a_folder_that_is_none(small, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("-o", tmp_path / "file")
    assert result.exit_code == 1
    assert f"`output`: {str(tmp_path / 'file')!r} could not be written: " in result.stderr


# --- The library of `pyfastlr.capi.lib` -------------------------------------------------------------------------------


def libraries(place):
    return [name for name in names(place) if name.startswith("libfastlr")]


def test_declarations_of_the_header():
    assert loading.declarations(HEADER) == "int fastlr_version(void);"
    text = "#define LONG(x) \\\n    (x)\n  # if 1\nenum { A = 1 }; // not C89\n#endif\n"
    assert loading.declarations(text) == "enum { A = 1 }; // not C89"


@needs_cc
def test_built_once_and_found_again(small, tmp_path, monkeypatch):
    first = loading.built()
    assert libraries(tmp_path / "cache") == [first.path.name]
    monkeypatch.setattr(Compiler, "library", None)  # not called
    assert loading.built() == first
    assert ctypes.CDLL(str(first.path)).fastlr_version() == 100
    assert first.path in list(cache.files())  # so that `pyfastlr warmup --prune` may delete it


@needs_cc
def test_another_source_compiler_or_flag_is_another_library(small, tmp_path, monkeypatch):
    found = {loading.built().path.name}
    use(monkeypatch, SOURCE + "\n")
    found.add(loading.built().path.name)
    monkeypatch.setattr(compilers, "FLAGS", (*compilers.FLAGS, "-DX"))
    found.add(loading.built().path.name)
    other = tmp_path / "my-cc"
    other.write_text(f'#!/bin/sh\nexec {shutil.which("cc") or shutil.which("gcc")} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("CC", str(other))
    found.add(loading.built().path.name)
    other.write_text(other.read_text() + "\n")  # an update of the compiler
    found.add(loading.built().path.name)
    assert len(found) == 5
    assert set(libraries(tmp_path / "cache")) == found


def test_flags_of_this_processor(monkeypatch, tmp_path):
    """For the library that only this machine uses: the highest level that every one of its processors has."""
    v2 = "flags : fpu ssse3 sse4_1 sse4_2 popcnt"
    v3 = f"{v2} avx avx2 fma f16c"
    v4 = f"{v3} avx512f avx512cd avx512bw avx512dq avx512vl"
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor.flags() == ()
    found = []
    for text in ("no flags", "flags : fpu", v2, v3, v4, f"{v4}\n\n{v3}", v4.replace("avx2", "avx3")):
        (tmp_path / "cpuinfo").write_text(f"model name : x\n{text}\n")
        found.append([x for x in processor.flags() if x in ("-DFASTLR_NO_CLONES", "-msse4.2", "-mavx2", "-mavx512f")])
    levels = ["-DFASTLR_NO_CLONES", "-msse4.2", "-mavx2", "-mavx512f"]
    assert found == [levels[:n] for n in (1, 1, 2, 3, 4, 3, 2)]
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert processor.flags() == ()


@needs_cc
def test_another_processor_is_another_library(small, tmp_path, monkeypatch):
    """A home folder may be shared by machines."""
    monkeypatch.setattr(processor, "flags", lambda: ("-DHERE",))
    here = loading.built().path
    monkeypatch.setattr(processor, "flags", lambda: ("-DTHERE",))
    assert loading.built().path != here


@needs_cc
@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: x[:200], lambda x: b"", lambda x: b"\0" + x[1:]])
def test_a_damaged_library_is_built_again(small, damage):
    path = loading.built().path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(RuntimeWarning, match="is damaged and is compiled again"):
        assert loading.built().path == path
    assert ctypes.CDLL(str(path)).fastlr_version() == 100


@needs_cc
@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_folder_that_others_may_write_to_is_not_used(small, tmp_path):
    place = tmp_path / "cache"
    place.mkdir()
    place.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write to"):
        path = loading.built().path
    assert names(place) == []
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert ctypes.CDLL(str(path)).fastlr_version() == 100


@needs_cc
def test_the_folder_of_one_process_ends_with_it(tmp_path):
    place = tmp_path / "cache"
    place.mkdir()
    place.chmod(0o777)
    program = SMALL + (
        "import sys, tempfile, warnings\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "warnings.simplefilter('ignore')\n"
        "from pyfastlr.capi import lib\n"
        "print(lib.fastlr_version())\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    assert run(program, temporary, PYFASTLR_CACHE_DIR=str(place)) == "100"
    assert names(temporary) == names(place) == []


@needs_cc
def test_processes_at_the_same_time(tmp_path):
    place = tmp_path / "cache"
    program = SMALL + "from pyfastlr.capi import lib\nprint(lib.fastlr_version())\n"
    environment = os.environ | {"PYFASTLR_CACHE_DIR": str(place), "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=300)[0] for process in started] == ["100\n"] * 4
    assert len(names(place)) == 1


@needs_cc
def test_threads_and_forks(tmp_path):
    program = SMALL + (
        "import os, threading\n"
        "from pyfastlr import capi\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda: found.append(capi.lib)) for _ in range(4)]\n"
        "for x in threads: x.start()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(capi.lib.fastlr_version())\n"
        "for x in threads: x.join()\n"
        "print(len({*map(id, found)}), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert run("import warnings; warnings.simplefilter('ignore')\n" + program,
               PYFASTLR_CACHE_DIR=str(tmp_path / "cache")) == "1 100"  # fmt: skip


def test_without_wheel_and_compiler_the_error_says_what_to_do(nothing_installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyfastlr_capi", None)
    loading.library.forget()
    with pytest.raises(capi.NoCompiler, match="needs the package pyfastlr-capi of this version, or: no C compiler"):
        loading.library()


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'libs'"):
        _ = capi.libs
