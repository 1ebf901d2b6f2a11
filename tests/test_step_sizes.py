"""`S.Polyak` and `S.BarzilaiBorwein`: the papers' formulas by hand, safeguards, states."""

import json
import math

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S

H = np.array([1.0, 10.0, 100.0])


def quadratic(p):
    return 0.5 * H @ (p * p), H * p


# --- Polyak ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("c", "f_min", "growth"), [(1.0, 0.0, None), (0.5, -1.0, None), (0.2, 0.0, 1.5)])
def test_polyak_is_the_papers_formula(c, f_min, growth):
    """Loizou et al., 2021, equation 3 (SPS_max); and with their bound of the growth."""
    p, w, eta = np.ones(3), np.ones(3), 0.05
    rate = S.Polyak(0.05, f_min=f_min, c=c, growth=growth)
    opt = flr.SGD(p, lr=rate)
    for _ in range(50):
        loss, g = quadratic(w)
        sps = (loss - f_min) / (c * g @ g)
        eta = min(sps, 0.05, math.inf if growth is None else growth * eta)
        w = w - eta * g
        loss, g = quadratic(p)
        rate.observe(loss=loss, grads=g)
        opt.step(g)
        assert opt.stats.lr == pytest.approx(eta, rel=1e-12)
        assert p == pytest.approx(w, rel=1e-12, abs=1e-15)
        p[:] = w  # so that rounding does not grow


def test_polyak_finds_the_minimum_of_a_sharp_loss():
    p = np.array([3.0, -4.0, 0.5])
    rate = S.Polyak(1e3)
    opt = flr.SGD(p, lr=rate)
    for _ in range(200):
        g = np.sign(p)
        rate.observe(loss=np.abs(p).sum(), grads=g)
        opt.step(g)
    assert np.abs(p).sum() < 1e-9


def test_polyak_bounds_and_what_it_ignores():
    rate = S.Polyak(S.Linear(1.0, 0.5, steps=10), low=0.01, high=0.8)
    assert rate(0) == 0.8
    assert rate.observe(loss=1.0, grads=[np.array([2.0]), None])
    assert rate(0) == 0.25
    for loss, g in [(math.nan, 2.0), (math.inf, 2.0), (1.0, math.nan), (1.0, math.inf), (1.0, 0.0)]:
        assert not rate.observe(loss=loss, grads=np.array([g]))
        assert rate(0) == 0.25
    rate.observe(loss=-1.0, grads=np.array([2.0]))
    assert rate(0) == 0.01
    rate.observe(loss=100.0, grads=np.array([2.0]))
    assert rate(0) == 0.8
    assert rate(10) == 0.5
    with pytest.raises(TypeError, match="`loss` must be a number"):
        rate.observe(loss="low", grads=np.ones(1))
    with pytest.raises(TypeError, match="grads"):
        rate.observe(loss=1.0, grads="no array")


def test_growth_starts_again_from_a_rate_of_zero():
    rate = S.Polyak(1.0, growth=2.0)
    rate.observe(loss=-1.0, grads=np.ones(1))
    assert rate(0) == 0.0
    rate.observe(loss=0.5, grads=np.ones(1))
    assert rate(0) == 0.5


# --- Barzilai and Borwein --------------------------------------------------------------------------------------------


def by_hand(formula, steps=30, first=1e-3, gradient=lambda x: H * x):
    """Iterates of the method, from the definition."""
    x, eta = np.ones(3), first
    g, points, rates = gradient(x), [], []
    for k in range(steps):
        rates.append(eta)
        new = x - eta * g
        new_g = gradient(new)
        s, y = new - x, new_g - g
        long = formula == "BB1" or (formula == "alternating" and k % 2 == 0)
        eta = s @ s / (s @ y) if long else s @ y / (y @ y)
        x, g = new, new_g
        points.append(x)
    return points, rates


@pytest.mark.parametrize("with_params", [False, True])
@pytest.mark.parametrize("formula", ["BB1", "BB2", "alternating"])
def test_bb_is_the_papers_formula(formula, with_params):
    points, rates = by_hand(formula, 20)
    p = np.ones(3)
    rate = S.BarzilaiBorwein(1e-3, formula)
    opt = flr.SGD(p, lr=rate)
    for point, eta in zip(points, rates, strict=True):
        g = H * p
        rate.observe(grads=g, **({"params": p} if with_params else {}))
        opt.step(g)
        assert opt.stats.lr == pytest.approx(eta, rel=1e-5)
        assert p == pytest.approx(point, rel=1e-4, abs=1e-8)
        p[:] = point  # so that rounding does not grow


@pytest.mark.parametrize("formula", ["BB1", "BB2", "alternating"])
def test_bb_converges(formula):
    p = np.ones(3)
    rate = S.BarzilaiBorwein(1e-3, formula)
    opt = flr.SGD(p, lr=rate)
    for _ in range(60):
        rate.observe(grads=H * p)
        opt.step(H * p)
    assert np.abs(p).max() < 1e-10


def test_bb_safeguards():
    rate = S.BarzilaiBorwein(0.1, low=0.05, high=2.0, growth=1.5)
    rate.observe(grads=np.array([1.0]))
    assert rate(0) == 0.1
    rate.observe(grads=np.array([0.9]))  # 0.1·1/(1 - 0.9) = 1, but at most 1.5 times the last
    assert rate(0) == pytest.approx(0.15)
    for g in (1.0, 1.0, 2.0, math.nan, math.inf):  # no curvature, negative curvature, and what is not finite
        assert not rate.observe(grads=np.array([g]))
        assert rate(0) == pytest.approx(0.15)
    rate.observe(grads=np.array([-100.0]))
    assert rate(0) == 0.05
    free = S.BarzilaiBorwein(0.1, high=2.0)
    free.observe(grads=np.array([1.0]))
    free.observe(grads=np.array([1 - 1e-9]))
    assert free(0) == 2.0


def test_bb_of_float32_tensors_and_none():
    p = {"a": np.ones(2, np.float32), "b": np.ones(1, np.float32)}
    rate = S.BarzilaiBorwein(0.1)
    opt = flr.SGD(p, lr=rate)
    for _ in range(3):
        g = {"a": 2 * p["a"], "b": None}
        rate.observe(grads=g, params=p)
        opt.step(g)
    assert opt.stats.lr == pytest.approx(0.5, rel=1e-5)
    assert p["b"].tolist() == [1]


# --- Arguments and states --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: S.Polyak("x"), "`base`"), (lambda: S.Polyak(1.0, f_min=math.nan), "`f_min`"),
        (lambda: S.Polyak(1.0, c=0.0), "`c`"), (lambda: S.Polyak(1.0, growth=1.0), "`growth`"),
        (lambda: S.Polyak(1.0, low=2.0, high=1.0), "`high`"), (lambda: S.BarzilaiBorwein("x"), "`base`"),
        (lambda: S.BarzilaiBorwein(1.0, "BB3"), "`formula`"), (lambda: S.BarzilaiBorwein(1.0, growth=0.5), "`growth`"),
        (lambda: S.BarzilaiBorwein(1.0, low=-1.0), "`low`"),
    ],
)  # fmt: skip
def test_bad_arguments(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.parametrize("with_params", [False, True])
def test_a_state_continues_the_run(with_params):
    def observed(rate, p, opt, k):
        g = H * p
        rate.observe(grads=g, **({"params": p} if with_params else {}))
        opt.step(g)

    p, rate = np.ones(3), S.BarzilaiBorwein(1e-3, "alternating")
    opt = flr.SGD(p, lr=rate)
    for k in range(7):
        observed(rate, p, opt, k)
    q, again = p.copy(), S.from_dict(json.loads(json.dumps(rate.to_dict())))
    state = json.loads(json.dumps(rate.state_dict(), default=lambda x: x.tolist()))
    other = flr.SGD(q, lr=again)
    other.load_state_dict(opt.state_dict())
    again.load_state_dict(state)
    for k in range(7):
        observed(rate, p, opt, k)
        observed(again, q, other, k)
    assert p.tobytes() == q.tobytes()


BAD = [
    lambda s: {**s, "rate": -1.0}, lambda s: {**s, "rate": math.inf}, lambda s: {**s, "pairs": -1},
    lambda s: {**s, "pairs": 1.5}, lambda s: {**s, "grads": None}, lambda s: {**s, "grads": [[1.0]]},
    lambda s: {**s, "grads": [[1.0, math.nan, 1.0]]}, lambda s: {**s, "of": "grads"}, lambda s: {**s, "last": None},
    lambda s: {**s, "grads": 3}, lambda s: {**s, "grads": [[1.0, 2.0, 3.0], [1.0]]},
]  # fmt: skip


@pytest.mark.parametrize("spoil", BAD)
def test_a_bad_state_changes_nothing(spoil):
    rate = S.BarzilaiBorwein(0.1)
    for k in range(3):
        rate.observe(grads=np.full(3, 1.0 / (k + 1)), params=np.full(3, 1.0 - k))
    before = repr(rate.state_dict())
    with pytest.raises((TypeError, ValueError), match="state"):
        rate.load_state_dict(spoil(rate.state_dict()))
    assert repr(rate.state_dict()) == before
    polyak = S.Polyak(0.1)
    with pytest.raises((TypeError, ValueError), match="state"):
        polyak.load_state_dict({**polyak.state_dict(), "rate": -1.0})
