"""The driver's API as device.py calls it, with the emulator for a device: each call is made as a real one would be.

What is checked is our side: the calls' order and arguments, that kernels get what their parameters say, contexts that
are given back, memory that is freed once. Cubins cannot be emulated, so an image is the PTX that it is linked from.
"""

import ctypes
from contextlib import contextmanager

import numpy as np
from cuda.bindings import driver as real

import emulated
from pyfastlr.arrays import device as device_arrays
from pyfastlr_kernels.cuda import device as driver_api

OK = real.CUresult.CUDA_SUCCESS
SIZES = {"u64": 8, "b64": 8, "s64": 8, "f64": 8, "u32": 4, "b32": 4, "s32": 4, "f32": 4}
DTYPES = {"f32": np.float32, "f64": np.float64}
CONTEXT = 0xC0


class Driver:
    """`cuda.bindings.driver`, as far as it is used."""

    CUresult, CUdevice_attribute, CUpointer_attribute = real.CUresult, real.CUdevice_attribute, real.CUpointer_attribute
    CUevent_flags, CUfunction = real.CUevent_flags, real.CUfunction

    def __init__(self):
        self.device = emulated.Device((9, 0), fused=False)
        self.contexts, self.pushes = [], 0
        self.allocated, self.host, self.events, self.kernels = {}, {}, {}, {}
        self.waits, self.launches, self.answer, self.behind = 0, [], OK, False

    def _new(self, table, value):
        handle = 0x1000 + 0x10 * (len(table) + 1)
        table[handle] = value
        return OK, handle

    def cuInit(self, flags):
        return (OK,)

    def cuGetErrorString(self, status):
        return OK, b"no luck"

    def cuPointerGetAttribute(self, attribute, address):
        assert attribute == self.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return OK, 0

    def cuDeviceGet(self, number):
        return OK, number

    def cuDevicePrimaryCtxRetain(self, device):
        return OK, CONTEXT

    def cuDeviceGetAttribute(self, which, device):
        names = self.CUdevice_attribute
        return OK, {
            names.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: 1,
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: 9,
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: 0,
        }[which]

    # --- Contexts ---------------------------------------------------------------------------------------------------

    def cuCtxGetCurrent(self):
        return OK, self.contexts[-1] if self.contexts else 0

    def cuCtxPushCurrent(self, context):
        self.contexts.append(context)
        self.pushes += 1
        return (OK,)

    def cuCtxPopCurrent(self):
        return OK, self.contexts.pop()

    def cuCtxSynchronize(self):
        self._in_context()
        self.waits += 1
        return (OK,)

    def _in_context(self):
        assert self.contexts[-1:] == [CONTEXT], "no current context"

    # --- Memory -----------------------------------------------------------------------------------------------------

    def cuMemAlloc(self, size):
        self._in_context()
        memory = np.zeros(size, np.uint8)
        address = self.device.map(memory)
        self.allocated[address] = memory
        return OK, address

    def cuMemFree(self, address):
        self._in_context()
        del self.allocated[address]
        return (OK,)

    def cuMemAllocHost(self, size):
        memory = np.zeros(size, np.uint8)
        self.host[memory.ctypes.data] = memory
        return OK, memory.ctypes.data

    def cuMemcpyHtoD(self, address, host, size):
        self._in_context()
        self.device.fill(address, np.frombuffer(ctypes.string_at(host, size), np.uint8))
        return (OK,)

    def cuMemcpyHtoDAsync(self, address, host, size, stream):
        assert any(start <= host and host + size <= start + x.size for start, x in self.host.items()), "pageable"
        return self.cuMemcpyHtoD(address, host, size)

    def cuMemcpyDtoH(self, host, address, size):
        self._in_context()
        content = np.empty(size, np.uint8)
        self.device.read(address, content)
        ctypes.memmove(host, content.ctypes.data, size)
        return (OK,)

    # --- Events: the device is behind until somebody waits for it --------------------------------------------------

    def cuEventCreate(self, flags):
        return self._new(self.events, False)

    def cuEventRecord(self, event, stream):
        self.events[event] = not self.behind
        return (OK,)

    def cuEventQuery(self, event):
        return (OK if self.events[event] else self.CUresult.CUDA_ERROR_NOT_READY,)

    def cuEventSynchronize(self, event):
        self.waits += 1
        self.events[event] = True
        return (OK,)

    # --- Kernels ----------------------------------------------------------------------------------------------------

    def cuLibraryLoadData(self, image, *options):
        return self._new(self.kernels, emulated._parsed(image.decode()))

    def cuLibraryEnumerateKernels(self, count, library):
        assert count == 1
        return OK, [library]

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, places, extra):
        self._in_context()
        assert (gy, gz, by, bz, shared, extra) == (1, 1, 1, 1, 0, 0)
        if self.answer != OK:
            return (self.answer,)
        kernel = self.kernels[int(function)]
        pointers = ctypes.cast(places, ctypes.POINTER(ctypes.c_void_p))
        values = []
        for k, (_, kind) in enumerate(kernel.entry.params):
            content = ctypes.string_at(pointers[k], SIZES[kind])
            values.append(np.frombuffer(content, DTYPES.get(kind, f"i{SIZES[kind]}"))[0])
        self.launches.append((stream, gx, bx))
        kernel.run(self.device.memory, values, gx, bx)
        return (OK,)


@contextmanager
def installed(monkeypatch):
    """Have device.py talk to a fake, its device 0 new."""
    fake = Driver()
    monkeypatch.setattr(driver_api, "driver", fake)
    monkeypatch.setattr(
        driver_api, "_image", lambda name, make, cc, bounds: emulated.ptx(name, make, bounds, cc, fused=False).encode()
    )
    monkeypatch.setattr(driver_api, "_libraries", {})
    device_arrays.open_device.forget()
    yield fake
    device_arrays.open_device.forget()
