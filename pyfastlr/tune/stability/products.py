"""Products of a loss's Hessian with vectors: by a user's function, or by differences of gradients."""

import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from pyfastlr.tune.norms import norm
from pyfastlr.tune.problem import Problem

from .lanczos import Vector

Hvp = Callable[[Any, Any, Any], Any]

_NOISE = 0.1  # largest difference of two calls at one point, as a fraction of a difference of gradients


class Hessian:
    """Hessian of the loss on a batch, at the current parameters.

    Parameters
    ----------
    problem : Problem
    batch
        Passed to the functions.
    hvp : callable or None
        ``hvp(params, batch, v) -> Hv``; None for differences of gradients.
    tol
        Relative error that the step may have.
    repeats
        Whether the gradient is known to be the same at each call.
    at
        Where the Hessian is taken, as a vector; by default where the parameters are now.
    shrink
        Factor of the step.

    Attributes
    ----------
    evaluations
        Calls of `loss_and_grad` or of `hvp` so far.
    step
        Length of the step of the differences.
    rounding
        What the gradients' rounding may add to a product with a unit vector, from the largest one so far.
    """

    def __init__(
        self,
        problem: Problem,
        batch: Any,
        hvp: Hvp | None,
        tol: float,
        repeats: bool = False,
        at: Vector | None = None,
        shrink: float = 1.0,
    ) -> None:
        self.problem, self.batch, self.hvp = problem, batch, hvp
        self.evaluations = 0
        self.at = vector_of(problem) if at is None else at
        self.step = shrink * _step(self.at, problem.parameters.dtype, tol)
        self.rounding = 0.0
        self._eps = float(np.finfo(problem.parameters.dtype).eps)
        self._checked = repeats

    def __call__(self, v: Vector) -> Vector:
        """Product with a vector.

        Raises
        ------
        ValueError
            If two calls at one point give different gradients.
        FloatingPointError
            If a gradient or product is not finite.
        """
        length = norm(v)
        if length == 0.0:
            return np.zeros_like(v)
        if self.hvp is not None:
            return length * self._by_function(v / length)
        difference = self._difference(v / length, self.step)
        if not self._checked:
            self._check_repeats(difference)
        return difference * (length / (2.0 * self.step))

    def curvature(self, v: Vector, doubling: float = 1.0) -> float:
        """Second derivative along a vector, with the step of the differences times `doubling`."""
        length = norm(v)
        step = doubling * self.step
        along = float(v @ self._difference(v / length, step))
        curvature: float = along * length / (2.0 * step)
        return curvature

    def _by_function(self, v: Vector) -> Vector:
        assert self.hvp is not None
        parameters = self.problem.parameters
        buffer = parameters.zeros(parameters.size)
        buffer[:] = v
        starts = list(accumulate(parameters.sizes, initial=0))
        tensors = [buffer[a:b] for a, b in pairwise(starts)]
        self._put(self.at)  # `hvp` may have moved them
        product = self.hvp(parameters.params, self.batch, parameters.like(tensors, buffer))
        self.evaluations += 1
        self.problem.check_in_place()
        try:
            vector = self.problem.vector(product)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`hvp` must return a product like the parameters: {error}") from None
        return self._finite(vector, "`hvp` must return finite numbers")

    def _difference(self, direction: Vector, step: float) -> Vector:
        """Gradient one step ahead minus the gradient one step behind. The caller restores the parameters."""
        ahead = self._gradient(self.at + step * direction, "a small step away from the parameters")
        self.rounding = max(self.rounding, self._eps * norm(ahead) / (2.0 * step))
        return ahead - self._gradient(self.at - step * direction, "a small step away from the parameters")

    def _check_repeats(self, difference: Vector) -> None:
        """Refuse a gradient that differs from call to call, because its noise would look like curvature."""
        first, second = (self._gradient(self.at, "at the parameters") for _ in range(2))
        noise = norm(first - second)
        if noise > _NOISE * norm(difference):
            raise ValueError(
                "`loss_and_grad` must return the same gradient for the same parameters and batch, got two that differ "
                f"by {noise:.2g} in norm ({norm(first):.2g}): fix what it draws (dropout, a batch of "
                "its own), for example by a seed set inside"
            )
        self._checked = True

    def _gradient(self, at: Vector, where: str) -> Vector:
        self._put(at)
        gradient = self.problem(self.batch)[1]
        self.evaluations += 1
        return self._finite(self.problem.vector(gradient), f"`loss_and_grad` must return a finite gradient {where}")

    def _finite(self, vector: Vector, need: str) -> Vector:
        wrong = ~np.isfinite(vector)
        if wrong.any():
            k = int(np.argmax(wrong))
            parameters = self.problem.parameters
            ends = np.cumsum(parameters.sizes)
            name = parameters.names[int(np.searchsorted(ends, k, side="right"))]
            where = f" in {name!r}" if name else ""
            raise FloatingPointError(f"{need}, got {vector[k]}{where}")
        return vector

    def _put(self, at: Vector) -> None:
        """Write parameters into the user's arrays."""
        start = 0
        for array in self.problem.parameters.arrays:
            np.copyto(array, at[start : start + array.size].reshape(array.shape), casting="same_kind")
            start += array.size


def vector_of(problem: Problem) -> Vector:
    """Parameters as one float64 vector."""
    return np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in problem.parameters.arrays])


def _step(at: Vector, dtype: np.dtype[Any], tol: float) -> float:
    """Length of the step h of central differences: a small number times the norm of the parameters (at least 1).

    A gradient has a relative rounding error of about eps, so a difference over 2h has a relative error of about eps/h
    from rounding, and h² from higher derivatives. Their sum is smallest near h = cbrt(eps), 4.9e-3 for float32 and
    6.1e-6 for float64 (errors measured on a network: 4e-5 and 6e-11). But each kink of a gradient (ReLU) within the
    step adds an error of 1/h, and a smaller step crosses fewer kinks. So the step is the smallest whose rounding error
    is far below the tolerance, 1000 eps / tol, between sqrt(eps), 1.5e-8 for float64, and cbrt(eps).

    A norm below 1 counts as 1, because parameters that start at zero have no scale.
    """
    eps = float(np.finfo(dtype).eps)
    relative = min(max(1000.0 * eps / tol, math.sqrt(eps)), math.cbrt(eps))
    return relative * max(1.0, norm(at))
