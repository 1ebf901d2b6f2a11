"""`tune.sharpness` against dense Hessians and scipy's eigsh, and what it does with bad functions."""

import copy
import itertools
import pickle
import random
import warnings

import numpy as np
import pytest
from scipy.sparse.linalg import eigsh

import pyfastlr as flr
from pictures import assert_fits
from pyfastlr import tune
from pyfastlr.demo import digits
from pyfastlr.tune.problem import Problem
from pyfastlr.tune.stability import lanczos
from pyfastlr.tune.stability.products import Hessian


def symmetric(seed, n=60):
    """Matrix with a spectrum of one of several kinds."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    spectra = (
        rng.standard_normal(n),
        np.concatenate([rng.uniform(0, 0.1, n - 3), [5.0, 5.001, 7.0]]),  # outliers on a bulk, as of a network
        np.concatenate([[-100.0], rng.uniform(0, 1, n - 1)]),  # the largest magnitude is negative
        10.0 ** rng.uniform(-8, 3, n),
        np.concatenate([np.zeros(n - 1), [3.0]]),
    )
    return basis @ np.diag(spectra[seed % len(spectra)]) @ basis.T


def quadratic(h):
    return lambda p, batch: (0.5 * float(p @ h @ p), h @ p)


# --- Lanczos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_lanczos_is_eigsh(seed):
    a = symmetric(seed)
    found = lanczos.largest(lambda v: a @ v, lanczos.random_unit(60, seed), 1e-9, 60)
    exact = eigsh(a, k=1, which="LA", return_eigenvectors=False, tol=1e-12)[0]
    assert found.values[-1] == pytest.approx(exact, rel=1e-8)
    assert np.linalg.norm(a @ found.vector - found.values[-1] * found.vector) <= found.errors[-1] + 1e-9
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(20))
def test_there_is_an_eigenvalue_within_the_error(seed):
    """At every product, converged or not; and the estimates only grow."""
    a = symmetric(seed)
    found = lanczos.largest(lambda v: a @ v, lanczos.random_unit(60, seed), 1e-12, 60)
    spectrum = np.linalg.eigvalsh(a)
    for value, error in zip(found.values, found.errors, strict=True):
        assert np.abs(spectrum - value).min() <= error + 1e-9
    assert np.all(np.diff(found.values) >= -1e-9)


def test_it_stops_at_the_residual():
    a = symmetric(1)
    runs = {tol: lanczos.largest(lambda v: a @ v, lanczos.random_unit(60, 0), tol, 60) for tol in (0.1, 1e-3, 1e-6)}
    for tol, found in runs.items():
        assert found.converged
        assert found.errors[-1] <= tol * found.values[-1]
        assert all(error > tol * value for value, error in zip(found.values[:-1], found.errors[:-1], strict=True))
    assert [len(found.values) for found in runs.values()] == sorted({len(found.values) for found in runs.values()})


def test_reorthogonalisation_lets_no_copies_appear():
    """Without it, 60 products with this matrix give its largest eigenvalue several times."""
    spectrum = np.concatenate([np.linspace(0, 1, 199), [100.0]])
    basis = []

    def product(v):
        basis.append(v)
        return spectrum * v

    lanczos.largest(product, np.ones(200), 1e-300, 60)
    assert np.abs(np.array(basis) @ np.array(basis).T - np.eye(60)).max() < 1e-12


def test_products_that_are_not_symmetric_are_in_the_error():
    a = symmetric(0)
    skew = np.random.default_rng(0).standard_normal((60, 60))
    found = lanczos.largest(lambda v: (a + 0.1 * (skew - skew.T)) @ v, lanczos.random_unit(60, 0), 1e-6, 60)
    assert found.errors[-1] > 0.1


# --- Against dense Hessians -------------------------------------------------------------------------------------------


def logistic(dtype, n=120, features=20, seed=0):
    """Logistic regression: loss, gradient, and its dense Hessian."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, features)) * rng.uniform(0.2, 3, features)).astype(dtype)
    y = (rng.uniform(size=n) < 0.5).astype(dtype)

    def loss_and_grad(p, batch):
        z = x @ p
        q = 1 / (1 + np.exp(-z))
        return float((np.logaddexp(0, z) - y * z).mean()), (x.T @ (q - y) / n).astype(dtype)

    def hessian(p):
        q = 1 / (1 + np.exp(-(x.astype(np.float64) @ p)))
        return x.astype(np.float64).T * (q * (1 - q)) @ x / n

    return loss_and_grad, hessian, (0.3 * rng.standard_normal(features)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_logistic_regression(dtype, seed):
    loss_and_grad, hessian, p = logistic(dtype, seed=seed)
    exact = np.linalg.eigvalsh(hessian(p))[-1]
    L = tune.sharpness(loss_and_grad, p, tol=1e-3)
    assert abs(L - exact) <= L.error
    assert L.error <= 3e-3 * exact
    assert L.bound == pytest.approx(2 / exact, rel=3e-3)


def network(dtype=np.float64, hidden=8, kind="tanh"):
    """A small network on digits, with exact products with its Hessian (Pearlmutter, 1994)."""
    (x, y), _ = digits()
    x, y = x[:150].astype(dtype), np.eye(10)[y[:150]].astype(dtype)
    rng = np.random.default_rng(0)
    params = {
        "w1": (0.2 * rng.standard_normal((64, hidden))).astype(dtype),
        "b1": np.zeros(hidden, dtype),
        "w2": (0.4 * rng.standard_normal((hidden, 10))).astype(dtype),
    }

    def forward(p):
        h = np.tanh(x @ p["w1"] + p["b1"])
        z = h @ p["w2"]
        e = np.exp(z - z.max(1, keepdims=True))
        return h, e / e.sum(1, keepdims=True)

    def loss_and_grad(p, batch):
        h, q = forward(p)
        d = (q - y) / len(y)
        dz = d @ p["w2"].T * (1 - h * h)
        loss = float(-np.log((q * y).sum(1)).mean())
        return loss, {"w1": x.T @ dz, "b1": dz.sum(0), "w2": h.T @ d}

    def hvp(p, batch, v):
        h, q = forward(p)
        d, slope = (q - y) / len(y), 1 - h * h
        dh = d @ p["w2"].T
        rz = x @ v["w1"] + v["b1"]
        rh = slope * rz
        ro = rh @ p["w2"] + h @ v["w2"]
        rd = q * (ro - (q * ro).sum(1, keepdims=True)) / len(y)
        rdz = (rd @ p["w2"].T + d @ v["w2"].T) * slope - 2 * dh * h * slope * rz
        return {"w1": x.T @ rdz, "b1": rdz.sum(0), "w2": rh.T @ d + h.T @ rd}

    return loss_and_grad, hvp, params


def dense(hvp, params):
    """Hessian, a column from each product with a unit vector."""
    flat = flr.Flat(params)
    columns = []
    for k in range(flat.buffer.size):
        v = flat.like()
        v.buffer[k] = 1
        columns.append(np.concatenate([x.ravel() for x in hvp(flat, None, v).values()]))
    return np.array(columns)


@pytest.mark.parametrize("optimizer", [None, flr.SGD, flr.Adam, flr.RMSProp])
def test_a_network_by_its_dense_hessian_and_eigsh(optimizer):
    loss_and_grad, hvp, params = network()
    opt = optimizer and optimizer(params, lr=1e-2)
    root = np.ones(sum(x.size for x in params.values()))
    if opt is not None:
        for _ in range(30):
            opt.step(loss_and_grad(params, None)[1])
    if optimizer in (flr.Adam, flr.RMSProp):
        (name,) = {"exp_avg_sq", "square_avg"} & set(opt.state)
        v = np.concatenate([x.ravel() for x in opt.state[name].values()])
        corrected = v / (1 - 0.999**30) if optimizer is flr.Adam else v
        first = 1 - 0.9**30 if optimizer is flr.Adam else 1.0
        root = np.where(v > 0, 1 / np.sqrt(first * (np.sqrt(corrected) + 1e-8)), 0.0)
    h = dense(hvp, params)
    exact = eigsh(root[:, None] * h * root, k=1, which="LA", return_eigenvectors=False)[0]
    by_product = tune.sharpness(loss_and_grad, params, None, hvp, opt, 1e-7)
    assert float(by_product) == pytest.approx(exact, rel=1e-7)
    by_difference = tune.sharpness(loss_and_grad, params, optimizer=opt)
    assert float(by_difference) == pytest.approx(exact, rel=1e-2)
    assert abs(by_difference - exact) <= by_difference.error
    fine = tune.sharpness(loss_and_grad, params, optimizer=opt, tol=1e-7)
    assert float(fine) == pytest.approx(exact, rel=1e-5)


def test_float32_differences_have_a_step_that_is_large_enough():
    """Measured against exact products: a hundredth of the step has three times the error or more, as has 30 times."""
    _, hvp, params = network()
    loss_and_grad = network(np.float32)[0]
    problem = Problem(loss_and_grad, {name: x.astype(np.float32) for name, x in params.items()})
    hessian = Hessian(problem, None, None, 1e-6)
    v = flr.Flat(params)
    v.buffer[:] = np.random.default_rng(0).standard_normal(v.buffer.size)
    exact = np.concatenate([x.ravel() for x in hvp(params, None, v).values()])
    step, errors = hessian.step, {}
    for factor in (0.01, 1.0, 30.0):
        hessian.step = factor * step
        errors[factor] = np.linalg.norm(hessian(v.buffer) - exact) / np.linalg.norm(exact)
    assert errors[1.0] < 1e-3
    assert errors[1.0] < min(errors[0.01], errors[30.0]) / 3


@pytest.mark.parametrize(
    ("dtype", "tol", "step"),
    [(np.float64, 1e-2, 1.49e-8), (np.float64, 1e-7, 2.2e-6), (np.float64, 1e-9, 6.06e-6), (np.float32, 1e-2, 4.92e-3)],
)
def test_steps(dtype, tol, step):
    """By the norm of the parameters, here 5, and at least 1."""
    for params, norm in ((np.array([3.0, -4.0], dtype), 5.0), (np.zeros(2, dtype), 1.0)):
        problem = Problem(lambda p, batch: (0.0, p), params)
        assert Hessian(problem, None, None, tol).step == pytest.approx(norm * step, rel=0.02)


def test_the_error_has_what_another_step_changes():
    """A kink at the point itself: with each step it is another curvature."""
    L = tune.sharpness(lambda p, batch: (0.0, np.cbrt(p - 1)), np.ones(1))
    assert L.errors[-1] <= 1e-9 * L
    assert L.error == pytest.approx((1 - 2 ** (-2 / 3)) * L, rel=1e-3)
    assert "uncertain" in L.reason


@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5, 1e6])
def test_the_rounding_of_large_gradients_is_in_the_error(offset):
    """In float32 a shorter step sees nothing but rounding, and that may be nothing at all: zero without an error."""
    params = np.random.default_rng(0).standard_normal(10).astype(np.float32)
    h = np.linspace(0.3, 3, 10, dtype=np.float32)
    L, scaled = (
        tune.sharpness(lambda p, batch: (0.0, np.float32(offset) + h * p), params, optimizer=opt)
        for opt in (None, flr.SGD(params, lr_scale=100.0))
    )
    assert 0 < abs(L - 3) < L.error
    assert ("uncertain" in L.reason) == (offset > 1e3)
    assert offset > 1e5 or float(L) == pytest.approx(3, rel=0.05)
    assert scaled.error == pytest.approx(100 * L.error, rel=1e-3)


def test_a_shorter_step_is_taken_where_the_loss_is_no_quadratic_within_the_first():
    """In float32 the step is long, above all from parameters with an offset."""
    p = np.full(3, 1e-3, np.float32)
    assert tune.sharpness(lambda p, batch: (0.0, p**3), p) == pytest.approx(3e-6, rel=2e-2)
    p = (1e4 + np.pi + 0.1 * np.random.default_rng(0).standard_normal(30)).astype(np.float32)
    L = tune.sharpness(lambda p, batch: (0.0, -np.sin(p - np.float32(1e4))), p)
    assert abs(L - np.max(-np.cos(p.astype(float) - 1e4))) <= L.error < 0.05


# --- Structures and determinism ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "dict", "list", "nested", "Flat", "scalar"])
def test_every_structure(kind, dtype):
    parts = [np.ones((2, 3), dtype), np.ones(4, dtype)]
    params = {
        "array": parts[0],
        "dict": dict(zip("ab", parts, strict=True)),
        "list": parts,
        "nested": {"a": [parts[0]], "b": {"c": parts[1]}},
        "Flat": flr.Flat(dict(zip("ab", parts, strict=True))),
        "scalar": np.array(2.0, dtype),
    }[kind]

    def gradient(p):
        if isinstance(p, flr.Flat):
            out = p.like()
            out.buffer[:] = 3 * p.buffer
            return out
        if isinstance(p, dict):
            return {name: gradient(x) for name, x in p.items()}
        return [gradient(x) for x in p] if isinstance(p, list) else np.asarray(3 * p, dtype)

    for hvp in (None, lambda p, batch, v: gradient(v)):
        L = tune.sharpness(lambda p, batch: (1.0, gradient(p)), params, hvp=hvp)
        assert float(L) == pytest.approx(3.0, rel=1e-3)


def test_a_leaf_of_the_gradient_may_be_none():
    params = {"a": np.ones(2), "b": np.ones(3)}
    L = tune.sharpness(lambda p, batch: (0.0, {"a": 2 * p["a"], "b": None}), params)
    assert float(L) == pytest.approx(2.0)


def test_the_batch_is_passed_on():
    seen = []

    def loss_and_grad(p, batch):
        seen.append(batch)
        return 0.0, batch * p

    assert float(tune.sharpness(loss_and_grad, np.ones(2), 5.0)) == pytest.approx(5.0)
    assert set(seen) == {5.0}


def test_the_same_answer_twice_and_no_global_random_number():
    loss_and_grad, _, params = network()
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first, second = (tune.sharpness(loss_and_grad, params) for _ in range(2))
    other = tune.sharpness(loss_and_grad, params, seed=7)
    assert first.values == second.values != other.values
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert random.getstate() == before[1]


def test_evaluations_and_iterations_are_counted():
    calls = itertools.count()
    h = symmetric(1)

    def loss_and_grad(p, batch):
        next(calls)
        return quadratic(h)(p, batch)

    L = tune.sharpness(loss_and_grad, np.ones(60))
    assert L.evaluations == next(calls) == 2 * L.iterations + 4
    assert L.iterations == len(L.values) == len(L.errors)


# --- Directions that do not curve upwards, and estimates in doubt -----------------------------------------------------


@pytest.mark.parametrize("h", [np.diag([-3.0, -1.0, 0.0]), np.diag([-3.0, -1.0, -0.5]), np.zeros((3, 3))])
def test_no_direction_curves_upwards(h):
    L = tune.sharpness(quadratic(h), np.ones(3), hvp=lambda p, batch, v: h @ v)
    assert float(L) <= 1e-12
    assert L.bound == np.inf or L.bound > 1e12
    if float(L) <= 0:
        assert "upwards" in L.reason


def test_the_largest_is_the_most_positive():
    h = np.diag([-100.0, 2.0, 1.0])
    assert float(tune.sharpness(quadratic(h), np.ones(3), tol=1e-6)) == pytest.approx(2.0)


@pytest.mark.parametrize("n", [50, 5000, 50_000])
@pytest.mark.parametrize(("bulk", "outlier"), [(1.0, 2.0), (1.0, 10.0), (-1000.0, 1.0)])
def test_one_eigenvalue_off_a_bulk_of_equal_ones_is_found(n, bulk, outlier):
    """A random vector has a part of 1/sqrt(n) of it: after one product the residual is within the tolerance."""
    h = np.full(n, bulk)
    h[n // 2] = outlier
    L = tune.sharpness(lambda p, batch: (0.0, h * p), np.ones(n))
    assert float(L) == pytest.approx(outlier, rel=1e-2)


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-12, 1e12, 1e200, 1e306])
@pytest.mark.parametrize("given", [False, True])
def test_curvature_of_any_size(size, given):
    h = size * np.linspace(0.1, 1.0, 20)
    with warnings.catch_warnings(action="error"):
        L = tune.sharpness(
            lambda p, batch: (0.0, h * p), np.ones(20), hvp=(lambda p, batch, v: h * v) if given else None, tol=1e-6
        )
    assert float(L) == pytest.approx(size, rel=1e-4)
    assert L.bound == pytest.approx(2 / size, rel=1e-4)


def test_a_product_that_is_not_symmetric_is_told():
    a = np.triu(np.ones((5, 5)))
    L = tune.sharpness(lambda p, batch: (0.0, p), np.ones(5), hvp=lambda p, batch, v: a @ v)
    assert L.reason.endswith("because the products of `hvp` are not those of a symmetric matrix")


def test_a_product_that_moves_the_parameters_sees_them_where_they_were():
    seen = []

    def hvp(p, batch, v):
        seen.append(p.copy())
        p += 1.0
        return np.arange(5.0) * v

    p = np.ones(5)
    assert float(tune.sharpness(lambda p, batch: (0.0, p), p, hvp=hvp)) == pytest.approx(4.0)
    assert np.all(np.array(seen) == 1.0)
    assert np.all(p == 1.0)


def test_it_says_that_it_has_not_converged():
    h = np.diag(np.linspace(0, 1, 500))
    L = tune.sharpness(quadratic(h), np.ones(500), iterations=3, tol=1e-6)
    assert not L.converged
    assert "not converged" in L.reason
    assert "reason" in repr(L)
    assert L.iterations == 3


def kinked(dtype):
    """Network with ReLUs."""
    rng = np.random.default_rng(0)
    x, out = rng.standard_normal((400, 20)).astype(dtype), (rng.standard_normal(30) / 30).astype(dtype)
    params = (rng.standard_normal((20, 30)) / 4).astype(dtype)

    def loss_and_grad(p, batch):
        z = x @ p
        error = np.maximum(z, 0) @ out - 1
        return float((error**2).mean() / 2), x.T @ (error[:, None] / len(x) * out * (z > 0)).astype(dtype)

    def hvp(p, batch, v):
        on = x @ p > 0
        return x.T @ (((x @ v * on) @ out)[:, None] / len(x) * out * on).astype(dtype)

    return loss_and_grad, hvp, params


def test_kinks_are_no_trouble_in_float64_and_are_within_the_error_in_float32():
    loss_and_grad, hvp, params = kinked(np.float64)
    exact = tune.sharpness(loss_and_grad, params, hvp=hvp, tol=1e-8)
    assert float(tune.sharpness(loss_and_grad, params)) == pytest.approx(exact, rel=1e-2)
    loss_and_grad, _, params = kinked(np.float32)
    L = tune.sharpness(loss_and_grad, params)
    assert "uncertain" in L.reason
    assert abs(L - exact) < L.error < 0.1 * L


# --- What functions may do wrong --------------------------------------------------------------------------------------


def bits(params):
    return [x.tobytes() for x in (params.values() if isinstance(params, dict) else [params])]


@pytest.mark.parametrize("when", range(14))
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_parameters_are_restored_from_an_error_at_any_call(when, error):
    loss_and_grad, _, params = network()
    params["w1"][0, 0] = -0.0
    before, calls = bits(params), itertools.count()

    def fails(p, batch):
        if next(calls) == when:
            p["b1"][...] = 7.0
            raise error("here")
        return loss_and_grad(p, batch)

    with pytest.raises(error, match="here"):
        tune.sharpness(fails, params)
    assert bits(params) == before


def test_parameters_are_restored_to_the_bit():
    loss_and_grad, hvp, params = network(np.float32)
    params["b1"][0] = -0.0
    opt = flr.Adam(params, lr=1e-3)
    opt.step(loss_and_grad(params, None)[1])
    before, state = bits(params), pickle.dumps(opt.state_dict())
    for product in (None, hvp):
        tune.sharpness(loss_and_grad, params, hvp=product, optimizer=opt)
    assert bits(params) == before
    assert pickle.dumps(opt.state_dict()) == state


def test_random_gradients_are_refused():
    rng = np.random.default_rng(0)

    def dropout(p, batch):
        return 0.0, 2 * p * (rng.uniform(size=p.size) < 0.5)

    p = np.ones(50)
    with pytest.raises(ValueError, match="same gradient for the same parameters"):
        tune.sharpness(dropout, p)
    assert np.all(p == 1.0)


def test_a_little_noise_of_threads_is_none():
    rng = np.random.default_rng(0)
    L = tune.sharpness(lambda p, batch: (0.0, 2 * p * (1 + 1e-15 * rng.standard_normal(p.size))), np.ones(50))
    assert float(L) == pytest.approx(2.0, rel=1e-2)


def test_nan_is_refused_with_its_place():
    def loss_and_grad(p, batch):
        return 0.0, {"a": p["a"], "b": p["b"] * np.nan}

    params = {"a": np.ones(2), "b": np.ones(2)}
    with pytest.raises(FloatingPointError, match=r"finite gradient.*nan in 'b'"):
        tune.sharpness(loss_and_grad, params)
    with pytest.raises(FloatingPointError, match="`hvp` must return finite numbers, got inf in 'a'"):
        tune.sharpness(loss_and_grad, params, hvp=lambda p, batch, v: {"a": v["a"] * np.inf, "b": v["b"]})
    assert np.all(params["b"] == 1.0)


def test_wrong_shapes_are_refused():
    p = np.ones(3)
    with pytest.raises(ValueError, match="gradient like the parameters"):
        tune.sharpness(lambda p, batch: (0.0, np.ones(2)), p)
    with pytest.raises(ValueError, match="`hvp` must return a product like the parameters"):
        tune.sharpness(lambda p, batch: (0.0, p), p, hvp=lambda p, batch, v: v[:2])
    with pytest.raises(TypeError, match="pair"):
        tune.sharpness(lambda p, batch: p, p)


def test_an_optimizer_over_the_same_memory_as_another_type_is_refused():
    p = np.ones(3)
    with pytest.raises(ValueError, match="`optimizer` must be over `params`"):
        tune.sharpness(lambda p, batch: (0.0, p), p, optimizer=flr.SGD(p.view(np.float32)[:3], lr=0.1))


def test_a_changed_container_is_refused_and_restored():
    params = {"a": np.ones(2)}

    def replaces(p, batch):
        p["a"] = np.zeros(2)
        return 0.0, {"a": np.ones(2)}

    given = params["a"]
    with pytest.raises(ValueError, match="leave `params\\['a'\\]` as it is"):
        tune.sharpness(replaces, params)
    assert np.all(given == 1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"tol": 0.0}, ValueError, "`tol`"),
        ({"tol": "x"}, TypeError, "`tol`"),
        ({"iterations": 0}, ValueError, "`iterations`"),
        ({"hvp": 3}, TypeError, "`hvp`"),
        ({"seed": -1}, ValueError, "`seed` must be an integer >= 0, got -1"),
        ({"seed": None}, TypeError, "`seed` must be an integer >= 0, got None"),
        ({"optimizer": "Adam"}, TypeError, "`optimizer` must be None or an optimizer of pyfastlr, got str"),
        ({"optimizer": flr.SGD}, TypeError, "got the class SGD: call it"),
        ({"optimizer": flr.SGD(np.ones(3), lr=0.1)}, ValueError, "over `params`"),
        ({"params": np.ones(0)}, ValueError, "elements"),
        ({"params": [1.0]}, TypeError, "params"),
        ({"loss_and_grad": 3}, TypeError, "`loss_and_grad`"),
    ],
)
def test_arguments(arguments, error, words):
    given = {"loss_and_grad": lambda p, batch: (0.0, p), "params": np.ones(3), **arguments}
    with pytest.raises(error, match=words):
        tune.sharpness(**given)


# --- The result -------------------------------------------------------------------------------------------------------


def test_a_sharpness_is_a_float_that_can_be_copied():
    loss_and_grad, _, params = network()
    opt = flr.SGD(params, lr=0.1, momentum=0.9)
    L = tune.sharpness(loss_and_grad, params, optimizer=opt)
    for other in (pickle.loads(pickle.dumps(L)), copy.copy(L), copy.deepcopy(L)):
        assert (other, other.bound, other.values, other.growth(0.1)) == (L, L.bound, L.values, L.growth(0.1))
        assert type(other) is tune.Sharpness
        assert repr(other) == repr(L)
    assert str(L) == str(float(L))
    assert (L.optimizer, L.lr) == ("SGD (torch)", 0.1)
    assert repr(L).startswith("Sharpness(")


@pytest.mark.parametrize("optimizer", [None, flr.SGD, flr.Adam, flr.Lion])
def test_the_picture(optimizer):
    loss_and_grad, _, params = network()
    opt = optimizer and optimizer(params, lr=1e-2)
    if opt:
        opt.step(loss_and_grad(params, None)[1])
    L = tune.sharpness(loss_and_grad, params, optimizer=opt)
    ax = L.plot()
    texts = assert_fits(ax.figure)
    assert ax.get_xlabel() == "learning rate"
    assert any("bound" in text for text in texts)
    if L.bound is not None:
        assert f"{L.bound:.3g}" in " ".join(texts)
        assert ax.get_xscale() == "log"
        (curve,) = [line for line in ax.lines if line.get_label() == "growth"]
        rates, growth = curve.get_data()
        assert np.all((growth > 1) == (rates > L.bound))
    from matplotlib.figure import Figure

    mine = Figure().add_subplot()
    assert L.plot(mine) is mine
    with pytest.raises(TypeError, match="`ax`"):
        L.plot("ax")
