"""Options with the largest and the smallest numbers: each norm has the scale that it needs; infinities, NaN, -0.0."""

import math

import numpy as np
import pytest

import pyfastlr as flr
import sums

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

MEASURE = ("update_norm", "param_norm", "per_tensor")
SIZES = (1, 7, 8, 9, 15, 17, 1023, 1024, 1025, 16_384, 16_393, 33_001)
TINY = float(np.finfo(np.float64).smallest_subnormal)


def magnitudes(rng, n, size, dtype="float64"):
    return (rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.0, n) * size).astype(dtype)


def check_norms(opt, params, before, g):
    """All norms are those of the definition, of each array and of all."""
    stats, names = opt.stats, list(params)
    moved = {name: params[name] - before[name] for name in names}
    for key, arrays in (("grad_norm", g), ("update_norm", moved), ("param_norm", params)):
        used = [name for name in names if key == "param_norm" or g[name] is not None]
        assert getattr(stats, key) == sums.norm([arrays[name] for name in used]), key
        for name in names:
            want = sums.norm([arrays[name]]) if name in used else 0.0
            assert getattr(stats.per_tensor[name], key) == want, f"{key} of {name}"


@pytest.mark.parametrize("size", [1e300, 1e200, 1e155, 1e-145, 1e-155, 1e-200, 1e-310, TINY])
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.usefixtures("either_launch")
def test_norms_of_huge_and_tiny_numbers(size, threads):
    rng = np.random.default_rng(8)
    params = {str(n): magnitudes(rng, n, size) for n in SIZES}
    before = {name: x.copy() for name, x in params.items()}
    opt = flr.SGD(params, 1.0, measure=MEASURE, clip_norm=math.inf, threads=threads)
    g = {name: magnitudes(rng, x.size, size) for name, x in params.items()}
    opt.step(g)
    check_norms(opt, params, before, g)
    assert 0.0 < opt.stats.update_norm < math.inf


def test_norms_of_arrays_of_all_magnitudes():
    """A tiny array beside a huge one has its own norm, and so has an array within which they differ."""
    rng = np.random.default_rng(9)
    sizes = {"huge": 1e200, "tiny": 1e-200, "one": 1.0, "zero": 0.0, "subnormal": 1e-320, "none": 1e250}
    sizes |= {"large": 1e150, "small": 1e-148}  # whose squares just fit, or just not
    params = {name: magnitudes(rng, 2100, size) for name, size in sizes.items()}
    params["mixed"] = np.concatenate([params[name] for name in ("tiny", "large", "huge", "small", "one")])
    before = {name: x.copy() for name, x in params.items()}
    outcomes = set()
    for threads in (1, 2, 5):
        for name, x in before.items():
            params[name][:] = x
        opt = flr.SGD(params, 1.0, measure=MEASURE, threads=threads)
        g = {name: x * 0.5 for name, x in before.items()}
        g["none"] = None
        opt.step(g)
        check_norms(opt, params, before, g)
        outcomes.add(repr(opt.stats))
    assert len(outcomes) == 1


@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
@pytest.mark.parametrize("size", [1e-200, 1e-310])
def test_tiny_gradients_are_clipped_beside_others(convention, size):
    """By their own norm, whose squares vanish beside those of the others."""
    limit = size / 4
    p = {"a": np.zeros(1), "b": np.zeros(1500), "c": np.zeros(1500)}
    opt = flr.SGD(p, 1.0, convention=convention, groups=[{"params": "b", "clip_norm": limit},
                                                          {"params": "c", "clip_norm_each": limit}])  # fmt: skip
    g = {"a": np.ones(1), "b": np.full(1500, size), "c": np.full(1500, size)}
    opt.step(g)
    assert p["a"][0] == -1.0
    norm = math.sqrt(1500) * size
    by = limit / (norm + (1e-6 if convention == "torch" else 0.0))
    for name in "bc":
        np.testing.assert_allclose(p[name], -size * by, rtol=1e-12, atol=TINY)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_huge_norm_beside_one_that_is_not_finite(bad, threads):
    """A group, or an array, is clipped by its own norm, whatever the others have."""
    for options in ({"groups": [{"params": "b", "clip_norm": 1e200}]}, {"clip_norm_each": 1e200}):
        p = {"a": np.zeros(1), "b": np.zeros(3000)}
        opt = flr.SGD(p, 1.0, convention="optax", measure=("per_tensor",), threads=threads, **options)
        opt.step({"a": np.array([bad]), "b": np.full(3000, 1e200)})
        np.testing.assert_allclose(p["b"], -1e200 / math.sqrt(3000), rtol=1e-12)
        stats = opt.stats.per_tensor["b"]
        assert stats.grad_norm == pytest.approx(1e200 * math.sqrt(3000), rel=1e-12)
        assert stats.nonfinite == 0
        assert (opt.stats.nonfinite, opt.stats.per_tensor["a"].nonfinite) == (1, 1)


def test_what_is_not_finite_is_not_counted_behind_a_value():
    """A value clips an infinity before anything is measured. So the number is unknown, unless a policy looks first."""
    g, p = np.array([math.inf, 1.0, math.nan]), np.zeros(3)
    opt = flr.SGD(p, 1.0, clip_norm=1.0, measure=("per_tensor",))
    opt.step(g)
    assert (opt.stats.nonfinite, opt.stats.per_tensor[""].nonfinite) == (2, 2)
    opt.clip_value = 1.0
    opt.step(g)
    assert (opt.stats.nonfinite, opt.stats.per_tensor[""].nonfinite) == (None, None)
    opt.clip_value = None
    opt.step(np.ones(3))
    assert (opt.stats.nonfinite, opt.stats.per_tensor[""].nonfinite) == (0, 0)
    opt = flr.SGD(p, 1.0, clip_norm=1.0, clip_value=1.0, nonfinite="skip", measure=("per_tensor",))
    opt.step(g)
    assert (opt.stats.nonfinite, opt.stats.per_tensor[""].nonfinite) == (2, 2)


def test_counts_of_a_call_that_accumulates_are_its_own():
    opt = flr.SGD(np.zeros(3), 1.0, accumulate=2, measure=("per_tensor",))
    for g in (math.inf, 1.0, 1.0):
        opt.step(np.full(3, g))
    assert opt.stats.per_tensor[""].nonfinite is None  # this call was accumulated: nothing was measured
    opt.step(np.full(3, math.inf))
    assert opt.stats.per_tensor[""].nonfinite == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_decay_of_zero_restarts_an_average_that_is_not_finite(bad):
    p = np.zeros(3)
    opt = flr.SGD(p, 1.0, ema_decay=0.5)
    opt.step(np.array([bad, 1.0, 1.0]))
    p[:] = -0.0
    opt.ema_decay = 0.0
    opt.step(np.array([0.0, 1.0, 1.0]))
    assert opt.ema.tobytes() == p.tobytes() == np.array([-0.0, -1.0, -1.0]).tobytes()


def test_signs_of_zero_are_kept_by_copies_and_averages():
    p, c = np.array([-0.0, 0.0]), np.ones(2)
    opt = flr.SGD(p, 1.0, ema_decay=0.5, copy_to=c)
    for _ in range(3):
        opt.step(np.array([0.0, -0.0]))
        assert c.tobytes() == opt.ema.tobytes() == p.tobytes() == np.array([-0.0, 0.0]).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_gradients_go_through_all_options(dtype):
    """None of their bits is lost, accumulated, clipped by value or by a norm that is larger."""
    tiny = np.dtype(dtype).type(np.finfo(dtype).smallest_subnormal)
    p = np.zeros(5, dtype)
    opt = flr.SGD(p, 1.0, accumulate=2, accumulate_mode="sum", clip_value=1.0, clip_norm=1e-3, clip_norm_each=1e-3,
                  nonfinite="skip", convention="optax")  # fmt: skip
    g = tiny * np.arange(5, dtype=dtype)
    opt.step(g)
    opt.step(g)
    assert (p == -2 * g).all()
    assert opt.stats.clipped is False
    want = 2 * float(tiny) * math.sqrt(30)
    assert opt.stats.grad_norm == (pytest.approx(want, rel=1e-12) if dtype == "float32" else 11 * float(tiny))
