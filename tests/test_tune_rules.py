"""Suggestions of a range test: fastai's and torch-lr-finder's on the same curves, and None where those mean nothing."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pyfastlr.tune import RangeTest
from pyfastlr.tune.finding.curve import Divergence, Smoothing
from pyfastlr.tune.finding.rules import RULES, Curve, suggest
from range_curves import COUNT, checksum, curve

GOLDEN = json.loads((Path(__file__).parent / "golden" / "range_test.json").read_text(encoding="utf-8"))
FASTAI = ("valley", "steep", "slide", "minimum")


def kept(name, steps, losses):
    """Losses that a rule may use, by its library's slices: without both ends, up to the first NaN."""
    part = losses[10 if name == "gradient" else steps // 10 : -5]
    return part[: next((i for i, x in enumerate(part) if x != x), len(part))]


def differs_on_purpose(name, part, theirs, lrs):
    """Why a library's answer is meaningless if ours is None."""
    if len(part) < 2 or all(a <= b for a, b in pairwise(part)):
        return "nothing falls"
    if name == "valley" and any(math.isclose(theirs, x, rel_tol=1e-6) for x in lrs[-6:-5]):
        return "fastai's index is -1: the last rate"
    return None


@pytest.mark.parametrize("name", [*FASTAI, "gradient"])
def test_suggestions_are_those_of_the_libraries(name):
    """400 curves: noise, NaN, early ends, linear sweeps. Answers of fastai 2.8.12 and torch-lr-finder 0.2.2."""
    same = none = 0
    for k, row in enumerate(GOLDEN["rows"]):
        steps, lrs, losses = curve(k)
        assert checksum(losses) == row[0], "the curves are not those that the libraries were asked about"
        theirs = row[GOLDEN["about"]["columns"].index(name)]
        part = kept(name, steps, losses)
        ours, reason = suggest(Curve(np.array(lrs), np.array(losses), steps))[name]
        assert reason
        if theirs is None:  # it raised
            assert ours is None
        elif ours is None:
            assert differs_on_purpose(name, part, theirs, lrs), (k, reason)
            none += 1
        elif name == "gradient" and len(part) < len(losses) - 15:  # numpy's least of numbers with NaN among them is NaN
            at = lrs.index(theirs)
            assert math.isnan(losses[at]) or math.isnan(losses[at + 1])
            assert ours < theirs
        elif name == "steep" and not math.isclose(ours, theirs, rel_tol=1e-6):  # a tie in float32
            slopes = np.diff(losses) / np.diff(np.log(lrs))
            places = [int(np.abs(np.array(lrs) - x).argmin()) for x in (ours, theirs)]
            assert slopes[places[0]] == pytest.approx(slopes[places[1]], rel=1e-3)
        else:
            assert ours == pytest.approx(theirs, rel=1e-6)
            same += 1
    assert same >= 330
    assert none <= 10
    assert len(GOLDEN["rows"]) == COUNT


def test_golden_file_names_its_versions():
    assert set(GOLDEN["about"]["versions"]) == {"fastai", "torch-lr-finder", "torch"}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([math.nan, *[1.0] * 50], "nan at the untouched parameters"),
        ([math.inf, *[1.0] * 50], "inf at the untouched parameters"),
        ([1.0] * 60, "never falls"),
        ([float(x) for x in range(60)], "never falls"),
        ([2.0, 1.0, 3.0], "remain without the first"),
        ([2.0, 1.0, math.nan], "remain without the first"),
        ([1.0], "remain without the first"),
    ],
    ids=["nan", "inf", "flat", "rising", "short", "short-nan", "one"],
)
def test_none_with_a_reason_where_there_is_nothing_to_go_by(name, losses, words):
    found = suggest(Curve(np.geomspace(1e-6, 1, len(losses)), np.array(losses), len(losses)))[name]
    assert found.lr is None
    assert words in found.reason


def test_losses_near_the_largest_float_give_no_absurd_rate():
    rng = np.random.default_rng(0)
    with np.errstate(all="raise"):  # of which none comes from the rules
        for _ in range(50):
            losses = rng.uniform(-1, 1, 60) * 1.79e308
            for lr, reason in suggest(Curve(np.geomspace(1e-6, 1, 60), losses, 60)).values():
                assert reason
                assert lr is None or 1e-8 < lr <= 1


def test_a_sweep_that_ends_at_a_loss_that_is_not_finite_is_cut_as_fastai_cuts_it():
    """fastai continues to the end and drops 5 losses there, all NaN; ours stops at the first NaN."""
    lrs, losses = np.geomspace(1e-6, 10, 100), np.full(100, np.nan)
    losses[:70] = 3 - np.linspace(0, 1, 70) ** 3
    whole = suggest(Curve(lrs, losses, 100))
    assert suggest(Curve(lrs[:71], losses[:71], 100)) == whole
    assert suggest(Curve(lrs[:98], np.r_[losses[:70], losses[70:98]], 100)) != {}
    assert whole["gradient"].lr == lrs[69]  # the last of all that are finite


def test_infinite_losses_are_cut_like_nan():
    lrs, losses = np.geomspace(1e-6, 10, 100), 3 - np.linspace(0, 1, 100) ** 3
    for wrong in (np.inf, -np.inf, np.nan):
        losses[80:] = wrong
        assert suggest(Curve(lrs, losses, 100))["minimum"].lr == pytest.approx(lrs[79] / 10)


def test_valley_whose_index_would_count_from_the_end():
    losses = np.r_[[9.0] * 4, 3.0, 2.0, np.arange(3.0, 40.0)]  # after the first tenth: 3, 2 and up
    found = suggest(Curve(np.geomspace(1e-6, 10, len(losses)), losses, len(losses)))["valley"]
    assert found.lr is None
    assert "only over the first two rates" in found.reason


# --- The curve -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.98, 0.999])
def test_smoothing_is_the_weighted_mean(beta):
    losses = np.random.default_rng(1).normal(size=200)
    smoothing = Smoothing(beta)
    got = [smoothing.add(x) for x in losses.tolist()]
    want = [np.average(losses[: n + 1], weights=float(beta) ** np.arange(n, -1, -1)) for n in range(len(losses))]
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_divergence_of_positive_losses_is_four_times_the_best():
    end = Divergence(4.0)
    assert [end.reached(x) for x in (2.0, 1.0, 3.9, 4.0, 4.1)] == [False, False, False, False, True]


@pytest.mark.parametrize(
    ("first", "best", "limit"),
    [(-1.0, -2.0, 4.0), (2.0, -0.5, 5.5), (2.0, 0.0, 6.0), (-5.0, -4.0, 10.0), (0.0, 0.0, 0.0)],
)
def test_divergence_of_losses_that_are_not_positive(first, best, limit):
    end = Divergence(4.0)
    assert not end.reached(first)
    assert not end.reached(best)
    assert not end.reached(limit)
    assert end.limit == limit
    assert end.reached(limit + 0.1)


# --- Curves of others ------------------------------------------------------------------------------------------------


def test_a_curve_that_was_recorded_elsewhere():
    steps, lrs, losses = curve(3)
    test = RangeTest.from_curve(lrs, losses, steps)
    found = suggest(Curve(np.array(lrs), np.array(losses), steps))
    assert test.suggestions == {name: x.lr for name, x in found.items()}
    assert test.lrs.tolist() == lrs
    assert RangeTest.from_curve(np.geomspace(1e-3, 1, 50), np.ones(50)).mode == "exponential"
    assert RangeTest.from_curve(np.linspace(1e-3, 1, 50), np.ones(50)).mode == "linear"


@pytest.mark.parametrize(
    ("lrs", "losses", "steps", "words"),
    [
        ([1.0, 2.0], [1.0], None, "`smoothed` must have a loss for each of the 2 rates, got 1"),
        ([0.0, 2.0], [1.0, 1.0], None, "`lrs` must be finite, positive and increasing"),
        ([2.0, 1.0], [1.0, 1.0], None, "`lrs` must be finite, positive and increasing"),
        ([1.0, np.nan], [1.0, 1.0], None, "`lrs` must be finite, positive and increasing"),
        ([], [], None, "`lrs` must be one-dimensional and not empty"),
        ([[1.0]], [1.0], None, "`lrs` must be one-dimensional"),
        ([1.0, 2.0], [1.0, 1.0], 1, "`steps` must be an integer >= 2, got 1"),
        ([1.0, 2.0], [1.0, 1.0], 2.0, "`steps` must be an integer >= 2, got 2.0"),
        ("ab", [1.0, 1.0], None, "`lrs` must be a sequence of numbers, got str"),
    ],
)
def test_curves_that_are_refused(lrs, losses, steps, words):
    with pytest.raises((TypeError, ValueError), match="^" + words.replace("[", r"\[")):
        RangeTest.from_curve(lrs, losses, steps)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"valley": 1e-3, "steep": 2e-3}, "The rules agree within a factor of 2."),
        (
            {"valley": 1e-3, "steep": 2e-2},
            "The rules are a factor of 20 apart, from valley to steep: look at the plot.",
        ),
        (
            {"valley": 1.0, "steep": 1e-3},
            "The rules are a factor of 1,000 apart, from steep to valley: look at the plot before",
        ),
        ({"valley": 1.0}, "There are fewer than two suggestions to compare."),
    ],
)
def test_agreement_in_words(values, words):
    test = RangeTest.from_curve([1.0, 2.0], [1.0, 1.0])
    object.__setattr__(test, "suggestions", dict.fromkeys(RULES) | values)
    assert words in str(test)
    rates = list(values.values())
    assert test.agreement == (pytest.approx(max(rates) / min(rates)) if len(rates) > 1 else None)
