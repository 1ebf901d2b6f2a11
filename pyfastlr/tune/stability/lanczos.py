"""Largest eigenvalue of a symmetric operator, from its products with vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyfastlr.tune.norms import norm

Vector = npt.NDArray[np.float64]


class Ritz(NamedTuple):
    """Result of `largest`.

    Attributes
    ----------
    values, errors
        Estimate and residual bound after each product. The last ones are the result.
    vector
        Unit vector of the last estimate.
    left
        Part of the last residual bound that more products make smaller.
    converged
        Whether `left` is within the tolerance. `left` is zero if the operator maps the basis into its own span.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]
    vector: Vector
    left: float
    converged: bool


def largest(product: Callable[[Vector], Vector], start: Vector, tol: float, most: int, least: int = 1) -> Ritz:
    r"""Compute the largest (most positive) eigenvalue by Lanczos' method with full reorthogonalisation.

    After k products there is an orthonormal basis V of k vectors, in which the operator A is the small matrix
    T = V' A V. Its largest eigenvalue theta, with eigenvector s, is the estimate, and y = V s its vector. A has an
    eigenvalue within

    .. math:: \| A y - \theta y \| = \sqrt{ (\beta_k s_k)^2 + \| (V^T A V - T)\, s \|^2 }

    of theta. The first term is that of Lanczos' method. The second is zero for exact products: it is the asymmetry of T
    that comes from errors of the products, as in differences of gradients.

    Parameters
    ----------
    product : callable
        Product of the operator with a vector.
    start : float64[n]
        Nonzero; need not have length 1.
    tol : float
        Stops when the first term is at most ``tol * |theta|``: more products do not reduce the second term.
    most : int >= 1
        Most products.
    least : int
        Fewest products, so that a start near one eigenvector does not hide a larger eigenvalue.

    Notes
    -----
    Each new vector is made orthogonal to all others, twice. Otherwise rounding produces copies of converged eigenvalues
    (Paige, "The computation of eigenvalues and eigenvectors of very large sparse matrices", 1971).
    Lanczos, "An iteration method for the solution of the eigenvalue problem of linear differential and integral
    operators", 1950.
    """
    basis = np.empty((min(most, 8), start.size))  # grows by doubling: most runs end early
    basis[0] = start / norm(start)
    projected = np.zeros((most, most))  # V' A V
    values: list[float] = []
    errors: list[float] = []
    scale = 0.0  # largest product, to detect a vector that is only rounding error
    for k in range(1, most + 1):
        spanned = basis[:k]
        w = product(spanned[-1])
        scale = max(scale, norm(w))
        first = spanned @ w
        w = w - first @ spanned
        second = spanned @ w
        w -= second @ spanned
        projected[:k, k - 1] = first + second
        beta = norm(w)
        if k < most:
            projected[k, k - 1] = beta
        small = projected[:k, :k]
        symmetric = (small + small.T) / 2
        eigenvalues, eigenvectors = np.linalg.eigh(symmetric)
        theta, s = float(eigenvalues[-1]), eigenvectors[:, -1]
        closed = k == start.size or beta <= 1e-12 * scale
        left = 0.0 if closed else beta * abs(float(s[-1]))
        values.append(theta)
        errors.append(float(np.hypot(left, norm(small @ s - theta * s))))
        converged = closed or left <= tol * abs(theta)
        if closed or k == most or (converged and k >= least):
            break
        if k == len(basis):
            basis = np.concatenate([basis, np.empty((min(k, most - k), start.size))])
        basis[k] = w / beta
    return Ritz(tuple(values), tuple(errors), s @ spanned, left, converged)


def random_unit(size: int, seed: Any) -> Vector:
    """Vector of independent normal numbers from a new generator."""
    return np.random.default_rng(seed).standard_normal(size)
