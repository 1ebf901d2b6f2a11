"""Other objects' memory as an ndarray, never a copy: other libraries' arrays, and whatever has the buffer protocol."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device import on_device
from .halves import LENT

_FLOATS: dict[str, Any] = {"float": np.float32, "double": np.float64}  # by their names in C


def lent(x: Any) -> Any:
    """Memory of another library's object as an ndarray, or None. Not checked; raises that library's errors."""
    kind: Any = type(x)
    lend = _lender(kind)
    if lend is not None:
        return lend(x)
    return _of_buffer(x) if has_buffer(x) else None


def can_lend(x: Any) -> bool:
    """Whether the object is of a kind that lends its memory. The memory itself may still be refused."""
    kind: Any = type(x)
    return _lender(kind) is not None or has_buffer(x)


def has_buffer(x: Any) -> bool:
    """Whether the object has the buffer protocol, as ``array.array``, memoryviews and ctypes arrays do."""
    try:
        memoryview(x).release()
    except (BufferError, TypeError, ValueError):
        return False
    return True


@cache
def _lender(kind: Any) -> Callable[[Any], NDArray[Any] | None] | None:
    """Fastest way to get an ndarray over the memory of objects of that type. It gives None for CUDA memory."""
    if issubclass(kind, np.generic):
        return np.asarray
    module = kind.__module__.partition(".")[0]
    if module == "torch" and hasattr(kind, "numpy"):
        return _of_torch
    if module in ("jax", "jaxlib") and hasattr(kind, "__array__"):
        return _of_jax
    if hasattr(kind, "__dlpack_device__"):
        return _of_dlpack
    if module == "_cffi_backend" and "CData" in kind.__name__:
        return _of_cffi
    return (lambda x: None) if hasattr(kind, "__cuda_array_interface__") else None


def _of_torch(x: Any) -> NDArray[Any] | None:
    """Use DLPack, in 2 us. Tensor.numpy() takes 0.5 us, but then the tensor's storage can never be resized."""
    if not x.is_cpu:
        _check_on_cuda(x)
        return None
    if x.is_neg() or x.is_conj():
        raise TypeError("its values differ from those in its memory: pass x.resolve_neg().resolve_conj()")
    x = x.detach() if x.requires_grad else x
    if str(x.dtype) == "torch.bfloat16":  # numpy has no such dtype
        import torch

        return np.from_dlpack(x.view(torch.uint16)).view(LENT)
    return np.from_dlpack(x)


def _of_jax(x: Any) -> NDArray[Any] | None:
    """Get a JAX array on the CPU, read-only."""
    for device in x.devices():
        if device.platform != "cpu":
            _check_on_cuda(x)
            return None
    return np.asarray(x)


def _of_dlpack(x: Any) -> NDArray[Any] | None:
    if x.__dlpack_device__()[0] != 1:  # kDLCPU
        _check_on_cuda(x)
        return None
    return np.from_dlpack(x)


def _of_buffer(x: Any) -> NDArray[Any]:
    array = np.asarray(memoryview(x))
    if array.dtype.itemsize == 1:
        raise TypeError('it has bytes, not floats: pass memoryview(x).cast("f"), or "d" for float64')
    return array


def _of_cffi(x: Any) -> Any:
    """Get an array of float or double that cffi has made, with any number of dimensions. cffi lends only its bytes."""
    import _cffi_backend  # the object comes from this module

    cffi: Any = _cffi_backend
    kind = cffi.typeof(x)
    if kind.kind != "array":
        raise TypeError(f'{kind.cname!r} has no length: pass memoryview(ffi.buffer(x, bytes)).cast("f")')
    shape = [len(x)]
    while kind.item.kind == "array":
        kind = kind.item
        shape.append(kind.length)
    name = kind.item.cname
    if name not in _FLOATS:
        raise TypeError(f"its elements are {name}, not float or double")
    return np.frombuffer(cffi.buffer(x), _FLOATS[name]).reshape(shape)


def _check_on_cuda(x: Any) -> None:
    if not on_device(x):
        raise TypeError("it is neither in host memory nor on a CUDA device")


def place(x: Any) -> tuple[Any, ...] | None:
    """Key that changes when the memory of another library's object changes. None: request the memory again."""
    return (x.data_ptr(), x.shape, x.stride(), x.dtype) if hasattr(x, "data_ptr") else None


# --- For errors -------------------------------------------------------------------------------------------------------


def advice(x: Any) -> str:
    """What to do with an object that lends no memory, for the end of an error."""
    if hasattr(x, "to_numpy"):  # pandas, polars, Arrow
        return ": such columns may be shared or read-only; keep a copy and use it in your model: w = np.array(x)"
    return ""


def why_read_only(x: Any) -> str:
    """Why another library's memory is read-only, for an error."""
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack__"):
        return ""
    return " (its library lends it so; numpy also takes memory from DLPack before version 1 for read-only)"
