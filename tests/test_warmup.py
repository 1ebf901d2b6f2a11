"""`pyfastlr warmup` compiles everything that first steps need."""

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
    assert len(targets()) == 2 * len(RULES)
    for bad in ({"optimizers": ["Adamm"]}, {"dtypes": ["float16"]}, {"conventions": ["mxnet"]}):
        with pytest.raises(ValueError, match="must be one of"):
            targets(**bad)


def test_a_convention_that_lacks_an_optimizer_is_refused_where_it_is_named():
    with pytest.raises(ValueError, match=r"^`convention` must be one of torch, optax for RAdam, got 'keras'$"):
        targets(["Adam", "RAdam"], ["float32"], ["torch", "keras"])
    rules = {rule for rule, *_ in targets(None, ["float32"], ["Keras"])}  # of all optimizers, those that it has
    assert "adam" in rules
    assert "radam" not in rules


STEPS = """
import numpy as np, pyfastlr as flr
from pyfastlr_kernels.compile import cache
for arguments in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
    flr.SGD(np.ones(300_000, "f4"), threads=2, **arguments).step(np.ones(300_000, "f4"))
flr.SGD(np.ones(300, "f4"), lr=0.1, clip_norm=1.0, ema_decay=0.9).step(np.ones(300, "f4"))
print(cache.compiled)
"""
WARMUP = "from pyfastlr.cli import main; main()"


def test_command_compiles_ahead(tmp_path):
    def run(*arguments):
        environment = {**os.environ, "PYFASTLR_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout

    options = (WARMUP, "warmup", "--optimizer", "SGD", "--dtype", "float32")
    assert run(*options) == f"8 functions compiled, 0 already cached in {tmp_path / 'cache'}\n"
    assert run(STEPS) == "[]\n"
    assert run(*options).startswith("0 functions compiled, 8 already cached")


def test_command_fails_where_nothing_is_kept(tmp_path):
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "PYFASTLR_CACHE_DIR": str(tmp_path / "file" / "cache")}
    command = [sys.executable, "-c", WARMUP, "warmup", "--optimizer", "Lion", "--dtype", "float32"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"pyfastlr: 6 of 6 compiled functions could not be saved in {tmp_path / 'file' / 'cache'}"
    )
    assert "1/6  launch\n" in done.stderr  # it says what it is at
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--optimizer", "Adamm", "Adamm"), ("--convention", "keras", "torch, optax for RAdam")],
)
def test_command_refuses_before_it_compiles(option, value, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PYFASTLR_CACHE_DIR", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, ["warmup", "--optimizer", "RAdam", option, value], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output
    assert not (tmp_path / "cache").exists()
