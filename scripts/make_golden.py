"""Write tests/golden/<library>.npz: what the live libraries compute, for machines that do not have them.

Run it in an environment with the `interop` extra when tests/cases.py gains or changes a row.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from cases import CASES  # noqa: E402
from oracles import RUNS, STEPS, problem, trajectory, weight_decay  # noqa: E402

SEED, SIZE, BANK = 20240, 13, 29
CHECKPOINTS = np.array([1, 2, 3, 5, 6, 7, 10, 100, 500, 1_000, STEPS])
PACKAGES = {"torch": ("torch",), "optax": ("optax", "jax")}


def main() -> None:
    """Run every library's rows and write a file for each."""
    run = problem(SIZE, BANK, SEED)
    for library, packages in PACKAGES.items():
        arrays, rows = {}, {}
        for case in (case for case in CASES if case.convention == library):
            for decay in RUNS:
                key = f"{case.name}/{decay}"
                arrays[key] = trajectory(case, run, decay)[CHECKPOINTS - 1]
                rows[key] = {"lr": case.lr, "weight_decay": weight_decay(case, decay), "kwargs": case.kwargs}
        about = {"versions": {x: version(x) for x in (*packages, "numpy")}, "seed": SEED, "rows": rows}
        path = TESTS / "golden" / f"{library}.npz"
        np.savez_compressed(
            path,
            about=json.dumps(about),
            p=run.p,
            bank=run.bank,
            schedule=run.schedule,
            checkpoints=CHECKPOINTS,
            **arrays,
        )
        print(f"{path}: {len(arrays)} runs, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
