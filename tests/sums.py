"""The order-fixed sum of squares in numpy, as its definition says it (pyfastlr_kernels/reduce.py)."""

import math

import numpy as np

UNIT, LANES = 1024, 16


@np.errstate(over="ignore", invalid="ignore")
def partial_sums(x, scale=1.0):
    """Partial sum of each block of a flat array."""
    blocks = -(-x.size // UNIT)
    values = np.zeros((blocks, UNIT // LANES, LANES))  # the zeros behind the last element add nothing
    values.reshape(-1)[: x.size] = x
    values *= scale
    values *= values
    lanes = np.zeros((blocks, LANES))
    for k in range(UNIT // LANES):
        lanes += values[:, k]
    total = lanes[:, 0].copy()
    for k in range(1, LANES):
        total += lanes[:, k]
    return total


def sum_of_squares(tensors, scale=1.0):
    """Sum of the squares of flat arrays, block by block."""
    total = 0.0
    for x in tensors:
        for partial in partial_sums(x, scale).tolist():
            total += partial
    return total


def norm(tensors):
    """Norm of flat arrays: from scaled elements if float64 squares overflow or lose bits."""
    total, scale = sum_of_squares(tensors), 1.0
    if tensors and tensors[0].dtype == np.float64 and (total == math.inf or total < 2.0**-968):
        scale = 2.0**-600 if total == math.inf else 2.0**600
        total = sum_of_squares(tensors, scale)
    return math.sqrt(total) / scale
