"""Options against the live torch: clip_grad_norm_, clip_grad_value_, AveragedModel, accumulation, GradScaler."""

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from option_oracles import assert_close, parts, problem
from oracles import torch_scalars_in_float64

torch = pytest.importorskip("torch")

TORCH = [case for case in CASES if case.convention == "torch"]
CALLS = 40
each_case = pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


class Theirs:
    """Torch's optimizer with what a training loop does around its step."""

    def __init__(self, case, start, **decay):
        undecayed = {"weight_decay": 0.0} if case.live.decayed else {}
        self.tensors = [torch.nn.Parameter(torch.tensor(x)) for x in parts(start)]
        self.optimizer = case.live(self.tensors, case.lr, **(decay or undecayed))

    def backward(self, g):
        """Add to the gradients, as autograd does."""
        for tensor, x in zip(self.tensors, parts(g), strict=True):
            tensor.grad = torch.from_numpy(x) if tensor.grad is None else tensor.grad + torch.from_numpy(x)

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad()

    def now(self):
        return torch.cat([x.detach().ravel() for x in self.tensors]).numpy().copy()


def own_decay(case):
    return {"weight_decay": 0.1} if case.live.decayed else {}


@each_case
@pytest.mark.parametrize("limit", [0.5, 5.0, 1e6])
def test_clip_grad_norm(case, limit):
    """The norm that torch returns is ours, too."""
    start, g = problem(CALLS, seed=1)
    theirs, p, ours, want, norms = Theirs(case, start, **own_decay(case)), parts(start), [], [], []
    opt = case.make(p, clip_norm=limit, **own_decay(case))
    for row in g:
        opt.step(parts(row))
        theirs.backward(row)
        norms.append((opt.stats.grad_norm, torch.nn.utils.clip_grad_norm_(theirs.tensors, limit).item()))
        theirs.step()
        ours.append(np.concatenate(p))
        want.append(theirs.now())
    assert_close(np.array(ours), np.array(want), start)
    assert np.allclose(*np.array(norms).T, rtol=1e-13, atol=0)


@each_case
def test_clip_grad_value_then_norm(case):
    start, g = problem(CALLS, seed=2)
    theirs, p, ours, want = Theirs(case, start, **own_decay(case)), parts(start), [], []
    opt = case.make(p, clip_value=0.5, clip_norm=1.0, **own_decay(case))
    for row in g:
        opt.step(parts(row))
        theirs.backward(row)
        torch.nn.utils.clip_grad_value_(theirs.tensors, 0.5)
        torch.nn.utils.clip_grad_norm_(theirs.tensors, 1.0)
        theirs.step()
        ours.append(np.concatenate(p))
        want.append(theirs.now())
    assert_close(np.array(ours), np.array(want), start)


@each_case
def test_averaged_model(case):
    start, g = problem(CALLS, seed=3)
    theirs, p, ours, want = Theirs(case, start), parts(start), [], []
    model = torch.nn.ParameterList(theirs.tensors)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
    opt = case.make(p, ema_decay=0.95)
    for row in g:
        opt.step(parts(row))
        theirs.backward(row)
        theirs.step()
        average.update_parameters(model)
        ours.append(np.concatenate(opt.ema))
        want.append(torch.cat([x.detach().ravel() for x in average.module]).numpy().copy())
    assert_close(np.array(ours), np.array(want), start)


@each_case
@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_accumulated_gradients(case, mode):
    """As autograd adds them up. A tensor without a gradient in some of the calls has those of the others."""
    start, g = problem(CALLS, seed=4)
    theirs, p, ours, want = Theirs(case, start), parts(start), [], []
    opt = case.make(p, accumulate=4, accumulate_mode=mode, clip_norm=2.0, zero_grad=True)
    for k, row in enumerate(g):
        given = parts(row)
        before = [None if x.grad is None else x.grad.clone() for x in theirs.tensors]
        theirs.backward(row / 4 if mode == "mean" else row)
        for j in range(3):
            if (k + j) % 3 == 0 or (k // 4 == 2 and j == 1):
                given[j], theirs.tensors[j].grad = None, before[j]
        opt.step(given)
        if k % 4 == 3:
            torch.nn.utils.clip_grad_norm_([x for x in theirs.tensors if x.grad is not None], 2.0)
            theirs.step()
        ours.append(np.concatenate(p))
        want.append(theirs.now())
    assert opt.steps == CALLS // 4
    assert_close(np.array(ours), np.array(want), start)


@each_case
def test_grad_scaler_unscales_and_skips(case):
    start, g = problem(CALLS, seed=5)
    for k, bad in ((0, np.inf), (5, np.nan), (6, -np.inf), (30, np.nan)):
        g[k, k % g.shape[1]] = bad
    theirs, p, ours, want = Theirs(case, start), parts(start), [], []
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=7)
    opt = case.make(p, nonfinite="skip", clip_norm=1.0)
    scaler.scale(torch.zeros(1))  # it makes the scale when it is first used
    skipped = []
    for row in g:
        scale = scaler.get_scale()
        opt.step(parts(row * scale), inv_scale=1 / scale)
        theirs.backward(row * scale)
        scaler.unscale_(theirs.optimizer)
        torch.nn.utils.clip_grad_norm_(theirs.tensors, 1.0)
        scaler.step(theirs.optimizer)
        scaler.update()
        theirs.optimizer.zero_grad()
        skipped.append(opt.stats.skipped)
        ours.append(np.concatenate(p))
        want.append(theirs.now())
    assert [k for k, x in enumerate(skipped) if x] == [0, 5, 6, 30]
    assert opt.steps == CALLS - 4
    assert_close(np.array(ours), np.array(want), start)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_clipped_as_by_torch(bad):
    g = np.array([1.0, bad, -2.0])
    p, tensor = np.zeros(3), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    flr.SGD(p, 1.0, clip_norm=1.0).step(g)
    tensor.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_([tensor], 1.0)
    torch.optim.SGD([tensor], 1.0).step()
    assert np.array_equal(p, tensor.detach().numpy(), equal_nan=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_error_if_nonfinite(bad):
    """Torch checks the norm and raises RuntimeError; ours checks the elements. Both leave everything as it was."""
    start, g = problem(12, seed=6)
    for k in (0, 4, 5):
        g[k, k] = bad
    (case,) = [case for case in TORCH if case.name == "adamw"]
    theirs, p, ours, want, refused = Theirs(case, start), parts(start), [], [], []
    opt = case.make(p, clip_norm=1.0, nonfinite="raise")
    for k, row in enumerate(g):
        theirs.backward(row)
        try:
            torch.nn.utils.clip_grad_norm_(theirs.tensors, 1.0, error_if_nonfinite=True)
        except RuntimeError:
            theirs.optimizer.zero_grad()
            refused.append(k)
            with pytest.raises(FloatingPointError, match=r"`grads\[\d\]` must be finite"):
                opt.step(parts(row))
        else:
            theirs.step()
            opt.step(parts(row))
        ours.append(np.concatenate(p))
        want.append(theirs.now())
    assert refused == [0, 4, 5]
    assert_close(np.array(ours), np.array(want), start)


@each_case
def test_float32(case):
    """Unscaled, clipped by value and norm, and averaged, from the same numbers: an update differs by its rounding."""
    start, g = problem(CALLS, seed=7)
    start, g = start.astype(np.float32), (g * 8).astype(np.float32)
    theirs, p = Theirs(case, start), parts(start)
    twin = parts(start.astype(np.float64))
    options = {"clip_value": 0.5, "clip_norm": 1.0, "ema_decay": 0.75}
    opt, wide = case.make(p, **options), case.make(twin, **options)
    model = torch.nn.ParameterList(theirs.tensors)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.75))
    for row in g:
        opt.step(parts(row), inv_scale=0.125)
        wide.step(parts(row.astype(np.float64)), inv_scale=0.125)
        theirs.backward(row / 8)
        torch.nn.utils.clip_grad_value_(theirs.tensors, 0.5)
        torch.nn.utils.clip_grad_norm_(theirs.tensors, 1.0)
        theirs.step()
        average.update_parameters(model)
    ours, exact = (np.concatenate([*x, *y.ema]) for x, y in ((p, opt), (twin, wide)))
    want = np.concatenate([theirs.now(), torch.cat([x.detach().ravel() for x in average.module]).numpy()])
    error = np.abs(want - exact).max()
    assert np.abs(ours - exact).max() <= 2 * error + np.spacing(np.float32(4.0))
