"""Schedule.plot: text fits, jumps are drawn as steps, keywords are passed on; and the picture of docs/schedules.md."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot, rc_context
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from pictures import assert_fits
from pyfastlr import schedules as S
from pyfastlr.schedules.drawing import has_steps, wrapped
from pyfastlr.schedules.names import written
from test_schedules import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]
CLIPPED = S.WSD(1e-3, 100, 500, 300).warmup(20).then(S.Cosine(1e-3, 1000), at=900).clip(1e-5, 1.0)
LONG = CLIPPED + 0.25 * S.CosineRestarts(1e-3, 100, mult=2, decay=0.5).every(2).delay(17)
VERY_LONG = S.join([S.Linear(k / 30, 0.01, 100) for k in range(30)], range(100, 3000, 100))


@pytest.fixture(autouse=True)
def no_display():
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def head(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("steps", [1, 2, 40, 10**7])
@pytest.mark.parametrize("s", [LONG, VERY_LONG, S.Constant(0.1), S.torch.OneCycleLR(1e-3, 1000)], ids=lambda s: "s")
def test_a_new_plot_fits(s, steps):
    axes = s.plot(steps)
    assert_fits(axes.figure)
    name, formula = head(axes)
    assert name.startswith(written(s)[:12])
    assert formula.replace("\n", " ").startswith(s.formula[:12])
    assert axes.get_legend().get_window_extent().y0 >= axes.bbox.y1 - 1  # above the curve, not on it


@pytest.mark.parametrize("rc", [{"figure.figsize": (3.2, 3)}, {"font.family": "monospace"}, {"font.size": 14}], ids=str)
def test_a_new_plot_fits_in_other_styles(rc):
    with rc_context(rc):
        assert_fits(LONG.plot(100).figure)


def test_every_schedule_has_a_short_name_that_fits():
    for s, _ in EXAMPLES:
        axes = s.plot(60)
        assert_fits(axes.figure)
        pyplot.close(axes.figure)


def test_one_update_is_seen():
    (line,) = S.Constant(0.1).plot(1).lines
    assert line.get_marker() == "o"
    assert S.Constant(0.1).plot(2).lines[0].get_marker() == "None"
    assert S.Constant(0.1).plot(1, marker="x").lines[0].get_marker() == "x"


@pytest.mark.parametrize(
    ("s", "drawn"),
    [
        (S.StepDecay(0.1, 0.5, 10), "steps-post"),
        (S.MultiStep(0.1, [30, 31, 60]), "steps-post"),
        (S.Piecewise([20], [0.1, 0.2]).warmup(5), "steps-post"),
        (S.Exponential(0.1, 0.5, 25, staircase=True), "steps-post"),
        (S.Cosine(0.1, 8).every(10), "steps-post"),
        (S.torch.StepLR(0.1, 30), "steps-post"),
        (S.Constant(0.1).then(S.Constant(0.2), at=3), "steps-post"),
        (S.as_schedule(lambda n: 0.1 / (1 + n // 30)), "steps-post"),
        (S.Constant(0.1), "default"),
        (S.Cosine(0.1, 80), "default"),
        (S.Cosine(0.1, 80).clip(0.02, 0.08), "default"),
        (S.WSD(0.1, 10, 60, 25), "default"),
        (S.StepDecay(0.1, 0.5, 1), "default"),
    ],
    ids=lambda x: written(x) if isinstance(x, S.Schedule) else x,
)
def test_jumps_are_drawn_as_steps(s, drawn):
    (line,) = s.plot(90).lines
    assert line.get_drawstyle() == drawn
    assert line.get_ydata().tolist() == s(np.arange(90)).tolist()
    assert s.plot(90, ds="steps-mid").lines[0].get_drawstyle() == "steps-mid"


@pytest.mark.parametrize("rates", [[], [1], [1, 2], [1, 1, 2], [1, 2, 2], [1, 1, 2, 3, 3], [1, 1, 1, 1]])
def test_without_two_levels_there_is_no_step(rates):
    assert not has_steps(np.array(rates, np.float64))
    assert has_steps(np.array([*rates, 7, 7, 8, 8], np.float64))


def test_axes_that_are_given_get_labels_and_nothing_else():
    axes = Figure().add_subplot()
    assert S.Cosine(0.1, 80).plot(90, axes) is axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("update n (from 0)", "rate", "")
    assert axes.get_legend() is None
    axes.set(xlabel="epoch", ylabel="momentum")
    S.Cosine(0.2, 80).plot(90, ax=axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "momentum")
    assert [line.get_label() for line in axes.lines] == ["Cosine(0.1, steps=80)", "Cosine(0.2, steps=80)"]


def test_keywords_arrive():
    axes = Figure().add_subplot()
    S.Cosine(0.1, 80).plot(90, ax=axes, c="red", lw=3, linestyle=":", label="mine", zorder=7)
    (line,) = axes.lines
    assert (to_rgba(line.get_color()), line.get_linewidth(), line.get_linestyle()) == (to_rgba("red"), 3, ":")
    assert (line.get_label(), line.get_zorder()) == ("mine", 7)
    assert head(S.Cosine(0.1, 80).plot(90, label="mine"))[0] == "mine"
    assert head(S.Cosine(0.1, 80).plot(90, label=None)) == [S.Cosine(0.1, 80).formula]


def test_five_curves_on_axes_of_a_plot_are_all_in_its_legend():
    axes = S.Cosine(0.1, 80).plot(90)
    for power in (2.0, 3.0, 4.0):
        S.Polynomial(0.1, 80, power=power).plot(90, ax=axes)
    LONG.plot(90, ax=axes)
    names = head(axes)
    assert names[0] == "Cosine(0.1, steps=80)"
    assert names == [line.get_label() for line in axes.lines]
    assert_fits(axes.figure)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_users_legend_fits_in_narrow_axes(scale):
    figure = Figure(figsize=(9.6, 4), layout="constrained")
    for axes in figure.subplots(1, 3):
        axes.set_yscale(scale)
        LONG.plot(100, ax=axes)
        assert axes.legend() is axes.get_legend()
    figure.canvas.draw()
    for axes in figure.axes:
        box = axes.get_legend().get_window_extent()
        assert axes.bbox.x0 <= box.x0 + 1
        assert box.x1 <= axes.bbox.x1 + 1


def test_what_is_refused_leaves_no_figure():
    before = pyplot.get_fignums()
    with pytest.raises(AttributeError, match="colour"):
        S.Constant(0.1).plot(10, colour="red")
    with pytest.raises(TypeError, match="`ax` must be one matplotlib Axes or None, got ndarray"):
        S.Constant(0.1).plot(10, ax=np.array([1]))
    with pytest.raises(ZeroDivisionError):
        S.as_schedule(lambda n: 1 / n).plot(10)
    assert pyplot.get_fignums() == before


def test_names():
    s, t = S.Cosine(1e-3, 9_500), S.Linear(0.1, 0.0, 10)
    noam = type("_Noam", (S.Schedule,), {"__init__": lambda self, a: S.Schedule.__init__(self, a=a),
                                         "curve": staticmethod(lambda n, a: 0.1)})  # fmt: skip
    for schedule, name in (
        (s.warmup(500), "Cosine(0.001, steps=9500).warmup(500)"),
        (s.warmup(500, start=1e-6), "Cosine(0.001, steps=9500).warmup(500, start=1e-06)"),
        (2 * (s + t), "2 * (Cosine(0.001, steps=9500) + Linear(0.1, end=0, steps=10))"),
        ((s * t).every(3), "(Cosine(0.001, steps=9500) * Linear(0.1, end=0, steps=10)).every(3)"),
        (t.then(len, at=4), "Linear(0.1, end=0, steps=10).then(len, at=4)"),
        (S.MultiStep(0.1, range(1, 9)), "MultiStep(0.1, milestones=[1, 2, 3, …, 8])"),
        (S.Cyclic(0.1, 1 / 3, 5, mode="triangular2"), "Cyclic(0.1, peak=0.333333, up=5, down=5, mode='triangular2')"),
        (S.Exponential(0.1, decay=0.01), "Exponential(0.1, decay=0.01)"),
        (noam(3), "_Noam(3)"),
        (noam("a$b$c"), "_Noam('a$b$c')"),
        (noam(np.zeros(99)), "_Noam(ndarray)"),
    ):
        assert written(schedule) == name
    (label,) = head(noam("a$b$c").plot(9))  # no equation, so no formula; $ is not TeX's, _ does not hide the label
    assert label == r"Noam('a\$b\$c')"


def test_wrapped():
    text = written(LONG)
    lines = wrapped(text, points=200, size=10, lines=99).split("\n")
    assert len(lines) > 4
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    short = wrapped(text, points=200, size=10, lines=3).split("\n")
    assert short[:2] == lines[:2]
    assert short[2].endswith(" …")
    assert "".join(wrapped("m" * 50, points=100, size=10, lines=99).split("\n")) == "m" * 50
    assert wrapped("mm", points=0, size=10, lines=3) == "m\nm"


def test_the_page_shows_every_kind_with_its_numbers(tmp_path):
    script = runpy.run_path(str(ROOT / "scripts" / "schedules_page.py"))
    figure = script["draw"](tmp_path / "schedules.png")
    words = {text.replace("\n", " ").replace(" ", "") for text in assert_fits(figure)}
    assert words > {written(s).replace(" ", "") for s in script["DRAWN"]}
    assert {type(s) for s in script["DRAWN"]} >= {*script["METHODS"].values(), *script["classes"]()}
