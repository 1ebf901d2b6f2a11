"""Laws that hold for schedules of any parameters."""

import json
import pickle
import sys
from math import inf

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfastlr import schedules as S

rates = st.floats(0, 10) | st.floats(0, sys.float_info.max / 4, allow_subnormal=True).filter(lambda x: x < 1e6)
positive = st.floats(1e-3, 1e3)
factors = st.floats(1e-3, 1)
counts = st.integers(1, 1_000) | st.integers(1, 10**9)
lengths = counts | st.floats(0.1, 1e9)
naturals = st.integers(0, 1_000)
indices = st.integers(0, 3_000) | st.integers(0, 10**12)
milestones = st.lists(naturals, unique=True, max_size=6).map(sorted)


@st.composite
def piecewise(draw):
    boundaries = draw(milestones)
    return S.Piecewise(boundaries, [draw(rates) for _ in range(len(boundaries) + 1)])


leaves = st.one_of(
    st.builds(S.Constant, rates),
    st.builds(S.TimeDecay, rates, rates),
    st.builds(S.InverseTime, rates, rates),
    st.builds(S.InverseTime, rates, rates, positive),
    st.builds(S.StepDecay, rates, factors, counts),
    st.builds(S.MultiStep, rates, milestones, factors),
    piecewise(),
    st.builds(S.Exponential, rates, positive, lengths, st.booleans()),
    st.builds(S.Exponential, rates, decay=rates),
    st.builds(S.Linear, rates, rates, lengths),
    st.builds(S.Polynomial, rates, lengths, rates, positive, st.just(1.0) | positive),
    st.builds(S.Cosine, rates, lengths, rates, st.just(1.0) | positive),
    st.builds(S.Tanh, rates, lengths, rates, st.floats(-300, 0), st.floats(1, 300)),
    st.builds(S.REX, rates, lengths, rates),
    st.builds(S.CosineRestarts, rates, lengths, st.integers(1, 5) | counts, factors, rates),
    st.builds(S.Noam, counts, counts, rates),
    st.builds(S.Cyclic, rates, rates, counts, st.none() | counts),
    st.builds(S.Cyclic, rates, rates, counts, counts, st.just("exp_range"), factors),
    st.builds(S.OneCycle, rates, counts, st.floats(0.01, 0.99), positive, positive, st.sampled_from(["cos", "linear"])),
    st.builds(S.InverseSqrt, rates, counts),
    st.builds(
        S.WSD, rates, naturals, naturals, counts, rates, rates,
        st.sampled_from(["1-sqrt", "linear", "cosine", "1-square"]),
    ),
)  # fmt: skip
schedules = st.recursive(
    leaves,
    lambda s: st.one_of(
        st.builds(S.Warmup, s, naturals, rates, st.sampled_from(["linear", "log", "cosine", "1-sqrt"])),
        st.builds(S.Advance, s, naturals),
        st.builds(S.Then, s, s, naturals),
        st.builds(S.Delay, s, naturals),
        st.builds(S.Every, s, counts),
        st.builds(lambda s, a, b: s.clip(min(a, b), max(a, b)), s, rates, rates),
        st.builds(S.Product, s, s),
        st.builds(S.Sum, s, rates),
    ),
    max_leaves=4,
)
bounded = st.one_of(
    st.builds(S.Linear, rates, rates, lengths),
    st.builds(S.Polynomial, rates, lengths, rates, positive, st.just(1.0) | positive),
    st.builds(S.Cosine, rates, lengths, rates, st.just(1.0) | positive),
    st.builds(S.REX, rates, lengths, rates),
    st.builds(
        S.Warmup, st.builds(S.Constant, rates), naturals, rates, st.sampled_from(["linear", "log", "cosine", "1-sqrt"])
    ),
)


@settings(deadline=None)
@given(schedules, st.lists(indices, max_size=8))
def test_every_form_has_the_same_bits(s, n):
    values = s(np.array(n, np.int64))
    assert values.tobytes() == np.array([s(i) for i in n], np.float64).tobytes()
    assert not np.isneginf(values).any()
    for other in (
        S.from_dict(json.loads(json.dumps(s.to_dict()))),
        pickle.loads(pickle.dumps(s)),
        eval(repr(s), vars(S)),
    ):
        assert other == s
        assert hash(other) == hash(s)
        assert other(np.array(n, np.int64)).tobytes() == values.tobytes()


@settings(deadline=None)
@given(leaves, indices)
def test_rates_are_never_negative_or_nan(s, n):
    assert 0 <= s(n) <= inf


@settings(deadline=None)
@given(bounded, indices, indices)
def test_between_their_ends_schedules_go_one_way(s, m, n):
    """Monotone, so never beyond the end values, which a plain ``a + (b - a)*x`` does not guarantee."""
    first, last = s(0), s(10**12)
    early, late = s(min(m, n)), s(max(m, n))
    slack = 1e-15 * max(first, last)
    assert min(first, last) <= early <= max(first, last)
    assert early <= late + slack if first <= last else early >= late - slack


@settings(deadline=None)
@given(leaves, leaves, naturals, rates, indices)
def test_algebra(s, t, k, start, n):
    assert s.warmup(k, start)(n + k) == s(n)
    assert s.warmup(k, start)(0) == (start if k else s(0))
    assert s.then(t, at=k)(n + k) == t(n)
    assert s.delay(k)(n + k) == s(n)
    assert s.advance(k)(n) == s(n + k)
    assert s.delay(k).advance(k)(n) == s.warmup(k, start).advance(k)(n) == s(n)
    assert s.delay(k)(k // 2) == s(0)
    assert s.every(k + 1)(n * (k + 1) + k) == s(n)
    assert S.join([s, t, s], [k, k + 5])(n + k + 5) == s(n)
    if max(s(n), t(n)) < inf:
        assert (s * t)(n) == (t * s)(n) == s(n) * t(n)
        assert (s + t)(n) == (t + s)(n) == s(n) + t(n)
    assert (s.warmup(3) * 0.5)(n) == (s * 0.5).warmup(3)(n) or n < 3  # by a rounding, on the line
