"""`pyfastlr plot`: expressions that are parsed and never executed, their errors, and the pictures."""

import ast
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from foreign_schedules import LR, ROWS, ours
from pyfastlr import schedules as S
from pyfastlr.cli import expression
from pyfastlr.cli.expression import DEEPEST, METHODS, ExpressionError, schedule
from pyfastlr.cli.lr_picture import BLOCKS
from pyfastlr.cli.rate_picture import HEIGHT, SEVERAL, picture
from pyfastlr.schedules.names import written
from test_cli import invoke, run
from test_schedules import EXAMPLES

# --- Expressions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("s", [s for s, _ in EXAMPLES], ids=repr)
def test_repr_of_every_schedule_is_an_expression(s):
    assert schedule(repr(s)) == s


@pytest.mark.parametrize("s", [s for s, _ in EXAMPLES], ids=repr)
def test_names_in_pictures_are_expressions(s):
    """With six digits."""
    name = written(s)
    if "…" not in name:
        np.testing.assert_allclose(schedule(name)(np.arange(60)), s(np.arange(60)), rtol=2e-3, atol=1e-6)


FOREIGN = [(library, row) for library, rows in ROWS.items() for row in rows if not re.search("lambda|dict|lr:=", row)]


@pytest.mark.parametrize(("library", "row"), FOREIGN, ids=[f"{library}-{row}" for library, row in FOREIGN])
def test_schedules_of_other_libraries(library, row):
    names = "|".join(getattr(S, library).__all__)
    text = re.sub(rf"\b({names})\(", rf"{library}.\1(", re.sub(r"\blr\b", str(LR), row))
    assert schedule(text) == ours(library, row)
    assert schedule(text.replace(f"{library}.", f"S.{library}.")) == ours(library, row)


@pytest.mark.parametrize(
    ("text", "s"),
    [
        ("Cosine(1e-3, steps=1000).warmup(100)", S.Cosine(1e-3, 1000).warmup(100)),
        ("  S.Cosine(1e-3,\n\tsteps = 1_000) ", S.Cosine(1e-3, 1000)),
        ("0.5 * Cosine(1, 9) + 1e-5", 0.5 * S.Cosine(1, 9) + 1e-5),
        ("Cosine(1, 9) * (Linear(1, 0, 9) + Constant(0.5))", S.Cosine(1, 9) * (S.Linear(1, 0, 9) + S.Constant(0.5))),
        ("0.1", S.Constant(0.1)),
        ("2 * 3 + 1", S.Constant(7.0)),
        ("CosineRestarts(0.1, 900 / 7)", S.CosineRestarts(0.1, 900 / 7)),
        ("Linear(1, 0, 10 - 3)", S.Linear(1, 0, 7)),
        ("Tanh(1, 9, lower=-7, upper=+3)", S.Tanh(1, 9)),
        ("MultiStep(0.1, [30, 60])", S.MultiStep(0.1, [30, 60])),
        ("MultiStep(0.1, (30, 60), gamma=.5)", S.MultiStep(0.1, [30, 60], 0.5)),
        ("Exponential(0.1, 0.5, staircase=True, decay=None)", S.Exponential(0.1, 0.5, staircase=True)),
        ("join([0.1, Linear(1, 0, 9)], [5])", S.join([0.1, S.Linear(1, 0, 9)], [5])),
        ("OneCycle(1, 100).momentum(0.8, 0.9)", S.OneCycle(1, 100).momentum(0.8, 0.9)),
        ("torch.StepLR(0.1, 30).native().advance(3)", S.torch.StepLR(0.1, 30).native().advance(3)),
        ("Constant(1).warmup(9, shape='log').clip(0.1, 0.9).every(2).delay(3)",
         S.Constant(1).warmup(9, shape="log").clip(0.1, 0.9).every(2).delay(3)),
        ("Cosine(1, 9).then(0.5 * Cosine(1, 9), at=9)", S.Cosine(1, 9).then(0.5 * S.Cosine(1, 9), at=9)),
        ("optax.piecewise_constant_schedule(0.5, {30: 0.5})", S.optax.piecewise_constant_schedule(0.5, {30: 0.5})),
    ],
)  # fmt: skip
def test_expressions(text, s):
    assert schedule(text) == s


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("Cosin(1e-3, steps=9)", "Cosin", "there is no schedule `Cosin`: did you mean `Cosine`?"),
        ("StepLR(1, 3)", "StepLR", "did you mean `torch.StepLR`?"),
        ("S.Cosin(1e-3, steps=9)", "Cosin", "there is no schedule `Cosin`"),
        ("torch.SteppLR(1, 3)", "SteppLR", "`torch` has no schedule `SteppLR`: did you mean `StepLR`?"),
        ("S.torch.SteppLR(1, 3)", "SteppLR", "`torch` has no schedule"),
        ("Plateau(0.1)", "Plateau", "`Plateau` is a controller"),
        ("Custom(abs)", "Custom", "there is no schedule `Custom`"),
        ("Cosine(1e-3, step=9)", "step=9", "`Cosine` has no argument `step`: did you mean `steps`?"),
        ("Cosine(1e-3)", "Cosine(1e-3)", "missing a required argument: 'steps'"),
        ("Cosine(1, 2, 3, 4, 5)", "Cosine(1, 2, 3, 4, 5)", "too many positional arguments"),
        ("Cosine(1, 9, lr=2)", "Cosine(1, 9, lr=2)", "multiple values for argument 'lr'"),
        ("Cosine(1, 9).warm(3)", "warm", "a schedule has no method `warm`: did you mean `warmup`?"),
        ("Cosine(1, 9).momentum(1, 2)", "momentum", "a schedule has no method `momentum`"),
        ("Cosine(1, 9).plot(3)", "plot", "a schedule has no method `plot`"),
        ("Cosine(1, 9).__class__", "__class__", "a schedule has no method"),
        ("Cosine(-1e-3, steps=9)", "-1e-3", "`lr` must be a finite number >= 0"),
        ("Cosine(1, steps=0).warmup(3)", "steps=0", "`steps` must be an integer >= 1"),
        ("MultiStep(0.1, [30, 20])", "[30, 20]", "`milestones` must be strictly increasing"),
        ("torch.SequentialLR([0.1, 'x'], [3])", "[0.1, 'x']", "`schedulers[1]` must be a number, a schedule"),
        ("Cosine(1, 9).clip(2, 1)", "1", "`high` must be >= `low`"),
        ("Exponential(0.1)", "Exponential(0.1)", "exactly one of `rate` and `decay`"),
        ("Linear(1, 0, 9) * [1]", "[1]", "this must be a number or a schedule, got a list"),
        ("'a' * 1000000000", "'a'", "this must be a number or a schedule, got a str"),
        ("True + Constant(1)", "True", "this must be a number or a schedule, got True"),
        ("Constant(1) - 0.5", "Constant(1)", "this must be a number, got a schedule"),
        ("-Constant(1)", "Constant(1)", "this must be a number, got a schedule"),
        ("1 / (1 - 1)", "1 - 1", "must not be divided by 0"),
        ("9 ** 9 ** 9", "9 ** 9 ** 9", "can be combined by + and *"),
        ("Constant(1) + -0.5", "Constant(1) + -0.5", "`summand` must be a finite number >= 0"),
        ("Cosine", "Cosine", "`Cosine` must be called, as in Cosine(...)"),
        ("Cosine(1, 9).warmup", "Cosine(1, 9).warmup", "must be called"),
        ("[1, 2]", "[1, 2]", "this must be a schedule or a number >= 0, got a list"),
        ("-1", "-1", "this must be a schedule or a number >= 0, got -1"),
        ("'x'", "'x'", "got a str"),
        ("lambda n: 1", "lambda n: 1", "a schedule must not have a lambda in it"),
        ("torch.LambdaLR(0.1, lambda n: 1)", "lambda n: 1", "a schedule must not have a lambda in it"),
        ("[x for x in (1, 2)]", "[x for x in (1, 2)]", "must not have a ListComp in it"),
        ("f'{1}'", "f'{1}'", "must not have an f-string in it"),
        ("{**{}}", "{**{}}", "must not have a Dict in it"),
        ("Cosine(*[1, 9])", "*[1, 9]", "must not have a star"),
        ("Cosine(**{'lr': 1})", "**{'lr': 1}", "must not have stars"),
        ("__import__('os').system('ls')", "__import__", "there is no schedule `__import__`"),
        ("(1).__class__", "1", "this must be a schedule, got 1"),
        ("Cosine(1, 9)(3)", "Cosine(1, 9)", "this must be the name of a schedule, got a call"),
        ("S", "S", "there is no schedule `S`"),
        ("torch", "torch", "there is no schedule `torch`"),
        ("1j", "1j", "a schedule must not have such a constant in it"),
        ("...", "...", "a schedule must not have such a constant in it"),
        ("Constant(1e400)", "1e400", "`lr` must be a finite number"),
        ("Cosine(1, 9", "(", "this is not an expression"),
        ("Cosine(1 9)", "1 9", "this is not an expression"),
        ("x = 3", None, "this is not an expression"),
        ("", None, "this is not an expression"),
        ("'é' + Cosin(1, 9)", "Cosin", "there is no schedule `Cosin`"),
    ],
)  # fmt: skip
def test_errors_mark_the_place(text, place, message):
    with pytest.raises(ExpressionError) as caught:
        schedule(text)
    said, shown, mark = str(caught.value).split("\n")
    assert message in said
    assert shown == f"  {text}"
    assert re.fullmatch(r"  +\^+", mark)
    if place is not None:
        assert text[mark.index("^") - 2 : len(mark) - 2] == place


@pytest.mark.parametrize(
    "text",
    ["(" * 3_000 + "1" + ")" * 3_000, "-" * 9_000 + "1", "1+" * 4_000 + "1", "9" * 5_000,
     "Constant(1)" + ".every(2)" * 900, "1" * 20_000, "[" * 900 + "]" * 900],
    ids=["parentheses", "minus", "sums", "digits", "methods", "long", "lists"],
)  # fmt: skip
def test_too_much_is_refused(text):
    with pytest.raises(ExpressionError):
        schedule(text)


def test_deep_schedules():
    assert schedule("Constant(1)" + ".every(2)" * (DEEPEST - 1))(7) == 1.0
    with pytest.raises(ExpressionError, match="at most 100 parts inside each other"):
        schedule("Constant(1)" + ".every(2)" * DEEPEST)


def test_methods_are_those_of_the_algebra():
    made = {c._method for c in vars(S).values() if isinstance(c, type) and issubclass(c, S.Schedule)}
    assert {x for x in made if x.isidentifier()} | {"momentum", "native"} == {*METHODS}


def test_nothing_is_executed(monkeypatch):
    """Neither eval nor compile run: only the tree is made."""
    for name in ("eval", "exec"):
        monkeypatch.setitem(expression.__dict__, name, None)
    compiled, real = [], compile

    def recorded(source, filename, mode, flags=0, **options):
        compiled.append(flags)
        return real(source, filename, mode, flags, **options)

    monkeypatch.setattr("builtins.compile", recorded)
    assert schedule("Cosine(1, 9)") == S.Cosine(1, 9)
    assert compiled
    assert all(flags & ast.PyCF_ONLY_AST for flags in compiled)


WORDS = ["Cosine", "S", "torch", "StepLR", "warmup", "then", ".", "(", ")", "[", "]", "{", "}", ",", "=", "+", "*", "-",
         "/", "steps", "lr", "1", "0.5", "1e400", "'x'", "True", "None", "lambda", ":", "__class__", "**", " ", "\n",
         "é", "\x1b", "'\\d'", "for", "in", "if", "x", "join", "#", "\\", "\0"]  # fmt: skip


@settings(deadline=None, max_examples=600)
@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join) | st.text(max_size=30))
def test_any_text_is_a_schedule_or_an_error(text):
    try:
        assert isinstance(schedule(text), S.Schedule)
        said = ""
    except ExpressionError as error:
        said = str(error)
    assert all(c.isprintable() or c == "\n" for c in said)


# --- The command -----------------------------------------------------------------------------------------------------


def test_in_the_terminal():
    result = invoke("plot", "Cosine(1e-3, steps=1000).warmup(100)", "--steps", 1200)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("   0.001 ┤")
    assert lines[HEIGHT - 1].startswith("       0 ┤")
    assert lines[-2] == "Cosine(0.001, steps=1000).warmup(100)"
    assert lines[-1] == "s(n) = " + S.Cosine(1e-3, 1000).warmup(100).formula
    assert re.search(r"update  0 +\d+.* 1000", result.output)
    assert invoke("plot", "Constant(1)").exit_code == 0


def test_several_in_the_terminal():
    result = invoke("plot", "Cosine(1, 900)", "Constant(0.4)", "--steps", 1000)
    assert result.exit_code == 0, result.output
    *_, first, second, both = result.output.splitlines()
    assert (first, second, both) == ("a  Cosine(1, steps=900)", "b  Constant(0.4)", "*  several of them")
    assert result.output.count(SEVERAL) >= 2
    assert invoke("plot", *["0.1"] * 27).exit_code == 2


@pytest.mark.parametrize("width", [30, 80, 300])
@pytest.mark.parametrize("steps", [1, 2, 9, 1000, 10**9])
def test_pictures_fit(width, steps):
    many = [
        S.Cosine(1.0, 700),
        S.Cyclic(0.1, 1.0, 3),
        S.Constant(0.0),
        S.Exponential(1.0, 10.0),
        S.torch.StepLR(0.3, 7),
    ]
    for shown in ([many[0]], many[:2], many):
        lines = picture(shown, steps, width).splitlines()
        assert len(lines) == HEIGHT + 2
        assert max(map(len, lines)) <= max(width, 50)


def test_an_area_has_the_curves_heights():
    s, width = S.Linear(0.0, 1.0, 999), 94
    rows = [line.partition("┤")[2].ljust(80) for line in picture([s], 1000, width).splitlines()[:HEIGHT]]
    heights = [sum(BLOCKS.index(row[k]) for row in rows) / 8 / HEIGHT for k in range(80)]
    np.testing.assert_allclose(heights, np.linspace(1 / 80, 1, 80), atol=1 / HEIGHT / 8 + 1e-9)


def test_a_line_has_no_gaps_and_one_height_where_it_is_flat():
    jump = S.Constant(1.0).then(S.Constant(0.05), at=500)
    rows = [
        line.partition("┤")[2].ljust(80) for line in picture([jump, S.Constant(0.5)], 1000, 94).splitlines()[:HEIGHT]
    ]
    columns = ["".join(row[k] for row in rows) for k in range(80)]
    tall = [c for c in columns if c.count("a") + c.count(SEVERAL) > 1]
    assert len(tall) == 1  # the jump
    assert all(c.count("a") + c.count(SEVERAL) >= 1 for c in columns)


def test_in_a_file(tmp_path):
    path = tmp_path / "out.png"
    result = invoke("plot", "Cosine(1, 900)", "torch.StepLR(0.8, 200)", "--steps", 1000, "-o", path)
    assert result.exit_code == 0, result.output
    assert result.output == f"picture: {path}\n"
    pixels = (255 * imread(path)[..., :3]).round().astype(int).reshape(-1, 3)
    for colour in ("1f77b4", "ff7f0e"):
        assert (pixels == list(bytes.fromhex(colour))).all(axis=1).sum() > 100
    svg = tmp_path / "out.svg"
    assert invoke("plot", "Cosine(1, 900)", "--output", svg).exit_code == 0
    assert svg.read_text(encoding="utf-8").startswith("<?xml")


def test_usage(tmp_path):
    result = invoke("plot", "Cosine(1, 900).warm(3)", "-o", tmp_path / "out.png")
    assert result.exit_code == 2
    assert result.output.splitlines()[-2:] == ["  Cosine(1, 900).warm(3)", "                 ^^^^"]
    assert result.output.startswith("pyfastlr: a schedule has no method `warm`")
    for options, message in {
        ("-o", "out.xyz"): "`output` must end in one of",
        ("-o", "no/such/folder/out.png"): "`output` must be a file that can be written",
        ("--steps", "0"): "Invalid value for '--steps'",
        (): None,
    }.items():
        result = invoke("plot", *(["Cosine(1, 9)"] if message else []), *options)
        assert result.exit_code == 2
        assert (message or "Missing argument") in re.sub(r"[\s│]+", " ", result.output)
    assert not (tmp_path / "out.png").exists()


def test_the_terminal_needs_no_matplotlib():
    assert run("plot", "Cosine(1, 9)", missing=("matplotlib",)).returncode == 0
    result = run("plot", "Cosine(1, 9)", "-o", "out.png", missing=("matplotlib",))
    assert result.returncode == 2
    assert 'pip install "pyfastlr[demo]"' in result.stderr
