"""A program frozen by PyInstaller steps, compiles the launch from its IR, and later does not import numba."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyfastlr_kernels.frozen

pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
import numpy as np
import pyfastlr as flr
from pyfastlr_kernels.compile import cache
from pyfastlr_kernels.cpu import load

p = np.zeros(300_000, np.float32)
opt = flr.Adam({"w": p}, lr=flr.schedules.Constant(0.5), threads=2)
opt.step({"w": np.ones_like(p)})
assert abs(p + 0.5).max() < 1e-6 and opt.steps == 1
ir = [x.text()[:11] for x in (load.LAUNCH_CODE, load.STAGES_CODE["float32"])]
print(sys.frozen, len(cache.compiled), *ir, "numba" in sys.modules)
"""


def test_a_frozen_program_steps(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [
        sys.executable, "-m", "PyInstaller", "--onedir", "--log-level", "ERROR", "--paths", ROOT, "--paths",
        ROOT / "kernels", "--additional-hooks-dir", *pyfastlr_kernels.frozen.hook_directories(), "program.py",
    ]  # fmt: skip
    environment = {**os.environ, "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    built = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr[-2000:]
    program = tmp_path / "dist" / "program" / "program"
    for expected in ("True 2 ; Generated ; Generated True", "True 0 ; Generated ; Generated False"):
        done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr[-2000:]
