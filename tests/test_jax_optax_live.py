"""pyfastlr.interop.jax against the live optax, in float64: every step of every optimizer that optax has."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from cases import CASES
from jax_runs import function_of, make
from oracles import STEPS, assert_same_run, other_process, problem, rates, runs, trajectories, weight_decay
from pyfastlr import schedules as S

if not (find_spec("jax") and find_spec("optax")):
    pytest.skip("jax or optax is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp
import optax

import pyfastlr.interop.jax as fj

OPTAX = [case for case in CASES if case.convention == "optax"]
RUN = problem(n=257, bank=101, seed=7)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


def whole_run(optimizer, fused):
    """Parameters after every step, in one program."""

    def body(carry, g):
        p, state = carry
        if fused:
            p, state = optimizer.apply(g, state, p)
        else:
            updates, state = optimizer.update(g, state, p)
            p = optax.apply_updates(p, updates)
        return (p, state), p

    @jax.jit
    def run(p, bank):
        gradients = bank[jnp.arange(STEPS) % len(bank)]
        return jax.lax.scan(body, (p, optimizer.init(p)), gradients)[1]

    return np.asarray(run(RUN.p, RUN.bank))


@pytest.mark.parametrize("case", OPTAX, ids=lambda case: case.name)
def test_every_step_is_optax_s(case, there):
    theirs = there.submit(trajectories, case, RUN)
    for decay in runs(case):
        lr = jnp.asarray(rates(case, RUN))
        options = {} if decay in ("none", case.decay) else {"decay": decay}
        rate = float(lr[0]) if case.row.lr == "start" else lr.__getitem__
        optimizer = make(case, rate, weight_decay=weight_decay(case, decay), **options)
        for fused in (True, False):
            assert_same_run(whole_run(optimizer, fused), theirs.result()[decay], RUN.p)


@pytest.mark.parametrize("case", [case for case in OPTAX if not case.kwargs], ids=lambda case: case.name)
def test_one_step_with_the_defaults_of_optax(case):
    """One update from the state of each of some steps, to 1e-13 of the largest one.

    RAdam's factor has a difference of two numbers near 2,000 in it, which is about 5 in the first updates.
    """
    lr, near = case.lr, 1e-10 if case.cls == "RAdam" else 1e-13
    ours, theirs = function_of(case.cls)(lr), getattr(optax, case.live.name)(lr)
    p = jnp.asarray(RUN.p)
    state, their_state = ours.init(p), theirs.init(p)
    for k in range(8):
        g = jnp.asarray(RUN.bank[k])
        got, state = ours.update(g, state, p)
        want, their_state = theirs.update(g, their_state, p)
        np.testing.assert_allclose(got, want, rtol=near, atol=1e-13 * float(jnp.abs(want).max()))
        p = p + want


P = {"w": RUN.p[:200].reshape(10, 20).copy(), "b": RUN.p[200:].copy()}
G = {"w": RUN.bank[:30, :200].reshape(30, 10, 20).copy(), "b": RUN.bank[:30, 200:].copy()}


def run_all(optimizer, p=P, gradients=G):
    def body(carry, g):
        p, state = carry
        updates, state = optimizer.update(g, state, p)
        return (optax.apply_updates(p, updates), state), None

    p = jax.tree.map(jnp.asarray, p)
    return jax.lax.scan(body, (p, optimizer.init(p)), jax.tree.map(jnp.asarray, gradients))[0][0]


def same(got, want):
    for x, y in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


LABELS = {"w": "a", "b": "b"}
RATE = optax.linear_schedule(1e-2, 1e-3, 20)
WRAPPED = {
    "chain": lambda m, adam: optax.chain(optax.clip_by_global_norm(1.0), adam(1e-2)),
    "chain after": lambda m, adam: optax.chain(adam(1e-2), optax.scale(0.5), optax.add_decayed_weights(0.01)),
    "masked": lambda m, adam: optax.masked(m.adamw(1e-2), {"w": True, "b": False}),
    "masked by a function": lambda m, adam: optax.masked(adam(1e-2), lambda p: {"w": False, "b": True}),
    "multi_transform": lambda m, adam: optax.multi_transform({"a": adam(1e-2), "b": optax.sgd(0.1)}, LABELS),
    "multi_transform with two": lambda m, adam: optax.multi_transform({"a": adam(1e-2), "b": m.lion(0.1)}, LABELS),
    "MultiSteps": lambda m, adam: optax.MultiSteps(adam(1e-2), 3),
    "apply_if_finite": lambda m, adam: optax.apply_if_finite(adam(1e-2), 2),
    "schedule": lambda m, adam: adam(RATE),
    "lookahead of states": lambda m, adam: optax.chain(adam(1e-2), optax.scale_by_schedule(RATE)),
    "partition": lambda m, adam: optax.partition({"a": m.adamw(1e-2), "b": optax.set_to_zero()}, LABELS),
    "mask": lambda m, adam: m.adamw(1e-2, weight_decay=0.1, mask={"w": True, "b": False}),
    "nadamw": lambda m, adam: m.nadamw(1e-2),
    "adamaxw": lambda m, adam: m.adamaxw(1e-2),
    "conditionally": lambda m, adam: optax.conditionally_transform(adam(1e-2), lambda step: step % 2 == 0),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_inside_optax_s_wrappers(name):
    wrapped = WRAPPED[name]
    same(run_all(wrapped(fj, fj.adam)), run_all(wrapped(optax, optax.adam)))


@pytest.mark.parametrize("rate", [1e-2, RATE], ids=["number", "schedule"])
def test_inject_hyperparams(rate):
    ours = optax.inject_hyperparams(fj.adam)(lr=rate)
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    same(run_all(ours), run_all(theirs))


def test_a_rate_set_in_the_state_is_used_and_compiles_nothing():
    optimizer = optax.inject_hyperparams(fj.sgd)(lr=0.5)
    p = jnp.ones(3)
    state, update = optimizer.init(p), jax.jit(optimizer.update)
    first, state = update(p, state)
    state.hyperparams["lr"] = state.hyperparams["lr"] * 0.5
    second, _ = update(p, state)
    assert (first.tolist(), second.tolist()) == ([-0.5] * 3, [-0.25] * 3)
    assert update._cache_size() == 1


def test_our_schedule_in_their_optimizer():
    schedule = S.Cosine(1e-2, steps=25).warmup(4)
    rate = jnp.asarray(schedule(np.arange(30)))
    same(run_all(optax.adam(fj.schedule(schedule))), run_all(optax.adam(lambda n: rate[n])))
    same(run_all(optax.inject_hyperparams(optax.adam)(fj.schedule(schedule))), run_all(optax.adam(lambda n: rate[n])))


def test_vmap():
    """One optimizer for many models: the counts, rates and states are those of each."""
    p = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), P)
    gradients = jax.tree.map(lambda x: jnp.stack([x, x * x, -x]), G)
    many = jax.vmap(lambda p, g: run_all(fj.adamw(RATE), p, g))(p, gradients)
    same(many, jax.vmap(lambda p, g: run_all(optax.adamw(RATE), p, g))(p, gradients))


def test_vmap_over_rates():
    def change(module, lr):
        optimizer = module.adam(lr)
        return optimizer.update(P, optimizer.init(P))[0]

    rates = jnp.array([0.1, 0.2, 0.3])
    same(jax.vmap(partial(change, fj))(rates), jax.vmap(partial(change, optax))(rates))


def test_vmap_of_the_fused_form_over_some_arguments():
    optimizer = fj.adam(0.1)
    p = jax.tree.map(jnp.asarray, P)
    state = optimizer.init(p)
    gradients = jax.tree.map(lambda x: jnp.asarray(x[:4]), G)
    many, states = jax.vmap(lambda g: optimizer.apply(g, state, p))(gradients)
    for k in range(4):
        one, _ = optimizer.apply(jax.tree.map(lambda x, k=k: x[k], gradients), state, p)
        for x, y in zip(*map(jax.tree.leaves, (many, one)), strict=True):
            assert np.asarray(x[k]).tobytes() == np.asarray(y).tobytes()
    assert states.count.tolist() == [1] * 4


def test_it_is_optax_s_type():
    optimizer = fj.adam(0.1)
    assert isinstance(optimizer, optax.GradientTransformationExtraArgs)
    assert optax.with_extra_args_support(optimizer) is optimizer
    init, update = optimizer
    assert (init, update) == (optimizer.init, optimizer.update)


def test_extra_arguments_of_others_are_ignored():
    optimizer = optax.chain(fj.adam(0.1), optax.scale_by_backtracking_linesearch(5))
    p, f = jnp.ones(3), lambda p: jnp.sum(p * p)
    state = optimizer.init(p)
    updates, _ = optimizer.update(2 * p, state, p, value=f(p), grad=2 * p, value_fn=f)
    assert f(p + updates) < f(p)
