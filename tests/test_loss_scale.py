"""The dynamic loss scale: torch GradScaler's sequence, and what a step does with it."""

import copy
import pickle

import numpy as np
import pytest

import pyfastlr as flr
from interrupts import everywhere, interrupted, needs_faithful_traces
from processes import in_threads
from pyfastlr.engines import plain_launch

FINITE, INFINITE = np.ones(3), np.array([1.0, np.inf, 1.0])
LARGEST, SMALLEST = float(np.finfo("f4").max), float(np.finfo("f4").tiny)


def scaled(p=None, **options):
    """An optimizer with a small loss scale."""
    given = {name: options.pop(name) for name in ("initial", "growth", "backoff", "interval") if name in options}
    scale = flr.LossScale(**{"initial": 8.0, "interval": 2, **given})
    return flr.SGD(np.zeros(3) if p is None else p, lr=1.0, loss_scale=scale, **options)


# --- Against torch ----------------------------------------------------------------------------------------------------

SEQUENCES = {
    "the defaults": ({}, 0.2),
    "often": ({"interval": 3}, 0.2),
    "every step": ({"interval": 1}, 0.4),
    "no powers of two": ({"initial": 3.3, "growth": 1.7, "backoff": 0.3, "interval": 2}, 0.3),
    "up to the largest": ({"initial": 2.0**120, "interval": 1}, 0.0),
    "up to the largest, no powers of two": ({"initial": 2.0**125, "growth": 1.9, "interval": 2}, 0.05),
    "down to the smallest": ({"initial": 1.0, "backoff": 0.25}, 1.0),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scales_and_steps_are_torch_s(name, dtype):
    torch = pytest.importorskip("torch")
    arguments, share = SEQUENCES[name]
    rng = np.random.default_rng(5)
    scale = flr.LossScale(**arguments)
    scaler = torch.amp.GradScaler(
        "cpu", scale.initial, growth_factor=scale.growth, backoff_factor=scale.backoff, growth_interval=scale.interval
    )
    start = rng.standard_normal(5).astype(dtype)
    p, tensor = start.copy(), torch.tensor(start, requires_grad=True)
    opt, theirs = flr.SGD(p, lr=0.1, momentum=0.9, loss_scale=scale), torch.optim.SGD([tensor], lr=0.1, momentum=0.9)
    seen = set()
    for _ in range(70):
        grad = rng.standard_normal(5).astype(dtype)
        factor = np.asarray(scale.scale, dtype)
        scaler.scale(torch.zeros(()))  # makes its tensors
        if scaler.get_scale() < SMALLEST:
            assert scale.scale >= SMALLEST
            break  # torch's inverse is infinite before long
        assert scaler.get_scale() == scale.scale
        seen.add(scale.scale)
        with np.errstate(over="ignore"):
            given = grad * factor
        if rng.random() < share:
            given[rng.integers(5)] = rng.choice([np.inf, -np.inf, np.nan])
        tensor.grad = torch.tensor(given)
        scaler.step(theirs)
        scaler.update()
        opt.step(given)
        # torch rounds the inverse to float32.
        np.testing.assert_allclose(p, tensor.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.isfinite(p).all()
    assert len(seen) > (0 if name == "the defaults" else 3)


def test_scale_does_not_grow_beyond_float32():
    opt = scaled(initial=LARGEST / 2, interval=1, growth=2.0)
    for _ in range(3):
        opt.step(FINITE)
    assert opt.loss_scale.scale == LARGEST


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("calls", [1, 2])
def test_scale_does_not_shrink_to_zero(dtype, calls):
    """torch's does, and its inverse is infinite ever after. Ours stays where it is finite in float32 too."""
    opt = scaled(np.zeros(3, dtype), initial=SMALLEST * 4, interval=1, accumulate=calls)
    for _ in range(5 * calls):
        opt.step(INFINITE.astype(dtype))
    assert opt.loss_scale.scale == SMALLEST
    for _ in range(calls):
        opt.step((FINITE * SMALLEST).astype(dtype))
    assert opt.params.tolist() == [-1.0] * 3
    assert opt.loss_scale.scale == 2 * SMALLEST


@pytest.mark.parametrize("calls", [1, 2])
def test_the_largest_scale_divides_float32_gradients(calls):
    """Its inverse is subnormal in float32."""
    opt = scaled(np.zeros(3, "f4"), initial=LARGEST, accumulate=calls)
    for _ in range(calls):
        opt.step(np.full(3, LARGEST, "f4"))
    np.testing.assert_allclose(opt.params, -1.0, rtol=1e-6)


# --- The step ---------------------------------------------------------------------------------------------------------


def test_gradient_is_divided_by_the_scale_and_multiplied_by_inv_scale():
    opt = scaled()
    opt.step(np.full(3, 8.0), inv_scale=0.25)
    assert opt.params.tolist() == [-0.25] * 3


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_skipped(bad):
    opt = scaled(momentum=0.5, interval=100)
    opt.step(np.full(3, 8.0))
    before = pickle.dumps({**opt.state_dict(), "loss_scale": None}), opt.params.copy()
    opt.step(np.array([1.0, bad, 1.0]))
    assert opt.stats.skipped
    assert opt.stats.nonfinite == 1
    assert (pickle.dumps({**opt.state_dict(), "loss_scale": None}), opt.params.tolist()) == (before[0], [*before[1]])
    assert opt.loss_scale.scale == 4.0
    opt.step(np.full(3, 4.0))
    assert not opt.stats.skipped
    assert opt.params.tolist() == [-2.5] * 3


def test_norms_are_those_of_the_unscaled_gradient():
    opt = scaled(clip_norm=0.5)
    opt.step(np.array([24.0, 32.0, 0.0]))
    assert opt.stats.grad_norm == 5.0
    assert opt.stats.clipped
    np.testing.assert_allclose(opt.params, [-0.3, -0.4, 0.0], rtol=1e-6)
    opt.clip_value = 0.25
    opt.step(np.array([24.0, 32.0, 0.0]))
    np.testing.assert_allclose(opt.stats.grad_norm, 0.25 * 2**0.5)


def test_maximize():
    opt = scaled(maximize=True)
    opt.step(np.full(3, 8.0))
    assert opt.params.tolist() == [1.0] * 3


def test_zero_grad_with_a_skipped_step():
    """Where users add into the gradient, it would stay infinite for ever."""
    opt, g = scaled(zero_grad=True), INFINITE.copy()
    opt.step(g)
    assert g.tolist() == [0.0] * 3
    assert opt.loss_scale.scale == 4.0


def test_step_without_gradients_changes_nothing():
    opt = scaled({"a": np.zeros(3), "b": np.zeros(2)}, interval=1)
    opt.step({"a": None, "b": None})
    assert opt.loss_scale.scale == 8.0
    opt.step({"a": None, "b": np.ones(2)})
    assert opt.loss_scale.scale == 16.0


def test_invalid_step_changes_nothing():
    opt = scaled(interval=1)
    for wrong in (np.ones(4), np.ones(3, "f4"), None):
        with pytest.raises((TypeError, ValueError)):
            opt.step(wrong)
    with pytest.raises(ValueError, match="inv_scale"):
        opt.step(FINITE, inv_scale=0.0)
    assert opt.loss_scale.scale == 8.0


def test_plain_launch_does_the_same(monkeypatch):
    def scales():
        opt = scaled()
        for g in (FINITE, FINITE, INFINITE, FINITE):
            opt.step(g)
        return opt.loss_scale.scale, opt.params.tolist()

    compiled = scales()
    monkeypatch.setattr(plain_launch, "is_needed", lambda: True)
    assert scales() == compiled == (8.0, [-(1 / 8 + 1 / 8 + 1 / 8)] * 3)


# --- With accumulate --------------------------------------------------------------------------------------------------


def scales_after(opt, calls):
    """The scale after each call, with a finite (1) or infinite gradient (0)."""
    found = []
    for is_finite in calls:
        opt.step(FINITE * opt.loss_scale.scale if is_finite else INFINITE)
        found.append(opt.loss_scale.scale)
    return found


@pytest.mark.parametrize(
    ("calls", "scales"),
    [
        ("111 111", [8, 8, 8, 8, 8, 16]),  # grows after two updates, not two calls
        ("1011", [8, 8, 8, 4]),  # a skipped call: lowered after the update
        ("10101 111", [8, 8, 8, 8, 4, 4, 4, 4]),  # two of them: once
        ("000 000", [8, 8, 4, 4, 4, 2]),  # nothing finite: after as many calls as an update takes
        ("1000 11", [8, 8, 8, 4, 4, 4]),  # the same inside of an update, which is then complete
        ("111 0111 111 111", [8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4, 4, 8]),
    ],
)
def test_scale_changes_between_updates(calls, scales):
    opt = scaled(accumulate=3)
    calls = [x == "1" for x in calls.replace(" ", "")]
    assert scales_after(opt, calls) == scales
    assert opt.steps == sum(calls) // 3
    assert opt.params.tolist() == [-float(opt.steps)] * 3  # whatever the scales of the calls


# --- The object -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"initial": 0.0}, ValueError, "`initial` must be a number from 1.1754944e-38 to 3.4028235e+38"),
        ({"initial": 1e39}, ValueError, "got 1e+39"),
        ({"initial": np.nan}, ValueError, "got nan"),
        ({"initial": True}, TypeError, "got True"),
        ({"initial": "1"}, TypeError, "got '1'"),
        ({"growth": 1.0}, ValueError, "`growth` must be a finite number > 1, got 1.0"),
        ({"growth": np.inf}, ValueError, "got inf"),
        ({"backoff": 1.0}, ValueError, "`backoff` must be a number in (0, 1), got 1.0"),
        ({"backoff": 0.0}, ValueError, "got 0.0"),
        ({"interval": 0}, ValueError, "`interval` must be an integer >= 1"),
        ({"interval": 2.0}, TypeError, "got 2.0"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    with pytest.raises(error) as caught:
        flr.LossScale(**arguments)
    assert words in str(caught.value)


def test_attributes():
    scale = flr.LossScale()
    assert (scale.scale, scale.initial, scale.growth, scale.backoff, scale.interval) == (65536, 65536, 2, 0.5, 2000)
    assert repr(scale) == "LossScale(initial=65536.0, growth=2.0, backoff=0.5, interval=2000)"
    assert flr.LossScale(0.1).scale == np.float32(0.1)
    with pytest.raises(AttributeError):
        scale.scale = 3.0
    opt = scaled()
    with pytest.raises(AttributeError, match="`loss_scale` of SGD cannot be changed"):
        opt.loss_scale = scale
    assert flr.SGD(np.zeros(3)).loss_scale is None


@pytest.mark.parametrize("wrong", [65536.0, flr.LossScale, "dynamic", True])
def test_other_things_are_refused(wrong):
    with pytest.raises(TypeError, match="`loss_scale` must be a LossScale or None"):
        flr.SGD(np.zeros(3), loss_scale=wrong)


def test_it_implies_skip():
    assert scaled().nonfinite == "skip"
    assert scaled(nonfinite="skip").nonfinite == "skip"
    with pytest.raises(ValueError, match=r"`nonfinite` must be left out or \"skip\" with `loss_scale`, got 'raise'"):
        scaled(nonfinite="raise")


def test_it_belongs_to_one_optimizer():
    opt = scaled()
    with pytest.raises(ValueError, match="`loss_scale` must be a LossScale that no other optimizer has"):
        flr.Adam(np.zeros(3), loss_scale=opt.loss_scale)
    scale = opt.loss_scale
    del opt
    flr.Adam(np.zeros(3), loss_scale=scale)


def test_refused_constructor_does_not_take_it():
    scale = flr.LossScale()
    with pytest.raises(ValueError, match="lr"):
        flr.SGD(np.zeros(3), lr=-1.0, loss_scale=scale)
    flr.SGD(np.zeros(3), loss_scale=scale)


def test_copies_have_a_scale_of_their_own():
    opt = scaled(interval=1)
    opt.step(FINITE)
    copies = [copy.copy(opt), copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
    opt.step(INFINITE)
    for twin in copies:
        assert twin.loss_scale.scale == 16.0
        twin.step(FINITE)
        assert twin.loss_scale.scale == 32.0
    assert opt.loss_scale.scale == 8.0
    scale, twin = copy.deepcopy((opt.loss_scale, opt))
    assert twin.loss_scale is scale
    free = copy.copy(opt.loss_scale)
    assert (free.scale, flr.SGD(np.zeros(3), loss_scale=free).loss_scale) == (8.0, free)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_scale_copied_alone_goes_on_where_it_is(make):
    """With the updates and the skipped calls that it has counted."""
    opt = scaled(interval=3, growth=3.0, backoff=0.25, accumulate=2)
    for g in (FINITE, INFINITE, FINITE, FINITE, FINITE, INFINITE):
        opt.step(g)
    free = make(opt.loss_scale)
    assert repr(free) == repr(opt.loss_scale)
    assert free._export() == opt.loss_scale._export() == {"scale": 2.0, "finite": 1, "skipped": 1}
    twin = flr.SGD(np.zeros(3), accumulate=2, loss_scale=free)
    for k in range(12):
        g = INFINITE if k == 8 else FINITE
        opt.step(g)
        twin.step(g)
        assert twin.loss_scale.scale == opt.loss_scale.scale


# --- Whole ------------------------------------------------------------------------------------------------------------


@needs_faithful_traces
@pytest.mark.parametrize("grads", [FINITE, INFINITE], ids=["finite", "skipped"])
@pytest.mark.parametrize("steps", [0, 1])
def test_an_interrupt_does_not_come_between_a_step_and_its_scale(grads, steps):
    def moment(opt):
        return opt.steps, opt.params.tolist(), opt.loss_scale.scale

    def subject():
        opt = scaled(interval=1)
        for _ in range(steps):
            opt.step(FINITE)
        return opt

    twin = subject()
    moments = [moment(twin)]
    twin.step(grads)
    moments.append(moment(twin))

    def attempt(k):
        opt = subject()
        place = interrupted(lambda: opt.step(grads), k)
        assert moment(opt) in moments, place
        return place

    assert everywhere(attempt) > 3


def test_threads_count_every_step():
    opt = scaled(initial=1.0, interval=10)

    def work():
        for _ in range(100):
            opt.step(FINITE)

    in_threads([work] * 4)
    assert opt.steps == 400
    assert opt.loss_scale.scale == 2.0**40


@pytest.mark.parametrize("threads", [1, 2])
def test_large_parameters(threads):
    p = np.zeros(400_000, "f4")
    opt = scaled(p, threads=threads, interval=1)
    g = np.full(p.size, 8.0, "f4")
    opt.step(g)
    assert (p == -1).all()
    g[-1] = np.inf
    opt.step(g)
    assert (p == -1).all()
    assert opt.loss_scale.scale == 8.0
