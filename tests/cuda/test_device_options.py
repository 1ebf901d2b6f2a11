"""Options of a step over device buffers, from the public API down to PTX in the emulator, beside those on the host."""

import copy
import math

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')
pytestmark = pytest.mark.cudatool

import pyfastlr as flr  # noqa: E402
from beside import Beside, numbers  # noqa: E402
from emulated import Array, Device  # noqa: E402
from pyfastlr import schedules as S  # noqa: E402
from vectors import KERNELS  # noqa: E402

SIZES = (5, 1300, 3)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


# --- Clipping and measuring -------------------------------------------------------------------------------------------

OWN = [{"params": 1, "clip_norm": 0.7}, {"params": 2, "clip_value": 0.5, "clip_norm_each": 0.125}]
CLIPPING = (
    {"clip_norm": 1.0},
    {"clip_norm": 1e9},
    {"clip_norm": math.inf},
    {"clip_norm": S.Linear(4.0, 0.5, 2), "maximize": True},
    {"clip_norm_each": 0.25},
    {"clip_value": 0.5},
    {"clip_value": lambda n: 1.0 / (1 + n), "clip_norm": 2.0},
    {"clip_norm": 1.0, "clip_norm_each": 0.5, "clip_value": 0.75, "measure": ("per_tensor",)},
    {"clip_norm": 1.0, "groups": OWN, "measure": ("per_tensor",)},
    {"groups": OWN},
    {"measure": ("per_tensor",)},
)


@dtypes
@pytest.mark.parametrize("options", CLIPPING, ids=lambda x: "-".join(x))
def test_clipping_has_the_bits_of_the_host(device, dtype, options):
    pair = Beside(device, dtype, SIZES, options)
    for missing in ((), (1,), (), (0, 2)):
        pair.step(missing, inv_scale=0.5)
        pair.check()


@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.name)
def test_every_rule_is_clipped(device, case):
    decay = "decoupled" if "decoupled" in case.row.decays else case.decay
    options = {"lr": case.lr, "clip_norm": 0.5, "clip_value": 1.5, "weight_decay": 0.1, "decay": decay}
    pair = Beside(device, "float32", SIZES, options, case.make)
    pair.step()
    pair.step(missing=(2,))
    pair.check()


@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_that_is_not_finite(device, convention, bad):
    for options in ({"clip_norm": 1.0, "clip_norm_each": 1.0}, {"clip_value": math.inf, "clip_norm": 1.0}):
        pair = Beside(device, "float32", (5, 30), {**options, "convention": convention, "measure": ("per_tensor",)})
        pair.poison = {1: bad}
        pair.step()
        pair.check()
        assert pair.host.stats.nonfinite == (None if "clip_value" in options else 1)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_float64_squares_that_overflow_or_vanish(device, size):
    pair = Beside(device, "float64", SIZES, {"clip_norm": size, "measure": ("per_tensor",)})
    for opt, to in ((pair.host, lambda x: x), (pair.device_side, pair.on_device)):
        opt.step([to(np.full(n, size)) for n in SIZES])
    pair.check()
    assert pair.host.stats.grad_norm == pytest.approx(size * math.sqrt(sum(SIZES)))
    pair.step()  # and as usual again
    pair.check()


MIXED = [(1e200, 1.0, 1e-200), (1e-200, 1e-200, 1.0), (1.0, 1e200, 1e200), (5e-324, 0.0, 1e308)]


@pytest.mark.parametrize("more", [{}, {"clip_value": math.inf}, {"nonfinite": "raise"}], ids=lambda x: "-".join(x))
@pytest.mark.parametrize("sizes", MIXED)
def test_every_norm_has_a_scale_of_its_own(device, more, sizes):
    own = [{"params": k, "clip_norm": 2.0 * x + 1e-300} for k, x in enumerate(sizes[1:], 1)]
    for groups in ([], own):
        options = {**more, "clip_norm": sizes[0], "groups": groups, "measure": ("per_tensor",)}
        pair = Beside(device, "float64", SIZES, options, flr.SGD)
        g = [pair.rng.uniform(0.5, 1.0, n) * x for n, x in zip(SIZES, sizes, strict=True)]
        pair.host.step(g)
        pair.device_side.step([pair.on_device(x) for x in g])
        pair.check()
        norms = [x.grad_norm for x in pair.host.stats.per_tensor.values()]
        assert [0.0 < x < math.inf for x in norms] == [x > 0 for x in sizes]


def test_frozen_groups_and_rates_by_element(device):
    rates = [np.linspace(0, 1, n, dtype=np.float32) for n in SIZES]
    host, lent = (
        flr.Adam([to(numbers(np.random.default_rng(n), n, "float32")) for n in SIZES], lr=0.1, clip_norm=1.0,
                 clip_value=1.0, lr_scale=[to(x) for x in rates])
        for to in (lambda x: x, lambda x: Array(device, x))
    )  # fmt: skip
    g = [numbers(np.random.default_rng(n), n, "float32") for n in SIZES]
    for _ in range(2):
        host.step(g)
        lent.step([Array(device, x.copy()) for x in g])
    for x, y in zip(host._parameters.given, lent._parameters.given, strict=True):
        assert y.host.tobytes() == x.tobytes()


def test_limits_change_and_options_come_and_go(device):
    pair = Beside(device, "float32", SIZES, {})
    both = (pair.host, pair.device_side)
    pair.step()
    pair.check()
    for change in ({"clip_norm": 1.0}, {"clip_norm": 0.25}, {"clip_value": 0.5}, {"clip_norm": None},
                   {"clip_value": None}, {"clip_norm_each": 0.5}):  # fmt: skip
        for opt in both:
            for name, value in change.items():
                setattr(opt, name, value)
        pair.step()
        pair.check()
    for opt in both:
        opt.reset()
    assert pair.device_side.stats == pair.host.stats == flr.Stats()
    pair.step()
    pair.check()


def test_a_step_does_not_wait_and_a_look_at_the_stats_does(device):
    opt = flr.Adam([Array(device, np.ones(n, np.float32)) for n in SIZES], lr=0.1, clip_norm=1.0)
    g = [Array(device, np.ones(n, np.float32)) for n in SIZES]
    opt.step(g)
    waits = []
    for name in ("fill", "read"):
        call = getattr(device, name)
        setattr(device, name, lambda *a, _name=name, _call=call: waits.append(_name) or _call(*a))
    write, device.write = device.write, lambda address, array, stream: Device._bytes(device, address, array.nbytes)
    for _ in range(3):
        opt.step(g, stream=5)
    assert waits == []
    assert set(device.streams[-9:]) == {5}
    device.write = write
    assert opt.stats.grad_norm == math.sqrt(sum(SIZES))
    assert waits == ["read"]


@pytest.mark.parametrize("options", [{"clip_norm": 1.0, "clip_value": 0.75, "clip_norm_each": 0.5},
                                     {"clip_norm": S.Linear(4.0, 0.5, 2), "groups": OWN[:1]}])  # fmt: skip
def test_a_graph_clips(device, options):
    """A replay is the same launches again. The limits may change between replays."""
    pair = Beside(device, "float64", SIZES, options, flr.SGD, capturable=True)
    g = [np.full(n, 2.0) for n in SIZES]
    on_device = [pair.on_device(x) for x in g]
    opt, captured, launch = pair.device_side, [], device.launch
    opt.step(on_device)
    device.launch = lambda *arguments: captured.append(arguments)
    opt.step(on_device)
    device.launch = launch
    for k in range(4):
        if k == 2 and type(options["clip_norm"]) is float:
            opt.clip_norm = pair.host.clip_norm = 0.25
        if k:
            for arguments in captured:
                launch(*arguments)
        pair.host.step(g)
        for x, y in zip(pair.host_params, pair.lent, strict=True):
            np.testing.assert_allclose(y.host, x, rtol=1e-12)
        got, want = opt.stats, pair.host.stats
        assert (got.grad_norm, got.clipped, got.nonfinite) == (want.grad_norm, want.clipped, want.nonfinite)
    assert opt.steps == 4


# --- The average ------------------------------------------------------------------------------------------------------

AVERAGING = (
    {"ema_decay": 0.9},
    {"ema_decay": S.Linear(0.9, 0.5, 3), "clip_norm": 0.5, "clip_value": 1.0},
    {"ema_decay": 0.0, "groups": [{"params": 1, "ema_decay": 0.75}]},
)


@dtypes
@pytest.mark.parametrize("options", AVERAGING, ids=lambda x: "-".join(x))
def test_average_has_the_bits_of_the_host(device, dtype, options):
    """Arrays without gradient are averaged too, from the first update on."""
    pair = Beside(device, dtype, (5, 1030, 3), options)
    for missing in ((2,), (1,), (), (0, 2)):
        pair.step(missing, inv_scale=0.5)
        pair.check()


@pytest.mark.parametrize("misalign", [0, 4])
def test_averages_of_arrays_that_begin_anywhere(device, misalign):
    """An average starts at a line. If its array does not, both are read element by element."""
    device.map = lambda x, own=device.map, misalign=misalign: own(x, misalign if x.dtype == np.float32 else 0)
    pair = Beside(device, "float32", (37, 1), {"ema_decay": 0.5})
    pair.step()
    pair.step(missing=(0,))
    pair.check()


def test_parameters_and_average_are_exchanged(device):
    pair = Beside(device, "float32", (5, 40), {"ema_decay": 0.5, "clip_norm": 1.0})
    opt = pair.device_side
    with pytest.raises(RuntimeError, match="needs an average"):
        opt.swap_ema()
    pair.step()
    pair.step()
    with pair.host.averaged(), opt.averaged():
        for x, y in zip(pair.host_params, pair.lent, strict=True):
            assert x.tobytes() == y.host.tobytes()
        _, g = pair.gradients()
        for call in (lambda: opt.step(g), opt.state_dict, opt.reset):
            with pytest.raises(RuntimeError, match="not possible while the average is swapped in"):
                call()
    pair.check()
    pair.step()
    pair.check()
    for both in (pair.host, opt):
        both.swap_ema()
        both.swap_ema()
    pair.lent[1].address = device.map(pair.lent[1].host)
    with pytest.raises(ValueError, match="must stay as it was when the optimizer was built"):
        opt.swap_ema()


def test_an_average_is_kept_continued_saved_and_reset(device):
    pair = Beside(device, "float32", (5, 40), {"ema_decay": 0.5})
    both = (pair.host, pair.device_side)
    pair.step()
    for value in (None, 0.25):  # it stays as it is, and goes on
        for opt in both:
            opt.ema_decay = value
        pair.step()
        pair.check()
    twin = copy.deepcopy(pair.device_side)
    assert all(x.copy().tobytes() == y.copy().tobytes() for x, y in zip(twin.ema, pair.device_side.ema, strict=True))
    states = [opt.state_dict() for opt in both]
    assert states[0]["average"]["updates"] == states[1]["average"]["updates"] == 2
    pair.step()
    for opt, state in zip(both, reversed(states), strict=True):  # each the other's
        opt.load_state_dict(state)
    pair.check()
    pair.step()
    pair.check()
    for opt in both:
        opt.reset()
        with pytest.raises(AttributeError, match="needs an average"):
            _ = opt.ema
    pair.step()
    pair.check()
    pair.step()
    pair.check()


def test_averages_go_through_files(device, tmp_path):
    """From the host to the device and back, with the hyperparameters."""
    options = {"ema_decay": 0.5, "clip_norm": 1.0}
    pair = Beside(device, "float32", (5, 300_000), options, flr.SGD)
    both = (pair.host, pair.device_side)
    pair.step()
    pair.step()
    for k, opt in enumerate(both):
        opt.save(tmp_path / str(k))
    pair.step()
    for opt in both:
        opt.clip_norm, opt.ema_decay = 3.0, 0.75
    for k, opt in enumerate(reversed(both)):  # each the other's
        opt.load(tmp_path / str(k))
        assert (opt.clip_norm, opt.ema_decay, opt.steps) == (1.0, 0.5, 2)
    pair.check()
    pair.step()
    pair.check()
    new = Beside(device, "float32", (5, 300_000), {}, flr.SGD)
    for k, opt in enumerate((new.device_side, new.host)):
        opt.load(tmp_path / str(k))
        assert (opt.clip_norm, opt.ema_decay, opt.steps) == (1.0, 0.5, 2)
    new.check()
    new.step()
    new.check()
    with pytest.raises(ValueError, match=r"`state\['average'\]` must be None with `capturable`"):
        flr.SGD(new.lent, lr=0.1, capturable=True).load(tmp_path / "0")


@pytest.mark.parametrize("options", [{"ema_decay": 0.5}, {"clip_norm": 0.5, "nonfinite": "raise"}], ids="-".join)
def test_arrays_are_added(device, options):
    """What options keep goes on: counts of the average, the average itself, the numbers of the last call."""
    pair = Beside(device, "float32", (5, 1300), options, flr.SGD)
    pair.step()
    pair.step()
    more = numbers(pair.rng, 40, "float32")
    there = pair.on_device(more)
    pair.host.add([more], lr=0.5, clip_norm=0.25)
    pair.device_side.add([there], lr=0.5, clip_norm=0.25)
    pair.sizes = (5, 1300, 40)
    assert pair.lent[2] is there
    pair.check()
    pair.step()
    pair.check()
    pair.step(missing=(2,))
    pair.check()


def test_a_loss_scale_goes_on_when_arrays_are_added(device):
    pair = with_scale(device)
    pair.poison = {0: math.inf}
    pair.step()
    more = numbers(pair.rng, 40, "float32")
    pair.host.add([more], lr=0.5)
    pair.device_side.add([pair.on_device(more)], lr=0.5)
    pair.sizes = (*pair.sizes, 40)
    assert scales(pair) == 512.0
    pair.poison = {2: math.nan}
    pair.step()
    assert scales(pair) == 256.0
    pair.poison = {}
    pair.step()
    pair.step()
    assert scales(pair) == 512.0


def test_an_average_that_is_not_finite_starts_again(device):
    pair = Beside(device, "float32", SIZES, {"ema_decay": 0.9}, flr.SGD)
    pair.step()
    pair.poison = {1: math.nan}
    pair.step()
    pair.poison = {}
    pair.host_params[1][-1] = pair.lent[1].host[-1] = 1.0
    for opt in (pair.host, pair.device_side):
        opt.ema_decay = 0
    pair.step()
    pair.check()
    assert all(np.isfinite(x).all() for x in pair.host.ema)
    for opt in (pair.host, pair.device_side):
        opt.ema_decay = 0.5
    pair.step()
    pair.check()


def test_a_gradient_in_the_average_is_refused(device):
    opt = flr.SGD(Array(device, np.ones(5, np.float32)), lr=0.1, ema_decay=0.5)
    opt.step(Array(device, np.ones(5, np.float32)))
    with pytest.raises(ValueError, match="`grads` must not overlap `ema`"):
        opt.step(opt.ema)
    assert opt.steps == 1


def test_a_graph_has_no_average(device):
    lent = Array(device, np.ones(5, np.float32))
    with pytest.raises(ValueError, match="`ema_decay` must be left out with `capturable`"):
        flr.SGD(lent, lr=0.1, ema_decay=0.5, capturable=True)
    opt = flr.SGD(lent, lr=0.1, capturable=True)
    with pytest.raises(ValueError, match="`ema_decay` must be left out with `capturable`"):
        opt.ema_decay = 0.5
    host = flr.SGD(np.ones(5, np.float32), lr=0.1, ema_decay=0.5)
    host.step(np.ones(5, np.float32))
    with pytest.raises(ValueError, match=r"`state\['average'\]` must be None with `capturable`"):
        opt.load_state_dict(host.state_dict())
    assert opt.steps == 0


# --- Gradients that are not finite ------------------------------------------------------------------------------------

POLICIES = (
    {},
    {"clip_norm": S.Linear(4.0, 0.5, 3), "clip_value": 0.5, "measure": ("per_tensor",)},
    {"clip_norm": 1.0, "clip_norm_each": 0.5, "ema_decay": 0.5, "lr": S.InverseTime(0.1, 0.5)},
)


def moment(pair):
    """Bytes of all that the device's side may change, and its counts."""
    opt = pair.device_side
    arrays = [x.host for x in pair.lent] + [
        x.copy() for x in (*opt._state.buffers.values(), *opt._extras.buffers.values())
    ]
    saved = opt.state_dict()
    return [x.tobytes() for x in arrays], opt.steps, saved["counts"].tolist(), saved["carry"].tolist()


@dtypes
@pytest.mark.parametrize("options", POLICIES, ids=lambda x: "-".join(x) or "alone")
def test_a_skipped_step_changes_and_counts_nothing(device, dtype, options):
    """The device decides. A schedule's value on it may differ from the host's in the last bits."""
    pair = Beside(device, dtype, (5, 1030), {**options, "nonfinite": "skip"}, flr.NAdam)
    for k, bad in enumerate((None, math.inf, math.nan, None, None)):
        pair.poison = {} if bad is None else {k % 2: bad}
        before = moment(pair)
        pair.step(missing=(0,) if k == 3 else (), inv_scale=0.5)
        a, b = pair.host, pair.device_side
        assert (moment(pair) == before) == (bad is not None)
        assert b.steps == a.steps
        want, got = a.stats, b.stats
        assert got.skipped == (bad is not None)
        assert (got.nonfinite, got.clipped) == (want.nonfinite, want.clipped)
        assert repr(got.grad_norm) == repr(want.grad_norm)
        assert b.state_dict()["counts"].tolist() == a.state_dict()["counts"].tolist()
        rtol = 1e-6 if dtype == "float32" else 1e-12
        for x, y in zip(pair.host_params, pair.lent, strict=True):
            np.testing.assert_allclose(y.host, x, rtol=rtol, atol=rtol)
        if "ema_decay" in options:
            for x, y in zip(a.ema, b.ema, strict=True):
                np.testing.assert_allclose(y.copy(), x, rtol=rtol, atol=rtol)


@dtypes
@pytest.mark.parametrize("options", POLICIES, ids=lambda x: "-".join(x) or "alone")
def test_a_step_that_raises_names_the_array_and_changes_nothing(device, dtype, options):
    pair = Beside(device, dtype, (5, 1030), {**options, "nonfinite": "raise"}, flr.NAdam)
    pair.step()
    pair.check()
    pair.poison = {1: math.nan}
    before, (g, lent) = moment(pair), pair.gradients()
    texts = []
    for opt, x in ((pair.host, g), (pair.device_side, lent)):
        with pytest.raises(FloatingPointError, match=r"`grads\[1\]` must be finite") as caught:
            opt.step(x, inv_scale=0.5)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert moment(pair) == before
    pair.check()
    pair.poison = {}
    pair.step(missing=(0,))
    pair.check()


def test_a_step_that_may_be_skipped_does_not_wait(device):
    opt = flr.Adam([Array(device, np.ones(n, np.float32)) for n in SIZES], lr=S.Linear(0.1, 0.0, 9), nonfinite="skip")
    pools = [[Array(device, np.ones(n, np.float32)) for n in SIZES] for _ in range(2)]
    opt.step(pools[0])
    waits = []
    for name in ("fill", "read"):
        call = getattr(device, name)
        setattr(device, name, lambda *a, _name=name, _call=call: waits.append(_name) or _call(*a))

    def written(address, array, stream):  # without `fill`, which waits
        device._bytes(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    device.write = written
    for g in (*pools, *pools):
        opt.step(g)
    assert waits == []
    assert opt.steps == 5
    assert set(waits) == {"read"}
    opt.lr = 0.5
    opt.step(pools[0])
    assert opt.steps == 6


def test_where_steps_may_be_skipped_schedules_are_on_the_device(device):
    lent = Array(device, np.ones(5, np.float32))
    with pytest.raises(
        TypeError, match='`lr` must be a number or schedule with `nonfinite="skip"`, got the controller'
    ):
        flr.SGD(lent, lr=S.Plateau(0.1), nonfinite="skip")
    opt = flr.SGD(lent, lr=0.5, nonfinite="skip")
    for _ in range(2):
        opt.step(Array(device, np.ones(5, np.float32)))
    with pytest.raises(TypeError, match="`lr` must be a number or schedule"):
        opt.lr = S.Plateau(0.1)
    opt.lr = S.Linear(1.0, 0.0, 4)  # another step is built, from the counts there
    opt.step(Array(device, np.ones(5, np.float32)))
    assert (opt.steps, lent.host[0]) == (3, -0.5)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_a_graph_propagates(device, policy):
    lent = Array(device, np.ones(5, np.float32))
    with pytest.raises(ValueError, match='`nonfinite` must be "propagate" with `capturable`'):
        flr.SGD(lent, lr=0.1, nonfinite=policy, capturable=True)


# --- The loss scale ---------------------------------------------------------------------------------------------------


def with_scale(device, dtype="float32", initial=1024.0, interval=2, **options):
    """Two optimizers that have a loss scale each."""

    def make(params, **given):
        return flr.Adam(params, loss_scale=flr.LossScale(initial=initial, interval=interval), **given)

    return Beside(device, dtype, (5, 30), options, make)


def scales(pair):
    """State of both loss scales, which must be equal."""
    a, b = (opt.state_dict()["loss_scale"] for opt in (pair.host, pair.device_side))
    assert a == b
    assert pair.device_side.loss_scale.scale == pair.host.loss_scale.scale == a["scale"]
    return a["scale"]


@dtypes
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0, "clip_value": 0.5}], ids=["alone", "clipped"])
def test_loss_scale_changes_as_on_the_host(device, dtype, options):
    pair, found = with_scale(device, dtype, **options), []
    for bad in (0, 0, 0, 1, 1, 0, 0):
        pair.poison = {1: math.nan} if bad else {}
        pair.step(inv_scale=2.0)
        found.append(scales(pair))
        assert pair.device_side.stats.skipped == bool(bad)
        assert pair.device_side.steps == pair.host.steps
        assert repr(pair.device_side.stats.grad_norm) == repr(pair.host.stats.grad_norm)
        for x, y in zip(pair.host_params, pair.lent, strict=True):
            np.testing.assert_allclose(y.host, x, rtol=1e-6 if dtype == "float32" else 1e-12)
    assert found == [1024.0, 2048.0, 2048.0, 1024.0, 512.0, 512.0, 1024.0]


@pytest.mark.parametrize(("initial", "bad"), [(3e38, None), (2.0**-126, math.inf)])
def test_loss_scale_stays_in_float32(device, initial, bad):
    pair = with_scale(device, initial=initial, interval=1)
    pair.poison = {} if bad is None else {0: bad}
    for _ in range(2):
        pair.step()
        assert scales(pair) > 0.0


def test_loss_scale_is_saved_copied_and_reset(device):
    pair = with_scale(device)
    both = (pair.host, pair.device_side)
    for _ in range(3):
        pair.step()
    twin = copy.deepcopy(pair.device_side)
    assert twin.loss_scale.scale == scales(pair) == 2048.0
    states = [opt.state_dict() for opt in both]
    pair.poison = {0: math.inf}
    pair.step()
    assert (scales(pair), twin.loss_scale.scale) == (1024.0, 2048.0)
    for opt, state in zip(both, reversed(states), strict=True):
        opt.load_state_dict(state)
    assert scales(pair) == 2048.0
    pair.step()
    assert scales(pair) == 1024.0
    for opt in both:
        opt.reset()
    assert scales(pair) == 1024.0
    assert pair.device_side.steps == 0
    with pytest.raises(ValueError, match="`loss_scale` must be left out with `capturable`"):
        flr.SGD(pair.lent[0], lr=0.1, capturable=True, loss_scale=flr.LossScale())
