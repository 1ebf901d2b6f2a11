"""Against the live libraries: torch in this process, optax in another (JAX's float64 is a switch of the process)."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import pyfastlr as flr
from cases import CASES
from oracles import RUNS, STEPS, problem, torch_scalars_in_float64, trajectory, weight_decay

torch = pytest.importorskip("torch")

TORCH = [case for case in CASES if case.torch]
OPTAX = [case for case in CASES if case.convention == "optax"]
RUN = problem(n=257, bank=101, seed=7)


@pytest.fixture(autouse=True)
def _scalars_in_float64():
    with torch_scalars_in_float64():
        yield


def ours(case, decay, dtype=np.float64):
    """The same run by pyfastlr, a schedule running: parameters after every step."""
    p, out = RUN.p.astype(dtype), np.empty((STEPS, RUN.p.size))
    options = {} if decay in ("none", case.decay) else {"decay": decay}  # the convention's own kind is the default
    opt = case.make(p, lambda n: case.lr * RUN.schedule[n], weight_decay=weight_decay(case, decay), **options)
    for k in range(STEPS):
        opt.step(RUN.gradient(k).astype(dtype))
        out[k] = p
    return out


def assert_same_run(got, want):
    """To 1e-10 of the largest distance of any parameter from its start, at every one of the steps."""
    assert np.abs(got - want).max() <= 1e-10 * np.abs(want - RUN.p).max()


@pytest.mark.parametrize("decay", RUNS)
@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_every_step_is_torch_s(case, decay):
    assert_same_run(ours(case, decay), trajectory(case, RUN, decay))


@pytest.fixture(scope="module")
def other_process():
    pytest.importorskip("optax")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("decay", RUNS)
@pytest.mark.parametrize("case", OPTAX, ids=lambda case: case.name)
def test_every_step_is_optax_s(case, decay, other_process):
    assert_same_run(ours(case, decay), other_process.submit(trajectory, case, RUN, decay).result())


@pytest.mark.parametrize("case", [case for case in TORCH if not case.kwargs], ids=lambda case: case.name)
def test_unset_arguments_are_torch_s(case):
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt, theirs = getattr(flr, case.cls)(p), case.torch([tensor])
    for k in range(20):
        opt.step(RUN.gradient(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy())


BETAS = [case for case in TORCH if "betas" in case.torch([torch.zeros(1)], case.lr).defaults]


@pytest.mark.parametrize("case", BETAS, ids=lambda case: case.name)
def test_scheduled_betas_and_decay_are_torch_s(case):
    """Bias corrections use the current beta, 1 - b_t**t, as torch's do when its param group is edited."""
    beta1, beta2, decay = (lambda n: 0.9 - 0.001 * n), (lambda n: 0.999 - 0.0005 * n), (lambda n: 0.1 / (1 + n))
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt = case.make(p, betas=(beta1, beta2), weight_decay=decay)
    theirs = case.torch([tensor], case.lr)
    for k in range(100):
        opt.step(RUN.gradient(k))
        theirs.param_groups[0].update(betas=(beta1(k), beta2(k)), weight_decay=decay(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy())


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_tensor_without_gradient_is_left_alone_as_by_torch(case):
    """Each tensor counts its own updates: the second one's first gradient comes at the third step."""
    halves = np.array_split(RUN.p, 2)
    p, tensors = [x.copy() for x in halves], [torch.tensor(x) for x in halves]
    opt, theirs = case.make(p, weight_decay=0.1), case.torch(tensors, case.lr, weight_decay=0.1)
    for k in range(30):
        g = np.array_split(RUN.gradient(k), 2)
        g[1] = None if k < 2 or k % 5 == 0 else g[1]
        opt.step(g)
        for tensor, x in zip(tensors, g, strict=True):
            tensor.grad = None if x is None else torch.from_numpy(x)
        theirs.step()
    assert_same_run(np.concatenate(p), torch.cat(tensors).numpy())


@pytest.mark.parametrize("case", TORCH, ids=lambda case: case.name)
def test_maximize_is_torch_s(case):
    p, tensor = RUN.p.copy(), torch.tensor(RUN.p)
    opt, theirs = (
        case.make(p, maximize=True, weight_decay=0.1),
        case.torch([tensor], case.lr, weight_decay=0.1, maximize=True),
    )
    for k in range(20):
        opt.step(RUN.gradient(k))
        tensor.grad = torch.from_numpy(RUN.gradient(k))
        theirs.step()
    assert_same_run(p, tensor.numpy())
