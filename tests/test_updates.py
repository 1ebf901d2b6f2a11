"""One update of every optimizer against its textbook formula in float64, from the same random state.

Float32 must be within 8 ulp of the terms that add up to the result (`reference.Terms`), and 1 ulp of the parameter that
they are added to; float64 within 1e-13 of them.
"""

import numpy as np
import pytest

import pyfastlr as flr
import reference
from cases import CASES, SIGNED
from oracles import problem, rates, weight_decay
from reference import Terms

SIZES = (0, 1, 3, 7, 297, 4_097, 100_003)
COUNTS = (1, 2, 5, 6, 100, 10**6)  # 5 and 6: RAdam's rectification sets in
FLOATS = [np.float32, np.float64]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_decay = pytest.mark.parametrize(
    ("case", "decay"), [pytest.param(case, x, id=f"{case.name}-{x}") for case in CASES for x in case.row.decays]
)
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.__name__)


def magnitudes(rng, n, low, high):
    """Numbers of both signs, with magnitudes spread evenly in the exponent between two powers of ten."""
    return 10.0 ** rng.uniform(low, high, n) * rng.choice([-1.0, 1.0], n)


def random_update(case, rng, n, t, dtype):
    """Parameters, gradient and a state that a run may have come to before its update t.

    Every 16th element has a state that this update turns subnormal.
    """
    p, g = magnitudes(rng, n, -6, 2), magnitudes(rng, n, -12, 2)
    state = {name: magnitudes(rng, n, -12, 2) for name in case.state}
    for name in state.keys() - SIGNED:
        state[name] = np.abs(state[name]) if name == "exp_inf" else state[name] ** 2
    if "grad_avg" in state:
        state["square_avg"] = state["grad_avg"] ** 2 * (1 + 10.0 ** rng.uniform(-1, 2, n))
    dying = np.arange(n) % 16 == 5
    for x in (p, g, *state.values()):
        x[dying] = 0.0 if x is p or x is g else 1.0001 * np.finfo(dtype).tiny
    if t == 1:
        state = case.start(p, case.lr)
    return p.astype(dtype), g.astype(dtype), {name: x.astype(dtype) for name, x in state.items()}


def resumed(case, p, state, t, lr, **options):
    """An optimizer whose next update is number t."""
    opt = case.make(p, lr, **options)
    for name, view in opt.state.items():
        view[...] = state[name]
    saved = opt.state_dict()
    saved["counts"][...] = t - 1
    if case.row.carry:
        saved["carry"][..., 0] = case.row.carry(t, lr, **case.hyper)
    opt.load_state_dict(saved)
    return opt


def expected(case, p, g, state, t, lr, weight_decay=0.0, decay="coupled"):
    """The formula's result with its terms. `lr` is as in `Case.rate`."""
    p, g, state = Terms(p), Terms(g), {name: Terms(x) for name, x in state.items()}
    return reference.update(case.row.formula, p, g, state, t, lr, weight_decay, decay, **case.hyper)


def allowed(want, dtype):
    return (8 * np.finfo(np.float32).eps if dtype == np.float32 else 1e-13) * want


def assert_parameter(got, want, before):
    """``want.terms`` is the absolute value of the parameter before, then the update's; `origin` is 0 without it."""
    ulp = np.spacing(np.maximum(np.abs(before), np.abs(want.value).astype(got.dtype)))
    ulp *= 1 if got.dtype == np.float32 else 2  # the formula rounds p in float64 as well
    flushed = 1e10 * np.finfo(got.dtype).tiny  # a subnormal state, taken for zero, over the smallest eps
    error = np.abs(got - want.value)
    bound = allowed(want.terms - np.abs(before), got.dtype) + ulp + flushed
    assert (error <= bound).all(), f"{(error / bound).max():.3g} of what rounding allows"


def origin(case, before):
    """Value to which the formula adds the update."""
    return np.zeros_like(before) if case.row.sets else before


def assert_state(got, want, row, name):
    """Subnormal numbers become zero where they are flushed, because they slow a step up to ten times."""
    tiny = np.finfo(got.dtype).tiny
    limit = 0.0 if name in row.unflushed else np.sqrt(tiny) if name in row.squared else tiny
    flushed = np.abs(want.value) < limit
    assert not got[flushed].any()
    error, bound = np.abs(got - want.value)[~flushed], allowed(want.terms, got.dtype)[~flushed]
    bound += 1e3 * tiny  # optax's AMSGrad corrects a v that was flushed, by 1 / (1 - beta2) at most
    assert (error <= bound).all(), f"{(error / bound).max():.3g} of what rounding allows"


@each_dtype
@each_decay
def test_one_update(case, decay, dtype):
    """Of any size, after any count, with any decay; by one thread and by two, with the same bits."""
    rng = np.random.default_rng(1)
    lr, options = 0.7 * case.lr, {"weight_decay": 0.1, "decay": decay}
    for n in SIZES:
        for t in COUNTS if n < 100_000 else (1, 6):
            before, g, state = random_update(case, rng, n, t, dtype)
            want_p, want_state = expected(case, before, g, state, t, case.rate(lr, t), **options)
            p, alone = before.copy(), before.copy()
            opt = resumed(case, p, state, t, lr, threads=2, **options)
            opt.step(g)
            assert_parameter(p, want_p, origin(case, before))
            assert tuple(opt.state) == case.state
            for name, got in opt.state.items():
                assert_state(got, want_state[name], case.row, name)
            serial = resumed(case, alone, state, t, lr, threads=1, **options)
            serial.step(g)
            assert alone.tobytes() == p.tobytes()
            assert all(serial.state[name].tobytes() == opt.state[name].tobytes() for name in case.state)


@each_dtype
@each_decay
def test_lr_scale_is_the_rate_as_a_diagonal_matrix(case, decay, dtype):
    rng = np.random.default_rng(2)
    n, t, options = 297, 7, {"weight_decay": 0.1, "decay": decay}
    before, g, state = random_update(case, rng, n, t, dtype)
    scale = rng.choice([0.0, 0.5, 1.0, 2.5], n).astype(dtype)
    for lr_scale in (scale, 0.25):
        p = before.copy()
        opt = resumed(case, p, state, t, case.lr, lr_scale=lr_scale, **options)
        opt.step(g)
        assert all(np.isfinite(x).all() for x in opt.state.values())  # of frozen elements too
        with np.errstate(divide="ignore", invalid="ignore"):  # FTRL divides by the rate
            want = expected(case, before, g, state, t, case.rate(case.lr, t) * np.float64(lr_scale), **options)[0]
        frozen = np.broadcast_to(lr_scale == 0, n)
        assert p[frozen].tobytes() == before[frozen].tobytes()
        moving = ~frozen
        assert_parameter(p[moving], Terms(want.value[moving], want.terms[moving]), origin(case, before)[moving])


@each_case
def test_float32_run_step_by_step(case):
    """Every step of a run with a schedule matches the formula applied to the previous float32 state."""
    run = problem(n=257, bank=101, seed=3)
    p, options = run.p.astype(np.float32), {"weight_decay": weight_decay(case, case.decay), "decay": case.decay}
    lrs = rates(case, run)
    opt = case.make(p, case.schedule(lambda n: lrs[n]), **options)
    for k in range(300):
        before, state = p.copy(), {name: x.copy() for name, x in opt.state.items()}
        g = run.gradient(k).astype(np.float32)
        opt.step(g)
        lr = case.rate(lrs[k], k + 1, lrs[k - 1])
        want_p, want_state = expected(case, before, g, state, k + 1, lr, **options)
        assert_parameter(p, want_p, origin(case, before))
        for name, got in opt.state.items():
            assert_state(got, want_state[name], case.row, name)


@each_dtype
@each_case
def test_non_finite_gradients_stay_where_they_are(case, dtype):
    """NaN where the formula has NaN, and it stays; NaN or infinity where it has one; no effect on other elements."""
    n, t = 297, 7
    before, g, state = random_update(case, np.random.default_rng(4), n, t, dtype)
    g[[0, 100, 296]], g[[1, 8]], g[[2, 64]] = np.nan, np.inf, -np.inf
    finite, p = np.isfinite(g), before.copy()
    opt = resumed(case, p, state, t, case.lr)
    for k, gradient in enumerate((g, np.ones_like(g))):
        state = {name: x.copy() for name, x in opt.state.items()}
        p[...] = before  # by the second step the user has put the parameters right, but not the state
        opt.step(gradient)
        with np.errstate(invalid="ignore"):
            want_p, want_state = expected(case, before, gradient, state, t + k, case.rate(case.lr, t + k))
        for got, want in [(p, want_p), *((opt.state[name], want_state[name]) for name in case.state)]:
            assert np.isnan(got[np.isnan(want.value)]).all()
            assert not np.isfinite(got[np.isinf(want.value)]).any()
        assert_parameter(p[finite], Terms(want_p.value[finite], want_p.terms[finite]), origin(case, before)[finite])


@each_dtype
@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
def test_centered_variance_of_a_constant_gradient_is_not_negative(convention, dtype):
    """v - a*a rounds below zero, where torch gives NaN. For 1e4 in float32 it does so by more than the eps inside."""
    g = 100 * np.random.default_rng(5).standard_normal(1_000).astype(dtype)
    p = np.zeros_like(g)
    opt = flr.RMSProp(p, 1e-3, centered=True, convention=convention)
    for _ in range(3_000):
        opt.step(g)
    assert np.isfinite(p).all()
