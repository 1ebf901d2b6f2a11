"""What `Optimizer.stats` gives."""

from typing import NamedTuple


class Stats(NamedTuple):
    """Measurements of the last call of `step`; None for what was not measured.

    Attributes
    ----------
    lr : float or None
        Rate of the last update, for arrays in no group, before `lr_scale`. None before the first update.
    grad_norm : float or None
        Euclidean norm of the gradient over all arrays, after `inv_scale`, `loss_scale`, `accumulate` and `clip_value`,
        before `clip_norm`. It is measured with `clip_norm` (``inf`` only measures), `clip_norm_each`, `measure` or
        `loss_scale`, and for a skipped step. None after a call that was only accumulated.
    update_norm, param_norm : float or None
        Norms of the change of the parameters, and of the parameters after it. Measured if `measure` names them; None
        after a call that made no update.
    clipped : bool or None
        Whether `clip_norm` or `clip_norm_each` made a gradient shorter. None if `grad_norm` is not measured.
    skipped : bool or None
        Whether the step was skipped because its gradient was not finite. None without options.
    nonfinite : int or None
        Number of elements of the gradient that are infinite or NaN. Counted where `grad_norm` is measured, and with
        `nonfinite` "skip" or "raise". With "propagate", not counted beside `clip_value`.
    per_tensor : dict or None
        `Stats` of each array by its name (nested names are joined by ".", a single array has the name ""), with its
        norms and `nonfinite`. Measured if `measure` names it.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.SGD(np.zeros(2), lr=0.1, clip_norm=1.0, measure=("update_norm",))
    >>> opt.step(np.array([3.0, 4.0]))
    >>> opt.stats.grad_norm, opt.stats.clipped, round(opt.stats.update_norm, 6)
    (5.0, True, 0.1)
    """

    lr: float | None = None
    grad_norm: float | None = None
    update_norm: float | None = None
    param_norm: float | None = None
    clipped: bool | None = None
    skipped: bool | None = None
    nonfinite: int | None = None
    per_tensor: "dict[str, Stats] | None" = None
