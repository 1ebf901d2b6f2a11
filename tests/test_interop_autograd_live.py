"""pyfastlr.interop.autograd against autograd.misc.optimizers, in float64."""

import numpy
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S

autograd = pytest.importorskip("autograd")
from autograd import numpy as np  # noqa: E402
from autograd.misc import optimizers as theirs  # noqa: E402

from pyfastlr.interop import autograd as ours  # noqa: E402

ARGUMENTS = {
    "adam": {"step_size": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-6},
    "sgd": {"step_size": 0.02, "mass": 0.7},
    "rmsprop": {"step_size": 0.01, "gamma": 0.8, "eps": 1e-6},
}


def loss(params, i):
    (w, b), c = params["layers"], params["c"]
    return np.sum(np.sin(w + i / 100) ** 2) + np.sum(b**2) * (1 + np.sin(c) ** 2) + c**2


def start():
    rng = numpy.random.default_rng(0)
    return {"layers": [rng.normal(size=(2, 3)), (rng.normal(size=4))], "c": 0.5}


def leaves(params):
    return numpy.concatenate([numpy.ravel(x) for x in (*params["layers"], params["c"])])


@pytest.mark.parametrize("given", [False, True], ids=["defaults", "arguments"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_iteration_is_autograd_s(name, given):
    found = []
    for module in (ours, theirs):
        kept = []
        arguments = {"num_iters": 300, **ARGUMENTS[name]} if given else {}
        params = start()
        end = getattr(module, name)(
            autograd.grad(loss), params, lambda p, i, g, kept=kept: kept.append((p, i, g)), **arguments
        )
        assert numpy.array_equal(leaves(params), leaves(start()))
        assert type(end["layers"]) is list
        found.append(([*[leaves(p) for p, _, _ in kept], leaves(end)], [leaves(g) for *_, g in kept]))
    for a, b in zip(*found, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert not numpy.array_equal(found[0][0][0], found[0][0][-1])  # what the callback kept is not written


@pytest.mark.parametrize("cls", flr.optimizers.registry, ids=lambda cls: cls.__name__)
def test_every_optimizer_and_schedules(cls):
    rate = 0.01 if cls.__name__ == "Rprop" else S.Linear(0.05, 0.01, steps=30)
    p = numpy.array([0.5, -0.3])
    opt = cls(p, rate)
    for _ in range(30):
        opt.step(numpy.cos(p))
    end = ours.minimize(cls, autograd.grad(lambda x, i: np.sum(np.sin(x))), numpy.array([0.5, -0.3]), None, 30, rate)
    numpy.testing.assert_array_equal(end, p)


def test_empty_runs_return_a_copy():
    x = numpy.ones(2)
    end = ours.adam(lambda x, i: x, x, num_iters=0)
    assert end is not x
    numpy.testing.assert_array_equal(end, x)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ours.minimize("Adam", None, 1.0), TypeError, "`optimizer` must be a class"),
        (lambda: ours.adam(lambda x, i: x, 1.0, b1=1.0), ValueError, "`b1` must be"),
        (lambda: ours.rmsprop(lambda x, i: x, 1.0, gamma=2.0), ValueError, "`gamma` must be"),
        (lambda: ours.sgd(lambda x, i: x, 1.0, step_size=-1.0), ValueError, "`step_size` must be"),
        (lambda: ours.sgd(lambda x, i: x, 1.0, mass=1.0), ValueError, "`mass` must be"),
        (lambda: ours.adam(lambda x, i: numpy.ones(3), 1.0), ValueError, "`grad` must be"),
    ],
)
def test_bad_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_integers_start_as_in_autograd():
    start = numpy.array([2, -3])
    got, want = (module.adam(lambda x, i: 2.0 * x, start) for module in (ours, theirs))
    numpy.testing.assert_allclose(got, want, rtol=1e-12)
