"""`pyfastlr find-lr`: its picture in a terminal and in a file, functions of users, and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.cli.commands import app
from pyfastlr.cli.lr_picture import BLOCKS, HEIGHT, picture
from test_cli import run

USER = """
import random
import numpy as np
import pyfastlr as flr

x = np.random.default_rng(0).standard_normal((60, 4))
y = x @ np.array([1.0, -2.0, 0.5, 3.0])

def loss_and_grad(w, rows):
    error = x[rows] @ w - y[rows]
    return np.mean(error**2) + 0 * random.random(), 2 * x[rows].T @ error / len(error)

def problem():
    return loss_and_grad, np.zeros(4), [np.arange(20), np.arange(20, 60)]

def drawn():
    return loss_and_grad, np.random.random(4) + random.random(), [np.arange(60)]

def with_optimizer():
    return *problem(), lambda w: flr.SGD(w, lr=1.0, momentum=0.9)

def two():
    return loss_and_grad, np.zeros(4)

def number():
    return 3

def broken():
    raise RuntimeError("no\\n  data")

def broken_later():
    def worse(w, rows):
        if np.any(w):
            raise KeyError("half-way")
        return loss_and_grad(w, rows)
    return worse, np.zeros(4), [np.arange(60)]

def wrong_gradient():
    return lambda w, rows: (1.0, np.zeros(3)), np.zeros(4), None

def wrong_params():
    return loss_and_grad, "weights", None

def wrong_function():
    return 3, np.zeros(4), None

def exits():
    raise SystemExit(5)

def nan():
    return lambda w, rows: (float("nan"), w), np.zeros(4), None

constant = 3
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Path of a user's file; its folder is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "users_problem.py"
    path.write_text(USER, encoding="utf-8")
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, ["find-lr", *map(str, arguments)], env={"COLUMNS": "100"})


def suggestions(output):
    return dict(re.findall(r"^│ (\w+) +│ +([-\d.e]+) │", output, re.MULTILINE))


def test_the_demo_in_the_terminal():
    result = invoke("--repeats", 3, "--steps", 60, "--optimizer", "adam")
    assert result.exit_code == 0, result.output
    found = suggestions(result.output)
    assert list(found) == ["valley", "steep", "slide", "minimum", "gradient"]
    assert 1e-4 < float(found["valley"]) < 0.1
    assert sum(line.rstrip().endswith("█") for line in result.output.splitlines()) >= 5
    for name, rate in found.items():
        if rate != "-":
            assert re.search(rf"^ *{name} +▲ {float(rate):.2g}$", result.output, re.MULTILINE)
    assert "spread" in result.output
    assert re.search(r"^The rules (agree|are a factor)", result.output, re.MULTILINE)
    assert invoke("--repeats", 3, "--steps", 60, "--optimizer", "adam").output == result.output
    assert invoke("--repeats", 3, "--steps", 60, "--optimizer", "adam", "--seed", 1).output != result.output


def test_the_picture_in_a_file(tmp_path):
    path = tmp_path / "lr.png"
    result = invoke("--repeats", 1, "--steps", 40, "--plot", path)
    assert result.exit_code == 0, result.output
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert f"picture: {path}" in result.output
    assert "▲" not in result.output
    assert "spread" not in result.output


@pytest.mark.parametrize("target", ["users_problem.py:problem", "users_problem:problem"])
def test_a_function_of_the_user(user, target):
    options = {"start": 1e-4, "stop": 50.0, "steps": 80}
    flags = [x for name, value in options.items() for x in (f"--{name}", value)]
    result = invoke(target, "--optimizer", "SGD", "--repeats", 1, "--json", *flags)
    assert result.exit_code == 0, result.output
    got = json.loads(result.stdout)
    names = {}
    exec(USER, names)
    loss_and_grad, params, batches = names["problem"]()
    want = tune.range_test(loss_and_grad, params, lambda w: flr.SGD(w, lr=1.0), batches, **options)
    assert got["suggestions"] == want.suggestions
    assert got["reasons"] == want.reasons
    assert got["sweeps"][0]["losses"] == want.losses.tolist()
    linear = json.loads(invoke(target, "--linear", "--json", "--start", 0.1, "--stop", 1, "--steps", 4).stdout)
    np.testing.assert_allclose(linear["sweeps"][0]["lrs"], [0.1, 0.4, 0.7, 1.0])


def test_an_optimizer_of_the_user(user):
    got = json.loads(invoke("users_problem.py:with_optimizer", "--json", "--repeats", 2).stdout)
    names = {}
    exec(USER, names)
    make = names["with_optimizer"]()[3]
    loss_and_grad, params, batches = names["problem"]()
    want = tune.range_test(loss_and_grad, params, make, batches, repeats=2)
    assert got["suggestions"] == want.suggestions
    refused = invoke("users_problem.py:with_optimizer", "--optimizer", "Adam")
    assert refused.exit_code == 2
    assert "`optimizer` must be left out" in refused.output


def test_the_seed_is_that_of_the_global_random_numbers(user):
    first, again, other = (invoke("users_problem.py:drawn", "--seed", k, "--json").stdout for k in (3, 3, 4))
    assert first == again != other


def test_nan_is_null_in_json_and_told_in_the_terminal(user):
    got = json.loads(invoke("users_problem.py:nan", "--json", "--repeats", 1).stdout)
    assert got["sweeps"][0]["losses"] == [None]
    assert set(got["suggestions"].values()) == {None}
    result = invoke("users_problem.py:nan")
    assert result.exit_code == 0
    assert "There is no curve to draw." in result.output
    assert "the loss is nan" in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--optimizer", "adamm"], 2, "`optimizer` must be one of "),
        (["--optimizer", "Rprop"], 1, "pyfastlr: `lr` of Rprop cannot be changed"),
        (["--start", "0"], 2, "`start` and `stop` must be 0 < start < stop, got 0.0 and 10.0"),
        (["--start", "nan"], 2, "`start` and `stop` must be"),
        (["--stop", "inf"], 2, "`start` and `stop` must be"),
        (["--steps", "1"], 2, "Invalid value for '--steps'"),
        (["--repeats", "0"], 2, "Invalid value for '--repeats'"),
        (["--seed", "-1"], 2, "Invalid value for '--seed'"),
        (["--plot", "lr.xyz"], 2, "`plot` must end in one of "),
        (["--plot", "no/such/folder/lr.png"], 2, "`plot` must be a file that can be written"),
        (["problem"], 2, "`target` must be module:function or file.py:function, got 'problem'"),
        (["users_problem:"], 2, "`target` must be module:function"),
        (["no_such_module:f"], 2, "`target` must name a module that can be imported, got 'no_such_module'"),
        (["no_such_file.py:f"], 2, "`target` must name a file, got 'no_such_file.py'"),
        (["users_problem:missing"], 2, "has no function 'missing'"),
        (["users_problem:constant"], 2, "has no function 'constant'"),
        (["users_problem:two"], 2, "`target` must return (loss_and_grad, params, batches)"),
        (["users_problem:number"], 2, "optionally with make_optimizer, got int"),
        (["users_problem:broken"], 1, r"users_problem:broken: RuntimeError: no data (.*users_problem.py, line \d+)"),
        (["users_problem:broken_later"], 1, r"KeyError: 'half-way' (.*users_problem.py, line \d+)"),
        (["users_problem:exits"], 1, "SystemExit: 5"),
        (["users_problem:wrong_gradient"], 1, "ValueError: `loss_and_grad` must return a gradient like the parameters"),
        (["users_problem:wrong_params"], 1, "users_problem:wrong_params: TypeError: `params`"),
        (["users_problem:wrong_function"], 1, "TypeError: `loss_and_grad` must be a function"),
        (["imports_too_much:f"], 1, "ModuleNotFoundError: No module named 'nothing_like_that'"),
        (["does_not_parse.py:f"], 1, "SyntaxError: "),
    ],
)  # fmt: skip
def test_what_a_user_can_cause_is_told_in_a_line(user, arguments, status, words):
    (user.parent / "imports_too_much.py").write_text("import nothing_like_that\n")
    (user.parent / "does_not_parse.py").write_text("def f(:\n")
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    pattern = words if ".*" in words else re.escape(words)
    pattern = pattern.replace("data (", r"data \(").replace("way' (", r"way' \(")
    assert re.search(pattern.replace(r"\d+)", r"\d+\)"), " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split()))
    assert "Traceback" not in result.output


def test_without_plot_it_needs_no_matplotlib_and_with_a_target_no_scikit_learn(user):
    result = run("find-lr", "users_problem.py:problem", missing=("matplotlib", "sklearn"))
    assert (result.returncode, result.stderr) == (0, "")
    missing = run("find-lr", missing=("sklearn",))
    assert missing.returncode == 2
    assert 'pip install "pyfastlr[demo]"' in missing.stderr


# --- The picture in the terminal -----------------------------------------------------------------------------------


def test_heights_are_the_losses():
    lrs = np.geomspace(1e-6, 1, 200)
    test = tune.RangeTest.from_curve(lrs, 2 - np.clip(np.log10(lrs) + 4, 0, 2) / 2)  # 2, falling to 1 from 1e-4 to 1e-2
    lines = picture(test, 80).splitlines()
    curve = [line.partition("┤")[2].ljust(60) for line in lines[:HEIGHT]]
    heights = [sum(BLOCKS.index(row[k]) for row in curve) for k in range(60)]
    low, high = (float(lines[k].split()[0]) for k in (HEIGHT - 1, 0))
    columns = max(len(row.rstrip()) for row in curve)
    for k in range(columns):
        loss = 2 - np.clip(-6 + 6 * k / (columns - 1) + 4, 0, 2) / 2
        assert heights[k] == pytest.approx((loss - low) / (high - low) * 8 * HEIGHT, abs=1.5)


def test_marks_are_at_their_rates():
    lrs = np.geomspace(1e-6, 1, 100)
    test = tune.RangeTest.from_curve(lrs, 2 - np.log1p(lrs / 1e-3) / 10 + lrs**2)
    lines = picture(test, 100).splitlines()
    columns = len(lines[HEIGHT].partition("└")[2])
    start = lines[HEIGHT].index("└") + 1
    for line in lines[HEIGHT + 2 :]:
        place = (line.index("▲") - start) / (columns - 1)
        assert place == pytest.approx((math.log10(float(line.split("▲")[1])) + 6) / 6, abs=0.02)
    labels = {match[0]: match.start() for match in re.finditer(r"1e-?\d", lines[HEIGHT + 1])}
    assert labels["1e-6"] == start
    assert labels["1e0"] == start + columns - 1
    assert lines[HEIGHT][labels["1e-3"]] == "┬"


@pytest.mark.parametrize("width", [1, 40, 80, 300])
def test_it_is_no_wider_than_the_terminal_from_50_columns_on(width):
    lrs = np.geomspace(1e-6, 1, 100)
    for losses in (np.ones(100), -np.ones(100), 1e300 * lrs, 2 - np.log1p(lrs), np.zeros(100)):
        text = picture(tune.RangeTest.from_curve(lrs, losses), width)
        assert max(map(len, text.splitlines())) <= max(50, width)
    assert picture(tune.RangeTest.from_curve([1.0], [1.0]), width) == "There is no curve to draw."
