"""Tools around the learning rate: find it, bound it, watch it.

Each tool takes a plain function ``loss_and_grad(params, batch) -> (loss, gradient)``: the loss is a float, the gradient
has the structure, shapes and dtype of the parameters. `batch` is whatever your loop passes; None where there is none.
"""

from .finder import range_test as range_test
from .ranges import RangeTest as RangeTest
from .ranges import Sweep as Sweep

__all__ = ["RangeTest", "Sweep", "range_test"]
