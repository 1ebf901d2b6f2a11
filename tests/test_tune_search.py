"""`tune.search`: methods, spaces, values, results."""

import math
import sys

import numpy as np
import optuna
import pytest

import pyfastlr as flr
import search_problems
from pyfastlr import schedules as S
from pyfastlr import tune

RATES = {"lr": (1e-5, 10.0)}


def bowl(values):
    """Smallest at lr 0.0123 and momentum 0.9."""
    return (math.log(values["lr"]) - math.log(0.0123)) ** 2 + (values.get("momentum", 0.9) - 0.9) ** 2


# --- How good it is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", search_problems.LOADERS)
def test_forty_trials_find_the_rate(name):
    """Within a factor of two of the best of 200 rates."""
    objective = search_problems.objective(name)
    dense = np.geomspace(1e-5, 10.0, 200)
    best = dense[np.nanargmin([objective({"lr": lr}) for lr in dense])]
    for method in ("bayesian", "random", "grid"):
        for seed in range(3 if method != "grid" else 1):
            found = tune.search(objective, RATES, method, trials=40, seed=seed)
            assert best / 2 <= found.best["lr"] <= best * 2, (method, seed, found.best, best)


def test_bayesian_search_learns():
    """Its later trials are nearer to the best than random ones: the median over seeds of the median distance."""

    def distances(method):
        return [
            np.median([abs(math.log(x.values["lr"] / 0.0123)) for x in found.trials[20:]])
            for found in (tune.search(bowl, RATES, method, trials=40, seed=seed) for seed in range(5))
        ]

    assert np.median(distances("bayesian")) < 0.7 * np.median(distances("random"))


# --- Spaces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "grid", "bayesian"])
def test_every_kind_of_entry(method):
    seen = []
    space = {
        "lr": [
            tune.Call(S.Cosine, tune.Range(1e-4, 1.0), steps=100),
            0.1,
            tune.Call(S.OneCycle, (1e-3, 1.0, "log"), 50),
        ],
        "betas": (0.9, tune.Range(0.99, 0.999)),
        "eps": 1e-8,
        "weight_decay": np.array([0.0, 0.1]),
        "maximize": [False, True],
        "inner": {"width": (8, 64), "depth": tune.Range(1, 9, step=2, num=2)},
        "pair": [(0.9, 0.99), (0.8, 0.9)],
        "optimizer": [flr.SGD, flr.Adam],
    }

    def objective(values):
        seen.append(values)
        return 0.0

    found = tune.search(objective, space, method, trials=700 if method == "grid" else 25, seed=0)
    assert [x.values.keys() for x in found.trials] == [space.keys()] * len(seen)
    for values in seen:
        lr, (b1, b2) = values["lr"], values["betas"]
        assert lr == 0.1 or isinstance(lr, S.Cosine | S.OneCycle)
        assert not isinstance(lr, S.Cosine) or 1e-4 <= lr(0) <= 1.0
        assert b1 == 0.9
        assert 0.99 <= b2 <= 0.999
        assert values["eps"] == 1e-8
        assert values["weight_decay"] in (0.0, 0.1)
        assert values["maximize"] in (False, True)
        assert type(values["maximize"]) is bool
        assert type(values["inner"]["width"]) is int
        assert 8 <= values["inner"]["width"] <= 64
        assert values["inner"]["depth"] in (1, 3, 5, 7, 9)
        assert values["pair"] in ((0.9, 0.99), (0.8, 0.9))
        assert values["optimizer"] in (flr.SGD, flr.Adam)
    assert len({type(x["lr"]) for x in seen}) == 3
    assert isinstance(found.best["lr"], S.Schedule | float)
    opt = flr.Adam(np.zeros(3), lr=found.best["lr"], betas=found.best["betas"])
    opt.step(np.ones(3))


def test_best_makes_new_objects():
    """A controller with state is never shared between trials or users."""
    found = tune.search(lambda v: v["lr"](0), {"lr": tune.Call(S.Plateau, (0.1, 1.0))}, "random", trials=3, seed=0)
    assert found.best["lr"] is not found.best["lr"]
    assert found.best["lr"](0) == found.best_value


def test_grid():
    found = tune.search(bowl, {"lr": (1e-4, 1.0), "momentum": tune.Range(0.0, 0.9, num=3)}, "grid", trials=17)
    rates, momenta = np.geomspace(1e-4, 1.0, 5), [0.0, 0.45, 0.9]
    expected = [(lr, m) for lr in rates for m in momenta]
    got = [(x.values["lr"], x.values["momentum"]) for x in found.trials]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert [x.value for x in found.trials] == [bowl({"lr": lr, "momentum": m}) for lr, m in got]
    with pytest.raises(ValueError, match="`trials` must be at least 6 for the grid of this space, got 5"):
        tune.search(bowl, {"lr": (1e-4, 1.0), "momentum": tune.Range(0.0, 0.9, num=3)}, "grid", trials=5)


def test_a_grid_of_choices_with_parts():
    space = {"lr": [tune.Range(0.0, 1.0), tune.Call(S.Constant, tune.Range(2.0, 3.0)), 7.0]}
    found = tune.search(lambda v: 0.0, space, "grid", trials=6)
    values = [x.values["lr"] for x in found.trials]
    assert [x if isinstance(x, float) else x(0) for x in values] == [0.0, 1.0, 2.0, 3.0, 7.0]


def test_random_draws_are_uniform_on_their_scale():
    """Kolmogorov's distance below 1.63 / sqrt(n), its 1 % limit."""
    space = {"a": (1e-5, 10.0), "b": (2.0, 5.0), "c": (1, 4), "d": [0, 1, 2], "e": (1, 1000)}
    found = tune.search(lambda v: 0.0, space, "random", trials=1000, seed=1)
    a, b, c, d, e = (np.array([x.values[k] for x in found.trials]) for k in "abcde")
    for u in (np.log(a / 1e-5) / np.log(1e6), (b - 2) / 3):
        assert np.abs(np.sort(u) - np.linspace(0, 1, 1000)).max() < 1.63 / math.sqrt(1000)
    for x, kinds in ((c, 4), (d, 3)):
        counts = np.unique(x, return_counts=True)[1]
        assert len(counts) == kinds
        assert np.abs(counts / 1000 - 1 / kinds).max() < 0.06
    assert {e.min(), e.max()} <= set(range(1, 1001))
    assert abs(np.mean(e < 32) - math.log(31.5 / 0.5) / math.log(1000.5 / 0.5)) < 0.05


def test_optunas_distributions_and_samplers():
    d = optuna.distributions
    space = {
        "lr": d.FloatDistribution(1e-4, 1.0, log=True),
        "n": d.IntDistribution(1, 9),
        "k": d.CategoricalDistribution("ab"),
    }
    found = tune.search(lambda v: v["lr"], space, optuna.samplers.RandomSampler(seed=1), trials=8)
    assert found.method == "RandomSampler"
    assert found.searched.ranges == {"lr": tune.Range(1e-4, 1.0, log=True), "n": tune.Range(1, 9)}


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "bayesian"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_diverged_trials_are_never_best(method, mode):
    def objective(values):
        if values["lr"] > 1.0:
            raise FloatingPointError("too large")
        return [values["lr"], math.nan, math.inf, -math.inf][int(values["lr"] * 1e6) % 4]

    found = tune.search(objective, RATES, method, trials=40, seed=0, mode=mode)
    values = [x.value for x in found.trials if x.state == "finished"]
    assert found.best_value == (min if mode == "min" else max)(values)
    diverged = [x for x in found.trials if x.state == "diverged"]
    assert len(diverged) == 40 - len(values) > 5
    assert {x.value for x in diverged} == {math.inf if mode == "min" else -math.inf}


def test_nothing_finished():
    found = tune.search(lambda v: math.nan, RATES, "random", trials=3)
    assert "no trial has finished" in str(found)
    with pytest.raises(ValueError, match="no trial has finished, so there is no best one: 3 diverged"):
        _ = found.best
    found.plot()


@pytest.mark.parametrize("method", ["random", "bayesian"])
def test_an_exception_names_the_trial(method):
    def objective(values):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        tune.search(objective, {"lr": (1.0, 2.0)}, method, seed=0)
    assert caught.value.__notes__[0].startswith("in trial 0 of a search, with lr=1.")


def test_reports():
    def objective(values, report):
        for k in range(3):
            report(values["lr"] / (k + 1))
        report(0.5, step=10)
        return values["lr"]

    for method in ("random", "bayesian"):
        trial = tune.search(objective, {"lr": (1.0, 2.0)}, method, trials=2, seed=0).trials[1]
        assert trial.reports == {0: trial.value, 1: trial.value / 2, 2: trial.value / 3, 10: 0.5}

    def diverges(values, report):
        report(math.nan)

    assert tune.search(diverges, RATES, "random", trials=1).trials[0].state == "diverged"


@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive_halving", optuna.pruners.MedianPruner(2)])
def test_pruners(pruner):
    def objective(values, report):
        for k in range(30):
            report(bowl(values) + 1 / (k + 1), step=k)
        return bowl(values)

    for method in ("bayesian", "random"):
        found = tune.search(objective, RATES, method, trials=30, seed=0, pruner=pruner)
        pruned = [x for x in found.trials if x.state == "pruned"]
        assert len(pruned) >= 5
        assert all(len(x.reports) < 30 for x in pruned)
        assert found.best_value < 1.0


def test_reproducible():
    for method in ("random", "bayesian"):
        a, b, c = (tune.search(bowl, RATES, method, trials=15, seed=s) for s in (3, 3, 4))
        assert [x.value for x in a.trials] == [x.value for x in b.trials] != [x.value for x in c.trials]


def test_result():
    found = tune.search(bowl, {"lr": (1e-4, 1.0), "momentum": [0.5, 0.9]}, "random", trials=12, seed=0)
    assert str(found).splitlines()[0] == "random search, 12 trials: 12 finished"
    assert f"{found.best['lr']:.6g}" in str(found)
    assert repr(found) == f"<Search: random, 12 trials (12 finished), best {found.best_value:.6g}>"
    assert found.best_value == min(x.value for x in found.trials) == bowl(found.best)
    assert [x.number for x in found.trials] == list(range(12))
    assert all(x.seconds >= 0 for x in found.trials)
    axes = found.plot()
    assert [x.get_xlabel() for x in axes] == ["lr", "momentum"]
    assert axes[0].get_xscale() == "log"
    assert found.plot(axes) == axes
    with pytest.raises(ValueError, match="`ax` must be 2 Axes, one for each parameter, got 1"):
        found.plot(axes[0])


# --- Wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, RATES), TypeError, "`objective` must be a function values -> float, got int"),
        ((bowl, [1]), TypeError, "`space` must be a dict of names and what to try, got"),
        ((bowl, {"lr": 0.1}), ValueError, "`space` must have a range or a list of choices, got fixed values only"),
        ((bowl, {"lr": []}), ValueError, "`space` must have at least one choice for `lr`"),
        ((bowl, {"lr": (1.0, 0.1)}), ValueError, r"`space` must have a range for `lr`, got .*`high` must be larger"),
        ((bowl, {"lr": (0.0, 1.0, "log")}), ValueError, "`low` must be > 0 with log=True, got 0.0"),
        ((bowl, {"lr": (1, 2, 3, 4)}), ValueError, "`space` must have for `lr` a range"),
        ((bowl, {"lr": ("a", "b")}), ValueError, "`space` must have for `lr` a range"),
        ((bowl, {"lr": (0.1, math.inf)}), TypeError, "`high` must be a finite number, got inf"),
        ((bowl, {"lr": ["a", "a"]}), ValueError, "`space` must have different choices for `lr`, got 'a' twice"),
        ((bowl, RATES, "tpe"), ValueError, "`method` must be one of bayesian, random, grid or an Optuna sampler"),
        ((bowl, RATES, 3), TypeError, "`method` must be one of bayesian, random, grid or an Optuna sampler, got int"),
        ((bowl, RATES, "random", 0), ValueError, "`trials` must be an integer >= 1, got 0"),
        ((bowl, RATES, "random", 5, 7), TypeError, "`storage` must be a path, a URL, an Optuna storage or None"),
        ((bowl, RATES, "random", 5, "/no/such/x.db"), ValueError, "`storage` must be a file that can be written"),
        ((bowl, RATES, "random", 5, None, -1), ValueError, "`seed` must be an integer >= 0, got -1"),
        ((bowl, RATES, "random", 5, None, 0, 0), ValueError, "`jobs` must be an integer >= 1, got 0"),
        ((lambda v: "x", RATES, "random"), TypeError, "`objective` must return a number, got 'x'"),
        ((lambda v: None, RATES, "random"), TypeError, "`objective` must return a number, got None"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        tune.search(*arguments)


def test_wrong_options():
    for options, message in (
        ({"mode": "up"}, '`mode` must be "min" or "max", got \'up\''),
        ({"pruner": "best"}, "`pruner` must be one of median, hyperband, successive_halving, got 'best'"),
        ({"pruner": 3}, "`pruner` must be a name, an Optuna pruner or None, got int"),
        ({"name": ""}, "`name` must be a str that is not empty"),
        ({"progress": 2}, "`progress` must be True, False or None, got 2"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            tune.search(bowl, RATES, "random", **options)
    with pytest.raises(TypeError, match=r"`function` must take the arguments given, Cosine: .*wrong"):
        tune.Call(S.Cosine, 0.1, 100, wrong=3)
    for arguments, options, message in (
        ((1, 2), {"step": 3}, "`step` must be > 0 and at most high - low, 1, got 3"),
        ((1, 2), {"step": 1, "log": True}, "`step` must be None with log=True"),
        ((1, 2), {"num": 1}, "`num` must be an integer >= 2, got 1"),
        ((1, 2), {"log": "yes"}, "`log` must be True, False or None, got 'yes'"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            tune.Range(*arguments, **options)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setitem(sys.modules, "loky", None)
    for method in ("random", "grid"):
        assert len(tune.search(bowl, RATES, method, trials=5).trials) == 5
    for options in ({"method": "bayesian"}, {"storage": "x.db", "method": "random"}, {"pruner": "median"}):
        with pytest.raises(ModuleNotFoundError, match=r'needs Optuna: pip install "pyfastlr\[tune\]"'):
            tune.search(bowl, RATES, **options)
    with pytest.raises(ModuleNotFoundError, match=r'`jobs` > 1 needs loky: pip install "pyfastlr\[tune\]"'):
        tune.search(bowl, RATES, "random", jobs=2)


def test_progress(capsys):
    tune.search(bowl, RATES, "random", trials=20, seed=0, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("search  20/20  best ")
    tune.search(bowl, RATES, "random", trials=20, seed=0)
    tune.search(bowl, RATES, "random", trials=20, seed=0, progress=False)
    assert capsys.readouterr().err == ""
