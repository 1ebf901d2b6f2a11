"""Recorder.to_tensorboard with the real writers, read back by TensorBoard's own reader."""

import math
import sys
from importlib.util import find_spec

import pytest

from pyfastlr import tune

pytestmark = pytest.mark.skipif(not find_spec("tensorboard"), reason="tensorboard is not installed")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("writer", ["tensorboardX", "tensorboard"])
def test_tensorboard_reads_what_was_recorded(tmp_path, monkeypatch, writer):
    if writer == "tensorboardX":
        pytest.importorskip("tensorboardX")
    else:
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    r = tune.Recorder()
    r.record(loss=1.0)
    r.record(5, **{"lr/head": 0.125})
    r.record(loss=math.inf)
    r.to_tensorboard(tmp_path / "new")
    events = EventAccumulator(str(tmp_path / "new"))
    events.Reload()
    if writer == "tensorboardX":
        found = {tag: [(x.step, x.value) for x in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    else:
        tags = events.Tags()["tensors"]
        found = {tag: [(x.step, float(make_ndarray(x.tensor_proto))) for x in events.Tensors(tag)] for tag in tags}
    assert list(found.values()) == [[(0, 1.0), (6, math.inf)], [(5, 0.125)]]
