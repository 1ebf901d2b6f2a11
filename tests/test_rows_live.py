"""Steps over rows against torch's optimizers with sparse gradients, in float64."""

import numpy as np
import pytest

import pyfastlr as flr

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own Adagrad makes such tensors

SHAPE = (40, 6)
# pyfastlr's optimizer and torch's, with the same arguments. SparseAdam divides by sqrt(v) + eps and then corrects the
# bias, as Keras does.
PAIRS = {
    "SparseAdam": (
        lambda p, **k: flr.Adam(p, 0.01, eps=1e-8, convention="keras", **k),
        lambda p, **k: torch.optim.SparseAdam([p], 0.01, **k),
    ),
    "SparseAdam, other betas": (
        lambda p, **k: flr.Adam(p, 0.1, betas=(0.5, 0.9), eps=1e-3, convention="keras", **k),
        lambda p, **k: torch.optim.SparseAdam([p], 0.1, betas=(0.5, 0.9), eps=1e-3, **k),
    ),
    "SGD": (lambda p, **k: flr.SGD(p, 0.1, **k), lambda p, **k: torch.optim.SGD([p], 0.1, **k)),
    "Adagrad": (
        lambda p, **k: flr.AdaGrad(p, 0.1, lr_decay=0.1, initial_accumulator_value=0.5, **k),
        lambda p, **k: torch.optim.Adagrad([p], 0.1, lr_decay=0.1, initial_accumulator_value=0.5, **k),
    ),
}
EACH = pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS)


def sparse(rows, values):
    return torch.sparse_coo_tensor(
        torch.tensor(rows)[None], torch.from_numpy(values.copy()), SHAPE, check_invariants=True
    )


@EACH
@pytest.mark.parametrize("maximize", [False, True])
def test_torchs_sparse_gradients(ours, theirs, maximize):
    """Rows that occur several times too: torch adds their gradients."""
    rng = np.random.default_rng(1)
    p = rng.standard_normal(SHAPE)
    tensor = torch.tensor(p, requires_grad=True)
    opt, other = ours(p, maximize=maximize), theirs(tensor, maximize=maximize)
    for k in range(60):
        rows = rng.integers(0, SHAPE[0], 1 + k % 9)
        values = rng.standard_normal((len(rows), SHAPE[1])) * 10.0 ** rng.integers(-3, 3)
        opt.step_rows("", rows, values)
        tensor.grad = sparse(rows, values)
        other.step()
        np.testing.assert_allclose(p, tensor.detach().numpy(), rtol=1e-12, atol=1e-13)


@EACH
def test_an_embedding_layer(ours, theirs):
    """The gradient that torch makes of an embedding's rows, given to us as tensors."""
    torch.manual_seed(0)
    layer = torch.nn.Embedding(*SHAPE, sparse=True, dtype=torch.float64)
    mine = {"weight": layer.weight.detach().numpy().copy()}
    opt, other = ours(mine), theirs(layer.weight)
    for _ in range(10):
        index = torch.randint(0, SHAPE[0], (7,))
        layer.weight.grad = None
        (layer(index) ** 2).sum().backward()
        grad = layer.weight.grad
        opt.step({"weight": flr.Rows(grad._indices()[0], grad._values())})
        other.step()
        np.testing.assert_allclose(mine["weight"], layer.weight.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_torchs_own_memory():
    tensor = torch.zeros(5, 3)
    opt = flr.SGD({"t": tensor}, 1.0, catch_up=True)
    opt.step_rows("t", torch.tensor([1, 1], dtype=torch.int32), torch.ones(2, 3))
    opt.step_rows("t", torch.tensor([True, False, False, False, True]), torch.ones(2, 3))
    opt.step({"t": flr.Rows(torch.tensor([0]), torch.ones(1, 3))})
    assert tensor[:, 0].tolist() == [-2.0, -2.0, 0.0, 0.0, -1.0]


def test_torchs_sgd_moves_rows_without_a_gradient():
    """With momentum, torch's sparse gradients keep the buffer sparse: rows go on moving. Exactly ours with catch_up."""
    rng = np.random.default_rng(2)
    p = rng.standard_normal(SHAPE)
    tensor = torch.tensor(p, requires_grad=True)
    opt = flr.SGD(p, 0.1, momentum=0.9, catch_up=True)
    other = torch.optim.SGD([tensor], 0.1, momentum=0.9)
    for _ in range(20):
        rows, values = rng.integers(0, SHAPE[0], 4), rng.standard_normal((4, SHAPE[1]))
        opt.step_rows("", rows, values)
        tensor.grad = sparse(rows, values)
        other.step()
    opt.sync_rows("")
    np.testing.assert_allclose(p, tensor.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_the_callers_floating_point_mode_does_not_matter():
    """Sums of subnormal numbers, and replays that end in them, while torch has them flushed."""
    found = []
    for flush in (False, True):
        p = np.zeros((3, 2), np.float32)
        opt = flr.AdaGrad(p, 1.0, eps=0.0, catch_up=True)
        v = np.full((4, 2), 1e-40, np.float32)
        if not torch.set_flush_denormal(flush):
            pytest.skip("torch cannot set the mode here")
        try:
            sgd = np.zeros((3, 2), np.float32)
            flr.SGD(sgd, 1.0).step_rows("", [1, 1, 1, 2], v)
            opt.step_rows("", [1, 1], v[:2])
            opt.step_rows("", [2], np.ones((1, 2), np.float32))
            opt.sync_rows("")
        finally:
            torch.set_flush_denormal(False)
        found.append((sgd.tobytes(), p.tobytes()))
        assert sgd[1, 0] == -np.float32(1e-40) * 3
    assert found[0] == found[1]
