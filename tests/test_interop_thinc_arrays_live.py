"""thinc's adapter: arrays, wrong arguments, copies, threads, and models of thinc 8.3 or 9."""

import copy
import pickle
import threading

import numpy as np
import pytest

pytest.importorskip("thinc", reason="thinc is not installed")

from thinc import api

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.interop import thinc as adapter

IS_8 = not hasattr(api, "Schedule")

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
    "betas": ("Lion", {"learn_rate": 0.1, "beta1": 1.5}, ValueError, "`beta1` must be"),
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
