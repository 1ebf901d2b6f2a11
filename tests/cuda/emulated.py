"""A device whose kernels run in ptxemu: what pyfastlr_kernels.cuda.step needs of one, on host memory."""

from functools import cache
from types import SimpleNamespace

import numpy as np

from ptxemu import Kernel
from ptxmemory import Memory

CAPABILITIES = [(8, 0), (9, 0), (10, 0)]
_lowered = {}


def lowered(name, make, bounds):
    """Kernel after numba's part of the work, which is the same for all compute capabilities: a list of NVVM IR."""
    from numba.cuda import compiler

    if name is None or name not in _lowered:
        function, signature = make()
        library, _ = compiler._compile_pyfunc_with_fixup(
            function, signature, device=False, abi="numba", cc=CAPABILITIES[0], launch_bounds=bounds
        )
        _lowered[name] = library.llvm_strs, library._nvvm_options
    return _lowered[name]


@cache
def _compiled(name, cc, fused):
    from numba.cuda.cudadrv import nvrtc, nvvm

    irs, options = _lowered[name]
    more = {} if fused else {"fma": 0}
    return nvvm.compile_ir(irs, **options, **more, arch=nvrtc.get_arch_option(*cc)).decode().strip("\x00").strip()


def ptx(name, make, bounds, cc, fused=True):
    """What `compiler.ptx` makes of a kernel, fused or `unfused`, in a tenth of the time; test_ptx.py compares them."""
    lowered(name, make, bounds)
    return _compiled(name, cc, fused)


@cache
def _parsed(text):
    return Kernel(text)


class Array:
    """What CuPy or torch would hand over: memory of an emulated device, lent by `__cuda_array_interface__`."""

    def __init__(self, device, host):
        self.host, self.address = host, device.map(host)
        self.device = device
        self.__dict__.update(strides=None, writeable=True)

    def __deepcopy__(self, memo):
        return Array(self.device, self.host.copy())

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.host.shape, "typestr": self.host.dtype.str, "version": 3, "strides": self.strides,
                "data": (self.address, not self.writeable)}  # fmt: skip


class Device:
    """Emulated device, whose memory is what `map` shares with it and `allocate` makes."""

    multiprocessors, number = 1, 0

    def __init__(self, cc=(8, 0), fused=True):
        self.cc, self.fused, self.memory, self.traces = cc, fused, Memory(), []
        self.writes, self.streams = 0, []

    def map(self, array, misalign=0):
        return self.memory.map(array, misalign)

    def __repr__(self):
        return "CUDA device 0"

    def allocate(self, size):
        return SimpleNamespace(address=self.memory.map(np.zeros(size, np.uint8)))

    def fill(self, address, array):
        self._bytes(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def _bytes(self, address, size):
        (found,) = [
            data[address - base : address - base + size]
            for base, data in self.memory.arrays
            if base <= address and address + size <= base + data.size
        ]
        return found

    def write(self, address, array, stream):
        self.writes += 1
        self.streams.append(stream)
        self.fill(address, array)

    def read(self, address, array):
        array.reshape(-1).view(np.uint8)[:] = self._bytes(address, array.nbytes)

    def kernel(self, name, make, bounds):
        return _parsed(ptx(name, make, bounds, self.cc, self.fused))

    def start(self, launches, stream, then=()):
        for launch in launches:
            self.launch(*launch[:4], stream)
        for count in then:
            count()

    def launch(self, kernel, grid, threads, arguments, stream):
        self.streams.append(stream)
        values = [np.ctypeslib.as_array(x)[()] for x in arguments]
        self.traces.append(kernel.run(self.memory, values, grid, threads))
