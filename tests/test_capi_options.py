"""The C library's norms, clipping, averages and loss scale have the bits of a step's options in Python."""

import ctypes
import math
from itertools import pairwise

import numpy as np
import pytest

import pyfastlr as flr
from c_library import CONVENTIONS, ERRORS, OK, REALS, TAILS, Optimizer, Tensor, at, compiler, library, span, tensor
from cases import CASES
from pyfastlr_kernels import reduce, stage_rules

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
DTYPES = ("float32", "float64")
SIZES = (1000, 0, 3000, 1, 1024, 17)


def call(name, *given, dtype=None):
    """Call a function; numbers are doubles unless they are integers of ctypes."""
    given = [ctypes.c_double(x) if isinstance(x, float) else x for x in given]
    return getattr(library(), f"fastlr_{name}{TAILS[dtype] if dtype else ''}")(*given)


def result(name, *given, dtype=None, kind=ctypes.c_double):
    """Call a function that writes a number."""
    out = kind()
    assert call(name, *given, ctypes.byref(out), dtype=dtype) == OK
    return out.value


def vectors(dtype, magnitude=1.0, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for n in SIZES:
        x = rng.standard_normal(n) * 10.0 ** rng.uniform(-4, 2, n) * magnitude
        made.append(x.astype(dtype))
    return made


def pythons_norm(gs, dtype):
    """The norm of a step's options, and what it leaves of the parameters under plain descent."""
    params = [np.zeros(g.size, dtype) for g in gs]
    opt = flr.SGD(params, lr=1.0, clip_norm=math.inf)
    opt.step(gs)
    return opt.stats.grad_norm


def table(gs):
    return (Tensor * len(gs))(*(tensor(g, g, []) for g in gs)), ctypes.c_size_t(len(gs))


MAGNITUDES = [("float32", 1.0), ("float32", 1e30), ("float32", 1e-30), ("float32", 0.0), ("float64", 1.0),
              ("float64", 1e250), ("float64", 1e-250), ("float64", 0.0)]  # fmt: skip


def test_blocks():
    library().fastlr_blocks.restype = ctypes.c_size_t
    for size, blocks in ((0, 0), (1, 1), (1024, 1), (1025, 2), (2**63, 2**53), (2**64 - 1, 2**54)):
        assert library().fastlr_blocks(ctypes.c_size_t(size)) == blocks
    assert reduce.UNIT == 1024


@pytest.mark.parametrize(("dtype", "magnitude"), MAGNITUDES)
def test_norms_have_pythons_bits(dtype, magnitude):
    gs = vectors(dtype, magnitude)
    want = pythons_norm(gs, dtype)
    assert result("global_norm", *table(gs), 1.0, dtype=dtype) == want
    # The same from blocks, in any order: here the last ones first.
    blocks = [(g.size + 1023) // 1024 for g in gs]
    squares, first = np.full((sum(blocks), 2), np.nan), 0
    for g, count in zip(gs, blocks, strict=True):
        own = squares[first:]
        for begin, end in reversed([*pairwise((0, count // 2, count))]):
            assert call("squares", at(g), *span(g.size, begin), ctypes.c_size_t(end), at(own), dtype=dtype) == OK
        first += count
    assert result("norm", at(squares), ctypes.c_size_t(len(squares)), 1.0) == want
    assert result("norm", at(squares), ctypes.c_size_t(len(squares)), 0.5) == pytest.approx(want / 2, rel=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_norms_of_what_is_not_finite(dtype, bad):
    gs = vectors(dtype)
    gs[2][1500] = bad
    assert repr(result("global_norm", *table(gs), 1.0, dtype=dtype)) == repr(bad)
    counts = [result("count_nonfinite", at(g), *span(0, g.size), dtype=dtype, kind=ctypes.c_size_t) for g in gs]
    assert counts == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_clip_factors(convention):
    factor, by = reduce.FACTORS[convention], CONVENTIONS.index(convention)
    for norm in (0.0, 1e-300, 0.5, 1.0, 1.0 + 1e-6, 3.0, 1e300, math.inf, math.nan):
        for limit in (1e-9, 1.0, 1e10, math.inf):
            got = result("clip_factor", ctypes.c_int(by), norm, limit)
            assert got.hex() == factor(norm, limit).hex(), (norm, limit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", ["AdamW", "SGD", "Lion"])
def test_a_clipped_averaged_step_has_pythons_bits(cls, dtype):
    case = next(x for x in CASES if x.cls == cls)
    rng = np.random.default_rng(1)
    p = {str(k): rng.standard_normal(n).astype(dtype) for k, n in enumerate(SIZES)}
    q = {k: a.copy() for k, a in p.items()}
    averages = {k: np.full_like(a, np.nan) for k, a in p.items()}
    limits = {"clip_norm": 1.5, "clip_value": 0.7, "ema_decay": 0.9}
    opt = case.make(p, **limits)
    x = Optimizer(cls, dtype, case.convention, lr=case.lr, weight_decay=0.0)
    state = {k: x.state(a.size) for k, a in q.items()}
    by = ctypes.c_int(CONVENTIONS.index(case.convention))
    for t in range(1, 6):
        g = {k: a * 64 for k, a in zip(q, vectors(dtype, seed=t), strict=True)}
        opt.step(g, inv_scale=1 / 64)
        clipped = {k: np.empty_like(a) for k, a in g.items()}
        for k, a in g.items():
            given = (at(clipped[k]), at(a), 1 / 64, limits["clip_value"], *span(0, a.size))
            assert call("clip_value", *given, dtype=dtype) == OK
            assert call("clip_value", at(a), at(a), *given[2:], dtype=dtype) == OK  # in place
            assert a.tobytes() == clipped[k].tobytes()
        norm = result("global_norm", *table([*clipped.values()]), 1.0, dtype=dtype)
        x.set(clip_factor=result("clip_factor", by, norm, limits["clip_norm"]))
        assert norm == opt.stats.grad_norm
        assert (x.config.clip_factor != 1.0) == opt.stats.clipped
        for k, a in q.items():
            assert x.step(t, a, clipped[k], state[k]) == OK
            given = at(averages[k]), at(a), ctypes.c_int64(t - 1), limits["ema_decay"], *span(0, a.size)
            assert call("ema_update", *given, dtype=dtype) == OK
            assert a.tobytes() == p[k].tobytes()
            assert averages[k].tobytes() == opt.ema[k].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements(dtype):
    real, rng = np.dtype(dtype).type, np.random.default_rng(2)
    x, y = (rng.standard_normal(100).astype(dtype) for _ in range(2))
    x[5] = np.nan
    want = y.copy()
    want[3:90] = y[3:90] + x[3:90] * real(0.3)
    assert call("accumulate", at(y), at(x), 0.3, *span(3, 90), dtype=dtype) == OK
    np.testing.assert_array_equal(y, want)
    want[10:20] = want[10:20] * real(1.7)
    assert call("scale", at(y), 1.7, *span(10, 20), dtype=dtype) == OK
    np.testing.assert_array_equal(y, want)
    out = np.full(100, 9, dtype)
    assert call("clip_value", at(out), at(x), 2.0, 0.5, *span(1, 99), dtype=dtype) == OK
    np.testing.assert_array_equal(out[1:99], [stage_rules.clamped(a, real(2), real(0.5)) for a in x[1:99]])
    assert out[0] == out[99] == 9
    assert call("zero", at(y), *span(0, 50), dtype=dtype) == OK
    assert not y[:50].any()
    assert y[50:90].all()
    # With a decay of 0, the average is the parameters even where it is NaN.
    average = np.full(100, np.nan, dtype)
    assert call("ema_update", at(average), at(x), ctypes.c_int64(7), 0.0, *span(0, 100), dtype=dtype) == OK
    np.testing.assert_array_equal(average, x)


class LossScale(ctypes.Structure):
    """fastlr_loss_scale."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t), ("scale", ctypes.c_double), ("finite", ctypes.c_int64),
        ("skipped", ctypes.c_int64), ("growth", ctypes.c_double), ("backoff", ctypes.c_double),
        ("interval", ctypes.c_int64),
    )  # fmt: skip


@pytest.mark.parametrize("initial", [65536.0, 2.0**-125, 3e38])
def test_loss_scale_is_as_pythons(initial):
    rng = np.random.default_rng(3)
    s = LossScale()
    assert call("loss_scale_init", ctypes.byref(s)) == OK
    defaults = flr.LossScale()
    assert (s.scale, s.growth, s.backoff, s.interval) == (
        defaults.scale, defaults.growth, defaults.backoff, defaults.interval,
    )  # fmt: skip
    s.scale, s.growth, s.backoff, s.interval = float(np.float32(initial)), 1.7, 0.3, 3
    opt = flr.SGD(np.zeros(1), lr=0.0, loss_scale=flr.LossScale(s.scale, growth=1.7, backoff=0.3, interval=3))
    for _ in range(200):
        bad = rng.random() < (0.5 if initial < 1 else 0.15)
        opt.step(np.array([np.inf if bad else 1.0]))
        name = "loss_scale_skip" if bad else "loss_scale_update"
        assert call(name, ctypes.byref(s), *([ctypes.c_int64(1)] if bad else [])) == OK
        assert s.scale == opt.loss_scale.scale


def test_skipped_calls_of_an_accumulated_update():
    s = LossScale()
    assert call("loss_scale_init", ctypes.byref(s)) == OK
    for expected in ((65536.0, 1), (65536.0, 2), (32768.0, 0)):  # as many as make an update lower the scale at once
        assert call("loss_scale_skip", ctypes.byref(s), ctypes.c_int64(3)) == OK
        assert (s.scale, s.skipped) == expected


def test_counts_of_a_loss_scale_do_not_overflow():
    most = 2**63 - 1
    s = LossScale()
    assert call("loss_scale_init", ctypes.byref(s)) == OK
    s.finite = most
    assert call("loss_scale_update", ctypes.byref(s)) == OK
    assert (s.scale, s.finite) == (131072.0, 0)
    s.finite, s.interval = most - 2, most
    for expected in ((131072.0, most - 1), (262144.0, 0)):
        assert call("loss_scale_update", ctypes.byref(s)) == OK
        assert (s.scale, s.finite) == expected
    s.skipped = most
    assert call("loss_scale_skip", ctypes.byref(s), ctypes.c_int64(most)) == OK
    assert (s.scale, s.skipped) == (131072.0, 0)


def test_errors_by_code():
    lib, x, out = library(), np.ones(3, "f4"), ctypes.c_double()
    null, c, size = None, ctypes.c_double, ctypes.c_size_t
    for name, given, code in (
        ("squares", (null, *span(3, 0), size(1), at(np.empty(2))), "X"),
        ("squares", (at(x), *span(3, 0), size(1), null), "SQUARES"),
        ("squares", (at(x), *span(3, 0), size(2), at(np.empty(4))), "RANGE"),
        ("norm", (null, size(1), c(1), ctypes.byref(out)), "SQUARES"),
        ("norm", (null, size(0), c(1), null), "NORM"),
        ("global_norm", (null, size(1), c(1), ctypes.byref(out)), "TENSORS"),
        ("global_norm", (null, size(0), c(1), null), "NORM"),
        ("clip_factor", (3, c(1), c(1), ctypes.byref(out)), "CONVENTION"),
        ("clip_factor", (0, c(1), c(0), ctypes.byref(out)), "MAX_NORM"),
        ("clip_factor", (0, c(1), c(math.nan), ctypes.byref(out)), "MAX_NORM"),
        ("clip_factor", (0, c(1), c(1), null), "FACTOR"),
        ("scale", (null, c(1), *span(0, 1)), "X"),
        ("scale", (at(x), c(1), *span(2, 1)), "RANGE"),
        ("clip_value", (at(x), at(x), c(1), c(0), *span(0, 1)), "LIMIT"),
        ("clip_value", (null, at(x), c(1), c(1), *span(0, 1)), "OUT"),
        ("clip_value", (at(x), null, c(1), c(1), *span(0, 1)), "X"),
        ("clip_value", (at(x), at(x), c(1), c(1), *span(1, 0)), "RANGE"),
        ("accumulate", (null, at(x), c(1), *span(0, 1)), "OUT"),
        ("accumulate", (at(x), null, c(1), *span(0, 1)), "X"),
        ("accumulate", (at(x), at(x), c(1), *span(1, 0)), "RANGE"),
        ("ema_update", (at(x), at(x), ctypes.c_int64(-1), c(0.5), *span(0, 1)), "UPDATES"),
        ("ema_update", (at(x), at(x), ctypes.c_int64(1), c(1), *span(0, 1)), "EMA_DECAY"),
        ("ema_update", (null, at(x), ctypes.c_int64(1), c(0.5), *span(0, 1)), "AVERAGE"),
        ("ema_update", (at(x), null, ctypes.c_int64(1), c(0.5), *span(0, 1)), "X"),
        ("ema_update", (at(x), at(x), ctypes.c_int64(1), c(0.5), *span(1, 0)), "RANGE"),
        ("zero", (null, *span(0, 1)), "X"),
        ("zero", (at(x), *span(1, 0)), "RANGE"),
        ("count_nonfinite", (at(x), *span(0, 1), null), "COUNT"),
        ("count_nonfinite", (null, *span(0, 1), ctypes.byref(out)), "X"),
        ("count_nonfinite", (at(x), *span(1, 0), ctypes.byref(out)), "RANGE"),
        ("loss_scale_init", (null,), "LOSS_SCALE"),
        ("loss_scale_update", (null,), "LOSS_SCALE"),
        ("loss_scale_skip", (null, ctypes.c_int64(1)), "LOSS_SCALE"),
    ):  # fmt: skip
        assert getattr(lib, f"fastlr_{name}")(*given) == ERRORS[code], (name, code)
    assert (x == 1).all()
    for field, value, code in (
        ("struct_size", 8, "STRUCT_SIZE"), ("scale", 0.0, "SCALE"), ("scale", math.nan, "SCALE"),
        ("scale", 1e39, "SCALE"), ("growth", 1.0, "GROWTH"), ("growth", math.inf, "GROWTH"),
        ("backoff", 0.0, "BACKOFF"),
        ("backoff", 1.0, "BACKOFF"), ("interval", 0, "INTERVAL"),
    ):  # fmt: skip
        s = LossScale()
        lib.fastlr_loss_scale_init(ctypes.byref(s))
        setattr(s, field, value)
        before = bytes(s)
        assert lib.fastlr_loss_scale_update(ctypes.byref(s)) == ERRORS[code], field
        assert lib.fastlr_loss_scale_skip(ctypes.byref(s), ctypes.c_int64(1)) == ERRORS[code]
        assert bytes(s) == before
    s = LossScale()
    lib.fastlr_loss_scale_init(ctypes.byref(s))
    assert lib.fastlr_loss_scale_skip(ctypes.byref(s), ctypes.c_int64(0)) == ERRORS["EVERY"]


def test_ctypes_knows_the_numbers():
    assert {np.dtype(x).itemsize for x in DTYPES} == {ctypes.sizeof(x) for x in REALS.values()}
    assert ctypes.sizeof(Tensor) == 64
