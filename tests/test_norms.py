"""`global_norm` and `clip_by_global_norm` of `pyfastlr.kernels`: bits of the definition, factors of other libraries."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
from numba import njit, prange

import sums
from oracles import keras_in_float64, other_process
from pyfastlr import kernels
from pyfastlr.kernels.norms import NORMS, SIGNATURES
from test_rules import same_bits
from test_sums import DTYPES, SIZES, numbers

CONVENTIONS = ("torch", "keras", "optax")


@njit
def jitted_norm(arrays):
    return kernels.global_norm(arrays)


@njit
def jitted_clip(arrays, max_norm):
    return kernels.clip_by_global_norm(arrays, max_norm, convention="optax")


def factor(norm, max_norm, convention):
    """Factor as the documentation has it, for finite numbers."""
    return min(1.0, max_norm / (norm + 1e-6)) if convention == "torch" else max_norm / max(norm, max_norm)


# --- The norm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_norm_of_an_array_has_the_bits_of_its_definition(n, dtype):
    x = numbers(n, dtype)
    assert kernels.global_norm(x) == jitted_norm(x) == sums.norm([x])


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_of_several_arrays_of_any_shapes(dtype):
    flat = [numbers(n, dtype, n) for n in (1, 2000, 0, 24, 1030)]
    arrays = (flat[0].reshape(()), flat[1].reshape(50, 40), flat[2], flat[3].reshape(2, 3, 4), flat[4])
    assert kernels.global_norm(arrays) == jitted_norm(arrays) == sums.norm(flat)
    assert kernels.global_norm(tuple(flat)) == sums.norm(flat)
    assert kernels.global_norm(tuple(flat[::-1])) == sums.norm(flat[::-1])
    assert kernels.global_norm(()) == 0.0


def test_temporary_arrays_live_until_the_sum_is_done():
    """The sum has their addresses only."""

    @njit
    def norm(x):
        total = 0.0
        for _ in range(20):
            total += kernels.global_norm((x * 2.0, x + 1.0))
            total += kernels.global_norm(x - 3.0)
        return total

    x = np.random.default_rng(0).standard_normal(100_000)
    total = 0.0
    for _ in range(20):
        total += kernels.global_norm((x * 2.0, x + 1.0))
        total += kernels.global_norm(x - 3.0)
    assert norm(x) == total


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_numbers_that_are_not_finite(dtype):
    for at in (0, 17, 1024, 2999):
        x = np.ones(3000, dtype)
        x[at] = -np.inf
        assert kernels.global_norm(x) == math.inf
        x[2998] = np.nan
        assert math.isnan(kernels.global_norm(x))
    assert kernels.global_norm(np.full(3000, -0.0, dtype)) == 0.0


def test_float32_norms_do_not_overflow_or_underflow():
    for value in (1e30, 3e38, 1e-30, 1e-45):
        x = np.full(10_000, value, np.float32)
        assert kernels.global_norm(x) == pytest.approx(100.0 * float(x[0]), rel=1e-15)


@pytest.mark.parametrize("size", [1e-323, 1e-310, 1e-200, 1e-154, 1e-146, 1e-145, 1.0, 1e150, 1e154, 1e200, 1e305])
def test_float64_norms_do_not_overflow_or_underflow(size):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(5000) * size
    got = kernels.global_norm(x)
    assert got == sums.norm([x])
    scale = float(np.abs(x).max())
    want = math.sqrt(math.fsum((x / scale) ** 2)) * scale
    assert got == pytest.approx(want, rel=4e-15, abs=5e-324)


def test_a_float64_norm_is_infinite_only_above_the_largest_number():
    assert kernels.global_norm(np.full(2, 1.2e308)) == pytest.approx(math.sqrt(2) * 1.2e308)
    assert kernels.global_norm(np.full(4, 1.2e308)) == math.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_alignment(dtype):
    """Of bytes too: numba does not tell an array that numpy calls unaligned from others."""
    x = np.random.default_rng(0).standard_normal(5000).astype(dtype)
    clipped = x.copy()
    norm = kernels.clip_by_global_norm(clipped, 1.0)
    assert norm == sums.norm([x])
    room = np.zeros(x.nbytes + 65, np.uint8)
    for offset in (*range(9), 16, 32, 63, 64, 65):
        y = room[offset : offset + x.nbytes].view(dtype)
        y[:] = x
        assert kernels.clip_by_global_norm(y, 1.0) == norm
        assert same_bits(y, clipped)


# --- Clipping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_clipped_arrays_have_the_bits_of_the_formula(convention, dtype):
    rng = np.random.default_rng(2)
    for size in (1e-3, 1.0, 1e20):
        arrays = tuple(np.array(size * rng.standard_normal(shape), dtype) for shape in [(50, 40), (), (1030,)])
        norm = sums.norm([x.ravel() for x in arrays])
        want = [x * np.dtype(dtype).type(factor(norm, 0.5, convention)) for x in arrays]
        assert kernels.clip_by_global_norm(arrays, 0.5, convention=convention) == norm
        assert all(same_bits(np.asarray(x), np.asarray(y)) for x, y in zip(arrays, want, strict=True))


def test_jitted_and_python_clips_are_equal():
    rng = np.random.default_rng(4)
    for size in (1e-3, 10.0):
        x = size * rng.standard_normal((70, 30))
        y = x.copy()
        assert jitted_clip((x,), 2) == kernels.clip_by_global_norm(y, np.float32(2), convention="optax")
        assert same_bits(x, y)
        assert kernels.global_norm(x) <= 2 * (1 + 1e-15)


@pytest.mark.parametrize("convention", [None, *CONVENTIONS])
def test_what_is_small_enough_keeps_its_bits(convention):
    x = np.array([3.0, -4.0, -0.0])
    y = x.copy()
    for most in (5.1, 1e300, math.inf):
        assert kernels.clip_by_global_norm(x, most, convention=convention) == 5.0
    assert same_bits(x, y)
    if convention != "torch" and convention is not None:  # torch's 1e-6 clips a norm of exactly max_norm
        assert kernels.clip_by_global_norm(x, 5.0, convention=convention) == 5.0
        assert same_bits(x, y)
    zeros = np.zeros(5)
    assert kernels.clip_by_global_norm(zeros, 1e-300, convention=convention) == 0.0
    assert not zeros.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_nan_never_switches_clipping_off(convention, dtype):
    x = np.full(40, 100.0, dtype)
    x[7] = np.nan
    assert math.isnan(kernels.clip_by_global_norm(x, 1.0, convention=convention))
    assert np.isnan(x).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_infinite_norm(convention):
    x = np.array([1.0, np.inf, -2.0])
    assert kernels.clip_by_global_norm(x, 1.0, convention=convention) == math.inf
    nan = math.nan
    assert same_bits(x, np.array([nan] * 3 if convention == "keras" else [0.0, nan, -0.0]))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_infinite_max_norm_never_clips(convention):
    for bad in (np.inf, np.nan):
        x = np.array([1.0, bad, -2.0])
        y = x.copy()
        kernels.clip_by_global_norm(x, math.inf, convention=convention)
        assert same_bits(x, y)


def test_clipped_gradients_of_1e30_are_finite():
    x = np.full(10_000, 1e30, np.float32)
    assert kernels.clip_by_global_norm(x, 1.0) == pytest.approx(1e32)
    assert kernels.global_norm(x) == pytest.approx(1.0, rel=1e-7)


# --- The live libraries ----------------------------------------------------------------------------------------------

SHAPES = ((50, 40), (7,), (1030,))


def gradients(dtype, size):
    rng = np.random.default_rng(11)
    return [(size * rng.standard_normal(shape)).astype(dtype) for shape in SHAPES]


def of_torch(arrays, most):
    import torch

    tensors = [torch.zeros(x.shape, dtype=torch.from_numpy(x).dtype, requires_grad=True) for x in arrays]
    for tensor, x in zip(tensors, arrays, strict=True):
        tensor.grad = torch.from_numpy(x.copy())
    norm = torch.nn.utils.clip_grad_norm_(tensors, most)
    return float(norm), [tensor.grad.numpy() for tensor in tensors]


def of_optax(arrays, most):
    keras_in_float64()  # sets jax's mode
    import optax

    clipped, _ = optax.clip_by_global_norm(most).update(arrays, optax.EmptyState())
    return float(optax.tree.norm(arrays)), [np.asarray(x) for x in clipped]


def of_keras(arrays, most):
    keras = keras_in_float64()
    from keras.src.optimizers.base_optimizer import global_norm

    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=most)
    return float(global_norm(arrays)), [np.asarray(x) for x in optimizer._clip_gradients(arrays)]


LIVE = {"torch": (of_torch, ("torch",)), "optax": (of_optax, ("optax", "keras")), "keras": (of_keras, ("keras", "jax"))}
# Theirs compute float32 norms in float32, with errors of some ulps of 6e-8 in the norm.
BOUNDS = {"float64": 1e-12, "float32": 1e-6}


@pytest.fixture(scope="module")
def there():
    with other_process() as executor:
        yield executor


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_norm_and_clipped_arrays_are_those_of_the_library(convention, dtype, there):
    clip, needs = LIVE[convention]
    if not all(map(find_spec, needs)):
        pytest.skip(f"needs {' and '.join(needs)}")
    for size in (1e-4, 1.0, 1e4):
        ours = gradients(dtype, size)
        norm, theirs = there.submit(clip, ours, 1.5).result()
        assert kernels.clip_by_global_norm(tuple(ours), 1.5, convention=convention) == pytest.approx(
            norm, rel=BOUNDS[dtype]
        )
        for x, y in zip(ours, theirs, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, rtol=BOUNDS[dtype], atol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_numbers_that_are_not_finite_do_what_they_do_in_the_library(convention, bad, there):
    clip, needs = LIVE[convention]
    if not all(map(find_spec, needs)):
        pytest.skip(f"needs {' and '.join(needs)}")
    ours = gradients("float64", 1.0)
    ours[1][3] = bad
    norm, theirs = there.submit(clip, ours, 1.5).result()
    got = kernels.clip_by_global_norm(tuple(ours), 1.5, convention=convention)
    assert same_bits(np.array(got), np.array(norm))
    assert all(same_bits(x, y) for x, y in zip(ours, theirs, strict=True))


# --- What is refused, flags ------------------------------------------------------------------------------------------

X = np.ones((4, 6))
READONLY = np.ones(4)
READONLY.flags.writeable = False
NEED = "must be a C-contiguous, writeable float32 or float64 array"


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (TypeError, f"`arrays` {NEED}, got array.int64", (np.ones(3, np.int64), 1.0)),
        (TypeError, f"`arrays` {NEED}, got array.float16", (np.ones(3, np.float16), 1.0)),
        (TypeError, f"`arrays` {NEED}", (X[:, ::2], 1.0)),
        (TypeError, f"`arrays` {NEED}", (X.T, 1.0)),
        (TypeError, f"`arrays` {NEED}", (READONLY, 1.0)),
        (TypeError, f"`arrays` {NEED}, or a tuple of them, got float64", (1.0, 1.0)),
        (TypeError, f"`arrays` {NEED}, or a tuple of them, got reflected list", ([X], 1.0)),
        (TypeError, rf"`arrays\[1\]` {NEED}, got float64", ((X, 1.0), 1.0)),
        (TypeError, r"`arrays\[1\]` must have the dtype of .*, float64, got float32", ((X, X.astype("f")), 1.0)),
        (TypeError, "`max_norm` must be a number, got unicode_type", (X, "1")),
        (TypeError, "`max_norm` must be a number, got none", (X, None)),
        (ValueError, "`max_norm` must be > 0", (X, 0)),
        (ValueError, "`max_norm` must be > 0", (X, -1.0)),
        (ValueError, "`max_norm` must be > 0", (X, math.nan)),
        (ValueError, "`convention` must be 'torch' or 'keras' or 'optax', got 'jax'", (X, 1.0, "jax")),
    ],
)  # fmt: skip
def test_bad_argument_is_named_and_nothing_changes(error, words, arguments):
    with pytest.raises(error, match=words):
        kernels.clip_by_global_norm(*arguments)
    assert (X == 1).all()


def test_a_read_only_array_has_a_norm():
    assert kernels.global_norm(READONLY) == 2.0
    with pytest.raises(TypeError, match="`arrays` must be a C-contiguous float32 or float64 array, or a tuple"):
        kernels.global_norm([READONLY])


@pytest.mark.parametrize("flags", [{"fastmath": True}, {"parallel": True}, {"boundscheck": True}, {"nogil": True},
                                   {"error_model": "python"}, {"debug": True}], ids=repr)  # fmt: skip
def test_flags_of_the_caller_change_nothing(flags):
    @njit(**flags)
    def both(x):
        total = 0.0
        for _ in prange(1):
            total += kernels.clip_by_global_norm(x, 1.0)
        return total

    x = numbers(3000, "float64")
    y = x.copy()
    assert both(x) == sums.norm([y])
    kernels.clip_by_global_norm(y, 1.0)
    assert same_bits(x, y)
    for text in both.inspect_llvm().values():
        assert "fmuladd" not in text


def test_the_public_functions():
    assert set(NORMS) == set(SIGNATURES) < set(kernels.__all__)
    for name, function in NORMS.items():
        assert getattr(kernels, name) is function
        assert function.__module__ == "pyfastlr.kernels"
