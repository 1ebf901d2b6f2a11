"""Numbers of 16 bits: bfloat16 and float16 arrays as memory, and conversions by numpy.

numpy has float16, and lacks bfloat16. Its arrays come with ml_dtypes' dtype, from a torch tensor, or as uint16, whose
meaning the user says (`uint16_as`).
"""

from typing import Any

import numpy as np

from pyfastlr_kernels import packing
from pyfastlr_kernels.packing import BFLOAT16

HALVES = ("bfloat16", "float16")
FLOAT16_DTYPE, UINT16 = np.dtype(np.float16), np.dtype(np.uint16)
#: bfloat16 that another library has lent, without ml_dtypes.
LENT = np.dtype([("bfloat16", np.uint16)])


def half_of(dtype: Any, uint16_as: str | None = None) -> str | None:
    """Return "bfloat16" or "float16", or None for any other dtype."""
    if dtype == FLOAT16_DTYPE:
        return "float16"
    if dtype == UINT16:
        return uint16_as
    return "bfloat16" if dtype.itemsize == 2 and (dtype.name == "bfloat16" or dtype.names == LENT.names) else None


def own_dtype(dtype: Any) -> Any:
    """Return the one object of a bfloat16 dtype that compiled code compares with; any other dtype as it is."""
    if dtype.names == LENT.names:
        return LENT
    return np.dtype(dtype.type) if dtype.itemsize == 2 and dtype.name == "bfloat16" else dtype


def numbers_of(x: Any, half: str) -> Any:
    """Return the float32 numbers of an array of 16 bits."""
    bits = x.view(np.uint16)
    return bits.view(np.float16).astype(np.float32) if half == "float16" else packing.unpack(bits, None, BFLOAT16)


def rounded(x: Any, half: str) -> Any:
    """Return the nearest numbers of 16 bits of float32 numbers, as uint16. A number that is too large is infinite."""
    if half != "float16":
        return packing.pack(x, BFLOAT16)[0]
    with np.errstate(over="ignore"):
        return x.astype(np.float16).view(np.uint16)
