"""torch's C interface for compiled code, by which a step asks its tensors for addresses and layouts.

torch.compile uses the same functions. They are tried on a few tensors first. Where they are missing, or are not what
they were in the versions that are known, a step asks in Python.
"""

import ctypes
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyfastlr.engines import host
from pyfastlr_kernels import tables
from pyfastlr_kernels.python_side import HEAD

_SYMBOLS = {"contiguous": "aoti_torch_is_contiguous"}
_FIELDS = ("data_ptr", "numel", "dtype", "layout", "contiguous", "dim", "strides")
_LIBRARY = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")


@cache
def functions() -> Any:
    """Table of the functions' addresses, None if this torch lacks one or the trial fails."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _LIBRARY))
        found = {name: getattr(library, _SYMBOLS.get(name, f"aoti_torch_get_{name}")) for name in _FIELDS}
        codes = {x: getattr(library, f"aoti_torch_dtype_{name}")() for x, name in _DTYPES.items()}
        strided = library.aoti_torch_layout_strided()
    except (AttributeError, OSError):
        return None
    if strided != 0 or not all(_is_right(found, codes, x) for x in _samples()):
        return None
    return np.array([tuple(ctypes.cast(x, ctypes.c_void_p).value or 0 for x in found.values())], _record())


_DTYPES = {getattr(torch, name): name for name in ("float32", "float64", "bfloat16", "float16")}


def _record() -> Any:
    return np.dtype([(name, np.int64) for name in _FIELDS])


def _samples() -> list[Any]:
    image = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    return [torch.zeros(3), torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.float64)), image, torch.zeros(())]


def _is_right(found: dict[str, Any], codes: dict[Any, int], x: Any) -> bool:
    """Whether the functions say what the tensor itself says."""
    if ctypes.c_int64.from_address(id(x) + HEAD).value != x._cdata:
        return False
    said = {}
    for name, function in found.items():
        result = ctypes.c_int64(0)
        if function(ctypes.c_void_p(id(x) + HEAD), ctypes.byref(result)) != 0:
            return False
        said[name] = result.value
    place = said.pop("strides")
    strides = (ctypes.c_int64 * x.ndim).from_address(place) if x.ndim else ()
    return tuple(strides) == x.stride() and said == {
        "data_ptr": x.data_ptr(), "numel": x.numel(), "dtype": codes[x.dtype], "layout": 0,
        "contiguous": int(x.is_contiguous()), "dim": x.ndim,
    }  # fmt: skip


@cache
def dtype_code(dtype: Any) -> int:
    """Torch's number for a dtype."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _LIBRARY))
    code: int = getattr(library, f"aoti_torch_dtype_{_DTYPES[dtype]}")()
    return code


@cache
def compiled(name: str, n_arguments: int) -> Any:
    """Compiled function of pyfastlr_kernels.cpu.objects."""
    address = host.load_code().object_addresses()[name]
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * n_arguments)(address)


def address(table: Any) -> int:
    """Address of a table, for these functions."""
    return tables.address(table)


def bound(name: str, *arguments: int) -> Any:
    """Compiled function with all its arguments."""
    return partial(compiled(name, len(arguments)), *arguments)
