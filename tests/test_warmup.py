"""`pyfastlr warmup` compiles what first steps need, and nothing is left for them to compile."""

import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import pyfastlr as flr
from cases import CASES
from pyfastlr.cli.commands import app
from pyfastlr.cli.warmup import targets
from pyfastlr_kernels.rules import RULES


def test_every_rule_belongs_to_a_class():
    classes = [x for x in vars(flr).values() if isinstance(x, type) and issubclass(x, flr.Optimizer)]
    assert {rule for x in classes for rule in x.rules} == set(RULES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_class_runs_only_its_rules(case):
    opt = case.make(np.zeros(1))
    assert opt.rule in type(opt).rules


def test_targets():
    assert targets(["adamw"], ["float64"]) == [("adam", "torch", "float64", False)]
    assert targets(["Adam", "AdamW"], ["float32"], ["keras", "torch"]) == [
        ("adam", "keras", "float32", False),
        ("adam", "torch", "float32", False),
    ]
    assert targets(["RAdam"], ["float32"], ["keras"]) == []
    assert len(targets()) == 2 * len(RULES)
    for bad in ({"optimizers": ["Adamm"]}, {"dtypes": ["float16"]}, {"conventions": ["mxnet"]}):
        with pytest.raises(ValueError, match="must be one of"):
            targets(**bad)


STEPS = """
import numpy as np, pyfastlr as flr
from pyfastlr_kernels.compile import cache
for arguments in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
    flr.SGD(np.ones(300_000, "f4"), threads=2, **arguments).step(np.ones(300_000, "f4"))
print(cache.compiled)
"""
WARMUP = "from pyfastlr.cli import main; main()"


def test_command_compiles_ahead(tmp_path):
    def run(*arguments):
        environment = {**os.environ, "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout

    options = (WARMUP, "warmup", "--optimizer", "SGD", "--dtype", "float32")
    assert run(*options) == f"4 compiled, 0 were there: {tmp_path / 'cache'}\n"
    assert run(STEPS) == "[]\n"
    assert run(*options).startswith("0 compiled, 4 were there")


def test_command_refuses_an_unknown_optimizer():
    result = CliRunner().invoke(app, ["warmup", "--optimizer", "Adamm"])
    assert result.exit_code == 2
    assert "Adamm" in result.output
