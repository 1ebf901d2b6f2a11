"""`Schedule.compiled`: the bits of the plain call, whatever LLVM knows about the parameters."""

import math
import random

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from pyfastlr import schedules as S
from test_schedules import EXAMPLES, Hyperbola

# Bases and exponents that LLVM has other functions for: exp2, exp10, a root, a product.
BASES, POWERS = [0.5, 2.0, 0.1, 10.0, 0.25, math.e, 0.9, 1.0], [0.5, 2.0, 1.0, 1.5, 3.0, 0.25, 4.0]
ADVERSARIAL = [
    *(S.Exponential(0.3, base, 10_007) for base in BASES),
    *(S.Exponential(0.3, base, 101, staircase=True) for base in BASES),
    *(S.Exponential(0.3, decay=decay) for decay in (1e-6, 0.5, 2.0, 0.0)),
    *(S.StepDecay(0.3, base, 11) for base in BASES if base <= 1),
    *(S.MultiStep(0.3, range(0, 20_000, 500), base) for base in BASES if base <= 1),
    *(S.Polynomial(0.3, 100_003, 0.01, power) for power in POWERS),
    *(S.Cyclic(0.01, 0.3, 37, mode="exp_range", gamma=base) for base in BASES if base <= 1),
    *(S.Cyclic(0.01, 0.3, 37, down, mode="triangular2") for down in (1, 53)),
    *(S.CosineRestarts(0.3, 17, mult, 0.5, 0.01) for mult in (1, 2, 3)),
    *(S.InverseTime(0.3, 0.01, power) for power in POWERS),
    *(S.Exponential(0.3, 0.9, steps, staircase=True) for steps in (2.4, 0.1, 101.5)),
    *(S.Cosine(0.3, 10_007.5, 0.01, k_decay) for k_decay in POWERS),
    *(S.Polynomial(0.3, 10_007, 0.01, 2.0, k_decay) for k_decay in POWERS),
    S.Tanh(0.3, 10_007), S.Tanh(0.3, 10_007, 0.01, -300.0, 300.0), S.REX(0.3, 10_007, 0.01),
    S.Noam(512, 4_000), S.Noam(1, 1), S.CosineRestarts(0.3, 900 / 7, 1, 1.001, 0.01),
    S.CosineRestarts(0.3, 17.5, 2, 0.5), *(S.Constant(0.3).warmup(1_009, 0.01, x) for x in ("log", "cosine", "1-sqrt")),
    S.Cosine(0.3, 10_007).advance(5_000).warmup(10),
    *(S.TimeDecay(0.3, decay) for decay in (0.0, 1e-300, 1e-9, 1e-5, 0.0625, 0.5, 2.0, 1e300)),
    *(S.WSD(0.3, 100, 1_000, 100_003, shape=shape) for shape in ("1-sqrt", "linear", "cosine", "1-square")),
    Hyperbola(0.3, 1_009),
    S.CosineRestarts(0.3, 2**40, 2**24 + 1),  # its next period, 2**64 + 2**40, overflows an int64
]  # fmt: skip
SCHEDULES = [s for s, _ in EXAMPLES] + ADVERSARIAL


def loop(rate):
    """Compiled loop over indices, with the schedule's code free to be inlined into it and moved out of it."""

    @njit
    def evaluate(n):
        out = np.empty(len(n))
        for i in range(len(n)):
            out[i] = rate(n[i])
        return out

    return evaluate


@pytest.mark.parametrize("s", SCHEDULES, ids=map(repr, SCHEDULES))
def test_same_bits(s):
    draw = random.Random(repr(s))
    n = np.array([*range(1_000), *(int(math.exp(draw.uniform(0, math.log(1e12)))) for _ in range(5_000))]
                 + [draw.randrange(110_000) for _ in range(5_000)]
                 + [2**k + draw.randrange(2**k) for k in range(40, 52)])  # fmt: skip
    values = np.fromiter(map(s.compiled, n.tolist()), np.float64)
    assert values.tobytes() == s(n).tobytes()


LOOPED = [S.Exponential(0.3, 2.0, 10_007), S.Polynomial(0.3, 20_000, 0.01, 0.5), S.Cosine(0.3, 999),
          S.TimeDecay(0.3, 1e-5), S.Linear(0.3, 0.1, 20_000)]  # fmt: skip


@pytest.mark.parametrize("s", LOOPED, ids=repr)
def test_same_bits_in_a_loop(s):
    n = np.arange(20_000)
    assert loop(s.compiled)(n).tobytes() == s(n).tobytes()


def test_without_hiding_the_parameters_the_bits_differ():
    """The reason for hiding parameters. If this fails, LLVM no longer rewrites powers and `opaque` can be removed."""
    plain = njit(lambda n: 0.3 * 2.0 ** (n / 10_007.0))
    assert any(plain(n) != 0.3 * 2.0 ** (n / 10_007.0) for n in range(20_000))


def test_a_constant_index_has_the_same_bits():
    """If the index is also known, LLVM evaluates a call itself."""
    for s in (S.Cosine(0.3, 100), S.Exponential(0.3, 0.9, 7), S.TimeDecay(0.3, 0.01)):
        rate = s.compiled
        assert njit(lambda rate=rate: rate(33))() == s(33)


def test_any_integer_is_an_index():
    s = S.Cosine(0.3, 100).warmup(10).then(S.StepDecay(0.1, 0.5, 7), at=90)
    evaluate = loop(s.compiled)
    for dtype in ("i1", "u1", "i4", "u4", "i8", "u8"):
        n = np.arange(127, dtype=dtype)
        assert evaluate(n).tobytes() == s(n).tobytes(), dtype


@pytest.mark.parametrize("n", [2.5, True, "5"])
def test_nothing_else_is_an_index(n):
    with pytest.raises(TypingError, match="the index of an update must be an integer"):
        S.Cosine(0.3, 100).compiled(n)


def test_made_once():
    s, same = S.Cosine(0.3, 100), S.Cosine(0.3, 100)
    assert s.compiled is s.compiled
    assert s == same
    assert hash(s) == hash(same)
    assert s.__reduce__()[0].keywords == dict(same.parameters)
