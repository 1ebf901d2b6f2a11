"""State below the smallest normal number is set to zero only where eps hides that, to half an ulp of the denominator.

The limits are derived in rules/contract.py and were checked on both sides. For a constant gradient g whose contribution
to the second moment, w*g*g, is just below the smallest normal number, a flushed moment stays zero while the exact one
grows to g*g. With eps outside the root, the denominator then differs by u (half an ulp) at the limit, and by 4u at a
quarter of the limit.
"""

import math

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from cases import ROWS as CASE_ROWS
from pyfastlr_kernels.rules import RULES, contract

DTYPES = ("float32", "float64")
WEIGHTS = (0.5, 0.1, 0.001)  # of the new gradient


def limit(where, dtype, w):
    info = np.finfo(dtype)
    tiny, u = float(info.tiny), float(info.eps) / 2
    return {"outside": math.sqrt(tiny / w) / u, "inside": tiny / (w * u), "plain": tiny / u}[where]


def build(cls, convention, p, w, eps):
    decay, flush = 1.0 - w, CASE_ROWS[cls].flush
    own = {**flush.own, flush.weight: (0.9, decay) if flush.weight == "betas" else decay}
    return getattr(flr, cls)(p, lr=1.0, convention=convention, eps=eps, weight_decay=0.0, **own)


ROWS = [
    (where, cls, convention, dtype, w)
    for cls, row in CASE_ROWS.items()
    if row.flush
    for convention, where in row.flush.where.items()
    if convention in row.defaults
    for dtype in DTYPES
    for w in WEIGHTS
]


@pytest.mark.parametrize(("where", "cls", "convention", "dtype", "w"), ROWS)
def test_state_is_flushed_from_the_limit_on_and_not_below(where, cls, convention, dtype, w):
    tiny = float(np.finfo(dtype).tiny)
    for factor, flushed in ((1.01, True), (0.99, False), (0.0, False)):
        p = np.zeros(20, dtype)
        opt = build(cls, convention, p, w, factor * limit(where, dtype, w))
        for x in opt.state.values():
            x[...] = 0.75 * tiny
        opt.step(np.zeros(20, dtype))
        second = opt.state[CASE_ROWS[cls].flush.slot]
        if flushed:
            assert (second == 0).all() or (cls, convention) == ("Adamax", "torch")  # there eps is part of it
        else:
            assert (second > 0).all()


@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-20, 1e-17, 1e-11, 1e-8])
@pytest.mark.parametrize("g", [1e-17, 1e-18, 1e-19])
def test_float32_adam_of_tiny_gradients_is_the_formula_in_float64(eps, g):
    """Gradients are ordinary float32 numbers; their squares are subnormal or zero.

    A square below the smallest subnormal number is zero in any float32 arithmetic: there the update is as long as m
    over what is left of v, which the formula does not have. So the formula here squares in float32.
    """
    steps = 300
    p = np.zeros(1, np.float32)
    opt = flr.Adam(p, lr=0.1, eps=eps)
    w2 = np.float32(1.0 - 0.999)
    added = float(w2 * np.float32(g) * np.float32(g))
    assert added > 2.0**-140  # with fewer bits rounding would be more than the tolerance
    m = v = x = 0.0
    for t in range(1, steps + 1):
        opt.step(np.full(1, g, np.float32))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + added
        x -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + eps)
    assert p[0] == pytest.approx(x, rel=0.02)


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("where", ["outside", "inside"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_at_the_limit_eps_hides_half_an_ulp_and_a_sixteenth_of_it_does_not(where, w, dtype):
    """The experiment behind the limits, in exact arithmetic: v tends to g*g, with w*g*g just below tiny."""
    u = float(np.finfo(dtype).eps) / 2
    v = float(np.finfo(dtype).tiny) / w * (1 - 1e-6)
    for factor, low, high in ((1.0, 0.4, 1.0), (1 / 16, 7.0, 16.1)):
        eps = factor * limit(where, dtype, w)
        ratio = (
            math.sqrt(v) / eps if where == "outside" else math.expm1(math.log1p(v / eps) / 2)
        )  # of the denominator with v and without
        assert low * u <= ratio <= high * u


def test_limits_do_not_depend_on_the_step():
    """Half an ulp and the smallest normal number are in the row; w comes from the current hyperparameters."""

    class Row:
        tiny, half_ulp, eps = 2.0**-126, 2.0**-24, 1e-8

    assert contract.flush_limit_outside_root(Row, 0.001) == Row.tiny
    assert contract.flush_limit_outside_root(Row, 1e-9) == 0.0  # beta2 so near one that v may be large beside eps
    assert contract.flush_limit_outside_root(Row, 0.0) == 0.0
    assert contract.flush_limit_inside_root(Row, 1e-9) == Row.tiny


def test_adagrads_sum_is_not_flushed():
    """It never decays; a flushed sum of gradients of 1e-20 would never grow, whatever eps is."""
    p = np.zeros(3, np.float32)
    opt = flr.AdaGrad(p, lr=1.0, eps=0.0)
    g = np.full(3, 1e-20, np.float32)
    for _ in range(4):
        opt.step(g)
    assert opt.state["sum"] == pytest.approx(4e-40, rel=1e-3)
    assert p == pytest.approx(-(1 + 1 / math.sqrt(2) + 1 / math.sqrt(3) + 0.5), rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", ["SGD", "Lion"])
def test_momentum_is_flushed_always(cls, dtype):
    """Without an eps: a step differs by less than the rate times the smallest normal number; Lion's sign becomes 0."""
    tiny = np.finfo(dtype).tiny
    p = np.ones(9, dtype)
    opt = flr.SGD(p, lr=1.0, momentum=0.9) if cls == "SGD" else flr.Lion(p, lr=1.0, weight_decay=0.0)
    (buffer,) = opt.state.values()
    buffer[:] = 0.75 * tiny
    opt.step(np.zeros(9, dtype))
    opt.step(np.zeros(9, dtype))
    assert (buffer == 0).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("convention", "where"), [("torch", "outside"), ("optax", "inside")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_centered_rmsprop_is_flushed_where_its_square_is_subnormal(dtype, convention, where, momentum):
    """A product that underflows is slow at every step, and the mean would take 4,000 steps to the subnormal numbers."""
    w, tiny = 0.01, float(np.finfo(dtype).tiny)
    for factor, flushed in ((1.01, True), (0.99, False), (0.0, False)):
        opt = flr.RMSProp(
            np.zeros(9, dtype), lr=1.0, centered=True, momentum=momentum, alpha=1.0 - w, convention=convention,
            eps=factor * limit(where, dtype, w * w), weight_decay=0.0,
        )  # fmt: skip
        opt.state["grad_avg"][...] = 0.99 * math.sqrt(tiny)
        opt.step(np.zeros(9, dtype))
        assert (opt.state["grad_avg"] == 0).all() == flushed
        opt.state["grad_avg"][...] = 1.02 * math.sqrt(tiny)
        opt.step(np.zeros(9, dtype))
        assert (opt.state["grad_avg"] > math.sqrt(tiny)).all()


def test_what_a_flushed_momentum_changes_with_adams_defaults():
    """The number in the README: the exact momentum of a constant gradient g is g, and it is flushed if 0.1 g < tiny."""
    tiny = float(np.finfo(np.float32).tiny)
    for factor, flushed in ((0.999, True), (1.001, False)):
        p, g = np.zeros(9, np.float32), np.full(9, factor * tiny / 0.1, np.float32)
        opt = flr.Adam(p, lr=1.0)
        for _ in range(5):
            opt.step(g)
        update = float(g[0]) / 1e-8
        assert 1.17e-29 < update < 1.2e-29
        assert p == pytest.approx(0.0 if flushed else -5 * update, rel=1e-5, abs=0.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_default_eps_flushes(case):
    """Otherwise a long run of zero gradients would leave subnormal state and be slow."""
    for dtype in DTYPES:
        p = np.ones(9, dtype)
        opt = case.make(p)
        for x in opt.state.values():
            x[...] = 0.75 * np.finfo(dtype).tiny
        opt.step(np.zeros(9, dtype))
        for name, x in opt.state.items():
            assert name in case.row.unflushed or ((x == 0) | (x >= np.finfo(dtype).tiny)).all(), name
    assert RULES[opt.rule].state_names == tuple(opt.state)
