"""Recorder.plot: what is where, logarithmic where it should be, the means that are drawn, and that all of it fits."""

import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from pictures import assert_fits
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.tune.watching.drawing import is_wide, thinned, trailing_mean


def run(n=400, capacity=None, lr=None, **others):
    r, rng = tune.Recorder(capacity), np.random.default_rng(0)
    lr = S.Cosine(1e-3, n).warmup(max(1, n // 10)) if lr is None else lr
    for k in range(n):
        r.record(loss=2.3 * math.exp(-5 * k / n + 0.3 * rng.normal()), lr=lr(k), **{x: f(k) for x, f in others.items()})
    return r


def scales(axes):
    return [each.get_yscale() for each in axes]


def labels(axes):
    return [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]


@pytest.mark.parametrize(
    "r",
    [
        run(), run(1), run(2), run(40), run(400, 100),
        run(300, grad_norm=lambda k: 1 + k % 7, sharpness=lambda k: 30.0),
        run(300, lr=S.StepDecay(0.1, 0.1, 50)), run(20, **{f"a long name of a number {k}": float for k in range(3)}),
        run(50, **{"val_loss": lambda k: None if k % 10 else 1.0, "$x$": lambda k: -k}),
    ],
    ids=["run", "one", "two", "few", "ring", "others", "steps", "long", "rare"],
)  # fmt: skip
def test_a_new_plot_fits(r):
    axes = r.plot()
    words = assert_fits(axes[0].figure)
    assert {"loss", "learning rate", "update (from 0)"} <= {*words}
    assert (r"\$x\$" in words) == ("$x$" in r)


def test_losses_are_on_top_then_rates_then_each_of_the_others():
    r = tune.Recorder()
    r.record(grad_norm=1.0, lr_head=0.1, val_loss=2.0, lr=0.2, accuracy=0.5, loss=1.0)
    axes = r.plot()
    assert [each.get_ylabel() for each in axes] == ["loss", "learning rate", "grad_norm", "accuracy"]
    assert [labels(each) for each in axes] == [["val_loss", "loss"], ["lr_head", "lr"], ["grad_norm"], ["accuracy"]]
    axes = r.plot(names=["accuracy", ["loss", "val_loss"], ("lr",)])
    assert [each.get_ylabel() for each in axes] == ["accuracy", "loss", "learning rate"]
    (one,) = r.plot(names=[["grad_norm", "accuracy"]])
    assert one.get_ylabel() == "grad_norm, accuracy"


@pytest.mark.parametrize(
    ("lr", "scale"),
    [
        (S.Cosine(1e-3, 400), "linear"), (S.Cosine(1e-3, 400).warmup(20), "linear"), (S.Constant(0.1), "linear"),
        (S.Exponential(1e-6, rate=1e7, steps=400), "log"), (S.StepDecay(0.1, 0.1, 100), "log"),
    ],
)  # fmt: skip
def test_rates_are_logarithmic_where_half_of_them_are_spread(lr, scale):
    axes = run(lr=lr).plot()
    assert scales(axes) == ["log", scale]


def test_losses_are_logarithmic_where_they_are_positive_and_spread():
    for losses, is_log in (([3, 1, 0.2], True), ([3, 1, 0.5], False), ([3, 1, 0.0], False), ([3, 1e-9, -1], False)):
        r = tune.Recorder()
        for loss in losses:
            r.record(loss=loss)
        assert (scales(r.plot()) == ["log"]) == is_log
    assert not is_wide(np.array([]), False)


def test_a_ring_is_drawn_at_its_steps():
    r = run(1000, 300)
    (top, *_) = axes = r.plot(smooth=0)
    (line,) = top.lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(700, 1000))
    np.testing.assert_array_equal(line.get_ydata(), r["loss"])
    assert axes[-1].get_xlim() == (700, 999)


def test_numbers_that_are_missing_leave_no_gap_and_those_that_are_nan_are_marked():
    r = tune.Recorder()
    for n in range(10):
        r.record(loss=float("nan") if n in (3, 4) else float("inf") if n == 8 else 1.0 + n)
        if n % 5 == 0:
            r.record(n, val=1.0)
    axes = r.plot()
    line, marks = axes[0].lines
    assert line.get_xdata().tolist() == [0, 1, 2, 5, 6, 7, 9]
    assert marks.get_xdata().tolist() == [3, 4, 8]
    assert marks.get_label() == "loss: NaN or infinite"
    assert [line.get_xdata().tolist() for line in axes[1].lines] == [[0, 5]]
    assert_fits(axes[0].figure)


def test_nothing_but_nan_is_drawn_as_that():
    r = tune.Recorder()
    r.record(loss=float("nan"))
    (axes,) = r.plot()
    assert labels(axes) == ["loss", "loss: NaN or infinite"]
    assert_fits(axes.figure)


def test_the_mean_is_drawn_over_the_numbers():
    r = run(400, norm=float)
    loss, rate, norm = r.plot()
    assert labels(loss) == ["loss, mean of 8 records"]
    assert labels(rate) == ["lr"]
    assert labels(norm) == ["norm, mean of 8 records"]
    raw, mean = loss.lines
    x = r["loss"]
    np.testing.assert_allclose(mean.get_ydata(), [x[k - 7 : k + 1].mean() for k in range(7, 400)], rtol=1e-12)
    assert mean.get_xdata().tolist() == list(range(7, 400))
    assert raw.get_alpha() < 1
    assert labels(r.plot(smooth=0)[0]) == ["loss"]
    assert labels(r.plot(smooth=50)[0]) == ["loss, mean of 50 records"]
    assert labels(r.plot(smooth=401)[0]) == ["loss"]
    assert labels(run(100).plot()[0]) == ["loss"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 60))
def test_trailing_mean_is_the_mean(values, window):
    x = np.array(values)
    window = min(window, len(x))
    want = [x[k : k + window].mean() for k in range(len(x) - window + 1)]
    np.testing.assert_allclose(trailing_mean(x, window), want, rtol=1e-12, atol=1e-9)


def test_a_spike_does_not_spoil_the_means_behind_it():
    x = np.ones(100)
    x[30] = 1e30
    assert trailing_mean(x, 7)[31:].tolist() == [1.0] * 63


def test_a_long_line_is_thinned_and_keeps_its_extremes():
    y = np.random.default_rng(0).normal(size=123_457)
    x = np.arange(len(y))
    y[77_777], y[3] = 99.0, -99.0
    kept_x, kept_y = thinned(x, y)
    assert len(kept_y) <= 9000
    assert (kept_y.max(), kept_y.min()) == (99.0, -99.0)
    assert kept_x[kept_y == 99.0].tolist() == [77_777]
    assert (np.diff(kept_x) > 0).all()
    assert thinned(x[:8000], y[:8000])[1] is not None
    assert len(thinned(x[:8000], y[:8000])[1]) == 8000


def test_it_goes_where_it_is_told():
    r = run(30)
    top, bottom = Figure().subplots(2)
    assert r.plot([top, bottom]) == [top, bottom]
    one = Figure().add_subplot()
    assert r.plot(one, names=["lr"]) == [one]
    with pytest.raises(ValueError, match="`ax` must be 2 Axes, one for each panel, got 1"):
        r.plot(one)
    with pytest.raises(TypeError, match="`ax` must be matplotlib Axes"):
        r.plot(3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"names": "loss"}, TypeError, "`names` must be a list of names, or of lists of names, got 'loss'"),
        ({"names": []}, TypeError, "`names`"),
        ({"names": [[]]}, TypeError, "`names`"),
        ({"names": [1]}, TypeError, "`names`"),
        ({"names": ["acc"]}, KeyError, "'acc' was never recorded; the recorded names are ['loss', 'lr']"),
        ({"smooth": -1}, ValueError, "`smooth` must be an integer >= 0"),
        ({"smooth": 0.5}, TypeError, "`smooth`"),
    ],
)
def test_errors_name_the_argument(options, error, words):
    with pytest.raises(error) as caught:
        run(3).plot(**options)
    assert words in str(caught.value)


def test_nothing_to_plot():
    r = tune.Recorder()
    with pytest.raises(ValueError, match="Recorder has nothing to plot"):
        r.plot()
    r.record()
    with pytest.raises(ValueError, match="Recorder has nothing to plot"):
        r.plot()


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    r = run(3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "pyfastlr\[demo\]"'):
        r.plot()


@pytest.mark.parametrize("name", ["recording", "layerwise"])
def test_the_pictures_of_the_pages_fit(name):
    script = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "watching_pictures.py"))
    assert_fits(script[name]())
