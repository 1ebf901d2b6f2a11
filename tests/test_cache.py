"""Compiled objects: when one is compiled, when it is found, and what happens when it cannot be."""

import os
import shutil
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr_kernels.compile import cache

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
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
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


def test_nothing_compiles_again_when_a_hyperparameter_changes():
    p = np.ones(5)
    opt = flr.AdamW({"w": p, "b": np.ones(2)}, lr=0.1, groups=[{"params": "b", "lr": 0.2}])
    g = {"w": np.ones(5), "b": np.ones(2)}
    opt.step(g)
    before = list(cache.compiled)
    for lr in (0.5, S.Cosine(0.1, 10), lambda n: 0.1):
        opt.lr = lr
        opt.step(g)
    opt.groups[1]["betas"] = (S.Constant(0.5), 0.9)
    opt.groups[0]["weight_decay"] = S.Linear(0.1, 0.0, 9)
    opt.groups[0]["decay"] = "coupled"
    opt.groups[1]["eps"] = 1e-3
    opt.step(g, inv_scale=0.5)
    flr.Adam(np.ones((3, 4)), lr=0.3, maximize=True, threads=2).step(np.ones((3, 4)))
    assert cache.compiled == before


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
    assert [process.communicate(timeout=120)[0].strip()[-2:] for process in started] == ["[]"] * 4
    assert all(process.returncode == 0 for process in started)
    assert not list((tmp_path / "cache").glob("*.tmp"))
    assert run(PYFASTLR_CACHE_DIR=str(tmp_path / "cache")) == "0 False []"


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("PYFASTLR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.directory() == tmp_path / "pyfastlr"
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "x"))
    assert cache.directory() == tmp_path / "x"
