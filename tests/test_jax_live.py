"""pyfastlr.interop.jax: the bits of the classes for every optimizer, convention and dtype, however it is called."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from jax_runs import carry_of, function_of, make
from oracles import problem, run_lr, runs, weight_decay
from pyfastlr import schedules as S

if not find_spec("jax"):
    pytest.skip("jax is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp

import pyfastlr.interop.jax as fj

STEPS = 12
RUN = problem(n=60, bank=STEPS, seed=11)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def tree_of(flat):
    """Arrays of several shapes, nested; one is empty and one has no dimensions."""
    return {"a": {"w": flat[:24].reshape(2, 3, 4), "none": flat[:0].reshape(0, 3)}, "b": [flat[24:59], flat[59]]}


def own(tree):
    """Copies that nothing else holds, as jax's arrays."""
    return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)


def same_bits(ours, theirs):
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        assert (x.shape, x.dtype) == (np.shape(y), np.asarray(y).dtype)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def leaves(opt, tree):
    """State of an optimizer by the names of a State."""
    return {name: jax.tree.map(np.asarray, x) for name, x in opt.state.items()} if tree else {}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_of_the_class(case, dtype):
    """`apply` under jit with a schedule, and `update` with the sum that optax makes, for each kind of decay."""
    import optax

    gradients = RUN.bank.astype(dtype)
    lr = case.schedule(S.Cosine(run_lr(case), steps=STEPS + 5).warmup(3, start=run_lr(case) / 3))
    for decay in runs(case):
        options = {} if decay in ("none", case.decay) else {"decay": decay}
        options |= {"weight_decay": weight_decay(case, decay)}
        start = tree_of(RUN.p.astype(dtype))
        theirs = jax.tree.map(lambda x: np.array(x, copy=True), start)
        opt, optimizer = case.make(theirs, lr, **options), make(case, lr, **options)
        fused = own(start), optimizer.init(own(start))
        added = own(start), optimizer.init(own(start))
        apply = jax.jit(optimizer.apply, donate_argnums=(1, 2))
        update = jax.jit(optimizer.update)
        for k in range(STEPS):
            g = own(tree_of(gradients[k]))
            opt.step(jax.tree.map(np.asarray, g))
            fused = apply(g, fused[1], fused[0])
            if case.row.sets and k:
                continue  # p + (q - p) is not always q
            updates, state = update(g, added[1], added[0])
            added = optax.apply_updates(added[0], updates), state
            if case.row.sets:
                for x, y, p in zip(*map(jax.tree.leaves, (added[0], theirs, start)), strict=True):
                    assert (np.abs(x - y) <= np.spacing(np.maximum(np.abs(p), np.abs(y)))).all()
        for params, state in (fused,) if case.row.sets else (fused, added):
            same_bits(params, theirs)
            assert int(state.count) == STEPS
            carry = carry_of(opt)
            assert (state.carry is None) == (carry is None)
            if carry is not None:
                assert np.asarray(state.carry).tobytes() == carry.tobytes()
            assert list(state.moments) == sorted(opt.state)
            same_bits(state.moments, dict(sorted(opt.state.items())))


def adam_run(optimizer, p, gradients, call):
    """Parameters after some steps of `call(optimizer, g, state, p) -> (p, state)`."""
    state = optimizer.init(p)
    for g in gradients:
        p, state = call(optimizer, g, state, p)
    return p, state


def expected(p, gradients, make=flr.Adam, lr=0.1, **options):
    theirs = np.array(p, copy=True)
    opt = make(theirs, lr, convention="optax", **options)
    for g in gradients:
        opt.step(np.asarray(g))
    return theirs


P = RUN.p.astype(np.float32)
G = [jnp.asarray(g.astype(np.float32)) for g in RUN.bank]


def test_eager_jitted_scanned_and_donated_agree():
    optimizer, want = fj.adam(0.1), expected(P, G)
    eager, _ = adam_run(optimizer, own(P), G, lambda o, g, s, p: o.apply(g, s, p))
    jitted, _ = adam_run(optimizer, own(P), G, lambda o, g, s, p: jax.jit(o.apply)(g, s, p))

    @jax.jit
    def scanned(p, gradients):
        def body(carry, g):
            p, state = carry
            return optimizer.apply(g, state, p), None

        return jax.lax.scan(body, (p, optimizer.init(p)), gradients)[0][0]

    for got in (eager, jitted, scanned(own(P), jnp.stack(G))):
        assert np.asarray(got).tobytes() == want.tobytes()


def test_without_donation_the_inputs_stay():
    optimizer = fj.adam(0.1)
    p, g = own(P), own(G[0])
    state = optimizer.init(p)
    before = [np.array(x) for x in jax.tree.leaves((p, g, state))]
    jax.jit(optimizer.apply)(g, state, p)
    jax.jit(optimizer.update)(g, state, p)
    optimizer.apply(g, state, p)
    optimizer.update(g, state)
    same_bits((p, g, state), before)


@pytest.mark.parametrize("name", ["sgd", "adam", "amsgrad", "asgd", "ftrl", "nadam"])
def test_donated_buffers_are_updated_in_place(name):
    """JAX gives a result the first donated buffer of its shape, so arguments and results must have the same order."""
    optimizer = fj.OPTIMIZERS[name](0.1)
    p = {"w": jnp.ones((30, 40)), "b": jnp.ones(50)}
    state = optimizer.init(p)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(p, state):
        return optimizer.apply(jax.tree.map(lambda x: 0.5 * x, p), state, p)

    def addresses():
        return [x.unsafe_buffer_pointer() for x in jax.tree.leaves((p, state))]

    given = addresses()
    for _ in range(3):
        p, state = step(p, state)
        assert addresses() == given


def test_donated_in_another_order_is_right():
    optimizer = fj.adam(0.1)
    apply = jax.jit(optimizer.apply, donate_argnums=(1, 2))
    got, _ = adam_run(optimizer, own(P), G, lambda o, g, s, p: apply(g, s, p))
    assert np.asarray(got).tobytes() == expected(P, G).tobytes()


def test_a_rate_that_is_an_argument_compiles_once():
    traced = []

    @jax.jit
    def step(g, state, p, lr):
        traced.append(lr)
        return fj.adam(lr).apply(g, state, p)

    p, state = own(P), fj.adam(0.1).init(P)
    opt = flr.Adam(theirs := P.copy(), 1.0, convention="optax")
    for k, g in enumerate(G):
        opt.lr = 0.1 / (k + 1)
        opt.step(np.asarray(g))
        p, state = step(g, state, p, jnp.asarray(0.1 / (k + 1), jnp.float64))
    assert np.asarray(p).tobytes() == theirs.tobytes()
    assert len(traced) == step._cache_size() == 1


def test_all_hyperparameters_may_be_traced():
    options = {"betas": (0.8, 0.99), "eps": 1e-7, "weight_decay": 0.01}

    @jax.jit
    def step(g, state, p, lr, b1, b2, eps, wd):
        return fj.adamw(lr, betas=(b1, b2), eps=eps, weight_decay=wd).apply(g, state, p)

    p, state = own(P), fj.adamw(0.1).init(P)
    for g in G:
        p, state = step(g, state, p, *map(jnp.float64, (0.1, 0.8, 0.99, 1e-7, 0.01)))
    assert np.asarray(p).tobytes() == expected(P, G, flr.AdamW, **options).tobytes()


@pytest.mark.parametrize("kind", [jnp.int32, jnp.float16, jnp.bfloat16])
def test_rates_of_other_dtypes_are_converted(kind):
    got, _ = adam_run(fj.sgd(kind(2)), own(P), G, lambda o, g, s, p: o.apply(g, s, p))
    assert np.asarray(got).tobytes() == expected(P, G, flr.SGD, 2.0).tobytes()


@pytest.mark.parametrize(
    "lr",
    [S.Cosine(0.1, steps=9).warmup(2), lambda n: 0.1 / (n + 1.0)],
    ids=["ours", "callable of the count"],
)
def test_schedules(lr):
    got, _ = adam_run(fj.adam(lr), own(P), G, lambda o, g, s, p: jax.jit(o.apply)(g, s, p))
    assert np.asarray(got).tobytes() == expected(P, G, lr=lr).tobytes()


def test_our_schedules_keep_their_bits_without_float64():
    """The rate is float64 inside the program, which itself has none."""
    with jax.enable_x64(False):
        lr = S.Cosine(0.1, steps=9).warmup(2)
        got, state = adam_run(fj.nadam(lr), own(P), G, lambda o, g, s, p: jax.jit(o.apply)(g, s, p))
        assert np.asarray(got).tobytes() == expected(P, G, flr.NAdam, lr=lr).tobytes()
        assert {str(x.dtype) for x in jax.tree.leaves(state)} == {"int32", "uint32", "float32"}


def test_scheduled_betas_and_decay():
    options = {"betas": (S.Linear(0.5, 0.9, steps=8), 0.99), "weight_decay": S.Linear(0.1, 0.0, steps=5)}
    got, _ = adam_run(fj.adamw(0.1, **options), own(P), G, lambda o, g, s, p: o.apply(g, s, p))
    assert np.asarray(got).tobytes() == expected(P, G, flr.AdamW, **options).tobytes()


@pytest.mark.parametrize("scale", [0.125, jnp.float32(0.125)], ids=["number", "traced"])
@pytest.mark.parametrize("maximize", [False, True])
def test_inv_scale_and_maximize(scale, maximize):
    optimizer = fj.adam(0.1, maximize=maximize)
    p, state = own(P), optimizer.init(P)
    theirs = P.copy()
    opt = flr.Adam(theirs, 0.1, convention="optax", maximize=maximize)
    for g in G:
        p, state = jax.jit(optimizer.apply)(g, state, p, inv_scale=scale)
        opt.step(np.asarray(g), inv_scale=0.125)
    assert np.asarray(p).tobytes() == theirs.tobytes()


def test_lr_scale():
    got, _ = adam_run(fj.adam(0.1, lr_scale=0.3), own(P), G, lambda o, g, s, p: o.apply(g, s, p))
    assert np.asarray(got).tobytes() == expected(P, G, lr_scale=0.3).tobytes()


@pytest.mark.parametrize("as_function", [False, True])
def test_mask(as_function):
    mask = {"w": True, "b": False}
    optimizer = fj.adamw(0.1, weight_decay=0.3, mask=(lambda p: mask) if as_function else mask)
    start = {"w": P[:40].copy(), "b": P[40:].copy()}
    theirs = jax.tree.map(np.copy, start)
    opt = flr.AdamW(theirs, 0.1, weight_decay=0.3, convention="optax", groups=[{"params": ["b"], "weight_decay": 0.0}])
    p, state = own(start), optimizer.init(start)
    for g in G:
        grads = {"w": g[:40], "b": g[40:]}
        opt.step(jax.tree.map(np.asarray, grads))
        p, state = optimizer.apply(grads, state, p)
    same_bits(p, theirs)


def test_trees_without_arrays():
    optimizer = fj.adam(0.1)
    for tree in ({}, [], None, {"a": None}):
        if tree is None:
            continue
        state = optimizer.init(tree)
        updates, state = optimizer.update(tree, state, tree)
        assert updates == tree
        assert int(state.count) == 1


def test_none_in_the_trees_is_no_array():
    """As in optax: None is a part of the structure, so it must be in parameters and gradients alike."""
    optimizer = fj.adam(0.1)
    p = {"w": own(P), "frozen": None}
    state = optimizer.init(p)
    p, state = optimizer.apply({"w": G[0], "frozen": None}, state, p)
    assert p["frozen"] is None
    assert np.asarray(p["w"]).tobytes() == expected(P, G[:1]).tobytes()


def test_numpy_arrays_and_numbers_are_parameters():
    optimizer = fj.sgd(0.5)
    p = {"w": np.ones(3, np.float32), "b": np.float32(2.0)}
    p, _ = optimizer.apply({"w": np.ones(3, np.float32), "b": np.float32(2.0)}, optimizer.init(p), p)
    assert (p["w"].tolist(), float(p["b"])) == ([0.5, 0.5, 0.5], 1.0)


def test_initial_values():
    optimizer = fj.adagrad(0.1, initial_accumulator_value=0.25)
    assert np.asarray(optimizer.init(P).moments["sum"]).tolist() == [0.25] * len(P)
    assert np.asarray(fj.rprop(0.1).init(P).moments["step_size"]).tolist() == [np.float32(0.1)] * len(P)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(threads):
    """A million elements; each call uses the pool."""
    rng = np.random.default_rng(0)
    p = rng.normal(size=1_000_003).astype(np.float32)
    gradients = [jnp.asarray(rng.normal(size=p.size).astype(np.float32)) for _ in range(2)]
    optimizer = fj.adam(0.1, threads=threads)
    got, _ = adam_run(optimizer, own(p), gradients, lambda o, g, s, x: jax.jit(o.apply)(g, s, x))
    assert np.asarray(got).tobytes() == expected(p, gradients).tobytes()


@pytest.mark.parametrize("cls", [cls.__name__ for cls in flr.optimizers.registry])
def test_every_class_has_a_function_with_its_arguments(cls):
    import inspect

    function, declared = function_of(cls), getattr(flr, cls)
    names = list(inspect.signature(function).parameters)
    own = [x for x in declared.fields if x not in flr.optimizers.options.Options.fields]
    common = ["weight_decay", "decay", "mask", "lr_scale", "convention", "maximize", "threads"]
    assert names == list(dict.fromkeys(["lr", *own, *common]))
    for name in names:
        assert f"\n{name} : " in function.__doc__
    assert function.__doc__.startswith(declared.__doc__.splitlines()[0])
