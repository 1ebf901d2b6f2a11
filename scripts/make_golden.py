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
from oracles import STEPS, other_process, problem, run_lr, trajectories, weight_decay  # noqa: E402

SEED, SIZE, BANK = 20240, 13, 29
CHECKPOINTS = np.array([1, 2, 3, 5, 6, 7, 10, 100, 500, 610, 1_000, STEPS])  # RAdam sets in at 6; the rate is 0 at 610
PACKAGES = {"torch": ("torch",), "keras": ("keras", "jax"), "optax": ("optax", "jax")}


def write(library: str) -> None:
    """Run a library's rows, in a process of their own, and write its file."""
    run = problem(SIZE, BANK, SEED)
    arrays, rows = {}, {}
    with other_process() as executor:
        for case in (case for case in CASES if case.convention == library):
            for decay, p in executor.submit(trajectories, case, run).result().items():
                key = f"{case.name}/{decay}"
                arrays[key] = p[CHECKPOINTS - 1]
                rows[key] = {"lr": run_lr(case), "weight_decay": weight_decay(case, decay), "kwargs": case.kwargs}
    about = {"versions": {x: version(x) for x in (*PACKAGES[library], "numpy")}, "seed": SEED, "rows": rows}
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
    for name in PACKAGES:
        write(name)
