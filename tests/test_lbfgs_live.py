"""`LBFGS` against torch's: the same iterates and evaluations; and the minima of torch and scipy."""

import numpy as np
import pytest

import pyfastlr as flr
from minima import FUNCTIONS, Counted, logistic, quadratic, starts
from pyfastlr.linesearch.wolfe import Point, strong_wolfe

torch = pytest.importorskip("torch", reason="needs torch")
optimize = pytest.importorskip("scipy.optimize", reason="needs scipy")


class Run:
    """A minimizer's parameters after each step, and its evaluations."""

    def __init__(self):
        self.points, self.evaluations, self.losses = [], 0, []


def ours(function, start, steps, **arguments):
    run, p = Run(), start.copy()

    def closure():
        return function(p)

    opt = flr.LBFGS(p, **arguments)
    for _ in range(steps):
        run.losses.append(opt.step(closure))
        run.points.append(p.copy())
    run.evaluations = opt.evaluations
    return run


def torchs(function, start, steps, history=10, line_search="strong_wolfe", **arguments):
    run, p = Run(), torch.tensor(start, requires_grad=True)

    def closure():
        run.evaluations += 1
        loss, grad = function(p.detach().numpy())
        p.grad = torch.from_numpy(grad)
        return torch.tensor(loss, dtype=p.dtype)

    opt = torch.optim.LBFGS([p], history_size=history, line_search_fn=line_search, **arguments)
    for _ in range(steps):
        run.losses.append(float(opt.step(closure)))
        run.points.append(p.detach().numpy().copy())
    return run


CASES = {
    "defaults": {},
    "a small rate": {"lr": 0.3},
    "a large rate": {"lr": 5.0},
    "one pair": {"history": 1},
    "three pairs": {"history": 3},
    "one iteration": {"max_iter": 1},
    "two iterations": {"max_iter": 2},
    "few evaluations": {"max_iter": 10, "max_eval": 7},
    "one evaluation": {"max_iter": 10, "max_eval": 1},
    "loose tolerances": {"tolerance_grad": 1e-2, "tolerance_change": 1e-3},
}


@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("function", [quadratic, logistic], ids=lambda x: x.__name__)
def test_iterates_are_torchs(function, case, line_search):
    start = np.random.default_rng(3).normal(size=40 if function is quadratic else 30)
    arguments = {"max_iter": 5, **CASES[case], "line_search": line_search}
    if line_search is None and arguments.get("lr", 1.0) > 1:
        arguments["lr"] = 0.9  # a fixed rate above 1 diverges
    mine, theirs = ours(function, start, 6, **arguments), torchs(function, start, 6, **arguments)
    assert mine.evaluations == theirs.evaluations
    np.testing.assert_allclose(mine.losses, theirs.losses, rtol=1e-10)
    for a, b in zip(mine.points, theirs.points, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_the_line_search_is_torchs():
    """The same trials and result on functions with waves, steps and flat parts, from rates of all sizes."""
    from torch.optim.lbfgs import _strong_wolfe

    rng, kinds = np.random.default_rng(7), set()
    for _ in range(600):
        waves, k, middle = rng.normal(size=4) * rng.choice([0.1, 1.0, 5.0]), np.arange(1, 5), rng.normal()
        curvature, rate, most = rng.choice([0.0, 0.1, 1.0]), 10 ** rng.uniform(-4, 4), int(rng.integers(0, 26))

        def loss_and_slope(t, waves=waves, k=k, middle=middle, curvature=curvature):
            x = t - middle
            return (
                float(curvature * x * x + waves @ np.sin(k * t) - 0.1 * x),
                float(2 * curvature * x + (waves * k) @ np.cos(k * t) - 0.1),
            )

        trials, others = [], []

        def evaluate(t, trials=trials, of=loss_and_slope):
            trials.append(t)
            return Point(t, *of(t), None)

        def objective(x, t, d, others=others, of=loss_and_slope):
            others.append(float(t))
            loss, slope = of(float(t))
            return loss, torch.tensor([slope], dtype=torch.float64)

        c1, c2 = [(1e-4, 0.9), (0.4, 0.5), (0.2, 0.9)][rng.integers(3)]
        loss, slope = loss_and_slope(0.0)
        if slope >= 0:
            continue
        found = strong_wolfe(evaluate, Point(0.0, loss, slope, None), rate, most, c1=c1, c2=c2)
        g = torch.tensor([slope], dtype=torch.float64)
        one = torch.ones(1, dtype=torch.float64)
        theirs = _strong_wolfe(objective, None, rate, one, loss, g, g.dot(one), c1=c1, c2=c2, max_ls=most)
        assert len(trials) == len(others)
        np.testing.assert_allclose(trials, others, rtol=1e-6, atol=1e-9)
        assert found.point.rate == pytest.approx(float(theirs[2]), rel=1e-6, abs=1e-9)
        kinds.add((min(len(trials), 5), found.is_good))
    assert len(kinds) >= 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parameters_and_gradients_of_torch(dtype):
    """A model of torch, whose memory is shared, with gradients from autograd."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to(dtype)
    x, y = torch.randn(50, 3, dtype=dtype), torch.randn(50, 1, dtype=dtype)
    opt = flr.LBFGS({name: p.detach() for name, p in model.named_parameters()})

    def closure():
        loss = torch.nn.functional.mse_loss(model(x), y)
        return loss, dict(
            zip(dict(model.named_parameters()), torch.autograd.grad(loss, model.parameters()), strict=True)
        )

    losses = [opt.step(closure) for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.7 * losses[0]
    assert float(closure()[0].detach()) == opt.loss


def test_float32_reaches_torchs_loss():
    start = np.ones(30, np.float32)
    mine, theirs = ours(logistic, start, 10), torchs(logistic, start, 10)
    found, other = (float(logistic(x.points[-1].astype(np.float64))[0]) for x in (mine, theirs))
    assert found <= other * (1 + 1e-4)
    assert mine.evaluations <= 1.1 * theirs.evaluations


@pytest.mark.parametrize("name", FUNCTIONS)
def test_minima_and_evaluations(name):
    """The minimum of torch and of scipy, in at most 1.1 times the evaluations of torch with the same history."""
    f = FUNCTIONS[name]
    arguments = {"max_iter": 1000, "tolerance_change": 1e-14}
    options = {"maxiter": 10_000, "ftol": 0, "gtol": 1e-9}
    scipys = optimize.minimize(f.loss_and_grad, f.start, jac=True, method="L-BFGS-B", options=options).fun
    minimum = scipys if f.minimum is None else f.minimum
    assert scipys == pytest.approx(minimum, rel=1e-9, abs=1e-9)
    mine, theirs = [], []
    for start in starts(f):
        for minimizer, calls in ((ours, mine), (torchs, theirs)):
            counted = Counted(f.loss_and_grad)
            minimizer(counted, start, 1, **arguments)
            calls.append(counted.until(minimum))
    assert None not in mine + theirs
    assert sum(mine) <= 1.1 * sum(theirs)
