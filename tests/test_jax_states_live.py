"""A run that moves between a class and JAX, both ways, goes on as if it had stayed; wrong states are refused."""

from importlib.util import find_spec

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from jax_runs import make
from oracles import problem
from pyfastlr import schedules as S

if not find_spec("jax"):
    pytest.skip("jax is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp

import pyfastlr.interop.jax as fj

RUN = problem(n=12, bank=8, seed=2)
ONE_A_RULE = {case.make(np.ones(1)).rule: case for case in reversed(CASES)}.values()


def tree_of(flat):
    """Names whose order in a dict is not that of jax, which sorts them."""
    flat = np.array(flat)
    return {"z": {"w": flat[:6].reshape(2, 3)}, "a": [flat[6:8], flat[8:].copy()]}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("case", ONE_A_RULE, ids=lambda case: case.name)
def test_there_and_back(case):
    lr = case.schedule(S.Cosine(0.01, steps=20))
    stays, moves = tree_of(RUN.p), tree_of(RUN.p)
    opt, moving, optimizer = case.make(stays, lr), case.make(moves, lr), make(case, lr)
    for k in range(3):
        opt.step(tree_of(RUN.bank[k]))
        moving.step(tree_of(RUN.bank[k]))
    p = jax.tree.map(jnp.array, moves)
    state = fj.state_of(moving, p)
    for k in range(3, 6):
        opt.step(tree_of(RUN.bank[k]))
        p, state = optimizer.apply(jax.tree.map(jnp.array, tree_of(RUN.bank[k])), state, p)
    back = jax.tree.map(np.array, p)
    last = case.make(back, lr)
    fj.load_state(last, state)
    for k in range(6, 8):
        opt.step(tree_of(RUN.bank[k]))
        last.step(tree_of(RUN.bank[k]))
    assert last.steps == 8
    for x, y in zip(*map(jax.tree.leaves, (stays, back)), strict=True):
        assert x.tobytes() == y.tobytes()


def test_a_single_array():
    p = np.ones(3)
    opt = flr.Adam(p, 0.1)
    opt.step(np.ones(3))
    state = fj.state_of(opt, jnp.ones(3))
    assert state.moments["exp_avg"].shape == (3,)
    fj.load_state(other := flr.Adam(np.ones(3), 0.1), state)
    assert (other.steps, other.state["exp_avg"].tolist()) == (1, opt.state["exp_avg"].tolist())


P = {"w": np.ones(3), "b": np.ones(2)}


def adam(**arrays):
    return flr.Adam({**{name: x.copy() for name, x in P.items()}, **arrays}, 0.1)


def uneven():
    opt = adam()
    opt.step({"w": np.ones(3), "b": None})
    return opt


def state(optimizer=None, params=P):
    return (optimizer or fj.adam(0.1)).init(jax.tree.map(jnp.asarray, params))


REFUSED = {
    "no optimizer": (lambda: fj.state_of(fj.adam(0.1), P), TypeError, "`opt` must be an optimizer of pyfastlr"),
    "counts": (lambda: fj.state_of(uneven(), P), ValueError, r"one count for all arrays, got \[0, 1\]"),
    "unknown": (lambda: fj.state_of(adam(), {**P, "c": np.ones(1)}), ValueError, "'c' must be one of"),
    "missing": (lambda: fj.state_of(adam(), {"w": P["w"]}), ValueError, r"\['b'\] are missing"),
    "shape": (lambda: fj.state_of(adam(), {**P, "b": np.ones(4)}), ValueError, r"'b' must be float64\[2\], got"),
    "to no optimizer": (lambda: fj.load_state(None, state()), TypeError, "`opt` must be an optimizer of pyfastlr"),
    "no state": (lambda: fj.load_state(adam(), {}), ValueError, "`state` must be the State of Adam"),
    "other": (lambda: fj.load_state(adam(), state(fj.sgd(0.1))), ValueError, "`state` must be the State of Adam"),
    "carry": (lambda: fj.load_state(adam(), state(fj.nadam(0.1))), ValueError, "`state.carry` must have 0 numbers"),
    "names": (lambda: fj.load_state(adam(), state(params={"w": P["w"]})), ValueError, "must have the arrays"),
    "shapes": (
        lambda: fj.load_state(adam(), state(params={**P, "b": np.ones(4)})),
        ValueError,
        r"must be float64\[2\], got float64\[4\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
