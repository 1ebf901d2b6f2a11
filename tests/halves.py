"""Parameters of 16 bits as docs/low_precision.md describes them, in numpy: the bits that a step must store."""

import ml_dtypes
import numpy as np

from packing import MASK, follow

DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
PIECE = 1 << 16  # elements with words of one key


def words(seed, tensor, count, size):
    """32 random bits for each element of a parameter, in its update from this count."""
    key = follow(follow(follow(seed & MASK, 1) ^ (~tensor & MASK), 1), count)
    i = np.arange(size, dtype=np.uint32) % np.uint32(PIECE)
    own = [follow(key, k) for k in range(-(-size // PIECE))]
    low = np.repeat(np.array([k & 0xFFFFFFFF for k in own], np.uint32), PIECE)[:size]
    high = np.repeat(np.array([k >> 32 for k in own], np.uint32), PIECE)[:size]
    x = (i ^ low) + high
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def below(x, dtype):
    """The number of 16 bits at or below |x|, with the sign of x, and the next one away from zero. x is finite."""
    with np.errstate(over="ignore"):
        near = np.abs(x).astype(dtype)
    bits = near.view(np.uint16).astype(np.int64)
    bits -= near.astype(np.float64) > np.abs(x)
    sign = np.signbit(x).astype(np.int64) << 15
    return (bits | sign).astype(np.uint16).view(dtype), ((bits + 1) | sign).astype(np.uint16).view(dtype)


def at_random(x, dtype, random):
    """Float32 numbers rounded up if their distance from the lower neighbour exceeds the random part of the step."""
    low, high = below(x, dtype)
    if dtype == DTYPES["bfloat16"]:
        steps, up = 1 << 16, random >> np.uint32(16)
        lost = x.view(np.uint32) & np.uint32(0xFFFF)
    else:
        steps, up = 1 << 13, random >> np.uint32(19)
        a, wide = np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64))
        wide = np.where(np.isinf(wide), 65536.0, wide)
        lost = np.floor((np.abs(x).astype(np.float64) - a) / (wide - a) * steps)
    return np.where(lost.astype(np.int64) + up.astype(np.int64) >= steps, high, low)
