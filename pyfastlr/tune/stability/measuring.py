"""One measurement of the sharpness, for `sharpness` and for `StabilityMonitor`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pyfastlr.engines.hyper import Range, number
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules.checks import got, positive_integer
from pyfastlr.tune.problem import LossAndGrad, Problem
from pyfastlr.tune.restoring import SavedParameters, SavedRandom, restored
from pyfastlr.tune.values import count

from .lanczos import Ritz, Vector, largest, random_unit
from .products import Hessian, Hvp, vector_of
from .recursion import Frozen, Recursion, recursion
from .result import Sharpness

_TOL = Range(1e-12, 0.5, "a number from 1e-12 to 0.5")
_DESCENT = "gradient descent"
# Products of a measurement. After the first the residual may be small though a larger eigenvalue is far away: a random
# vector has hardly a part of it. So has one that starts near the last measurement's vector.
_LEAST = 5
_SHRINKS = (1.0, 2.0**-4, 2.0**-8, 2.0**-12)  # of the step of differences, the next where the one before is in doubt


class Measured(NamedTuple):
    """A sharpness, the unit vector of its direction, and the factor of the step that was best."""

    sharpness: Sharpness
    vector: Vector
    shrink: float


class Attempt(NamedTuple):
    """What Lanczos' method found with one step, by how much doubling that changes it, and what rounding may add."""

    found: Ritz
    change: float
    rounding: float
    shrink: float

    @property
    def error(self) -> float:
        """All three parts together."""
        return self.found.errors[-1] + self.change + self.rounding

    @property
    def doubt(self) -> float:
        """Error by the size of the estimate."""
        size = abs(self.found.values[-1])
        return self.error / size if size > 0.0 else math.inf if self.error > 0.0 else 0.0


def measure(
    loss_and_grad: LossAndGrad,
    params: Any,
    batch: Any,
    hvp: Hvp | None,
    optimizer: Optimizer | None,
    tol: float,
    iterations: int,
    start: Vector | None = None,
    seed: int = 0,
    shrink: float = 1.0,
) -> Measured:
    """Measure from a random vector; or, again, from one that is near: then nothing is checked a second time.

    The step of differences is in proportion to the parameters. Where these are large for another reason than that the
    loss varies slowly (an offset), it is too long, and doubling it changes the result: then shorter ones are tried.
    """
    again = start is not None
    problem = Problem(loss_and_grad, params)
    tol, iterations, seed = checked(hvp, tol, iterations, seed)
    size = problem.parameters.size
    if size == 0:
        raise ValueError("`params` must have elements, got none")
    if optimizer is None:
        zeros = np.zeros(size)
        held = Recursion(np.ones(size), zeros, zeros, 1.0, Frozen(now=1.0))
    else:
        _check_optimizer(optimizer, problem)
        held = recursion(optimizer)
    begin = np.where(held.root > 0, random_unit(size, seed) if start is None else start, 0.0)

    evaluations = 0

    def attempt(shrink: float, repeats: bool) -> Attempt:
        nonlocal evaluations
        hessian = Hessian(problem, batch, hvp, tol, repeats, at, shrink)

        def product(v: Vector) -> Vector:
            u = held.root * v
            return held.root * (held.sign * hessian(u) + held.shift * u) + held.decay * v

        found = largest(product, begin, tol, min(iterations, size), _LEAST)
        change = 0.0 if again or hvp is not None else _change(hessian, held, found)
        evaluations += hessian.evaluations
        return Attempt(found, change, hessian.rounding * float(held.root.max()) ** 2, shrink)

    def work() -> Attempt:
        attempts = [attempt(shrink, again)]
        if not again and hvp is None:
            for shorter in _SHRINKS[1:]:
                if attempts[-1].change <= tol * abs(attempts[-1].found.values[-1]):
                    break
                attempts.append(attempt(shorter, True))
        return min(attempts, key=lambda x: x.doubt)

    at = vector_of(problem)
    best = restored([SavedParameters(problem.parameters), SavedRandom()], work)
    found, error = best.found, best.error
    value = found.values[-1]
    bound, reason = _bound(value, held, found, error, tol, hvp is not None)
    result = Sharpness(
        value,
        error=error,
        bound=bound,
        reason=reason,
        optimizer=_DESCENT if optimizer is None else f"{type(optimizer).__name__} ({optimizer._convention})",
        lr=None if optimizer is None else float(optimizer._hyper.number(0, "lr")),
        converged=found.converged,
        evaluations=evaluations,
        values=found.values,
        errors=found.errors,
        _frozen=(held.base.now, held.base.ahead, held.base.mu, held.base.w),
    )
    return Measured(result, found.vector, best.shrink)


def checked(hvp: Any, tol: Any, iterations: Any, seed: Any) -> tuple[float, int, int]:
    """Tolerance, number of products and seed, or the error that says what is wrong."""
    if hvp is not None and not callable(hvp):
        raise TypeError(f"`hvp` must be None or a function (params, batch, v) -> Hv, got {type(hvp).__name__}")
    return number(tol, "tol", _TOL), positive_integer(iterations, "iterations"), count(seed, "seed", 0)


def _change(hessian: Hessian, held: Recursion, found: Ritz) -> float:
    """Change of the result if the step of the differences is doubled."""
    u = held.root * found.vector
    if not u.any():
        return 0.0
    doubled = held.sign * hessian.curvature(u, 2.0) + held.shift @ u**2 + held.decay @ found.vector**2
    return abs(float(doubled) - found.values[-1])


def _bound(
    value: float, held: Recursion, found: Ritz, error: float, tol: float, is_given: bool
) -> tuple[float | None, str]:
    """Bound, and the reason for what it is."""
    if held.reason:
        return None, held.reason
    doubt = ""
    if not found.converged:
        doubt = (
            f"not converged: the residual is {found.left:.2g} after {len(found.values)} products, and must be at most "
            f"{tol * abs(value):.2g}"
        )
    elif error > 2.0 * tol * abs(value):
        doubt = f"uncertain: the error is {error:.2g}, because " + (
            "the products of `hvp` are not those of a symmetric matrix"
            if is_given
            else "products differ by the step (kinks as ReLU's, rounding, a loss that is far from a quadratic); "
            "float64 parameters or an exact `hvp` have less of it"
        )
    if value <= 0.0:
        return math.inf, doubt or "no direction curves upwards"
    return 2.0 / (held.base.factor * value), doubt


def _check_optimizer(optimizer: Any, problem: Problem) -> None:
    if not isinstance(optimizer, Optimizer):
        what = got(optimizer) if isinstance(optimizer, type) else f"got {type(optimizer).__name__}"
        raise TypeError(f"`optimizer` must be None or an optimizer of pyfastlr, {what}")
    if not problem.is_of(optimizer):
        names = optimizer._parameters.names
        raise ValueError(f"`optimizer` must be over `params`, got one over other arrays: {names}")
