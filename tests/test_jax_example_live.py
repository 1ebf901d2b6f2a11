"""The example for JAX, also where tests/test_examples.py does not run with jax, and the lines of the README."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from test_examples import python

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not find_spec("jax"), reason="jax is not installed")


def test_example_reaches_its_figure():
    result = python(ROOT / "examples" / "jax_mlp.py", "--steps", 600)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "(expected: at least 0.95)" in result.stdout.splitlines()[-1]


def test_example_fails_where_the_figure_is_missed():
    assert python(ROOT / "examples" / "jax_mlp.py", "--steps", 2).returncode == 1


def test_lines_of_the_readme_run():
    """They are skipped in the README, whose doctests must run without jax."""
    import jax.numpy as jnp

    from pyfastlr import schedules as S

    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## In JAX\n")[2]
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    lines = [line.removeprefix(">>> ").partition("  #")[0] for line in block.splitlines() if line]
    params = {"w": jnp.ones(3)}
    names = {"S": S, "params": params, "grads": params}
    for line in lines:
        exec(line, names)
    assert int(names["state"].count) == 1
    assert names["params"]["w"].round(4).tolist() == jnp.full(3, 0.999).round(4).tolist()
