"""A CUDA device, through the driver API (cuda.bindings): the only file that allocates, copies or launches.

Everything is asynchronous, in the order of the caller's stream, except `fill` and `read`, which only setup and
checkpoints use. Kernels are cubins in the library's cache; loading one needs no compiler and no numba.
"""

import ctypes
import hashlib
import importlib.metadata
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
from cuda.bindings import driver

from pyfastlr_kernels.compile.first_use import whole
from pyfastlr_kernels.compile.sources import hash_sources

from .launch import Launch

_RING = 64  # host copies that may be in flight: a host that is this many steps ahead waits for the oldest


class DriverError(RuntimeError):
    """An error that the driver returned."""


def _checked(result: tuple[Any, ...]) -> Any:
    """Return the result of a driver call without its status; raise DriverError if the status is not success."""
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        _, text = driver.cuGetErrorString(status)
        raise DriverError(f"{status.name}: {(text or b'').decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def number_of(address: int) -> int:
    """Return the number of the device that an address belongs to."""
    _checked(driver.cuInit(0))
    ordinal = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(_checked(driver.cuPointerGetAttribute(ordinal, address)))


class _Staging:
    """Page-locked copies of the data in flight to the device."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[tuple[int, Any]] = []
        self._used: deque[tuple[int, Any]] = deque()

    def take(self) -> tuple[int, Any]:
        """Return memory that no copy reads any more, and the event to record after the next copy."""
        while self._used and driver.cuEventQuery(self._used[0][1])[0] == driver.CUresult.CUDA_SUCCESS:
            self._free.append(self._used.popleft())
        if not self._free and len(self._used) == _RING:
            _checked(driver.cuEventSynchronize(self._used[0][1]))
            self._free.append(self._used.popleft())
        if not self._free:
            flags = driver.CUevent_flags.CU_EVENT_DISABLE_TIMING
            self._free.append((int(_checked(driver.cuMemAllocHost(self.size))), _checked(driver.cuEventCreate(flags))))
        self._used.append(self._free.pop())
        return self._used[-1]


class Memory:
    """Device memory, freed with this object, after the device has finished reading it."""

    def __init__(self, device: "Device", size: int) -> None:
        self._device = device
        with device.current():
            self.address = int(_checked(driver.cuMemAlloc(max(size, 1))))

    def __del__(self) -> None:
        if hasattr(self, "address"):
            with self._device.current():
                driver.cuMemFree(self.address)


class Device:
    """A device by its number; one object for all optimizers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._handle = _checked(driver.cuDeviceGet(number))
        self._context = _checked(driver.cuDevicePrimaryCtxRetain(self._handle))
        attribute = driver.CUdevice_attribute
        self.multiprocessors = self._attribute(attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self.cc = (
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self._staging: dict[int, _Staging] = {}

    def __repr__(self) -> str:
        return f"CUDA device {self.number}"

    def _attribute(self, which: Any) -> int:
        return int(_checked(driver.cuDeviceGetAttribute(which, self._handle)))

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the device's primary context, which all frameworks share, the current one of this thread."""
        if int(_checked(driver.cuCtxGetCurrent())) == int(self._context):  # frameworks leave it current
            yield
            return
        _checked(driver.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            _checked(driver.cuCtxPopCurrent())

    def allocate(self, size: int) -> Memory:
        """Allocate device memory that lives as long as the returned object."""
        return Memory(self, size)

    def write(self, address: int, array: "np.ndarray[Any, Any]", stream: int) -> None:
        with self.current():
            size = array.nbytes
            if size not in self._staging:
                self._staging[size] = _Staging(size)
            host, event = self._staging[size].take()
            ctypes.memmove(host, array.ctypes.data, size)
            _checked(driver.cuMemcpyHtoDAsync(address, host, size, stream))
            _checked(driver.cuEventRecord(event, stream))

    def fill(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        with self.current():
            _checked(driver.cuCtxSynchronize())
            _checked(driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))

    def read(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        with self.current():
            _checked(driver.cuCtxSynchronize())
            _checked(driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def kernel(self, name: str | None, make: Callable[[], "tuple[Any, Any]"], bounds: "tuple[int, int]") -> Any:
        def work() -> Any:
            with self.current():
                return _loaded(name, self.cc, _image(name, make, self.cc, bounds))

        return whole(work)

    def start(self, launches: Sequence[Launch], stream: int, then: Sequence[Callable[[], None]] = ()) -> None:
        todo: list[Callable[[], Any]] = [
            partial(
                driver.cuLaunchKernel, x.kernel, x.grid, 1, 1, x.threads, 1, 1, 0, stream, ctypes.addressof(x.places), 0
            )
            for x in launches
        ]
        with self.current():
            # All of them are C functions, so Python checks for Ctrl-C only before and after `list`.
            results: list[Any] = list(map(operator.call, (*todo, *then)))
        for result in results[: len(todo)]:
            _checked(result)


def _image(
    name: str | None, make: Callable[[], "tuple[Any, Any]"], cc: "tuple[int, int]", bounds: "tuple[int, int]"
) -> bytes:
    """Return a kernel's cubin from the cache, or compile it."""
    from pyfastlr_kernels.compile import cache

    def build() -> bytes:
        from . import compiler

        return compiler.link(compiler.ptx(*make(), cc, bounds), cc)[0]

    if name is None:
        return build()
    return cache.kept(f"{name}-sm{cc[0]}{cc[1]}", f"{digest()}.cubin", build)


_SOURCES = ("reduce.py", "stage_rules.py", "packing.py", "rules", "curves.py", "compat_curves.py", "tables.py", "cuda")


@cache
def digest() -> str:
    """Return a hash of all that shapes a cubin besides its name: sources, and versions of the compiler's parts."""
    key = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for package in ("numba", "numba-cuda", "llvmlite", "cuda-bindings"):
        key.update(importlib.metadata.version(package).encode())
    for part in importlib.metadata.distributions():
        name = part.metadata["Name"]
        if name.startswith(("nvidia-nvvm", "nvidia-cuda-nvcc", "nvidia-nvjitlink")):
            key.update(f"{name} {part.version}".encode())
    hash_sources(key, _SOURCES)
    return key.hexdigest()[:20]


_libraries: dict[Any, Any] = {}


def _loaded(name: str | None, cc: "tuple[int, int]", image: bytes) -> Any:
    """Return the handle of a cubin's only kernel, which is valid in any context."""
    if name is None or (name, cc) not in _libraries:
        library = _checked(driver.cuLibraryLoadData(image, [], [], 0, [], [], 0))
        (kernel,) = _checked(driver.cuLibraryEnumerateKernels(1, library))
        _libraries[name, cc] = library, driver.CUfunction(int(kernel))  # cuLaunchKernel takes either
    return _libraries[name, cc][1]
