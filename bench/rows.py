"""A step over 1 % of the rows of a table of embeddings, against a whole step and torch's sparse optimizers.

``python bench/rows.py [rows of the table] [elements of a row]``: every round makes one step of each kind, one after the
other, so that what disturbs the machine disturbs all. The figures are the minima over the rounds, and the medians.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import pyfastlr as flr

SHARE, ROUNDS = 100, 25  # one row of so many
TARGET = 30.0  # a whole step's time divided by that of the step over rows


def makers(name: str) -> tuple[Callable[..., flr.Optimizer], str]:
    """Return our optimizer and the name of torch's."""
    return {
        "Adam": (lambda p, **k: flr.Adam(p, 1e-3, convention="keras", eps=1e-8, **k), "SparseAdam"),
        "AdaGrad": (lambda p, **k: flr.AdaGrad(p, 1e-2, **k), "Adagrad"),
        "SGD": (lambda p, **k: flr.SGD(p, 1e-2, **k), "SGD"),
    }[name]


class Steps:
    """The steps of one optimizer over tables of that shape, by what they are called."""

    def __init__(self, name: str, shape: tuple[int, int]) -> None:
        self.rng, self.shape, self.n = np.random.default_rng(0), shape, max(1, shape[0] // SHARE)
        make, theirs = makers(name)
        table = self.rng.standard_normal(shape, np.float32)
        self.whole = self.rng.standard_normal(shape, np.float32)
        self.values = self.whole[: self.n].copy()
        opt, exact = make(table), make(table.copy(), catch_up=True)
        self.kinds: dict[str, Callable[[np.ndarray], None]] = {
            "whole": lambda rows: opt.step(self.whole),
            "rows": lambda rows: opt.step_rows("", rows, self.values),
            "rows, exact": lambda rows: exact.step_rows("", rows, self.values),
        }
        self._add_torch(theirs, table)

    def _add_torch(self, theirs: str, table: np.ndarray) -> None:
        try:
            import torch
        except ImportError:
            return
        tensor = torch.nn.Parameter(torch.from_numpy(table.copy()))
        other = getattr(torch.optim, theirs)([tensor], 1e-3)
        values = torch.from_numpy(self.values)

        def step(rows: np.ndarray) -> None:
            index = torch.from_numpy(rows)[None]
            tensor.grad = torch.sparse_coo_tensor(index, values, self.shape, check_invariants=False)
            other.step()

        self.kinds[f"torch {theirs}"] = step

    def run(self) -> dict[str, list[float]]:
        """Return the times of each kind."""
        found: dict[str, list[float]] = {kind: [] for kind in self.kinds}
        for _ in range(ROUNDS):
            for kind, step in self.kinds.items():
                rows = self.rng.choice(self.shape[0], self.n, replace=False)
                start = time.perf_counter()
                step(rows)
                found[kind].append(time.perf_counter() - start)
        return found


def main() -> None:
    """Print the table."""
    shape = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, int(sys.argv[2]) if len(sys.argv) > 2 else 64
    print(f"{shape[0]} x {shape[1]} float32, {shape[0] // SHARE} rows, {ROUNDS} rounds: minimum (median) in ms")
    for name in ("Adam", "AdaGrad", "SGD"):
        found = Steps(name, shape).run()
        whole = found["whole"]
        for kind, times in found.items():
            ratio = f"whole / this {min(whole) / min(times):5.1f} ({median(whole) / median(times):5.1f})"
            print(f"{name:8} {kind:16} {1e3 * min(times):8.3f} ({1e3 * median(times):8.3f})   {ratio}")


if __name__ == "__main__":
    main()
