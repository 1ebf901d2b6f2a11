"""Tools around the learning rate: find it, bound it, watch it.

Each tool takes a plain function ``loss_and_grad(params, batch) -> (loss, gradient)``: the loss is a float, the gradient
has the structure, shapes and dtype of the parameters. `batch` is whatever your loop passes; None where there is none.
"""

from .finder import range_test as range_test
from .layers import LayerGroups as LayerGroups
from .layers import layerwise as layerwise
from .monitor import Measurement as Measurement
from .monitor import StabilityMonitor as StabilityMonitor
from .norms import norm as norm
from .progress import track as track
from .ranges import RangeTest as RangeTest
from .ranges import Sweep as Sweep
from .recorder import Recorder as Recorder
from .sharpness_result import Sharpness as Sharpness
from .stability import sharpness as sharpness
from .stopping import EarlyStopping as EarlyStopping

__all__ = [
    "EarlyStopping",
    "LayerGroups",
    "Measurement",
    "RangeTest",
    "Recorder",
    "Sharpness",
    "StabilityMonitor",
    "Sweep",
    "layerwise",
    "norm",
    "range_test",
    "sharpness",
    "track",
]
