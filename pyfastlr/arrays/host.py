"""Checks of arrays before compiled code sees their addresses, with the errors for invalid ones."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .device import DeviceArray, view
from .halves import HALVES, LENT, half_of, own_dtype
from .lenders import advice, can_lend, lent, why_read_only
from .tree import type_name

Array = NDArray[Any]

DTYPES = ("float32", "float64")
LINE = 64  # bytes: a cache line, and the widest vector
_FLOATS = tuple(np.dtype(name) for name in DTYPES)
_KNOWN_FLOATS = {dtype.char: dtype for dtype in _FLOATS}  # numpy's one object for each
# and of those of 16 bits, which some arguments may have
_KNOWN = {**_KNOWN_FLOATS, **{dtype.char: dtype for dtype in (np.dtype(np.float16), np.dtype(np.uint16))}}


def describe(x: object) -> str:
    """Describe an argument in an error: ``float64[3, 4]`` for an array, the type's name for anything else."""
    if isinstance(x, np.ndarray):
        kind = "" if type(x) is np.ndarray else f"{type(x).__name__} of "
        return f"{kind}{shaped(x.dtype, x.shape)}"
    if isinstance(x, DeviceArray):
        return f"CUDA {shaped(x.dtype, x.shape)}"
    return type_name(x)


def shaped(dtype: Any, shape: Sequence[int]) -> str:
    """``float32[3, 4]``, or ``0-dimensional float32``."""
    dtype = np.dtype(dtype)
    name = "bfloat16" if dtype.names == LENT.names else dtype
    return f"{name}[{', '.join(map(str, shape))}]" if len(shape) else f"0-dimensional {name}"


def aligned(size: int, dtype: Any) -> Array:
    """Return zeros that start at a cache line."""
    dtype = np.dtype(np.dtype(dtype).name)  # numpy's own object, not a copy from a pickle
    raw = np.zeros(size * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def address(x: Any) -> int:
    """Address of an array's first element."""
    start: int = x.address if isinstance(x, DeviceArray) else x.__array_interface__["data"][0]
    return start


def address_range(x: Any) -> tuple[int, int]:
    """First address of a contiguous array, and the address after its end."""
    start = address(x)
    return start, start + x.nbytes


class Watched(NamedTuple):
    """An array whose record each step checks, with what the record was when the array's memory was taken."""

    array: Any
    address: int
    shape: tuple[int, ...]
    dtype: Any


def watch(x: Any) -> Watched:
    """Record of an array now."""
    return Watched(x, address(x), x.shape, x.dtype)


# --- From the caller's object to an ndarray ---------------------------------------------------------------------------


def is_native(x: Any) -> bool:
    """Whether compiled code can read the object's own record: it is an ndarray, or a memmap, which adds no data."""
    return type(x) is np.ndarray or isinstance(x, np.memmap)


def as_ndarray(x: Any, name: str, need: str) -> Any:
    """Return the caller's object as a plain ndarray or `DeviceArray`: itself or a view, never a copy."""
    if isinstance(x, np.ndarray):
        if not is_native(x):
            raise TypeError(
                f"`{name}` must be {need}, got {describe(x)}: what the subclass adds (a mask, units) would be ignored; "
                f"pass a plain array"
            )
        plain = x if type(x) is np.ndarray else x.view(np.ndarray)
    elif isinstance(x, DeviceArray):
        return x
    else:
        plain = _lent(x, name, need)
        if isinstance(plain, DeviceArray):
            return plain
    known = _KNOWN.get(plain.dtype.char)
    if known is not None and plain.dtype is not known and plain.dtype == known:
        return plain.view(known)  # an unpickled array may have its own dtype object
    if plain.dtype.kind == "V" and plain.dtype is not own_dtype(plain.dtype) and plain.dtype.isnative:
        return plain.view(own_dtype(plain.dtype))
    return plain


def _lent(x: Any, name: str, need: str) -> Any:
    """Memory of another library's array as an ndarray or a `DeviceArray`."""
    if not can_lend(x):
        raise TypeError(f"`{name}` must be {need}, got {describe(x)}{advice(x)}")
    try:
        plain = lent(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as problem:
        raise TypeError(
            f"`{name}` must be {need}, got {type(x).__name__} whose memory cannot be shared: {problem}"
        ) from problem
    return view(x, name, need) if plain is None else plain


def device_of(x: Any) -> Any:
    """CUDA device of an array, None for host memory."""
    return x.device if isinstance(x, DeviceArray) else None


def check_memory(x: Any, name: str, need: str, device: Any) -> None:
    """Refuse an array that is not where the parameters are: in host memory (None) or on that device."""
    if device_of(x) is not device:
        where = "in host memory" if device is None else f"on {device}"
        raise TypeError(f"`{name}` must be {need} {where} like the parameters, got {describe(x)} elsewhere")


# --- Checks -----------------------------------------------------------------------------------------------------------


def _check_layout(x: Any, name: str, keep: bool) -> None:
    """Refuse an array that is not native, contiguous and aligned. `keep`: the user must keep the converted copy."""

    def advice(call: str) -> str:
        if keep:
            return f"; it is updated in place, so keep the copy and use it in your model: w = {call.format('w')}"
        return f"; pass {call.format('x')}"

    if not x.dtype.isnative:
        call = advice("{0}.astype({0}.dtype.newbyteorder('='))")
        raise ValueError(f"`{name}` must be in native byte order, got {x.dtype.str!r}{call}")
    if not x.flags.c_contiguous:
        call = advice("np.ascontiguousarray({0})")
        raise ValueError(f"`{name}` must be C-contiguous, got {describe(x)} with strides {x.strides} bytes{call}")
    if not x.flags.aligned:
        call = advice("{0}.copy()")
        raise ValueError(f"`{name}` must be aligned to its {x.itemsize} bytes, got address {address(x):#x}{call}")


def parameter(x: Any, name: str, dtype: Any = None, halves: "Halves | None" = None) -> Any:
    """Return a view of a parameter that can be updated in place, or raise the error.

    It has `dtype`, if given; else float32, float64, or with `halves` a dtype of 16 bits.
    """
    if type(x) is np.ndarray and x.dtype is (dtype or _KNOWN_FLOATS.get(x.dtype.char)) and x.flags.carray:
        return x  # the common case
    known = DTYPES if halves is None else (*DTYPES, *HALVES)
    half = None if dtype is None or halves is None else halves.of(dtype)
    need = f"a {half or dtype or ', '.join(known[:-1]) + ' or ' + known[-1]} ndarray"
    if getattr(x, "requires_grad", False) and hasattr(x, "detach"):
        raise TypeError(
            f"`{name}` must be {need}, got {type(x).__name__} that requires gradients: pass `x.detach()`, which shares "
            f"its memory (autograd does not see the updates)"
        )
    if isinstance(x, np.generic):
        raise TypeError(
            f"`{name}` must be {need}, got the numpy scalar {type(x).__name__}; it cannot be updated in place, so use "
            f"an array in your model: w = np.array(w)"
        )
    array = as_ndarray(x, name, need)
    native = array.dtype.newbyteorder("=")
    is_half = halves is not None and isinstance(array, np.ndarray) and halves.of(native) is not None
    same = dtype is None or native == dtype or (half is not None and halves is not None and halves.of(native) == half)
    if not (native.name in DTYPES or is_half) or not same:
        also = " like the other parameters" if dtype is not None else ""
        wanted = half or dtype or "float32"
        fix = (
            f"; keep a converted copy and use it in your model: w = w.astype({_in_code(wanted)})"
            if native.kind in "fiu"
            else ""
        )
        if halves is not None and native == np.uint16:
            fix = '; if its numbers are of 16 bits, pass uint16_as="bfloat16" or "float16"'
        raise TypeError(f"`{name}` must be {need}{also}, got {describe(array)}{fix}")
    _check_layout(array, name, keep=True)
    if not array.flags.writeable:
        raise ValueError(
            f"`{name}` must be writeable, got a read-only {describe(x)}{why_read_only(x)}"
            f"; it is updated in place, so keep a copy and use it in your model: w = np.array(w)"
        )
    if _is_copy(array, x, name, need):
        raise TypeError(
            f"`{name}` must be {need}, got {describe(x)} that gives a copy of its memory at each request"
            f"; it is updated in place, so use an array in your model: w = np.array(w)"
        )
    return array


class Halves(NamedTuple):
    """That numbers of 16 bits are allowed, and what uint16 arrays have."""

    uint16_as: str | None = None

    def of(self, dtype: Any) -> str | None:
        """Return "bfloat16" or "float16", None for any other dtype."""
        return half_of(dtype, self.uint16_as)


BITS = Halves("bfloat16")  # for arrays that are only copied


def _in_code(dtype: Any) -> str:
    """Return a dtype as one writes it."""
    return f"{'ml_dtypes' if str(dtype) == 'bfloat16' else 'np'}.{dtype}"


def _is_copy(array: Any, x: Any, name: str, need: str) -> bool:
    """Whether another library's object gives other memory at each request. `array` came from the first one."""
    if isinstance(x, np.ndarray) or not isinstance(array, np.ndarray) or not array.size:
        return False
    return address(as_ndarray(x, name, need)) != address(array)


def operand(x: Any, name: str, dtype: Any, shape: Sequence[int]) -> Any:
    """Return a view of an array that a step reads (a gradient, or per-element rates), or raise the error."""
    need = shaped(dtype, shape)
    if isinstance(x, np.generic) and len(shape):
        raise TypeError(f"`{name}` must be {need}, got {describe(x)}")
    array = as_ndarray(x, name, need)
    native = array.dtype.newbyteorder("=")
    if native != dtype:
        fits = native.kind in "fiu" and array.shape == tuple(shape)
        fix = f"; pass x.astype({_in_code('bfloat16' if dtype == LENT else np.dtype(dtype))})" if fits else ""
        raise TypeError(f"`{name}` must be {need}, got {describe(array)}{fix}")
    if array.shape != tuple(shape):
        raise ValueError(f"`{name}` must be {need}, got {describe(array)}")
    _check_layout(array, name, keep=False)
    return array


def target(x: Any, name: str, dtype: Any, shape: Sequence[int], halves: Halves | None = None) -> Any:
    """Return a view of an array besides the parameters that a step writes, or raise the error.

    It has `dtype`, or with `halves` one of 16 bits.
    """
    need = f"a {dtype} ndarray like the parameters" if halves is None else f"a {dtype}, bfloat16 or float16 ndarray"
    array = as_ndarray(x, name, need)
    native = array.dtype.newbyteorder("=")
    if halves is not None and isinstance(array, np.ndarray) and halves.of(native) is not None:
        dtype = native
    if native != dtype:  # the advice of `parameter` is for arrays of the user's model
        what = '; if its numbers are of 16 bits, pass uint16_as="bfloat16" or "float16"'
        fix = what if halves is not None and native == np.uint16 else ""
        raise TypeError(f"`{name}` must be {need}, got {describe(array)}{fix}")
    array = parameter(x, name, dtype, halves)
    if array.shape != tuple(shape):
        raise ValueError(f"`{name}` must be {shaped(dtype, shape)}, got {describe(array)}")
    return array


def check_disjoint(arrays: Sequence[Any], starts: Sequence[int], names: Sequence[str]) -> None:
    """Refuse arrays that share memory, because each is updated separately. `starts` are their addresses."""
    ranges = sorted(
        (start, start + x.nbytes, k) for k, (x, start) in enumerate(zip(arrays, starts, strict=True)) if x.size
    )
    for (_, end, one), (start, _, other) in pairwise(ranges):
        if start < end:
            raise ValueError(f"`{names[one]}` and `{names[other]}` must not overlap, got arrays that share memory")
