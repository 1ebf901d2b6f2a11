"""After a range test everything is as it was, whatever ended it; the optimizer may be one that is in use."""

import random
import signal
import warnings
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.optimizers import borrowed, registry
from pyfastlr.tune.finding import finder
from pyfastlr.tune.restoring import SavedParameters, restored
from range_problem import BATCHES, Ended, X, Y, adam, loss_and_grad, new_params, run


def in_use():
    """Parameters and a used optimizer: a schedule, a group with its own rate, per-element rates."""
    params = new_params()
    scale = {"w": np.array([1.0, 0.5, 2.0, 0.0]), "b": np.ones(1)}
    group = {"params": "b", "lr": 0.1}
    opt = flr.AMSGrad(params, lr=S.Cosine(1e-2, 100), lr_scale=scale, weight_decay=0.1, groups=[group])
    for batch in islice(cycle(BATCHES), 7):
        opt.step(loss_and_grad(params, batch)[1])
    return params, opt


def everything(params, opt):
    """Everything that a range test must restore, in a form that == compares."""
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


def test_the_order_of_a_dict_is_restored():
    """Names and gradients are matched by key, so another order alone is no error."""

    def function(p, batch):
        p["w"] = p.pop("w")
        return loss_and_grad(p, batch)

    params = new_params()
    run(function, params, steps=3)
    assert list(params) == ["w", "b"]


def test_what_cannot_be_restored_does_not_keep_the_rest_from_it():
    class Broken:
        def restore(self):
            raise OSError("gone")

    array = np.ones(3)
    saved = [Broken(), SavedParameters(Parameters(array))]

    def work():
        array[:] = 2.0
        return "result"

    with pytest.raises(OSError, match="gone"):
        restored(saved, work)
    assert array.tolist() == [1.0] * 3


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


@pytest.mark.parametrize("rate", [S.Plateau(S.Cosine(0.01, 50)), S.Adjustable(0.01, limit=0.005)], ids=repr)
def test_a_controller_as_rate_is_back_with_its_state(rate):
    params = new_params()
    opt = flr.NAdam(params, lr=rate, groups=[{"params": "b", "lr": S.Plateau(0.1)}])
    for _ in range(3):
        opt.step(loss_and_grad(params, None)[1])
    rate.observe(loss=1.0, scale=0.5)
    before, state = everything(params, opt), repr(opt.state_dict()["controllers"])
    run(params=params, make=lambda p: opt)
    assert everything(params, opt) == before
    assert repr(opt.state_dict()["controllers"]) == state
    assert opt.groups[0]["lr"] is rate


def test_each_sweep_begins_with_the_same_state_of_the_optimizer():
    for make in (lambda p: flr.SGD(p, lr=1.0, momentum=0.9), adam):
        first, second = run(make=make, batches=BATCHES[:1], repeats=2, steps=30).sweeps
        assert first.losses.tolist() == second.losses.tolist()


def test_no_update_is_made_after_the_last_loss():
    updates = []
    opts = []

    def make(params):
        opts.append(flr.SGD(params, lr=0.1, weight_decay=lambda n: updates.append(n) or 0.0))
        updates.clear()
        return opts[0]

    run(make=make, steps=7, stop=1e-3)
    assert len(updates) == 6


def test_the_generators_of_make_optimizer_are_restored():
    rng = np.random.default_rng(0)

    def make(params):
        params["w"] += rng.standard_normal(4)
        return adam(params)

    before = rng.bit_generator.state
    run(make=make)
    assert rng.bit_generator.state == before


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
        (lambda p: adam(new_params()), ValueError, "must return an optimizer over `params`, got one over other arrays"),
        (lambda p: adam({"w": p["w"]}), ValueError, "got one over other arrays"),
        (lambda p: adam({"w": p["w"][:2], "b": p["b"]}), ValueError, "got one over other arrays"),
        (lambda p: adam({k: x.view(np.float32)[: x.size] for k, x in p.items()}), ValueError, "over other arrays"),
        (lambda p: adam([p["w"], p["b"]]), ValueError, r"in another container, with the names \['0', '1'\]"),
        (lambda p: adam({"x": p["w"], "y": p["b"]}), ValueError, r"in another container, with the names \['x', 'y'\]"),
        (lambda p: flr.Rprop(p), ValueError, "`lr` of Rprop cannot be changed"),
        (
            lambda p: flr.SGD(p, lr=0.0, groups=[{"params": "b", "lr": 1.0}]),
            ValueError,
            "base group's `lr` must be positive",
        ),
        (lambda p: 1 / 0, ZeroDivisionError, "division"),
        (3, TypeError, "`make_optimizer` must be a function params -> Optimizer, got int"),
    ],
    ids=["none", "other", "fewer", "part", "dtype", "list", "names", "rprop", "zero", "raises", "number"],
)
def test_optimizers_that_are_refused(make, error, words):
    params = new_params()
    with pytest.raises(error, match=words):
        run(params=params, make=make)
    assert params["w"].tolist() == [0.5] * 4


def test_an_exception_that_refuses_a_note_is_raised_as_it_is():
    class Refuses(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    def function(params, batch):
        raise Refuses("mine")

    with pytest.raises(Refuses, match="mine"):
        run(function)


def test_another_global_bit_generator_is_put_back():
    before, state = np.random.get_bit_generator(), np.random.get_state(legacy=False)  # noqa: NPY002

    def function(params, batch):
        np.random.set_bit_generator(np.random.PCG64(len(batch)))
        return loss_and_grad(params, batch)

    try:
        run(function)
        assert np.random.get_bit_generator() is before
        assert repr(np.random.get_state(legacy=False)) == repr(state)  # noqa: NPY002
        np.random.set_bit_generator(np.random.PCG64(1))
        with warnings.catch_warnings(action="error"):
            run()
    finally:
        np.random.set_bit_generator(before)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy 1 keeps them by thread")
def test_warnings_that_an_interrupt_left_off_are_on_again():
    """Ctrl-C between the two halves of an `np.errstate`, which is a with block that did not end."""

    def function(params, batch):
        np.seterr(all="ignore")
        raise KeyboardInterrupt

    before = np.geterr()
    for tool in (lambda: run(function), lambda: tune.sharpness(function, new_params())):
        with pytest.raises(KeyboardInterrupt):
            tool()
        assert np.geterr() == before


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
