"""The order-fixed sum of squares in numpy, as its definition says it (pyfastlr_kernels/reduce.py)."""

import math

import numpy as np

UNIT, LANES = 1024, 16


@np.errstate(over="ignore")
def partial_sums(x, scale=1.0):
    """Partial sum of each block of a flat array."""
    out = []
    for start in range(0, x.size, UNIT):
        lanes = [0.0] * LANES
        for i, value in enumerate(x[start : start + UNIT].astype(np.float64)):
            lanes[i % LANES] += (value * scale) * (value * scale)
        total = lanes[0]
        for lane in lanes[1:]:
            total += lane
        out.append(total)
    return np.array(out, np.float64)


def sum_of_squares(tensors, scale=1.0):
    """Sum of the squares of flat arrays, block by block."""
    total = 0.0
    for x in tensors:
        for partial in partial_sums(x, scale):
            total += partial
    return float(total)


def norm(tensors):
    """Norm of flat arrays: from scaled elements if float64 squares overflow or lose bits."""
    total, scale = sum_of_squares(tensors), 1.0
    if tensors and tensors[0].dtype == np.float64 and (total == math.inf or total < 2.0**-968):
        scale = 2.0**-600 if total == math.inf else 2.0**600
        total = sum_of_squares(tensors, scale)
    return math.sqrt(total) / scale
