"""Which of these tests can run here. The simulator takes the compiler's place in its whole process."""

import importlib.util
import os

import pytest

# Helpers import what they help with; --doctest-modules would import them for their doctests, of which they have none.
collect_ignore = ["beside.py", "broken.py", "emulated.py", "fakedriver.py", "ptxemu.py", "ptxmemory.py", "ptxops.py",
                  "sass.py", "vectors.py"]  # fmt: skip
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def _no_compiler():
    if SIMULATED:
        return "the simulator takes the compiler's place in this process"
    if importlib.util.find_spec("numba_cuda") is None:
        return 'numba-cuda is not installed: pip install "pyfastlr[cudatool]"'
    from cuda import pathfinder

    try:
        for library in ("nvvm", "nvJitLink", "nvrtc"):
            pathfinder.load_nvidia_dynamic_lib(library)
    except (RuntimeError, OSError) as problem:
        return f"the CUDA compiler's libraries are incomplete: {problem}"
    return None


def _no_gpu():
    if reason := _no_compiler():
        return reason
    from numba import cuda

    return None if cuda.is_available() else "no CUDA device and driver"


REASONS = {
    "cudasim": lambda: None if SIMULATED else "needs a process with NUMBA_ENABLE_CUDASIM=1",
    "cudatool": _no_compiler,
    "gpu": _no_gpu,
}


@pytest.fixture
def device(monkeypatch):
    """Emulated device, whose memory all arrays of `emulated.Array` are in."""
    from emulated import Device
    from pyfastlr.arrays import device as device_arrays

    found = Device((9, 0), fused=False)
    monkeypatch.setattr(device_arrays, "device_of", lambda address: found)
    return found


def pytest_collection_modifyitems(items):
    for marker, reason in REASONS.items():
        marked = [item for item in items if marker in item.keywords]
        if marked and (text := reason()):
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=text))
