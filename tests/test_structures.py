"""Leaves of containers are matched by key: another container may have them in another order."""

from collections import OrderedDict, UserDict
from types import MappingProxyType

import numpy as np
import pytest

import pyfastlr as flr

KINDS = [dict, OrderedDict, UserDict, MappingProxyType]


def turned(tree, kind=dict):
    """The same structure with the keys of every dict in reverse, and every dict of that kind."""
    if isinstance(tree, dict):
        return kind({key: turned(tree[key], kind) for key in reversed(tree)})
    return [turned(x, kind) for x in tree] if isinstance(tree, list) else tree


TREES = {
    "plain": {"a": 1, "b": 2, "c": 3},
    "alike": {"m": {"a": 1, "b": 2}, "n": {"a": 3, "b": 4}},
    "mixed": {"a": 1, "b": {"x": 2, "y": [3, 4]}, "c": 5},
}


def filled(tree, factor):
    """The tree with an array for each number, all of one shape, so that a mix-up raises no error."""
    if isinstance(tree, dict):
        return {key: filled(x, factor) for key, x in tree.items()}
    return [filled(x, factor) for x in tree] if isinstance(tree, list) else np.full(3, float(factor * tree))


def numbers(tree):
    """The first number of each array, in the structure of the tree."""
    if isinstance(tree, dict):
        return {key: numbers(x) for key, x in tree.items()}
    return [numbers(x) for x in tree] if isinstance(tree, list) else tree[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flat", [False, True], ids=["arrays", "flat"])
@pytest.mark.parametrize("name", TREES)
def test_gradients(name, flat, kind):
    arrays = filled(TREES[name], 0)
    params = flr.Flat(arrays) if flat else arrays
    opt = flr.SGD(params, lr=1.0)
    opt.step(turned(filled(TREES[name], 1), kind))
    opt.step(filled(TREES[name], 1))
    assert numbers(params.tree() if flat else params) == numbers(filled(TREES[name], -2))


def test_gradients_by_the_names_of_a_flat():
    params = flr.Flat({"n": {"a": np.zeros(2), "b": np.zeros(2)}})
    flr.SGD(params, lr=1.0).step({"n.b": np.full(2, 2.0), "n.a": np.full(2, 1.0)})
    assert params.buffer.tolist() == [-1.0, -1.0, -2.0, -2.0]


def test_parameters_whose_dict_changed_its_order():
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    opt = flr.SGD(params, lr=1.0)
    params["a"] = params.pop("a")
    assert list(params) == ["b", "a"]
    opt.step({"a": np.full(2, 1.0), "b": np.full(2, 2.0)})
    assert (params["a"].tolist(), params["b"].tolist()) == ([-1.0] * 2, [-2.0] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_rates_by_element(kind):
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    rates = {"a": np.full(2, 0.5), "b": np.full(2, 2.0)}
    flr.SGD(params, lr=1.0, lr_scale=turned(rates, kind)).step({"a": np.ones(2), "b": np.ones(2)})
    assert (params["a"].tolist(), params["b"].tolist()) == ([-0.5] * 2, [-2.0] * 2)


@pytest.mark.parametrize("kind", KINDS)
def test_state(kind):
    opt, other = (flr.SGD({"a": np.zeros(2), "b": np.zeros(2)}, lr=1.0, momentum=0.5) for _ in range(2))
    opt.step({"a": np.full(2, 1.0), "b": np.full(2, 2.0)})
    saved = opt.state_dict()
    other.load_state_dict({**saved, "state": {"momentum_buffer": turned(saved["state"]["momentum_buffer"], kind)}})
    buffer = other.state["momentum_buffer"]
    assert (buffer["a"].tolist(), buffer["b"].tolist()) == ([1.0] * 2, [2.0] * 2)


def test_structure_of_the_state_in_another_order():
    """Names, shapes and counts stay together, in the optimizer's order."""
    opt = flr.SGD({"a": np.zeros(2), "b": np.zeros(2)}, lr=1.0, momentum=0.5)
    opt.step({"a": np.full(2, 1.0), "b": None})
    saved = opt.state_dict()
    saved.update(structure=saved["structure"][::-1], counts=saved["counts"][::-1], carry=saved["carry"][::-1])
    saved["state"] = {"momentum_buffer": np.array([3.0, 4.0, 5.0, 6.0])}  # one buffer: b's, then a's
    opt.load_state_dict(saved)
    assert opt.state_dict()["counts"].tolist() == [1, 0]
    buffer = opt.state["momentum_buffer"]
    assert (buffer["a"].tolist(), buffer["b"].tolist()) == ([5.0, 6.0], [3.0, 4.0])
