"""State in fewer bytes: the formats, their random numbers, and packing and unpacking by numpy.

The compiled form is cpu/packed.py. It unpacks BLOCK elements at a time to float32, runs the rule's ordinary loop over
them, and packs them again. So no rule knows of it, and each block stays in the first-level cache.

- BFLOAT16: the upper half of a float32.
- SIGNED: an integer c from -127 to 127 and a scale per block, ``x = c * (scale / 127)``.
- E4M4: for second moments. A float without sign, with 4 bits of exponent and 4 of mantissa, from 1 to 255, times the
  scale: from ``scale / 58254`` to ``scale``, 3 to 6 % apart. Where it was 0, Adam's update would be the first moment
  divided by eps. A code for the root has the same range, but costs a root per element more.
- LINEAR: an integer c from 1 to 255, ``x = c * (scale / 255)``, for numbers that are not negative.

The scale is the block's largest absolute value. Rounding is stochastic: up with the probability with which the mean of
the result is x. So what is added to a moment is not lost where it is below half a step: with beta2 = 0.999, every
update changes a second moment by less than that. A block with an infinity or NaN has a NaN scale, so all of it is NaN.

The random numbers are a function of the seed, the tensor, its count and the element, so the bits depend on no thread,
chunk or earlier call.
"""

from typing import Any

import numpy as np

BLOCK = 256  # elements with one scale
NATIVE, BFLOAT16, SIGNED, E4M4, LINEAR, FLOAT16 = range(6)  # FLOAT16: not for state
CODES: dict[int, "np.dtype[Any]"] = {
    BFLOAT16: np.dtype(np.uint16),
    SIGNED: np.dtype(np.int8),
    E4M4: np.dtype(np.uint8),
    LINEAR: np.dtype(np.uint8),
}
STEPS = {SIGNED: np.float32(127), E4M4: np.float32(1), LINEAR: np.float32(255)}
SMALLEST = 4096  # elements: smaller arrays stay in float32 with "int8", their bytes do not matter

E4M4_SHIFT, E4M4_FIRST = 19, (0x3F800000 >> 19) - 255  # code 255 is 1.0

_MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """Mix 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def tensor_key(seed: int, index: int) -> int:
    """Return the key of a tensor's random numbers, as an int64."""
    key = mix(mix(seed & _MASK) ^ index)
    return key - (1 << 64) if key >> 63 else key


def blocks(size: int) -> int:
    """Return the number of blocks of so many elements."""
    return -(-size // BLOCK)


def unpack(codes: Any, scales: Any, kind: int) -> Any:
    """Return the float32 numbers of an array of codes, with its shape. The bits are those of the compiled code."""
    flat = codes.reshape(-1)
    if kind == BFLOAT16:
        return (flat.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(codes.shape)
    steps = np.repeat(scales * (np.float32(1) / STEPS[kind]), BLOCK)[: flat.size]
    if kind == E4M4:
        numbers = ((flat.astype(np.uint32) + np.uint32(E4M4_FIRST)) << np.uint32(E4M4_SHIFT)).view(np.float32)
    else:
        numbers = flat.astype(np.float32)
    with np.errstate(invalid="ignore"):
        return (numbers * steps).reshape(codes.shape)


def pack(x: Any, kind: int) -> tuple[Any, Any]:
    """Return the codes and scales of float32 numbers, rounded to nearest. Scales are None for bfloat16."""
    x = np.asarray(x, np.float32)
    flat = np.ascontiguousarray(x.reshape(-1))
    if kind == BFLOAT16:
        bits = flat.view(np.uint32)
        with np.errstate(over="ignore"):
            rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        codes = np.where(np.isnan(flat), (bits >> np.uint32(16)) | np.uint32(0x40), rounded)
        return codes.astype(np.uint16).reshape(x.shape), None
    padded = np.zeros(blocks(flat.size) * BLOCK, np.float32)
    padded[: flat.size] = np.abs(flat)
    scales = padded.reshape(-1, BLOCK).max(axis=1, initial=0)
    scales[~np.isfinite(scales)] = np.nan
    wide = np.repeat(scales.astype(np.float64), BLOCK)[: flat.size]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.nan_to_num(np.where(wide > 0, flat / wide, 0.0))
    if kind == SIGNED:
        codes = np.rint(part * 127)
    elif kind == LINEAR:
        codes = np.clip(np.rint(part * 255), 1, 255)
    else:
        half = 1 << (E4M4_SHIFT - 1)
        bits = (part.astype(np.float32).view(np.uint32) + np.uint32(half)) >> np.uint32(E4M4_SHIFT)
        codes = np.clip(bits.astype(np.int64) - E4M4_FIRST, 1, 255)
    return codes.astype(CODES[kind]).reshape(x.shape), scales
