"""Schedules at the limits of their numbers: lengths beyond int64, NaN, one differing parameter, wrong counts."""

import math

import numpy as np
import pytest

from pyfastlr import schedules as S
from pyfastlr_kernels import curves

# --- A cycle that is longer than int64 can say -----------------------------------------------------------------------

# The second cycle has 2**40 * (2**24 + 1) = 2**64 + 2**40 updates, which an int64 would take for 2**40.
LONG = S.CosineRestarts(1.0, 2**40, mult=2**24 + 1, decay=0.5)
FAR = {  # the second cycle starts at 0.5, and none of these indices is further into it than two millionths
    2**40 - 1: 0.0,
    2**40: 0.5,
    2**40 + 2**39: 0.5,
    2**41 - 1: 0.5,
    2**41: 0.5,
    2**45: 0.5,
}


@pytest.mark.parametrize("form", ["plain", "array", "compiled"])
def test_restarts_with_a_period_beyond_int64(form):
    call = {"plain": LONG, "array": lambda n: LONG(np.array([n]))[0], "compiled": LONG.compiled}[form]
    for n, rate in FAR.items():
        assert call(n) == pytest.approx(rate, abs=1e-9), n


def test_restarts_far_out_have_the_same_bits_compiled():
    n = [2**k + d for k in range(39, 53) for d in (-1, 0, 1, 2**38)]
    for s in (LONG, S.CosineRestarts(0.3, 7, mult=2, decay=0.9, end=0.01), S.CosineRestarts(0.3, 7, mult=3)):
        assert [s.compiled(k) for k in n] == s(np.array(n)).tolist() == [s(k) for k in n]


# --- NaN -------------------------------------------------------------------------------------------------------------


class Undefined(S.Schedule):
    """Infinity less infinity."""

    def __init__(self, lr):
        super().__init__(lr=lr)

    @staticmethod
    def curve(n, lr):
        infinite = lr * 1e308 * 1e308
        return infinite - infinite


def test_clip_keeps_nan():
    """An invalid rate must not become a valid one."""
    for s in (Undefined(0.5), S.Custom(lambda n: math.nan)):
        assert math.isnan(s.clip(0.1, 0.2)(3))
    assert math.isnan(Undefined(0.5).clip(0.1, 0.2).compiled(3))
    assert math.isnan(curves.clip(0, lambda n: math.nan, 0.1, 0.2))


def test_clip_takes_infinity_for_the_upper_bound():
    assert S.Custom(lambda n: math.inf).clip(0.1, 0.2)(3) == 0.2


# --- Equality --------------------------------------------------------------------------------------------------------

ONE, OTHER = S.Constant(0.5), S.Linear(0.5, 0.1, steps=9)
EXAMPLES = [
    S.Constant(0.5),
    S.TimeDecay(0.5, decay=0.25),
    S.InverseTime(0.5, decay=0.25),
    S.InverseTime(0.5, decay=0.25, power=0.5),
    S.InverseSqrt(0.5, warmup=4),
    S.Noam(512, warmup=4, scale=0.5),
    S.StepDecay(0.5, drop=0.5, every=10),
    S.MultiStep(0.5, [3, 7], gamma=0.5),
    S.Piecewise([3, 7], [0.5, 0.25, 0.125]),
    S.Exponential(0.5, 0.5, steps=7),
    S.Exponential(0.5, decay=0.25),
    S.Linear(0.5, 0.25, steps=7),
    S.Polynomial(0.5, steps=7, end=0.25, power=2.5),
    S.Polynomial(0.5, steps=7, end=0.25, power=2.5, k_decay=0.5),
    S.Cosine(0.5, steps=7, end=0.25),
    S.Cosine(0.5, steps=7.5, end=0.25, k_decay=0.5),
    S.Tanh(0.5, steps=7, end=0.25, lower=-3.0, upper=2.0),
    S.REX(0.5, steps=7, end=0.25),
    S.CosineRestarts(0.5, 7, mult=2, decay=0.5, end=0.25),
    S.CosineRestarts(0.5, 7.5, mult=2, decay=0.5, end=0.25),
    S.Cyclic(0.25, 0.5, up=5, down=7),
    S.Cyclic(0.25, 0.5, up=5, down=7, mode="exp_range", gamma=0.5),
    S.OneCycle(0.5, steps=40),
    S.OneCycle(0.5, steps=40).momentum(0.25, 0.5),
    S.WSD(0.5, warmup=3, stable=4, decay=5, start=0.25, end=0.125),
    S.Warmup(ONE, 3, start=0.25),
    S.Warmup(ONE, 3, start=0.25, shape="log"),
    S.Then(ONE, OTHER, at=3),
    S.Delay(ONE, 3),
    S.Advance(ONE, 3),
    S.Every(ONE, 3),
    S.Clip(ONE, 0.25, 0.5),
    S.Product(ONE, OTHER),
    S.Sum(ONE, OTHER),
]
CHOICES = ["1-sqrt", "linear", "cosine", "1-square", "triangular", "triangular2", "exp_range", "cos", "log"]


def others(value):
    """Values near this one; some may be out of range."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, S.Schedule):
        return [S.Constant(0.375)]
    if isinstance(value, str):
        return [x for x in CHOICES if x != value]
    if isinstance(value, tuple):
        return [(*value[:-1], x) for x in others(value[-1])]
    if value is None:
        return [1, 0.375]
    return [value + 1] if isinstance(value, int) else [math.nextafter(value, 0.0), math.nextafter(value, 9.0)]


def changed(s, name):
    """The schedule with another value for one parameter, for each parameter of its constructor."""
    for value in others(s.parameters[name]):
        try:
            yield type(s)(**{**s.parameters, name: value})
        except (TypeError, ValueError):
            continue


def test_every_class_has_an_example():
    classes = {x for x in vars(S).values() if isinstance(x, type) and issubclass(x, S.Schedule)}
    assert {type(s) for s in EXAMPLES} == classes - {S.Schedule, S.Custom}


@pytest.mark.parametrize("s", EXAMPLES, ids=repr)
def test_schedules_that_differ_in_one_parameter_are_not_equal(s):
    same = type(s)(**s.parameters)
    assert same == s
    assert hash(same) == hash(s)
    for name in s.parameters:
        for other in changed(s, name):
            assert other.parameters.get(name) != s.parameters[name]
            assert other != s
            assert s != other
            assert len({s, other, same}) == 2


def test_every_parameter_was_changed():
    tried = {(type(s), name) for s in EXAMPLES for name in s.parameters if any(True for _ in changed(s, name))}
    assert tried == {(type(s), name) for s in EXAMPLES for name in s.parameters}


def test_equal_parameters_of_two_classes_are_not_equal():
    assert S.TimeDecay(0.5, decay=0.25) != S.InverseTime(0.5, decay=0.25)
    assert S.Product(ONE, OTHER) != S.Sum(ONE, OTHER)
    assert S.Constant(0.5) != 0.5


# --- Wrong counts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.25], [0.5] * 4])
def test_interpolated_values_are_one_more_than_the_boundaries(values):
    written = {"type": "Interpolated", "boundaries": [3, 7], "values": values, "interpolation": "linear"}
    with pytest.raises(ValueError, match=f"`values` must have one item more than the 2 boundaries, got {len(values)}"):
        S.from_dict(written)
    right = S.from_dict({**written, "values": [0.5, 0.25, 0.125]})
    assert [right(n) for n in (0, 3, 5, 7, 9)] == [0.5, 0.25, 0.1875, 0.125, 0.125]


class Three(S.Schedule):
    """A curve of three schedules."""

    def __init__(self, a, b, c):
        super().__init__(a=a, b=b, c=c)

    @staticmethod
    def curve(n, a, b, c):
        return a(n) + b(n) + c(n)


def test_a_curve_of_three_schedules_is_not_compiled():
    s = Three(ONE, OTHER, ONE)
    assert s(9) == 1.1
    with pytest.raises(TypeError, match="a curve can call at most two functions, got 3"):
        s.compiled  # noqa: B018
