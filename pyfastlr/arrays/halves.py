"""Numbers of 16 bits: bfloat16 and float16 arrays as memory, and conversions by numpy.

numpy has float16, and lacks bfloat16. Its arrays come with ml_dtypes' dtype, from a torch tensor, or as uint16, whose
meaning the user says (`uint16_as`).
"""

from typing import Any

import numpy as np

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


def numbers_of(x: Any, half: str) -> Any:
    """Return the float32 numbers of an array of 16 bits."""
    bits = x.view(np.uint16)
    if half == "float16":
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def rounded(x: Any, half: str) -> Any:
    """Return the nearest numbers of 16 bits of float32 numbers, as uint16. A number that is too large is infinite."""
    x = np.ascontiguousarray(x, np.float32)
    if half == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).view(np.uint16)
    bits = x.view(np.uint32)
    with np.errstate(over="ignore"):
        nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), (bits >> np.uint32(16)) | np.uint32(0x40), nearest).astype(np.uint16)
