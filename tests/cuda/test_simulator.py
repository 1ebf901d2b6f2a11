"""Every rule and convention in numba's simulator, beside the CPU's drive: the kernels' own text, run as Python.

The simulator replaces the compiler in its whole process, so `test_in_a_process_of_its_own` runs this file again.
"""

import ctypes
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason='needs pip install "pyfastlr[cudatool]"')

from cases import CASES
from pyfastlr.arrays import device as device_arrays

SIZES = (1, 5, 130)
# Options that have all kernels between them.
OPTIONS = (
    {"clip_norm": 0.5, "clip_norm_each": 0.3},
    {"clip_norm": 0.5, "nonfinite": "raise", "zero_grad": True, "measure": ("update_norm", "param_norm")},
    {"clip_value": 0.5, "clip_norm": 2.0, "ema_decay": 0.5, "measure": ("per_tensor",)},
)


class Simulated:
    """A device whose memory is the host's, with guards around every array."""

    multiprocessors, number = 1, 0
    GUARD = 16

    def __init__(self):
        self.arrays, self.kept = [], []

    def map(self, array, misalign=0):
        """Move the array's numbers between guards; `take` brings them back."""
        bits = np.full(array.nbytes + 2 * self.GUARD + misalign + 16, 0x5A, np.uint8)
        start = -(bits.ctypes.data + self.GUARD) % 16 + misalign + self.GUARD
        inner = bits[start : start + array.nbytes]
        inner[:] = array.view(np.uint8)
        self.arrays.append((array, inner, bits, start))
        return inner.ctypes.data

    def take(self):
        for array, inner, bits, start in self.arrays:
            array.view(np.uint8)[:] = inner
            assert (bits[:start] == 0x5A).all()
            assert (bits[start + array.nbytes :] == 0x5A).all()

    def allocate(self, size):
        memory = np.zeros(size, np.uint8)
        self.kept.append(memory)
        return SimpleNamespace(address=memory.ctypes.data)

    def fill(self, address, array):
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def write(self, address, array, stream):
        self.fill(address, array)

    def read(self, address, array):
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def kernel(self, name, make, bounds):
        from pyfastlr_kernels.cuda.compiler import cuda

        function, signature = make()
        return cuda.jit(function), signature.args

    def start(self, launches, stream, then=()):
        for (function, kinds), grid, threads, arguments, _ in launches:
            values = iter([np.ctypeslib.as_array(x)[()] for x in arguments])
            function[grid, threads](*(_argument(kind, values) for kind in kinds))
        for count in then:
            count()


def _argument(kind, values):
    """An argument of that type: an address, a number, or a tuple of numbers."""
    if hasattr(kind, "instance_class"):
        return kind.instance_class(*islice(values, len(kind.fields)))
    value = next(values)
    return int(value) if value.dtype.kind == "i" else value


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_simulated_kernel_has_the_bits_of_the_cpu(case, dtype):
    from vectors import Vectors

    device = Simulated()
    v = Vectors(case, dtype, sizes=SIZES, misalign=case.convention == "keras").on(device)
    v.run(scale=0.5)
    v.run(missing=(1,))
    v.opt.groups[0]["weight_decay"] = 0.0  # the terms in p fall away
    v.run()
    device.take()
    v.assert_same_bits()


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_simulated_options_have_the_bits_of_the_host(options, dtype, monkeypatch):
    from beside import Beside

    device = Simulated()
    monkeypatch.setattr(device_arrays, "device_of", lambda address: device)
    pair = Beside(device, dtype, (5, 1030), options)
    pair.step(inv_scale=0.5)
    pair.step(missing=(0,))
    device.take()
    pair.check()


def simulate(function, n):
    """Run a kernel of broken.py over n numbers between guards."""
    from pyfastlr_kernels.cuda.compiler import cuda

    device, p = Simulated(), np.arange(n, dtype=np.float32)
    address = device.map(p)
    cuda.jit(function)[1, 128](address, n)
    device.take()
    return p


@pytest.mark.cudasim
@pytest.mark.parametrize(("name", "fault"), [("misaligned", ValueError), ("past_the_end", AssertionError)])
def test_the_simulator_stops_a_broken_kernel(name, fault):
    import broken

    assert simulate(broken.sound, 128).tolist() == list(range(0, 256, 2))
    with pytest.raises(fault):
        simulate(getattr(broken, name), 128)


def test_in_a_process_of_its_own():
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        pytest.skip("this is that process")
    root = Path(__file__).parents[2]
    options = ["-q", "-m", "cudasim", "--rootdir", root, "-c", root / "pyproject.toml", __file__]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *map(str, options)],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
