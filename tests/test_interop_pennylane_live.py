"""pyfastlr.interop.pennylane against PennyLane's own optimizers, in float64."""

import copy
import pickle

import numpy
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S

qml = pytest.importorskip("pennylane")
np = qml.numpy
pl = pytest.importorskip("pyfastlr.interop.pennylane")

NAMES = {
    "GradientDescentOptimizer": {},
    "MomentumOptimizer": {"momentum": 0.8},
    "NesterovMomentumOptimizer": {"momentum": 0.8},
    "AdamOptimizer": {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
    "AdagradOptimizer": {"eps": 1e-6},
    "RMSPropOptimizer": {"decay": 0.8, "eps": 1e-6},
}


def cost(x, data, y):
    return np.sum(x * data) + np.sum(x**2) / 100 + y * np.sum(data) / 3


def arguments():
    rng = numpy.random.default_rng(0)
    data = np.array(rng.uniform(0.5, 2, (2, 3)), requires_grad=False)
    return np.array(rng.normal(size=(2, 3)), requires_grad=True), data, np.array(0.7, requires_grad=True)


def run(opt, steps=300, change=None):
    args, costs, rng = arguments(), [], numpy.random.default_rng(1)
    for k in range(steps):
        if change:
            change(opt, k)
        # Gradients are far from 0: where Adam divides 0 by 0, rounding would decide.
        data = np.array(rng.choice([-1, 1], (2, 3)) * rng.uniform(0.5, 2, (2, 3)), requires_grad=False)
        args, value = opt.step_and_cost(cost, args[0], data, args[2])
        costs.append(float(value))
    return args, costs


def assert_same(ours, theirs):
    for x, y in zip(ours[0], theirs[0], strict=True):
        assert type(x) is type(y)
        assert x.requires_grad == y.requires_grad
        numpy.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)
    numpy.testing.assert_allclose(ours[1], theirs[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("given", [False, True], ids=["defaults", "arguments"])
@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_pennylane_s(name, given):
    options = {"stepsize": 0.02, **NAMES[name]} if given else {}
    assert_same(run(getattr(pl, name)(**options)), run(getattr(qml, name)(**options)))


@pytest.mark.parametrize("name", NAMES)
def test_attributes_may_change_between_steps(name):
    def change(opt, k):
        if k == 5:
            opt.stepsize = 0.03
        if k == 9 and hasattr(opt, "eps"):
            opt.eps = 1e-4
        if k == 12:
            for attribute, value in {"momentum": 0.5, "beta1": 0.7, "decay": 0.95}.items():
                if hasattr(opt, attribute):
                    setattr(opt, attribute, value)
        if k == 20 and hasattr(opt, "reset"):
            opt.reset()

    if name != "GradientDescentOptimizer":
        assert_same(run(getattr(pl, name)(), 50, change), run(getattr(qml, name)(), 50, change))


@pytest.mark.parametrize("name", NAMES)
def test_a_circuit_is_trained(name):
    @qml.qnode(qml.device("default.qubit", wires=2))
    def circuit(x, y):
        qml.RX(x[0], 0)
        qml.RY(x[1], 1)
        qml.CNOT([0, 1])
        qml.RX(y, 1)
        return qml.expval(qml.Z(0) @ qml.Z(1))

    found = []
    for module in (pl, qml):
        opt, args = getattr(module, name)(0.1), [np.array([0.3, 0.4], requires_grad=True), np.array(0.2)]
        for _ in range(20):
            args = opt.step(circuit, *args)
        found.append(args)
    for x, y in zip(*found, strict=True):
        numpy.testing.assert_allclose(x, y, rtol=1e-9)


def test_one_argument_is_returned_alone_and_grad_fn_is_used():
    calls = []

    def grad_fn(x):
        calls.append(1)
        return 2 * x

    x = np.array([1.0, 2.0], requires_grad=True)
    for opt in (pl.AdamOptimizer(0.1), qml.AdamOptimizer(0.1)):
        x1, value = opt.step_and_cost(lambda x: np.sum(x**2), x, grad_fn=grad_fn)
        numpy.testing.assert_allclose(x1, [0.9, 1.9])
        assert value == 5.0
    assert len(calls) == 2
    numpy.testing.assert_array_equal(x, [1.0, 2.0])  # never written


def test_what_is_not_trained_is_passed_through():
    frozen, text = np.array([1.0], requires_grad=False), "text"
    x = np.array([1.0], requires_grad=True)
    opt = pl.AdamOptimizer()
    new, same, word = opt.step(lambda x, y, t: np.sum(x * y), x, frozen, text)
    assert same is frozen
    assert word is text
    assert new.requires_grad
    assert opt.apply_grad((), [frozen, 3]) == [frozen, 3]


@pytest.mark.parametrize("name", ["AdamOptimizer", "MomentumOptimizer"])
def test_arguments_may_become_trainable_later(name):
    found = []
    for module in (pl, qml):
        opt, (x, data, y) = getattr(module, name)(0.05), arguments()
        for k in range(30):
            x.requires_grad, y.requires_grad = k < 10 or k >= 20, k >= 5
            x, data, y = opt.step(cost, x, data, y)
        found.append((x, y))
    for a, b in zip(*found, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cls", flr.optimizers.registry, ids=lambda cls: cls.__name__)
def test_every_optimizer_and_schedules(cls):
    schedule = S.Cosine(0.05, steps=30) if cls.__name__ != "Rprop" else 0.01
    if cls.__name__ == "FTRL":
        schedule = S.Linear(0.05, 0.01, steps=30)
    opt, x = pl.PyfastlrOptimizer(cls, schedule), np.array([0.5, -0.3], requires_grad=True)
    p = numpy.array([0.5, -0.3])
    ours = cls(p, schedule)
    for _ in range(30):
        x = opt.step(lambda x: np.sum(np.cos(x) * np.array([1.0, 2.0], requires_grad=False)), x)
        ours.step(-numpy.sin(p) * [1.0, 2.0])
        numpy.testing.assert_array_equal(x, p)
    assert opt.t == 30
    assert {*opt.state} == {*ours.state}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: pl.PyfastlrOptimizer("Adam"), TypeError, "`optimizer` must be a class"),
        (lambda: pl.PyfastlrOptimizer(flr.Adam, -1.0), ValueError, "`stepsize` must be"),
        (lambda: pl.AdamOptimizer(beta1=1.0), ValueError, "`beta1` must be"),
        (lambda: pl.RMSPropOptimizer(decay=2.0), ValueError, "`decay` must be"),
        (lambda: pl.AdamOptimizer().apply_grad([], [np.array([1.0])]), ValueError, "`grad` must have"),
        (lambda: pl.MomentumOptimizer(momentum=-1.0), ValueError, "`momentum` must be"),
    ],
)
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_bad_steps_change_nothing():
    opt, x = pl.AdamOptimizer(0.1), np.array([1.0, 2.0], requires_grad=True)
    x = opt.step(lambda x: np.sum(x**2), x)
    state = copy.deepcopy(opt.opt.state_dict())
    for bad, error in [(np.array([1, 2]), TypeError), (np.array([1.0]), ValueError)]:
        bad.requires_grad = True
        with pytest.raises(error, match=r"`args\[0\]` must"):
            opt.apply_grad([numpy.ones(bad.shape)], [bad])
    with pytest.raises(ValueError, match="grads"):
        opt.apply_grad([numpy.ones(3)], [x])
    opt.stepsize = "fast"
    with pytest.raises(TypeError, match="`stepsize`"):
        opt.apply_grad([numpy.ones(2)], [x])
    opt.stepsize = 0.1
    assert opt.opt.steps == state["steps"]
    for name, value in state["state"].items():
        numpy.testing.assert_array_equal(opt.state[name]["0"], value["0"])


def test_copies_go_on():
    opt, x = pl.AdamOptimizer(0.1), np.array([1.0, 2.0], requires_grad=True)
    f = lambda x: np.sum(x**2)  # noqa: E731
    x = opt.step(f, x)
    copies = [copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
    want = opt.step(f, x)
    for other in copies:
        numpy.testing.assert_array_equal(other.step(f, x), want)
