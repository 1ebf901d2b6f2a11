"""The bound against the live torch: its optimizers turn unstable there, and its products with the Hessian are ours."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import tune

torch = pytest.importorskip("torch")

H = np.diag(np.geomspace(0.5, 10.0, 6))
VARIANTS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.4},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "weight_decay": 2.0},
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_torch_s_sgd_turns_unstable_at_the_bound(arguments):
    p = np.ones(6)
    opt = flr.SGD(p, lr=1e-3, **arguments)
    bound = tune.sharpness(lambda p, batch: (0.0, H @ p), p, optimizer=opt, tol=1e-8).bound
    h = torch.from_numpy(H)
    for factor, grows in ((0.97, False), (1.03, True)):
        x = torch.ones(6, dtype=torch.float64, requires_grad=True)
        theirs = torch.optim.SGD([x], lr=factor * bound, **arguments)
        for _ in range(600):
            theirs.zero_grad()
            (x @ h @ x / 2).backward()
            theirs.step()
        assert (float(x.detach().norm()) > 100) is grows
        assert (float(x.detach().norm()) < 1) is not grows


def test_products_of_torch():
    """A network of torch's, whose parameters numpy shares."""
    torch.manual_seed(0)
    x, y = torch.randn(50, 8, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    given = {"w": 0.5 * torch.randn(8, 5, dtype=torch.float64), "out": torch.randn(5, dtype=torch.float64)}
    params = {name: value.numpy() for name, value in given.items()}

    def loss(w, out):
        return ((torch.tanh(x @ w) @ out - y) ** 2).mean()

    def leaves(p):
        return tuple(torch.as_tensor(value).detach().requires_grad_() for value in p.values())

    def loss_and_grad(p, batch):
        tensors = leaves(p)
        value = loss(*tensors)
        return float(value.detach()), dict(zip(p, torch.autograd.grad(value, tensors), strict=True))

    def hvp(p, batch, v):
        product = torch.autograd.functional.hvp(loss, leaves(p), leaves(v))[1]
        return dict(zip(p, product, strict=True))

    dense = torch.autograd.functional.hessian(loss, leaves(params))
    whole = np.block([[dense[i][j].numpy().reshape(a.size, b.size) for j, b in enumerate(params.values())]
                      for i, a in enumerate(params.values())])  # fmt: skip
    exact = np.linalg.eigvalsh(whole)[-1]
    assert float(tune.sharpness(loss_and_grad, params, hvp=hvp, tol=1e-8)) == pytest.approx(exact, rel=1e-8)
    assert float(tune.sharpness(loss_and_grad, params, tol=1e-6)) == pytest.approx(exact, rel=1e-5)
    assert float(tune.sharpness(loss_and_grad, given, tol=1e-6)) == pytest.approx(exact, rel=1e-5)  # tensors themselves
