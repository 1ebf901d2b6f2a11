"""The C library has the Python driver's bits, for every optimizer; and refuses what is wrong before it writes."""

import ctypes

import numpy as np
import pytest
from c_library import BY_NAME, ERRORS, OK, Optimizer, at, compiler, config_type, library, span, tensor
from cases import CASES

import pyfastlr as flr

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
SIZES = (0, 1, 3, 7, 33)
DTYPES = ("float32", "float64")
RUNS = [(case, decay, dtype) for case in CASES for decay in (None, *case.row.decays) for dtype in DTYPES]


def run_id(run):
    case, decay, dtype = run
    return f"{case.name}-{decay or 'undecayed'}-{dtype}"


def options(decay):
    return {} if decay is None else {"decay": decay, "weight_decay": 0.03}


def c_optimizer(case, dtype, lr=None, **values):
    """The C optimizer of a case, without weight decay unless it is given."""
    values = {"weight_decay": 0.0, **case.kwargs, **values, "lr": case.lr if lr is None else lr}
    return Optimizer(case.cls, dtype, case.convention, **values)


def gradients(rng, sizes, dtype):
    """Gradients of many magnitudes, some of them zero."""
    made = {}
    for k, size in sizes.items():
        g = rng.standard_normal(size) * 10.0 ** rng.uniform(-7, 2, size)
        g[rng.random(size) < 0.1] = 0.0
        made[k] = g.astype(dtype)
    return made


def start(rng, dtype, sizes=SIZES):
    return {str(k): rng.standard_normal(size).astype(dtype) for k, size in enumerate(sizes)}


def states_of(opt, x, k):
    """Python's states of an array in the order of the C function; None for one that the configuration lacks."""
    return [opt.state[name][k] if name in opt.state else None for name in x.c.states]


def same_bits(a, b):
    return a.tobytes() == b.tobytes()


def check_equal(opt, p, x, q, state):
    for k in p:
        assert same_bits(p[k], q[k]), k
        for mine, theirs in zip(state[k], states_of(opt, x, k), strict=True):
            assert theirs is None or same_bits(mine, theirs), k


def compare(case, decay, dtype, sizes, updates, seed=0):
    """Step both, with a rate that changes, and compare every bit now and then."""
    rng = np.random.default_rng(seed)
    p = start(rng, dtype, sizes)
    q = {k: x.copy() for k, x in p.items()}
    opt, x = case.make(p, **options(decay)), c_optimizer(case, dtype, **options(decay))
    state = {k: x.state(a.size) for k, a in q.items()}
    for t in range(1, updates + 1):
        if case.row.lr != "start" and t % 9 == 0:
            opt.lr = rate = case.lr * float(rng.uniform(0.2, 1.5))
            x.set(lr=rate)
        g = gradients(rng, {k: a.size for k, a in q.items()}, dtype)
        opt.step(g)
        for k, a in q.items():
            assert x.step(t, a, g[k], state[k]) == OK
        x.next(t)
        if t % 100 == 0 or t < 4 or t == updates:
            check_equal(opt, p, x, q, state)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_the_drivers_bits_over_1000_updates(run):
    case, decay, dtype = run
    compare(case, decay, dtype, SIZES, 1000)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_the_drivers_bits_of_long_arrays(run):
    case, decay, dtype = run
    compare(case, decay, dtype, (4097,), 6, seed=1)
