"""Compiled objects: when one is compiled, when it is found, and what happens when it cannot be."""

import importlib.metadata
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba.core.event import install_recorder

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.kernels import entry
from pyfastlr_kernels.compile import cache, codegen
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
    """A cache directory that has what STEP needs."""
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


def test_directory_belongs_to_the_user_alone(filled):
    assert stat.S_IMODE(filled.stat().st_mode) == 0o700


def test_nothing_compiles_again_when_a_hyperparameter_changes(monkeypatch):
    """Neither objects for the cache, nor anything else by numba, nor a schedule by its use; and nothing is linked."""
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
    """In a sample: the first bytes, some of the head, some of the code."""
    file = next(filled_cache.glob("launch-*.o"))
    content = file.read_bytes()
    for at in (0, 5, len(cache._MAGIC) + 3, len(cache._MAGIC) + 40, len(content) // 2, len(content) - 1):
        for bit in (0, 7):
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            file.write_bytes(damaged)
            cache._warn.cache_clear()
            with pytest.warns(RuntimeWarning, match="damaged"):
                image = cache._read(file)
            assert image is None


def test_junk_in_the_directory_is_left_alone(filled_cache):
    (filled_cache / "notes.txt").write_text("mine")
    (filled_cache / "launch-0.o").mkdir()
    assert run(PYFASTLR_CACHE_DIR=str(filled_cache)) == "0 False []"
    assert (filled_cache / "notes.txt").read_text() == "mine"


def test_no_directory_to_write_to(tmp_path):
    """A file where the directory should be: also root cannot write there."""
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
    """Empty cache directory of this process, in which nothing has been complained of."""
    place = tmp_path / "cache"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(place))
    cache._warn.cache_clear()
    yield place
    cache._warn.cache_clear()


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
    """Where renaming fails there is neither half a file nor what was written so far."""

    def refuse(source, target):
        assert Path(source).parent == Path(target).parent  # one file system, or it is no single act
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
    "launch's IR": load.launch_stamp,
    "users' functions": entry.digest,
}
# Where and when code is kept, not what it is.
NO_CODE = {"compile/cache.py", "compile/first_use.py", "cpu/load.py", "stamps.py"}


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
    """Files of the kernels that these modules are made of: what they import, and what that imports."""
    found, new = set(), set(modules)
    while new:
        found |= new
        new = {x for m in new for x, is_top in imported(m, MODULES[m]) if is_top and x in MODULES} - found
    kernels = {MODULES[x] for x in found if x.startswith("pyfastlr_kernels")}
    names = {str(x.relative_to(cache.PACKAGE)) for x in kernels if x.name != "__init__.py"}
    return sorted(names - NO_CODE)


DRIVE = sources_of("pyfastlr_kernels.cpu.drive", "pyfastlr_kernels.compile.codegen")
LAUNCH = sources_of("pyfastlr_kernels.cpu.launch")
USERS = sorted({*DRIVE, *sources_of("pyfastlr_kernels.njit")})
NEEDED = [
    *(("drive", name) for name in DRIVE),
    *(("launch", name) for name in [*LAUNCH, "compile/codegen.py"]),
    *(("launch's IR", name) for name in LAUNCH),
    *(("users' functions", name) for name in USERS),
    *(
        ("users' functions", f"../pyfastlr/{path.relative_to(ROOT / 'pyfastlr')}")
        for path in [ROOT / "pyfastlr" / "kernels" / "entry.py", *(ROOT / "pyfastlr" / "optimizers").glob("*.py")]
    ),
]


def test_sources_are_found_by_their_imports():
    assert set(DRIVE) >= {"tables.py", "rules/contract.py", "rules/adam.py", "cpu/loop.py", "compile/intrinsics.py"}
    assert set(LAUNCH) >= {"tables.py", "python_side.py", "cpu/pool.py", "compile/intrinsics.py", "compile/options.py"}
    assert "njit.py" in USERS


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Copies of the two packages."""
    place = tmp_path_factory.mktemp("packages")
    for folder in (cache.PACKAGE, ROOT / "pyfastlr"):
        shutil.copytree(folder, place / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize(("name", "source"), NEEDED, ids=lambda x: x)
def test_every_source_is_in_the_key(packages, monkeypatch, name, source):
    monkeypatch.setattr(cache.hash_sources, "__defaults__", (packages / "pyfastlr_kernels",))
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
@pytest.mark.parametrize("other", ["CPU", "features", "Python", "system"])
def test_machine_is_in_the_key(monkeypatch, other, name):
    before, (cpu, features) = key(name), cache.target()
    match other:
        case "CPU":
            monkeypatch.setattr(cache, "target", lambda: ("another", features))
        case "features":
            monkeypatch.setattr(cache, "target", lambda: (cpu, "+another"))
        case "Python":
            monkeypatch.setattr(cache, "sys", SimpleNamespace(version_info=(3, 99, 0), platform=sys.platform))
        case "system":
            monkeypatch.setattr(cache, "sys", SimpleNamespace(version_info=sys.version_info, platform="another"))
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
    """A copy of the package with another SGD, over the same cache."""
    shutil.copytree(cache.PACKAGE, tmp_path / "pyfastlr_kernels", ignore=shutil.ignore_patterns("__pycache__"))
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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.directory() == tmp_path / "pyfastlr"
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "x"))
    assert cache.directory() == tmp_path / "x"
