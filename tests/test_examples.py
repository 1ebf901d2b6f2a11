"""Every example reaches its result, its check can fail, and its picture can be opened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
STEPS = {
    "autograd_pendulum": 120,
    "cartpole_policy_gradient": 60,
    "pennylane_vqe": 60,
    "physics_fit": 200,
    "recurrent_digits": 700,
    "sklearn_digits": 300,
    "spacy_textcat": 60,
    "transfer_digits": 200,
}
NEEDS = {  # package, extra
    "autograd_pendulum": ("autograd", "interop"),
    "cartpole_policy_gradient": ("gymnasium", "examples"),
    "jax_mlp": ("jax", "interop"),
    "pennylane_vqe": ("pennylane", "interop"),
    "spacy_textcat": ("spacy", "spacy"),
    "torch_offload": ("torch", "interop"),
}


def python(*arguments):
    # On busy cores BLAS's threads wait for each other: 19 s instead of 2.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    if request.param.stem in NEEDS:
        pytest.importorskip(NEEDS[request.param.stem][0])
    return request.param


def test_there_are_examples():
    assert {"digits_mlp", "logistic_regression", "whole_loop_njit", *STEPS} <= {path.stem for path in EXAMPLES}


def test_example_reaches_its_figure(example, tmp_path):
    picture = tmp_path / "picture.png"
    plot = ["--plot", picture] if '"--plot"' in example.read_text(encoding="utf-8") else []
    result = python(example, "--steps", STEPS.get(example.stem, 600), *plot)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "(expected: at " in result.stdout.splitlines()[-1]
    if plot:
        pixels = pytest.importorskip("matplotlib.image").imread(picture)
        assert min(pixels.shape[:2]) >= 400
        assert pixels.std() > 0.05  # something is drawn


def test_example_fails_where_the_figure_is_missed(example):
    result = python(example, "--steps", 2)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", NEEDS)
def test_example_says_what_to_install(name):
    package, extra = NEEDS[name]
    program = f"import sys, runpy; sys.modules[{package!r}] = None; runpy.run_path(sys.argv[1])"
    result = python("-c", program, Path(__file__).parent.parent / "examples" / f"{name}.py")
    assert result.returncode == 2
    assert f'pip install "pyfastlr[{extra}]"' in result.stderr
    assert "Traceback" not in result.stderr
