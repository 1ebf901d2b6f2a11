"""Options at their edges: sizes, bits, extreme and non-finite gradients, zero norms, and options that change."""

import math

import numpy as np
import pytest

import pyfastlr as flr
import sums
from pyfastlr import schedules as S
from step_options import factor, norm
from test_updates import magnitudes

pytestmark = pytest.mark.usefixtures("parallel_from_the_first_chunk")

SIZES = (0, 1, 3, 7, 1023, 1024, 1025, 4097, 100_003)
FLOATS = ("float32", "float64")
ALL = {
    "clip_norm": 3.0, "clip_norm_each": 1.0, "clip_value": 0.5, "ema_decay": 0.75, "nonfinite": "skip",
    "measure": ("update_norm", "param_norm", "per_tensor"),
}  # fmt: skip
each_dtype = pytest.mark.parametrize("dtype", FLOATS)
CONVENTIONS = ("torch", "keras", "optax")


def gradients(n, dtype, count, low=-12, high=2, seed=0):
    rng = np.random.default_rng(seed)
    return [magnitudes(rng, n, low, high).astype(dtype) for _ in range(count)]


def split(x, cuts):
    return [part.copy() for part in np.split(x, cuts)]


# --- Bits -------------------------------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("n", SIZES)
def test_any_number_of_threads_gives_the_same_bits(n, dtype):
    """With all options, and with each of them alone."""
    for options in (ALL, {**ALL, "accumulate": 3}, *({name: x} for name, x in ALL.items())):
        outcomes = set()
        for threads in (1, 2, 5):
            p, copies = np.ones(n, dtype), np.zeros(n, dtype)
            opt = flr.AdamW(p, 1e-2, threads=threads, copy_to=copies, **options)
            for g in gradients(n, dtype, 6):
                opt.step(g.copy(), inv_scale=0.25)
            average = opt.ema.tobytes() if "ema_decay" in options else b""
            assert copies.tobytes() == p.tobytes()
            outcomes.add((p.tobytes(), average, repr(opt.stats), opt.steps))
        assert len(outcomes) == 1


@each_dtype
def test_containers_and_pieces_at_multiples_of_the_unit_give_the_same_bits(dtype):
    """A norm's sum goes block by block, so a tensor that is cut between two blocks has the same sum."""
    n, cuts, outcomes = 4097, [1024, 3072], set()
    options = {name: x for name, x in ALL.items() if name not in ("measure", "clip_norm_each")}
    for make in (lambda x: x.copy(), lambda x: split(x, cuts), lambda x: flr.Flat(split(x, cuts)),
                 lambda x: {"x": split(x, cuts)}):  # fmt: skip
        p = make(np.ones(n, dtype))
        opt = flr.Adam(p, 1e-2, **options)
        for g in gradients(n, dtype, 3):
            opt.step(make(g))
        now = np.concatenate([x.ravel() for x in opt._parameters.inside_tensors()])
        average = np.concatenate([x.ravel() for x in opt._extras.tensors("average")])
        outcomes.add((now.tobytes(), average.tobytes(), opt.stats.grad_norm))
    assert len(outcomes) == 1


@each_dtype
@pytest.mark.parametrize("n", SIZES)
def test_norms_have_the_bits_of_their_definition(n, dtype):
    p, cuts = np.ones(n, dtype), [n // 3, n // 2]
    parts = split(p, cuts)
    opt = flr.SGD(parts, 0.5, clip_norm=math.inf, measure=("per_tensor", "update_norm", "param_norm"))
    (g,) = gradients(n, dtype, 1, high=0)
    given = split(g, cuts)
    opt.step(given)
    stats = opt.stats
    assert stats.grad_norm == sums.norm(given)
    assert stats.param_norm == sums.norm(parts)
    assert stats.update_norm == sums.norm([x - 1 for x in parts])
    assert [one.grad_norm for one in stats.per_tensor.values()] == [sums.norm([x]) for x in given]
    opt.step(given, inv_scale=0.3)
    assert opt.stats.grad_norm == sums.norm(given) * 0.3
    assert opt.stats.clipped is False


# --- Magnitudes -------------------------------------------------------------------------------------------------------

MAGNITUDES = [("float32", 1e30), ("float32", 1e-30), ("float64", 1e200), ("float64", 1e-200), ("float64", 1e-12)]


@pytest.mark.parametrize(("dtype", "size"), MAGNITUDES)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_squares_neither_overflow_nor_vanish(dtype, size, convention, threads):
    g = (gradients(4097, "float64", 1, low=-1, high=1)[0] * size).astype(dtype)
    limit = float(norm([g])) / 3
    for every in (1, 2):
        p = np.zeros(g.size, dtype)
        opt = flr.SGD(p, 1.0, clip_norm=limit, convention=convention, accumulate=every, threads=threads,
                      nonfinite="raise")  # fmt: skip
        for _ in range(every):
            opt.step(g)
        assert opt.stats.grad_norm == pytest.approx(norm([g]), rel=1e-12)
        want = -g.astype(np.float64) * factor(convention, norm([g]), limit)
        assert np.allclose(p, want, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


def test_a_norm_above_the_largest_float_may_be_finite_when_unscaled():
    g = np.full(100, 1e308)
    p = np.zeros(100)
    opt = flr.SGD(p, 1.0, clip_norm=1.0)
    opt.step(g, inv_scale=1e-300)
    assert opt.stats.grad_norm == pytest.approx(1e9, rel=1e-12)
    assert np.allclose(p, -0.1, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_small_norms_beside_a_huge_one(threads):
    """Each is clipped by its own, although the sum of all squares overflows."""
    p = {"a": np.zeros(3000), "b": np.zeros(4), "c": np.zeros(1), "d": np.zeros(1)}
    groups = [{"params": "c", "clip_norm": 2.0}, {"params": "d", "clip_norm": 1e250}]
    opt = flr.SGD(p, 1.0, clip_norm=1e210, clip_norm_each=1e200, groups=groups, convention="optax", threads=threads)
    opt.groups[1]["clip_norm_each"] = 1.0
    opt.step({"a": np.full(3000, 1e200), "b": np.full(4, 3.0), "c": np.full(1, 4.0), "d": np.full(1, 1e251)})
    assert np.allclose(p["a"], -1e200 / math.sqrt(3000), rtol=1e-12)
    assert (p["b"] == -3).all()
    assert p["c"][0] == -1.0
    assert p["d"][0] == pytest.approx(-1e200, rel=1e-12)
    opt.groups[0]["clip_norm_each"] = 1.5
    p["b"][:] = 0
    opt.step({"a": np.full(3000, 1e200), "b": np.full(4, 3.0), "c": np.full(1, 4.0), "d": np.full(1, 1e251)})
    assert np.allclose(p["b"], -0.75, rtol=1e-12)


@each_dtype
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_zero_gradient_is_not_clipped(dtype, convention):
    p = {"a": np.ones(5, dtype), "b": np.ones(0, dtype)}
    opt = flr.SGD(p, 1.0, clip_norm=1e-3, clip_norm_each=1.0, clip_value=1e-3,
                  convention=convention)  # fmt: skip
    opt.step({"a": np.zeros(5, dtype), "b": np.zeros(0, dtype)})
    assert (opt.stats.grad_norm, opt.stats.clipped, opt.steps) == (0.0, False, 1)
    assert (p["a"] == 1).all()


# --- Not finite -------------------------------------------------------------------------------------------------------

BAD = {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf}
BEFORE = {  # what else the step does
    "nothing": {},
    "a norm": {"clip_norm": 1.0},
    "a value": {"clip_value": 1.0},
    "both": {"clip_value": 1.0, "clip_norm_each": 1.0},
    "calls": {"accumulate": 2},
    "all": {"accumulate": 2, "accumulate_mode": "sum", "clip_value": 1.0, "clip_norm": 1.0},
}


@each_dtype
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("at", [0, 1023, 1024, 4096])
def test_each_policy(dtype, bad, before, at):
    for policy in ("raise", "skip"):
        p = {"w": np.ones(3, dtype), "x": np.ones(4097, dtype)}
        opt = flr.SGD(p, 0.5, nonfinite=policy, threads=2, **BEFORE[before])
        g = {"w": np.ones(3, dtype), "x": np.ones(4097, dtype)}
        g["x"][[at, 7]] = BAD[bad]
        wrong = len({at, 7})
        if policy == "raise":
            with pytest.raises(FloatingPointError, match=rf"`grads\['x'\]` must be finite .* got {wrong} elements"):
                opt.step(g)
        else:
            opt.step(g)
            assert opt.stats.skipped is True
        assert opt.stats.nonfinite == wrong
        assert not math.isfinite(opt.stats.grad_norm or math.nan)
        assert (opt.steps, (p["x"] == 1).all(), (p["w"] == 1).all()) == (0, True, True)
        for _ in range(BEFORE[before].get("accumulate", 1)):
            opt.step({name: np.full_like(x, 0.5) for name, x in p.items()})
        assert opt.steps == 1
        assert opt.stats.skipped is False
        assert opt.stats.nonfinite in (0, None)
        assert np.isfinite(p["x"]).all()
        assert (p["x"] != 1).all()


@pytest.mark.parametrize("before", BEFORE)
def test_the_first_array_that_is_not_finite_is_named(before):
    """With its own number of such elements, and that of all arrays."""
    p = {name: np.ones(2000) for name in "abcd"}
    opt = flr.SGD(p, 0.5, nonfinite="raise", threads=2, **BEFORE[before])
    g = {name: np.ones(2000) for name in "abcd"}
    g["a"], g["b"][1999], g["d"][:3] = None, math.nan, math.inf
    with pytest.raises(
        FloatingPointError, match=r"`grads\['b'\]` .* got 1 element that .*\(and 3 in other arrays\); nothing"
    ):
        opt.step(g)
    measured = before not in ("a value", "calls")
    assert math.isnan(opt.stats.grad_norm) if measured else opt.stats.grad_norm is None
    g["b"] = np.ones(2000)
    with pytest.raises(FloatingPointError, match=r"`grads\['d'\]` .* got 3 elements that are infinite or NaN; nothing"):
        opt.step(g)
    assert opt.stats.grad_norm == (math.inf if measured else None)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("bad", BAD)
def test_propagated_norms(convention, bad):
    """NaN makes all NaN. An infinite norm makes zeros, and NaN where the gradient is infinite; in Keras, all is NaN."""
    p, g = np.zeros(5), np.array([1.0, 2.0, BAD[bad], 0.0, 1.0])
    opt = flr.SGD(p, 1.0, clip_norm=1.0, convention=convention)
    opt.step(g)
    finite = np.isfinite(g)
    assert np.isnan(p[~finite]).all()
    assert np.isnan(p).all() if bad == "NaN" or convention == "keras" else (p[finite] == 0).all()
    assert opt.stats.clipped is True
    assert opt.stats.nonfinite == 1


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_elements_that_clip_value_hides_are_not_said_to_be_none(bad, accumulate):
    opt = flr.SGD(np.zeros(2), 0.5, clip_value=1.0, measure=("per_tensor",), accumulate=accumulate)
    for _ in range(accumulate):
        opt.step(np.array([BAD[bad], 1.0]))
    assert opt.stats.nonfinite is None
    assert opt.stats.per_tensor[""].nonfinite is None


@pytest.mark.parametrize(("policy", "found"), [("propagate", None), ("skip", 0), ("raise", 0)])
def test_what_a_call_that_is_accumulated_does_not_measure_is_none(policy, found):
    opt = flr.SGD(np.zeros(2), 0.5, clip_norm=1.0, accumulate=2, nonfinite=policy)
    opt.step(np.array([math.nan if policy == "propagate" else 1.0, 1.0]))
    assert opt.stats == flr.Stats(clipped=None, skipped=False, nonfinite=found)
    opt.step(np.ones(2))
    assert opt.stats.clipped is True
    assert opt.stats.nonfinite == (1 if policy == "propagate" else 0)


@pytest.mark.parametrize("bad", BAD)
def test_an_infinite_limit_only_measures(bad):
    """The factor is 1, whatever the norm."""
    p, twin, g = np.zeros(5), np.zeros(5), np.array([1.0, 2.0, BAD[bad], 0.0, 1.0])
    opt, plain = flr.SGD(p, 0.5, clip_norm=math.inf, clip_norm_each=math.inf), flr.SGD(twin, 0.5)
    opt.step(g)
    plain.step(g)
    assert np.array_equal(p, twin, equal_nan=True)
    assert opt.stats.clipped is False
    assert not math.isfinite(opt.stats.grad_norm)


def test_a_value_clips_an_infinity_and_keeps_nan():
    p = np.zeros(4)
    flr.SGD(p, 1.0, clip_value=2.0).step(np.array([np.inf, -np.inf, np.nan, 3.0]))
    assert np.array_equal(p, [-2.0, 2.0, np.nan, -2.0], equal_nan=True)


# --- Options that change ----------------------------------------------------------------------------------------------


def test_norms_turned_off_and_on_again():
    p = np.zeros(4)
    opt = flr.SGD(p, 1.0, convention="optax")
    values = (None, 3.0, 6.0, None, S.Linear(1.0, 3.0, 8), None, 1.5, math.inf, lambda n: 0.25 * n, np.float32(0.75))
    limits = (math.inf, 3.0, 6.0, math.inf, 2.0, math.inf, 1.5, math.inf, 2.0, 0.75)
    for value, limit in zip(values, limits, strict=True):
        opt.clip_norm = value
        before = p.copy()
        opt.step(np.full(4, 3.0))  # of norm 6
        assert (before - p).tolist() == [min(limit / 2, 3.0)] * 4
        assert opt.stats.grad_norm == (None if value is None else 6.0)
        assert (opt.clip_norm is None) == (value is None)


def test_values_turned_off_and_on_again():
    p = np.zeros(2)
    opt = flr.SGD(p, 1.0)
    for value, moved in ((0.5, 0.5), (None, 2.0), (1.0, 1.0), (lambda n: 0.25, 0.25), (None, 2.0), (math.inf, 2.0)):
        opt.clip_value = value
        before = p.copy()
        opt.step(np.full(2, 2.0))
        assert (before - p).tolist() == [moved, moved]


def test_a_group_may_return_to_the_global_norm():
    p = {"a": np.zeros(1), "b": np.zeros(1)}
    opt = flr.SGD(p, 1.0, clip_norm=1.0, convention="optax", groups=[{"params": "b", "clip_norm": 2.0}])
    g = {"a": np.array([3.0]), "b": np.array([4.0])}

    def moved():
        before = {name: x.copy() for name, x in p.items()}
        opt.step(g)
        return [float((before[name] - p[name])[0]) for name in p]

    assert moved() == [1.0, 2.0]  # b is clipped by its own norm, and left out of the other
    opt.groups[1]["clip_norm"] = None
    assert moved() == pytest.approx([0.6, 0.8], rel=1e-12)
    opt.clip_norm = None
    assert moved() == pytest.approx([3.0, 4.0], rel=1e-12)
    opt.groups[1]["clip_norm"] = 1.0
    assert moved() == pytest.approx([3.0, 1.0], rel=1e-12)
    opt.groups[1]["clip_norm"] = math.inf
    opt.clip_norm = 1.5
    assert moved() == pytest.approx([1.5, 4.0], rel=1e-12)
    assert opt.stats.grad_norm == 5.0


def test_an_average_that_was_turned_off_stays_until_it_is_continued():
    p = np.zeros(2)
    opt = flr.SGD(p, 1.0, ema_decay=0.5)
    opt.step(np.ones(2))
    opt.step(np.ones(2))
    assert opt.ema.tolist() == [-1.5, -1.5]
    opt.ema_decay = 0.75
    opt.step(np.ones(2))
    assert opt.ema.tolist() == [-1.875, -1.875]
    opt.ema_decay = None
    opt.step(np.ones(2))
    assert opt.ema.tolist() == [-1.875, -1.875]
    with opt.averaged():
        assert p.tolist() == [-1.875, -1.875]
    assert p.tolist() == [-4.0, -4.0]
    opt.ema_decay = 0.5
    opt.step(np.ones(2))
    assert opt.ema.tolist() == [0.5 * -1.875 + 0.5 * -5.0] * 2
    opt.ema_decay = 0.0  # starts anew from the parameters
    opt.step(np.ones(2))
    assert opt.ema.tolist() == p.tolist() == [-6.0, -6.0]


def test_arrays_without_a_decay_have_the_parameters_as_their_average():
    """Where another group has one; where none has, the average stays as it is."""
    p = [np.zeros(1), np.zeros(1)]
    opt = flr.SGD(p, 1.0, groups=[{"params": 1, "ema_decay": 0.5}])
    for _ in range(2):
        opt.step([np.ones(1), np.ones(1)])
    assert [x.tolist() for x in opt.ema] == [[-2.0], [-1.5]]
    opt.ema_decay = 0.75
    opt.step([np.ones(1), None])
    assert [x.tolist() for x in opt.ema] == [[-2.25], [-1.75]]
    opt.ema_decay = None
    opt.step([np.ones(1), None])
    assert [x.tolist() for x in opt.ema] == [[-4.0], [-1.875]]
    opt.groups[1]["ema_decay"] = None
    opt.step([np.ones(1), np.ones(1)])
    assert [x.tolist() for x in opt.ema] == [[-4.0], [-1.875]]


def test_a_group_has_its_own_average():
    p = [np.zeros(1), np.zeros(1)]
    opt = flr.SGD(p, 1.0, ema_decay=0.5, groups=[{"params": 1, "ema_decay": 0.0}])
    for _ in range(2):
        opt.step([np.ones(1), np.ones(1)])
    assert [x.tolist() for x in opt.ema] == [[-1.5], [-2.0]]


def test_schedules_count_updates():
    """A call that only accumulates calls no schedule, and neither does a step that is refused for a shape."""
    seen = []
    opt = flr.SGD(np.zeros(2), lambda n: seen.append(n) or 0.5, accumulate=3, nonfinite="skip")
    for k in range(7):
        opt.step(np.full(2, np.nan if k == 4 else 1.0))
    assert (seen, opt.steps) == ([0, 1], 2)
    assert opt.stats.lr == 0.5


def test_stats_are_of_the_last_step():
    opt = flr.SGD(np.zeros(2), 0.5, clip_norm=1.0)
    assert opt.stats == flr.SGD(np.zeros(2), 0.5).stats
    opt.step(np.ones(2))
    assert opt.stats.grad_norm == math.sqrt(2)
    opt.clip_norm = None
    opt.step(np.ones(2))
    assert opt.stats == type(opt.stats)(lr=0.5)
