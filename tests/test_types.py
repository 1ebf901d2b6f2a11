"""mypy and pyright on calls of the public API: they accept correct lines and reject each wrong one."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RIGHT, WRONG = (ROOT / "tests" / "typing" / name for name in ("right.py", "wrong.py"))


def mypy(path):
    """Lines with an error."""
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--no-incremental", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    ours = [line for line in errors if line.startswith(f"tests/typing/{path.name}:")]
    assert ours == errors
    return {int(line.split(":")[1]) for line in errors}


def pyright(path):
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1, done.stdout
    return {x["range"]["start"]["line"] + 1 for x in found["generalDiagnostics"] if x["severity"] == "error"}


def check(name):
    if name == "pyright" and importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright is not installed")
    return {"mypy": mypy, "pyright": pyright}[name]


@pytest.mark.parametrize("name", ["mypy", "pyright"])
def test_what_is_right_is_accepted(name):
    assert check(name)(RIGHT) == set()


@pytest.mark.parametrize("name", ["mypy", "pyright"])
def test_each_wrong_line_is_refused_and_no_other(name):
    marked = {k for k, line in enumerate(WRONG.read_text().splitlines(), 1) if line.endswith("# E")}
    assert len(marked) > 20
    assert check(name)(WRONG) == marked
