"""`LossScale`: the dynamic scale of a loss whose gradients have a narrow range, such as those of float16."""

import math
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyfastlr.schedules import checks
from pyfastlr_kernels import tables

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)  # below, the inverse may be infinite
_NUMBER = f"a number from {_SMALLEST:.8g} to {_LARGEST:.8g}, the normal range of float32"
_initial = checks.number(_NUMBER, _SMALLEST, _LARGEST)
_growth = checks.number("a finite number > 1", math.nextafter(1.0, 2.0))
_backoff = checks.number("a number in (0, 1)", math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0))
_interval = checks.integer(1)
_STATE = ("scale", "finite", "skipped")


class LossScale:
    r"""Dynamic loss scale, given to an optimizer as `loss_scale`.

    Small float16 gradients become zero. So multiply the loss by ``opt.loss_scale.scale``, which multiplies the
    gradients too; the step divides them by it. If a gradient has an infinity or a NaN, the step is skipped, as with
    ``nonfinite="skip"``, and the scale is lowered.

    With the scale :math:`s`, the step's `inv_scale` :math:`c`, and the number :math:`k` of updates since the last
    change of the scale, this one included, a step uses the gradient :math:`g' = c\,g/s` and then sets

    .. math::

        s \leftarrow \begin{cases}
            s \cdot \mathit{backoff}, & \text{if } g \text{ is not finite} \\
            s \cdot \mathit{growth}, & \text{if } k = \mathit{interval} \\
            s, & \text{otherwise.}
        \end{cases}

    The scale is rounded to float32, as in torch. It does not grow or shrink beyond float32's normal numbers.

    Parameters
    ----------
    initial : float > 0
        Scale of the first loss, in the normal range of float32.
    growth : float > 1
        Factor after `interval` updates without a skipped one.
    backoff : float in (0, 1)
        Factor after a skipped one.
    interval : int >= 1
        Number of updates after which the scale grows.

    Attributes
    ----------
    scale : float
        What to multiply the next loss by. Read it for each loss.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or is out of range.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> p = np.zeros(3, np.float32)
    >>> opt = flr.SGD(p, lr=0.5, loss_scale=flr.LossScale(initial=1024.0, interval=2))
    >>> opt.step(np.full(3, 1024.0, np.float32))  # the gradient of 1024 times the loss
    >>> p[0], opt.loss_scale.scale
    (np.float32(-0.5), 1024.0)
    >>> opt.step(np.full(3, np.inf, np.float32))  # too large: skipped
    >>> p[0], opt.loss_scale.scale, opt.steps
    (np.float32(-0.5), 512.0, 1)

    Notes
    -----
    Pass the gradients with the dtype of the parameters, such as ``g16.astype(np.float32)``; infinities remain. The
    scale may be above the largest float16, 65504. Multiply the loss by it in float32, or multiply in float16 by a
    number that contains it, such as ``scale / len(batch)``.

    A loss scale belongs to one optimizer, because each step may change it. The optimizer saves its state. A copy of the
    optimizer has its own scale, and so has a pickled one. If one loss has the parameters of two optimizers, use one
    optimizer with groups, or give the second `nonfinite="skip"` and pass ``inv_scale=1 / scale`` to its step, with the
    scale of that loss.

    With `accumulate`, the scale changes only between updates: after an update, it shrinks if a call of it was skipped.
    If `accumulate` calls have been skipped before the update is complete, the scale shrinks at once, because it may be
    too high for all of them. The gradients that have been accumulated are unscaled, so they stay valid.

    For parameters on a CUDA device, the scale changes there, and reading it waits for the device.

    Other libraries: torch's `GradScaler` gives the same sequence of scales, but its `unscale_`, `step` and `update` are
    three calls. It goes on down to zero, from where it never recovers. With accumulated gradients, torch drops the
    whole update if one call is not finite. Keras' `LossScaleOptimizer` always doubles and halves.

    Source: Micikevicius, Narang, Alben, Diamos, Elsen, Garcia, Ginsburg, Houston, Kuchaiev, Venkatesh, Wu, Mixed
    Precision Training (2018), section 3.2.
    """

    __slots__ = ("__weakref__", "_owner", "_record", "initial")

    initial: float

    def __init__(
        self, initial: float = 2.0**16, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ) -> None:
        self.initial = float(np.float32(_initial(initial, "initial")))
        self._record: Any = np.zeros(1, tables.LOSS_SCALE)
        self._record["scale"] = self.initial
        self._record["growth"], self._record["backoff"] = _growth(growth, "growth"), _backoff(backoff, "backoff")
        self._record["interval"] = _interval(interval, "interval")
        self._owner: Any = None  # a weak reference to the optimizer

    @property
    def scale(self) -> float:
        """What to multiply the next loss by."""
        self._refresh()
        return float(self._record["scale"][0])

    @property
    def growth(self) -> float:
        """Factor after `interval` updates without a skipped one."""
        return float(self._record["growth"][0])

    @property
    def backoff(self) -> float:
        """Factor after a skipped update."""
        return float(self._record["backoff"][0])

    @property
    def interval(self) -> int:
        """Number of updates after which the scale grows."""
        return int(self._record["interval"][0])

    def __repr__(self) -> str:
        return (
            f"LossScale(initial={self.initial!r}, growth={self.growth!r}, backoff={self.backoff!r}, "
            f"interval={self.interval!r})"
        )

    # --- For the optimizer --------------------------------------------------------------------------------------------

    def _check_free(self) -> None:
        """Refuse a loss scale that another optimizer has."""
        if self._owner is not None and self._owner() is not None:
            raise ValueError(
                f"`loss_scale` must be a LossScale that no other optimizer has, got that of another "
                f"{type(self._owner()).__name__}: each step may change the scale, so make one for each optimizer"
            )

    def _belong_to(self, optimizer: Any) -> None:
        self._owner = weakref.ref(optimizer)

    def _refresh(self) -> None:
        """Wait for a device that may change the scale."""
        optimizer = None if self._owner is None else self._owner()
        if optimizer is not None:
            optimizer._engine.refresh()

    def _export(self) -> dict[str, Any]:
        """State, for the optimizer's."""
        self._refresh()
        scale, finite, skipped = (self._record[key][0].item() for key in _STATE)
        return {"scale": scale, "finite": finite, "skipped": skipped}

    def _pairs(self, state: Mapping[str, Any] | None) -> list[tuple[Any, Any]]:
        """Parts of the record, each with its value in a checked state. None is the initial state."""
        new = {"scale": self.initial, "finite": 0, "skipped": 0} if state is None else state
        return [(self._record[key], np.array([new[key]], self._record.dtype[key])) for key in _STATE]

    # --- Copies -------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.initial, self.growth, self.backoff, self.interval)
        return type(self), arguments, self._export()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for part, value in self._pairs(state):
            part[...] = value


def policy_with(loss_scale: Any, nonfinite: str) -> str:
    """Check the argument `loss_scale`, and return what a step does with a gradient that is not finite."""
    if loss_scale is None:
        return nonfinite
    if not isinstance(loss_scale, LossScale):
        raise TypeError(f"`loss_scale` must be a LossScale or None, {checks.got(loss_scale)}")
    loss_scale._check_free()
    if nonfinite == "raise":
        raise ValueError("`nonfinite` must be left out or \"skip\" with `loss_scale`, got 'raise'")
    return "skip"


def checked_state(given: Any, name: str) -> dict[str, Any]:
    """Check the saved state of a loss scale. `name` is its name in errors."""
    if not isinstance(given, Mapping) or set(given) != {*_STATE}:
        raise ValueError(f"`{name}` must have the keys {list(_STATE)}, got {given!r:.80}")
    scale = _initial(given["scale"], f"{name}['scale']")
    if scale != float(np.float32(scale)):
        raise ValueError(f"`{name}['scale']` must be a float32 number, got {scale!r}")
    counts = {key: checks.natural(given[key], f"{name}[{key!r}]") for key in ("finite", "skipped")}
    return {"scale": scale, **counts}
