"""Parameters in bfloat16 and float16 in the optimizers for JAX."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  # jax may be missing

import pyfastlr.interop.jax as fj  # noqa: E402

DTYPES = (jnp.bfloat16, jnp.float16)
MAKERS = {
    "adamw": lambda: fj.adamw(0.01, weight_decay=0.1),
    "sgd": lambda: fj.sgd(0.1, momentum=0.9),
    "nadam": lambda: fj.nadam(0.01),
    "lion": lambda: fj.lion(0.01),
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["bfloat16", "float16"])


def tree(dtype, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"w": (40, 30), "b": (3,), "scalar": ()}
    return {
        name: jnp.asarray(rng.standard_normal(shape).astype(np.float32)).astype(dtype) for name, shape in shapes.items()
    }


def wide(x):
    return jax.tree.map(lambda y: y.astype(jnp.float32), x)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


@each_dtype
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("compiled", [True, False])
def test_the_master_is_the_float32_parameter_of_the_same_gradients(name, dtype, compiled):
    optimizer, params = MAKERS[name](), tree(dtype)
    apply = jax.jit(optimizer.apply) if compiled else optimizer.apply
    plain, state = wide(params), optimizer.init(params)
    plain_state = optimizer.init(plain)
    for n in range(5):
        g = tree(dtype, seed=n + 1)
        params, state = apply(g, state, params)
        plain, plain_state = apply(wide(g), plain_state, plain)
        same(state.moments["master"], plain)
        same(params, jax.tree.map(lambda x: x.astype(dtype), plain))
        same({**state.moments, "master": None}, {**plain_state.moments, "master": None})


@each_dtype
@pytest.mark.parametrize("compiled", [True, False])
def test_updates_for_optax(dtype, compiled):
    """With `optax.apply_updates`, the parameters are those of `apply`."""
    optimizer, params = fj.adam(0.01), tree(dtype)
    chained = optax.chain(optax.identity(), optimizer)

    def step(params, state, g):
        updates, state = chained.update(g, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step) if compiled else step
    others, state, other_state = params, optimizer.init(params), chained.init(params)
    for n in range(5):
        g = tree(dtype, seed=n + 1)
        params, state = optimizer.apply(g, state, params)
        others, other_state = step(others, other_state, g)
        same(params, others)
        assert {str(x.dtype) for x in jax.tree.leaves(others)} == {jnp.dtype(dtype).name}


@each_dtype
def test_updates_below_the_last_place_are_not_lost(dtype):
    optimizer, params = fj.sgd(1e-4), {"w": jnp.ones(5, dtype)}

    @jax.jit
    def run(params, state):
        def body(_, pair):
            return optimizer.apply({"w": -jnp.ones(5, dtype)}, pair[1], pair[0])

        return jax.lax.fori_loop(0, 1000, body, (params, state))

    params, _ = run(params, optimizer.init(params))
    np.testing.assert_allclose(np.asarray(params["w"].astype(jnp.float32)), 1.1, atol=4e-3)


@each_dtype
def test_what_is_written_into_a_parameter_counts(dtype):
    optimizer, params = fj.sgd(0.5), {"w": jnp.full(5, 1.5, dtype)}
    g = {"w": jnp.ones(5, dtype)}
    params, state = optimizer.apply(g, optimizer.init(params), params)
    params, state = optimizer.apply(g, state, {"w": jnp.full(5, 3, dtype)})
    assert params["w"].tolist() == [2.5] * 5


def test_what_is_refused():
    optimizer, params = fj.adam(0.01), tree(jnp.bfloat16)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match="`params` must be given to `update` with gradients of bfloat16, got None"):
        optimizer.update(params, state)
    with pytest.raises(
        TypeError, match=r"`grads\['b'\]` must have the dtype of `params\['b'\]`, bfloat16, got float32"
    ):
        optimizer.apply(wide(params), state, params)
    with pytest.raises(ValueError, match="`state` must be the state that `init` returns for parameters of bfloat16"):
        optimizer.apply(params, optimizer.init(wide(params)), params)
    with pytest.raises(ValueError, match="`state` must be the state that `init` of this optimizer returns"):
        optimizer.apply(wide(params), state, wide(params))
