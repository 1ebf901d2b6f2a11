"""Arrays of other libraries by DLPack: shared, never copied."""

import numpy as np
import pytest

import pyfastlr as flr

torch = pytest.importorskip("torch")


def test_torch_tensors_are_updated_in_place():
    p = {"w": torch.ones(2, 3), "b": torch.ones(4)}
    opt = flr.SGD(p, lr=0.5)
    opt.step({"w": torch.ones(2, 3), "b": None})
    opt.step({"w": np.ones((2, 3), "f4"), "b": torch.ones(4)})
    assert p["w"].tolist() == [[0.0] * 3] * 2
    assert p["b"].tolist() == [0.5] * 4


def test_one_torch_tensor():
    p = torch.ones(3, dtype=torch.float64)
    flr.SGD(p, lr=0.5).step(torch.ones(3, dtype=torch.float64))
    assert p.tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: torch.nn.Parameter(torch.ones(3)), TypeError, "detach"),
        (lambda: torch.ones(3).to(torch.float8_e4m3fn), TypeError, "cannot be shared"),
        (lambda: torch.ones(3, dtype=torch.int32), TypeError, "got int32[3]"),
        (lambda: torch.ones(2, 3).T, ValueError, "C-contiguous"),
    ],
)
def test_tensors_that_cannot_be(make, error, words):
    with pytest.raises(error, match="`params`") as caught:
        flr.Adam(make(), lr=0.1)
    assert words in str(caught.value)


def test_gradient_that_shares_the_parameters_memory():
    p = torch.ones(8)
    with pytest.raises(ValueError, match="overlap"):
        flr.SGD(p, lr=0.5).step(p.view(8))
    assert p.tolist() == [1.0] * 8


def test_jax_arrays_are_read_not_written():
    jax = pytest.importorskip("jax")
    p = np.ones(3, "f4")
    flr.SGD(p, lr=0.5).step(jax.numpy.ones(3))
    assert p.tolist() == [0.5] * 3
    with pytest.raises(ValueError, match="read-only"):
        flr.SGD(jax.numpy.ones(3), lr=0.5)


def test_autograd_does_not_see_an_update():
    """README's gotcha: torch raises after a torch step, but computes with the new values after ours."""
    theirs, ours = (torch.ones(3, requires_grad=True) for _ in range(2))
    losses = [(w**2).sum() for w in (theirs, ours)]  # each keeps its w for backward()
    theirs.grad = torch.ones(3)
    torch.optim.SGD([theirs], lr=0.5).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        losses[0].backward()
    flr.SGD(ours.detach(), lr=0.5).step(torch.ones(3))
    losses[1].backward()
    assert ours.grad.tolist() == [1.0] * 3  # 2 w of the new w; of the old one it would be 2
