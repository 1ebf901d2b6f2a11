"""A rate that falls as gradient noise grows relative to the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import checks
from .base import RateLike
from .controller import Controller
from .gradients import Bounded, Tensors, dot

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _noise_scale(state: Mapping[str, Any]) -> float | None:
    noise: float = state["noise"]
    gradient: float = state["gradient"]
    if not state["count"]:
        return None
    if noise <= 0.0:
        return 0.0
    return noise / gradient if gradient > 0.0 else math.inf


class NoiseScale(Bounded):
    """Lower the rate as the gradient noise scale B grows relative to the batch: ``base(n)/(1 + B/batch_size)``.

    B = tr(Σ)/|G|², where G is the true gradient and Σ the covariance of the gradient of one example. In a batch of B
    examples, noise and gradient have the same length. `base` is the best rate without noise. The formula maximises the
    decrease of the loss in one step of SGD.

    The expected squared norm of the gradient of b examples is |G|² + tr(Σ)/b. So the squared norms for a whole batch
    and for parts of it give unbiased estimates of both::

        |G|²  = (batch·|g|² - part·|g_part|²)/(batch - part)
        tr(Σ) = (|g_part|² - |g|²)/(1/part - 1/batch)

    Both are averaged, and B is the quotient of the averages. Call ``observe(grads=g, parts=[g_1, g_2])`` when you have
    the gradients of parts, from gradient accumulation or from several workers.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
        The best rate without noise.
    batch_size : float > 0
        Number of examples in the batch of a step.
    smoothing : float in [0, 1)
        Weight of the past in the moving averages.
    warmup : int >= 1
        Number of observations before the rate is lowered. With fewer, the averages are unreliable.
    cap : float > 0
        Largest B/batch_size in the formula, so the rate is at least base(n)/(1 + cap). If the average of |G|² is not
        positive, B is infinite.
    low, high
        Bounds of the rate: low >= 0; high > 0, or None for no bound.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from pyfastlr import schedules as S
    >>> rate = S.NoiseScale(0.3, batch_size=64, warmup=1)
    >>> parts = [np.array([3.0, 1.0]), np.array([1.0, -1.0])]  # of 32 examples each
    >>> rate.observe(grads=np.mean(parts, axis=0), parts=parts)
    True
    >>> rate.noise_scale, round(rate(0), 12)  # |G|² = 2, tr(Σ) = 128
    (64.0, 0.15)

    Notes
    -----
    The controller keeps only two numbers of the gradients. If `parts` is left out, or has NaN or infinity, the rate
    does not change. The gradients must be means over their examples, not sums. The formula of the rate is for SGD. With
    Adam, which divides by the size of the gradients, B is still a useful measure for the batch size.

    Source: S. McCandlish, J. Kaplan and D. Amodei, An Empirical Model of Large-Batch Training, 2018, equation 2.6 and
    appendix A.1. torch, Keras and optax do not have it.
    """

    defaults: ClassVar[Mapping[str, Any]] = {**Bounded.defaults, "smoothing": 0.99, "warmup": 20, "cap": 99.0}
    observes, title = "noise scale B (examples)", "noise scale and batch size"

    def __init__(
        self,
        base: RateLike | Controller,
        batch_size: float,
        smoothing: float = 0.99,
        warmup: int = 20,
        cap: float = 99.0,
        low: float = 0.0,
        high: float | None = None,
    ) -> None:
        super().__init__(
            base, {"gradient": 0.0, "noise": 0.0, "weight": 0.0, "count": 0}, low, high,
            batch_size=checks.positive(batch_size, "batch_size"), smoothing=checks.below_one(smoothing, "smoothing"),
            warmup=checks.positive_integer(warmup, "warmup"), cap=checks.positive(cap, "cap"),
        )  # fmt: skip

    @property
    def noise_scale(self) -> float | None:
        """B in examples; may be infinite. None before the first observation."""
        return _noise_scale(self.state)

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        noise = _noise_scale(state)
        if noise is None or state["count"] < self.arguments["warmup"]:
            return base
        ratio: float = min(noise / self.arguments["batch_size"], self.arguments["cap"])
        return base / (1.0 + ratio)

    def observe(self, grads: Any, parts: Any = None, part_size: float | None = None, **others: Any) -> bool:  # type: ignore[override]
        """Observe the gradient of a batch, and the gradients of parts of it.

        Parameters
        ----------
        grads : array, dict or list of arrays, or Flat
            Gradient of the whole batch, the mean over its examples. float32 or float64; leaves may be None.
        parts : list, each like grads, optional
            Gradients of equally many random examples each. If left out, nothing is learned.
        part_size : float in (0, batch_size), optional
            Number of examples in a part. By default the parts make up the whole batch: batch_size/len(parts).

        Returns
        -------
        bool
            Whether the rate changed.

        Raises
        ------
        TypeError, ValueError
            If a value is not an array, or the parts are not like the whole. Nothing changes then.
        """
        if parts is None:
            return False
        batch = self.arguments["batch_size"]
        whole = Tensors.of(grads, "grads")
        if not isinstance(parts, list | tuple) or not parts:
            raise TypeError(f"`parts` must be a list of gradients, got {type(parts).__name__}")
        part = self._part_size(parts, part_size)
        squares = []
        for k, given in enumerate(parts):
            found = Tensors.of(given, f"parts[{k}]").in_order_of(whole.names, whole.shapes, f"parts[{k}]")
            squares.append(dot(found.arrays, found.arrays))
        large, small = dot(whole.arrays, whole.arrays), math.fsum(squares) / len(squares)
        gradient = (batch * large - part * small) / (batch - part)
        noise = (small - large) / (1.0 / part - 1.0 / batch)
        if not (math.isfinite(gradient) and math.isfinite(noise)):
            return self._ignore()
        keep, state = self.arguments["smoothing"], self.state
        weight = keep * state["weight"] + (1 - keep)
        share = (1 - keep) / weight  # weight of the newest value in the average
        return self._take({
            "gradient": state["gradient"] + share * (gradient - state["gradient"]),
            "noise": state["noise"] + share * (noise - state["noise"]),
            "weight": weight, "count": state["count"] + 1,
        })  # fmt: skip

    def _part_size(self, parts: Sequence[Any], given: float | None) -> float:
        batch: float = self.arguments["batch_size"]
        if given is None and len(parts) == 1:
            raise ValueError("`part_size` must be given if there is only one part, got None")
        part: float = checks.positive(batch / len(parts) if given is None else given, "part_size")
        if not part < batch:
            raise ValueError(f"`part_size` must be below `batch_size` ({batch:g}), got {part:g}")
        return part

    def _take(self, state: dict[str, Any]) -> bool:
        changed = super()._take(state)
        self.history[-1] = self._value(), False
        return changed

    def _ignore(self) -> bool:
        self.history.append((self._value(), True))
        return False

    def _value(self) -> float:
        noise = self.noise_scale
        return math.nan if noise is None else noise

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State with numbers in range."""
        state = super().checked_state(d)
        for key in ("gradient", "noise"):
            state[key] = checks.number("a finite number")(state[key], f"state[{key!r}]")
        return {**state, "weight": checks.share(state["weight"], "state['weight']")}

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Draw the noise scale, and the batch size as a line. Below the line, the gradient is larger than the noise.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new pyplot figure.
        **kwargs
            Keywords of `matplotlib.lines.Line2D` for the noise scale.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ModuleNotFoundError
            If matplotlib is not installed.
        """
        ax = super().plot(ax, **kwargs)
        ax.axhline(
            self.arguments["batch_size"], color="0.4", linestyle=":", label=f"batch: {self.arguments['batch_size']:g}"
        )
        ax.legend(frameon=False)
        return ax
