"""The range test on real data: what it suggests trains as well as the best rate of a grid; and its picture."""

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import pyfastlr as flr
from found_rates import EPOCHS, compare
from pictures import assert_fits, texts
from pyfastlr import tune
from pyfastlr.tune.finding.rules import RULES


@pytest.mark.parametrize("name", EPOCHS)
def test_the_suggested_rate_ends_within_a_point_of_the_best_of_a_grid(name):
    """Adam; means of five seeds. The grid has rates that are far too small and far too large."""
    _, at, grid = compare(name, "Adam")
    assert at >= grid.max() - 0.01
    assert grid[0] < grid.max() - 0.2


# --- Pictures --------------------------------------------------------------------------------------------------------


def found(repeats=1, **options):
    x = np.random.default_rng(0).standard_normal((60, 4))
    y = x @ np.array([1.0, -2.0, 0.5, 3.0])

    def loss_and_grad(w, rows):
        error = x[rows] @ w - y[rows]
        return np.mean(error**2), 2 * x[rows].T @ error / len(error)

    batches = [np.arange(k, k + 20) for k in (0, 20, 40)]
    options |= {"repeats": repeats}
    return tune.range_test(loss_and_grad, np.zeros(4), lambda p: flr.SGD(p, lr=1.0), batches, **options)


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("repeats", [1, 4])
def test_every_suggestion_is_marked_on_the_curve_and_named(repeats):
    test = found(repeats)
    axes = test.plot()
    assert_fits(axes.figure)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("learning rate", "loss", "log")
    for name, lr in test.suggestions.items():
        (mark,) = [line for line in axes.lines if str(line.get_label()).startswith(f"{name}: ")]
        assert mark.get_xdata().tolist() == [lr]
        assert mark.get_ydata()[0] == pytest.approx(np.interp(np.log(lr), np.log(test.lrs), test.smoothed))
        assert f"{name}: {lr:.2g}" in labels(axes)
    assert f"diverged at {test.diverged_at:.2g}" in labels(axes)
    assert ("3 more sweeps, smoothed" in labels(axes)) == (repeats == 4)
    curve = next(line for line in axes.lines if line.get_label() == "smoothed loss")
    assert curve.get_ydata().tolist() == test.smoothed.tolist()
    low, high = axes.get_ylim()
    assert low < test.smoothed.min()
    assert test.smoothed[0] < high < 3 * test.smoothed[0]  # the end, which is a hundred times higher, is cut


def test_a_picture_without_suggestions_says_so():
    for losses in ([np.nan], [1.0], [1.0, 2.0], [1.0, np.inf], [0.0] * 40):
        axes = tune.RangeTest.from_curve(np.geomspace(1e-5, 1, len(losses)), losses).plot()
        assert_fits(axes.figure)
        assert {f"{name}: none" for name in RULES} <= set(labels(axes))
    assert any(label.startswith("not finite at") for label in labels(found(divergence=1e300, stop=1e9).plot()))


def test_a_linear_sweep_has_a_linear_axis():
    axes = found(mode="linear", start=0.01, stop=2.0).plot()
    assert axes.get_xscale() == "linear"
    assert_fits(axes.figure)


def test_axes_and_keywords_of_the_user():
    axes = Figure().add_subplot()
    axes.set(xlabel="rate", ylabel="mean squared error")
    assert found().plot(axes, c="red", lw=3, label="mine") is axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate", "mean squared error")
    line = next(line for line in axes.lines if line.get_label() == "mine")
    assert (to_rgba(line.get_color()), line.get_linewidth()) == (to_rgba("red"), 3)
    assert texts(axes.figure)
    with pytest.raises(TypeError, match=re.escape("`ax` must be one matplotlib Axes or None, got list")):
        found().plot([axes])
    with pytest.raises(AttributeError, match="wrong"):
        found().plot(wrong=3)
