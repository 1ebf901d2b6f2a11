"""The launch's IR, made ahead: it is that of the sources, it is used, and where it cannot be the Python text is."""

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


@pytest.mark.parametrize("damage", ["missing", "of other sources", "no IR"])
def test_without_it_numba_compiles_the_text(tmp_path, damage):
    shutil.copytree(
        ROOT / "kernels" / "pyfastlr_kernels", tmp_path / "pyfastlr_kernels",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    text = tmp_path / "pyfastlr_kernels" / "cpu" / "launch.ll"
    if damage == "missing":
        text.unlink()
    elif damage == "of other sources":
        sources = tmp_path / "pyfastlr_kernels" / "cpu" / "launch.py"
        sources.write_text(sources.read_text() + "\n# edited\n")
    else:
        text.write_text(text.read_text().partition("\n")[0] + "\ndefine void @f() { nonsense }\n")
    environment = {"PYTHONPATH": str(tmp_path), "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    said = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exec({step!r})
print([w.category.__name__ for w in caught if "does not read code that came with pyfastlr" in str(w.message)])
"""
    printed = run(sys.executable, "-c", said.format(step=STEP), **environment)
    assert printed == ("True\n['RuntimeWarning']" if damage == "no IR" else "True\n[]")
