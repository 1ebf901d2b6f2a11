"""Parameters, gradients and copies of 16 bits: their bits, and that all else is as with float32."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from numba import njit

import halves
import packed_models
import pyfastlr as flr
from cases import CASES
from pyfastlr import schedules as S
from pyfastlr.arrays import tree
from pyfastlr_kernels.cpu import halves as loops
from pyfastlr_kernels.packing import BFLOAT16, FLOAT16
from states import plainly

BF16, F16 = halves.DTYPES["bfloat16"], halves.DTYPES["float16"]
HALVES = (BF16, F16)
KINDS = {BF16: BFLOAT16, F16: FLOAT16}
PRECISIONS = ("master", "stochastic", "kahan")
SIZES = (0, 1, 3, 7, 4095, 4097, 70_001)
BY_RULE = list({case.make(np.zeros(1)).rule: case for case in CASES[::-1]}.values())[::-1]
each_dtype = pytest.mark.parametrize("dtype", HALVES, ids=["bfloat16", "float16"])
each_precision = pytest.mark.parametrize("precision", PRECISIONS)
each_rule = pytest.mark.parametrize("case", BY_RULE, ids=[case.name for case in BY_RULE])


def arrays(rng, dtype, sizes=SIZES):
    return [rng.standard_normal(n).astype(dtype) for n in sizes]


def gradients(rng, dtype, sizes=SIZES):
    """From 1e-12 to 1e2, with zeros. Many are subnormal, or zero, in float16."""
    return [
        (rng.standard_normal(n) * 10.0 ** rng.uniform(-12, 2, n) * (rng.random(n) > 0.1)).astype(dtype) for n in sizes
    ]


def wide(tensors):
    return [x.astype(np.float32) for x in tensors]


def same_bits(a, b):
    np.testing.assert_array_equal(np.asarray(a).view(np.uint16), np.asarray(b).view(np.uint16))


def leaves(value):
    return tree.flatten(value, "state")[2]


# --- Conversions ------------------------------------------------------------------------------------------------------

ALL = np.arange(1 << 16, dtype=np.uint16)


def difficult_numbers():
    """Float32 of every kind: near each number of 16 bits and halfway between two, subnormal, infinite, NaN."""
    found = [np.random.default_rng(0).integers(0, 1 << 32, 1 << 18, dtype=np.uint32).view(np.float32)]
    for dtype in HALVES:
        x = ALL.view(dtype).astype(np.float32)
        x = x[np.isfinite(x)]
        middle = ((x[:-1].astype(np.float64) + x[1:]) / 2).astype(np.float32)
        found += [x, middle, *(np.nextafter(y, np.float32(z)) for y in (x, middle) for z in (-np.inf, np.inf))]
    return np.concatenate([*found, np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.996, 65520, 3e38])])


@njit
def run_widen(kind, n, out, x):
    loops.widen(kind, n, out, x)


@njit
def run_nearest(kind, n, out, x):
    loops.nearest(kind, n, out, x)


@njit
def run_random(kind, n, out, x, key, first):
    loops.random(kind, n, out, x, key, first)


@each_dtype
def test_every_number_is_widened_exactly(dtype):
    out = np.empty(ALL.size, np.float32)
    run_widen(KINDS[dtype], ALL.size, out.ctypes.data, ALL.ctypes.data)
    want = ALL.view(dtype).astype(np.float32)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(np.signbit(out), np.signbit(want))


@each_dtype
def test_rounding_to_nearest_is_that_of_numpy_and_ml_dtypes(dtype):
    x = difficult_numbers()
    out = np.empty(x.size, np.uint16)
    run_nearest(KINDS[dtype], x.size, out.ctypes.data, x.ctypes.data)
    with np.errstate(over="ignore", invalid="ignore"):
        want = x.astype(dtype)
    nan = np.isnan(x)
    same_bits(out[~nan], want[~nan])
    assert np.isnan(out.view(dtype)[nan].astype(np.float32)).all()


@each_dtype
def test_random_rounding(dtype):
    x = difficult_numbers()
    out, key = np.empty(x.size, np.uint16), halves.follow(5, 9)
    run_random(KINDS[dtype], x.size, out.ctypes.data, x.ctypes.data, np.int64(np.uint64(key)), 0)
    found = out.view(dtype)
    finite = np.isfinite(x) & (np.abs(x) < (65536 if dtype == F16 else np.inf))
    low, high = halves.below(x[finite], dtype)
    bits = found[finite].view(np.uint16)
    assert ((bits == low.view(np.uint16)) | (bits == high.view(np.uint16))).all()
    exact = low.astype(np.float64) == x[finite]
    same_bits(found[finite][exact], low[exact])  # a number that can be stored is not changed
    rest = found[~finite].astype(np.float32)
    np.testing.assert_array_equal(np.isnan(rest), np.isnan(x[~finite]))
    assert np.isinf(rest[~np.isnan(rest)]).all()


@each_dtype
def test_the_mean_of_random_rounding_is_the_number(dtype):
    """Of 200,000 roundings, within four standard errors; also of a subnormal number of float16."""
    n = 200_000
    for x in (1.0 + 2.0**-10, -3.3, 1e-3, 5e-6, 3e-8):
        p = np.full(n, x, np.float32)
        out = np.empty(n, np.uint16)
        run_random(KINDS[dtype], n, out.ctypes.data, p.ctypes.data, 12345, 0)
        low, high = (float(y[0]) for y in halves.below(p[:1], dtype))
        part = (float(p[0]) - low) / (high - low)
        mean = (out.view(dtype).astype(np.float64).mean() - low) / (high - low)
        assert abs(mean - part) < 4 * max(0.02, np.sqrt(part * (1 - part))) / np.sqrt(n) + 2.0**-13, x


# --- A step -----------------------------------------------------------------------------------------------------------


def plain_of(case, params, **options):
    return case.make([x.astype(np.float32) for x in params], **options)


def options_of(case):
    return {"weight_decay": 0.1} if case.name.startswith(("adamw", "lion")) else {}


def test_a_compensation_of_another_number_is_left_out():
    p = np.full(4, 2.0**-24, F16)
    opt = flr.SGD(p, lr=1.0, precision="kahan")
    opt.step(np.full(4, -6000 * 2.0**-40, np.float32))
    p[:] = 1
    opt.step(np.zeros(4, np.float32))
    assert (p == 1).all()


@each_rule
@each_dtype
def test_master_is_float32_with_rounded_copies(case, dtype):
    rng = np.random.default_rng(1)
    params = arrays(rng, dtype)
    opt, plain = case.make(params, **options_of(case)), plain_of(case, params, **options_of(case))
    for _ in range(4):
        g = gradients(rng, dtype)
        opt.step(g)
        plain.step(wide(g))
        for p, master, q in zip(params, leaves(opt.state["master"]), plain._parameters.arrays, strict=True):
            np.testing.assert_array_equal(master, q)
            same_bits(p, q.astype(dtype))


@each_rule
@each_dtype
def test_a_stochastic_step_is_that_of_float32_rounded_by_the_words(case, dtype):
    rng = np.random.default_rng(2)
    params, seed = arrays(rng, dtype), 11
    opt = case.make(params, precision="stochastic", seed=seed, **options_of(case))
    plain = plain_of(case, params, **options_of(case))
    for n in range(3):
        for q, p in zip(plain._parameters.arrays, params, strict=True):
            q[:] = p
        g = gradients(rng, dtype)
        opt.step(g)
        plain.step(wide(g))
        for k, (p, q) in enumerate(zip(params, plain._parameters.arrays, strict=True)):
            same_bits(p, halves.at_random(q, dtype, halves.words(seed, k, n, p.size)))
        for name in plain.state:
            for x, y in zip(leaves(opt.state[name]), leaves(plain.state[name]), strict=True):
                np.testing.assert_array_equal(x, y)


@each_rule
@each_dtype
def test_kahan_keeps_what_rounding_loses(case, dtype):
    """With bfloat16, parameter and compensation are the float32; with float16, where they are not subnormal."""
    rng = np.random.default_rng(3)
    params = arrays(rng, dtype)
    opt = case.make(params, precision="kahan", **options_of(case))
    plain = plain_of(case, params, **options_of(case))
    for _ in range(4):
        g = gradients(rng, dtype)
        opt.step(g)
        plain.step(wide(g))
        for p, rest, q in zip(
            params, leaves(opt.state[f"compensation_{dtype}"]), plain._parameters.arrays, strict=True
        ):
            assert rest.dtype == np.int16
            exact = (p.astype(np.float32).view(np.int32) + rest).view(np.float32)
            if dtype == BF16:
                np.testing.assert_array_equal(exact, q)
                continue
            normal = np.abs(p.astype(np.float32)) >= 2.0**-14
            np.testing.assert_array_equal(exact[normal], q[normal])
            small = np.abs(p[~normal].astype(np.float64)) + rest[~normal] * 2.0**-40
            np.testing.assert_allclose(small, np.abs(q[~normal]), rtol=0, atol=2.0**-40)
            q[~normal] = np.copysign(small, p[~normal].astype(np.float32))  # the next step starts from this


@njit
def run_split(kind, n, out, rest, x):
    loops.split(kind, n, out, rest, x)


@njit
def run_join(kind, n, out, x, rest):
    loops.join(kind, n, out, x, rest)


@each_dtype
def test_numbers_in_two_parts(dtype):
    x = difficult_numbers()
    p, rest, out = np.empty(x.size, dtype), np.empty(x.size, np.int16), np.empty(x.size, np.float32)
    run_split(KINDS[dtype], x.size, p.ctypes.data, rest.ctypes.data, x.ctypes.data)
    run_join(KINDS[dtype], x.size, out.ctypes.data, p.ctypes.data, rest.ctypes.data)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(x))
    wide_p = p.astype(np.float32)
    stored = np.isfinite(wide_p)
    np.testing.assert_array_equal(out[~stored], wide_p[~stored])  # an infinity is one, and NaN is NaN
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = x.astype(dtype)
    ties = (wide_p != nearest) & stored
    assert not ties.any() if dtype == F16 else (rest[ties] == -32768).all()
    exact = stored & (np.abs(wide_p) >= 2.0**-14) if dtype == F16 else stored
    np.testing.assert_array_equal(out[exact].view(np.uint32), x[exact].view(np.uint32))
    np.testing.assert_allclose(out[stored], x[stored], rtol=0, atol=2.0**-40 if dtype == F16 else 0)


OPTIONS = [
    {"clip_norm": 0.5, "ema_decay": 0.9, "measure": ("update_norm", "param_norm", "per_tensor")},
    {"clip_value": 1e-3, "nonfinite": "skip"},
    {"clip_norm_each": 0.1, "accumulate": 2},
    {"accumulate": 3, "clip_value": 1.0, "accumulate_mode": "sum"},
    {"maximize": True, "weight_decay": 0.1, "decay": "independent", "threads": 1},
    {"lr": S.Cosine(1e-2, steps=10), "groups": [{"params": [4, 6], "lr": 1e-3}]},
    {"state_dtype": "bfloat16"},
    {"state_dtype": "int8", "clip_norm": 1.0},
    {"lr_scale": [np.linspace(0, 2, n, dtype=np.float32) for n in SIZES]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@each_dtype
def test_options_are_those_of_float32(options, dtype):
    """With "master", every number is that of a float32 optimizer with the same gradients."""
    rng = np.random.default_rng(4)
    options = {"lr": 1e-2, **options}
    params = arrays(rng, dtype)
    opt, plain = flr.Adam(params, **options), flr.Adam(wide(params), **options)
    for _ in range(6):
        g = gradients(rng, dtype)
        opt.step(g)
        plain.step(wide(g))
        assert str(opt.stats) == str(plain.stats)
    for x, y in zip(leaves(opt.state["master"]), plain.params, strict=True):
        np.testing.assert_array_equal(x, y)
    if "ema_decay" in options:
        for x, y in zip(opt.ema, plain.ema, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@each_dtype
def test_gradients_of_16_bits_for_float32_parameters(options, dtype):
    rng = np.random.default_rng(5)
    options = {"lr": 1e-2, **options}
    opt, plain = flr.Adam(arrays(rng, np.float32), **options), None
    plain = flr.Adam([x.copy() for x in opt.params], **options)
    for n in range(6):
        g = gradients(rng, dtype)
        opt.step(wide(g) if n == 3 else g)  # their dtype may change from step to step
        plain.step(wide(g))
        assert str(opt.stats) == str(plain.stats)
    for x, y in zip(opt.params, plain.params, strict=True):
        np.testing.assert_array_equal(x, y)


@each_dtype
@each_precision
def test_float32_gradients(dtype, precision):
    rng = np.random.default_rng(6)
    params = arrays(rng, dtype)
    twin = [x.copy() for x in params]
    opt, other = (flr.Adam(x, lr=0.01, precision=precision) for x in (params, twin))
    for _ in range(3):
        g = gradients(rng, dtype)
        opt.step(g)
        other.step(wide(g))
    for x, y in zip(params, twin, strict=True):
        same_bits(x, y)


@each_dtype
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite(dtype, zero, bad):
    params = {"a": np.ones(5000, dtype), "b": np.ones(3, dtype)}
    opt = flr.Adam(params, lr=0.1, nonfinite="skip", zero_grad=zero)
    g = {name: np.ones(x.shape, dtype) for name, x in params.items()}
    g["a"][4321] = g["a"][7] = g["b"][1] = bad
    opt.step(g)
    assert (opt.steps, opt.stats.skipped, opt.stats.nonfinite) == (0, True, 3)
    assert any(x.astype(np.float32).any() for x in g.values()) is not zero
    assert all((x.astype(np.float32) == 1).all() for x in params.values())
    opt = flr.Adam(params, lr=0.1, nonfinite="raise", accumulate=2)
    g = {name: np.full(x.shape, 1, dtype) for name, x in params.items()}
    g["b"][0] = bad
    with pytest.raises(FloatingPointError, match=r"grads\['b'\].* got 1 element"):
        opt.step(g)


@each_dtype
def test_a_dynamic_loss_scale(dtype):
    params, scale = np.ones(100, dtype), flr.LossScale(initial=2.0**10)
    opt = flr.Adam(params, lr=0.1, loss_scale=scale)
    plain = flr.Adam(np.ones(100, np.float32), lr=0.1)
    opt.step(np.full(100, 2.0**10 * 0.25, dtype))
    plain.step(np.full(100, 0.25, np.float32))
    np.testing.assert_array_equal(opt.state["master"], plain.params)
    opt.step(np.full(100, np.inf, dtype))
    assert (opt.steps, scale.scale) == (1, 2.0**9)


@each_dtype
@each_precision
def test_the_same_bits_for_any_threads(dtype, precision):
    rng = np.random.default_rng(7)
    start = rng.standard_normal(300_001).astype(dtype)
    grads = [rng.standard_normal(start.size).astype(dtype) for _ in range(3)]
    found = []
    for threads in (1, 2, 3):
        p = start.copy()
        opt = flr.AdamW(p, lr=0.01, precision=precision, threads=threads, state_dtype="int8", seed=3)
        for g in grads:
            opt.step(g)
        found.append((p, opt.state["exp_avg"].codes.copy()))
    for p, codes in found[1:]:
        same_bits(p, found[0][0])
        np.testing.assert_array_equal(codes, found[0][1])


@each_dtype
@each_precision
def test_a_frozen_parameter_keeps_its_bits(dtype, precision):
    p = np.random.default_rng(8).standard_normal(5000).astype(dtype)
    before = p.copy()
    opt = flr.Adam(
        {"a": p, "b": np.ones(3, dtype)}, lr=0.1, precision=precision, groups=[{"params": "a", "lr_scale": 0}]
    )
    for _ in range(5):
        opt.step({"a": np.ones(5000, dtype), "b": np.ones(3, dtype)})
    same_bits(p, before)


def test_threads_with_gradients_of_several_dtypes():
    """A step takes its gradients as what they are, while others have the launch built for another dtype."""
    p = np.zeros(5000, np.float32)
    opt = flr.SGD(p, lr=2.0**-10)
    grads = [np.ones(5000, dtype) for dtype in (*HALVES, np.float32)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(k):
        for i in range(300):
            opt.step(grads[(k + i) % 3 if k < 3 else k % 3])

    try:
        with ThreadPoolExecutor(5) as threads:
            list(threads.map(work, range(5)))
    finally:
        sys.setswitchinterval(interval)
    assert opt.steps == 1500
    assert (p == -1500 / 1024).all()


def test_bfloat16_by_any_of_its_dtypes():
    """numpy compares them as equal; compiled code compares the objects."""
    other = BF16.newbyteorder("=")
    names = np.dtype([("bfloat16", np.uint16)])
    p = [np.ones(3, BF16).astype(other), np.ones(3, BF16), np.ones(3, BF16).view(names), np.ones(3, BF16).view("u2")]
    opt = flr.SGD(p, 0.5, uint16_as="bfloat16")
    for g in (
        [np.ones(3, BF16).astype(other)] * 4,
        [np.ones(3, BF16), np.ones(3, BF16).view(names), np.ones(3, BF16).view("u2"), None],
        [np.ones(3, np.float32)] * 4,
    ):
        opt.step(g)
    assert [x.view("u2").view(BF16).astype("f4").tolist() for x in p] == [[-0.5] * 3] * 3 + [[0.0] * 3]


def test_repr_says_what_the_parameters_are():
    assert repr(flr.SGD(np.ones(3, BF16), 0.1)).startswith("SGD(bfloat16[3]")


@each_dtype
def test_controllers_that_restore_parameters(dtype):
    p = np.ones(3, dtype)
    plateau = S.Plateau(0.5, patience=0, params=p)
    opt = flr.SGD(p, plateau)
    plateau.observe(1.0)
    opt.step(np.ones(3, dtype))
    plateau.observe(2.0)
    plateau.observe(2.0)
    np.testing.assert_array_equal(p.astype(np.float32), 1)
    opt.step(np.zeros(3, dtype))
    np.testing.assert_array_equal(p.astype(np.float32), 1)
    stopping = flr.tune.EarlyStopping(patience=0, params=p)
    stopping.observe(1.0)
    p[:] = 3
    stopping.observe(2.0)
    stopping.restore()
    np.testing.assert_array_equal(p.astype(np.float32), 1)


# --- What it is for ---------------------------------------------------------------------------------------------------


@each_dtype
@each_precision
def test_updates_below_the_last_place_are_not_lost(dtype, precision):
    """10,000 updates by 1e-5 of parameters near 1, whose last places are 8e-3 and 1e-3: to nearest, none would move."""
    p = np.ones(20_000, dtype)
    opt = flr.SGD(p, lr=1e-5, precision=precision)
    for _ in range(10_000):
        opt.step(np.full(p.size, -1, dtype))
    moved = p.astype(np.float64) - 1
    if precision == "stochastic":  # each element takes a random walk of its own
        assert abs(moved.mean() - 0.1) < 1e-3
        assert (np.abs(moved - 0.1) < 0.2).all()
    else:
        assert (np.abs(moved - 0.1) < (5e-3 if dtype == BF16 else 1e-3)).all()


@each_dtype
@each_precision
def test_what_the_user_writes_into_the_parameters_counts(dtype, precision):
    p = np.full(5000, 1.5, dtype)
    opt = flr.SGD(p, lr=1e-4, precision=precision)
    for _ in range(7):
        opt.step(np.ones(5000, dtype))
    p[:10] = 0
    p[10:20] = -2
    opt.step(np.zeros(5000, dtype))
    assert (p[:10].astype(np.float32) == 0).all()
    assert (p[10:20].astype(np.float32) == -2).all()
    p[:] = np.arange(5000) % 2 * 2.0**-10 + 1  # odd and even last places of float16
    before = p.copy()
    opt.step(np.full(5000, 3, dtype))
    p[:] = before
    opt.step(np.zeros(5000, dtype))
    same_bits(p, before)
    p[:10] = 0
    opt.step(np.full(5000, -1000, dtype))
    np.testing.assert_allclose(p[:10].astype(np.float32), 0.1, rtol=8e-3)


@pytest.mark.parametrize("name", ["digits", "breast cancer"])  # docs/low_precision.md has three
def test_models_learn_as_with_float32(name):
    """Held-out losses of short trainings: the medians differ by less than the range over the seeds."""

    def losses(precision):
        return [packed_models.train(name, None, seed, 2, precision).test_loss for seed in range(5)]

    plain = losses(None)
    for precision in PRECISIONS:
        found = losses(precision)
        assert abs(np.median(found) - np.median(plain)) < np.ptp(plain), precision
        assert found != plain


# --- Copies -----------------------------------------------------------------------------------------------------------


@each_dtype
def test_copies_of_16_bits_of_float32_parameters(dtype):
    rng = np.random.default_rng(9)
    params = {"a": rng.standard_normal(5000).astype(np.float32), "b": rng.standard_normal(3).astype(np.float32)}
    copies = {name: np.zeros(x.shape, dtype) for name, x in params.items()}
    opt = flr.Adam(params, lr=0.1, copy_to=copies)
    plain = flr.Adam({name: x.copy() for name, x in params.items()}, lr=0.1)
    for _ in range(3):
        g = {name: rng.standard_normal(x.shape).astype(np.float32) for name, x in params.items()}
        opt.step(g)
        plain.step(g)
        for name, x in params.items():
            np.testing.assert_array_equal(x, plain.params[name])
            same_bits(copies[name], x.astype(dtype))


def test_copies_in_float32_of_parameters_of_16_bits():
    p, out = np.ones(100, BF16), np.zeros(100, np.float32)
    opt = flr.Adam(p, lr=0.01, copy_to=out)
    opt.step(np.ones(100, BF16))
    np.testing.assert_array_equal(out, opt.state["master"])


def test_copies_must_have_one_dtype():
    params = [np.zeros(3, np.float32), np.zeros(3, np.float32)]
    with pytest.raises(TypeError, match=r"`copy_to\[1\]` must be bfloat16\[3\] like the others, got float16\[3\]"):
        flr.Adam(params, lr=0.1, copy_to=[np.zeros(3, BF16), np.zeros(3, F16)])


# --- Other containers and memory --------------------------------------------------------------------------------------


@each_dtype
@each_precision
def test_uint16_arrays_by_the_name_of_their_numbers(dtype, precision):
    rng = np.random.default_rng(10)
    params = arrays(rng, dtype)
    bits = [x.view(np.uint16).copy() for x in params]
    opt = flr.Adam(params, lr=0.01, precision=precision)
    other = flr.Adam(bits, lr=0.01, precision=precision, uint16_as=str(dtype))
    for _ in range(3):
        g = gradients(rng, dtype)
        opt.step(g)
        other.step([x.view(np.uint16) for x in g])
    for x, y in zip(params, bits, strict=True):
        same_bits(x, y)


@each_dtype
def test_a_flat_takes_gradients_of_16_bits(dtype):
    rng = np.random.default_rng(11)
    params = flr.Flat({"a": rng.standard_normal(5).astype(np.float32), "b": np.ones((2, 3), np.float32)})
    twin = copy.deepcopy(params)
    opt, plain = flr.Adam(params, lr=0.1), flr.Adam(twin, lr=0.1)
    g = rng.standard_normal(11).astype(dtype)
    opt.step(g)
    plain.step(g.astype(np.float32))
    opt.step({"a": g[:5], "b": g[5:].reshape(2, 3)})
    plain.step(g.astype(np.float32))
    np.testing.assert_array_equal(params.buffer, twin.buffer)


@each_dtype
def test_one_array_of_any_shape(dtype):
    for shape in ((), (2, 3), (0, 4)):
        p = np.ones(shape, dtype)
        opt = flr.Adam(p, lr=0.5)
        opt.step(np.ones(shape, dtype))
        np.testing.assert_allclose(p.astype(np.float32), 0.5)


# --- Saving -----------------------------------------------------------------------------------------------------------


def by_state_dict(opt, make, params):
    twin = make([x.copy() for x in params])
    twin.load_state_dict(opt.state_dict())
    return twin


def by_file(opt, make, params, tmp_path):
    path = tmp_path / "run.safetensors"
    flr.save(path, params, opt)
    saved = flr.load(path)
    assert [x.dtype for x in saved.params] == [x.dtype for x in params]
    twin = make(saved.params)
    twin.load_state_dict(saved.state)
    return twin


def by_load(opt, make, params, tmp_path):
    path = tmp_path / "state.safetensors"
    opt.save(path)
    twin = make([x.copy() for x in params])
    twin.load(path)
    return twin


def by_flat(opt, make, params):
    twin = make([x.copy() for x in params])
    twin.load_state_dict(flr.unflatten_state(flr.flatten_state(opt.state_dict())))
    return twin


WAYS = {
    "state_dict": lambda *a: by_state_dict(*a[:3]),
    "file": by_file,
    "load": by_load,
    "flat": lambda *a: by_flat(*a[:3]),
    "pickle": lambda opt, make, params, path: pickle.loads(pickle.dumps(opt)),
    "deepcopy": lambda opt, make, params, path: copy.deepcopy(opt),
}


@pytest.mark.parametrize("way", WAYS)
@each_precision
@each_dtype
def test_a_resumed_run_goes_on_bit_for_bit(way, precision, dtype, tmp_path):
    rng = np.random.default_rng(12)
    params = arrays(rng, dtype)

    def make(p):
        return flr.AdamW(p, lr=0.01, precision=precision, seed=5, ema_decay=0.9)

    opt = make(params)
    for _ in range(3):
        opt.step(gradients(rng, dtype))
    twin = WAYS[way](opt, make, params, tmp_path)
    for _ in range(3):
        g = gradients(rng, dtype)
        opt.step(g)
        twin.step(g)
    for x, y in zip(opt.params, twin.params, strict=True):
        same_bits(x, y)
    assert plainly(opt.state_dict()) == plainly(twin.state_dict())


def test_reset_starts_from_the_parameters():
    p = np.ones(10, BF16)
    opt = flr.Adam(p, lr=0.1)
    opt.step(np.ones(10, BF16))
    opt.reset()
    np.testing.assert_array_equal(opt.state["master"], p.astype(np.float32))


def test_a_state_of_another_precision_is_converted_by_cast():
    p, q = np.ones(10, BF16), np.ones(10, np.float32)
    half, plain = flr.Adam(p, lr=0.1), flr.Adam(q, lr=0.1)
    half.step(np.ones(10, BF16))
    with pytest.raises(ValueError, match=r"must have the keys .*'exp_avg', 'exp_avg_sq'"):
        plain.load_state_dict(half.state_dict())
    plain.load_state_dict(half.state_dict(), cast=True)
    np.testing.assert_array_equal(plain.state["exp_avg"], half.state["exp_avg"])
    for precision in PRECISIONS:
        other = flr.Adam(p.copy(), lr=0.1, precision=precision)
        other.load_state_dict(plain.state_dict(), cast=True)
        np.testing.assert_array_equal(other.state["exp_avg"], half.state["exp_avg"])
    other = flr.Adam(np.full(10, 3, BF16), lr=0.1)
    other.load_state_dict(plain.state_dict(), cast=True)
    np.testing.assert_array_equal(other.state["master"], np.full(10, 3, np.float32))


@each_precision
@each_dtype
def test_swapping_the_average_in_and_out(precision, dtype):
    rng = np.random.default_rng(13)
    params = arrays(rng, dtype)
    opt = flr.Adam(params, lr=0.1, ema_decay=0.5, precision=precision)
    for _ in range(3):
        opt.step(gradients(rng, dtype))
    before, average = [x.copy() for x in params], [x.copy() for x in opt.ema]
    state = plainly(opt.state_dict())
    with opt.averaged():
        for p, x in zip(params, average, strict=True):
            same_bits(p, x.astype(dtype))
    for p, x in zip(params, before, strict=True):
        same_bits(p, x)
    assert plainly(opt.state_dict()) == state
    for x, y in zip(opt.ema, average, strict=True):
        np.testing.assert_array_equal(x, y)


@each_dtype
def test_a_compensation_belongs_to_a_dtype(dtype):
    """Its unit is another one with the other dtype."""
    (other,) = {*HALVES} - {dtype}
    opt = flr.SGD(np.ones(3, dtype), 1.0, precision="kahan")
    opt.step(np.full(3, -(2.0**-10), np.float32))
    twin = flr.SGD(np.ones(3, other), 1.0, precision="kahan")
    with pytest.raises(ValueError, match=rf"must have the keys \['compensation_{other}'\]"):
        twin.load_state_dict(opt.state_dict())
    twin.load_state_dict(opt.state_dict(), cast=True)
    twin.step(np.zeros(3, np.float32))
    assert (twin.params.astype(np.float32) == 1).all()


@each_precision
def test_through_torch_s_state(precision):
    params = [np.ones(4, BF16)]
    opt = flr.AdamW(params, 1e-3, precision=precision)
    for _ in range(3):
        opt.step([np.ones(4, BF16)])
    twin = flr.AdamW([params[0].copy()], 1e-3, precision=precision)
    flr.from_torch(flr.to_torch(opt, tensors=False), twin)
    if precision == "kahan":  # torch has no place for a compensation
        assert not twin.state["compensation_bfloat16"][0].any()
    else:
        assert plainly(opt.state_dict()["state"]) == plainly(twin.state_dict()["state"])
    assert twin.steps == 3


def test_add_keeps_what_the_state_has():
    params = {"a": np.full(10, 1, BF16)}
    opt = flr.Adam(params, lr=1e-4)
    opt.step({"a": np.ones(10, BF16)})
    master = opt.state["master"]["a"].copy()
    opt.add({"b": np.full(4, 2, BF16)}, lr=0.1)
    np.testing.assert_array_equal(opt.state["master"]["a"], master)
    np.testing.assert_array_equal(opt.state["master"]["b"], np.full(4, 2, np.float32))
    opt.step({"a": np.ones(10, BF16), "b": np.ones(4, BF16)})


# --- Errors -----------------------------------------------------------------------------------------------------------


NEEDED = "must be a float32, float64, bfloat16 or float16 ndarray"
OTHER = {"a": np.zeros(3, BF16), "b": np.zeros(3, F16)}
REFUSED = [
    (lambda p: flr.SGD(np.zeros(3, "f4"), 0.1, precision="kahan"), ValueError,
     "`precision` must be None for parameters of float32, got 'kahan'"),
    (lambda p: flr.SGD(p, 0.1, precision="half"), ValueError, "`precision` must be None or one of .*, got 'half'"),
    (lambda p: flr.SGD(p, 0.1, uint16_as="int16"), ValueError,
     "`uint16_as` must be None, 'bfloat16' or 'float16', got 'int16'"),
    (lambda p: flr.SGD(np.zeros(3, np.uint16), 0.1), TypeError,
     r"got uint16\[3\]; if its numbers are of 16 bits, pass uint16_as"),
    (lambda p: flr.SGD([p, np.zeros(3, "f4")], 0.1), TypeError,
     r"`params\[1\]` must be a bfloat16 ndarray like the other"),
    (lambda p: flr.SGD(np.zeros(3, ml_dtypes.float8_e4m3fn), 0.1), TypeError, NEEDED),
    (lambda p: flr.SGD(np.zeros(3, ml_dtypes.int4), 0.1), TypeError, NEEDED),
    (lambda p: flr.SGD(np.zeros(3, ">f2"), 0.1), ValueError, "must be in native byte order"),
    (lambda p: flr.SGD([p, np.zeros(3, "f4")], 0.1), TypeError, r"w = w.astype\(ml_dtypes.bfloat16\)"),
    (lambda p: flr.SGD(p, 0.1, copy_to=np.zeros(3)), TypeError, "`copy_to` must be a float32, bfloat16 or float16 nd"),
    (lambda p: flr.SGD(p, 0.1, copy_to=np.zeros(3, "u2")), TypeError, "pass uint16_as"),
    (flr.LBFGS, TypeError, "must be a float32 or float64 ndarray, got bfloat16"),
    (lambda p: flr.SGD(np.zeros(3), 0.1).step(p), TypeError, r"`grads` must be float64\[3\], got bfloat16\[3\]"),
]  # fmt: skip
REFUSED_STEPS = [
    (lambda opt, p: opt.step(OTHER), TypeError, r"`grads\['b'\]` must be bfloat16\[3\], got float16\[3\]"),
    (lambda opt, p: opt.step({"a": np.zeros(3), "b": None}), TypeError,
     r"`grads\['a'\]` must be bfloat16\[3\], got float64\[3\]"),
    (lambda opt, p: opt.step({"a": np.zeros(4, BF16), "b": None}), ValueError,
     r"`grads\['a'\]` must be bfloat16\[3\], got bfloat16\[4\]"),
    (lambda opt, p: opt.step({"a": p, "b": None}), ValueError, r"`grads\['a'\]` must not overlap `params`"),
    (lambda opt, p: opt.step_rows("a", [0], np.zeros(1, BF16)), ValueError,
     "`params` must be float32 or float64 for a step with rows, got bfloat16"),
    (lambda opt, p: opt.step({"a": np.zeros(6, BF16)[::2], "b": None}), ValueError, "must be C-contiguous"),
    (lambda opt, p: opt.step({"a": np.zeros(3, ">f2"), "b": None}), TypeError, "must be bfloat16"),
    (lambda opt, p: opt.step({"a": np.zeros(3, "i2"), "b": None}), TypeError, r"pass x.astype\(ml_dtypes.bfloat16\)"),
]  # fmt: skip


@pytest.mark.parametrize(("work", "error", "match"), REFUSED, ids=[x[2][:40] for x in REFUSED])
def test_what_is_refused(work, error, match):
    with pytest.raises(error, match=match):
        work(np.zeros(3, BF16))


@pytest.mark.parametrize(("work", "error", "match"), REFUSED_STEPS, ids=[x[2][:40] for x in REFUSED_STEPS])
def test_steps_that_are_refused(work, error, match):
    p = np.zeros(3, BF16)
    opt = flr.SGD({"a": p, "b": np.zeros(3, BF16)}, 0.1)
    with pytest.raises(error, match=match):
        work(opt, p)
    assert opt.steps == 0
    assert not p.astype(np.float32).any()
    opt.step({"a": np.ones(3, BF16), "b": None})
    assert opt.steps == 1
