"""`LBFGS`: containers, dtypes, losses that are not finite, states, files, copies, errors, interrupts, threads, forks.

tests/test_lbfgs_live.py compares its iterates with those of torch.
"""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from minima import FUNCTIONS, logistic, quadratic, rosenbrock
from pyfastlr import schedules as S

START = np.tile([-1.2, 1.0], 12)


def of(function, read):
    """Closure of a function of one vector. `read` returns that vector, and how to nest a gradient."""

    def closure():
        x, nest = read()
        loss, g = function(x)
        return loss, nest(g)

    return closure


def rosenbrock_in_a_dict(params):
    def read():
        x = np.concatenate([params["b"], params["a"].ravel()])
        return x, lambda g: {"a": g[4:].reshape(4, 5), "b": g[:4]}

    return of(rosenbrock, read)


def new_dict(dtype=np.float64):
    return {"b": START[:4].astype(dtype), "a": START[4:].reshape(4, 5).astype(dtype)}


def run(steps=3, function=rosenbrock, dtype=np.float64, **arguments):
    p = START.astype(dtype)
    opt = flr.LBFGS(p, **arguments)
    for _ in range(steps):
        opt.step(lambda: function(p))
    return p, opt


# --- Minima ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [x for x in FUNCTIONS if FUNCTIONS[x].minimum is not None])
def test_minimum_is_found(name):
    f = FUNCTIONS[name]
    p = f.start.copy()
    opt = flr.LBFGS(p, max_iter=1000, tolerance_change=1e-14)
    for _ in range(3):
        opt.step(lambda: f.loss_and_grad(p))
    assert f.loss_and_grad(p)[0] == opt.loss == pytest.approx(f.minimum, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_the_test_functions(name):
    f = FUNCTIONS[name]
    x = f.start + 0.1
    for k in range(len(x)):
        step = np.zeros_like(x)
        step[k] = 1e-6 * max(1, abs(x[k]))
        slope = (f.loss_and_grad(x + step)[0] - f.loss_and_grad(x - step)[0]) / (2 * step[k])
        loss, g = f.loss_and_grad(x)
        assert g[k] == pytest.approx(slope, rel=1e-4, abs=max(1e-4, 1e-15 * loss / step[k]))  # of rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes(dtype):
    p, opt = run(10, dtype=dtype, tolerance_change=0.0)
    assert p.dtype == dtype
    assert opt.loss < (1e-6 if dtype is np.float32 else 1e-12)
    assert {x.dtype for x in opt.state_dict()["state"].values()} == {np.dtype(dtype)}


def test_pairs_of_small_curvature():
    """With the default, as in torch, no pairs are added near a minimum that is flat."""
    evaluations = []
    for least in (1e-10, 0.0):
        p = FUNCTIONS["powell_singular"].start.copy()
        opt = flr.LBFGS(p, max_iter=1000, tolerance_change=1e-14, min_curvature=least)
        opt.step(lambda p=p: FUNCTIONS["powell_singular"].loss_and_grad(p))
        evaluations.append(opt.evaluations)
        for k in range(len(opt.state_dict()["carry"]) - 1):
            state = opt.state_dict()["state"]
            assert state[f"s{k}"] @ state[f"y{k}"] > least
    assert evaluations[1] < evaluations[0] / 10


def test_two_loop_recursion_is_bfgs_in_full():
    """With enough history, the direction is that of BFGS with the inverse Hessian as a matrix."""
    p = START.copy()
    opt = flr.LBFGS(p, max_iter=1, history=50)
    for _ in range(8):
        opt.step(lambda: rosenbrock(p))
    state = opt.state_dict()
    pairs = [(state["state"][f"s{k}"], state["state"][f"y{k}"]) for k in range(len(state["carry"]) - 1)]
    assert len(pairs) == 7
    step, before = state["state"]["step"], state["state"]["gradient"]
    s, y = pairs[-1]
    h = np.eye(len(p)) * (s @ y) / (y @ y)
    for s, y in pairs:
        v = np.eye(len(p)) - np.outer(y, s) / (s @ y)
        h = v.T @ h @ v + np.outer(s, s) / (s @ y)
    direction = -h @ before
    np.testing.assert_allclose(step / np.linalg.norm(step), direction / np.linalg.norm(direction), rtol=1e-9)


def test_returned_losses_and_counts():
    p = START.copy()
    calls = []

    def closure():
        calls.append(rosenbrock(p)[0])
        return rosenbrock(p)

    opt = flr.LBFGS(p, max_iter=4)
    assert (opt.loss, opt.stopped, opt.steps, opt.iterations, opt.evaluations) == (None, None, 0, 0, 0)
    first = opt.step(closure)
    assert first == calls[0] == rosenbrock(START)[0]
    assert type(first) is float
    assert opt.loss == rosenbrock(p)[0] < first
    assert (opt.steps, opt.iterations, opt.evaluations) == (1, 4, len(calls))
    assert opt.stopped == "max_iter"
    opt.reset()
    assert (opt.steps, opt.iterations, opt.evaluations) == (0, 0, 0)
    assert opt.state_dict()["state"] == {}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"max_iter": 100, "tolerance_grad": 1.0}, "tolerance_grad"), ({"max_iter": 2, "max_eval": 100}, "max_iter"),
        ({"max_iter": 100, "max_eval": 3}, "max_eval"),
        ({"max_iter": 100, "tolerance_change": 1e9}, "tolerance_change"),
        ({"lr": 0.0}, "line_search"),
    ],
    ids=str,
)  # fmt: skip
def test_why_it_stopped(arguments, why):
    assert run(1, **arguments)[1].stopped == why


@pytest.mark.parametrize(
    ("curvature", "start", "arguments", "evaluations"),
    [
        ((1.0, 2.0), 1e-6, {"tolerance_change": 1e-9}, 1),  # the slope is -5e-12
        ((1e8, 3e8), 1e-5, {"tolerance_change": 1e-3}, None),  # the step is 1e-5, and the loss falls by 0.01
        ((0.01, 0.01), 7.0, {"tolerance_change": 8e-3, "lr": 0.5, "line_search": None}, 2),  # it falls by 0.004
    ],
)  # fmt: skip
def test_each_tolerance_of_changes_ends_a_step(curvature, start, arguments, evaluations):
    h, p = np.array(curvature), np.full(2, start)
    opt = flr.LBFGS(p, tolerance_grad=0.0, **arguments)
    opt.step(lambda: (0.5 * h @ (p * p), h * p))
    assert (opt.stopped, opt.iterations) == ("tolerance_change", 1)
    assert evaluations in (None, opt.evaluations)


def test_a_step_that_did_not_move_leaves_no_pair():
    p, opt = run(1, max_iter=1)
    assert "step" in opt.state_dict()["state"]
    opt.max_iter, opt.max_eval = 5, 100
    opt.step(lambda: (rosenbrock(p)[0], -rosenbrock(p)[1]))
    assert opt.stopped == "line_search"
    assert "step" not in opt.state_dict()["state"]


def test_a_point_without_a_lower_loss_nearby_ends_the_step():
    """The gradient has the wrong sign, so no trial is lower."""
    p = np.ones(3)
    opt = flr.LBFGS(p)
    opt.step(lambda: (p @ p, -2 * p))
    assert opt.stopped == "line_search"
    assert p.tolist() == [1, 1, 1]
    opt.step(lambda: (p @ p, 2 * p))  # that search left no pair
    assert opt.loss == pytest.approx(0, abs=1e-20)


# --- Containers ------------------------------------------------------------------------------------------------------


def test_containers_have_the_same_bits():
    params = new_dict()
    opt = flr.LBFGS(params)
    flat = flr.Flat({"b": params["b"], "a": params["a"]})
    of_flat = flr.LBFGS(flat)
    whole, of_whole = run(0)
    for _ in range(3):
        opt.step(rosenbrock_in_a_dict(params))
        of_whole.step(lambda: rosenbrock(whole))
        of_flat.step(lambda: rosenbrock(flat.buffer))
    assert whole.tobytes() == flat.buffer.tobytes()
    assert np.concatenate([params["b"], params["a"].ravel()]).tobytes() == whole.tobytes()


def test_gradients_of_a_flat():
    flat = flr.Flat({"w": START[:8].reshape(2, 4), "b": START[8:]})
    expected, opt = run(0)
    other = flr.LBFGS(flat)

    def closure():
        loss, g = rosenbrock(flat.buffer)
        grads = flat.like()
        grads.buffer[:] = g
        return loss, [grads, g, {"w": g[:8].reshape(2, 4), "b": g[8:]}][other.steps % 3]

    for _ in range(3):
        opt.step(lambda: rosenbrock(expected))
        other.step(closure)
    assert flat.buffer.tobytes() == expected.tobytes()


def test_other_memory():
    expected, _ = run(2)
    p = array("d", START)
    opt = flr.LBFGS(p)
    for _ in range(2):
        opt.step(lambda: rosenbrock(np.array(p)))
    assert np.array(p).tobytes() == expected.tobytes()


def test_gradients_that_are_none_count_as_zeros():
    params = {"x": np.array([3.0]), "frozen": np.array([1.0, 2.0])}
    opt = flr.LBFGS(params)
    opt.step(lambda: ((params["x"] ** 2).sum(), {"x": 2 * params["x"], "frozen": None}))
    assert abs(params["x"]) < 1e-9
    assert params["frozen"].tolist() == [1, 2]
    with pytest.raises(TypeError, match="`grads` must be float64"):
        run(1, lambda p: (0.0, None))


def test_the_closure_may_reuse_its_gradient():
    p, g = START.copy(), np.zeros_like(START)

    def closure():
        loss, g[:] = rosenbrock(p)
        return loss, g

    opt = flr.LBFGS(p)
    for _ in range(3):
        opt.step(closure)
    assert p.tobytes() == run(3)[0].tobytes()


def test_empty_parameters():
    p = np.zeros((0, 3))
    opt = flr.LBFGS(p)
    assert opt.step(lambda: (1.5, p)) == 1.5
    assert opt.stopped == "tolerance_grad"


def test_bits_do_not_depend_on_the_number_of_threads():
    script = (
        "import numpy as np, hashlib, pyfastlr as flr\n"
        "x = np.random.default_rng(0).normal(size=300_000)\n"
        "h = np.linspace(1, 100, x.size)\n"
        "opt = flr.LBFGS(x)\n"
        "for _ in range(2):\n"
        "    opt.step(lambda: (float(np.sum(h * np.cosh(x))), h * np.sinh(x)))\n"
        "print(hashlib.sha256(x.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n},
        ).stdout
        for n in ("1", "2", "4")
    }  # fmt: skip
    assert len(found) == 1


# --- Losses and gradients that are not finite ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
def test_a_step_that_begins_where_the_loss_is_not_finite_changes_nothing(bad, line_search):
    p, opt = run(1, max_iter=3, line_search=line_search, lr=0.001)
    before, memory = p.copy(), opt.state_dict()["state"]
    for result in ((bad, p), (1.0, np.full_like(p, bad))):
        opt.step(lambda result=result: result)
        assert opt.stopped == "nonfinite"
        assert p.tobytes() == before.tobytes()
    assert opt.steps == 3
    after = opt.state_dict()["state"]
    assert {k: x.tobytes() for k, x in after.items()} == {k: x.tobytes() for k, x in memory.items()}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_line_search_comes_back_from_where_the_loss_is_not_finite(bad):
    """A barrier: -log(1 - x) + x*x ends at x = 1, and the first trial is beyond."""

    def barrier(x):
        if (x >= 1).any():
            return bad, np.full_like(x, np.nan)
        return float(np.sum(5 * (x - 2) ** 2 - 0.1 * np.log(1 - x))), 10 * (x - 2) + 0.1 / (1 - x)

    p = np.zeros(3)
    opt = flr.LBFGS(p, lr=100.0, max_iter=200, max_eval=400)
    opt.step(lambda: barrier(p))
    root = (3 - np.sqrt(1 + 4 * 0.01)) / 2  # of the derivative
    np.testing.assert_allclose(p, root, rtol=1e-6)


def test_a_gradient_alone_that_is_not_finite_is_not_accepted():
    p = np.array([0.0])

    def closure():
        return -p[0], np.array([-1.0 if p[0] < 3 else np.nan])

    opt = flr.LBFGS(p, lr=1.0)
    opt.step(closure)
    assert np.isfinite(p[0])
    assert p[0] < 3
    assert np.isfinite(opt.loss)


@pytest.mark.parametrize("bad", [(np.nan, 1.0), (1.0, np.nan), (1.0, np.inf)], ids=str)
def test_without_a_line_search_the_step_goes_back_to_the_last_finite_point(bad):
    p, seen = np.array([1.0]), []

    def closure():
        seen.append(p[0])
        return (bad[0], p * bad[1]) if len(seen) == 3 else (p[0] ** 2, 2 * p)

    opt = flr.LBFGS(p, lr=0.4, line_search=None)
    opt.step(closure)
    assert opt.stopped == "nonfinite"
    assert p[0] == seen[1]
    assert opt.loss == seen[1] ** 2
    opt.step(closure)
    assert np.isfinite(p[0])


def test_extreme_numbers():
    for scale in (1e-200, 1e150, 1e300):
        p = np.ones(3)
        opt = flr.LBFGS(p)
        opt.step(lambda scale=scale, p=p: (scale * (p @ p), 2 * scale * p))
        assert np.isfinite(p).all()


# --- The rate and the other arguments --------------------------------------------------------------------------------


def test_schedules_are_called_once_for_each_step():
    seen = []

    def rate(n):
        seen.append(n)
        return 1.0 / (n + 1)

    p, opt = run(3, lr=rate)
    assert seen == [0, 1, 2]
    assert opt.lr == 0.25
    expected = START.copy()
    other = flr.LBFGS(expected)
    for n in range(3):
        other.lr = 1 / (n + 1)
        other.step(lambda: rosenbrock(expected))
    assert p.tobytes() == expected.tobytes()
    by_schedule, _ = run(3, lr=S.InverseTime(1.0, 1.0))
    assert by_schedule.tobytes() == expected.tobytes()


def test_arguments_can_be_set():
    p, opt = run(0)
    opt.history, opt.line_search, opt.max_iter, opt.max_eval = 3, None, 7, 9
    opt.tolerance_grad, opt.tolerance_change, opt.lr = 1e-3, 1e-12, 0.001
    assert repr(opt) == (
        "LBFGS(float64[24], lr=0.001, history=3, max_iter=7, max_eval=9, tolerance_grad=0.001, "
        "tolerance_change=1e-12, min_curvature=1e-10, steps=0)"
    )
    opt.step(lambda: rosenbrock(p))
    assert opt.iterations == 7
    for name, value in [("history", 0), ("max_iter", 1.5), ("line_search", "armijo"), ("tolerance_grad", -1)]:
        with pytest.raises((TypeError, ValueError), match=f"`{name}` must be"):
            setattr(opt, name, value)
    assert (opt.history, opt.max_iter, opt.line_search, opt.tolerance_grad) == (3, 7, None, 1e-3)


def test_fewer_pairs_after_history_is_lowered():
    p, opt = run(1, max_iter=12)
    assert len(opt.state_dict()["carry"]) == 11
    opt.history = 2
    opt.step(lambda: rosenbrock(p))
    assert len(opt.state_dict()["carry"]) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"lr": -1}, ValueError, "`lr` must be a finite number >= 0"),
        ({"lr": "fast"}, TypeError, "`lr` must be"),
        ({"history": 0}, ValueError, "`history` must be an integer >= 1"),
        ({"history": 2.5}, TypeError, "`history` must be an integer >= 1"),
        ({"line_search": "strong-wolfe"}, ValueError, "`line_search` must be 'strong_wolfe' or None"),
        ({"max_iter": 0}, ValueError, "`max_iter`"), ({"max_eval": 0}, ValueError, "`max_eval`"),
        ({"tolerance_grad": -1e-9}, ValueError, "`tolerance_grad`"),
        ({"tolerance_change": np.nan}, ValueError, "`tolerance_change`"),
        ({"min_curvature": -1}, ValueError, "`min_curvature`"),
        ({"groups": []}, TypeError, "`groups` of LBFGS must be left out: all arrays are one vector"),
        ({"weight_decay": 0.1}, TypeError, "`weight_decay` of LBFGS must be left out: put it into the closure's loss"),
        ({"history_size": 5}, TypeError, "it is called `history` here"),
        ({"momentum": 0.9}, TypeError, "`momentum` of LBFGS must be left out: it has no such argument"),
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        flr.LBFGS(np.ones(2), **arguments)


# --- Errors change nothing -------------------------------------------------------------------------------------------


class Failure(Exception):
    pass


def everything(opt, p):
    state = opt.state_dict()
    arrays = [x.tobytes() for x in (*flr.flatten_state(state).values(),)]
    return p.tobytes(), arrays, opt.loss, opt.stopped


@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
@pytest.mark.parametrize("at", range(6))
def test_an_exception_of_the_closure_undoes_the_step(at, line_search):
    p, opt = run(2, max_iter=3, line_search=line_search, lr=0.01)
    before, calls = everything(opt, p), []

    def closure():
        calls.append(1)
        if len(calls) > at:
            raise Failure
        return rosenbrock(p)

    opt.max_iter = 20
    before = everything(opt, p)
    with pytest.raises(Failure):
        opt.step(closure)
    assert everything(opt, p) == before
    opt.step(lambda: rosenbrock(p))
    twin, other = run(2, max_iter=3, line_search=line_search, lr=0.01)
    other.max_iter = 20
    other.step(lambda: rosenbrock(twin))
    assert p.tobytes() == twin.tobytes()


@pytest.mark.parametrize(
    ("result", "error", "match"),
    [
        (1.0, TypeError, r"`closure` must return a pair \(loss, gradient\), got 1.0"),
        (("low", START), TypeError, "`closure` must return a loss that is a number"),
        ((1.0, START[:3]), ValueError, r"`grads` must be float64\[24\], got float64\[3\]"),
        ((1.0, START.astype(np.float32)), TypeError, r"`grads` must be float64\[24\], got float32\[24\]"),
    ],
    ids=str,
)
def test_results_that_are_refused(result, error, match):
    p, opt = run(1)
    before = everything(opt, p)
    calls = []

    def closure():
        calls.append(1)
        return rosenbrock(p) if len(calls) < 3 else result

    with pytest.raises(error, match=match):
        opt.step(closure)
    assert everything(opt, p) == before


def test_a_closure_that_replaces_a_parameter_is_refused():
    params = new_dict()
    opt = flr.LBFGS(params)
    inner, array = rosenbrock_in_a_dict(params), params["a"]

    def closure():
        result = inner()
        params["a"] = params["a"] + 0
        return result

    with pytest.raises(ValueError, match=r"`params\['a'\]` must be the array that the optimizer was built with"):
        opt.step(closure)
    assert array.tobytes() == START[4:].tobytes()
    params["a"] = array
    opt.step(inner)


def test_a_parameter_that_was_replaced_is_refused_before_the_closure_is_called():
    params, calls = new_dict(), []
    opt = flr.LBFGS(params)
    params["a"] = params["a"].copy()
    with pytest.raises(ValueError, match=r"`params\['a'\]` must be the array that the optimizer was built with"):
        opt.step(lambda: calls.append(1))
    assert calls == []


def test_a_closure_that_resizes_a_parameter():
    """Its memory is gone, so it cannot be restored. The others are."""
    params = new_dict()
    params["a"] = params["a"].reshape(-1).copy()  # resizable: it owns its memory
    opt = flr.LBFGS(params)

    def closure():
        x = np.concatenate([params["b"], params["a"]])
        loss, g = rosenbrock(x)
        if len(calls) == 3:
            params["a"].resize(1_000_000, refcheck=False)
            return loss, {"b": g[:4], "a": np.zeros(1_000_000)}
        calls.append(1)
        return loss, {"b": g[:4], "a": g[4:]}

    calls = []
    with pytest.raises(ValueError, match=r"`params\['a'\]` must stay as it was when the optimizer was built"):
        opt.step(closure)
    assert params["b"].tobytes() == START[:4].tobytes()
    assert (opt.steps, opt.state_dict()["state"]) == (0, {})


def test_the_closure_must_not_change_the_optimizer():
    p, opt = run(1)
    state = opt.state_dict()
    for act in (
        lambda: opt.step(lambda: rosenbrock(p)), opt.reset, lambda: opt.load_state_dict(state),
        lambda: setattr(opt, "lr", 2.0), lambda: opt.save(os.devnull), lambda: copy.deepcopy(opt),
    ):  # fmt: skip
        before = everything(opt, p)

        def closure(act=act):
            act()
            return rosenbrock(p)

        with pytest.raises(RuntimeError, match=r"a closure or callable must not .* the optimizer that calls it"):
            opt.step(closure)
        assert everything(opt, p) == before

    def closure():
        assert opt.state_dict()["counts"][0] == opt.steps == 1  # the state from before the step
        return rosenbrock(p)

    opt.step(closure)
    with pytest.raises(TypeError, match=r"`closure` must be a function \(\) -> \(loss, grads\), got float64"):
        opt.step(np.float64(1.0))


@needs_faithful_traces
@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
def test_an_interrupt_anywhere_leaves_a_whole_step_or_none(line_search):
    def begin():
        return run(1, max_iter=2, line_search=line_search, lr=0.1)

    p, opt = begin()
    before = everything(opt, p)
    opt.step(lambda: rosenbrock(p))
    after = everything(opt, p)
    assert before != after
    seen = set()

    def attempt(k):
        p, opt = begin()
        place = interrupted(lambda: opt.step(lambda: rosenbrock(p)), k, visits=2)
        now = everything(opt, p)
        assert now in (before, after), place
        seen.add(now == after)
        if now == before:
            opt.step(lambda: rosenbrock(p))
            assert everything(opt, p) == after, place
        return place

    assert everywhere(attempt) > 100
    assert seen == {False, True}


def test_numpys_warnings_are_the_callers_again():
    p = np.ones(2)
    opt = flr.LBFGS(p)

    def closure():
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            np.array([1e300]) * 1e300
        return p @ p, 2 * p

    with np.errstate(all="raise"):
        opt.step(closure)
        with pytest.raises(FloatingPointError):
            np.array([1e300]) * 1e300


def test_the_closure_runs_with_the_callers_warnings():
    p = np.ones(2)

    def closure():
        return np.array([1e300]) * 1e300, p

    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        flr.LBFGS(p).step(closure)
    with np.errstate(over="ignore"):
        flr.LBFGS(p).step(lambda: (float(closure()[0][0]), p))


# --- Threads and forks -----------------------------------------------------------------------------------------------


def test_steps_of_several_threads_are_one_after_another():
    p = START.copy()
    opt = flr.LBFGS(p, max_iter=2, tolerance_change=0.0)
    running, most = [], []

    def closure():
        running.append(1)
        most.append(len(running))
        result = rosenbrock(p)
        running.pop()
        return result

    threads = [threading.Thread(target=lambda: [opt.step(closure) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opt.steps == 20
    assert set(most) == {1}
    assert p.tobytes() == run(20, max_iter=2, tolerance_change=0.0)[0].tobytes()


def test_other_threads_read_the_state_between_steps():
    p, opt = run(0, max_iter=3)
    inside, states = threading.Event(), []
    reader = threading.Thread(target=lambda: (inside.wait(), states.append(opt.state_dict())))
    reader.start()

    def closure():
        inside.set()
        assert not states
        return rosenbrock(p)

    opt.step(closure)
    reader.join()
    assert states[0]["counts"][0] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_another_threads_step_undoes_it_in_the_child():
    p, opt = run(1, max_iter=3)
    before, inside, go_on = p.tobytes(), threading.Event(), threading.Event()
    calls = []

    def closure():
        calls.append(1)
        if len(calls) == 3:
            inside.set()
            go_on.wait(60)
        return rosenbrock(p)

    thread = threading.Thread(target=lambda: opt.step(closure))
    thread.start()
    inside.wait(60)
    assert p.tobytes() != before
    child = os.fork()
    if not child:
        try:
            whole = p.tobytes() == before and opt.steps == 1
            opt.step(lambda: rosenbrock(p))
            os._exit(0 if whole and opt.steps == 2 else 1)
        finally:
            os._exit(2)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert p.tobytes() == run(2, max_iter=3)[0].tobytes()


# --- States, files and copies ----------------------------------------------------------------------------------------


def resumed(make, steps=(2, 3), **arguments):
    """Parameters after a run, and after the same run with `make(p, opt)` -> (p, opt) in the middle."""
    whole, _ = run(sum(steps), max_iter=3, **arguments)
    p, opt = make(*run(steps[0], max_iter=3, **arguments))
    for _ in range(steps[1]):
        opt.step(lambda: rosenbrock(p))
    return whole, p


def by_dict(p, opt):
    q = p.copy()
    other = flr.LBFGS(q)
    assert other.load_state_dict(opt.state_dict()) == flr.Loaded()
    return q, other


def by_npz(p, opt):
    file, q = io.BytesIO(), p.copy()
    np.savez(file, **flr.flatten_state(opt.state_dict()))
    other = flr.LBFGS(q)
    other.load_state_dict(flr.unflatten_state(np.load(io.BytesIO(file.getvalue()))))
    return q, other


def by_json(p, opt):
    q = p.copy()
    text = json.dumps({name: x.tolist() for name, x in flr.flatten_state(opt.state_dict()).items()})
    other = flr.LBFGS(q)
    other.load_state_dict(flr.unflatten_state(json.loads(text)))
    return q, other


def by_pickle(p, opt):
    return pickle.loads(pickle.dumps((p, opt)))


def by_deepcopy(p, opt):
    return copy.deepcopy((p, opt))


def by_copy(p, opt):
    return p, copy.copy(opt)


@pytest.mark.parametrize("line_search", ["strong_wolfe", None])
@pytest.mark.parametrize("make", [by_dict, by_npz, by_json, by_pickle, by_deepcopy, by_copy], ids=lambda x: x.__name__)
def test_a_resumed_run_has_the_same_bits(make, line_search):
    whole, p = resumed(make, line_search=line_search, history=4, lr=S.Linear(0.5, 0.1, steps=5))
    assert p.tobytes() == whole.tobytes()


def test_files(tmp_path):
    path = tmp_path / "run.safetensors"

    def by_file(p, opt):
        flr.save(path, p, opt, epoch=3)
        saved = flr.load(path)
        other = flr.LBFGS(saved.params)
        other.load_state_dict(saved.state)
        assert (other.steps, other.evaluations, saved.extra) == (opt.steps, opt.evaluations, {"epoch": 3})
        return saved.params, other

    def by_own_file(p, opt):
        opt.save(path)
        q = p.copy()
        other = flr.LBFGS(q)
        assert other.load(path) == flr.Loaded()
        return q, other

    for make in (by_file, by_own_file):
        whole, p = resumed(make)
        assert p.tobytes() == whole.tobytes()
    flr.save(path, START)
    with pytest.raises(ValueError, match="got a file that was saved without one"):
        flr.LBFGS(START.copy()).load(path)
    with pytest.raises(ValueError, match=r"`state\['class'\]` must be 'LBFGS', got 'Adam'"):
        flr.LBFGS(START.copy()).load_state_dict(flr.Adam(START.copy()).state_dict())
    with pytest.raises(ValueError, match=r"LBFGS|keys"):
        flr.Adam(START.copy()).load_state_dict(run(1)[1].state_dict())


def test_checkpoints(tmp_path):
    params = new_dict()
    opt, checkpoints = flr.LBFGS(params, max_iter=2), flr.Checkpoints(tmp_path, keep=2)
    for _ in range(4):
        opt.step(rosenbrock_in_a_dict(params))
        checkpoints.save(params, opt)
    assert [os.path.basename(x) for x in checkpoints.paths()] == [
        "checkpoint-000000000003.safetensors", "checkpoint-000000000004.safetensors",
    ]  # fmt: skip
    saved = checkpoints.latest()
    other = flr.LBFGS(saved.params)
    other.load_state_dict(saved.state)
    for p, x in ((params, opt), (saved.params, other)):
        x.step(rosenbrock_in_a_dict(p))
    assert all(params[key].tobytes() == saved.params[key].tobytes() for key in params)


def test_a_state_fits_another_container_order_and_dtype():
    params = new_dict()
    opt = flr.LBFGS(params, max_iter=5)
    opt.step(rosenbrock_in_a_dict(params))
    flat = flr.Flat({"a": params["a"], "b": params["b"]})
    other = flr.LBFGS(flat)
    other.load_state_dict(opt.state_dict())
    opt.step(rosenbrock_in_a_dict(params))
    other.step(rosenbrock_in_a_dict(flat))
    np.testing.assert_allclose(flat["a"], params["a"], rtol=1e-6)  # sums in another order
    small = new_dict(np.float32)
    low = flr.LBFGS(small)
    with pytest.raises(ValueError, match="'float32', got 'float64': cast=True converts it"):
        low.load_state_dict(opt.state_dict())
    low.load_state_dict(opt.state_dict(), cast=True)
    assert low.state_dict()["state"]["s0"]["a"].dtype == np.float32


def test_arguments_in_a_state():
    _, opt = run(1, lr=S.Cosine(1.0, steps=9), history=4, line_search=None, max_iter=5, tolerance_grad=1e-3)
    other = flr.LBFGS(START.copy(), history=2)
    other.load_state_dict(opt.state_dict(), hyperparameters=False)
    assert (other.history, other.lr, other.line_search) == (2, 1.0, "strong_wolfe")
    assert len(other.state_dict()["carry"]) == 3
    other.load_state_dict(opt.state_dict())
    assert (other.history, other.line_search, other.max_iter, other.tolerance_grad) == (4, None, 5, 1e-3)
    assert other.lr == opt.lr == S.Cosine(1.0, steps=9)(1)
    _, called = run(1, lr=lambda n: 0.5)
    with pytest.raises(ValueError, match="needs a callable"):
        flr.LBFGS(START.copy()).load_state_dict(called.state_dict())


def test_controllers_are_saved():
    rate = S.Plateau(1.0, patience=0, factor=0.5)
    _, opt = run(1, lr=rate)
    for loss in (1.0, 2.0, 3.0):
        rate.observe(loss)
    assert opt.lr < 1.0
    other = flr.LBFGS(START.copy(), lr=S.Plateau(1.0, patience=0, factor=0.5))
    other.load_state_dict(opt.state_dict())
    assert other.lr == opt.lr
    with pytest.raises(ValueError, match="needs a controller"):
        flr.LBFGS(START.copy()).load_state_dict(opt.state_dict())
    with pytest.raises(ValueError, match=r"`state\['hyperparameters'\]\[0\]\['lr'\]` must be a controller"):
        other.load_state_dict(run(1)[1].state_dict())
    twin = copy.copy(opt)
    rate.observe(9.0)
    assert twin.lr > opt.lr


@needs_faithful_traces
def test_an_interrupt_anywhere_in_loading_leaves_the_old_state_or_the_new_one():
    rate = S.Plateau(1.0, patience=0, factor=0.5)
    _, opt = run(2, max_iter=3, lr=rate)
    for loss in (1.0, 2.0, 3.0):
        rate.observe(loss)
    state = opt.state_dict()

    def begin():
        return run(1, max_iter=1, lr=S.Plateau(1.0, patience=0, factor=0.5), history=3)

    def now(p, opt):
        return everything(opt, p)[1], opt.lr, opt.history, len(opt.state_dict()["carry"])

    p, other = begin()
    before = now(p, other)
    other.load_state_dict(state)
    after = now(p, other)
    seen = set()

    def attempt(k):
        p, other = begin()
        place = interrupted(lambda: other.load_state_dict(state), k, INSIDE, visits=1)
        found = now(p, other)
        assert found in (before, after), place
        seen.add(found == after)
        return place

    assert everywhere(attempt) > 50
    assert seen == {False, True}


INSIDE = str(Path(flr.__file__).parent / "optimizers" / "lbfgs")
DAMAGE = {
    "no dict": lambda state: [],
    "a key less": lambda state: state.pop("carry"),
    "a key more": lambda state: state.update(more=1),
    "the format": lambda state: state.update(format=99),
    "the dtype": lambda state: state.update(dtype="int8"),
    "the counts": lambda state: state.update(counts=-state["counts"]),
    "the shape of the counts": lambda state: state.update(counts=state["counts"][:2]),
    "the carry": lambda state: state.update(carry=state["carry"] * np.nan),
    "no carry": lambda state: state.update(carry=state["carry"][:0]),
    "a pair less": lambda state: state["state"].pop("s0"),
    "a slot more": lambda state: state["state"].update(z=state["state"]["s0"]),
    "a slot": lambda state: state["state"].update(s0=state["state"]["s0"][:3]),
    "a number": lambda state: state["state"]["y0"].fill(np.inf),
    "the names": lambda state: state.update(structure=[("w", (24,))]),
    "the hyperparameters": lambda state: state.update(hyperparameters={}),
    "a hyperparameter": lambda state: state["hyperparameters"][0].update(max_iter=-1),
    "a hyperparameter less": lambda state: state["hyperparameters"][0].pop("max_iter"),
    "the controllers": lambda state: state.update(controllers=3),
    "a controller": lambda state: state.update(controllers=[{"group": 0, "name": "lr", "state": {}}]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_states_are_refused(damage):
    _, opt = run(2, max_iter=3)
    state = opt.state_dict()
    q, after = run(4, max_iter=3)
    before = everything(after, q)
    bad = DAMAGE[damage](state)
    with pytest.raises((TypeError, ValueError), match="state"):
        after.load_state_dict(bad if isinstance(bad, list) else state)
    assert everything(after, q) == before


def test_a_state_is_a_copy_and_arrays_stay():
    p, opt = run(2, max_iter=3)
    before = everything(opt, p)
    for x in opt.state_dict()["state"].values():
        x.fill(7)
    assert everything(opt, p) == before
    twin_p, twin = copy.deepcopy((p, opt))
    twin.step(lambda: rosenbrock(twin_p))
    assert everything(opt, p) == before


def test_a_state_without_a_part_of_the_arrays_is_refused():
    params = new_dict()
    opt = flr.LBFGS(params)
    opt.step(rosenbrock_in_a_dict(params))
    for strict in (True, False):
        with pytest.raises(ValueError, match="a pair of L-BFGS is of all arrays together"):
            flr.LBFGS({"a": params["a"]}).load_state_dict(opt.state_dict(), strict=strict)


@pytest.mark.parametrize("function", [quadratic, logistic], ids=lambda x: x.__name__)
def test_float32_follows_float64(function):
    n = 40 if function is quadratic else 30
    losses = []
    for dtype in (np.float32, np.float64):
        p = np.ones(n, dtype)
        opt = flr.LBFGS(p, max_iter=200, tolerance_change=0.0)
        for _ in range(3):
            opt.step(lambda p=p: function(p))
        losses.append(float(function(p.astype(np.float64))[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
