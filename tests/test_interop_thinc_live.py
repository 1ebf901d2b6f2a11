"""thinc's adapter against the installed thinc, 8.3 or 9, and against our own optimizers."""

import inspect
import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("thinc", reason="thinc is not installed")

from thinc import api, optimizers
from thinc.backends import Ops
from thinc.config import registry as config_registry

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.interop import thinc as adapter
from pyfastlr.optimizers import registry

IS_8 = not hasattr(api, "Schedule")
KEYS = {(1, "W"): (5, 3), (1, "b"): (3,), (2, "E"): (4, 2, 2)}
STEPS = 30


class WideOps(Ops):
    """thinc's arithmetic in plain numpy, in float64. Its compiled one has float32 only."""

    name, xp = "numpy", np

    def alloc(self, shape, *, dtype="float64", zeros=True):
        return np.zeros(shape)

    def asarray(self, data, *, dtype=None):
        return np.asarray(data)


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(optimizers, "get_array_ops", lambda array: WideOps())


def run(opt, steps=STEPS, dtype="f8", scale=1.0, size=1.0, start=1.0, keys=KEYS):
    """Train on random gradients; return weights and averages."""
    rng = np.random.default_rng(3)
    weights = {key: start * rng.normal(size=shape).astype(dtype) for key, shape in keys.items()}
    for _ in range(steps):
        for key, w in weights.items():
            g = size * rng.normal(size=w.shape).astype(dtype)
            weights[key], g = opt(key, w, g, lr_scale=scale)
            assert not g.any()
        opt.step_schedules()
    return weights, opt.averages


def close(a, b, tolerance=1e-12):
    assert a.keys() == b.keys()
    for key, x in a.items():
        np.testing.assert_allclose(x, b[key], rtol=tolerance, atol=tolerance)


# --- thinc's own optimizers -------------------------------------------------------------------------------------------

SAME = {
    "plain": {"grad_clip": 0.0},
    "clipped": {"grad_clip": 0.7},
    "defaults": {},
    "betas and eps": {"beta1": 0.6, "beta2": 0.95, "eps": 1e-4},
    "coupled L2": {"L2": 0.3, "L2_is_weight_decay": False, "grad_clip": 0.0},
    "scaled": {"scale": 0.3},
}


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("name", ["Adam", "SGD"])
@pytest.mark.parametrize("what", SAME)
def test_adam_and_sgd_are_thincs(name, what):
    given = dict(SAME[what])
    scale = given.pop("scale", 1.0)
    if name == "SGD":
        given = {x: value for x, value in given.items() if x not in ("beta1", "beta2", "eps")}
    both = [getattr(module, name)(0.02, **given) for module in (api, adapter)]
    (theirs, averages), (ours, mine) = (run(opt, scale=scale) for opt in both)
    # thinc's SGD follows torch here, whose norm has 1e-6 added. Adam has Keras' convention, as thinc's formula.
    close(ours, theirs, 1e-12 if name == "Adam" or given.get("grad_clip") == 0.0 else 1e-7)
    if name == "Adam":  # thinc's average starts from zero, ours from the weights after the first update
        remaining = np.prod([min((1 + t) / (10 + t), 0.9999) for t in range(1, STEPS + 1)])
        first, _ = run(adapter.Adam(0.02, **given), steps=1, scale=scale)
        close({key: x - remaining * first[key] for key, x in mine.items()}, averages)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_float32_is_close_to_thincs_compiled_code(name):
    theirs, ours = (run(getattr(module, name)(0.02), dtype="f4")[0] for module in (api, adapter))
    close(ours, theirs, 2e-5)


@pytest.mark.usefixtures("wide")
def test_weight_decay_is_thincs_but_before_the_update():
    """So ours from p / (1 - lr L2) is thinc's from p, divided by 1 - lr L2, when the gradients are the same."""
    kept = 1.0 - 0.02 * 0.5
    theirs, _ = run(api.Adam(0.02, L2=0.5))
    ours, _ = run(adapter.Adam(0.02, L2=0.5), start=1.0 / kept)
    close({key: x * kept for key, x in ours.items()}, theirs)


@pytest.mark.usefixtures("wide")
def test_radam_of_thinc_counts_one_too_many():
    w, g = np.zeros(1), np.ones(1)
    api.RAdam(1.0, beta1=0.5, beta2=0.9, grad_clip=0.0)((0, "W"), w, g.copy())
    np.testing.assert_allclose(w, -0.5 / (1 - 0.5**2))  # without the adaptive denominator; the right power is 1
    w = np.zeros(1)
    adapter.RAdam(1.0, beta1=0.5, beta2=0.9, grad_clip=0.0)((0, "W"), w, g.copy())
    np.testing.assert_allclose(w, -1.0)


# --- Schedules --------------------------------------------------------------------------------------------------------


def of_the_key(schedule, step, *, key, **others):
    return 0.1 * key[0] / (step + 1)


RATES = {
    "constant": lambda: api.constant(0.1),
    "constant_then": lambda: api.constant_then(0.1, 7, api.decaying(0.1, 0.1)),
    "decaying": lambda: api.decaying(0.1, 0.05),
    "compounding": lambda: api.compounding(0.001, 0.2, 1.3),
    "warmup_linear": lambda: api.warmup_linear(0.1, 5, 25),
    "slanted_triangular": lambda: api.slanted_triangular(0.1, 40),
    "cyclic_triangular": lambda: api.cyclic_triangular(0.01, 0.1, 4),
    "list": lambda: [0.1, 0.2, 0.3],
    "generator": lambda: (0.1 / (n + 1) for n in range(12)),
}
if not IS_8:
    RATES["of the key"] = lambda: api.Schedule("of the key", of_the_key)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("which", RATES)
@pytest.mark.parametrize("argument", ["learn_rate", "beta1", "L2", "grad_clip"])
def test_schedules_of_thinc(which, argument):
    if (which, argument) == ("warmup_linear", "beta1"):
        pytest.skip("thinc has no formula for a beta1 of 0")
    given = {"learn_rate": 0.01, "L2": 0.0, "L2_is_weight_decay": False, "grad_clip": 0.0, "use_averages": False}
    theirs, ours = (module.Adam(**{**given, argument: RATES[which]()}) for module in (api, adapter))
    close(run(ours)[0], run(theirs)[0])


OURS = {
    "schedule": S.Cosine(0.1, steps=20).warmup(5),
    "callable": lambda n: 0.1 / (n + 1),
    "controller": S.Plateau(0.1),
}


@pytest.mark.parametrize("which", OURS)
def test_schedules_of_ours_count_batches(which):
    opt, rate = adapter.SGD(OURS[which], grad_clip=0.0, use_averages=False), OURS[which]
    w, v = np.zeros(2), np.zeros(2)
    for n in range(25):
        opt((0, "W"), w, -np.ones(2))
        if n % 3:  # a key that is not updated in each batch
            opt((0, "V"), v, -np.ones(2))
        opt.step_schedules()
    np.testing.assert_allclose(w, sum(rate(n) for n in range(25)), rtol=1e-14)
    np.testing.assert_allclose(v, sum(rate(n) for n in range(25) if n % 3), rtol=1e-14)


@pytest.mark.skipif(IS_8, reason="thinc 8 has no plateau")
def test_plateaus_of_thinc_see_the_score():
    both = [module.SGD(api.plateau(2, 0.5, api.constant(0.1)), grad_clip=0.0) for module in (api, adapter)]
    weights = [np.zeros(2, "f4") for _ in both]
    for n in range(12):
        for opt, w in zip(both, weights, strict=True):
            opt((0, "W"), w, np.ones(2, "f4"))
            opt.step_schedules()
            if n % 2:
                opt.last_score = 1.0
        assert both[0].last_score == both[1].last_score
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-6)
    assert weights[0][0] > -1.1


@pytest.mark.parametrize("name", sorted(vars(adapter.FACTORIES)))
def test_schedules_in_a_config(name):
    make = config_registry.get("schedules", f"pyfastlr.{name}.v1")
    cls = getattr(S, name)
    assert list(inspect.signature(make).parameters) == list(inspect.signature(cls).parameters)
    examples = {
        "CosineRestarts": {"lr": 0.1, "period": 7}, "Cyclic": {"base": 0.1, "peak": 0.2, "up": 5},
        "Exponential": {"lr": 0.1, "rate": 0.5, "steps": 9}, "InverseSqrt": {"lr": 0.1, "warmup": 5},
        "InverseTime": {"lr": 0.1, "decay": 0.1}, "Linear": {"start": 0.1, "end": 0.0, "steps": 9},
        "MultiStep": {"lr": 0.1, "milestones": [3, 5]}, "OneCycle": {"peak": 0.1, "steps": 20},
        "Piecewise": {"boundaries": [4], "values": [0.1, 0.2]}, "Polynomial": {"lr": 0.1, "steps": 9},
        "StepDecay": {"lr": 0.1, "drop": 0.5, "every": 3}, "TimeDecay": {"lr": 0.1, "decay": 0.1},
        "WSD": {"lr": 0.1, "warmup": 2, "stable": 3, "decay": 4}, "Constant": {"lr": 0.1},
        "Cosine": {"lr": 0.1, "steps": 9}, "Noam": {"width": 16, "warmup": 4}, "REX": {"lr": 0.1, "steps": 9},
        "Tanh": {"lr": 0.1, "steps": 9},
    }  # fmt: skip
    inner = {"@schedules": "pyfastlr.Cosine.v1", "lr": 0.1, "steps": 9}
    around = {
        "Clip": {"low": 0.01, "high": 0.05}, "Delay": {"steps": 3}, "Every": {"steps": 2},
        "Advance": {"steps": 3},
        "Warmup": {"steps": 4, "start": 0.0},
        "Product": {"right": 0.5}, "Sum": {"right": 0.5}, "Then": {"second": 0.3, "at": 4},
    }  # fmt: skip
    first = next(iter(inspect.signature(cls).parameters))
    plain = examples.get(name) or {first: S.Cosine(0.1, steps=9), **around[name]}
    block = examples.get(name) or {first: inner, **around[name]}
    resolved = config_registry.resolve({"rate": {"@schedules": f"pyfastlr.{name}.v1", **block}})["rate"]
    rates = [next(resolved) if IS_8 else resolved(n) for n in range(20)]
    assert rates == [cls(**plain)(n) for n in range(20)]
    with pytest.raises((TypeError, ValueError)):
        make(**{**plain, first: "fast"})


def test_a_warmup_around_a_schedule_of_thinc():
    inner = {"@schedules": "decaying.v1", "base_rate": 0.1, "decay": 0.5}
    block = {"rate": {"@schedules": "pyfastlr.Warmup.v1", "schedule": inner, "steps": 2}}
    if IS_8:  # an iterator has no rate of update n
        with pytest.raises(TypeError, match="`schedule` must be"):
            config_registry.resolve(block)
    else:
        rate = config_registry.resolve(block)["rate"]
        assert [rate(n) for n in range(4)] == [0.0, 0.05, 0.1, 0.1 / 1.5]


# --- Our optimizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("decoupled", [True, False])
def test_every_optimizer_makes_its_own_updates(cls, decoupled):
    """To the bit, with another update count for each key."""
    kind = "decoupled" if decoupled else "coupled"
    decay = 0.1 if kind in cls.decays else 0.0
    more = {"momentum": 0.9} if cls in (flr.SGD, flr.RMSProp) else {}
    lr = 0.01 if cls is flr.Rprop else S.Linear(0.02, 0.01, steps=20)
    opt = getattr(adapter, cls.__name__)(lr, L2=decay, L2_is_weight_decay=decoupled, grad_clip=1.5, **more)
    more |= {"weight_decay": decay, "clip_norm": 1.5, "decay": kind if decay else cls.decays[0]}
    if cls is flr.Adam:
        more |= {"convention": "keras", "eps": 1e-8}
    rng = np.random.default_rng(0)
    for key, shape in KEYS.items():
        w = rng.normal(size=shape)
        p = w.copy()
        alone = cls(p, lr=0.01 if cls is flr.Rprop else 0.02, **more)
        for _ in range(5):
            g = rng.normal(size=shape)
            alone.step(g.copy())
            assert opt(key, w, g)[0] is w
            assert np.array_equal(w, p)
        assert opt.by_key[key].steps == 5
        for name, x in alone.state.items():
            assert np.array_equal(opt.by_key[key].state[name], x)


@pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)
def test_signatures_and_defaults(cls):
    made = getattr(adapter, cls.__name__)
    assert config_registry.get("optimizers", f"pyfastlr.{cls.__name__}.v1") is made
    assert issubclass(made, optimizers.Optimizer)
    parameters = inspect.signature(made).parameters
    expected = {"learn_rate", "L2", "L2_is_weight_decay", "grad_clip", "use_averages"}
    expected |= {"convention", "nonfinite", "threads"}
    assert expected <= set(parameters)
    theirs = getattr(api, cls.__name__, None)
    if theirs is not None:  # a config for thinc's is one for ours
        assert set(inspect.signature(theirs).parameters) <= set(parameters)
        for name, x in inspect.signature(theirs).parameters.items():
            if x.default is not x.empty and parameters[name].default is not None:
                assert parameters[name].default == x.default
    conventions = [name for name, x in cls.conventions.items() if x["lr"] is not None]
    for convention in conventions:
        opt = made(convention=convention, grad_clip=0.0, use_averages=False)
        w, p = np.ones(3), np.ones(3)
        opt((0, "W"), w, np.full(3, 0.3))
        more = {"eps": 1e-8} if cls is flr.Adam else {}
        cls(p, convention=convention, weight_decay=0.0, **more).step(np.full(3, 0.3))
        assert np.array_equal(w, p)


def test_entry_points_are_what_is_registered():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(text)["project"]["entry-points"]
    assert len(groups["thinc_optimizers"]) == len(registry)
    assert len(groups["thinc_schedules"]) == len(vars(adapter.FACTORIES))
    for group in ("optimizers", "schedules"):
        for name, target in groups[f"thinc_{group}"].items():
            module, _, place = target.partition(":")
            assert module == adapter.__name__
            found = adapter
            for part in place.split("."):
                found = getattr(found, part)
            assert config_registry.get(group, name) is found


def test_momentum_that_begins_with_zero():
    rates = [0.0, 0.9, 0.9]
    opt = adapter.SGD(0.1, momentum=rates, grad_clip=0.0, use_averages=False)
    w, p, g = np.ones(2), np.ones(2), np.array([0.3, -0.2])
    alone = flr.SGD(p, lr=0.1, momentum=lambda n: rates[min(n, 2)])
    for _ in range(5):
        opt((0, "W"), w, g.copy())
        opt.step_schedules()
        alone.step(g)
    assert np.array_equal(w, p)


def test_attributes_can_be_set():
    opt = adapter.Adam(0.1, use_averages=False)
    w, p = np.ones(3), np.ones(3)
    alone = flr.Adam(p, lr=0.1, convention="keras", eps=1e-8, clip_norm=1.0)
    number = (lambda x: x) if IS_8 else api.constant
    changes = [{}, {"learn_rate": 0.5}, {"L2": 0.1}, {"L2_is_weight_decay": False}, {"grad_clip": 0.0}, {"b1": 0.5}]
    ours = [{}, {"lr": 0.5}, {"weight_decay": 0.1}, {"decay": "coupled"}, {"clip_norm": None}, {"betas": (0.5, 0.999)}]
    for change, mine in zip(changes, ours, strict=True):
        for name, x in change.items():
            setattr(opt, name, x if isinstance(x, bool) else number(x))
        for name, x in mine.items():
            setattr(alone, name, x)
        opt((0, "W"), w, np.array([1.0, -2.0, 0.5]))
        alone.step(np.array([1.0, -2.0, 0.5]))
        assert np.array_equal(w, p)


def test_unused_attributes_of_thinc_do_not_exist():
    opt = adapter.Adam(0.1)
    for name in ("mom1", "mom2", "nr_update", "last_seen"):
        with pytest.raises(AttributeError):
            getattr(opt, name)
    with pytest.raises(AttributeError):
        getattr(adapter, "Adan")  # noqa: B009  # not there
