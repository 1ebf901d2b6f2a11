"""`copy_to` over device buffers, from the public API down to PTX in the emulator, beside the host's."""

import copy
import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from beside import Beside, numbers, same  # noqa: E402
from emulated import Array  # noqa: E402

SIZES = (5, 1300, 3)


class Copied(Beside):
    """With `copy_to` on both sides. `misalign`: the device's copies begin that many bytes into their lines."""

    def __init__(self, device, dtype, sizes, options, make=flr.AdamW, misalign=0, **more):
        self.host_copies = [np.full(n, 7, dtype) for n in sizes]
        self.copies = [Array(device, x.copy()) for x in self.host_copies]
        for x in self.copies:
            x.address = device.map(x.host, misalign)
        device_side = {**options, "copy_to": self.copies}

        def build(params, **given):
            on_host = params is self.host_params
            return make(params, **{**given, **({"copy_to": self.host_copies} if on_host else device_side)})

        super().__init__(device, dtype, sizes, options, build, **more)

    def check(self):
        super().check()
        for k, (x, y) in enumerate(zip(self.host_copies, self.copies, strict=True)):
            assert same(x, y.host), f"copy_to[{k}]"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("misalign", [0, 8])
@pytest.mark.parametrize(
    "options",
    [{}, {"ema_decay": 0.5, "maximize": True}, {"clip_norm": 1.0, "clip_value": 0.5}],
    ids=lambda x: "-".join(x),
)
def test_copies_have_the_bits_of_the_parameters(device, dtype, options, misalign):
    pair = Copied(device, dtype, SIZES, options, misalign=misalign)
    assert all((x.host == 7).all() for x in pair.copies)  # not before the first update
    for missing in ((), (1,), (0, 2), ()):
        pair.step(missing)
        pair.check()
        assert all(x.host.tobytes() == y.host.tobytes() for x, y in zip(pair.copies, pair.lent, strict=True))


def test_frozen_arrays_and_those_without_a_gradient_are_copied(device):
    pair = Copied(device, "float32", SIZES, {"groups": [{"params": 1, "lr_scale": 0.0}]}, flr.SGD)
    pair.step(missing=(2,))
    pair.check()
    assert not any((x.host == 7).any() for x in pair.copies)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_a_step_that_is_not_made_writes_no_copy(device, policy):
    pair = Copied(device, "float32", SIZES, {"nonfinite": policy})
    pair.poison = {2: math.inf}
    try:
        _, g = pair.gradients()
        pair.device_side.step(g)
    except FloatingPointError:
        assert policy == "raise"
    else:
        assert policy == "skip"
    assert all((x.host == 7).all() for x in pair.copies)
    pair.poison = {}
    _, g = pair.gradients()
    pair.device_side.step(g)
    assert all(x.host.tobytes() == y.host.tobytes() for x, y in zip(pair.copies, pair.lent, strict=True))


def test_a_graph_copies(device):
    p, c, g = (Array(device, np.full(40, x, np.float32)) for x in (1, 7, 0.5))
    opt = flr.SGD(p, lr=0.5, capturable=True, copy_to=c)
    opt.step(g)
    before = len(device.traces)
    opt.step(g)
    assert len(device.traces) > before
    assert c.host.tolist() == p.host.tolist() == [0.5] * 40


def test_swaps_and_loading_write_no_copy(device):
    p, c, g = (Array(device, np.full(40, x, np.float32)) for x in (1, 7, 0.5))
    opt = flr.SGD(p, lr=0.5, ema_decay=0.5, copy_to=c)
    opt.step(g)
    opt.step(g)
    state, now = opt.state_dict(), c.host.copy()
    opt.swap_ema()
    assert c.host.tobytes() == now.tobytes() != p.host.tobytes()
    opt.swap_ema()
    opt.load_state_dict(state)
    opt.reset()
    assert c.host.tobytes() == now.tobytes() == p.host.tobytes()


def test_copies_of_the_optimizer_and_added_arrays(device):
    pair = Copied(device, "float32", SIZES, {}, flr.SGD)
    pair.step()
    twin = copy.deepcopy(pair.device_side)
    theirs = twin._extras.options.copies.container
    assert [x.host.tobytes() for x in theirs] == [x.host.tobytes() for x in pair.copies]
    pair.step()
    _, g = pair.gradients()
    twin.step(g)
    for x, y, z in zip(theirs, twin.params, pair.copies, strict=True):
        assert x.host.tobytes() == y.host.tobytes() != z.host.tobytes()
    pair.check()
    more, kept = numbers(pair.rng, 40, "float32"), np.zeros(40, np.float32)
    pair.host.add([more], copy_to=[kept])
    pair.device_side.add([pair.on_device(more)], copy_to=[pair.on_device(kept)])
    pair.sizes = (*SIZES, 40)
    pair.step()
    pair.check()
    assert len(pair.copies) == len(pair.host_copies) == 4
    assert pair.copies[3].host.tobytes() == more.tobytes()


# --- Refused ----------------------------------------------------------------------------------------------------------


def part(device, x, first, size):
    """Some of an array's elements, in the same memory."""
    lent = copy.copy(x)
    lent.host, lent.address = x.host[first : first + size], x.address + first * x.host.itemsize
    return lent


def read_only(x):
    x.writeable = False
    return x


BAD = {
    "the parameters": (lambda device, p: p, ValueError, "`params` and `copy_to` must not overlap"),
    "some of the parameters": (lambda device, p: part(device, p, 8, 8), ValueError, "must not overlap"),
    "read-only": (lambda device, p: read_only(Array(device, p.host[:8].copy())), ValueError, "must be writeable"),
    "float64": (
        lambda device, p: Array(device, np.ones(8)),
        TypeError,
        "must be a float32 ndarray like the parameters",
    ),
    "short": (lambda device, p: Array(device, p.host[:7].copy()), ValueError, r"must be float32\[8\]"),
    "on the host": (lambda device, p: p.host.copy()[:8], ValueError, "`copy_to`"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_copy_to_is_refused(device, name):
    memory = Array(device, np.ones(16, np.float32))
    p = part(device, memory, 0, 8)
    make, error, words = BAD[name]
    if name == "some of the parameters":
        p = part(device, memory, 4, 8)
    with pytest.raises((error, TypeError), match=words):
        flr.SGD(p, lr=0.5, copy_to=make(device, memory if name == "some of the parameters" else p))
    assert (memory.host == 1).all()


def test_arrays_on_the_host_with_a_copy_on_a_device_are_refused(device):
    for p in (np.ones(8, np.float32), flr.Flat({"w": np.ones(8, np.float32)})):
        with pytest.raises((TypeError, ValueError), match=r"`copy_to` must be [^,]* host memory"):
            flr.SGD(p, lr=0.5, copy_to=Array(device, np.ones(8, np.float32)))


def test_an_array_that_was_moved_or_replaced_is_an_error_that_names_it(device):
    p, c, g = ({name: Array(device, np.ones(n, np.float32)) for name, n in (("a", 5), ("b", 8))} for _ in range(3))
    opt = flr.SGD(p, lr=0.5, copy_to=c)
    opt.step(g)
    old, there = c["b"], c["b"].address
    c["b"] = Array(device, np.zeros(8, np.float32))
    with pytest.raises(ValueError, match=r"`copy_to\['b'\]` must be the array that the optimizer was built with"):
        opt.step(g)
    c["b"] = old
    old.address = device.map(np.zeros(8, np.float32))
    for call in (lambda: opt.step(g), lambda: copy.deepcopy(opt)):
        with pytest.raises(ValueError, match=r"`copy_to\['b'\]` must stay as it was .* got Array with other memory"):
            call()
    assert opt.steps == 1
    assert all((x.host == 0.5).all() for x in p.values())
    old.address = there
    opt.step(g)
    assert all((x.host == 0).all() for x in (*p.values(), *c.values()))


def test_gradients_and_rates_in_the_copy_are_refused(device):
    p, c = (Array(device, np.ones(8, np.float32)) for _ in range(2))
    opt = flr.SGD(p, lr=0.5, copy_to=c)
    with pytest.raises(ValueError, match="`grads` must not overlap `copy_to`"):
        opt.step(part(device, c, 0, 8))
    opt.lr_scale = part(device, c, 0, 8)
    with pytest.raises(ValueError, match="`lr_scale` and `copy_to` must not overlap"):
        opt.step(Array(device, np.ones(8, np.float32)))
    assert (p.host == 1).all()
