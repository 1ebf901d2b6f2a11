"""The sharpness: the largest eigenvalue of the Hessian, and the largest rate at which an optimizer is stable."""

from typing import Any

from pyfastlr.optimizers.base import Optimizer
from pyfastlr.tune.problem import LossAndGrad

from .measuring import measure
from .products import Hvp
from .result import Sharpness


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
    r"""Compute the largest eigenvalue L of the loss's Hessian, and the largest rate at which an optimizer is stable.

    Gradient descent on a quadratic with largest eigenvalue L multiplies the error along its eigenvector by
    :math:`1 - \eta L` at each update, so it diverges at rates above 2/L. For other optimizers, `bound` is the
    corresponding rate:

    .. math::
        \eta = \frac{2}{\kappa L}, \qquad \kappa = a + \frac{c\,w}{1 + \mu}

    where :math:`\kappa` is 1 for gradient descent, :math:`1/(1+\mu)` for heavy ball (times :math:`1 - d` with dampening
    d), :math:`(1+2\mu)/(1+\mu)` for Nesterov's momentum, and :math:`(1-\beta_1)/(1+\beta_1)` for Adam and its variants.
    For optimizers with denominators P, L is the largest eigenvalue of :math:`P^{-1/2} H P^{-1/2}`.

    Parameters
    ----------
    loss_and_grad : callable
        ``loss_and_grad(params, batch) -> (loss, gradient)``. Must return the same for the same arguments.
    params : array, Flat, dict or list
        Arrays in host memory, float32 or float64. They are changed in place by small steps, and always restored to the
        bit, even after Ctrl-C; so are numpy's and Python's global random states.
    batch
        Passed to the functions. The Hessian is that of this batch. The statement about gradient descent needs all data.
    hvp : callable, optional
        ``hvp(params, batch, v) -> Hv``: product of the Hessian at `params` with `v`; both have the structure, shapes
        and dtype of the parameters, and `v` has numpy arrays. Without it, central differences of gradients: two calls
        of `loss_and_grad` for each product, and four more to see that it repeats itself and that the step fits; where
        it does not, up to three shorter steps are tried. In float64 they are as good as exact; in float32 the step is
        large, and kinks within it (ReLU) count as curvature.
    optimizer : Optimizer, optional
        An optimizer of the same `params`. Its current state (second moments, counts) and hyperparameters are held
        fixed: momentum, betas, `lr_scale`, rates of groups relative to the base group's, weight decay. Frozen
        parameters are left out. L is then the largest eigenvalue of the *preconditioned* Hessian (see Notes), and the
        bound applies to the base group's `lr`. By default: gradient descent.
    tol : float
        Stops when the residual is at most ``tol * L``.
    iterations : int
        Most products with the Hessian. Usually 10 to 30 are needed.
    seed : int
        Seed of the random vector that Lanczos' method starts from.

    Returns
    -------
    Sharpness
        A float, with `error`, `bound`, `reason` and more.

    Raises
    ------
    TypeError, ValueError
        If an argument or the result of a function is wrong, if the optimizer has other parameters, or if two calls at
        one point give different gradients.
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
    Preconditioned: with the element's factor of the rate S, denominators P (with bias corrections) and weight decay
    lambda, L is the largest eigenvalue of :math:`(S/P)^{1/2} (H + \lambda_c) (S/P)^{1/2} + S \lambda_d / \kappa`:
    coupled decay inside, decoupled decay outside; independent decay multiplies P by :math:`1 - \lambda_i/2`. If groups
    differ in kappa, their S is scaled by its ratio to the base group's.

    `Lion` and `Rprop` have no bound, because they move by the gradient's sign. Adaptive optimizers have no bound before
    their first update, because they have no denominators yet. For `FTRL` and `ASGD`, the accumulator and the decaying
    rate are held fixed too.

    The bound holds near the point of the measurement, and everywhere for a quadratic. The curvature of any other loss
    may fall along the way (docs/stability.md).

    Lanczos, 1950 (see `pyfastlr.tune.stability.lanczos`). Pearlmutter, "Fast exact multiplication by the Hessian",
    1994, describes the products for `hvp`. Cohen et al., "Gradient descent on neural networks typically occurs at the
    edge of stability", 2021, and "Adaptive gradient methods at the edge of stability", 2022, measured both L. PyHessian
    and pytorch-hessian-eigenthings compute L by power iteration, for torch. No framework derives a rate from L.
    """
    return measure(loss_and_grad, params, batch, hvp, optimizer, tol, iterations, seed=seed)[0]
