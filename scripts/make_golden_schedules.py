"""Write tests/golden/schedules.npz: rates of the live libraries' schedules, for machines that do not have them.

Run it in an environment with the `interop` extra after adding or changing a row of tests/foreign_schedules.py. fastai's
schedules are run from its source: `pip install --no-deps fastai` is enough.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from foreign_schedules import INDICES, PACKAGES, ROWS, run_library  # noqa: E402


def main() -> None:
    """Run every library's rows and write the file."""
    rates = {library: np.array(run_library(library)) for library in ROWS}  # [row, index]
    versions = {library: {package: version(package) for package in PACKAGES[library]} for library in ROWS}
    path = TESTS / "golden" / "schedules.npz"
    np.savez_compressed(path, about=json.dumps({"versions": versions, "rows": ROWS}), indices=INDICES, **rates)
    print(f"{path}: {sum(map(len, ROWS.values()))} rows, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
