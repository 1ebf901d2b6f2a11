"""A step releases every object that it holds: results of callables, their index argument, gradients checked again."""

import sys

import numpy as np
import pytest

import pyfastlr as flr

STEPS = 100


def references(x):
    return sys.getrefcount(x)


def stepped(rate, steps=STEPS, p=None, g=None):
    """Step with that callable, including steps in which it raises. Return the optimizer."""
    p, g = ({"w": np.zeros(3)} if p is None else p), ({"w": np.ones(3)} if g is None else g)
    opt = flr.SGD(p, lr=rate)
    for _ in range(steps):
        try:
            opt.step(g)
        except (TypeError, ValueError, ZeroDivisionError):
            continue
    return opt


@pytest.mark.parametrize(
    ("value", "steps"),
    [(float("0.25"), STEPS), (np.float32(0.25), STEPS), (float("-0.25"), 0), ("a quarter, which is no number", 0)],
    ids=["float", "number of numpy", "out of range", "no number"],
)
def test_values_of_a_callable(value, steps):
    before = references(value)
    opt = stepped(lambda n: value)
    assert opt.steps == steps
    assert references(value) == before


@pytest.mark.parametrize("fails", [False, True])
def test_index_that_a_callable_gets(fails):
    """Large ones: CPython keeps one object for each small integer."""
    seen = []

    def rate(n):
        seen.append(n)
        return 1 / (0 if fails else 2)

    opt = flr.SGD({"w": np.zeros(3)}, lr=0.5)
    opt.load_state_dict({**opt.state_dict(), "steps": 10**6, "counts": np.array([10**6])})
    opt.lr = rate
    for _ in range(STEPS):
        try:
            opt.step({"w": np.ones(3)})
        except ZeroDivisionError:
            continue
    assert opt.steps == 10**6 + STEPS * (not fails)
    mine = [int("1000000")]
    assert [references(seen[k]) for k in range(STEPS)] == [references(mine[0])] * STEPS


@pytest.mark.parametrize("single", [False, True], ids=["dict", "array"])
def test_gradients_and_parameters_beside_a_callable(single):
    """They are gathered again after the callable has run."""
    p, g = np.zeros(3), np.ones(3)
    opt = stepped(lambda n: 0.5, 1, *((p, g) if single else ({"w": p}, {"w": g})))
    before = references(p), references(g)
    for _ in range(STEPS):
        opt.step(g if single else {"w": g})
    assert opt.steps == 1 + STEPS
    assert (references(p), references(g)) == before


def test_gradients_that_a_callable_has_spoiled():
    good, bad, g = np.ones(3), np.ones(4), {"w": None}

    def rate(n):
        g["w"] = bad
        return 0.5

    opt = flr.SGD({"w": np.zeros(3)}, lr=rate)
    before = references(bad), references(good)
    for _ in range(STEPS):
        g["w"] = good
        with pytest.raises(ValueError, match="got float64"):
            opt.step(g)
    g["w"] = None
    assert opt.steps == 0
    assert (references(bad), references(good)) == before
