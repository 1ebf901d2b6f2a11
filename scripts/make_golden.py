"""Write tests/golden/<library>.npz: results of the live libraries, for machines that do not have them.

Run it in an environment with the `interop` extra after adding or changing a row of tests/cases.py. Runs that a file
already has are kept. `python scripts/make_golden.py --all` repeats them.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from cases import CASES  # noqa: E402
from oracles import STEPS, other_process, problem, run_lr, runs, trajectories, weight_decay  # noqa: E402

SEED, SIZE, BANK = 20240, 13, 29
CHECKPOINTS = np.array(
    [1, 2, 3, 5, 6, 7, 10, 100, 500, 610, 1_000, STEPS]
)  # RAdam rectifies from 6; the rate is 0 at 610
PACKAGES = {"torch": ("torch",), "keras": ("keras", "jax"), "optax": ("optax", "jax")}


def kept(path: Path, about: dict[str, Any]) -> dict[str, tuple[Any, np.ndarray]]:
    """Return the runs in a file, each with its row, if they were made with the current versions."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        there = json.loads(str(file["about"]))
        same = {key: there[key] for key in about} == about and np.array_equal(file["checkpoints"], CHECKPOINTS)
        return {key: (row, file[key]) for key, row in there["rows"].items()} if same else {}


def write(library: str) -> None:
    """Run a library's new rows in a separate process, and write its file if anything changed."""
    run, path = problem(SIZE, BANK, SEED), TESTS / "golden" / f"{library}.npz"
    about = {"versions": {x: version(x) for x in (*PACKAGES[library], "numpy")}, "seed": SEED}
    there = {} if "--all" in sys.argv[1:] else kept(path, about)
    arrays, rows = {}, {}
    with other_process() as executor:
        for case in (case for case in CASES if case.convention == library):
            needed = {
                f"{case.name}/{x}": {"lr": run_lr(case), "weight_decay": weight_decay(case, x), "kwargs": case.kwargs}
                for x in runs(case)
            }
            rows |= needed
            if all(key in there and there[key][0] == row for key, row in needed.items()):
                arrays |= {key: there[key][1] for key in needed}
                continue
            for decay, p in executor.submit(trajectories, case, run).result().items():
                arrays[f"{case.name}/{decay}"] = p[CHECKPOINTS - 1]
    if {key: there[key][0] for key in there} == rows:
        return
    about["rows"] = rows
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
