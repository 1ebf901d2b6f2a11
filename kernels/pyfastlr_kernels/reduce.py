"""The sum of squares of many tensors in one fixed order, the norm that it gives, and the factors that clip a norm.

The order depends on nothing but the tensors' sizes. Each block of UNIT elements of a tensor, counted from its first
element, has LANES float64 sums: element i is converted to float64, squared and added to sum i % LANES, in ascending
order. The block's partial sum adds its lanes in ascending order. The total adds the partial sums, block by block and
tensor by tensor, to 0. Each conversion, product and sum is rounded on its own, without fused multiply-add. So any
number of threads, any chunks, any instruction set and the CUDA kernel (cuda/reduce.py) give the same bits.

Squares of float32 numbers neither overflow nor underflow in float64. Squares of float64 numbers may. If the total is
infinite, or so small that squares may have lost bits, the sum is made again with each element first multiplied by a
power of two (`scale_for`), and the norm is the root of that total divided by that power. So the norm of finite elements
is infinite only if it is above the largest float64.

An infinite element makes an infinite norm, and NaN anywhere makes a NaN norm. Which NaN it is, is not specified.

This file has plain functions, which Python and compiled code (cpu/reduce.py, njit_norms.py) share.
"""

import math

from .tables import UNIT as UNIT

LANES = 16  # two vector registers of AVX-512, four of AVX, eight of NEON: enough independent additions for each

# The square of 2**512 overflows, and a square below 2**-1022 has fewer bits. With up to 2**54 elements of 2**-54 times
# that each, a total of at least SMALL has lost nothing that changes its last bit.
SMALL, SCALE = 2.0**-968, 2.0**600
INFINITY = math.inf


def scale_for(total):
    """Return the power of two by which elements are multiplied for another sum; 1 if this total of squares is good."""
    if total == INFINITY:
        return 1.0 / SCALE
    return SCALE if total < SMALL else 1.0  # a NaN total remains


def norm_of(total, scale, factor=1.0):
    """Return the norm from a sum of squares of scaled elements, times a factor.

    The factor comes first: it may make a finite norm of one that is above the largest float64.
    """
    return math.sqrt(total) * factor / scale


# --- Clipping: the factor for gradients of this norm. NaN must not become 1, which would switch clipping off. ---------


def torch_factor(norm, max_norm):
    """min(1, max_norm / (norm + 1e-6)): 0 for an infinite norm, NaN for NaN."""
    factor = max_norm / (norm + 1e-6)
    return 1.0 if factor > 1.0 or max_norm == INFINITY else factor


def optax_factor(norm, max_norm):
    """max_norm / max(norm, max_norm): 0 for an infinite norm, NaN for NaN."""
    return 1.0 if norm < max_norm or max_norm == INFINITY else max_norm / norm


def keras_factor(norm, max_norm):
    """As optax_factor, but NaN for an infinite norm too."""
    return 1.0 if norm < max_norm or max_norm == INFINITY else max_norm / norm + (norm - norm)


FACTORS = {"torch": torch_factor, "keras": keras_factor, "optax": optax_factor}
