"""The arithmetic of PTX on numpy arrays: one function an opcode, with the rounding and the NaN rules of the PTX manual.

Approximate instructions (rcp.approx, ex2.approx) are computed to the last bit: a kernel whose result depends on their
error is not checked by this.
"""

import math
from fractions import Fraction

import numpy as np

TYPES = {
    **{f"{letter}{8 * n}": np.dtype(f"{kind}{n}") for letter, kind in (("s", "i"), ("u", "u"), ("b", "u"))
       for n in (1, 2, 4, 8)},
    "f32": np.dtype("f4"), "f64": np.dtype("f8"), "pred": np.dtype(bool),
}  # fmt: skip
WIDE = {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}
ROUNDINGS = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}


def fma32(a, b, c):
    """Float32 a*b + c, rounded once: the float64 product is exact, and its sum with c is rounded to odd."""
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + c
    back = total - product
    rest = (product - (total - back)) + (c - back)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(rest > 0, np.inf, -np.inf))
    return np.where((rest != 0) & even & np.isfinite(total), odd, total).astype(np.float32)


def fma64(a, b, c):
    """Float64 a*b + c, rounded once, by exact fractions."""
    result = a * b + c
    for i in np.flatnonzero(np.isfinite(a) & np.isfinite(b) & np.isfinite(c)):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        if exact:  # else the sign of zero is that of the sum
            try:
                result[i] = float(exact)
            except OverflowError:
                result[i] = math.copysign(math.inf, exact)
    return result


def fma(a, b, c):
    return fma32(a, b, c) if a.dtype == np.float32 else fma64(a, b, c)


def divide(a, b):
    if a.dtype.kind == "f":
        return a / b
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where((a < 0) != (b < 0), -quotient, quotient) if a.dtype.kind == "i" else quotient


def shift_left(a, b):
    bits = 8 * a.dtype.itemsize
    return np.where(b < bits, a << np.minimum(b, bits - 1).astype(a.dtype), a.dtype.type(0))


def shift_right(a, b):
    bits = 8 * a.dtype.itemsize
    gone = a >> a.dtype.type(bits - 1) if a.dtype.kind == "i" else a.dtype.type(0)
    return np.where(b < bits, a >> np.minimum(b, bits - 1).astype(a.dtype), gone)


PURE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": divide,
    "rem": np.fmod,
    "fma": fma,
    "mad": lambda a, b, c: a * b + c,
    "neg": np.negative,
    "abs": np.abs,
    "min": lambda a, b: np.fmin(a, b) if a.dtype.kind == "f" else np.minimum(a, b),  # one NaN gives the other number
    "max": lambda a, b: np.fmax(a, b) if a.dtype.kind == "f" else np.maximum(a, b),
    "sqrt": np.sqrt,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "rcp": lambda a: 1 / a,
    "ex2": np.exp2,
    "lg2": np.log2,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "copysign": lambda a, b: np.copysign(b, a),
}
_ORDER = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
          "ne": np.not_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}  # fmt: skip


def compare(how, a, b):
    """setp: of floats the ordered form, or with a u behind it the one that is true for NaN."""
    if a.dtype.kind != "f":
        return _ORDER[how](a, b)
    unordered = np.isnan(a) | np.isnan(b)
    if how in ("num", "nan"):
        return unordered == (how == "nan")
    return _ORDER[how[:2]](a, b) | unordered if how.endswith("u") and len(how) == 3 else _ORDER[how](a, b) & ~unordered


def high_half(a, b):
    """Upper half of the bits of the product, by Python's integers."""
    return ((a.astype(object) * b.astype(object)) >> 8 * a.dtype.itemsize).astype(a.dtype)


def convert(x, to, modifiers):
    """cvt: to integers floats saturate, and NaN is zero; with .sat, floats are clamped to [0, 1], and NaN is zero."""
    rounding = next((ROUNDINGS[m] for m in modifiers if m in ROUNDINGS), None)
    if x.dtype.kind == "f" and rounding:
        x = rounding(x)
    if to.kind == "f" and "sat" in modifiers:
        return np.where(np.isnan(x), 0.0, np.clip(x, 0.0, 1.0)).astype(to)
    if x.dtype.kind != "f" or to.kind == "f":
        return x.astype(to)
    low, high = np.iinfo(to).min, np.iinfo(to).max
    inside = np.where(np.isnan(x) | (x <= low) | (x >= high), x.dtype.type(0), x).astype(to)
    return np.where(x <= low, low, np.where(x >= high, high, inside)).astype(to)


def flush(x):
    """What .ftz does to subnormal float32."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)
