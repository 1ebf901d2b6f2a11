"""pyfastlr's schedules inside programs of JAX: the bits of every schedule, under every transformation."""

from importlib.util import find_spec

import numpy as np
import pytest

from pyfastlr import schedules as S
from test_schedules_plain import ALL, inside

if not find_spec("jax"):
    pytest.skip("jax is not installed", allow_module_level=True)

import jax
import jax.numpy as jnp

import pyfastlr.interop.jax as fj

# One of each class, because each takes a second to compile; all are compiled in tests/test_schedules_compiled.py.
COMPILABLE = {type(s): s for s in ALL if not {"Custom", "MultiplicativeLR"} & {c.__name__ for c in inside(s)}}.values()
AT = np.array([*range(60), *range(64, 3000, 37), 10**6, 2**31 - 1], np.int32)


@pytest.mark.parametrize("s", COMPILABLE, ids=repr)
def test_every_schedule_to_the_bit(s):
    want = s(AT.astype(np.int64))
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(fj.schedule(s))(AT))
    assert (got.dtype, got.shape) == (np.float64, AT.shape)
    assert got.tobytes() == want.tobytes()
    with jax.enable_x64(False):
        got = np.asarray(fj.schedule(s)(AT[:50]))
    assert got.dtype == np.float32
    assert got.tobytes() == want[:50].astype(np.float32).tobytes()


COSINE = S.Cosine(0.1, steps=50).warmup(5)


def test_in_transformations():
    rate = fj.schedule(COSINE)
    want = COSINE(np.arange(60)).astype(np.float32)
    at = jnp.arange(60)
    for got in (
        jax.vmap(rate)(at),
        jax.jit(jax.vmap(jax.vmap(rate)))(at.reshape(6, 10)).ravel(),
        jax.lax.scan(lambda c, n: (c, rate(n)), 0, at)[1],
        jnp.stack([rate(n) for n in range(60)]),
        jax.lax.map(rate, at),
    ):
        assert np.asarray(got).tobytes() == want.tobytes()


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.int64, int])
def test_any_integer_is_a_count(kind):
    assert float(fj.schedule(COSINE)(kind(7))) == np.float32(COSINE(7))


def test_a_negative_count_is_zero():
    assert float(fj.schedule(S.Linear(0.5, 0.0, steps=4))(-3)) == 0.5


def test_a_schedule_of_the_user():
    class Own(S.Schedule):
        """A class of the user's."""

        def __init__(self, lr):
            super().__init__(lr=lr)

        @staticmethod
        def curve(n, lr):
            return lr / (1.0 + n) if n < 10 else 0.0

    own = Own(0.5) * 2.0
    assert [float(fj.schedule(own)(n)) for n in (0, 1, 10)] == [1.0, 0.5, 0.0]


def test_equal_schedules_share_their_code():
    from pyfastlr.interop.jax import calls

    first, second = (calls.schedule_target(S.Cosine(0.37, steps=9)) for _ in range(2))
    assert first is second
    assert calls.schedule_target(S.Cosine(0.38, steps=9)).name != first.name


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fj.schedule(0.1), TypeError, "`schedule` must be a schedule of pyfastlr, got 0.1"),
        (lambda: fj.schedule(S.Plateau(0.1)), TypeError, "`schedule` must be a schedule of pyfastlr, got Plateau"),
        (lambda: fj.schedule(0.5 * S.Custom(abs)), TypeError, "`schedule` must be made of schedules that can be"),
        (lambda: fj.schedule(COSINE)(0.5), TypeError, "`count` must be an integer, got float32"),
    ],
)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_schedule_that_is_called_with_a_traced_count_says_what_to_use():
    with pytest.raises(TypeError, match=r"got .*Tracer.*: inside a program of JAX, use pyfastlr.interop.jax.schedule"):
        jax.jit(lambda n: COSINE(n))(3)


def test_a_rate_has_no_derivative_by_the_count_but_does_not_hinder_others():
    rate = fj.schedule(COSINE)
    assert float(jax.grad(lambda x: x * rate(7))(2.0)) == np.float32(COSINE(7))
