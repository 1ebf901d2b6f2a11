"""The norms of update and parameters over device buffers, from the public API down to PTX, beside the host's."""

import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from beside import Beside, numbers  # noqa: E402
from emulated import Array  # noqa: E402

SIZES = (5, 9000, 3)
ALL = ("update_norm", "param_norm", "per_tensor")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"measure": ("update_norm",)},
        {"measure": ("param_norm",)},
        {"measure": ALL},
        {"measure": ALL, "clip_norm": 1.0, "clip_value": 0.5, "ema_decay": 0.5, "zero_grad": True},
        {"measure": ALL, "groups": [{"params": 1, "lr_scale": 0.0}], "nonfinite": "raise"},
    ],
    ids=lambda x: "-".join((*x["measure"], *list(x)[1:])),
)
def test_norms_have_the_bits_of_the_host(device, dtype, options):
    pair = Beside(device, dtype, SIZES, options)
    for missing in ((), (1,), (0, 2), ()):
        pair.step(missing, inv_scale=0.5)
        pair.check()
        got = pair.device_side.stats
        assert (got.update_norm is None) == ("update_norm" not in options["measure"])
        assert (got.param_norm is None) == ("param_norm" not in options["measure"])
        if 1 in missing and options["measure"] == ALL:
            assert got.per_tensor["1"].update_norm == 0.0 < got.per_tensor["1"].param_norm


@pytest.mark.parametrize(
    "sizes", [(1e200, 1.0, 1e-200), (1e-200, 1e-200, 1.0), (1.0, 1e200, 1e200), (1e-300, 0.0, 1e307)]
)
def test_every_norm_has_a_scale_of_its_own(device, sizes):
    pair = Beside(device, "float64", SIZES, {"measure": ALL}, flr.SGD)
    for x, y, size in zip(pair.host_params, pair.lent, sizes, strict=True):
        x *= size
        y.host[:] = x
    g = [pair.rng.uniform(0.5, 1.0, n) * size for n, size in zip(SIZES, sizes, strict=True)]
    pair.host.step(g)
    pair.device_side.step([pair.on_device(x) for x in g])
    pair.check()
    for x, size in zip(pair.host.stats.per_tensor.values(), sizes, strict=True):
        assert (0.0 < x.update_norm < math.inf) == (0.0 < x.param_norm < math.inf) == (size > 0)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_a_call_without_an_update_has_no_such_norms(device, policy):
    options = {"measure": ALL, "nonfinite": policy}
    pair = Beside(device, "float32", (5, 1030), options, flr.SGD)
    pair.step()
    assert pair.device_side.stats.update_norm > 0.0
    pair.poison = {1: math.inf}
    for opt, g in zip((pair.host, pair.device_side), pair.gradients(), strict=True):
        if policy == "raise":
            with pytest.raises(FloatingPointError):
                opt.step(g)
        else:
            opt.step(g)
    got, want = pair.device_side.stats, pair.host.stats
    assert (got.update_norm, got.param_norm) == (want.update_norm, want.param_norm) == (None, None)
    assert repr(got.per_tensor) == repr(want.per_tensor)
    pair.poison = {}
    pair.step()
    assert repr(pair.device_side.stats._replace(lr=None)) == repr(pair.host.stats._replace(lr=None))


def test_a_graph_measures(device):
    p, q = np.linspace(1, 2, 40, dtype=np.float32), Array(device, np.linspace(1, 2, 40, dtype=np.float32))
    host, lent = flr.SGD(p, lr=0.5, measure=ALL), flr.SGD(q, lr=0.5, measure=ALL, capturable=True)
    for k in range(2):
        g = numbers(np.random.default_rng(k), 40, "float32")
        host.step(g)
        lent.step(Array(device, g))
        assert repr(lent.stats._replace(lr=None)) == repr(host.stats._replace(lr=None))


def test_measures_come_with_arrays_that_are_added_and_are_not_saved(device):
    pair = Beside(device, "float32", (5, 1030), {"measure": ALL, "ema_decay": 0.5}, flr.SGD)
    pair.step()
    more = numbers(pair.rng, 40, "float32")
    pair.host.add([more], lr=0.5)
    pair.device_side.add([pair.on_device(more)], lr=0.5)
    pair.sizes = (5, 1030, 40)
    pair.check()
    pair.step()
    pair.check()
    assert pair.device_side.state_dict().keys() == pair.host.state_dict().keys()
    assert list(pair.device_side._extras.buffers) == ["average"]
