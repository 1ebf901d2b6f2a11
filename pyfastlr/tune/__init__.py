"""Tools for the learning rate: find it, search it for each step, check its stability, guard and record a run.

Most tools take a plain function ``loss_and_grad(params, batch) -> (loss, gradient)``: the loss is a float, the gradient
has the structure, shapes and dtype of the parameters. `batch` is any object that your loop passes, or None. `search`
takes a whole training: ``objective(values) -> float``.
"""

from .finding.finder import range_test as range_test
from .finding.ranges import RangeTest as RangeTest
from .finding.ranges import Sweep as Sweep
from .guarding.judge import SpikeEvent as SpikeEvent
from .guarding.spikes import SpikeGuard as SpikeGuard
from .guarding.stopping import EarlyStopping as EarlyStopping
from .layers import LayerGroups as LayerGroups
from .layers import layerwise as layerwise
from .norms import norm as norm
from .searching.outcomes import Pruned as Pruned
from .searching.result import Search as Search
from .searching.result import Trial as Trial
from .searching.search import search as search
from .searching.space import Call as Call
from .searching.space import Range as Range
from .stability.monitor import Measurement as Measurement
from .stability.monitor import StabilityMonitor as StabilityMonitor
from .stability.result import Sharpness as Sharpness
from .stability.sharpness import sharpness as sharpness
from .stepping.line_search import line_search as line_search
from .stepping.search import LineSearch as LineSearch
from .stepping.search import LineStep as LineStep
from .watching.progress import track as track
from .watching.recorder import Recorder as Recorder

__all__ = [
    "Call",
    "EarlyStopping",
    "LayerGroups",
    "LineSearch",
    "LineStep",
    "Measurement",
    "Pruned",
    "Range",
    "RangeTest",
    "Recorder",
    "Search",
    "Sharpness",
    "SpikeEvent",
    "SpikeGuard",
    "StabilityMonitor",
    "Sweep",
    "Trial",
    "layerwise",
    "line_search",
    "norm",
    "range_test",
    "search",
    "sharpness",
    "track",
]
