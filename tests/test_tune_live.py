"""Tools of the rate beside torch: its random numbers are restored too."""

import numpy as np
import pytest

import pyfastlr as flr
from pyfastlr import tune
from pyfastlr.tune.finding.randomness import generators

torch = pytest.importorskip("torch")


def test_random_numbers_of_torch_are_restored():
    data, own = torch.utils.data, torch.Generator().manual_seed(3)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)))
    rows = data.TensorDataset(x)
    loaders = [data.DataLoader(rows, batch_size=8, shuffle=True, generator=generator) for generator in (None, own)]
    weights = torch.zeros(3, dtype=torch.float64)

    def loss_and_grad(params, batch):
        (rows,) = batch
        error = rows @ params["w"] - rows.sum(dim=1)
        return float((error**2).mean()) + 0.01 * float(torch.rand(())), {"w": 2 * rows.T @ error / len(error)}

    assert generators(loaders[1]) == [own]
    for loader in loaders:
        before = torch.get_rng_state(), own.get_state()
        first, again = (
            # Batches differ so much that a sweep could end after a few.
            tune.range_test(loss_and_grad, {"w": weights}, lambda p: flr.Adam(p, lr=1e-3), loader, divergence=1e6)
            for _ in range(2)
        )
        assert first.losses.tolist() == again.losses.tolist()
        assert len(np.unique(first.losses[:20])) == 20
        assert all(map(torch.equal, before, (torch.get_rng_state(), own.get_state())))
        assert weights.tolist() == [0.0] * 3
