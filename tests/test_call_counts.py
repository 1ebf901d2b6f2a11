"""Number of Python function calls, counted without a clock, where calls once cost a hundred times more."""

import sys
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S

N = 226
Layer = namedtuple("Layer", "w b")


def calls(action):
    """Python functions that are called by an action."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count - 1  # the action's own


def array():
    return np.ones(3)


CONTAINERS = {
    "array": array,
    "list": lambda: [array() for _ in range(N)],
    "tuple": lambda: tuple(array() for _ in range(N)),
    "dict": lambda: {f"k{k}": array() for k in range(N)},
    "OrderedDict": lambda: OrderedDict((f"k{k}", array()) for k in range(N)),
    "nested dicts": lambda: {f"k{k}": {"w": array(), "b": array()} for k in range(N // 2)},
    "nested lists": lambda: [[array(), array()] for _ in range(N // 2)],
    "nested tuples": lambda: tuple((array(), array()) for _ in range(N // 2)),
    "named tuples": lambda: {f"k{k}": Layer(array(), array()) for k in range(N // 2)},
    "deep": lambda: {f"k{k}": {"w": {"x": array()}, "b": {"y": [array()]}} for k in range(N // 2)},
    "wide": lambda: {"net": {f"k{k}": array() for k in range(8000)}},
    "Flat": lambda: flr.Flat([array() for _ in range(N)]),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_step_calls_few_functions_whatever_the_container(name):
    """`step`, and for a container one function that gathers the gradients and one that gathers the parameters."""
    params, grads = CONTAINERS[name](), CONTAINERS[name]()
    opt = flr.Adam(params, lr=1e-3)
    opt.step(grads)
    flat = grads if not isinstance(grads, flr.Flat) else params.like()
    assert calls(lambda: opt.step(flat)) <= 3


@pytest.mark.parametrize("kind", [dict, list])
def test_other_containers_cost_a_constant_for_each_array(kind):
    """A subclass with its own lookup is traversed, without a search for each key."""

    class Other(kind):
        pass

    def count(n):
        def container():
            arrays = {f"k{k}": array() for k in range(n)}
            return Other(arrays) if kind is dict else Other(arrays.values())

        opt = flr.SGD(container(), lr=0.1)
        grads = container()
        opt.step(grads)
        return calls(lambda: opt.step(grads))

    assert count(400) <= 4 * count(100) + 10


def test_a_schedule_is_one_call():
    p, g = np.ones(3), np.ones(3)
    opt = flr.SGD(p, lr=S.Cosine(0.1, steps=100))
    opt.step(g)
    assert calls(lambda: opt.step(g)) <= 4  # with what its curve calls


def test_setting_a_number_calls_one_function():
    opt = flr.Adam([np.ones(3)] * 1, lr=0.1)

    def set_rate():
        opt.lr = 1e-4

    assert calls(set_rate) == 1
    assert opt.lr == 1e-4


def test_building_an_optimizer_calls_some_functions_for_each_array():
    params = CONTAINERS["dict"]()
    assert calls(lambda: flr.Adam(params, lr=1e-3)) <= 25 * N


def test_views_of_other_libraries_are_a_few_calls_an_array():
    """A memmap gradient represents any object that compiled code cannot read directly."""
    params = CONTAINERS["list"]()
    opt = flr.SGD(params, lr=0.1)
    grads = [array().view(np.memmap) for _ in range(N)]
    opt.step(grads)
    assert calls(lambda: opt.step(grads)) <= 20 + 14 * N
