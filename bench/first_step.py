"""The first step of a process: the import, and the first update with and without compiled code in the cache."""

import json
import os
import subprocess
import sys
import tempfile

_PROCESS = """
import json, sys, time
start = time.perf_counter()
import pyfastlr
imported = time.perf_counter() - start
assert "numba" not in sys.modules
import numba, numpy as np
from pyfastlr import schedules as S
params, grads = np.ones((2, 1_000_000), np.float32)
start = time.perf_counter()
pyfastlr.Adam(params, lr=S.Cosine(1e-3, steps=100), **json.loads(sys.argv[1])).step(grads)
print(json.dumps([imported, time.perf_counter() - start]))
"""


def first_step(repeats: int = 3) -> dict[str, float]:
    """Return the best seconds of some processes: import of pyfastlr (without numba), and first Adam step after numba's.

    A step has a million elements, so that the pool's threads are compiled and started too.
    """
    cold, warm, clipped = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(_run(cache))
            warm.append(_run(cache))
        with tempfile.TemporaryDirectory() as cache:
            clipped.append(_run(cache, clip_norm=1.0))
    return {
        "import": min(imported for imported, _ in cold + warm),
        "cold": min(step for _, step in cold),
        "warm": min(step for _, step in warm),
        "cold_with_options": min(step for _, step in clipped),
    }


def _run(cache: str, **options: float) -> tuple[float, float]:
    environment = {**os.environ, "PYFASTLR_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-c", _PROCESS, json.dumps(options)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    imported, step = json.loads(done.stdout)
    return imported, step
