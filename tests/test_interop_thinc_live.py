"""thinc's adapter against the installed thinc, 8.3 or 9, and against our own optimizers."""

import copy
import inspect
import pickle
import threading
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
        "Cosine": {"lr": 0.1, "steps": 9},
    }  # fmt: skip
    inner = {"@schedules": "pyfastlr.Cosine.v1", "lr": 0.1, "steps": 9}
    around = {
        "Clip": {"low": 0.01, "high": 0.05}, "Delay": {"steps": 3}, "Every": {"steps": 2},
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


# --- Arrays -----------------------------------------------------------------------------------------------------------


def test_weights_may_be_replaced():
    opt, p, g = adapter.Adam(0.1), np.ones((2, 3)), np.full((2, 3), 0.3)
    alone = flr.Adam(p, lr=0.1, convention="keras", eps=1e-8, clip_norm=1.0, ema_decay=lambda n: (n + 2) / (n + 11))
    w = np.ones((2, 3))
    for k in range(8):
        w = w.copy() if k % 3 == 1 else w.view() if k % 3 == 2 else w
        old = opt.averages.get((0, "W"))
        opt((0, "W"), w, g.copy())
        alone.step(g)
        assert np.array_equal(w, p)
        np.testing.assert_allclose(opt.averages[0, "W"], alone.ema, rtol=1e-15)
        assert opt.averages[0, "W"] is old or k % 3 == 1 or k == 0
    before = w.copy()
    for other in (np.ones((3, 2)), np.ones((2, 3), "f4"), np.ones(6)):
        with pytest.raises(ValueError, match=r"`weights` must stay float64\[2, 3\], got"):
            opt((0, "W"), other, np.ones_like(other))
    opt((0, "W"), w, g.copy())
    alone.step(g)
    assert np.array_equal(w, p)
    assert not np.array_equal(before, w)


def test_gradients_that_are_strided_or_of_another_dtype():
    opt = adapter.SGD(0.5, grad_clip=0.0, use_averages=False)
    w = np.ones((2, 3), "f4")
    for g in (np.ones((2, 3)), np.ones((3, 2), "f4").T, np.ones((2, 6), "f4")[:, ::2], np.ones((2, 3), ">f4")):
        opt((0, "W"), w, g)
        assert not g.any()
    assert (w == -1.0).all()


def test_empty_arrays_and_nan():
    opt = adapter.Adam(0.1)
    w, g = np.zeros((0, 3), "f4"), np.zeros((0, 3), "f4")
    assert opt((0, "W"), w, g) == (w, g)
    assert opt.by_key == {}
    w = np.ones(2, "f4")
    opt((0, "V"), w, np.array([np.nan, 1.0], "f4"))
    assert np.isnan(w).all()  # as in thinc, whose clipping lets NaN through
    opt = adapter.Adam(0.1, nonfinite="skip")
    w = np.ones(2, "f4")
    opt((0, "V"), w, np.array([np.nan, 1.0], "f4"))
    assert (w == 1.0).all()
    assert opt.averages == {}
    opt((0, "V"), w, np.ones(2, "f4"))
    assert np.array_equal(opt.averages[0, "V"], w)


@pytest.mark.parametrize(
    ("w", "g", "text"),
    [
        (np.ones(3, "f4"), np.ones(2, "f4"), r"`gradient` must be float32\[3\], got float32\[2\]"),
        (np.ones(3, "i4"), np.ones(3, "f4"), "`weights` must"),
        (np.ones((3, 3), "f4").T[:2], np.ones((2, 3), "f4"), "`weights` must be C-contiguous"),
        (np.ones(3, "f4"), np.broadcast_to(np.float32(1), 3), "`gradient` must"),
    ],
)
def test_wrong_arrays_change_nothing(w, g, text):
    opt = adapter.Adam(0.1)
    before = w.copy(), np.array(g)
    with pytest.raises((TypeError, ValueError), match=text):
        opt((0, "W"), w, g)
    assert np.array_equal(w, before[0])
    assert np.array_equal(g, before[1])
    assert opt.averages == {}


WRONG = {
    "an unknown argument": ("Adam", {"lr": 0.1}, TypeError, r"Adam\(\) got an unexpected keyword argument 'lr'"),
    "a negative rate": ("Adam", {"learn_rate": -0.1}, ValueError, "`learn_rate` must be .* got -0.1"),
    "a text": ("Adam", {"learn_rate": "fast"}, (TypeError, ValueError), "learn_rate"),
    "a limit": ("Adam", {"grad_clip": -1.0}, ValueError, "`grad_clip` must be .* got -1.0"),
    "a decay": ("SGD", {"L2": -1.0}, ValueError, "`L2` must be .* got -1.0"),
    "betas": ("Lion", {"learn_rate": 0.1, "beta1": 1.5}, ValueError, "betas"),
    "no rate": ("Yogi", {}, ValueError, "`learn_rate` must be given: optax's Yogi has no default"),
    "a convention": ("Adam", {"convention": "mxnet"}, ValueError, "`convention` of Adam must be"),
    "a scheduled start": ("Rprop", {"learn_rate": S.Constant(0.1)}, TypeError, "only initializes state"),
    "a kind of decay": ("ASGD", {"L2": 0.1}, ValueError, "`L2_is_weight_decay` of ASGD must be False with an `L2`"),
    "another convention's": ("AdaGrad", {"lr_decay": 0.1, "convention": "keras"}, ValueError, "lr_decay"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_errors_of_the_constructor(what):
    name, given, kind, text = WRONG[what]
    with pytest.raises(kind, match=text):
        getattr(adapter, name)(**given)


def test_wrong_values_of_schedules_change_nothing():
    opt = adapter.SGD([0.1, -1.0, 0.2], grad_clip=0.0, use_averages=False)
    w = np.ones(2)
    opt((0, "W"), w, np.ones(2))
    opt.step_schedules()
    for _ in range(2):
        g = np.ones(2)
        with pytest.raises(ValueError, match="`learn_rate` must be"):
            opt((0, "W"), w, g)
        assert g.all()
    assert (w == 0.9).all()
    opt.step_schedules()
    opt((0, "W"), w, np.ones(2))
    np.testing.assert_allclose(w, 0.7)


def test_errors_of_a_schedule_pass_through():
    class Broken(ValueError):
        def __init__(self, code, text):
            super().__init__(f"{code}: {text}")

    def broken(n):
        if n == 1:
            raise Broken(7, "`lr` is lost")
        return 0.1

    opt, w = adapter.SGD(broken, grad_clip=0.0, use_averages=False), np.ones(2)
    opt((0, "W"), w, np.ones(2))

    def after():
        opt.step_schedules()  # thinc 8 evaluates it here
        opt((0, "W"), w, np.ones(2))

    with pytest.raises(Broken, match="7: `lr` is lost"):
        after()
    assert (w == 0.9).all()


# --- Copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_continue_to_the_bit(how):
    opt = adapter.NAdam(S.Cosine(0.1, steps=20), L2=0.1)
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(10, 4)).astype("f4")
    w = np.ones(4, "f4")

    def train(opt, w, gradients):
        for g in gradients:
            opt((0, "W"), w, g.copy())
            opt.step_schedules()

    train(opt, w, gradients[:5])
    twin, v = how(how(opt)), w.copy()
    assert np.array_equal(twin.averages[0, "W"], opt.averages[0, "W"])
    assert twin.by_key == {}
    train(opt, w, gradients[5:])
    train(twin, v, gradients[5:])
    assert np.array_equal(v, w)
    assert np.array_equal(twin.averages[0, "W"], opt.averages[0, "W"])
    assert twin.by_key[0, "W"].steps == 10
    assert not np.shares_memory(twin.averages[0, "W"], opt.averages[0, "W"])


def test_threads_lose_no_update():
    opt, w = adapter.SGD(1.0, grad_clip=0.0, use_averages=False), np.zeros(3)
    start = threading.Barrier(4)

    def work(own):
        start.wait()
        for _ in range(200):
            opt((0, "W"), w, -np.ones(3))
            opt((1, own), weights[own], -np.ones(3))

    weights = [np.zeros(3) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opt.by_key[0, "W"].steps == 800
    assert (w == 800.0).all()
    assert all((x == 200.0).all() for x in weights)


# --- Models -----------------------------------------------------------------------------------------------------------


def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype("f4"), np.eye(10, dtype="f4")[y]


def train(model, opt, x, y, steps=60):
    api.fix_random_seed(0)
    for n in range(steps):
        rows = np.random.default_rng(n).choice(len(x), 128)
        guess, backprop = model.begin_update(x[rows])
        backprop((guess - y[rows]) / len(rows))
        model.finish_update(opt)
        opt.step_schedules()
    return (model.predict(x).argmax(axis=1) == y.argmax(axis=1)).mean()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RMSProp", "Lion"])
def test_a_model_of_thinc_learns(name):
    pytest.importorskip("sklearn")
    x, y = digits()
    api.fix_random_seed(0)
    model = api.chain(api.Relu(48), api.Softmax(10)).initialize(X=x[:5], Y=y[:5])
    rate = S.Cosine(5e-3 if name == "Lion" else 1e-2, steps=60)
    opt = getattr(adapter, name)(rate)
    assert train(model, opt, x, y) > 0.85
    keys = {(node.id, parameter) for node in model.walk() for parameter in node.param_names}
    assert opt.by_key.keys() == opt.averages.keys() == keys
    own = model.layers[0].get_param("W").copy()
    with model.use_params(opt.averages):
        assert not np.array_equal(model.layers[0].get_param("W"), own)
        assert (model.predict(x).argmax(axis=1) == y.argmax(axis=1)).mean() > 0.85
    assert np.array_equal(model.layers[0].get_param("W"), own)
    twin = model.copy()
    assert train(twin, opt, x, y, steps=3) > 0.85  # other keys, beside the old ones


@pytest.mark.filterwarnings("ignore::FutureWarning")  # thinc 9.1 calls what torch has renamed
def test_a_wrapped_torch_module_learns():
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    x, y = digits()
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10), torch.nn.Softmax(-1)
    )
    model = api.PyTorchWrapper(module).initialize()
    opt = adapter.Adam(S.Cosine(1e-2, steps=60))
    assert train(model, opt, x, y) > 0.85
    assert len(opt.by_key) == 4
    assert all(x.steps == 60 for x in opt.by_key.values())
