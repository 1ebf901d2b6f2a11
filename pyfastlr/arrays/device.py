"""Arrays in the memory of a CUDA device: views of the caller's arrays, and the arrays that hold state."""

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfastlr_kernels.compile.first_use import once

KDLCUDA, KDLCUDA_MANAGED = 2, 13  # device types of DLPack


class DeviceArray:
    """Contiguous memory on a device, with the ndarray attributes that the tables and checks need.

    CuPy, torch and numba can use it through `__cuda_array_interface__`. `copy` copies it to the host; an assignment
    copies a host array to it. Both wait for the device.
    """

    __slots__ = ("address", "device", "dtype", "flags", "owner", "shape", "size")

    def __init__(
        self, device: Any, address: int, dtype: Any, shape: Sequence[int], owner: Any, writeable: bool = True
    ) -> None:
        self.device, self.address, self.dtype, self.shape = device, address, np.dtype(dtype), tuple(shape)
        self.size, self.owner = int(np.prod(self.shape, dtype=np.int64)), owner
        aligned = address % self.dtype.itemsize == 0
        self.flags = SimpleNamespace(
            c_contiguous=True, aligned=aligned, writeable=writeable, carray=aligned and writeable
        )

    @property
    def nbytes(self) -> int:
        return self.size * int(self.dtype.itemsize)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        return int(self.dtype.itemsize)

    def reshape(self, *shape: Any) -> "DeviceArray":
        """View of the same memory with another shape. -1 means 1-D."""
        given = shape[0] if isinstance(shape[0], tuple) else shape
        new = (self.size,) if given == (-1,) else given
        return DeviceArray(self.device, self.address, self.dtype, new, self, self.flags.writeable)

    def __getitem__(self, part: slice) -> "DeviceArray":
        start, stop, _ = part.indices(self.size)
        place = self.address + start * self.itemsize
        return DeviceArray(self.device, place, self.dtype, (max(stop - start, 0),), self, self.flags.writeable)

    def __setitem__(self, _: Any, value: Any) -> None:
        if self.size:
            host = value.copy() if isinstance(value, DeviceArray) else value
            self.device.fill(self.address, np.ascontiguousarray(np.broadcast_to(host, self.shape), self.dtype))

    def copy(self) -> NDArray[Any]:
        """Copy to a host array, after all pending work on the device."""
        host = np.empty(self.shape, self.dtype)
        if self.size:
            self.device.read(self.address, host)
        return host

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "version": 3}

    def __reduce__(self) -> Any:
        return np.array, (self.copy(),)

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}{list(self.shape)} on {self.device})"


def allocate(device: Any, size: int, dtype: Any) -> DeviceArray:
    """Return zeros on the device."""
    memory = device.allocate(size * np.dtype(dtype).itemsize)
    array = DeviceArray(device, memory.address, dtype, (size,), memory)
    array[:] = 0.0
    return array


@once
def open_device(number: int) -> Any:
    """Device with that number. All optimizers and threads share one object."""
    from pyfastlr_kernels.cuda.device import Device

    return Device(number)


def device_of(address: int) -> Any:
    """Device that an address belongs to."""
    from pyfastlr_kernels.cuda import device

    return open_device(device.number_of(address))


def on_device(x: Any) -> bool:
    """Whether an object's memory is on a CUDA device."""
    if hasattr(x, "__dlpack_device__") and not isinstance(x, np.ndarray | np.generic):
        return x.__dlpack_device__()[0] in (KDLCUDA, KDLCUDA_MANAGED)
    return hasattr(type(x), "__cuda_array_interface__")


def view(x: Any, name: str, need: str) -> DeviceArray:
    """View of the caller's array on a device, never a copy."""
    if isinstance(x, DeviceArray):
        return x
    from pyfastlr_kernels import cuda

    if reason := cuda.missing():
        raise TypeError(f"`{name}` must be {need} in host memory, got a CUDA array: {reason}")
    x = x.detach() if getattr(x, "requires_grad", False) else x  # torch does not share memory that autograd tracks
    try:
        given = _interface(x)
    except (BufferError, RuntimeError, TypeError) as problem:
        raise TypeError(
            f"`{name}` must be {need}, got {type(x).__name__} whose memory cannot be shared: {problem}"
        ) from problem
    address, read_only = given["data"]
    dtype, shape = np.dtype(given["typestr"]), tuple(given["shape"])
    if given.get("mask") is not None:
        raise TypeError(f"`{name}` must be {need}, got {type(x).__name__} with a mask, which would be ignored")
    strides = given.get("strides")
    if strides is not None and tuple(strides) != _contiguous(shape, dtype.itemsize) and 0 not in shape:
        raise ValueError(
            f"`{name}` must be C-contiguous, got CUDA {dtype}{list(shape)} with strides {tuple(strides)} bytes"
        )
    if not address:
        raise ValueError(f"`{name}` must have elements on a device, got an empty CUDA {dtype}{list(shape)}")
    try:
        device = device_of(address)
    except RuntimeError as problem:  # no driver library, or no device visible to it
        raise TypeError(
            f"`{name}` must be {need} in host memory, got a CUDA array that no CUDA driver here recognizes; install "
            f"NVIDIA's driver for this system: {problem}"
        ) from problem
    return DeviceArray(device, address, dtype, shape, x, not read_only)


def _contiguous(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    return tuple(int(itemsize * np.prod(shape[k + 1 :], dtype=np.int64)) for k in range(len(shape)))


def _interface(x: Any) -> dict[str, Any]:
    """`__cuda_array_interface__`, or its equivalent for a DLPack object. Does not wait: the step runs in a stream."""
    if hasattr(x, "__cuda_array_interface__"):
        given: dict[str, Any] = x.__cuda_array_interface__
        return given
    from cuda.core.utils import StridedMemoryView

    lent = StridedMemoryView.from_dlpack(x, stream_ptr=-1)
    strides = None if lent.strides is None else tuple(s * lent.dtype.itemsize for s in lent.strides)
    return {"data": (lent.ptr, lent.readonly), "typestr": lent.dtype.str, "shape": lent.shape, "strides": strides}


def place(x: Any) -> tuple[Any, ...]:
    """Key that changes when the array's memory, shape or dtype changes. Takes a microsecond or less."""
    if hasattr(x, "data_ptr"):  # torch
        return x.data_ptr(), x.shape, x.dtype, x.stride()
    if hasattr(x, "data") and hasattr(x.data, "ptr"):  # CuPy
        return x.data.ptr, x.shape, x.dtype, x.strides
    given = _interface(x)
    return given["data"][0], given["shape"], given["typestr"], given.get("strides")


def stream_of(stream: Any, x: Any, number: int) -> int:
    """Handle of the caller's stream, or else of the current stream of the array's library."""
    if stream is None:
        owner = type(x).__module__.partition(".")[0]
        if owner == "torch":
            return int(sys.modules["torch"].cuda.current_stream(number).cuda_stream)
        if owner == "cupy":
            return int(sys.modules["cupy"].cuda.get_current_stream().ptr)
        return 0
    if hasattr(stream, "__cuda_stream__"):
        version_and_handle = stream.__cuda_stream__
        return int((version_and_handle() if callable(version_and_handle) else version_and_handle)[1])
    for name in ("cuda_stream", "ptr", "handle"):  # torch, CuPy, others
        if hasattr(stream, name):
            return int(getattr(stream, name))
    if isinstance(stream, int) and not isinstance(stream, bool):
        return stream
    raise TypeError(f"`stream` must be a CUDA stream or its handle, got {type(stream).__name__}")
