"""Export the state of an optimizer to Keras."""

from typing import Any

import numpy as np

from pyfastlr.optimizers import Optimizer

from .keras_names import KEPT
from .moment import check_formula, moment_of


def to_keras(opt: Optimizer, *, learning_rate: bool | None = None) -> dict[str, Any]:
    """Export the state for ``load_own_variables`` of the same optimizer in Keras 3, which must be built.

    The parameters are not part of it. Keras' next update is then the one that `opt` would make.

    Parameters
    ----------
    opt : Optimizer
        In Keras' convention, or one with the same formula. Its arrays are the model's trainable variables, in their
        order.
    learning_rate : bool, optional
        Whether the rate is among the variables: False if Keras' optimizer has a schedule. The default is True unless
        the rate of `opt` is a schedule. It is the base group's for the next update.

    Returns
    -------
    dict
        Arrays by "0", "1", ..., in the order of ``optimizer.variables``. If there is an average of the parameters
        (`ema_decay`), it is among them, for an optimizer with ``use_ema=True``.

    Raises
    ------
    TypeError, ValueError
        If Keras lacks the optimizer or has another formula; if arrays have other counts than ``opt.steps`` and their
        update depends on it, because Keras has one count; if groups have other rates than the base group.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.Adam({"w": np.zeros(2)}, 0.5, convention="keras")
    >>> opt.step({"w": np.ones(2)})
    >>> flr.to_keras(opt)
    {'0': array(1), '1': array(0.5), '2': array([0.1, 0.1]), '3': array([0.001, 0.001])}
    """
    check_formula(opt, "keras")
    moment, kept = moment_of(opt), KEPT[opt.rule]
    others = {name: n for name, n in zip(opt._parameters.names, moment.counts, strict=True) if n != moment.steps}
    if kept.corrected and others:
        raise ValueError(
            f"`opt` must have the count {moment.steps} of its steps for all arrays, because Keras has one for all, got "
            f"{others}"
        )
    values: list[Any] = [np.array(moment.steps)]
    if learning_rate is None:
        learning_rate = not callable(opt.groups[0]["lr"])
    if learning_rate:
        values.append(np.array(_rate(opt, moment.steps)))
    if moment.average is not None:
        values += moment.average[1]
    for block in kept.blocks:
        for k in range(len(moment.counts)):
            values += [sign * moment.state[slot][k] for slot, sign in block.values()]
    if kept.product and moment.carry is not None:
        values.append(np.array(moment.carry[0]))
    return {str(k): x for k, x in enumerate(values)}


def _rate(opt: Optimizer, steps: int) -> float:
    """Rate of all groups that have arrays."""
    rates = {row: opt._hyper.number(row, "lr", steps) for row in sorted({*opt._hyper.members})}
    base = opt._hyper.number(0, "lr", steps)
    if set(rates.values()) != {base}:
        raise ValueError(
            f"`opt` must have one rate, because Keras has one variable for it, got {rates} by group; "
            f"learning_rate=False leaves it out"
        )
    return float(base)
