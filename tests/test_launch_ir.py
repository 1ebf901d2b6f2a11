"""The prebuilt IR of launch and stages matches the sources and is used. If it cannot be, the Python source is."""

import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyfastlr_kernels.cpu import load

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "launch_ir.py"
CODE = {x.file: x for x in (load.LAUNCH_CODE, *load.STAGES_CODE.values())}
each = pytest.mark.parametrize("file", CODE)
STEP = """
import sys
import numpy as np, pyfastlr as flr
from pyfastlr_kernels.cpu import load
load.step_addresses()
for dtype in ("float32", "float64"):
    load.stages_address(dtype)
print("numba" in sys.modules)
p = {"a": np.ones(300_000), "b": np.ones(3)}
flr.SGD(p, lr=lambda n: 0.5, threads=2, clip_value=1.0).step({"a": np.ones(300_000), "b": None})
assert (p["a"] == 0.5).all() and (p["b"] == 1.0).all()
"""


def run(*command, **environment):
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@each
def test_it_is_of_these_sources(file):
    """If not: python scripts/launch_ir.py."""
    assert CODE[file].text().partition("\n")[0] == CODE[file].stamp().rstrip("\n")


@pytest.mark.skipif(
    (importlib.metadata.version("numba"), sys.version_info[:2]) != ("0.68.1", (3, 11)),
    reason="another numba makes another text, and labels are offsets in the byte code",
)
@each
def test_making_it_again_gives_the_same(file):
    variables = {x.file: y for x, y in runpy.run_path(str(SCRIPT))["files"]()}[file]
    assert run(sys.executable, str(SCRIPT), file, **variables) == CODE[file].text().strip()


def test_the_script_makes_no_vector_of_a_loop():
    """It would have the width of the CPU that ran the script. The sums' 16 lanes are of any width."""
    for dtype, kinds in (("float32", {"<16 x float>", "<16 x double>"}), ("float64", {"<16 x double>"})):
        assert set(re.findall(r"<\d+ x (?:float|double)>", load.STAGES_CODE[dtype].text())) == kinds


def test_it_needs_no_numba(tmp_path):
    assert run(sys.executable, "-c", STEP, PYFASTLR_CACHE_DIR=str(tmp_path)) == "False"


def copied(place):
    """A copy of the kernels' cpu/ to edit, including the IR."""
    shutil.copytree(
        ROOT / "kernels" / "pyfastlr_kernels", place / "pyfastlr_kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    return place / "pyfastlr_kernels" / "cpu"


@each
@pytest.mark.parametrize("damage", [None, "missing", "of other sources"])
def test_only_the_ir_of_these_sources_is_taken(tmp_path, damage, file):
    folder = copied(tmp_path)
    if damage == "missing":
        (folder / file).unlink()
    elif damage:
        sources = folder / ("launch.py" if file == "launch.ll" else "stages.py")
        sources.write_text(sources.read_text() + "\n# edited\n")
    script = f"""
from pyfastlr_kernels.cpu import load, prebuilt
prebuilt.emit = lambda entries, widest=False: b"from the text"
(code,) = (x for x in (load.LAUNCH_CODE, *load.STAGES_CODE.values()) if x.file == {file!r})
print(code.emit() == b"from the text")
"""
    assert run(sys.executable, "-c", script, PYTHONPATH=str(tmp_path)) == str(damage is not None)


def test_where_llvm_does_not_read_it_numba_compiles_the_text(tmp_path):
    text = copied(tmp_path) / "launch.ll"
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
