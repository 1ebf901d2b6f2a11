"""What pyfastlr.interop.jax refuses: each error names the argument, what it must be, and what it got."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest

from pyfastlr import schedules as S

if not find_spec("jax"):
    pytest.skip("jax is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp

import pyfastlr.interop.jax as fj
from pyfastlr.interop.jax import calls

P = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
ADAM = fj.adam(0.1)
STATE = ADAM.init(P)
NADAM = fj.nadam(0.1).init(P)
HALF = {"w": P["w"], "b": P["b"].astype(jnp.bfloat16)}


def differentiated(wrap):
    return lambda: jax.grad(wrap(lambda p: ADAM.apply(P, STATE, p)[0]["w"].sum()))(P)


REFUSED = {
    "range": (lambda: fj.adam(-1.0), ValueError, "`lr` must be a finite number >= 0, got -1.0"),
    "no rate": (lambda: fj.adam(), ValueError, "`lr` must be given: optax's Adam has no default"),
    "type": (lambda: fj.adam("fast"), TypeError, "`lr` must be a finite number >= 0, a schedule or a callable, got"),
    "pair": (lambda: fj.adam(0.1, betas=0.9), TypeError, "`betas` must be a pair of numbers in"),
    "part of a pair": (
        lambda: fj.adam(0.1, betas=(0.9, 1.0)),
        ValueError,
        r"`betas\[1\]` must be a number in \[0, 1\)",
    ),
    "array as rate": (lambda: fj.adam(jnp.ones(2)), TypeError, r"`lr` must be a number, got an array of shape \(2,\)"),
    "complex": (
        lambda: fj.adam(jnp.complex64(1)),
        TypeError,
        "`lr` must be a number, got an array of shape .* complex64",
    ),
    "controller": (lambda: fj.adam(S.Plateau(0.1)), TypeError, "`lr` must be .*, got Plateau: .*reduce_on_plateau"),
    "callable inside": (lambda: fj.adam(0.5 * S.Custom(abs)), TypeError, "`lr` must be made of schedules that can be"),
    "traced flag": (lambda: fj.sgd(0.1, nesterov=jnp.bool_(1)), TypeError, "`nesterov` must be known .*static_args"),
    "traced start": (lambda: fj.rprop(jnp.float32(1)), TypeError, "`lr` of Rprop must be .*static_args"),
    "traced scale": (lambda: fj.adam(0.1, lr_scale=jnp.float32(1)), TypeError, "`lr_scale` must be known"),
    "scale of zero": (lambda: fj.adam(0.1, lr_scale=0), ValueError, "`lr_scale` must be a finite number > 0, got 0"),
    "scales": (lambda: fj.adam(0.1, lr_scale=P), TypeError, "`lr_scale` must be .*optax.masked.*got {'w'"),
    "flag": (lambda: fj.adam(0.1, maximize=1), TypeError, "`maximize` must be True or False, got 1"),
    "threads": (
        lambda: fj.adam(0.1, threads=0),
        ValueError,
        "`threads` must be None or an integer from 1 to 1024, got 0",
    ),
    "convention": (
        lambda: fj.radam(0.1, convention="keras"),
        ValueError,
        "`convention` of RAdam must be 'torch' or 'optax'",
    ),
    "decay": (lambda: fj.rprop(0.1, decay="decoupled"), ValueError, "`decay` of Rprop must be one of"),
    "not in the convention": (
        lambda: fj.sgd(0.1, dampening=0.5),
        ValueError,
        "`dampening` must be left out: optax's SGD",
    ),
    "clip_norm": (lambda: fj.adam(0.1, clip_norm=1.0), TypeError, r"`clip_norm`: put `optax.clip_by_global_norm`"),
    "ema": (lambda: fj.adam(0.1, ema_decay=0.9), TypeError, "`ema_decay`: keep an average of the parameters by"),
    "groups": (lambda: fj.adam(0.1, groups=[]), TypeError, "`groups`: use `optax.multi_transform`"),
    "nonfinite": (lambda: fj.adam(0.1, nonfinite="skip"), TypeError, "`nonfinite`: wrap it in `optax.apply_if_finite`"),
    "optax's name": (lambda: fj.adam(0.1, b1=0.8), TypeError, "adam.. got an unexpected argument `b1`: use `betas`"),
    "learning_rate": (
        lambda: fj.adam(learning_rate=0.1),
        TypeError,
        "`learning_rate`: use `lr`, or give it as the first",
    ),
    "misspelt": (lambda: fj.adam(0.1, epz=1), TypeError, "unexpected argument `epz`.*`eps`"),
    "positional": (lambda: fj.adam(0.1, (0.9, 0.99)), TypeError, r"adam\(\) takes 1 positional argument \(lr\), got 2"),
    "dtype": (
        lambda: ADAM.init(HALF),
        TypeError,
        r"`params` must have one dtype, got bfloat16 and, in `params\['w'\]`, float32",
    ),
    "integers": (lambda: ADAM.init({"n": jnp.arange(3)}), TypeError, r"`params\['n'\]` must be float32, .*, got int32"),
    "no array": (lambda: ADAM.init({"n": "x"}), TypeError, r"`params\['n'\]` must be an array, got str"),
    "structure": (
        lambda: ADAM.update({"w": P["w"]}, STATE, P),
        ValueError,
        "`grads` must have the structure of `params`",
    ),
    "None": (
        lambda: ADAM.update({**P, "b": None}, STATE, P),
        ValueError,
        "`grads` must have the structure .*optax.masked",
    ),
    "shape": (
        lambda: ADAM.update({**P, "b": jnp.ones(4)}, STATE, P),
        ValueError,
        r"`grads\['b'\]` must have the shape of `params\['b'\]`, \(3,\), got \(4,\)",
    ),
    "state's shape": (
        lambda: ADAM.update({**P, "b": jnp.ones(4)}, STATE),
        ValueError,
        r"`state.moments\['exp_avg'\]\['b'\]` must have the shape of `grads\['b'\]`, \(4,\), got \(3,\)",
    ),
    "other state": (lambda: ADAM.update(P, fj.sgd(0.1).init(P)), ValueError, "`state` must be the state that `init`"),
    "no state": (lambda: ADAM.update(P, {}), ValueError, "`state` must be the state that `init` .*got {}"),
    "count": (lambda: ADAM.update(P, STATE._replace(count=jnp.ones(2))), ValueError, "`state.count` must be an int32"),
    "count of Python": (lambda: ADAM.update(P, STATE._replace(count=1)), ValueError, "`state.count` must be .*, got 1"),
    "other carry": (
        lambda: fj.nadam(0.1).update(P, NADAM._replace(carry=jnp.ones((1, 2)))),
        ValueError,
        "`state.carry` must have 1 numbers, each as two uint32, got",
    ),
    "carry in a list": (lambda: fj.nadam(0.1).update(P, NADAM._replace(carry=[1])), ValueError, "two uint32, got .1."),
    "carry": (
        lambda: ADAM.update(P, STATE._replace(carry=jnp.ones((1, 2)))),
        ValueError,
        "`state.carry` must be None, got",
    ),
    "no parameters": (
        lambda: fj.adamw(0.1).update(P, STATE),
        ValueError,
        "`params` must be given to `update`, because we",
    ),
    "no parameters to set": (
        lambda: fj.ftrl(0.1).update(P, STATE),
        ValueError,
        "`params` must be given .*because FTRL",
    ),
    "nothing to apply to": (
        lambda: ADAM.apply(P, STATE, None),
        ValueError,
        "`params` must be a tree of arrays, got None",
    ),
    "inv_scale": (lambda: ADAM.update(P, STATE, inv_scale=0.0), ValueError, "`inv_scale` must be a finite number > 0"),
    "rates": (
        lambda: fj.adam(lambda n: P["b"]).update(P, STATE),
        TypeError,
        "`lr` must be a number at every count, got",
    ),
    "no rate at a count": (
        lambda: fj.adam(lambda n: None).update(P, STATE),
        TypeError,
        "`lr` must be a number at every count, got None",
    ),
    "mask's structure": (
        lambda: fj.adamw(0.1, mask={"w": True}).update(P, STATE, P),
        ValueError,
        "`mask` must have the structure of `params`",
    ),
    "mask's values": (
        lambda: fj.adamw(0.1, mask={"w": True, "b": 1}).update(P, STATE, P),
        TypeError,
        "`mask` must have True or False for each array, got 1",
    ),
    "grad": (differentiated(lambda f: f), NotImplementedError, r"a step of pyfastlr \(adam\) cannot be differentiated"),
    "grad of jit": (
        differentiated(jax.jit),
        NotImplementedError,
        "cannot be differentiated: .* optax's own optimizer .* `jax.lax.stop_gradient`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


def test_two_dtypes_are_refused():
    with jax.enable_x64(True), pytest.raises(TypeError, match="must have one dtype, got float32 and, in `params"):
        ADAM.init([jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float64)])


def test_gradients_of_another_dtype_are_refused():
    with jax.enable_x64(True):
        p, g = jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float64)
        state = ADAM.init(p)
        with pytest.raises(TypeError, match=r"`grads` must have the dtype of `params`, float32"):
            ADAM.update(g, state, p)


def test_gradients_before_and_beside_a_step_are_free():
    """Only a derivative through the step itself is refused."""

    @jax.jit
    def step(p, state):
        loss, g = jax.value_and_grad(lambda p: jnp.sum(p["w"] ** 2) + jnp.sum(p["b"] ** 2))(p)
        return loss, *ADAM.apply(g, state, p)

    loss, p, _ = step(P, STATE)
    assert float(loss) == 9.0
    np.testing.assert_allclose(p["w"], 0.9, rtol=1e-6)


# --- Where XLA cannot call the code -----------------------------------------------------------------------------------


@pytest.fixture
def through_python(monkeypatch):
    monkeypatch.setattr(calls.registry, "problem", "a reason")
    monkeypatch.setattr(calls, "_warned", [])


@pytest.mark.parametrize("name", ["sgd", "adamw", "nadam", "ftrl"])
def test_through_python_the_bits_are_the_same(name, monkeypatch):
    rng = np.random.default_rng(1)
    p = {"w": jnp.asarray(rng.normal(size=(4, 5)), jnp.float32), "none": jnp.ones((0, 2)), "x": jnp.float32(3.0)}
    optimizer = fj.OPTIMIZERS[name](S.Cosine(0.1, steps=9))

    def run():
        q, state = p, optimizer.init(p)
        for _ in range(4):
            q, state = jax.jit(optimizer.apply)(q, state, q)
            updates, state = optimizer.update(q, state, q)
            q = jax.tree.map(jnp.add, q, updates)
        many = jax.vmap(lambda k: optimizer.apply(jax.tree.map(lambda x: k * x, q), state, q))(jnp.arange(3.0))
        return jax.tree.leaves((q, state, many))

    direct = run()
    monkeypatch.setattr(calls.registry, "problem", "a reason")
    monkeypatch.setattr(calls, "_warned", [])
    with pytest.warns(RuntimeWarning, match=r"calls Python from compiled programs, which is slow: a reason") as found:
        called = run()
    (warning,) = (x for x in found if x.category is RuntimeWarning)
    assert warning.filename == __file__  # the user's line
    for x, y in zip(direct, called, strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def test_it_warns_only_once(through_python):
    with pytest.warns(RuntimeWarning, match="a reason"):
        ADAM.update(P, STATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fj.sgd(0.1).update(P, fj.sgd(0.1).init(P))
        fj.schedule(S.Cosine(0.1, steps=9))(3)


@pytest.mark.parametrize("size", [1000, 300_000])
def test_schedules_and_large_arrays_through_python(through_python, size):
    optimizer = fj.adam(S.Linear(0.1, 0.0, steps=4))
    p = jnp.ones(size)
    with pytest.warns(RuntimeWarning, match="a reason"):
        q, state = jax.jit(optimizer.apply)(p, optimizer.init(p), p)
    np.testing.assert_allclose(q, 0.9, rtol=1e-6)
    assert int(state.count) == 1


def test_an_old_jax_has_no_ffi(monkeypatch):
    monkeypatch.setattr(calls, "_warned", [])
    monkeypatch.delattr(jax, "ffi")
    with pytest.warns(RuntimeWarning, match="has no jax.ffi"):
        ADAM.update(P, STATE)


def test_a_jaxlib_that_refuses_the_code(monkeypatch):
    def refuse(*arguments, **options):
        raise ValueError("another version")

    monkeypatch.setattr(calls, "_warned", [])
    monkeypatch.setattr(calls, "registry", calls._Registry())
    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    with pytest.warns(RuntimeWarning, match="jaxlib refuses the code: another version"):
        ADAM.update(P, STATE)


def test_arrays_on_another_device_are_refused(monkeypatch):
    class Device:
        platform = "gpu"

    class Elsewhere:
        dtype, shape = jnp.float32, (3,)

        def devices(self):
            return {Device()}

    from pyfastlr.interop.jax.trees import Leaves, check_on_cpu

    with pytest.raises(ValueError, match=r"`params\['w'\]` must be on the CPU, got an array on gpu"):
        check_on_cpu(Leaves("params", [Elsewhere()], None, {"w": 0.0}))
