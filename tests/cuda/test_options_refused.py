"""Parameters on a CUDA device: every optimizer refuses each option of a step by name, in every way to set it."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array, Device  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from pyfastlr.arrays import device as device_arrays  # noqa: E402
from pyfastlr.optimizers.base import registry  # noqa: E402

OPTIONS = {
    "clip_norm": 1.0,
    "clip_norm_each": S.Constant(1.0),
    "clip_value": lambda n: 1.0,
    "ema_decay": 0.9,
    "nonfinite": "skip",
    "zero_grad": True,
    "accumulate": 2,
    "copy_to": None,
    "loss_scale": None,
    "measure": ("per_tensor",),
}
HYPER = ("clip_norm", "clip_norm_each", "clip_value", "ema_decay")
each_class = pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)


@pytest.fixture
def device(monkeypatch):
    emulated = Device((9, 0), fused=False)
    monkeypatch.setattr(device_arrays, "device_of", lambda address: emulated)
    return emulated


def params(device):
    return {name: Array(device, np.ones(n, np.float32)) for name, n in (("a", 3), ("b", 2))}


def refusal(name):
    return pytest.raises(ValueError, match=f"`{name}` needs parameters in host memory, got arrays on a CUDA device")


@each_class
@pytest.mark.parametrize("capturable", [False, True])
def test_each_option_of_the_constructor(device, cls, capturable):
    for name, value in OPTIONS.items():
        p = params(device)
        if name == "copy_to":
            value = params(device)
        if name == "loss_scale":
            value = flr.LossScale()
        with refusal(name):
            cls(p, 0.1, capturable=capturable, **{name: value})
        assert all((x.host == 1).all() for x in p.values())
        if name == "loss_scale":
            flr.SGD(np.zeros(3), loss_scale=value)  # still free
        if name in HYPER:
            with refusal(name):
                cls(p, 0.1, capturable=capturable, groups=[{"params": "b", name: value}])


@each_class
def test_options_that_are_set_later(device, cls):
    opt = cls(params(device), 0.1, groups=[{"params": "b"}])
    for name in HYPER:
        for value in (OPTIONS[name], 0.5, S.Constant(0.5)):
            with refusal(name):
                setattr(opt, name, value)
            with refusal(name):
                opt.groups[1][name] = value
        setattr(opt, name, None)
        assert getattr(opt, name) is None
        assert name not in dict(opt.groups[1])
    assert opt.stats == flr.Stats()
    for call in (opt.swap_ema, opt.averaged().__enter__):
        with pytest.raises(RuntimeError, match="needs an average"):
            call()
    with pytest.raises(AttributeError, match="`ema` needs an average"):
        _ = opt.ema
