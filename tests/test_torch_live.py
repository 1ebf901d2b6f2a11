"""Comparison with the live torch: every step of long runs, and other features of torch's optimizers."""

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from oracles import assert_same_run, problem, run_of, runs, torch_scalars_in_float64, trajectories

torch = pytest.importorskip("torch")

TORCH = [case for case in CASES if case.convention == "torch"]
RUN = problem(n=257, bank=101, seed=7)


@pytest.fixture(autouse=True)
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_every_step_is_torch_s(case):
    theirs = trajectories(case, RUN)
    for decay in runs(case):
        assert_same_run(run_of(case, RUN, decay), theirs[decay], RUN.p)


@pytest.mark.parametrize("case", [case for case in TORCH if not case.kwargs], ids=lambda case: case.name)
def test_unset_arguments_are_torch_s(case):
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt, theirs = getattr(flr, case.cls)(p), case.live([tensor])
    for k in range(20):
        opt.step(RUN.gradient(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy(), RUN.p)


BETAS = [case for case in TORCH if "betas" in case.hyper]


@pytest.mark.parametrize("case", BETAS, ids=lambda case: case.name)
def test_scheduled_betas_and_decay_are_torch_s(case):
    """Bias corrections use the current beta, 1 - b_t**t, as torch's do when its param group is edited."""
    beta1, beta2, decay = (lambda n: 0.9 - 0.001 * n), (lambda n: 0.999 - 0.0005 * n), (lambda n: 0.1 / (1 + n))
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt = case.make(p, betas=(beta1, beta2), weight_decay=decay)
    theirs = case.live([tensor], case.lr)
    for k in range(100):
        opt.step(RUN.gradient(k))
        theirs.param_groups[0].update(betas=(beta1(k), beta2(k)), weight_decay=decay(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy(), RUN.p)


def own_decay(case):
    """A weight decay if torch's optimizer accepts one."""
    return {"weight_decay": 0.1} if case.live.decayed else {}


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_tensor_without_gradient_is_left_alone_as_by_torch(case):
    """Each tensor counts its own updates: the second one's first gradient comes at the third step."""
    halves, decay = np.array_split(RUN.p, 2), own_decay(case)
    p, tensors = [x.copy() for x in halves], [torch.tensor(x) for x in halves]
    opt, theirs = case.make(p, **decay), case.live(tensors, case.lr, **decay)
    for k in range(30):
        g = np.array_split(RUN.gradient(k), 2)
        g[1] = None if k < 2 or k % 5 == 0 else g[1]
        opt.step(g)
        for tensor, x in zip(tensors, g, strict=True):
            tensor.grad = None if x is None else torch.from_numpy(x)
        theirs.step()
    assert_same_run(np.concatenate(p), torch.cat(tensors).numpy(), RUN.p)


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_maximize_is_torch_s(case):
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt, theirs = (
        case.make(p, maximize=True, **own_decay(case)),
        case.live([tensor], case.lr, maximize=True, **own_decay(case)),
    )
    for k in range(20):
        opt.step(RUN.gradient(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy(), RUN.p)
