"""Every example reaches its figure, and its check can fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def run(path, steps):
    # On busy cores BLAS's threads wait for each other: 19 s instead of 2.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(path), "--steps", str(steps)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_there_are_examples():
    assert {"digits_mlp", "logistic_regression"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_reaches_its_figure(path):
    result = run(path, 600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "is expected" in result.stdout.splitlines()[-1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_fails_where_the_figure_is_missed(path):
    result = run(path, 2)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
