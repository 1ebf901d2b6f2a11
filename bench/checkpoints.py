"""Saving and loading a state against `cp`, on the same disk: python bench/checkpoints.py [--megabytes N].

Each round saves, copies the file with `cp` and syncs the copy, loads into a new optimizer, and copies with `cp` without
a sync. All are in turn, so that a busy machine slows all of them. The ratios are cp's time by ours, of the medians and
of the fastest. The extra memory is by how much the resident set grew at its peak.

The state's memory is touched before it is loaded, and a copy was deleted just before the next one, so that neither has
to wait for memory that a virtual machine has given back to its host: there, that can take longer than all else.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import pyfastlr as flr


def resident(field: str = "VmRSS") -> int:
    """Bytes of memory of this process; "VmHWM" is the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measured(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and bytes by which the resident set grew at its peak."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before, start = resident(), time.perf_counter()
    call()
    return time.perf_counter() - start, resident("VmHWM") - before


def copy(source: Path, target: Path, sync: bool) -> None:
    subprocess.run(["cp", source, target], check=True)
    if sync:
        subprocess.run(["sync", target], check=True)


@contextmanager
def scratch(folder: str, size: int) -> Iterator[Path]:
    """A temporary folder with room for three files."""
    if shutil.disk_usage(folder).free < 4 * size:
        sys.exit(f"{folder} must have {4 * size:,} free bytes")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield Path(place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=2000, help="of the state (Adam's, float32)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", default=".", help="on the disk to be measured")
    options = parser.parse_args()
    n = options.megabytes * 1_000_000 // 8
    params = np.zeros(n, np.float32)
    trained = flr.Adam(params, lr=1e-3)
    for x in trained.state.values():
        x[:] = np.random.default_rng(0).random(n, dtype=np.float32)
    times: dict[str, list[float]] = {"save": [], "cp and sync": [], "load": [], "cp": []}
    extra = {"save": 0, "load": 0}
    with scratch(options.folder, 8 * n) as place:
        file, other = place / "state.safetensors", place / "copy"
        for k in range(options.rounds + 1):
            for path in (file, other):
                path.unlink(missing_ok=True)
            subprocess.run(["sync"], check=True)
            found = {
                "save": measured(lambda: trained.save(file)),
                "cp and sync": measured(lambda: copy(file, other, True)),
            }
            new = flr.Adam(params, lr=1e-3)
            new.reset()
            found["load"] = measured(lambda opt=new: opt.load(file))
            assert all(np.array_equal(x, y) for x, y in zip(trained.state.values(), new.state.values(), strict=True))
            del new
            other.unlink()
            found["cp"] = measured(lambda: copy(file, other, False))
            for name, (seconds, memory) in found.items():
                if name in extra:
                    extra[name] = max(extra[name], memory)
                if k:  # the first round warms up
                    times[name].append(seconds)
        size = file.stat().st_size
    print(f"{size / 1e9:.2f} GB, {options.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, x in times.items():
        print(
            f"{name:<12} {statistics.median(x):6.2f} s  {size / statistics.median(x) / 1e9:5.2f} GB/s  "
            f"from {min(x):.2f} to {max(x):.2f} s" + (f", {extra[name] / 2**20:.1f} MiB extra" if name in extra else "")
        )
    for ours, theirs in (("save", "cp and sync"), ("load", "cp")):
        ratio, best = (f(times[theirs]) / f(times[ours]) for f in (statistics.median, min))
        print(f"{ours}: {ratio:.2f} of the speed of {theirs}, the fastest {best:.2f}")


if __name__ == "__main__":
    main()
