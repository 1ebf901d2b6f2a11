"""Compiled objects: when one is compiled, when it is found in the cache, and what happens if neither works."""

import compileall
import importlib.metadata
import os
import platform
import shutil
import stat
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba.core.event import install_recorder

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.kernels import entry
from pyfastlr_kernels.compile import cache, codegen, sources
from pyfastlr_kernels.cpu import load
from test_layers import MODULES, imported

STEP = """
    import sys, warnings
    import numpy as np, pyfastlr as flr
    from pyfastlr_kernels.compile import cache
    p = np.ones(5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flr.SGD(p, lr=0.5).step(np.ones(5))
        flr.SGD(np.ones(5), lr=0.5, momentum=0.5).step(np.ones(5))
    assert p.tolist() == [0.5] * 5
    print(len(cache.compiled), "numba" in sys.modules, [str(w.message) for w in caught if w.category is RuntimeWarning])
"""


def run(script=STEP, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache directory with everything that STEP needs."""
    place = tmp_path_factory.mktemp("filled") / "cache"
    assert run(PYFASTLR_CACHE_DIR=str(place)) == "3 True []"  # the launch and two drives
    return place


@pytest.fixture
def filled_cache(filled, tmp_path):
    place = tmp_path / "cache"
    shutil.copytree(filled, place)
    return place


def test_second_process_compiles_nothing_and_imports_no_numba(filled_cache):
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"


@pytest.mark.parametrize(("umask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600), (0, 0o755, 0o644)])
def test_others_may_read_as_the_umask_says_but_never_write(monkeypatch, tmp_path, umask, folder, file):
    """Objects that root compiles while an image is built work for its users."""
    place = tmp_path / "cache"
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(place))
    before = os.umask(umask)
    try:
        cache.kept("name", "1.o", lambda: b"code")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(x.stat().st_mode) for x in (place, place / "name-1.o")] == [folder, file]


def test_nothing_compiles_again_when_a_hyperparameter_changes(monkeypatch):
    """Numba compiles nothing, neither objects for the cache nor a schedule on use, and nothing is linked."""
    p = np.ones(5)
    opt = flr.AdamW({"w": p, "b": np.ones(2)}, lr=0.1, groups=[{"params": "b", "lr": 0.2}])
    g = {"w": np.ones(5), "b": np.ones(2)}
    opt.step(g)
    before = list(cache.compiled)
    monkeypatch.setattr(codegen, "_linker", None)  # linking would call it
    with install_recorder("numba:compile") as recorder:
        for lr in (0.5, S.Cosine(0.1, 10), lambda n: 0.1):
            opt.lr = lr
            opt.step(g)
        opt.groups[1]["betas"] = (S.Constant(0.5), 0.9)
        opt.groups[0]["weight_decay"] = S.Linear(0.1, 0.0, 9)
        opt.groups[0]["decay"] = "coupled"
        opt.groups[1]["eps"] = 1e-3
        opt.step(g, inv_scale=0.5)
        flr.Adam(np.ones((3, 4)), lr=0.3, maximize=True, threads=2).step(np.ones((3, 4)))
    assert recorder.buffer == []
    assert cache.compiled == before


def test_a_recorder_sees_what_numba_compiles():
    with install_recorder("numba:compile") as recorder:
        S.Constant(0.1).compiled(0)
    assert recorder.buffer


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_truncated_object_is_compiled_again(filled_cache, cut):
    for file in filled_cache.glob("*.o"):
        file.write_bytes(file.read_bytes()[:cut])
    output = run(PYFASTLR_CACHE_DIR=str(filled_cache))
    assert output.startswith("3 True ['pyfastlr compiles without its cache: ")
    assert "damaged" in output
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"


def test_every_flipped_bit_is_seen(filled_cache):
    """For a sample of bytes: the first ones, some of the header, some of the code."""
    file = next(filled_cache.glob("launch-*.o"))
    content = file.read_bytes()
    for at in (0, 5, len(cache._MAGIC) + 3, len(cache._MAGIC) + 40, len(content) // 2, len(content) - 1):
        for bit in (0, 7):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            file.write_bytes(damaged)
            cache._warned.clear()
            with pytest.warns(RuntimeWarning, match="damaged"):
                image = cache._read(file)
            assert image is None


def test_junk_in_the_directory_is_left_alone(filled_cache):
    (filled_cache / "notes.txt").write_text("mine")
    (filled_cache / "launch-0.o").mkdir()
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"
    assert (filled_cache / "notes.txt").read_text() == "mine"


def test_no_directory_to_write_to(tmp_path):
    """A file in place of the directory, where even root cannot write."""
    (tmp_path / "file").write_text("")
    output = run(PYFASTLR_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert output.startswith("3 True [")
    assert output.count("pyfastlr compiles without its cache") == 1


def test_directory_that_others_may_write_to_is_not_used(filled_cache):
    filled_cache.chmod(0o777)
    output = run(PYFASTLR_CACHE_DIR=str(filled_cache))
    assert output.startswith("3 True ['pyfastlr compiles without its cache: others may write to")


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Empty cache directory for this process, with no warning given yet."""
    place = tmp_path / "cache"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(place))
    cache._warned.clear()
    yield place
    cache._warned.clear()


def test_what_was_kept_is_read_again(place):
    assert cache.kept("name", "1.o", lambda: b"code") == b"code"
    assert [file.name for file in place.iterdir()] == ["name-1.o"]
    assert cache.kept("name", "1.o", lambda: b"other") == b"code"
    assert cache.kept("name", "2.o", lambda: b"other") == b"other"


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o770, 0o707])
def test_neither_the_group_nor_the_world_may_write(place, mode):
    assert cache.kept("name", "1.o", lambda: b"code") == b"code"
    place.chmod(mode)
    with pytest.warns(RuntimeWarning, match="others may write to"):
        assert cache.kept("name", "1.o", lambda: b"mine") == b"mine"
    assert cache.kept("name", "2.o", lambda: b"mine") == b"mine"
    assert [file.name for file in place.iterdir()] == ["name-1.o"]


@pytest.mark.filterwarnings("ignore:pyfastlr compiles without its cache")
@pytest.mark.parametrize(("owner", "trusted"), [(0, True), (1000, True), (1001, False)])
def test_only_root_and_the_user_may_own_the_directory(monkeypatch, owner, trusted):
    monkeypatch.setattr(os, "getuid", lambda: 1000, raising=False)
    place = SimpleNamespace(stat=lambda: SimpleNamespace(st_uid=owner, st_mode=stat.S_IFDIR | 0o700))
    assert cache._trusted(place) is trusted


def test_file_has_its_name_only_when_it_is_whole(place, monkeypatch):
    """If renaming fails, no partial or temporary file remains."""

    def refuse(source, target):
        assert Path(source).parent == Path(target).parent  # the same file system, or renaming is not atomic
        assert Path(source).read_bytes().endswith(b"code")
        raise OSError("no renaming")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(RuntimeWarning, match="no renaming"):
        assert cache.kept("name", "1.o", lambda: b"code") == b"code"
    assert list(place.iterdir()) == []


# --- The key ----------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]
KEYS = {
    "drive": lambda: load.versions()[0],
    "launch": lambda: load.versions()[1],
    "stages": lambda: load.versions()[2],
    "sums": lambda: load.versions()[3],
    "launch's IR": load.LAUNCH_CODE.stamp,
    "stages' IR": load.STAGES_CODE["float32"].stamp,
    "users' functions": entry.digest,
}
# Where and when code is kept, not what it is.
NO_CODE = {"compile/cache.py", "compile/sources.py", "compile/first_use.py", "cpu/load.py", "stamps.py"}


def key(name):
    cache.digest.cache_clear()
    entry.digest.cache_clear()
    return KEYS[name]()


@pytest.fixture(autouse=True)
def _keys_of_this_test():
    yield
    cache.digest.cache_clear()
    entry.digest.cache_clear()


def sources_of(*modules):
    """Source files of these kernel modules and of all their imports."""
    found, new = set(), set(modules)
    while new:
        found |= new
        new = {x for m in new for x, is_top in imported(m, MODULES[m]) if is_top and x in MODULES} - found
    kernels = {MODULES[x] for x in found if x.startswith("pyfastlr_kernels")}
    names = {str(x.relative_to(sources.PACKAGE)) for x in kernels if x.name != "__init__.py"}
    return sorted(names - NO_CODE)


DRIVE = sources_of("pyfastlr_kernels.cpu.drive", "pyfastlr_kernels.compile.codegen")
LAUNCH = sources_of("pyfastlr_kernels.cpu.launch")
STAGES = sources_of("pyfastlr_kernels.cpu.stages", "pyfastlr_kernels.compile.codegen")
SUMS = sources_of("pyfastlr_kernels.cpu.reduce", "pyfastlr_kernels.compile.codegen")
USERS = sorted({*DRIVE, *sources_of("pyfastlr_kernels.njit")})
NEEDED = [
    *(("drive", name) for name in DRIVE),
    *(("launch", name) for name in [*LAUNCH, "compile/codegen.py"]),
    *(("launch's IR", name) for name in LAUNCH),
    *((key, name) for key in ("stages", "stages' IR") for name in STAGES),
    *(("sums", name) for name in SUMS),
    *(("users' functions", name) for name in USERS),
    *(
        ("users' functions", f"../pyfastlr/{path.relative_to(ROOT / 'pyfastlr')}")
        for path in [ROOT / "pyfastlr" / "kernels" / "entry.py", *(ROOT / "pyfastlr" / "optimizers").glob("*.py")]
    ),
]


def test_sources_are_found_by_their_imports():
    assert set(DRIVE) >= {"tables.py", "rules/contract.py", "rules/adam.py", "cpu/loop.py", "compile/intrinsics.py"}
    assert set(LAUNCH) >= {"tables.py", "python_side.py", "cpu/pool.py", "compile/intrinsics.py", "compile/options.py"}
    assert set(STAGES) >= {"tables.py", "reduce.py", "cpu/stage_norms.py", "cpu/elementwise.py", "cpu/reduce.py"}
    assert "njit.py" in USERS


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Copies of the two packages."""
    place = tmp_path_factory.mktemp("packages")
    for folder in (sources.PACKAGE, ROOT / "pyfastlr"):
        shutil.copytree(folder, place / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize(("name", "source"), NEEDED, ids=lambda x: x)
def test_every_source_is_in_the_key(packages, monkeypatch, name, source):
    monkeypatch.setattr(sources.hash_sources, "__defaults__", (packages / "pyfastlr_kernels",))
    monkeypatch.setattr(entry, "__file__", str(packages / "pyfastlr" / "kernels" / "entry.py"))
    before = key(name)
    assert key(name) == before
    path = packages / "pyfastlr_kernels" / source
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    try:
        assert key(name) != before
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["drive", "launch"])
@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_versions_are_in_the_key(monkeypatch, package, name):
    before, version = key(name), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda x: "0.0.0" if x == package else version(x))
    assert key(name) != before


@pytest.mark.parametrize("name", ["drive", "launch"])
@pytest.mark.parametrize("other", ["CPU", "features", "Python", "ABI", "head of objects", "system", "machine"])
def test_machine_is_in_the_key(monkeypatch, other, name):
    def replace(module, **names):
        monkeypatch.setattr(cache, module.__name__, SimpleNamespace(**{**vars(module), **names}))

    before, (cpu, features) = key(name), cache.target()
    match other:
        case "CPU":
            monkeypatch.setattr(cache, "target", lambda: ("another", features))
        case "features":
            monkeypatch.setattr(cache, "target", lambda: (cpu, "+another"))
        case "Python":
            replace(sys, version_info=(3, 99, 0))
        case "ABI":
            replace(sysconfig, get_config_var=lambda name: "cpython-311t")
        case "head of objects":
            monkeypatch.setattr(cache, "object", SimpleNamespace(__basicsize__=32), raising=False)
        case "system":
            replace(sys, platform="another")
        case "machine":
            replace(platform, machine=lambda: "another")
    assert key(name) != before


@pytest.mark.parametrize(
    "variable",
    ["NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_NAME",
     "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_DEBUGINFO"],
)  # fmt: skip
def test_variables_of_numba_are_in_the_key(monkeypatch, variable):
    monkeypatch.delenv(variable, raising=False)
    before = key("drive")
    monkeypatch.setenv(variable, "0")
    assert key("drive") != before


def test_edited_rule_gets_its_own_code(filled_cache, tmp_path):
    """A copy of the package with a different SGD and the same cache."""
    shutil.copytree(sources.PACKAGE, tmp_path / "pyfastlr_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "pyfastlr_kernels" / "rules" / "sgd.py"
    text = rules.read_text()
    assert "return r.lr * g, s" in text
    rules.write_text(text.replace("return r.lr * g, s", "return r.lr * (g + g), s"))
    script = STEP.replace("[0.5] * 5", "[0.0] * 5")
    environment = {"PYFASTLR_CACHE_DIR": str(filled_cache), "PYTHONPATH": str(tmp_path)}
    assert run(script, **environment) == "2 True []"  # the launch knows no rule
    assert run(script, **environment) == "0 False []"
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"


@pytest.mark.parametrize("variable", [{"NUMBA_OPT": "1"}, {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": ""}])
def test_other_code_generation_gets_its_own_code(filled_cache, variable):
    before = len(list(filled_cache.glob("*.o")))
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache), **variable) == "3 True []"
    assert len(list(filled_cache.glob("*.o"))) == before + 3
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache), **variable) == "0 False []"
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"


def test_processes_that_fill_one_cache_at_once(tmp_path):
    environment = {**os.environ, "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", textwrap.dedent(STEP)]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=300)[0].strip()[-2:] for process in started] == ["[]"] * 4
    assert all(process.returncode == 0 for process in started)
    assert not list((tmp_path / "cache").glob("*.tmp"))
    assert run(PYFASTLR_CACHE_DIR=str(tmp_path / "cache")) == "0 False []"


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("PYFASTLR_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, place in [(str(tmp_path), tmp_path), ("", "home"), ("relative", "home"), ("~/x", "home")]:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache.directory() == (tmp_path / "home/.cache" if place == "home" else place) / "pyfastlr"
    for given, place in [(str(tmp_path / "x"), tmp_path / "x"), ("~/x", tmp_path / "home/x"), ("x", Path.cwd() / "x")]:
        monkeypatch.setenv("PYFASTLR_CACHE_DIR", given)
        assert cache.directory() == place


def homeless(command, **options):
    """Run a script as a user without HOME and without an entry in the user database."""
    script = "import pwd\npwd.getpwuid = lambda uid: {}[uid]\n" + textwrap.dedent(command)
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "PYFASTLR_CACHE_DIR")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="the home of Linux")
def test_without_a_home_nothing_is_written_and_it_is_said_once(tmp_path):
    output = homeless(STEP, cwd=tmp_path)
    assert output.startswith("3 True ['pyfastlr compiles without its cache: this user has no home directory")
    assert output.count("without its cache") == 1
    assert list(tmp_path.rglob("*")) == []
    assert (
        homeless("from pyfastlr.cli.info import collect\nprint(collect()['cache_directory'])", cwd=tmp_path) == "None"
    )


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="only root can become another user")
def test_what_root_has_compiled_serves_others(filled, tmp_path):
    """As in an image: `RUN pyfastlr warmup` as root, then `USER app`."""
    become = """
        import os, sys
        import pyfastlr as flr, numpy as np
        import pyfastlr.engines.host, pyfastlr_kernels.cpu.load as load  # the checkout may be closed to that user
        load.versions()
        os.setgid(54321)
        os.setuid(54321)
    """
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    place = tmp_path / "cache"
    shutil.copytree(filled, place)
    script = textwrap.dedent(become) + textwrap.dedent(STEP)
    assert run(script, PYFASTLR_CACHE_DIR=str(place)) == "0 False []"


# --- However the packages are installed -------------------------------------------------------------------------------


def copied(place):
    """The two packages, in a folder."""
    for folder in (sources.PACKAGE, ROOT / "pyfastlr"):
        shutil.copytree(folder, place / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def as_files(place):
    return copied(place)


def as_byte_code(place):
    """PyInstaller, `compileall -b`, images without sources."""
    compileall.compile_dir(copied(place), quiet=2, legacy=True)
    for file in place.rglob("*.py"):
        file.unlink()
    return place


def as_zip(place):
    """Lambda layers, zipapp, PEX."""
    return Path(shutil.make_archive(str(place) + "-zipped", "zip", copied(place)))


@pytest.mark.parametrize("install", [as_files, as_byte_code, as_zip])
def test_every_kind_of_install_steps_from_its_cache(tmp_path, install):
    place = install(tmp_path / "packages")
    here = f"import pyfastlr, pyfastlr_kernels\nassert all(m.__file__.startswith({str(place)!r}) " + (
        "for m in (pyfastlr, pyfastlr_kernels))\n"
    )
    script = here + textwrap.dedent(STEP)
    environment = {"PYTHONPATH": str(place), "PYTHONSAFEPATH": "1", "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    assert run(script, **environment) == "3 True []"
    assert run(script, **environment) == "0 False []"
    more = """
        import sys
        import numpy as np
        from pyfastlr_kernels.cpu import load
        load.LAUNCH_CODE.emit()
        load.STAGES_CODE["float32"].emit()
        print("numba" in sys.modules)  # if so, an IR was not used
        pyfastlr.kernels.sgd(np.ones(3), np.ones(3), (), 0, 0.5)
    """
    assert run(here + textwrap.dedent(more), **environment) == "False"


def test_the_digest_is_of_the_text_in_files_and_in_a_zip(tmp_path):
    script = "from pyfastlr_kernels.cpu import load\nprint(*load.versions(), load.LAUNCH_CODE.stamp())"
    in_files, zipped = as_files(tmp_path / "a"), as_zip(tmp_path / "b")
    assert run(script, PYTHONPATH=str(in_files)) == run(script, PYTHONPATH=str(zipped))


def test_the_digest_of_byte_code_is_stable_and_sees_edits(tmp_path):
    """The order of a set in byte code depends on the hash seed, which differs in each process."""
    script = "from pyfastlr_kernels.cpu import load\nprint(*load.versions())"
    place = as_byte_code(tmp_path / "a")
    seeds = [run(script, PYTHONPATH=str(place), PYTHONHASHSEED=str(seed)) for seed in (1, 2)]
    assert seeds[0] == seeds[1]
    edited = copied(tmp_path / "b")
    rule = edited / "pyfastlr_kernels" / "rules" / "sgd.py"
    rule.write_text(rule.read_text().replace("return r.lr * g, s", "return r.lr * (g + g), s"))
    compileall.compile_dir(edited, quiet=2, legacy=True)
    for file in edited.rglob("*.py"):
        file.unlink()
    drive, *others = run(script, PYTHONPATH=str(edited)).split()
    assert drive != seeds[0].split()[0]
    assert others == seeds[0].split()[1:]  # of the launch, the stages, the sums


def test_without_metadata_the_modules_tell_their_versions(monkeypatch):
    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    before = key("drive")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert key("drive") == before


def test_numba_that_may_not_compile_is_named(tmp_path):
    script = (
        "import numpy as np, pyfastlr as flr\np = np.ones(3)\n"
        + """
try:
    flr.SGD(p, lr=0.5).step(np.ones(3))
except RuntimeError as problem:
    print(problem)
print(p.tolist())
"""
    )
    environment = {"PYFASTLR_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    said, p = run(script, **environment).splitlines()
    assert "unset NUMBA_DISABLE_JIT" in said
    assert p == "[1.0, 1.0, 1.0]"
    run(script, PYFASTLR_CACHE_DIR=str(tmp_path))
    assert run(script, **environment) == "[0.5, 0.5, 0.5]", "what is in the cache needs no numba"


# --- Pruning ----------------------------------------------------------------------------------------------------------


def test_what_nobody_has_read_for_long_is_deleted(place):
    day = 24 * 3600
    for name, age in [("old", 40), ("used", 40), ("new", 1)]:
        cache.kept(name, "1.o", lambda: b"code")
        then = time.time() - age * day
        os.utime(place / f"{name}-1.o", (then, then))
    (place / "note.txt").write_text("somebody's own")
    assert cache.kept("used", "1.o", lambda: b"other") == b"code"  # reading renews the time
    size = (place / "old-1.o").stat().st_size
    assert cache.prune(30) == (1, size)
    assert {file.name for file in place.iterdir()} == {"used-1.o", "new-1.o", "note.txt"}
    assert cache.kept("old", "1.o", lambda: b"again") == b"again"
    assert cache.prune(30) == (0, 0)
