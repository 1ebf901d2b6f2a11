"""What an array must be before a compiled function sees its address, and the errors where it is not."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._device import DeviceArray, on_device, view

Array = NDArray[Any]

DTYPES = ("float32", "float64")
LINE = 64  # bytes: a cache line, and the widest vector


def describe(x: object) -> str:
    """What came, for an error: ``float64[3, 4]`` for an array, the type's name for anything else."""
    if isinstance(x, np.ndarray):
        kind = "" if type(x) is np.ndarray else f"{type(x).__name__} of "
        return f"{kind}{shaped(x.dtype, x.shape)}"
    if isinstance(x, DeviceArray):
        return f"CUDA {shaped(x.dtype, x.shape)}"
    return "None" if x is None else type(x).__name__


def shaped(dtype: Any, shape: Sequence[int]) -> str:
    """``float32[3, 4]``."""
    return f"{np.dtype(dtype)}[{', '.join(map(str, shape))}]"


def aligned(size: int, dtype: Any) -> Array:
    """Zeros that start at a cache line."""
    dtype = np.dtype(np.dtype(dtype).name)  # numpy's own object, whatever a pickle brought
    raw = np.zeros(size * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def span(x: Array) -> tuple[int, int]:
    """First address of a contiguous array, and the one behind its last."""
    start = x.address if isinstance(x, DeviceArray) else x.ctypes.data
    return start, start + x.nbytes


def as_ndarray(x: Any, name: str, need: str) -> Any:
    """Return what the caller handed over as a plain ndarray or `DeviceArray`: itself or a view, never a copy."""
    if isinstance(x, np.ndarray):
        if type(x) is not np.ndarray and not isinstance(x, np.memmap):
            raise TypeError(
                f"`{name}` must be {need}, got {describe(x)}: what the subclass adds (a mask, units) would be ignored; "
                f"hand over a plain array"
            )
        plain = x if type(x) is np.ndarray else x.view(np.ndarray)
    elif isinstance(x, DeviceArray) or on_device(x):
        return view(x, name, need)
    elif hasattr(x, "__dlpack__") and not isinstance(x, np.generic):
        plain = _from_dlpack(x, name, need)
    else:
        raise TypeError(f"`{name}` must be {need}, got {describe(x)}")
    known = np.dtype(plain.dtype.name) if plain.dtype.name in DTYPES else plain.dtype
    if plain.dtype is not known and plain.dtype == known:
        return plain.view(known)  # numpy's one object for the dtype: an unpickled array may have its own
    return plain


def _from_dlpack(x: Any, name: str, need: str) -> Array:
    if x.__dlpack_device__()[0] != 1:  # kDLCPU
        raise TypeError(
            f"`{name}` must be {need} in host memory or on a CUDA device, got {type(x).__name__} on another device"
        )
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError) as problem:
        raise TypeError(
            f"`{name}` must be {need}, got {type(x).__name__} that cannot be shared: {problem}"
        ) from problem


def device_of(x: Any) -> Any:
    """CUDA device that an array is on, None for host memory."""
    return x.device if isinstance(x, DeviceArray) else None


def check_memory(x: Any, name: str, need: str, device: Any) -> None:
    """Refuse an array that is not where the parameters are: in host memory (None), or on that device."""
    if device_of(x) is not device:
        where = "in host memory" if device is None else f"on {device}"
        raise TypeError(f"`{name}` must be {need} {where} like the parameters, got {describe(x)} elsewhere")


def _check_layout(x: Array, name: str) -> None:
    if not x.dtype.isnative:
        raise ValueError(
            f"`{name}` must be in native byte order, got {x.dtype.str!r}; x.astype(x.dtype.newbyteorder('='))"
        )
    if not x.flags.c_contiguous:
        raise ValueError(
            f"`{name}` must be C-contiguous, got {describe(x)} with strides {x.strides} bytes; np.ascontiguousarray(x)"
        )
    if not x.flags.aligned:
        raise ValueError(f"`{name}` must be aligned to its {x.itemsize} bytes, got address {span(x)[0]:#x}; x.copy()")


def parameter(x: Any, name: str, dtype: Any = None) -> Any:
    """View of a parameter that can be updated in place."""
    need = f"a {dtype or ' or '.join(DTYPES)} ndarray"
    array = as_ndarray(x, name, need)
    if array.dtype.newbyteorder("=").name not in DTYPES or (
        dtype is not None and array.dtype.newbyteorder("=") != dtype
    ):
        also = " like the other parameters" if dtype is not None else ""
        raise TypeError(f"`{name}` must be {need}{also}, got {describe(array)}")
    _check_layout(array, name)
    if not array.flags.writeable:
        raise ValueError(f"`{name}` must be writeable, got a read-only {describe(array)}: it is updated in place")
    return array


def operand(x: Any, name: str, dtype: Any, shape: Sequence[int]) -> Any:
    """View of an array that a step reads: a gradient, a rate per element."""
    need = shaped(dtype, shape)
    array = as_ndarray(x, name, need)
    if array.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"`{name}` must be {need}, got {describe(array)}")
    if array.shape != tuple(shape):
        raise ValueError(f"`{name}` must be {need}, got {describe(array)}")
    _check_layout(array, name)
    return array


def check_disjoint(arrays: Sequence[Array], names: Sequence[str]) -> None:
    """Refuse arrays that share memory: each is updated on its own."""
    spans = sorted((*span(x), name) for x, name in zip(arrays, names, strict=True) if x.size)
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise ValueError(f"`{one}` and `{other}` must not overlap, got arrays that share memory")
