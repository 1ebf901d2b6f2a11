"""The facts that `pyfastlr info` shows."""

import os
import platform
from pathlib import Path
from typing import Any

import pyfastlr
from pyfastlr_kernels.compile.sources import version_of
from pyfastlr_kernels.cuda import missing
from pyfastlr_kernels.python_side import ndarray_record_fits

#: LLVM's name of an instruction set that makes the kernels faster -> its usual name.
INSTRUCTIONS = {
    "sse4.2": "SSE4.2",
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx512f": "AVX-512F",
    "avx512bf16": "AVX-512BF16",
    "neon": "NEON",
    "sve": "SVE",
}


def collect() -> dict[str, Any]:
    """Return what pyfastlr runs on, by name, as JSON values. Nothing is compiled, written or started.

    Raises
    ------
    ValueError
        If an environment variable of pyfastlr has an invalid value.

    Examples
    --------
    >>> facts = collect()
    >>> list(facts)[:4]
    ['pyfastlr', 'python', 'numba', 'llvmlite']
    >>> facts["threads"] >= 1
    True
    """
    from pyfastlr_kernels.compile import cache
    from pyfastlr_kernels.cpu import load, pool

    llvm_name, features = cache.target()
    directory = cache.directory()
    files, current = list(cache.files()), tuple(f"-{x}.o" for x in load.versions())
    return {
        "pyfastlr": pyfastlr.__version__,
        "python": platform.python_version(),
        **{name: version_of(name) for name in ("numba", "llvmlite", "numpy", "cffi")},
        "platform": platform.platform(),
        "cpu": f"{_cpu_name()} (LLVM: {llvm_name})",
        "instruction_set": [name for feature, name in INSTRUCTIONS.items() if f"+{feature}" in features.split(",")],
        "threads": pool.default_threads(),
        "threading_layer": pool.describe(),
        "launch": _launch(),
        "cache_directory": None if directory is None else str(directory),
        "cache_writable": directory is not None and _writable(directory),
        "cache_size": sum(path.stat().st_size for path in files),  # bytes
        "cached_kernels": sum(path.name.endswith(current) for path in files),
        "cuda": missing() or f"numba-cuda {version_of('numba-cuda')}; never run on a device: docs/cuda.md",
    }


def _launch() -> str:
    """Return how a step starts in this process."""
    return "compiled" if ndarray_record_fits() else "plain Python: 10 µs a step more"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()  # ARM's cpuinfo has only numbers


def _writable(directory: Path) -> bool:
    """Return whether files can be created in this directory, which may have to be created first."""
    existing = next(place for place in (directory, *directory.parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
