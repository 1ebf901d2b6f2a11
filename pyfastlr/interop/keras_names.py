"""Which variables Keras' optimizers have, in which order.

``optimizer.variables`` starts with the count and, unless the rate is a schedule, the rate. Then come the averages of
``use_ema``, and the state in blocks: in a block, the arrays of one model variable stand side by side.
"""

from collections.abc import Mapping
from typing import NamedTuple

ITERATION, RATE, AVERAGE, ACCUMULATOR = "iteration", "learning_rate", "average", "gradient_accumulator"


class Kept(NamedTuple):
    """State of a rule: blocks of the endings of names, with our slot and the factor of ours in theirs."""

    blocks: tuple[Mapping[str, tuple[str, float]], ...]
    corrected: bool = False  # whether the update depends on the count
    product: bool = False  # whether a last variable without a name has the running product of momentum


def _block(**slots: str) -> dict[str, tuple[str, float]]:
    return {ending: (slot, 1.0) for ending, slot in slots.items()}


_MOMENTS = _block(momentum="exp_avg", velocity="exp_avg_sq")
_BUFFER = _block(momentum="momentum_buffer")
_NEGATIVE = {"momentum": ("momentum_buffer", -1.0)}  # Keras' SGD adds its momentum to the parameter
_SQUARES, _CENTER = _block(velocity="square_avg"), _block(average_gradient="grad_avg")

KEPT: dict[str, Kept] = {
    "sgd": Kept(()),
    "momentum": Kept((_NEGATIVE,)),
    "nesterov": Kept((_NEGATIVE,)),
    "rmsprop": Kept((_SQUARES,)),
    "rmsprop_momentum": Kept((_SQUARES, _BUFFER)),
    "rmsprop_centered": Kept((_SQUARES, _CENTER)),
    "rmsprop_centered_momentum": Kept((_SQUARES, _BUFFER, _CENTER)),
    "adagrad": Kept((_block(accumulator="sum"),)),
    "adam": Kept((_MOMENTS,), corrected=True),
    "amsgrad": Kept((_MOMENTS, _block(velocity_hat="max_exp_avg_sq")), corrected=True),
    "nadam": Kept((_MOMENTS,), corrected=True, product=True),
    "adamax": Kept((_block(momentum="exp_avg", norm="exp_inf"),), corrected=True),
    "adadelta": Kept((_block(accumulated_grad="square_avg", accumulated_delta_var="acc_delta"),)),
    "lion": Kept((_block(momentum="exp_avg"),)),
    "ftrl": Kept((_block(accumulator="accumulator", linear="linear"),)),
}
ENDINGS = {ending for kept in KEPT.values() for block in kept.blocks for ending in block} | {AVERAGE, ACCUMULATOR}
