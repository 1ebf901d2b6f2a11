"""tune.range_test: the sweep is a plain loop's, everything is as it was afterwards, and what is wrong is said."""

import math
import random
import re
import signal
import weakref
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.optimizers import borrowed, registry
from pyfastlr.tune import finder
from pyfastlr.tune.batches import Batches
from pyfastlr.tune.randomness import generators
from pyfastlr.tune.ranges import _joined, _spread
from pyfastlr.tune.rules import RULES, Suggestion

X = np.random.default_rng(0).standard_normal((60, 4))
Y = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.3
BATCHES = [np.arange(k, k + 20) for k in (0, 20, 40)]


def new_params():
    return {"w": np.full(4, 0.5), "b": np.zeros(1)}


def loss_and_grad(params, rows):
    """Mean squared error of a linear model."""
    rows = slice(None) if rows is None else rows
    error = X[rows] @ params["w"] + params["b"] - Y[rows]
    return np.mean(error**2), {"w": 2 * X[rows].T @ error / len(error), "b": np.array([2 * error.mean()])}


def adam(params):
    return flr.Adam(params, lr=1e-3)


def run(function=loss_and_grad, params=None, make=adam, batches=BATCHES, **options):
    return tune.range_test(function, new_params() if params is None else params, make, batches, **options)


# --- The sweep -------------------------------------------------------------------------------------------------------


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


# --- The optimizer ---------------------------------------------------------------------------------------------------


def in_use():
    """Parameters and an optimizer with a past: a schedule, a group with its own rate, rates by element."""
    params = new_params()
    scale = {"w": np.array([1.0, 0.5, 2.0, 0.0]), "b": np.ones(1)}
    group = {"params": "b", "lr": 0.1}
    opt = flr.AMSGrad(params, lr=S.Cosine(1e-2, 100), lr_scale=scale, weight_decay=0.1, groups=[group])
    for batch in islice(cycle(BATCHES), 7):
        opt.step(loss_and_grad(params, batch)[1])
    return params, opt


def everything(params, opt):
    """All that a test must leave as it was, in a form that == compares."""
    state = opt.state_dict()
    return {
        "params": {key: x.tobytes() for key, x in params.items()},
        "order": list(params),
        "arrays": [id(x) for x in params.values()],
        "state": {key: {k: x.tobytes() for k, x in part.items()} for key, part in state["state"].items()},
        "counts": state["counts"].tobytes(),
        "carry": state["carry"].tobytes(),
        "steps": opt.steps,
        "used": opt.stats.lr,
        "groups": [[(key, id(x) if isinstance(x, dict) else x) for key, x in group.items()] for group in opt.groups],
        "writeable": [x.flags.writeable for x in params.values()],
        "numpy": repr(np.random.get_state()),  # noqa: NPY002  # users draw from it
        "python": random.getstate(),
        "errors": np.geterr(),
    }


class Ended(Exception):
    pass


def raising(error, at):
    def end(calls, params, gradient):
        if len(calls) == at:
            raise error
        return gradient

    return end


def wrong_gradient(calls, params, gradient):
    return gradient if len(calls) < 5 else {"w": gradient["w"][:2], "b": gradient["b"]}


def replaced(calls, params, gradient):
    if len(calls) == 5:
        params["w"] = params["w"] * 2
    return gradient


def removed(calls, params, gradient):
    if len(calls) == 5:
        del params["w"]
    return gradient


def resized(calls, params, gradient):
    if len(calls) == 5:
        params["b"].resize(7, refcheck=False)
    return gradient


def locked(calls, params, gradient):
    if len(calls) == 5:
        params["w"].flags.writeable = False
    return gradient


ENDINGS = {
    "whole": (lambda calls, params, gradient: gradient, None, None),
    "error": (raising(Ended("half-way"), 9), Ended, "half-way"),
    "error-at-once": (raising(Ended("at once"), 1), Ended, "at once"),
    "ctrl-c": (raising(KeyboardInterrupt(), 9), KeyboardInterrupt, None),
    "signal": (
        lambda calls, params, gradient: (len(calls) == 9 and signal.raise_signal(signal.SIGINT)) or gradient,
        KeyboardInterrupt,
        None,
    ),
    "exit": (raising(SystemExit(), 9), SystemExit, None),
    "gradient": (wrong_gradient, ValueError, r"must return a gradient like the parameters: `grads\['w'\]`"),
    "replaced": (replaced, ValueError, r"`loss_and_grad` must leave `params\['w'\]` as it is, got another array"),
    "removed": (removed, ValueError, "`loss_and_grad` must not change the structure of `params`"),
    "resized": (resized, ValueError, r"`loss_and_grad` must leave `params\['b'\]` as it is, got one that was resized"),
    "locked": (locked, ValueError, r"`loss_and_grad` must leave `params\['w'\]` as it is"),
}


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("name", ENDINGS)
def test_everything_is_restored_whatever_ends_it(name, repeats):
    end, error, words = ENDINGS[name]
    params, opt = in_use()
    rng, legacy = np.random.default_rng(3), np.random.RandomState(4)
    before = everything(params, opt), rng.bit_generator.state, repr(legacy.get_state())
    calls = []

    def function(params, batch):
        calls.append(1)
        loss, gradient = loss_and_grad(params, batch)
        noise = np.random.random() + random.random() + rng.random() + legacy.random_sample()  # noqa: NPY002
        return loss + 0.1 * noise, end(calls, params, gradient)

    def attempt():
        return tune.range_test(function, params, lambda p: opt, BATCHES, steps=40, repeats=repeats)

    if error is None:
        result = attempt()
        assert result.losses.tolist() == attempt().losses.tolist()  # the same random numbers
        assert len({x.losses[-1] for x in result.sweeps}) == repeats  # that go on from sweep to sweep
    else:
        with pytest.raises(error, match=words) as caught:
            attempt()
        if error not in (KeyboardInterrupt, SystemExit):
            assert f"loss {len(calls)} of 40 of a range test" in caught.value.__notes__[0]
    assert (everything(params, opt), rng.bit_generator.state, repr(legacy.get_state())) == before
    if name != "resized":  # its memory may have moved
        assert opt.lr == S.Cosine(1e-2, 100)(7)
        twin, other = in_use()
        for each, of in ((params, opt), (twin, other)):
            of.step(loss_and_grad(each, BATCHES[0])[1])
        assert params["w"].tobytes() == twin["w"].tobytes()  # and it goes on as if nothing had been


def test_containers_however_deep_are_restored():
    inner = [np.ones(2), {"c": np.ones(3)}]
    params = {"a": inner, "b": np.ones(1)}
    arrays = inner[0], inner[1]["c"], params["b"]

    def function(p, batch):
        p["a"][1]["c"] = p["a"][1]["c"].copy()
        p["a"].append(np.ones(1))
        p["b"][:] = 7
        return 1.0, p

    with pytest.raises(ValueError, match="must not change the structure"):
        tune.range_test(function, params, adam, None)
    assert params["a"] is inner
    assert len(inner) == 2
    assert all(x is y for x, y in zip((inner[0], inner[1]["c"], params["b"]), arrays, strict=True))
    assert params["b"].tolist() == [1.0]


@pytest.mark.parametrize("cls", [x for x in registry if x is not flr.Rprop], ids=lambda x: x.__name__)
def test_every_optimizer_can_be_tested(cls):
    params = new_params()
    opt = cls(params, lr=0.01, convention=next(iter(cls.conventions)))
    opt.step(loss_and_grad(params, None)[1])
    before = everything(params, opt)
    test = run(params=params, make=lambda p: opt)
    assert everything(params, opt) == before
    assert test.losses[0] == loss_and_grad(params, BATCHES[0])[0]
    assert test.losses[-1] != test.losses[0]


def test_memory_of_another_library():
    class Tensor:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    w = Tensor(np.full(4, 0.5))

    def function(p, rows):
        error = X[rows] @ p[0].array - Y[rows]
        return np.mean(error**2), [2 * X[rows].T @ error / len(error)]

    assert tune.range_test(function, [w], adam, BATCHES).suggestions["valley"] is not None
    assert w.array.tolist() == [0.5] * 4


def test_groups_keep_their_ratio():
    rates = []
    opt = []

    def make(params):
        opt.append(flr.SGD(params, lr=S.Constant(0.01), groups=[{"params": "b", "lr": 0.05}, {"params": "w"}]))
        return opt[0]

    def function(params, batch):
        rates.append(opt[0].lrs)
        return loss_and_grad(params, batch)

    test = run(function, make=make, start=1e-4, stop=1e-2, steps=5)
    want = [[lr, 5 * lr, lr] for lr in [1e-4, *test.lrs[:-1]]]  # the loss comes before the update that has the rate
    np.testing.assert_allclose(rates, want, rtol=1e-12)
    assert opt[0].lrs == [0.01, 0.05, 0.01]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: None, TypeError, "`make_optimizer` must return an optimizer of pyfastlr.*got NoneType"),
        (lambda p: adam(new_params()), ValueError, "`make_optimizer` must return an optimizer over `params`"),
        (lambda p: flr.Rprop(p), ValueError, "`lr` of Rprop cannot be changed"),
        (
            lambda p: flr.SGD(p, lr=0.0, groups=[{"params": "b", "lr": 1.0}]),
            ValueError,
            "base group's `lr` must be positive",
        ),
        (lambda p: 1 / 0, ZeroDivisionError, "division"),
        (3, TypeError, "`make_optimizer` must be a function params -> Optimizer, got int"),
    ],
    ids=["none", "other", "rprop", "zero", "raises", "number"],
)
def test_optimizers_that_are_refused(make, error, words):
    params = new_params()
    with pytest.raises(error, match=words):
        run(params=params, make=make)
    assert params["w"].tolist() == [0.5] * 4


def test_a_make_optimizer_that_writes_parameters_is_undone():
    params = new_params()

    def make(params):
        params["w"][:] = 9.0
        return adam(params)

    assert (
        run(params=params, make=make).losses[0]
        == loss_and_grad({"w": np.full(4, 9.0), "b": np.zeros(1)}, BATCHES[0])[0]
    )
    assert params["w"].tolist() == [0.5] * 4


# Steps and what sets hyperparameters are interrupted everywhere in tests/test_interrupts.py.
TOOL = (str(Path(tune.__file__).parent), borrowed.__file__)


@needs_faithful_traces
def test_an_interrupt_anywhere_leaves_everything_as_it_was(monkeypatch):
    monkeypatch.setattr(finder, "generators", lambda *roots: [])  # it changes nothing, and takes long while traced
    params, opt = in_use()
    before = everything(params, opt)

    def work():
        tune.range_test(loss_and_grad, params, lambda p: opt, BATCHES, steps=2, repeats=2)

    work()  # compiled, imported

    def attempt(k):
        place = interrupted(work, k, inside=TOOL)
        assert everything(params, opt) == before, place
        return place

    assert everywhere(attempt) > 100


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


# --- Batches ---------------------------------------------------------------------------------------------------------


class Again:
    """An iterable that is no sequence, and shuffles itself each time."""

    def __init__(self, n, seed):
        self.n, self.rng = n, np.random.default_rng(seed)

    def __iter__(self):
        return iter(self.rng.permutation(self.n).tolist())


def drawn(batches, n):
    source = Batches(batches)
    return [next(source) for _ in range(n)]


def test_batches_begin_again_when_they_end():
    assert drawn([1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]
    assert drawn((1, 2), 3) == [1, 2, 1]
    assert drawn(range(2), 3) == [0, 1, 0]
    assert drawn(iter([1, 2, 3]), 7) == [1, 2, 3, 1, 2, 3, 1]
    assert drawn((x for x in "ab"), 5) == list("ababa")
    assert drawn({7: "x"}.keys(), 2) == [7, 7]
    assert drawn(None, 2) == [None, None]
    rng = np.random.default_rng(5)
    assert drawn(Again(4, 5), 10) == [*rng.permutation(4), *rng.permutation(4), *rng.permutation(4)[:2]]


def test_what_can_only_be_indexed_is_a_sequence():
    class Indexed:
        def __len__(self):
            return 3

        def __getitem__(self, k):
            return 10 * k  # of any k: iter() would never end

    assert drawn(Indexed(), 5) == [0, 10, 20, 0, 10]


def test_an_iterator_is_drawn_from_no_more_than_needed():
    taken = []
    endless = (taken.append(k) for k in range(1000))
    drawn(endless, 5)
    assert taken == [0, 1, 2, 3, 4]


def test_an_iterable_that_is_empty_the_second_time_is_refused():
    class Once:
        def __init__(self):
            self.inside = iter([1, 2])

        def __iter__(self):
            return (x for x in self.inside)

    with pytest.raises(ValueError, match="`batches` must have at least one batch each time"):
        drawn(Once(), 3)


def test_an_error_of_the_batches_is_theirs():
    def broken():
        yield BATCHES[0]
        raise Ended("no more")

    params = new_params()
    with pytest.raises(Ended, match="no more") as caught:
        run(params=params, batches=broken())
    assert "loss 2 of 100" in caught.value.__notes__[0]
    assert params["w"].tolist() == [0.5] * 4


def test_sweeps_over_a_sequence_begin_at_other_batches():
    """Else five sweeps of 99 steps over three batches would be one and the same, and their spread none."""
    test = run(steps=99, repeats=3)
    assert [x.losses[0] for x in test.sweeps] == [loss_and_grad(new_params(), b)[0] for b in BATCHES]


def test_without_batches_the_function_gets_none():
    got = []

    def function(params, batch):
        got.append(batch)
        return loss_and_grad(params, batch)

    run(function, batches=None, steps=4, stop=1e-5)
    assert got == [None] * 4


# --- Random numbers --------------------------------------------------------------------------------------------------

shared = np.random.default_rng(6)


class Nothing:
    pass


class Loader:
    __slots__ = ("rng",)

    def __init__(self, rng):
        self.rng = rng

    def draw(self):
        return self.rng.random()

    def __call__(self, params, batch):
        return self.draw()


def test_generators_are_found_wherever_they_are_held():
    rng = np.random.default_rng(1)

    def closure():
        return rng.random()

    def default(r=rng):
        return r

    def keyword(*, r=rng):
        return r

    def generator():
        inner = Loader(rng)
        yield inner.draw()
        yield inner.draw()

    def nested():
        return [rng for _ in range(3)]

    def unset():
        return later

    started = generator()
    next(started)
    roots = [
        closure, default, keyword, nested, started, Loader(rng), Loader(rng).draw, lambda: closure(), partial(closure),
        partial(print, rng), map(float, started), zip([1], (x for x in [closure]), strict=False), [[{"a": (rng,)}]],
        {"k": Loader(rng)}, enumerate(islice(iter([rng]), 2)), cycle([Loader(rng)]),
    ]  # fmt: skip
    for root in roots:
        assert generators(root) == [rng], root
    assert generators(unset) == []  # a variable without a value yet
    later = 3
    assert generators(unset) == []
    assert generators(lambda: shared.random()) == [shared]
    legacy, bits, python = np.random.RandomState(0), np.random.PCG64(0), random.Random(0)
    assert set(map(id, generators([legacy, bits, python, legacy]))) == {id(legacy), id(bits), id(python)}


def test_no_generator_is_found_where_nobody_holds_one():
    """Not through modules, nor through globals that a function does not name."""
    assert generators(loss_and_grad, adam, BATCHES, None, np, 3) == []
    assert generators([1.0] * 200_000) == []


def test_what_looks_like_nothing_or_like_everything_is_passed_over():
    class Odd:
        @property
        def __class__(self):
            raise ReferenceError("gone")

    target = Nothing()
    proxy = weakref.proxy(target)
    del target
    rng = np.random.default_rng(0)
    assert generators([proxy, Odd(), random.SystemRandom(), rng]) == [rng]


def test_looking_for_generators_ends():
    endless = []
    endless.append(endless)
    many = [[k] for k in range(200_000)]
    assert generators(endless, many) == []


# --- Several sweeps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "median", "spread", "words"),
    [
        ([1e-3, 4e-2, 2e-3], 2e-3, (1e-3, 4e-2), r"^because 0.002 \(median of 3 sweeps\)$"),
        ([1e-3, 1e-1], 1e-2, (1e-3, 1e-1), "median of 2 sweeps"),
        ([None, 1e-3, 4e-3, 2e-3], 2e-3, (1e-3, 4e-3), r"median of 3 sweeps, 1 others have none"),
        ([None, 1e-3], None, (1e-3, 1e-3), "^1 of 2 sweeps have none: no reason$"),
        ([None, None, 1e-3], None, (1e-3, 1e-3), "^2 of 3 sweeps have none: no reason$"),
        ([None, None], None, None, "^2 of 2 sweeps have none"),
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
