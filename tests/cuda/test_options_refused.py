"""Options of a step that parameters on a CUDA device do not have: every optimizer refuses each of them by name."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from emulated import Array  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from pyfastlr.optimizers.base import registry  # noqa: E402

OPTIONS = {
    "accumulate": 2,
}
WITH_CAPTURABLE = {"ema_decay": 0.9, "nonfinite": "skip", "loss_scale": None}
each_class = pytest.mark.parametrize("cls", registry, ids=lambda cls: cls.__name__)


def params(device):
    return {name: Array(device, np.ones(n, np.float32)) for name, n in (("a", 3), ("b", 2))}


def refusal(name):
    return pytest.raises(ValueError, match=f"`{name}` needs parameters in host memory, got arrays on a CUDA device")


@each_class
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_that_is_not_there(device, cls, capturable, name):
    p = params(device)
    with refusal(name):
        cls(p, 0.1, capturable=capturable, **{name: OPTIONS[name]})
    assert all((x.host == 1).all() for x in p.values())


@each_class
def test_each_option_that_capturable_does_not_have(device, cls):
    for name, value in WITH_CAPTURABLE.items():
        value = flr.LossScale() if name == "loss_scale" else value
        with pytest.raises(ValueError, match=f"`{name}` must be .* with `capturable`"):
            cls(params(device), 0.1, capturable=True, **{name: value})
        if name == "loss_scale":
            flr.SGD(np.zeros(3), loss_scale=value)  # still free


@each_class
def test_an_average_that_is_set_later_with_capturable(device, cls):
    opt = cls(params(device), 0.1, groups=[{"params": "b"}], capturable=True)
    refused = pytest.raises(ValueError, match="`ema_decay` must be left out with `capturable`")
    for value in (0.9, S.Constant(0.5)):
        with refused:
            opt.ema_decay = value
        with refused:
            opt.groups[1]["ema_decay"] = value
    assert opt.ema_decay is None
    assert "ema_decay" not in dict(opt.groups[1])
    for call in (opt.swap_ema, opt.averaged().__enter__):
        with pytest.raises(RuntimeError, match="needs an average"):
            call()
    with pytest.raises(AttributeError, match="`ema` needs an average"):
        _ = opt.ema


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_packed_state(device, state_dtype):
    with refusal("state_dtype"):
        flr.Adam(params(device), 0.1, state_dtype=state_dtype)
    with pytest.raises(ValueError, match=r"`groups\[0\]\['state_dtype'\]` needs parameters in host memory"):
        flr.Adam(params(device), 0.1, groups=[{"params": "a", "state_dtype": state_dtype}])
