"""The table of cases is complete: no row is missing."""

import inspect
import runpy
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES, table
from pyfastlr_kernels.rules import RULES


def test_the_readmes_table_is_that_of_the_rows():
    """The script makes it from the classes; the rows here are independent of them."""
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    made = runpy.run_path(str(scripts / "readme_tables.py"))["optimizers"]()
    assert _rows(made) == _rows(table())


def _rows(text):
    """Cells of each line, the states' names in any order."""
    return sorted([sorted(cell.strip().split(", ")) for cell in line.split("|")] for line in text.splitlines())


def test_every_optimizer_has_a_row():
    public = {name for name, x in inspect.getmembers(flr, inspect.isclass) if issubclass(x, flr.Optimizer)}
    assert public - {"Optimizer"} == {case.cls for case in CASES}


def test_every_rule_has_a_row_for_each_of_its_conventions():
    need = {(name, convention) for name, rule in RULES.items() for convention in rule.folds}
    assert {(case.make(np.zeros(1)).rule, case.convention) for case in CASES} == need


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_row_states_the_defaults_of_its_class(case):
    """The state's names and their order, and the convention's kind of decay."""
    p, explicit = np.ones(3), np.ones(3)
    opt = case.make(p, weight_decay=0.1)
    assert tuple(opt.state) == case.state
    opt.step(np.ones(3))
    case.make(explicit, weight_decay=0.1, decay=case.decay).step(np.ones(3))
    assert p.tobytes() == explicit.tobytes()
