"""The prebuilt IR of the launch matches the sources and is used. If it cannot be used, the Python source is."""

import importlib.metadata
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyfastlr_kernels.cpu import load

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "launch_ir.py"
STEP = """
import sys
import numpy as np, pyfastlr as flr
from pyfastlr_kernels.cpu import load
load.step_addresses()
print("numba" in sys.modules)
p = {"a": np.ones(300_000), "b": np.ones(3)}
flr.SGD(p, lr=lambda n: 0.5, threads=2).step({"a": np.ones(300_000), "b": None})
assert (p["a"] == 0.5).all() and (p["b"] == 1.0).all()
"""


def run(*command, **environment):
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_is_of_these_sources():
    """If not: python scripts/launch_ir.py."""
    head = load.LAUNCH_IR.read_text().partition("\n")[0]
    assert head.split()[-1] == load.launch_stamp().split()[-1]


@pytest.mark.skipif(
    (importlib.metadata.version("numba"), sys.version_info[:2]) != ("0.68.1", (3, 11)),
    reason="another numba makes another text, and labels are offsets in the byte code",
)
def test_making_it_again_gives_the_same(tmp_path):
    script = f"import runpy; print(runpy.run_path({str(SCRIPT)!r})['made'](), end='')"
    generic = runpy.run_path(str(SCRIPT))["GENERIC"]
    assert run(sys.executable, "-c", script, **generic) == load.LAUNCH_IR.read_text().strip()


def test_it_needs_no_numba(tmp_path):
    assert run(sys.executable, "-c", STEP, PYFASTLR_CACHE_DIR=str(tmp_path)) == "False"


def copied(place):
    """A copy of the kernels to edit, including the launch's IR."""
    shutil.copytree(
        ROOT / "kernels" / "pyfastlr_kernels", place / "pyfastlr_kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    return place / "pyfastlr_kernels" / "cpu" / "launch.ll"


@pytest.mark.parametrize("damage", [None, "missing", "of other sources"])
def test_only_the_ir_of_these_sources_is_taken(tmp_path, damage):
    text = copied(tmp_path)
    if damage == "missing":
        text.unlink()
    elif damage:
        sources = text.with_name("launch.py")
        sources.write_text(sources.read_text() + "\n# edited\n")
    script = """
from pyfastlr_kernels.cpu import load
load.emit = lambda entries: b"from the text"
print(load._emit_launch() == b"from the text")
"""
    assert run(sys.executable, "-c", script, PYTHONPATH=str(tmp_path)) == str(damage is not None)


def test_where_llvm_does_not_read_it_numba_compiles_the_text(tmp_path):
    text = copied(tmp_path)
    text.write_text(text.read_text().partition("\n")[0] + "\ndefine void @f() { nonsense }\n")
    said = f"""
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exec({STEP!r})
print([w.category.__name__ for w in caught if "cannot read code that comes with pyfastlr" in str(w.message)])
"""
    environment = {"PYTHONPATH": str(tmp_path), "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    assert run(sys.executable, "-c", said, **environment) == "True\n['RuntimeWarning']"
