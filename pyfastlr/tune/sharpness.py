"""The sharpness: the largest eigenvalue of the Hessian, and the rate at which an optimizer turns unstable for it."""

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyfastlr.arrays.host import address
from pyfastlr.engines.hyper import Range, number
from pyfastlr.optimizers.base import Optimizer
from pyfastlr.schedules.checks import positive_integer

from .lanczos import Ritz, Vector, largest, random_unit
from .problem import LossAndGrad, Problem
from .products import Hessian, Hvp
from .recursion import Frozen, Recursion, recursion
from .restoring import SavedParameters, SavedRandom, restored

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOL = Range(1e-12, 0.5, "a number from 1e-12 to 0.5")
_DESCENT = "gradient descent"
_LEAST = 5  # products of a measurement that starts near the last one's vector


class Sharpness(float):
    """Largest eigenvalue of a Hessian, with what is known of it. `sharpness` makes it.

    Attributes
    ----------
    error : float
        Within this distance of the number there is an eigenvalue of the (preconditioned) Hessian: it is the norm of the
        residual ``H v - L v`` for the unit vector v that was found, not relative to L. Where products came from
        differences of gradients, it is an estimate, and the change of ``v' H v`` when the step is doubled is added.
    bound : float or None
        Rate of the base group at which the optimizer turns unstable on a quadratic with this Hessian; infinite if no
        direction curves upwards; None if there is none.
    reason : str
        Why `bound` is None or infinite, or what makes the estimate doubtful; empty otherwise.
    optimizer : str
        What the bound is for: the class and convention, or "gradient descent".
    lr : float or None
        Rate of the optimizer's base group for its next update.
    converged : bool
        Whether the residual is within the tolerance.
    iterations, evaluations : int
        Products with the Hessian, and calls of `loss_and_grad` or `hvp`.
    values, errors : tuple of float
        Estimate and residual bound after each product.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import tune
    >>> L = tune.sharpness(lambda p, batch: (2.0 * p @ p, 4.0 * p), np.ones(3))
    >>> f"{L:.4f} {L.bound:.4f}", L.optimizer, isinstance(L, float)
    ('4.0000 0.5000', 'gradient descent', True)
    """

    __slots__ = ("_frozen", "bound", "converged", "error", "errors", "evaluations", "lr", "optimizer", "reason",
                 "values")  # fmt: skip

    error: float
    bound: float | None
    reason: str
    optimizer: str
    lr: float | None
    converged: bool
    evaluations: int
    values: tuple[float, ...]
    errors: tuple[float, ...]
    _frozen: tuple[float, float, float, float]

    def __new__(cls, value: float, **facts: Any) -> Sharpness:  # noqa: D102
        self = super().__new__(cls, value)
        for name in cls.__slots__:
            setattr(self, name, facts[name])
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, Any]]:
        return (float(self),), {name: getattr(self, name) for name in self.__slots__}

    def __getstate__(self) -> None:
        return None

    @property
    def iterations(self) -> int:
        """Products with the Hessian."""
        return len(self.values)

    @property
    def value(self) -> float:
        """The number as a plain float."""
        return float(self)

    def growth(self, lr: float) -> float:
        """Factor by which an oscillation along the sharpest direction grows at each update, at a rate.

        Below 1 it dies out. It is the spectral radius of the optimizer's recursion, with its denominators held fixed.

        Examples
        --------
        >>> import numpy as np
        >>> from pyfastlr import tune
        >>> L = tune.sharpness(lambda p, batch: (2.0 * p @ p, 4.0 * p), np.ones(3))
        >>> round(L.growth(0.25), 6), round(L.growth(0.5), 6), round(L.growth(0.75), 6)
        (0.0, 1.0, 2.0)
        """
        now, ahead, mu, w = self._frozen
        x = lr * float(self)
        trace, determinant = 1.0 - x * (now + ahead * w) + mu, mu * (1.0 - x * now)
        root = cmath.sqrt(trace * trace - 4.0 * determinant)
        return max(abs(trace + root), abs(trace - root)) / 2.0

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how an oscillation along the sharpest direction grows by the rate, with the bound and the present rate.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Without it in a new figure, which also shows how the estimate converged.

        Returns
        -------
        matplotlib.axes.Axes
            The axes with the rate; ``.figure.savefig(path)`` writes the figure.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ModuleNotFoundError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from pyfastlr import tune
        >>> L = tune.sharpness(lambda p, batch: (2.0 * p @ p, 4.0 * p), np.ones(3))
        >>> L.plot().get_xlabel()
        'learning rate'
        """
        from .drawing_stability import draw_sharpness, with_matplotlib

        with_matplotlib(ax)
        return draw_sharpness(self, ax)

    def __str__(self) -> str:
        return float.__repr__(self)

    def __repr__(self) -> str:
        bound = None if self.bound is None else f"{self.bound:.6g}"
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"Sharpness({float(self):.6g}, error={self.error:.1g}, bound={bound}{reason})"


def sharpness(
    loss_and_grad: LossAndGrad,
    params: Any,
    batch: Any = None,
    hvp: Hvp | None = None,
    optimizer: Optimizer | None = None,
    tol: float = 1e-2,
    *,
    iterations: int = 100,
    seed: int = 0,
) -> Sharpness:
    r"""Largest eigenvalue L of the loss's Hessian, and the rate at which an optimizer turns unstable for it.

    Gradient descent on a quadratic with largest eigenvalue L multiplies the error along its vector by
    :math:`1 - \eta L` at each update, so it diverges for rates above 2/L. For each other optimizer `bound` is the rate
    at which *it* does:

    .. math::
        \eta = \frac{2}{\kappa L}, \qquad \kappa = a + \frac{c\,w}{1 + \mu}

    with 1 for gradient descent, :math:`1/(1+\mu)` for heavy ball, times :math:`1 - d` for its dampening d,
    :math:`(1+2\mu)/(1+\mu)` for Nesterov's momentum, and :math:`(1-\beta_1)/(1+\beta_1)` for Adam and its kin, whose L
    is that of :math:`P^{-1/2} H P^{-1/2}` with their denominators P.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``. Must return the same for the same arguments.
    params : array, Flat, dict or list
        Arrays in host memory, float32 or float64. They are moved by small steps, in place, and restored to the bit
        whatever happens, Ctrl-C included; so are numpy's and Python's global random numbers.
    batch
        Passed on. The Hessian is that of this batch: of all data, for what is said of gradient descent.
    hvp : callable, optional
        ``hvp(params, batch, v) -> Hv``: product of the Hessian at `params` with `v`; both have the structure, shapes
        and dtype of the parameters, and `v` has numpy arrays. Without it, central differences of gradients: two calls
        of `loss_and_grad` for each product, and four more to see that it repeats itself and that the step fits. In
        float64 they are as good as exact; in float32 the step is large, and kinks within it (ReLU) count as curvature.
    optimizer : Optimizer, optional
        Over the same `params`. Its present state (second moments, counts) and hyperparameters are held fixed: momentum,
        betas, `lr_scale`, rates of groups relative to the base group's, weight decay. What is frozen is left out. L is
        then the largest eigenvalue of the *preconditioned* Hessian (see Notes), and the bound is one for the base
        group's `lr`. Without it: gradient descent.
    tol : float
        Stops where the residual is at most ``tol * L``.
    iterations : int
        Most products with the Hessian. Usually 10 to 30 are needed.
    seed : int
        Of the random vector that Lanczos' method starts from.

    Returns
    -------
    Sharpness
        A float, with `error`, `bound`, `reason` and more.

    Raises
    ------
    TypeError, ValueError
        If an argument or what a function returns is wrong, if the optimizer is over other parameters, or if two calls
        at one point give different gradients.
    FloatingPointError
        If a gradient or product is not finite.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> from pyfastlr import tune
    >>> h = np.array([1.0, 10.0, 100.0])
    >>> def loss_and_grad(p, batch):
    ...     return 0.5 * h @ (p * p), h * p
    >>> p = np.ones(3)
    >>> L = tune.sharpness(loss_and_grad, p)
    >>> f"{L:.4f} {L.bound:.4f}"
    '100.0000 0.0200'
    >>> f"{tune.sharpness(loss_and_grad, p, optimizer=flr.SGD(p, lr=0.01, momentum=0.9)).bound:.4f}"
    '0.0380'

    Notes
    -----
    Preconditioned: with the element's factor of the rate S, denominators P (bias corrections in them) and weight decay
    lambda, L is the largest eigenvalue of :math:`(S/P)^{1/2} (H + \lambda_c) (S/P)^{1/2} + S \lambda_d / \kappa`:
    coupled decay within, decoupled decay outside; independent decay multiplies P by :math:`1 - \lambda_i/2`. Where
    groups differ in kappa their S is scaled by its ratio to the base group's.

    No bound: `Lion` and `Rprop` move by the gradient's sign; an adaptive optimizer has no denominators before its first
    update. `FTRL` and `ASGD` are held by what they do next: their accumulator, or their falling rate, as it is.

    An eigenvalue of a matrix says what happens near the point where it was taken, and for a quadratic for ever. A loss
    that is none may flatten on the way (docs/stability.md).

    Lanczos, 1950 (see `pyfastlr.tune.lanczos`). Pearlmutter, "Fast exact multiplication by the Hessian", 1994, has the
    products that `hvp` is for. Cohen et al., "Gradient descent on neural networks typically occurs at the edge of
    stability", 2021, and "Adaptive gradient methods at the edge of stability", 2022, measured both L. PyHessian and
    pytorch-hessian-eigenthings take L by power iteration, for torch, and know no rate; no framework ties L to one.
    """
    return measure(loss_and_grad, params, batch, hvp, optimizer, tol, iterations, seed=seed)[0]


class Measured(NamedTuple):
    """A sharpness, and the unit vector of its direction."""

    sharpness: Sharpness
    vector: Vector


def measure(
    loss_and_grad: LossAndGrad,
    params: Any,
    batch: Any,
    hvp: Hvp | None,
    optimizer: Optimizer | None,
    tol: float,
    iterations: int,
    start: Vector | None = None,
    seed: Any = 0,
) -> Measured:
    """Measure from a random vector; or, again, from one that is near: then nothing is checked a second time."""
    again = start is not None
    problem = Problem(loss_and_grad, params)
    tol, iterations = checked(hvp, tol, iterations)
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

    def work() -> tuple[Ritz, float, int]:
        hessian = Hessian(problem, batch, hvp, tol, repeats=again)

        def product(v: Vector) -> Vector:
            u = held.root * v
            return held.root * (held.sign * hessian(u) + held.shift * u) + held.decay * v

        found = largest(product, begin, tol, min(iterations, size), _LEAST if again else 1)
        change = 0.0 if again or hvp is not None else _change(hessian, held, found)
        return found, change, hessian.evaluations

    found, change, evaluations = restored([SavedParameters(problem.parameters), SavedRandom()], work)
    value = found.values[-1]
    error = found.errors[-1] + change
    bound, reason = _bound(value, held, found, error, tol)
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
    return Measured(result, found.vector)


def checked(hvp: Any, tol: Any, iterations: Any) -> tuple[float, int]:
    """Tolerance and number of products, or the error that says what is wrong."""
    if hvp is not None and not callable(hvp):
        raise TypeError(f"`hvp` must be None or a function (params, batch, v) -> Hv, got {type(hvp).__name__}")
    return number(tol, "tol", _TOL), positive_integer(iterations, "iterations")


def _change(hessian: Hessian, held: Recursion, found: Ritz) -> float:
    """By how much the result changes when the step of the differences is doubled."""
    u = held.root * found.vector
    if not u.any():
        return 0.0
    doubled = held.sign * hessian.curvature(u, 2.0) + held.shift @ u**2 + held.decay @ found.vector**2
    return abs(float(doubled) - found.values[-1])


def _bound(value: float, held: Recursion, found: Ritz, error: float, tol: float) -> tuple[float | None, str]:
    """Bound, and the reason for what it is."""
    if held.reason:
        return None, held.reason
    doubt = ""
    if not found.converged:
        doubt = (
            f"not converged: the residual is {found.left:.2g} after {len(found.values)} products, and should be "
            f"{tol * abs(value):.2g}"
        )
    elif error > 2.0 * tol * abs(value):
        doubt = (
            f"uncertain: the error is {error:.2g}, because products differ by the step (kinks as ReLU's, rounding, a "
            "loss that is far from a quadratic); float64 parameters or an exact `hvp` have less of it"
        )
    if value <= 0.0:
        return math.inf, doubt or "no direction curves upwards"
    return 2.0 / (held.base.factor * value), doubt


def _check_optimizer(optimizer: Any, problem: Problem) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"`optimizer` must be None or an optimizer of pyfastlr, got {type(optimizer).__name__}")
    mine, theirs = problem.parameters, optimizer._parameters
    if [*map(address, mine.arrays)] != theirs.addresses or mine.sizes != theirs.sizes:
        raise ValueError(f"`optimizer` must be over `params`, got one over other arrays: {theirs.names}")
