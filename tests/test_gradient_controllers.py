"""Controllers that learn from gradients: the papers' formulas in float64, and problems with known answers."""

import copy
import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import schedules as S
from pyfastlr.schedules.gradients import BLOCK, dot

from .interrupts import everywhere, interrupted, needs_faithful_traces
from .test_controllers import frozen

MATRIX = np.diag([1.0, 3.0, 10.0])
START = np.array([2.0, -1.0, 0.5])
KINDS = {
    "hypergradient": lambda **more: S.Hypergradient(0.1, **more),
    "additive": lambda **more: S.Hypergradient(0.1, 0.1, "additive", **more),
    "cosine": lambda **more: S.GradientCosine(0.1, **more),
}


def noisy(p, n):
    """Gradient of a quadratic at update n."""
    return MATRIX @ p + np.random.default_rng(n).normal(0, 0.1, 3)


# --- The formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_sgd_hd(mode):
    """Baydin et al., 2018, algorithm 4 and equation 8: the rate changes before the step, by g_t and g_t-1."""
    beta = 0.002 if mode == "additive" else 0.05
    p, theta, alpha, before = START.copy(), START.copy(), 0.01, None
    rate = S.Hypergradient(0.01, beta, mode)
    opt = flr.SGD(p, lr=rate)
    for n in range(200):
        g = noisy(theta, n)
        if before is not None:
            h = -g @ before
            alpha = alpha - beta * h if mode == "additive" else alpha * (
                1 - beta * h / (np.linalg.norm(g) * np.linalg.norm(before))
            )  # fmt: skip
        theta, before = theta - alpha * g, g
        g = noisy(p, n)
        rate.observe(grads=g)
        opt.step(g)
        assert opt.stats.lr == pytest.approx(alpha, rel=1e-11)
    assert p == pytest.approx(theta, rel=1e-9)
    assert alpha > 0.02


def test_adam_hd():
    """Baydin et al., 2018, algorithm 5, from the change of the parameters; epsilon as in the optimizer."""
    beta, b1, b2, eps = 1e-4, 0.9, 0.999, 1e-8
    p, theta, alpha, direction = START.copy(), START.copy(), 1e-3, None
    m, v = np.zeros(3), np.zeros(3)
    rate = S.Hypergradient(1e-3, beta, "additive")
    opt = flr.Adam(p, lr=rate, eps=eps)
    for n in range(300):
        g = noisy(theta, n)
        if direction is not None:
            alpha += beta * (g @ direction)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        direction = m / (1 - b1 ** (n + 1)) / (np.sqrt(v / (1 - b2 ** (n + 1))) + eps)
        theta = theta - alpha * direction
        g = noisy(p, n)
        rate.observe(grads=g, params=p)
        opt.step(g)
        assert opt.stats.lr == pytest.approx(alpha, rel=1e-8)
    assert alpha > 0.005


def test_the_cosine_rule():
    p, before, mean, weight, alpha = START.copy(), None, 0.0, 0.0, 0.01
    rate = S.GradientCosine(0.01, up=0.1, down=0.3, smoothing=0.8)
    opt = flr.SGD(p, lr=rate)
    for n in range(300):
        g = noisy(p, n)
        if before is not None:
            cos = g @ before / np.linalg.norm(g) / np.linalg.norm(before)
            mean, weight = 0.8 * mean + 0.2 * cos, 0.8 * weight + 0.2
            assert weight == pytest.approx(1 - 0.8**n)
            alpha *= 1 + (0.1 if mean > 0 else 0.3) * mean / weight
        rate.observe(grads=g)
        opt.step(g)
        assert opt.stats.lr == pytest.approx(alpha, rel=1e-11)
        before = g
    assert rate.cosine == pytest.approx(mean / weight)


@pytest.mark.parametrize("make", [lambda p, lr: flr.SGD(p, lr=lr, momentum=0.9, nesterov=True),
                                  lambda p, lr: flr.AdamW(p, lr=lr, weight_decay=0.1),
                                  lambda p, lr: flr.RMSProp(p, lr=lr, lr_scale=0.5)])  # fmt: skip
def test_h_is_the_derivative_by_the_rate_of_the_last_step(make):
    """For any optimizer: the derivative of the loss after a step with respect to the rate of that step."""
    base, epsilon = 0.01, 1e-6

    def after(last_rate):
        p = START.copy()
        opt = make(p, base)
        for n in range(4):
            opt.lr = last_rate if n == 3 else base
            opt.step(MATRIX @ p)
        return p

    p, q = after(base + epsilon), after(base - epsilon)
    slope = 0.5 * (p @ MATRIX @ p - q @ MATRIX @ q) / (2 * epsilon)
    rate = S.Hypergradient(base, 1e-4, "additive")
    p = START.copy()
    opt = make(p, rate)
    for n in range(4):
        if n == 3:
            rate.observe(grads=MATRIX @ p, params=p)
        opt.step(MATRIX @ p)
    rate.observe(grads=MATRIX @ p, params=p)
    assert opt.lr == pytest.approx(base - 1e-4 * slope, rel=1e-7)
    assert abs(slope) > 0.01


def test_a_quadratic_ends_near_its_best_rate():
    """Gradient descent on a quadratic: from far too low and from above 2/L, down to the minimum."""
    for start in (1e-4, 0.3):  # L = 10
        for make in (lambda lr: S.Hypergradient(lr, 0.1), lambda lr: S.GradientCosine(lr, 0.1, 0.5)):
            p, rate = START.copy(), make(start)
            opt = flr.SGD(p, lr=rate)
            for _ in range(300):
                rate.observe(grads=MATRIX @ p)
                opt.step(MATRIX @ p)
            assert np.abs(p).max() < 1e-3
            assert 0.03 < opt.lr < 0.21


# --- Noise ------------------------------------------------------------------------------------------------------------


def test_the_noise_scale_is_unbiased():
    """Known G and Σ: |G|² = 14, tr Σ = 1 + 4 + 9·2 = 23; averages over 8,000 batches within four standard errors."""
    g, deviations = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 2.0, 3.0, 3.0])
    rng = np.random.default_rng(0)
    count, batch = 8_000, 32
    parts = g + rng.normal(size=(count, 4, 4)) * deviations / math.sqrt(batch / 4)
    rates = {k: S.NoiseScale(1.0, batch, smoothing=1 - 1e-12, warmup=1) for k in (1, 2, 4)}
    for row in parts:
        whole = row.mean(axis=0)
        rates[4].observe(grads=whole, parts=list(row))
        rates[2].observe(grads=whole, parts=[row[:2].mean(axis=0), row[2:].mean(axis=0)])
        rates[1].observe(grads=whole, parts=[row[0]], part_size=8)
    for k, rate in rates.items():
        # The square of a batch's gradient has the deviation 2·sqrt(G'ΣG/batch), less than 2·sqrt(14·9/32) = 4.
        assert rate.state["gradient"] == pytest.approx(14, abs=4 * 4 / math.sqrt(count))
        assert rate.state["noise"] == pytest.approx(23, rel={1: 0.15, 2: 0.03, 4: 0.02}[k])
        assert rate.noise_scale == rate.state["noise"] / rate.state["gradient"]
        assert rate(0) == pytest.approx(1 / (1 + rate.noise_scale / batch))


def test_the_newest_noise_counts_most():
    rate = S.NoiseScale(0.1, 8, smoothing=0.75, warmup=2)
    noises = []
    for k, spread in enumerate((1.0, 2.0, 4.0)):
        rate.observe(grads=np.array([4.0]), parts=[np.array([4 - spread]), np.array([4 + spread])])
        noises.append(8 * spread**2)  # (16 + s² - 16)/(1/4 - 1/8)
        weights = 0.75 ** np.arange(k, -1, -1)
        assert rate.state["noise"] == pytest.approx(weights @ noises / weights.sum())
        assert (rate(0) == 0.1) == (k == 0)


def test_what_bounds_the_noise_scale():
    rate = S.NoiseScale(1.0, 2, smoothing=0.0, warmup=1, cap=9.0)
    assert (rate.noise_scale, rate(0)) == (None, 1.0)
    rate.observe(grads=np.array([0.0]), parts=[np.array([-1.0]), np.array([1.0])])
    assert (rate.noise_scale, rate(0)) == (math.inf, 0.1)
    rate.observe(grads=np.array([1.0]), parts=[np.array([1.0]), np.array([1.0])])
    assert (rate.noise_scale, rate(0)) == (0.0, 1.0)
    assert not rate.observe(grads=np.array([1.0]))
    assert S.NoiseScale(1.0, 2, low=0.5, high=0.7)(0) == 0.7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parts": np.ones((2, 3))}, "`parts` must be a list"), ({"parts": []}, "`parts` must be a list"),
        ({"parts": [np.ones(3)]}, "`part_size` must be given"),
        ({"parts": [np.ones(3)], "part_size": 64}, "`part_size` must be below"),
        ({"parts": [np.ones(3)], "part_size": 0}, "`part_size`"),
        ({"parts": [np.ones(2), np.ones(3)]}, r"parts\[0\]` must have the shape"),
        ({"parts": [np.ones(3), {"a": np.ones(3)}]}, r"parts\[1\]` must have the names"),
        ({"parts": [np.ones(3), None]}, r"parts\[1\]` must have at least one"),
    ],
)  # fmt: skip
def test_parts_are_like_the_whole(arguments, words):
    rate = S.NoiseScale(1.0, 64)
    before = rate.state_dict()
    with pytest.raises((TypeError, ValueError), match=words):
        rate.observe(grads=np.ones(3), **arguments)
    assert rate.state_dict() == before


# --- What is observed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", KINDS.values())
def test_every_container_gives_the_same_rates(make, dtype):
    rng = np.random.default_rng(3)
    trees = [{"a": rng.normal(size=(2, 3)).astype(dtype), "b": [rng.normal(size=4).astype(dtype)]} for _ in range(6)]
    forms = {
        "dict": lambda t: t, "reordered": lambda t: {"b": t["b"], "a": t["a"]}, "Flat": lambda t: flr.Flat(t),
        "list": lambda t: [t["a"], t["b"][0]],
        "buffer": lambda t: np.concatenate([t["a"].ravel(), t["b"][0]]),
        "strided": lambda t: {"a": np.ascontiguousarray(t["a"].T).T.copy(), "b": t["b"]},
    }  # fmt: skip
    found = {}
    for name, form in forms.items():
        for with_params in (False, True):
            rate = make()
            for t, p in zip(trees, trees[::-1], strict=True):
                rate.observe(grads=form(t), **({"params": form(p)} if with_params else {}))
            found[name, with_params] = rate(0)
    for with_params in (False, True):
        rates = [x for (_, given), x in found.items() if given == with_params]
        assert rates == pytest.approx([rates[0]] * len(rates), rel=1e-13)
        assert rates[0] != 0.1
    assert found["dict", False] == found["reordered", False] == found["Flat", False]
    assert found["dict", True] == found["reordered", True] == found["Flat", True]


@pytest.mark.parametrize("make", KINDS.values())
def test_leaves_that_are_none_count_as_zeros(make):
    some, zeros = make(), make()
    for a, b in ((1.0, None), (2.0, None), (1.0, 3.0), (2.0, 1.0), (None, 2.0), (1.0, 1.0)):
        changed = [
            some.observe(grads={x: None if y is None else np.full(2, y) for x, y in (("a", a), ("b", b))}),
            zeros.observe(grads={"a": np.full(2, a or 0.0), "b": np.full(2, b or 0.0)}),
        ]
        assert changed[0] == changed[1]
        assert some(0) == zeros(0)
    assert some(0) != 0.1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", KINDS.values())
def test_what_is_not_finite_leaves_the_rate(make, bad):
    rate = make()
    for g in ([1.0, 2.0], [2.0, 1.0]):
        rate.observe(grads=np.array(g))
    before, lr = frozen(rate.state_dict()), rate(0)
    assert rate.observe(grads=np.array([1.0, bad])) is False
    assert rate.observe(grads=np.array([1.0, 1.0]), params=np.array([bad, 1.0])) is False
    assert rate.observe(grads=np.array([1e200, 1.0])) is False  # its square is beyond float64
    assert (frozen(rate.state_dict()), rate(0)) == (before, lr)
    assert [ignored for _, ignored in rate.history] == [False, False, True, True, True]
    assert rate.observe(grads=np.array([1.0, 1.0]))


def test_noise_that_is_not_finite_leaves_the_rate():
    rate = S.NoiseScale(0.1, 8, warmup=1)
    rate.observe(grads=np.ones(2), parts=[np.zeros(2), np.full(2, 2.0)])
    before = rate.state_dict()
    assert rate.observe(grads=np.ones(2), parts=[np.full(2, math.nan), np.ones(2)]) is False
    assert rate.observe(grads=np.full(2, math.inf), parts=[np.ones(2), np.ones(2)]) is False
    assert rate.state_dict() == before


@pytest.mark.parametrize(
    ("grads", "words"),
    [
        (None, "`grads` must"), ("abc", "`grads` must"), (3.0, "`grads` must"), (np.ones(3, int), "`grads` must"),
        (np.ones(3, np.float16), "`grads` must"), ({}, "`grads` must contain"), ([None, None], "`grads` must have"),
        (np.ones(2), r"`grads` must have the shape \(3,\), as observed before, got \(2,\)"),
        ({"a": np.ones(3)}, r"`grads` must have the names \[''\], as observed before, got \['a'\]"),
        (np.ones((3, 1)), "`grads` must have the shape"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", KINDS.values())
def test_gradients_are_arrays_of_the_same_shapes(make, grads, words):
    rate = make()
    rate.observe(grads=np.ones(3))
    before = frozen(rate.state_dict())
    with pytest.raises((TypeError, ValueError), match=words):
        rate.observe(grads=grads)
    with pytest.raises((TypeError, ValueError), match=words.replace("grads", "params")):
        rate.observe(grads=np.ones(3), params=grads if grads is not None else [None])
    assert frozen(rate.state_dict()) == before


@pytest.mark.parametrize("make", KINDS.values())
def test_the_users_arrays_are_neither_kept_nor_written(make):
    g, rate, other = np.array([1.0, 2.0]), make(), make()
    rate.observe(grads=g)
    other.observe(grads=g.copy())
    g[:] = -1.0  # the next one is written into the same memory
    rate.observe(grads=g)
    other.observe(grads=np.array([-1.0, -1.0]))
    assert g.tolist() == [-1.0, -1.0]
    assert rate(0) == other(0) < 0.1


@pytest.mark.parametrize("make", KINDS.values())
def test_gradients_and_parameters_are_not_compared(make):
    """When `params` is added or dropped, one observation gives no comparison."""
    rate = make()
    rate.observe(grads=np.ones(2))
    assert not rate.observe(grads=np.ones(2), params=np.full(2, 5.0))
    assert rate.observe(grads=np.ones(2), params=np.zeros(2))
    assert not rate.observe(grads=np.ones(2))
    assert rate.observe(grads=np.ones(2))


# --- Bounds and arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS.values())
def test_the_rate_stays_between_its_bounds(make):
    rate = make(low=0.05, high=0.2)
    for sign in (1, -1, 1):
        g = np.array([3.0, 1.0])
        for _ in range(100):
            rate.observe(grads=g)
            g = sign * g
            assert 0.05 <= rate(0) <= 0.2
        assert rate(0) == (0.2 if sign > 0 else 0.05)  # at once: nothing was wound up beyond the bounds


@pytest.mark.parametrize("make", KINDS.values())
def test_no_rate_is_negative_or_infinite(make):
    for sign in (1, -1):
        rate, g = make(), np.full(2, 1e30)
        for _ in range(3000):
            rate.observe(grads=g)
            g = sign * g
        assert 0.0 <= rate(0) < math.inf


def test_a_base_that_moves_keeps_what_was_learned():
    rate = S.Hypergradient(S.Linear(0.1, 0.0, steps=10), 0.1)
    rate.observe(grads=np.ones(2))
    rate.observe(grads=np.ones(2))
    assert rate(5) == pytest.approx(0.05 * 1.1)
    rate = S.Hypergradient(S.Linear(0.1, 0.0, steps=10), 0.01, "additive")
    rate.observe(grads=np.ones(2))
    rate.observe(grads=np.ones(2))
    assert rate(5) == pytest.approx(0.05 + 0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: S.Hypergradient(0.1, 0), "`beta`"), (lambda: S.Hypergradient(0.1, 1.0), "`beta`"),
        (lambda: S.Hypergradient(0.1, mode="additive"), "`beta` must be given"),
        (lambda: S.Hypergradient(0.1, mode="x"), "`mode`"), (lambda: S.Hypergradient(0.1, low=-1), "`low`"),
        (lambda: S.Hypergradient(0.1, low=1, high=0.5), "`high`"), (lambda: S.Hypergradient("x"), "`base`"),
        (lambda: S.GradientCosine(0.1, up=1), "`up`"), (lambda: S.GradientCosine(0.1, down=0), "`down`"),
        (lambda: S.GradientCosine(0.1, smoothing=1), "`smoothing`"),
        (lambda: S.GradientCosine(0.1, smoothing=None), "`smoothing`"),
        (lambda: S.NoiseScale(0.1, 0), "`batch_size`"), (lambda: S.NoiseScale(0.1, "8"), "`batch_size`"),
        (lambda: S.NoiseScale(0.1, 8, warmup=0), "`warmup`"), (lambda: S.NoiseScale(0.1, 8, cap=0), "`cap`"),
        (lambda: S.NoiseScale(0.1, 8, smoothing=-1), "`smoothing`"),
    ],
)  # fmt: skip
def test_bad_arguments(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


# --- Saving -----------------------------------------------------------------------------------------------------------


BAD = [
    lambda s: {**s, "of": "x"}, lambda s: {**s, "of": 1}, lambda s: {**s, "names": None},
    lambda s: {**s, "names": "ab"},
    lambda s: {**s, "names": ["a", "a"]}, lambda s: {**s, "names": ["a"]}, lambda s: {**s, "shapes": [[2], [-1]]},
    lambda s: {**s, "shapes": [[2], 3]}, lambda s: {**s, "last": [[1.0, 2.0], [1.0]]},
    lambda s: {**s, "last": [[1.0, 2.0], [[1.0, 2.0]]]}, lambda s: {**s, "last": [[1.0, 2.0], ["a", "b"]]},
    lambda s: {**s, "last": [[1.0, 2.0], [1.0, math.nan]]}, lambda s: {**s, "last": np.ones((2, 2))},
    lambda s: {**s, "last": [np.ones(2), np.ones(2, int)]}, lambda s: {**s, "scale": 0.0},
    lambda s: {**s, "scale": math.inf}, lambda s: {**s, "scale": None}, lambda s: {**s, "mean": 2.0},
    lambda s: {**s, "weight": -1.0},
]  # fmt: skip


@pytest.mark.parametrize("spoil", BAD)
def test_a_bad_state_changes_nothing(spoil):
    rate = S.GradientCosine(0.1)
    for k in range(3):
        rate.observe(grads={"a": np.full(2, 1.0 + k), "b": np.array([1.0, k])})
    before = frozen(rate.state_dict())
    with pytest.raises((TypeError, ValueError), match="state"):
        rate.load_state_dict(spoil(rate.state_dict()))
    assert frozen(rate.state_dict()) == before


def test_a_state_of_other_tensors_is_refused():
    rate, other = S.Hypergradient(0.1), S.Hypergradient(0.1)
    rate.observe(grads=np.ones(3))
    other.observe(grads={"a": np.ones(3)})
    with pytest.raises(ValueError, match="the tensors that it observed before"):
        rate.load_state_dict(other.state_dict())
    S.Hypergradient(0.1).load_state_dict(other.state_dict())  # nothing is known to contradict it


@pytest.mark.parametrize("make", KINDS.values())
@pytest.mark.parametrize("form", [copy.deepcopy, lambda s: json.loads(frozen(s))])
def test_float32_and_empty_tensors_survive(make, form):
    rng = np.random.default_rng(5)
    trees = [{"a": rng.normal(size=(3, 2)).astype("f4"), "b": np.zeros((0, 4), "f4"), "c": None} for _ in range(8)]
    rate = make()
    for t in trees[:4]:
        rate.observe(grads=t)
    again = make()
    again.load_state_dict(form(rate.state_dict()))
    for t in trees[4:]:
        rate.observe(grads=t)
        again.observe(grads=t)
        assert again(0) == rate(0)
    with pytest.raises(ValueError, match="shape"):
        again.observe(grads={**trees[0], "b": np.zeros((0, 3), "f4")})


@needs_faithful_traces
@pytest.mark.parametrize("make", KINDS.values())
def test_an_interrupt_leaves_the_old_or_the_new(make):
    seen = set()

    def attempt(k):
        rate = make()
        rate.observe(grads=np.ones(3))
        old = frozen(rate.state_dict())
        place = interrupted(lambda: rate.observe(grads=np.array([1.0, 2.0, 3.0])), k)
        found = frozen(rate.state_dict())
        seen.add((found == old, found))
        return place

    assert everywhere(attempt) > 20
    assert len(seen) == 2


# --- Numbers ----------------------------------------------------------------------------------------------------------


def test_dot_is_float64_and_does_not_depend_on_the_place():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3 * BLOCK + 17)).astype("f4")
    exact = math.fsum((a.astype("f8") * b.astype("f8")).tolist())
    assert dot([a], [b]) == pytest.approx(exact, abs=1e-10)
    room = np.zeros(len(a) + 8, "f4")
    for shift in range(8):
        moved = room[shift : shift + len(a)]
        moved[:] = a
        assert dot([moved], [b]) == dot([a], [b])
    assert dot([a], [a]) == dot([a], [a.copy()])
    assert dot([np.array([3e38], "f4")], [np.array([3e38], "f4")]) > 1e76  # no overflow of float32
    assert dot([a, None], [b, None]) == dot([a], [b])
    assert math.isnan(dot([np.array([math.inf, -math.inf])], [np.ones(2)]))
    assert math.isnan(dot([np.array([1e300]), np.array([-1e300])], [np.array([1e300]), np.array([1e300])]))
    assert dot([np.zeros(0)], [np.zeros(0)]) == 0.0


# --- Something real ---------------------------------------------------------------------------------------------------


def trained(make, cls=flr.SGD, steps=300, batch=64, params=False, parts=0):
    """Accuracy on unseen digits after training with this rate."""
    from pyfastlr.demo import digits, evaluate, initial, loss_and_gradient, mini_batches

    rng = np.random.default_rng(0)
    images, test = digits(0)
    p = flr.Flat(initial(32, rng))
    grads, rate = p.like(), make()
    pieces = [p.like() for _ in range(parts)]
    opt, batches = cls(p, lr=rate), mini_batches(images, batch, rng)
    with np.errstate(all="ignore"):
        for _ in range(steps):
            x, y = next(batches)
            loss_and_gradient(p, grads, x, y)
            for piece, part_x, part_y in zip(
                pieces, np.split(x, max(1, parts)), np.split(y, max(1, parts)), strict=False
            ):
                loss_and_gradient(p, piece, part_x, part_y)
            if isinstance(rate, S.Controller):
                rate.observe(grads=grads, params=p if params else None, parts=pieces or None)
            opt.step(grads)
    return evaluate(p, test)[1]


@pytest.mark.parametrize(
    ("start", "make", "more"),
    [
        (1e-3, lambda lr: S.Hypergradient(lr, 0.05), {}),
        (1e-3, lambda lr: S.Hypergradient(lr, 0.01, "additive"), {}),
        (1e-3, S.GradientCosine, {}),
        (1e-5, lambda lr: S.Hypergradient(lr, 0.05), {"cls": flr.Adam, "params": True}),
        (1e-5, S.GradientCosine, {"cls": flr.Adam, "params": True}),
        (1.0, lambda lr: S.NoiseScale(lr, 8), {"batch": 8, "parts": 2}),
    ],
)
def test_digits_from_a_bad_rate(start, make, more):
    plain = trained(lambda: start, **{x: y for x, y in more.items() if x in ("cls", "batch")})
    learned = trained(lambda: make(start), **more)
    assert plain < 0.6
    assert learned > 0.85


def test_the_page_has_all_runs_of_its_script():
    """If not: python scripts/controllers_page.py."""
    root = Path(__file__).resolve().parents[1]
    runs = runpy.run_path(str(root / "scripts" / "controllers_page.py"))["RUNS"]
    text = (root / "docs" / "controllers.md").read_text(encoding="utf-8")
    rows = text.split("<!-- figures:begin -->\n")[1].split("\n<!-- figures:end -->")[0].splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [[f"| {run.panel}", run.label] for run in runs]
