"""The sharpness: a float with its error, its bound and more."""

from __future__ import annotations

import cmath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Sharpness(float):
    """Largest eigenvalue of a Hessian: a float with its error, the bound of the rate, and more. Made by `sharpness`.

    Attributes
    ----------
    error : float
        Within this distance of the number there is an eigenvalue of the (preconditioned) Hessian: it is the norm of the
        residual ``H v - L v`` for the unit vector v that was found, not relative to L. Where products came from
        differences of gradients, it is an estimate: the change of ``v' H v`` when the step is doubled, and what the
        rounding of the gradients may do, are added.
    bound : float or None
        Rate of the base group above which the optimizer is unstable on a quadratic with this Hessian. Infinite if no
        direction curves upwards; None if there is no bound.
    reason : str
        Why `bound` is None or infinite, or why the estimate is doubtful; otherwise empty.
    optimizer : str
        Optimizer of the bound: its class and convention, or "gradient descent".
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
        """Return the factor by which an oscillation along the sharpest direction grows per update at this rate.

        Below 1 the oscillation dies out. The factor is the spectral radius of the optimizer's recursion with fixed
        denominators.

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
        """Draw the growth of an oscillation along the sharpest direction against the rate, with bound and current rate.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new figure, which also shows how the estimate converged.

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
        from .drawing import draw_sharpness, with_matplotlib

        with_matplotlib(ax)
        return draw_sharpness(self, ax)

    def __str__(self) -> str:
        return float.__repr__(self)

    def __repr__(self) -> str:
        bound = None if self.bound is None else f"{self.bound:.6g}"
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"Sharpness({float(self):.6g}, error={self.error:.1g}, bound={bound}{reason})"
