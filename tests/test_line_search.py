"""`tune.line_search`: the conditions of both searches, resets, directions, and what it leaves after errors."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from minima import FUNCTIONS
from pyfastlr import schedules as S
from pyfastlr import tune
from pyfastlr.linesearch.vectors import BLOCK, add_dot, dot, max_abs, moved, sum_abs
from pyfastlr.linesearch.wolfe import Point, strong_wolfe

H = np.array([1.0, 10.0, 100.0])


def quadratic(p, batch):
    return 0.5 * H @ (p * p), H * p


def value(p, batch):
    return 0.5 * H @ (p * p)


# --- Conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c1", [1e-4, 0.1, 0.49])
@pytest.mark.parametrize("factor", [0.5, 0.9])
def test_armijo_takes_the_first_rate_that_fulfils_it(c1, factor):
    p = np.array([1.0, -1.0, 0.5])
    search = tune.line_search(quadratic, p, c1=c1, factor=factor, lr=1.0, trials=100)
    for _ in range(5):
        x, g = p.copy(), H * p
        rate, tried = 1.0, 1
        while value(x - rate * g, None) > value(x, None) - c1 * rate * g @ g:
            rate, tried = rate * factor, tried + 1
        step = search.step()
        assert step == (pytest.approx(rate, rel=1e-15), value(x, None), value(p, None), tried + 1, True)
        assert p == pytest.approx(x - rate * g, rel=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("lr", [1e-6, 1.0, 1e3])
def test_strong_wolfe_fulfils_both_conditions(name, lr):
    f = FUNCTIONS[name]
    p = f.start.copy()
    search = tune.line_search(
        lambda p, batch: f.loss_and_grad(p), p, condition="strong_wolfe", c2=0.5, lr=lr, trials=60
    )
    for _ in range(3):
        x = p.copy()
        loss, g = f.loss_and_grad(x)
        step = search.step()
        if not step.accepted:
            assert step.new_loss <= loss
            continue
        new_loss, new_g = f.loss_and_grad(p)
        assert new_loss == step.new_loss <= loss - 1e-4 * step.lr * g @ g
        assert abs(new_g @ g) <= 0.5 * g @ g * (1 + 1e-9)


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=6), st.floats(1e-4, 1e4), st.floats(0.1, 0.9),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_strong_wolfe_on_random_functions(waves, rate, c2):
    """A bowl with waves, bounded below, so that there is always a good point."""
    k = np.arange(1, len(waves) + 1)
    w = np.array(waves)

    def evaluate(t):
        x = t - 1.3
        loss = x * x + float(np.sum(w * np.sin(k * t))) / 5
        return Point(t, loss, 2 * x + float(np.sum(w * k * np.cos(k * t))) / 5, None)

    start = evaluate(0.0)
    if start.slope >= -1e-3:
        return
    found = strong_wolfe(evaluate, start, rate, 100, c2=c2, tolerance=0.0)
    assert found.is_good
    p = found.point
    assert p.loss <= start.loss + 1e-4 * p.rate * start.slope
    assert abs(p.slope) <= -c2 * start.slope


def test_strong_wolfe_goes_beyond_the_first_trial():
    p = np.array([1.0, 0.0, 0.0])
    step = tune.line_search(quadratic, p, condition="strong_wolfe", lr=1e-3, c2=0.1).step()
    assert step.lr == pytest.approx(1.0, rel=0.1)
    assert step.accepted


def test_losses_that_are_not_finite_are_too_high():
    def barrier(p, batch):
        with np.errstate(all="ignore"):
            return float(-np.log(p[0])), -1 / p

    for bad in (np.nan, np.inf, -np.inf):
        for condition in ("armijo", "strong_wolfe"):
            p = np.array([-1.0])
            search = tune.line_search(
                lambda p, batch, bad=bad: barrier(-p, batch) if p[0] < 0 else (bad, p),
                p,
                lr=-1.0 + 5,
                condition=condition,
            )
            step = search.step(direction=np.array([1.0]))
            assert not step.accepted  # uphill: the loss falls away from 0
            step = tune.line_search(
                lambda p, batch, bad=bad: (p[0] ** 2 / 2 if p[0] > 0.5 else bad, p), p + 2, lr=3.0, condition=condition
            ).step()
            assert step.accepted
            assert step.new_loss < 0.5


@pytest.mark.parametrize("result", [(np.nan, H), (np.inf, H), (1.0, H * np.nan), (1.0, H * np.inf)], ids=str)
def test_a_start_that_is_not_finite_changes_nothing(result):
    p = np.ones(3)
    opt = flr.SGD(p, lr=0.1, momentum=0.9)
    search = tune.line_search(lambda p, batch: result, p, opt)
    step = search.step()
    assert (step.lr, step.evaluations, step.accepted) == (0.0, 1, False)
    assert p.tolist() == [1, 1, 1]
    assert opt.steps == 0
    assert (search.lr, search.steps) == (1.0, 1)


def test_fallback():
    def wrong(p, batch):
        return float(-p.sum()), np.ones(3)  # the gradient has the wrong sign

    p = np.zeros(3)
    step = tune.line_search(wrong, p, trials=7).step()
    assert step == (0.0, 0.0, 0.0, 8, False)
    assert p.tolist() == [0, 0, 0]
    step = tune.line_search(wrong, p, trials=7, fallback=1e-6).step()
    assert step[:1] + step[3:] == (1e-6, 8, False)
    assert np.isnan(step.new_loss)
    assert p == pytest.approx(np.full(3, -1e-6))
    step = tune.line_search(wrong, p, trials=7, condition="strong_wolfe").step()
    assert (step.lr, step.accepted) == (0.0, False)


def test_a_step_that_failed_keeps_the_first_trial():
    for reset in ("keep", "grow", "initial"):
        p = np.zeros(3)
        search = tune.line_search(lambda p, batch: (float(-p.sum()), np.ones(3)), p, reset=reset, lr=0.25, trials=3)
        assert not search.step().accepted
        assert search.lr == 0.25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 5, BLOCK, 3 * BLOCK + 5])
def test_sums_of_vectors(n, dtype):
    x, y, z = np.random.default_rng(n).normal(size=(3, n)).astype(dtype)
    a, b, c = (v.astype(np.float64) for v in (x, y, z))
    assert dot(x, y) == pytest.approx(math.fsum(a * b), abs=1e-10)
    assert sum_abs(x) == pytest.approx(math.fsum(np.abs(a)), rel=1e-6)
    assert max_abs(x) == np.abs(x).max(initial=0)
    assert moved(x, 0.5, y).tobytes() == (x + y * dtype(0.5)).tobytes()
    summed = x.copy()
    assert add_dot(summed, -2.0, y, z) == pytest.approx(
        math.fsum((a - 2 * b) * c), abs=1e-2 if dtype is np.float32 else 1e-9
    )
    assert summed.tobytes() == (x + y * dtype(-2)).tobytes()
    assert add_dot(summed, 2.0, y, None) == 0.0
    for k in (0, n // 2, n - 1) if n else ():
        bad = x.copy()
        bad[k] = np.nan
        assert np.isnan(max_abs(bad))
        assert np.isnan(dot(bad, y))


# --- Resets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reset", "growth"), [("initial", 2.0), ("keep", 2.0), ("grow", 2.0), ("grow", 1.3)])
def test_resets_are_those_of_the_paper(reset, growth):
    """Vaswani et al., 2019, algorithms 1 and 2, with c = 0.1, beta = 0.9 and a largest rate of 10."""
    rng = np.random.default_rng(2)
    rows, c, beta, largest, eta = rng.normal(size=(50, 3)), 0.1, 0.9, 10.0, 1.0
    target = rows @ np.array([1.0, -2.0, 3.0])

    def loss_and_grad(p, batch):
        r = rows[batch] @ p - target[batch]
        return r @ r / len(batch), 2 * rows[batch].T @ r / len(batch)

    p, w = np.zeros(3), np.zeros(3)
    search = tune.line_search(
        loss_and_grad, p, reset=reset, growth=growth, c1=c, factor=beta, lr=1.0, high=largest, trials=100
    )
    for k in range(60):
        batch = rng.choice(50, 5, replace=False)
        if k:
            eta = {"keep": eta, "initial": 1.0, "grow": min(eta * growth, largest)}[reset]
        loss, g = loss_and_grad(w, batch)
        while loss_and_grad(w - eta * g, batch)[0] > loss - c * eta * g @ g:
            eta *= beta
        w = w - eta * g
        assert search.step(batch).lr == pytest.approx(eta, rel=1e-12)
        assert p == pytest.approx(w, rel=1e-10)
    assert np.abs(p - [1, -2, 3]).max() < (0.3 if reset == "keep" else 1e-3)


# --- Directions ------------------------------------------------------------------------------------------------------


def test_around_an_optimizers_step():
    """The step is a factor times that of the optimizer, whose state advances once."""
    p, q = np.ones(3), np.ones(3)
    opt, other = (flr.Adam(x, lr=S.Linear(5.0, 1.0, steps=20)) for x in (p, q))
    search = tune.line_search(quadratic, p, opt)
    for n in range(1, 10):
        before = p.copy()
        q[:] = p
        other.step(H * p)
        step = search.step()
        if step.accepted:
            assert p == pytest.approx(before + step.lr * (q - before), rel=1e-12)
            assert step.new_loss < step.loss
        assert opt.steps == n
        assert opt.state["exp_avg"].tobytes() == other.state["exp_avg"].tobytes()
    assert search.step().loss < value(np.ones(3), None) / 10


def test_momentum_that_points_uphill_does_not_move():
    p = np.ones(3)
    opt = flr.SGD(p, lr=1e-3, momentum=0.5)
    search = tune.line_search(quadratic, p, opt)
    opt.step(np.zeros(3))
    opt.state["momentum_buffer"][:] = -1e4
    assert search.step() == (0.0, 55.5, 55.5, 1, False)
    assert p.tolist() == [1, 1, 1]
    assert opt.state["momentum_buffer"].tolist() == [-4999, -4990, -4900]  # it has advanced
    while not (step := search.step()).accepted:
        assert step.new_loss == step.loss == 55.5
    assert step.new_loss < 55.5


def test_own_directions():
    p = np.ones(3)
    newton = -p.copy()
    step = tune.line_search(quadratic, p).step(direction=newton)
    assert step == (1.0, 55.5, 0.0, 2, True)
    p[:] = 1
    with pytest.raises(ValueError, match=r"`direction` must be float64\[3\], got float64\[2\]"):
        tune.line_search(quadratic, p).step(direction=np.ones(2))
    with pytest.raises(ValueError, match="`direction` must be left out: the direction is the step of the `optimizer`"):
        tune.line_search(quadratic, p, flr.SGD(p, lr=1.0)).step(direction=newton)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_containers(dtype):
    def nested(p, batch):
        return float(p["a"] @ p["a"] + (p["b"] ** 2).sum()), {"a": 2 * p["a"], "b": None if batch else 2 * p["b"]}

    params = {"a": np.ones(2, dtype), "b": np.ones((2, 2), dtype)}
    flat = flr.Flat(params)
    for p in (params, flat):
        step = tune.line_search(nested, p).step(batch=True)
        assert step.lr == 0.5
        assert p["a"].tolist() == [0, 0]
        assert (p["b"] == 1).all()


def test_the_losses_function_alone_is_called_in_trials():
    calls = []

    def loss(p, batch):
        calls.append(batch)
        return value(p, batch)

    p, q = np.ones(3), np.ones(3)
    alone = tune.line_search(quadratic, p, loss=loss).step(batch=7)
    both = tune.line_search(quadratic, q).step(batch=7)
    assert alone == both
    assert p.tobytes() == q.tobytes()
    assert calls == [7] * (alone.evaluations - 1)


def test_all_evaluations_of_a_step_draw_the_same_random_numbers():
    rng, draws = np.random.default_rng(1), []

    def noisy(p, batch):
        draws.append((rng.random(), np.random.random()))  # noqa: NPY002
        return quadratic(p, batch)

    search = tune.line_search(noisy, np.ones(3))
    for _ in range(2):
        evaluations = search.step().evaluations
        assert len(draws) == evaluations > 3
        assert len(set(draws)) == 1
        first = draws.copy()
        draws.clear()
    assert first


# --- Errors, interrupts, state ---------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def make(optimizer=True, function=quadratic, lr=1.0, **arguments):
    p = np.ones(3)
    opt = flr.Adam(p, lr=0.1) if optimizer else None
    return p, opt, tune.line_search(function, p, opt, lr=lr, **{"reset": "grow", **arguments})


def everything(p, opt, search):
    state = {} if opt is None else flr.flatten_state(opt.state_dict())
    return p.tobytes(), {name: x.tobytes() for name, x in state.items()}, search.state_dict()


@pytest.mark.parametrize("optimizer", [True, False])
@pytest.mark.parametrize("at", range(1, 4))
def test_an_exception_undoes_the_step(optimizer, at):
    calls = []

    def failing(p, batch):
        calls.append(1)
        if batch and len(calls) > at:
            raise Failure
        return quadratic(p, batch)

    p, opt, search = make(optimizer, failing, lr=1e4, reset="initial")
    assert search.step().evaluations > 4
    before = everything(p, opt, search)
    calls.clear()
    with pytest.raises(Failure):
        search.step(batch=True)
    assert everything(p, opt, search) == before
    search.step()
    assert search.steps == 2


# The optimizer's own step and load_state_dict are interrupted in tests of their own.
INSIDE = tuple(str(Path(flr.__file__).parent / name) for name in ("tune", "linesearch", "optimizers/borrowed.py"))


@needs_faithful_traces
@pytest.mark.parametrize("condition", ["armijo", "strong_wolfe"])
def test_an_interrupt_anywhere_leaves_a_whole_step_or_none(condition):
    whole = make(condition=condition)
    before = everything(*whole)
    whole[2].step()
    after = everything(*whole)
    seen = set()

    def attempt(k):
        things = make(condition=condition)
        place = interrupted(things[2].step, k, INSIDE, visits=1)
        now = everything(*things)
        assert now in (before, after), place
        seen.add(now == after)
        if now == before:
            things[2].step()
            assert everything(*things) == after, place
        return place

    assert everywhere(attempt) > 100
    assert seen == {False, True}


def test_a_function_must_not_call_the_step():
    p = np.ones(3)
    search = tune.line_search(lambda p, batch: search.step() if batch else quadratic(p, batch), p)
    with pytest.raises(RuntimeError, match="must not call the step that calls them"):
        search.step(batch=True)
    assert p.tolist() == [1, 1, 1]
    assert search.step().accepted


def test_state():
    p, _, search = make(False)
    for _ in range(3):
        search.step()
    state = json.loads(json.dumps(search.state_dict()))
    q, _, other = make(False)
    q[:] = p
    other.load_state_dict(state)
    assert (other.lr, other.steps, other.evaluations) == (search.lr, 3, search.evaluations)
    assert other.step() == search.step()
    assert p.tobytes() == q.tobytes()
    assert repr(other) == f"LineSearch(condition='armijo', lr={other.lr!r}, steps=4)"
    for bad in ({}, [], {**state, "type": "x"}, {**state, "lr": 0.0}, {**state, "lr": None}, {**state, "steps": -1}):
        with pytest.raises((TypeError, ValueError), match="state"):
            other.load_state_dict(copy.deepcopy(bad))
    assert other.steps == 4


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"condition": "wolfe"}, "`condition` must be one of 'armijo', 'strong_wolfe'"), ({"lr": 0.0}, "`lr`"),
        ({"reset": "max"}, "`reset`"), ({"growth": 0.5}, "`growth`"), ({"high": -1.0}, "`high`"), ({"c1": 1.0}, "`c1`"),
        ({"c2": 0.0}, "`c2`"), ({"condition": "strong_wolfe", "c1": 0.5, "c2": 0.4}, "`c2` must be above `c1`"),
        ({"factor": 1.0}, "`factor`"), ({"trials": 0}, "`trials`"), ({"fallback": -1.0}, "`fallback`"),
        ({"loss": 3}, "`loss` must be a function"),
        ({"loss": value, "condition": "strong_wolfe"}, "`loss` must be left out with"),
        ({"optimizer": 3}, "`optimizer` must be an optimizer of pyfastlr or None, got int"),
        ({"optimizer": flr.SGD(np.ones(3), lr=1.0)}, "`optimizer` must have the parameters `params`"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, match):
    with pytest.raises((TypeError, ValueError), match=match):
        tune.line_search(quadratic, np.ones(3), **arguments)


def test_options_of_an_optimizer_that_are_refused():
    p = np.ones(3)
    with pytest.raises(ValueError, match="`optimizer` must have no `ema_decay`"):
        tune.line_search(quadratic, p, flr.SGD(p, lr=1.0, ema_decay=0.9))
    with pytest.raises(ValueError, match="`optimizer` must have no `copy_to`"):
        tune.line_search(quadratic, p, flr.SGD(p, lr=1.0, copy_to=np.zeros(3)))
    with pytest.raises(TypeError, match="`optimizer` must be an optimizer of pyfastlr or None, got LBFGS"):
        tune.line_search(quadratic, p, flr.LBFGS(p))
    with pytest.raises(TypeError, match="`loss_and_grad` must return a pair"):
        tune.line_search(lambda p, batch: 3.0, p).step()
    with pytest.raises(TypeError, match="`loss` must return a loss that is a number"):
        tune.line_search(quadratic, p, loss=lambda p, batch: "low").step()
    assert p.tolist() == [1, 1, 1]


# --- Something real --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [1e-4, 1e3])
@pytest.mark.parametrize("optimizer", [None, flr.AdamW])
def test_digits_from_a_bad_rate(lr, optimizer):
    """Batches of 64, with the arguments of Vaswani et al.; a fixed rate learns nothing."""
    from pyfastlr.demo import evaluate, problem

    loss_and_grad, params, batches = problem(seed=0, hidden=32)
    opt = None if optimizer is None else optimizer(params, lr=0.003 if lr < 1 else 3.0)
    growth = 1.2 if lr < 1 else 1.05
    search = tune.line_search(
        loss_and_grad, params, opt, lr=lr, reset="grow", growth=growth, c1=0.1, factor=0.7, trials=100
    )
    steps = [search.step(next(batches)) for _ in range(200)]
    assert all(np.isfinite([x.loss for x in steps]))
    assert evaluate(params, next(batches))[1] > 0.85
