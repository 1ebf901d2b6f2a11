"""Schedules: values against formulas computed in another way, exact ends, and refused input."""

import copy
import json
import math
import pickle
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import pyfastlr
from pyfastlr import schedules as S

pi = math.pi


def cosine(a, b, x):
    """From a to b, by cos(2y) = 1 - 2 sin(y)**2, which is not the formula under test."""
    return a + (b - a) * math.sin(pi / 2 * x) ** 2


def recurrence(lr, decay, n):
    for k in range(n):
        lr /= 1 + decay * k
    return lr


def restarts(lr, period, mult, decay, end, n):
    starts, i = [0], 0
    while starts[-1] <= n:
        starts.append(starts[-1] + period * mult**i)
        i += 1
    i -= 1
    return cosine(lr * decay**i, end, float(n - starts[i]) / (starts[i + 1] - starts[i]))


def triangle(n, up, down):
    return float(np.interp(n % (up + down), [0, up, up + down], [0, 1, 0]))


def interpolated(n, points, rates):
    return float(np.interp(n, points, rates))


# One row per class at least: a schedule, and its value at n.
EXAMPLES = [
    (S.Constant(0.3), lambda n: 0.3),
    (S.TimeDecay(0.1, decay=1e-2), lambda n: recurrence(0.1, 1e-2, n)),
    (S.TimeDecay(0.1, decay=0.3), lambda n: recurrence(0.1, 0.3, n)),
    (S.InverseTime(0.1, decay=0.02), lambda n: 1 / (1 / 0.1 + 0.02 / 0.1 * n)),
    (S.InverseTime(0.1, decay=0.3, power=0.5), lambda n: 0.1 / math.sqrt(1 + 0.3 * n)),
    (S.InverseTime(0.1, decay=1.0, power=2.5), lambda n: 0.1 * math.exp(-2.5 * math.log1p(n))),
    (S.StepDecay(0.1, drop=0.5, every=10), lambda n: 0.1 / 2 ** ((1 + n) // 10)),
    (S.MultiStep(0.1, [0, 7, 30], gamma=0.2), lambda n: 0.1 * math.prod(0.2 for m in (0, 7, 30) if n >= m)),
    (S.MultiStep(0.1, []), lambda n: 0.1),
    (S.Piecewise([10, 25], [0.3, 0.2, 0.7]), lambda n: 0.3 if n < 10 else 0.2 if n < 25 else 0.7),
    (S.Piecewise([], [0.2]), lambda n: 0.2),
    (S.Exponential(0.1, 0.5, steps=7), lambda n: 0.1 * math.exp(n / 7 * math.log(0.5))),
    (S.Exponential(1e-7, 1e6, steps=100), lambda n: 1e-7 * math.exp(n / 100 * math.log(1e6))),
    (S.Exponential(0.1, 0.8, steps=7, staircase=True), lambda n: 0.1 * math.prod([0.8] * (n // 7))),
    (S.Exponential(0.1, 0.5, steps=2.4), lambda n: 0.1 * math.exp(n / 2.4 * math.log(0.5))),
    (S.Exponential(0.1, 0.8, steps=2.4, staircase=True), lambda n: 0.1 * math.prod([0.8] * (10 * n // 24))),
    (S.Exponential(0.1, decay=0.03), lambda n: 0.1 / math.exp(0.03 * n)),
    (S.Linear(0.1, 0.02, steps=30), lambda n: interpolated(n, [0, 30], [0.1, 0.02])),
    (S.Linear(0.1, 0.02, steps=30.5), lambda n: interpolated(n, [0, 30.5], [0.1, 0.02])),
    (S.Linear(0.0, 0.3, steps=30), lambda n: interpolated(n, [0, 30], [0.0, 0.3])),
    (S.Polynomial(0.1, steps=30, end=0.02, power=2.5), lambda n: 0.02 + 0.08 * max(1 - n / 30, 0) ** 2.5),
    (S.Polynomial(0.1, steps=30, power=0.5), lambda n: 0.1 * math.sqrt(max(1 - n / 30, 0))),
    (S.Polynomial(0.1, 30.5, 0.02, 2.5), lambda n: 0.02 + 0.08 * max(1 - n / 30.5, 0) ** 2.5),
    (
        S.Polynomial(0.1, 30, 0.02, power=2.0, k_decay=1.5),
        lambda n: 0.02 + 0.08 * (1 - (min(n, 30) / 30) * math.sqrt(min(n, 30) / 30)) ** 2,
    ),
    (S.Cosine(0.1, steps=30.5, end=0.03), lambda n: cosine(0.1, 0.03, min(n / 30.5, 1))),
    (S.Cosine(0.1, 30, end=0.03, k_decay=2.0), lambda n: cosine(0.1, 0.03, min(n / 30, 1) ** 2)),
    (
        S.Tanh(0.1, 30, end=0.02),
        lambda n: 0.02 + 0.08 * (1 - math.tanh(10 * n / 30 - 7)) / 2 if n < 30 else 0.02,
    ),
    (S.Tanh(0.1, 30.5, 0.2, -3.0, 1.5), lambda n: 0.2 - 0.05 * (1 - math.tanh(4.5 * n / 30.5 - 3)) if n < 31 else 0.2),
    (S.REX(0.1, 30, end=0.02), lambda n: 0.02 + 0.08 * (2 - 2 / (2 - min(n / 30, 1)))),
    (S.REX(0.1, 30.5), lambda n: 0.1 * (2 - 2 / (2 - min(n / 30.5, 1)))),
    (S.Cosine(0.1, steps=30, end=0.03), lambda n: cosine(0.1, 0.03, min(n / 30, 1))),
    (S.Cosine(0.1, steps=1), lambda n: 0.0 if n else 0.1),
    (S.CosineRestarts(0.1, 7, decay=0.7, end=0.01), lambda n: restarts(0.1, 7, 1, 0.7, 0.01, n)),
    (S.CosineRestarts(0.1, 7, mult=3, decay=0.9), lambda n: restarts(0.1, 7, 3, 0.9, 0.0, n)),
    (S.CosineRestarts(0.1, 7, decay=1.1, end=0.01), lambda n: restarts(0.1, 7, 1, 1.1, 0.01, n)),
    (S.CosineRestarts(0.1, 45 / 7, decay=0.7, end=0.01), lambda n: restarts(0.1, Fraction(45, 7), 1, 0.7, 0.01, n)),
    (S.CosineRestarts(0.1, 10 / 3), lambda n: restarts(0.1, Fraction(10, 3), 1, 1.0, 0.0, n)),
    (S.CosineRestarts(0.1, 2.5, mult=3, decay=0.9), lambda n: restarts(0.1, Fraction(5, 2), 3, 0.9, 0.0, n)),
    (S.Cyclic(0.01, 0.1, up=5), lambda n: 0.01 + 0.09 * triangle(n, 5, 5)),
    (
        S.Cyclic(0.01, 0.1, up=5, down=9, mode="triangular2"),
        lambda n: 0.01 + 0.09 * triangle(n, 5, 9) / 2 ** (n // 14),
    ),
    (
        S.Cyclic(0.01, 0.1, up=5, down=2, mode="exp_range", gamma=0.97),
        lambda n: 0.01 + 0.09 * triangle(n, 5, 2) * math.exp(n * math.log(0.97)),
    ),
    (
        S.OneCycle(0.5, steps=40),
        lambda n: cosine(0.02, 0.5, n / 12) if n < 12 else cosine(0.5, 2e-6, min((n - 12) / 28, 1)),
    ),
    (
        S.OneCycle(0.5, steps=40, pct_start=0.25, div=10, final_div=100, anneal="linear"),
        lambda n: interpolated(n, [0, 10, 40], [0.05, 0.5, 0.0005]),
    ),
    (
        S.OneCycle(0.5, steps=40).momentum(0.8, 0.9),
        lambda n: cosine(0.9, 0.8, n / 12) if n < 12 else cosine(0.8, 0.9, min((n - 12) / 28, 1)),
    ),
    (
        S.OneCycle(0.5, steps=40, anneal="linear").momentum(0.8, 0.9),
        lambda n: interpolated(n, [0, 12, 40], [0.9, 0.8, 0.9]),
    ),
    (
        S.Noam(512, warmup=9, scale=0.5),
        lambda n: 0.5 / math.sqrt(512) * ((n + 1) / 27 if n < 9 else 1 / math.sqrt(n + 1)),
    ),
    (S.InverseSqrt(0.1, warmup=9), lambda n: 0.1 * n / 9 if n < 9 else 0.3 / math.sqrt(n)),
    (
        S.WSD(0.1, warmup=5, stable=10, decay=20, start=0.02, end=0.01),
        lambda n: interpolated(n, [0, 5], [0.02, 0.1]) if n < 15 else 0.1 - 0.09 * math.sqrt(min((n - 15) / 20, 1)),
    ),
    (S.WSD(0.1, 0, 10, 20, shape="linear"), lambda n: interpolated(n, [10, 30], [0.1, 0])),
    (S.WSD(0.1, 0, 0, 20, shape="1-square"), lambda n: 0.1 * (1 - min(n / 20, 1) ** 2)),
    (S.WSD(0.1, 5, 0, 20, shape="cosine"), lambda n: n / 50 if n < 5 else cosine(0.1, 0, min((n - 5) / 20, 1))),
    (S.Exponential(0.1, 0.9).warmup(5, start=0.3), lambda n: 0.3 - 0.2 * n / 5 if n < 5 else 0.1 * 0.9 ** (n - 5)),
    (
        S.Exponential(0.1, 0.9).warmup(5, 0.3, shape="log"),
        lambda n: 0.3 - 0.2 * math.log(n + 1, 5) if n < 5 else 0.1 * 0.9 ** (n - 5),
    ),
    (S.Constant(0.1).warmup(1, shape="log"), lambda n: 0.1 if n else 0.0),
    (S.Constant(0.1).warmup(9, 0.02, shape="cosine"), lambda n: cosine(0.02, 0.1, min(n / 9, 1))),
    (S.Constant(0.1).warmup(9, shape="1-sqrt"), lambda n: 0.1 - 0.1 * math.sqrt(max(1 - n / 9, 0))),
    (
        S.Linear(0.1, 0.0, 10).then(S.Linear(0.2, 0.0, 20), at=10),
        lambda n: interpolated(n, [0, 10], [0.1, 0]) if n < 10 else interpolated(n, [10, 30], [0.2, 0]),
    ),
    (
        S.join([S.Constant(0.1), S.Linear(0.0, 1.0, 10), 0.7], [5, 9]),
        lambda n: 0.1 if n < 5 else (n - 5) / 10 if n < 9 else 0.7,
    ),
    (S.Linear(0.1, 0.0, 10).delay(7), lambda n: interpolated(n, [7, 17], [0.1, 0])),
    (S.Linear(0.1, 0.0, 10).advance(7), lambda n: interpolated(n + 7, [0, 10], [0.1, 0])),
    (S.Exponential(0.1, 0.9).warmup(9).advance(3), lambda n: 0.1 * (n + 3) / 9 if n < 6 else 0.1 * 0.9 ** (n - 6)),
    (S.Linear(0.1, 0.0, 10).every(4), lambda n: interpolated(n - n % 4, [0, 40], [0.1, 0])),
    (S.Linear(0.1, 0.0, 10).clip(0.03, 0.08), lambda n: float(np.clip(0.1 - 0.01 * n, 0.03, 0.08))),
    (S.Linear(0.1, 0.0, 50) * S.Exponential(1.0, 0.9), lambda n: max(0.1 - 0.002 * n, 0) * 0.9**n),
    (0.25 + 0.5 * S.Exponential(1.0, 0.9), lambda n: 0.25 + 0.9**n / 2),
]
IDS = [repr(s) for s, _ in EXAMPLES]
schedules = pytest.mark.parametrize("s", [s for s, _ in EXAMPLES], ids=IDS)


def test_every_class_has_an_example():
    used = {type(s) for s, _ in EXAMPLES}
    classes = {c for c in vars(S).values() if isinstance(c, type) and issubclass(c, S.Schedule)}
    assert classes - used == {S.Schedule, S.Custom}


@pytest.mark.parametrize(("s", "value"), EXAMPLES, ids=IDS)
def test_formula(s, value):
    assert [s(n) for n in range(120)] == pytest.approx([value(n) for n in range(120)], rel=1e-12, abs=1e-15)


@schedules
def test_forms(s):
    """Arrays, JSON, pickle, copies, repr and formula, of every schedule."""
    n = np.arange(60).reshape(5, 12)
    values = s(n)
    assert values.dtype == np.float64
    assert values.shape == n.shape
    assert values.ravel().tolist() == [s(i) for i in range(60)]
    assert s(n.T.astype(np.uint16)).tolist() == values.T.tolist()
    assert s(np.int32(7)) == s(7)
    assert type(s(7)) is float
    for other in (S.from_dict(json.loads(json.dumps(s.to_dict()))), pickle.loads(pickle.dumps(s)),
                  copy.deepcopy(s), eval(repr(s), vars(S))):  # fmt: skip
        assert other == s
        assert hash(other) == hash(s)
        assert other(33) == s(33)
    assert s != S.Constant(17.0)
    assert "\n" not in s.formula
    assert "{" not in s.formula


def test_ends_are_exact():
    """Also for rates that ``a + (b - a)*x`` would miss by a rounding at x = 1, either way."""
    a, b, n = 0.3, 0.85, 7
    assert a + (b - a) != b
    assert b + (a - b) != a
    assert S.Linear(a, b, n)(np.array([0, n, n + 1, 10**12])).tolist() == [a, b, b, b]
    assert S.Polynomial(b, n, a, 2.0)(np.array([0, n, 10**12])).tolist() == [b, a, a]
    assert S.Cosine(b, n, a)(np.array([0, n, 10**12])).tolist() == [b, a, a]
    assert S.Cosine(a, n, b)(np.array([0, n])).tolist() == [a, b]
    assert S.CosineRestarts(b, n, 2, 1.0, a)(np.array([0, n, 3 * n, 7 * n])).tolist() == [b] * 4
    assert S.Cyclic(a, b, n, 2)(np.array([0, n, n + 2, 2 * n + 2])).tolist() == [a, b, a, b]
    cycle = S.OneCycle(b, 10, 0.3, div=3.0, final_div=7.0)
    assert cycle(np.array([0, 3, 10, 10**12])).tolist() == [b / 3, b, b / 3 / 7, b / 3 / 7]
    assert cycle.momentum(a, b)(np.array([0, 3, 10, 11])).tolist() == [b, a, b, b]
    for shape in ("1-sqrt", "linear", "cosine", "1-square"):
        s = S.WSD(b, n, 4, 5, start=a, end=a, shape=shape)
        assert s(np.array([0, n, n + 4, n + 9, 10**12])).tolist() == [a, b, b, a, a]
    assert S.Constant(b).warmup(n, a)(np.array([0, n])).tolist() == [a, b]
    for shape in ("linear", "log", "cosine", "1-sqrt"):
        assert S.Constant(b).warmup(n, a, shape)(np.array([0, n])).tolist() == [a, b]
    assert S.Constant(b).warmup(n, a, "log")(n - 1) == b
    assert S.REX(b, n, a)(np.array([0, n, 10**12])).tolist() == [b, a, a]
    assert S.Cosine(b, n, a, k_decay=1.7)(np.array([0, n, 10**12])).tolist() == [b, a, a]
    assert S.Polynomial(b, n, a, 2.0, k_decay=0.7)(np.array([0, n, 10**12])).tolist() == [b, a, a]
    assert S.Tanh(b, n, a)(np.array([n, 10**12])).tolist() == [a, a]
    assert S.Linear(a, b, n + 0.5)(np.array([0, n + 1])).tolist() == [a, b]
    for s in (S.TimeDecay(b, 0.3), S.TimeDecay(b, 1e-9)):
        assert s(0) == s(1) == b


def test_a_peak_at_the_first_update():
    """int(pct_start*steps) may be 0. Then there is no rise and no division by zero."""
    s = S.OneCycle(1.0, steps=2)
    assert [s(n) for n in range(3)] == pytest.approx([1.0, (1 + 4e-6) / 2, 4e-6])
    assert s.momentum(0.8, 0.9)(np.arange(3)).tolist() == pytest.approx([0.8, 0.85, 0.9])


@pytest.mark.parametrize("decay", [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-2, 0.0624, 0.0625, 0.0626, 0.1, 1.0, 10.0])
def test_time_decay_is_its_recurrence(decay):
    n = np.unique(np.geomspace(1, 1e6, 2000).astype(np.int64))
    log = np.cumsum(np.log1p(np.longdouble(decay) * np.arange(10**6, dtype=np.longdouble)))[n - 1]
    normal = log < 690  # e-300
    expected = np.longdouble(0.1) * np.exp(-log[normal])
    assert np.abs(S.TimeDecay(0.1, decay)(n[normal]) / expected - 1).max() < 1e-12
    assert (S.TimeDecay(0.1, decay)(n[~normal]) < 1e-300).all()


@pytest.mark.parametrize("decay", [0.0, 5e-324, 1e-310, 1e-17, 1e-3, 1.0, 1e300, sys.float_info.max])
@pytest.mark.parametrize("lr", [0.0, 5e-324, 0.1, 1e308])
def test_time_decay_never_is_nan_and_never_rises(lr, decay):
    values = S.TimeDecay(lr, decay)(np.array([0, 1, 2, 15, 16, 17, 18, 100, 10**6, 10**12, 2**53]))
    assert np.isfinite(values).all()
    assert (values[1:] <= values[:-1] * (1 + 1e-13)).all()


def test_growth_ends_in_infinity_not_in_an_exception():
    assert S.Exponential(1.0, 10.0)(10**6) == math.inf
    assert S.Exponential(1.0, 10.0, staircase=True)(10**6) == math.inf
    assert S.Exponential(0.0, 10.0)(10**6) == 0.0
    assert S.Exponential(1.0, 10.0, 1.5, staircase=True)(10**6) == math.inf
    assert S.CosineRestarts(1.0, 2, decay=10.0)(10**6) == S.CosineRestarts(1.0, 2.5, decay=10.0)(10**6) > 1e308
    assert (S.Exponential(1.0, 10.0).clip(0.0, 2.0))(10**6) == 2.0


def test_indices_of_1e12_lose_nothing():
    n = 10**12
    assert S.Linear(0.0, 1.0, 2 * n)(n - 1) == (n - 1) / (2 * n)
    assert S.Cyclic(0.0, 1.0, up=1, down=2)(3 * n + 1) == 1.0
    assert S.CosineRestarts(1.0, 3)(3 * n) == 1.0
    assert S.CosineRestarts(1.0, 1, mult=2, decay=0.5)(2**40 - 1) == 2.0**-40
    assert S.CosineRestarts(1.0, 2**40, mult=2**50)(2**40) == 1.0
    assert S.Piecewise([n], [1.0, 2.0])(np.array([n - 1, n])).tolist() == [1.0, 2.0]
    assert S.StepDecay(1.0, 0.5, n)(np.array([n - 2, n - 1])).tolist() == [1.0, 0.5]


def test_algebra():
    s, t = S.Cosine(0.1, 30), S.Exponential(1.0, 0.9)
    assert s.warmup(0) is s
    assert s * 0.5 == 0.5 * s == np.float64(0.5) * s == s * S.Constant(0.5)
    assert 1 + s == s + np.float32(1)
    assert s.then(t, at=5).then(0.1, at=9) == S.join([s, t, 0.1], [5, 9])
    assert s.advance(0) is s
    assert s.advance(3) == S.Advance(s, np.int64(3))
    assert s.warmup(3, shape="linear") == s.warmup(3) != s.warmup(3, shape="log")
    assert S.Cosine(0.1, 30.0) == S.Cosine(0.1, 30) == S.Cosine(0.1, 30, k_decay=1.0)
    assert type(S.Cosine(0.1, np.float64(30.0)).parameters["steps"]) is int
    assert S.join([s], []) is s
    assert s.delay(3) == S.Delay(s, np.int64(3))
    assert s * t != t * s  # equal values, other schedules
    assert len({s, S.Cosine(0.1, np.int32(30)), S.Cosine(np.float64(0.1), 30, end=0), t}) == 2


def test_immutable():
    s = S.Cosine(0.1, 30)
    with pytest.raises(AttributeError, match="lr"):
        s.lr = 0.2
    with pytest.raises(TypeError):
        s.parameters["lr"] = 0.2
    with pytest.raises(AttributeError, match="parameters"):
        del s.parameters


def test_custom_callables():
    s = S.as_schedule(lambda n: 1 / (n + 1))
    assert (2 * s).warmup(2)(np.arange(4)).tolist() == [0.0, 1.0, 2.0, 1.0]
    assert S.as_schedule(abs) == S.as_schedule(abs)
    for refused in (lambda: s.to_dict(), lambda: s.compiled, lambda: (s + 1).to_dict(), lambda: (s + 1).compiled):
        with pytest.raises(TypeError, match="write a Schedule class with a curve"):
            refused()

    def fails(n):
        raise ZeroDivisionError(n)

    with pytest.raises(ZeroDivisionError, match="7"):
        S.as_schedule(fails)(7)


class Hyperbola(S.Schedule):
    """A user-defined schedule without an equation."""

    def __init__(self, lr, period=10):
        super().__init__(lr=lr, period=period)

    @staticmethod
    def curve(n, lr, period):
        return lr * (period / (period + n))


def test_a_schedule_of_ones_own():
    s = Hyperbola(0.4)
    assert s(10) == 0.2
    assert s(np.array([0, 20])).tolist() == [0.4, 0.4 * (10 / 30)]
    assert s.formula == repr(s) == "Hyperbola(lr=0.4, period=10)"
    d = s.warmup(3).to_dict()
    assert d["schedule"]["type"] == f"{__name__}.Hyperbola"
    assert S.from_dict(d) == s.warmup(3)


def test_a_curve_must_fit_its_parameters():
    class Short(Hyperbola):
        @staticmethod
        def curve(n, lr):
            return lr

    with pytest.raises(TypeError, match="`curve` must be a plain function of n and 2 parameters"):
        Short(0.4)


nan, inf = math.nan, math.inf
BAD = [
    ("lr", ValueError, [-1.0, nan, inf, -inf, 10**400], [
        S.Constant, lambda x: S.TimeDecay(x, 0.1), lambda x: S.InverseTime(x, 0.1), lambda x: S.StepDecay(x, 0.5, 3),
        lambda x: S.MultiStep(x, [3]), lambda x: S.Exponential(x, 0.5), lambda x: S.Polynomial(x, 3),
        lambda x: S.Cosine(x, 3), lambda x: S.CosineRestarts(x, 3), lambda x: S.InverseSqrt(x, 3),
        lambda x: S.WSD(x, 1, 2, 3), S.as_schedule]),
    ("lr", TypeError, ["0.1", None, True, 1j, [0.1], np.array([0.1])], [
        S.Constant, lambda x: S.TimeDecay(x, 0.1), lambda x: S.InverseTime(x, 0.1), lambda x: S.StepDecay(x, 0.5, 3),
        lambda x: S.MultiStep(x, [3]), lambda x: S.Exponential(x, 0.5), lambda x: S.Polynomial(x, 3),
        lambda x: S.Cosine(x, 3), lambda x: S.CosineRestarts(x, 3), lambda x: S.InverseSqrt(x, 3),
        lambda x: S.WSD(x, 1, 2, 3), S.as_schedule]),
    ("steps", ValueError, [0, -1, 2**53 + 1, np.int64(0)], [
        lambda x: S.Exponential(0.1, 0.5, x), lambda x: S.Linear(0.1, 0.2, x), lambda x: S.Polynomial(0.1, x),
        lambda x: S.Cosine(0.1, x), lambda x: S.OneCycle(0.1, x), S.Constant(0.1).every]),
    ("steps", ValueError, [nan, inf, 0.0, -0.5], [
        lambda x: S.Exponential(0.1, 0.5, x), lambda x: S.Linear(0.1, 0.2, x), lambda x: S.Polynomial(0.1, x),
        lambda x: S.Cosine(0.1, x), lambda x: S.Tanh(0.1, x), lambda x: S.REX(0.1, x)]),
    ("steps", TypeError, ["10", None, True, np.ones(1)], [
        lambda x: S.Exponential(0.1, 0.5, x), lambda x: S.Linear(0.1, 0.2, x), lambda x: S.Polynomial(0.1, x),
        lambda x: S.Cosine(0.1, x), lambda x: S.Tanh(0.1, x), lambda x: S.REX(0.1, x)]),
    ("steps", TypeError, [10.0, "10", None, True, np.float64(3)], [
        lambda x: S.OneCycle(0.1, x), S.Constant(0.1).every, S.Constant(0.1).warmup, S.Constant(0.1).advance,
        S.Constant(0.1).delay, S.Constant(0.1).plot]),
    ("steps", ValueError, [-1], [S.Constant(0.1).warmup, S.Constant(0.1).delay, S.Constant(0.1).advance,
                                 S.Constant(0.1).plot]),
    ("k_decay", ValueError, [0.0, -1.0, nan], [lambda x: S.Cosine(0.1, 5, k_decay=x),
                                               lambda x: S.Polynomial(0.1, 5, k_decay=x)]),
    ("k_decay", TypeError, [True, "1", np.ones(1)], [lambda x: S.Cosine(0.1, 5, k_decay=x)]),
    ("power", TypeError, [True, None], [lambda x: S.InverseTime(0.1, 0.5, x)]),
    ("lower", ValueError, [-301.0, nan], [lambda x: S.Tanh(0.1, 5, lower=x)]),
    ("upper", ValueError, [301.0, -7.0, -8.0], [lambda x: S.Tanh(0.1, 5, upper=x)]),
    ("width", ValueError, [0], [lambda x: S.Noam(x, 5)]),
    ("warmup", ValueError, [0], [lambda x: S.Noam(5, x)]),
    ("scale", ValueError, [-1.0, inf], [lambda x: S.Noam(5, 5, x)]),
    ("shape", ValueError, ["sqrt"], [lambda x: S.Constant(0.1).warmup(5, shape=x)]),
    ("shape", TypeError, [None, 3], [lambda x: S.Constant(0.1).warmup(5, shape=x)]),
    ("every", ValueError, [0, -3], [lambda x: S.StepDecay(0.1, 0.5, x)]),
    ("period", ValueError, [0, -3, 0.0, nan], [lambda x: S.CosineRestarts(0.1, x)]),
    ("mult", ValueError, [0, -3], [lambda x: S.CosineRestarts(0.1, 5, x)]),
    ("mult", TypeError, [1.5, False], [lambda x: S.CosineRestarts(0.1, 5, x)]),
    ("warmup", ValueError, [-1], [lambda x: S.WSD(0.1, x, 2, 3), lambda x: S.InverseSqrt(0.1, x)]),
    ("warmup", ValueError, [0], [lambda x: S.InverseSqrt(0.1, x)]),
    ("stable", ValueError, [-1], [lambda x: S.WSD(0.1, 1, x, 3)]),
    ("decay", ValueError, [0], [lambda x: S.WSD(0.1, 1, 2, x)]),
    ("decay", ValueError, [-0.1, nan], [lambda x: S.TimeDecay(0.1, x), lambda x: S.InverseTime(0.1, x),
                                        lambda x: S.Exponential(0.1, decay=x)]),
    ("decay", ValueError, [0.0, -0.5, inf], [lambda x: S.CosineRestarts(0.1, 5, decay=x)]),
    ("drop", ValueError, [0.0, 1.1, -0.5], [lambda x: S.StepDecay(0.1, x, 3)]),
    ("gamma", ValueError, [0.0, 1.1, -0.5, nan], [lambda x: S.MultiStep(0.1, [3], x),
                                                  lambda x: S.Cyclic(0.1, 0.2, 3, mode="exp_range", gamma=x)]),
    ("gamma", ValueError, [0.5], [lambda x: S.Cyclic(0.1, 0.2, 3, gamma=x)]),
    ("rate", ValueError, [0.0, -0.5, nan], [lambda x: S.Exponential(0.1, x)]),
    ("rate", TypeError, [None], [lambda x: S.Exponential(0.1, x)]),
    ("rate", TypeError, [0.5], [lambda x: S.Exponential(0.1, x, decay=0.1)]),
    ("staircase", TypeError, [1, "yes", None], [lambda x: S.Exponential(0.1, 0.5, staircase=x)]),
    ("staircase", TypeError, [True], [lambda x: S.Exponential(0.1, decay=0.5, staircase=x)]),
    ("power", ValueError, [0.0, -1.0], [lambda x: S.Polynomial(0.1, 5, power=x),
                                        lambda x: S.InverseTime(0.1, 0.5, x)]),
    ("end", ValueError, [-0.1, nan], [lambda x: S.Linear(0.1, x, 5), lambda x: S.Polynomial(0.1, 5, x),
                                      lambda x: S.Cosine(0.1, 5, x), lambda x: S.CosineRestarts(0.1, 5, end=x),
                                      lambda x: S.WSD(0.1, 1, 2, 3, end=x)]),
    ("start", ValueError, [-0.1, nan], [lambda x: S.Linear(x, 0.1, 5), lambda x: S.WSD(0.1, 1, 2, 3, start=x),
                                        lambda x: S.Constant(0.1).warmup(3, x)]),
    ("base", ValueError, [-0.1], [lambda x: S.Cyclic(x, 0.1, 5)]),
    ("peak", ValueError, [-0.1], [lambda x: S.Cyclic(0.1, x, 5), lambda x: S.OneCycle(x, 5)]),
    ("up", ValueError, [0], [lambda x: S.Cyclic(0.1, 0.2, x)]),
    ("down", ValueError, [0], [lambda x: S.Cyclic(0.1, 0.2, 5, x)]),
    ("down", TypeError, [2.0], [lambda x: S.Cyclic(0.1, 0.2, 5, x)]),
    ("mode", ValueError, ["triangle"], [lambda x: S.Cyclic(0.1, 0.2, 5, mode=x)]),
    ("mode", TypeError, [None, 2], [lambda x: S.Cyclic(0.1, 0.2, 5, mode=x)]),
    ("anneal", ValueError, ["cosine"], [lambda x: S.OneCycle(0.1, 5, anneal=x)]),
    ("shape", ValueError, ["sqrt"], [lambda x: S.WSD(0.1, 1, 2, 3, shape=x)]),
    ("pct_start", ValueError, [0.0, 1.0, -0.1, nan], [lambda x: S.OneCycle(0.1, 5, x)]),
    ("div", ValueError, [0.0, -1.0], [lambda x: S.OneCycle(0.1, 5, div=x)]),
    ("final_div", ValueError, [0.0, inf], [lambda x: S.OneCycle(0.1, 5, final_div=x)]),
    ("milestones", ValueError, [[3, 3], [4, 3], [-1, 3]], [lambda x: S.MultiStep(0.1, x)]),
    ("milestones", TypeError, [3, [1.5], "12", [True], {3}], [lambda x: S.MultiStep(0.1, x)]),
    ("boundaries", ValueError, [[3, 3], [4, 3]], [lambda x: S.Piecewise(x, [1, 2, 3]), lambda x: S.join([1, 2, 3], x)]),
    ("values", ValueError, [[1], [1, 2, 3], [1, -2]], [lambda x: S.Piecewise([5], x)]),
    ("values", TypeError, [0.5, ["a", 1]], [lambda x: S.Piecewise([5], x)]),
    ("boundaries", ValueError, [[], [1, 2]], [lambda x: S.join([1, 2], x)]),
    ("schedules", TypeError, [S.Constant(1), [None, 1]], [lambda x: S.join(x, [1])]),
    ("at", ValueError, [-1], [lambda x: S.Constant(1).then(1, x)]),
    ("schedule", TypeError, ["x", None, S.Cosine], [lambda x: S.Constant(1).then(x, 1), lambda x: S.Warmup(x, 1)]),
    ("second", TypeError, ["x", None, S.Cosine], [lambda x: S.Then(1, x, 1)]),
    ("schedules[1]", TypeError, [S.Cosine], [lambda x: S.join([1, x], [1])]),
    ("factor", TypeError, ["x", None, np.ones(3), S.Cosine],
     [lambda x: S.Constant(1) * x, lambda x: x * S.Constant(1)]),
    ("factor", ValueError, [-1], [lambda x: S.Constant(1) * x, lambda x: x * S.Constant(1)]),
    ("summand", TypeError, ["x", None, np.ones(3), S.Cosine],
     [lambda x: S.Constant(1) + x, lambda x: x + S.Constant(1)]),
    ("summand", ValueError, [-1], [lambda x: S.Constant(1) + x, lambda x: x + S.Constant(1)]),
    ("high", ValueError, [0.1], [lambda x: S.Constant(1).clip(0.2, x), lambda x: S.OneCycle(1, 9).momentum(0.2, x)]),
    ("function", TypeError, [3, S.Cosine], [S.Custom]),
    ("lr_lambda", TypeError, [3, S.Cosine],
     [lambda x: S.torch.LambdaLR(1, x), lambda x: S.torch.MultiplicativeLR(1, x)]),
    ("lr", TypeError, [S.Cosine, float], [S.as_schedule]),
    ("n", ValueError, [-1, np.int64(-1), np.array([3, -1])], [S.Constant(1)]),
    ("n", TypeError, [2.5, 2.0, "2", None, True, np.True_, [1, 2], np.array([2.0]), np.array([True]),
                      np.array([1], object)], [S.Constant(1)]),
    ("d", TypeError, [None, "Constant"], [S.from_dict]),
    ("d", ValueError, [{}, {"type": "constant"}, {"type": ["Constant"]}, {"lr": 0.1}], [S.from_dict]),
    ("lr", TypeError, [{"type": "Constant"}], [S.from_dict]),
    ("gamma", TypeError, [{"type": "Constant", "lr": 0.1, "gamma": 1}], [S.from_dict]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "error", "value", "make"),
    [(name, error, value, make) for name, error, values, makes in BAD for value in values for make in makes],
)
def test_bad_argument_is_named(name, error, value, make):
    with pytest.raises(error, match=rf"[`'\"]{re.escape(name)}[`'\"\[]"):
        make(value)


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (S, "cosine", ": did you mean `Cosine`?"),
        (S, "Cosin", ": did you mean `Cosine`?"),
        (S, "CosineAnnealingLR", ": did you mean `schedules.torch.CosineAnnealingLR`?"),
        (S, "exponential_decay", ": did you mean `schedules.optax.exponential_decay`?"),
        (S, "ExponentialDecay", ": did you mean `schedules.keras.ExponentialDecay`?"),
        (S.torch, "stepLR", ": did you mean `StepLR`?"),
        (S.keras, "CosinDecay", ": did you mean `CosineDecay`?"),
        (S.optax, "cosine_schedule", ": did you mean `cosine_decay_schedule`?"),
        (S, "ReduceMyLoss", ""),
        (S, "__wrapped__", ""),
        (pyfastlr, "RMSprop", ": did you mean `RMSProp`?"),
        (pyfastlr, "AdaMaxx", ": did you mean `Adamax`?"),
    ],
)
def test_an_unknown_name_of_a_module_has_a_hint(module, name, words):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert str(caught.value) == f"module {module.__name__!r} has no attribute {name!r}{words}"


def test_an_unknown_type_has_a_hint():
    for name, words in [("Cosin", ": did you mean `Cosine`?"), ("constant", ": did you mean `Constant`?"), (3, "")]:
        with pytest.raises(ValueError, match=r"`d\['type'\]` must be the name of a schedule class") as caught:
            S.from_dict({"type": name})
        assert str(caught.value).endswith(f", got {name!r}{words}")


def test_an_error_names_the_hyperparameter():
    with pytest.raises(TypeError, match="`weight_decay` must be a number, a schedule or a callable"):
        S.as_schedule("0.1", "weight_decay")


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    s = S.Cosine(0.1, 100).warmup(10)
    axes = s.plot(110)
    n, rate = axes.lines[0].get_data()
    assert n.tolist() == list(range(110))
    assert rate.tolist() == s(np.arange(110)).tolist()
    assert s.plot(10**9, ax=axes) is axes
    n, rate = axes.lines[1].get_data()
    assert (n[0], n[-1], len(n)) == (0, 10**9 - 1, 20_000)
    axes.figure.canvas.draw()  # every letter of the formula has a glyph: a missing one would warn
    pyplot.close(axes.figure)


def test_plot_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "pyfastlr\[demo\]"'):
        S.Constant(0.1).plot(10)


def test_import_is_light():
    code = "import sys; from pyfastlr import schedules as S; S.Cosine(1, 9)(3); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pyfastlr.schedules" in loaded
    assert not {"numba", "llvmlite", "matplotlib"} & set(loaded)
