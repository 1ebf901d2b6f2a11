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


def deepspeed(k, total=None, cosine=False):
    """What its schedulers compute after `step(n - 1)`; before the first step, the lowest rate."""

    def rate(n):
        i = n - 1
        if i < k:
            return 0.3 * math.log(max(i, 0) + 1) / math.log(k)
        if cosine:
            progress = min(1.0, (i - k + 1) / (total - k))
            return 0.3 * (1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * progress)) / 2)
        return 0.3 * (1.0 if total is None else max(0.0, (total - i) / (total - k)))

    return rate


def test_expressions_for_other_libraries():
    """The table's, evaluated as they stand there."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (DeepSpeed|scikit-learn|thinc) \| [^|]+ \| `([^|]+)` \|$", text, re.MULTILINE)
    names = {"S": S, "lr": 0.3, "k": 20, "N": 100, "samples": 640, "batches": 10, "power_t": 0.5, "decay": 0.02}
    formulas = [
        deepspeed(20), deepspeed(20, 100), deepspeed(20, 100, cosine=True),
        lambda n: 0.3 / math.sqrt(640 * (n // 10) + 1), lambda n: 0.3 / (1 + 0.02 * (n + 20)),
    ]  # fmt: skip
    for (_, expression), formula in zip(rows, formulas, strict=True):
        s = eval(expression, names)
        assert [s(n) for n in range(150)] == pytest.approx([formula(n) for n in range(150)], rel=1e-12, abs=1e-15)


def test_invscaling_is_scikit_learns():
    optimizers = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    theirs = optimizers.SGDOptimizer([], learning_rate_init=0.3, lr_schedule="invscaling", power_t=0.7)
    s = S.InverseTime(0.3, 640, power=0.7).every(10)
    for epoch in range(20):
        assert s(10 * epoch) == pytest.approx(theirs.learning_rate, rel=1e-13)
        theirs.iteration_ends(640 * (epoch + 1))


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
