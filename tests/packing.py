"""Packed state as docs/low_precision.md describes it, in numpy: what compiled code must store, bit for bit."""

import numpy as np

MASK = (1 << 64) - 1
BLOCK, WORDS = 256, 1024
KINDS = {"bfloat16", "int8", "e4m4", "uint8"}


def finalized(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def follow(key, k):
    """Key number k that follows from a key."""
    return finalized((key + k * 0x9E3779B97F4A7C15) & MASK)


def words(seed, tensor, count, size):
    """32 random bits for each element of a tensor, in its update from this count."""
    first = follow(seed & MASK, 1)
    key = follow(follow(first ^ tensor, 1), count)
    i = np.arange(size, dtype=np.uint32)
    x = np.uint32(key & 0xFFFFFFFF) ^ (i % np.uint32(WORDS))
    x = x * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    x = x ^ (x >> np.uint32(16))
    own = [follow(key, k) for k in range(-(-size // WORDS))]
    low = np.repeat(np.array([k & 0xFFFFFFFF for k in own], np.uint32), WORDS)[:size]
    high = np.repeat(np.array([k >> 32 for k in own], np.uint32), WORDS)[:size]
    return (x + low) ^ high


def halves(word, slot):
    """16 of the bits, for the slot with that number."""
    if slot == 0:
        return word & np.uint32(0xFFFF)
    return (word if slot == 1 else word * np.uint32(0x9E3779B1)) >> np.uint32(16)


def packed(x, kind, random):
    """Codes and scales of finite float32 numbers, rounded by 16 random bits each."""
    x = x.reshape(-1)
    if kind == "bfloat16":
        return ((x.view(np.uint32) + random) >> np.uint32(16)).astype(np.uint16), None
    padded = np.zeros(-(-x.size // BLOCK) * BLOCK, np.float32)
    padded[: x.size] = np.abs(x)
    scales = padded.reshape(-1, BLOCK).max(1)
    wide = np.repeat(scales, BLOCK)[: x.size]
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = np.where(wide < np.float32(2.0**-64), np.float32(2.0**64), np.float32(1))
        part = (x * lift) * (np.float32(1) / (wide * lift))
    if kind == "e4m4":
        bits = part.view(np.uint32) + (random << np.uint32(3))
        codes = np.clip((bits >> np.uint32(19)).astype(np.int64) - (2032 - 255), 1, 255)
    else:
        steps, low = (127, -127) if kind == "int8" else (255, 1)
        fixed = np.trunc(part * np.float32(steps * 65536)).astype(np.int64)
        codes = np.clip((fixed + random) >> 16, low, steps)
    codes = np.where(wide > 0, codes, 1)
    return codes.astype(np.int8 if kind == "int8" else np.uint8), scales
