"""docs/schedules.md: its tables match the classes, its examples run, and its formulas are correct."""

import doctest
import inspect
import math
import re
import runpy
from pathlib import Path

import pytest

from pyfastlr import schedules as S
from test_schedules import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "schedules.md"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "scripts" / "schedules_page.py"))


def test_tables_are_the_classes(script):
    text = PAGE.read_text(encoding="utf-8")
    assert script["render"](text) == text, "run python scripts/schedules_page.py"


def test_every_class_is_on_the_page(script):
    shown = {*script["classes"](), *script["METHODS"].values()}
    classes = {c for c in vars(S).values() if isinstance(c, type) and issubclass(c, S.Schedule)}
    assert classes - shown == {S.Schedule, S.Custom}


def test_every_class_has_an_example_and_its_source(script):
    for c in script["classes"]():
        text = inspect.getdoc(c)
        sections = ["Parameters\n---", "Examples\n---", "Notes\n---"] + ["References\n---"] * (c is not S.Constant)
        assert [s for s in sections if s not in text] == [], c


LIBRARIES = ("torch", "keras", "optax", "timm", "transformers", "fastai")
FOREIGN = [(library, name) for library in LIBRARIES for name in getattr(S, library).__all__]


@pytest.mark.parametrize(("library", "name"), FOREIGN)
def test_every_foreign_schedule_has_its_parts_and_is_on_the_page(library, name):
    text = inspect.getdoc(getattr(getattr(S, library), name))
    sections = ["Parameters\n---", "Examples\n---", "Notes\n---", "\nEnds: ", "\nElsewhere: "]
    assert [s for s in sections if s not in text] == []
    assert f"| `S.{library}.{name}(" in PAGE.read_text(encoding="utf-8")


def test_examples_of_the_page():
    result = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert result.attempted > 8
    assert result.failed == 0


def test_picture(script, tmp_path):
    pytest.importorskip("matplotlib")
    script["draw"](tmp_path / "schedules.png")
    signature_and_size = slice(0, 24)  # the rest depends on matplotlib's version
    new, page = (path.read_bytes() for path in (tmp_path / "schedules.png", PAGE.with_suffix(".png")))
    assert new[signature_and_size] == page[signature_and_size]


READABLE = [s for s, _ in EXAMPLES if not re.search(r"[;∏\[]|number|cycle|down|level|more|then", s.formula)]


@pytest.mark.parametrize("s", READABLE, ids=repr)
def test_formula_is_true(s):
    text = s.formula.replace("·", "*").replace("^", "**").replace("√", "sqrt")
    text = re.sub("⌊(.*?)⌋", r"floor(\1)", text).replace("π", "pi")
    for n in (1, 2, 7, 30, 47):
        assert eval(text, vars(math) | {"min": min, "n": n}) == pytest.approx(s(n), rel=1e-12)


def test_enough_formulas_are_readable():
    assert {type(s) for s in READABLE} >= {
        S.Constant, S.InverseTime, S.StepDecay, S.Exponential, S.Linear, S.Polynomial, S.Cosine, S.InverseSqrt,
    }  # fmt: skip
