"""Kernels with one fault each, and one without: what the checks of test_broken.py must tell apart.

Each doubles n float32 numbers of p, as ``kernel(p, n)``, in lines of four.
"""

import numpy as np

from pyfastlr_kernels.cuda import compiler
from pyfastlr_kernels.cuda.compiler import cuda, types

if compiler.SIMULATED:
    from pyfastlr_kernels.cuda.simulated_memory import load, load_line, store, store_line
else:
    from pyfastlr_kernels.cuda.memory import load, load_line, store, store_line

ZERO = np.float32(0)
SIGNATURE = types.void(types.int64, types.int64) if not compiler.SIMULATED else None


def sound(p, n):
    i = 4 * cuda.threadIdx.x
    while i + 4 <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        store_line(p + 4 * i, (a + a, b + b, c + c, d + d))
        i += 512


def misaligned(p, n):
    i = 4 * cuda.threadIdx.x + 1
    while i + 4 <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        store_line(p + 4 * i, (a + a, b + b, c + c, d + d))
        i += 512


def past_the_end(p, n):
    i = 4 * cuda.threadIdx.x
    while i <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        store_line(p + 4 * i, (a + a, b + b, c + c, d + d))
        i += 512


def promoted(p, n):
    i = 4 * cuda.threadIdx.x
    while i + 4 <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        store_line(p + 4 * i, (np.float32(2.1 * a), np.float32(2.1 * b), np.float32(2.1 * c), np.float32(2.1 * d)))
        i += 512


def racing(p, n):
    i = 4 * (cuda.threadIdx.x // 2)
    while i + 4 <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        store_line(p + 4 * i, (a + a, b + b, c + c, d + d))
        i += 256


def one_by_one(p, n):
    i = cuda.threadIdx.x
    while i < n:
        a = load(p + 4 * i, ZERO)
        store(p + 4 * i, a + a)
        i += 128


def reading_twice(p, n):
    i = 4 * cuda.threadIdx.x
    while i + 4 <= n:
        a, b, c, d = load_line(p + 4 * i, ZERO)
        e, f, g, h = load_line(p + 4 * (n - 4 - i), ZERO)
        store_line(p + 4 * i, (a + e, b + f, c + g, d + h))
        i += 512
