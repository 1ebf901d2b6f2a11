"""The CUDA target: the same rules and folds over the same kind of chunk table, compiled by numba-cuda.

Importing this package imports neither numba nor a driver. `missing` says what is missing here for device buffers.
"""

import importlib.util

INSTALL = 'pip install "pyfastlr[cuda13]" (with a CUDA 12 driver: "pyfastlr[cuda12]")'


def missing() -> str | None:
    """Return why device code cannot be compiled here and what to do about it, or None if it can be."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed; {INSTALL}"
    from numba import cuda

    # Without numba-cuda's redirector, `numba.cuda` is numba's own target: deprecated, without support for new devices.
    if "numba_cuda" not in (cuda.__file__ or ""):
        return f"`numba.cuda` is numba's own deprecated target, {cuda.__file__}, not numba-cuda; {INSTALL}"
    return None
