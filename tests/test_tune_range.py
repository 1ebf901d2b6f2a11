"""tune.range_test: the sweep is a plain loop's, several have medians, and what is wrong is said."""

import decimal
import math
import re
from itertools import cycle

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.tune.finding.ranges import _joined, _spread
from pyfastlr.tune.finding.rules import RULES, Suggestion
from range_problem import BATCHES, Again, X, Y, adam, loss_and_grad, new_params, run


@pytest.mark.parametrize("mode", ["exponential", "linear"])
def test_the_sweep_is_a_plain_loop(mode):
    test = run(start=1e-4, stop=5.0, steps=50, mode=mode)
    params = new_params()
    opt = adam(params)
    for k, (lr, batch) in enumerate(zip(test.lrs.tolist(), cycle(BATCHES), strict=False)):
        loss, gradient = loss_and_grad(params, batch)
        assert test.losses[k] == loss
        opt.lr = lr
        opt.step(gradient)
    i = np.arange(50) / 49
    want = 1e-4 * (5.0 / 1e-4) ** i if mode == "exponential" else 1e-4 + (5.0 - 1e-4) * i
    assert len(test.lrs) == len(test.losses) == len(test.smoothed) <= 50
    np.testing.assert_allclose(test.lrs, want[: len(test.lrs)], rtol=1e-12)
    assert test.lrs[0] == 1e-4


def test_it_begins_at_start_with_the_untouched_parameters_and_ends_at_stop():
    test = run(start=1e-7, stop=1e-3, steps=30)
    assert test.lrs[0] == 1e-7
    assert test.lrs[-1] == 1e-3
    assert len(test.lrs) == 30
    assert test.losses[0] == loss_and_grad(new_params(), BATCHES[0])[0]
    assert test.smoothed[0] == pytest.approx(test.losses[0], rel=1e-12)
    assert test.sweeps[0].ended == "steps"
    assert test.diverged_at is None


def test_it_ends_where_the_smoothed_loss_is_four_times_the_best():
    test = run(make=lambda p: flr.SGD(p, lr=1.0), start=1e-3, stop=100.0, steps=200)
    assert test.sweeps[0].ended == "diverged"
    best = np.minimum.accumulate(test.smoothed)
    assert (test.smoothed > 4 * best).tolist() == [False] * (len(best) - 1) + [True]
    assert test.diverged_at == test.lrs[-1]
    later = run(make=lambda p: flr.SGD(p, lr=1.0), start=1e-3, stop=100.0, steps=200, divergence=1e6)
    assert len(later.lrs) > len(test.lrs)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 10**400])
def test_a_loss_that_is_not_finite_ends_the_sweep(wrong):
    calls = []

    def function(params, batch):
        loss, gradient = loss_and_grad(params, batch)
        calls.append(1)
        return wrong if len(calls) == 40 else loss, gradient

    test = run(function, start=1e-4, stop=0.1)
    assert len(test.losses) == 40
    assert not math.isfinite(test.losses[-1])
    assert np.isfinite(test.smoothed[:-1]).all()
    assert test.sweeps[0].ended == "nonfinite"
    assert all(x is None or (math.isfinite(x) and x > 0) for x in test.suggestions.values())
    assert any(x is not None for x in test.suggestions.values())


def test_a_gradient_that_is_not_finite_is_survived():
    calls = []

    def function(params, batch):
        loss, gradient = loss_and_grad(params, batch)
        calls.append(1)
        return loss, {"w": gradient["w"] * (np.nan if len(calls) == 40 else 1), "b": gradient["b"]}

    params = new_params()
    test = run(function, params)
    assert len(test.losses) == 41
    assert params["w"].tolist() == new_params()["w"].tolist()


def test_nan_from_the_start_is_said():
    test = run(lambda p, b: (math.nan, loss_and_grad(p, b)[1]))
    assert set(test.suggestions.values()) == {None}
    assert set(test.reasons.values()) == {"the loss is nan at the untouched parameters"}
    assert "the loss is nan" in str(test)


def test_overflow_in_the_function_is_no_warning():
    def function(params, batch):
        loss, gradient = loss_and_grad(params, batch)
        return np.exp(np.float32(loss) * 20), {k: g * 1e200 for k, g in gradient.items()}

    before = np.geterr()
    test = run(function, divergence=1e300)
    assert test.sweeps[0].ended == "nonfinite"
    assert np.geterr() == before


def test_negative_losses_are_no_divergence():
    """Log-likelihoods: four times the best would be below it."""
    test = run(lambda p, b: (loss_and_grad(p, b)[0] - 50.0, loss_and_grad(p, b)[1]), start=1e-5, stop=0.5)
    assert test.sweeps[0].ended == "steps"
    assert test.losses.max() < 0
    assert test.suggestions["valley"] is not None


@pytest.mark.parametrize("loss", [3.0, 0.1, -0.7, 0.0, 1e308])
def test_a_constant_loss_has_no_suggestions(loss):
    """Rounding in the smoothed losses is no slope."""
    test = run(lambda p, b: (loss, loss_and_grad(p, b)[1]))
    assert test.smoothed.tolist() == [loss] * 100
    assert set(test.suggestions.values()) == {None}


@pytest.mark.parametrize("kind", [np.array, np.float32, np.longdouble, decimal.Decimal, lambda x: int(1000 * x)])
def test_a_loss_may_be_any_real_number(kind):
    test = run(lambda p, b: (kind(loss_and_grad(p, b)[0]), loss_and_grad(p, b)[1]), steps=10)
    assert test.losses[0] == float(kind(loss_and_grad(new_params(), BATCHES[0])[0]))


@pytest.mark.parametrize(
    "loss",
    [None, True, np.array(True), 1j, np.array(1j), "1", np.array("1"), np.array(None), np.datetime64(1, "s"),
     decimal.Decimal("sNaN")],
    ids=repr,
)  # fmt: skip
def test_a_loss_that_is_no_number_is_named(loss):
    with pytest.raises(TypeError, match="`loss_and_grad` must return a loss that is a number, got "):
        run(lambda p, b: (loss, p))


def test_integers_beyond_all_floats_are_infinite_with_their_sign():
    assert [run(lambda p, b, x=x: (x, p)).losses.tolist() for x in (10**400, -(10**400))] == [[math.inf], [-math.inf]]


@pytest.mark.parametrize("params", [np.full(4, 0.5), [np.full(4, 0.5)], flr.Flat({"w": np.full(4, 0.5)})], ids=type)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_container_and_dtype(params, dtype):
    params = {
        np.ndarray: lambda p: p.astype(dtype), list: lambda p: [p[0].astype(dtype)],
        flr.Flat: lambda p: flr.Flat({"w": p["w"].astype(dtype)}),
    }[type(params)](params)  # fmt: skip
    leaf = {np.ndarray: lambda p: p, list: lambda p: p[0], flr.Flat: lambda p: p["w"]}[type(params)]
    wrap = {np.ndarray: lambda g: g, list: lambda g: [g], flr.Flat: lambda g: {"w": g}}[type(params)]

    def function(p, rows):
        error = X[rows] @ leaf(p) - Y[rows]
        return np.mean(error**2), wrap((2 * X[rows].T @ error / len(error)).astype(dtype))

    test = tune.range_test(function, params, adam, BATCHES)
    assert test.suggestions["valley"] is not None
    assert leaf(params).tolist() == [0.5] * 4


# --- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"start": 0.0}, ValueError, "`start` must be a finite number > 0, got 0.0"),
        ({"start": "1e-7"}, TypeError, "`start` must be a finite number > 0, got '1e-7'"),
        ({"stop": math.inf}, ValueError, "`stop` must be a finite number > 0, got inf"),
        ({"start": 1.0, "stop": 1.0}, ValueError, "`stop` must be larger than `start`, 1.0, got 1.0"),
        ({"steps": 1}, ValueError, "`steps` must be an integer >= 2"),
        ({"steps": 10.0}, TypeError, "`steps` must be an integer >= 2"),
        ({"mode": "log"}, ValueError, "`mode` must be one of 'exponential', 'linear', got 'log'"),
        ({"repeats": 0}, ValueError, "`repeats` must be an integer >= 1"),
        ({"beta": 1.0}, ValueError, "`beta` must be a number >= 0 and < 1, got 1.0"),
        ({"divergence": 1.0}, ValueError, "`divergence` must be a finite number > 1, got 1.0"),
        ({"batches": []}, ValueError, "`batches` must have at least one batch"),
        ({"batches": iter([])}, ValueError, "`batches` must have at least one batch"),
        ({"batches": set()}, ValueError, "`batches` must have at least one batch"),
        ({"batches": X}, TypeError, r"`batches` must be a list .*, got float64\[60, 4\]"),
        ({"batches": {"x": X}}, TypeError, "`batches` must be a list .*, got dict"),
        ({"batches": 3}, TypeError, "`batches` must be a list .*, got int"),
        ({"batches": "ab"}, TypeError, "`batches` must be a list .*, got str"),
        ({"function": 3}, TypeError, "`loss_and_grad` must be a function"),
        ({"function": lambda p, b: 1.0}, TypeError, r"`loss_and_grad` must return a pair \(loss, gradient\), got 1.0"),
        ({"function": lambda p, b: (X, p)}, TypeError, "`loss_and_grad` must return a loss that is a number"),
        ({"params": {"w": [1, 2]}}, TypeError, "params"),
        ({"params": {"w": np.arange(3)}}, TypeError, "params"),
    ],
)
def test_bad_arguments_are_named(options, error, words):
    with pytest.raises(error, match=words):
        run(**options)


# --- Several sweeps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "median", "spread", "words"),
    [
        ([1e-3, 4e-2, 2e-3], 2e-3, (1e-3, 4e-2), r"^because 0.002 \(median of 3 sweeps\)$"),
        ([1e-3, 1e-1], 1e-2, (1e-3, 1e-1), "median of 2 sweeps"),
        ([None, 1e-3, 4e-3, 2e-3], 2e-3, (1e-3, 4e-3), r"median of 3 sweeps; 1 had none"),
        ([None, 1e-3], None, (1e-3, 1e-3), "^1 of 2 sweeps have no suggestion: no reason$"),
        ([None, None, 1e-3], None, (1e-3, 1e-3), "^2 of 3 sweeps have no suggestion: no reason$"),
        ([None, None], None, None, "^2 of 2 sweeps have no suggestion"),
    ],
)
def test_the_median_of_the_sweeps_and_their_spread(rates, median, spread, words):
    found = [Suggestion(x, "no reason" if x is None else f"because {x:g}") for x in rates]
    joined = _joined(found)
    assert joined.lr == (None if median is None else pytest.approx(median, rel=1e-12))
    assert _spread(found) == spread
    assert re.search(words, joined.reason)


def test_repeats_give_medians_of_what_each_sweep_finds():
    test = run(batches=Again(60, 1), function=lambda p, k: loss_and_grad(p, slice(k, k + 1)), repeats=5)
    assert len(test.sweeps) == 5
    for name in RULES:
        each = [x.found[name].lr for x in test.sweeps]
        if None not in each:
            assert test.suggestions[name] == sorted(each)[2]
            assert test.spread[name] == (min(each), max(each))
    assert test.lrs is test.sweeps[0].lrs
    assert "spread" in str(test)
    assert repr(test).startswith("RangeTest(valley=")
    assert repr(test).endswith("sweeps=5)")
