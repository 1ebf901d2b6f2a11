"""Properties of every optimizer for any numbers: hypothesis draws the sizes, numpy the numbers from a seed.

"The same bits" are those of parameters and states; every NaN counts as the same.

Each run draws the same few examples, with different numbers for each optimizer. Some examples are explicit, because
only large arrays have chunks in several threads. PYFASTLR_EXAMPLES=500 draws that many, different in each run.
"""

import copy
import os
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pyfastlr as flr
from cases import CASES
from pyfastlr import schedules as S

ASKED = os.environ.get("PYFASTLR_EXAMPLES")
few = settings(max_examples=int(ASKED or 12), deadline=None, derandomize=not ASKED)  # compiling takes any time

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
dtypes = st.sampled_from([np.float32, np.float64])
seeds = st.integers(0, 2**32 - 1)
# Around a vector, a block of 1,024 elements, a chunk of 16,384, and 1 MiB to move, from which threads share the work.
lengths = st.integers(0, 40) | st.sampled_from([1_023, 1_024, 1_025, 4_097, 16_385, 90_001])
SCHEDULE = S.Cosine(1e-2, steps=9).warmup(3, start=1e-3)
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-39, 1e30]


def generator(case, seed):
    """Different numbers for each optimizer, because the drawn examples are the same for all."""
    return np.random.default_rng([seed, *case.name.encode()])


def numbers(rng, sizes, dtype, special=True):
    """An array of each size, with magnitudes from 1e-8 to 100, both signs and some special numbers."""
    arrays = [rng.standard_normal(n) * 10.0 ** rng.uniform(-8, 2, n) for n in sizes]
    if special:
        arrays = [np.where(rng.random(x.size) < 0.02, rng.choice(SPECIAL, x.size), x) for x in arrays]
    return [x.astype(dtype) for x in arrays]


def bits(arrays):
    return [np.where(np.isnan(x), np.nan, x).tobytes() for x in arrays]


def leaves(tree):
    """Arrays of a structure of parameters or states, flattened."""
    if isinstance(tree, dict):
        return [x for branch in tree.values() for x in leaves(branch)]
    if isinstance(tree, list):
        return [x for branch in tree for x in leaves(branch)]
    return [np.ravel(tree.buffer if isinstance(tree, flr.Flat) else tree)]


def whole(opt, params):
    """Bits of the parameters and of every state, each as one array."""
    return bits([np.concatenate(leaves(tree)) for tree in (params, *opt.state.values())])


def trained(case, params, gradients, **options):
    opt = case.make(params, case.schedule(SCHEDULE), weight_decay=0.1, **options)
    for g in gradients:
        opt.step(g)
    return whole(opt, params)


@each_case
@few
@example(sizes=[90_001, 0, 16_385, 1], dtype=np.float32, threads=3, seed=0)
@example(sizes=[16_384, 1_025, 90_001], dtype=np.float64, threads=2, seed=1)
@given(sizes=st.lists(lengths, min_size=1, max_size=4), dtype=dtypes, threads=st.sampled_from([1, 2, 3, 5]), seed=seeds)
def test_layout_and_threads_do_not_change_a_bit(case, sizes, dtype, threads, seed):
    """step(concat) == concat(steps): one buffer, a list, a nested dict, a Flat, n dimensions; any number of threads."""
    rng = generator(case, seed)
    start, *gradients = (numbers(rng, sizes, dtype) for _ in range(4))

    def as_dict(arrays):
        return {"layer": {str(i): x.reshape(1, -1, 1) for i, x in enumerate(arrays)}}

    parts = [x.copy() for x in start]
    opts = [case.make(p, case.schedule(SCHEDULE), weight_decay=0.1, threads=1) for p in parts]
    for g in gradients:
        for opt, x in zip(opts, g, strict=True):
            opt.step(x)
    want = bits([np.concatenate(parts)] + [np.concatenate([opt.state[name] for opt in opts]) for name in case.state])

    flat = flr.Flat(as_dict(start))
    assert trained(case, np.concatenate(start), [np.concatenate(g) for g in gradients], threads=threads) == want
    assert trained(case, [x.copy() for x in start], gradients, threads=threads) == want
    assert trained(case, as_dict([x.copy() for x in start]), [as_dict(g) for g in gradients], threads=threads) == want
    assert trained(case, flat, [np.concatenate(g) for g in gradients], threads=threads) == want


@each_case
@few
@example(n=90_001, dtype=np.float32, seed=0)
@given(n=lengths, dtype=dtypes, seed=seeds)
def test_permuted_elements_give_permuted_results(case, n, dtype, seed):
    rng = generator(case, seed)
    (start,), (g,), (h,) = (numbers(rng, [n], dtype) for _ in range(3))
    order = rng.permutation(n)
    straight, permuted = start.copy(), start[order]
    opt, other = (case.make(p, case.schedule(SCHEDULE), weight_decay=0.1) for p in (straight, permuted))
    for x in (g, h):
        opt.step(x)
        other.step(x[order])
    assert bits([straight[order], *(x[order] for x in opt.state.values())]) == bits([permuted, *other.state.values()])


def by_state_dict(case, params, opt, through=copy.copy):
    params, saved = [p.copy() for p in params], through(opt.state_dict())

    def restore():
        fresh = case.make(params, case.schedule(SCHEDULE), weight_decay=0.1)
        fresh.load_state_dict(saved)
        return params, fresh

    return restore


def by_pickled_state_dict(case, params, opt):
    return by_state_dict(case, params, opt, lambda state: pickle.loads(pickle.dumps(state)))


def by_pickle(case, params, opt):
    data = pickle.dumps((params, opt))
    return lambda: pickle.loads(data)


def by_deepcopy(case, params, opt):
    twin = copy.deepcopy((params, opt))
    return lambda: twin


@pytest.mark.parametrize("saved", [by_state_dict, by_pickled_state_dict, by_pickle, by_deepcopy])
@each_case
@few
@example(steps=9, at=4, dtype=np.float32, seed=0)
@given(steps=st.integers(1, 9), at=st.integers(0, 9), dtype=dtypes, seed=seeds)
def test_resuming_at_any_step_equals_the_uninterrupted_run(case, saved, steps, at, dtype, seed):
    """The schedule and each tensor's count continue, and the saved state does not change as the first run continues."""
    rng = generator(case, seed)
    params, *gradients = (numbers(rng, [5, 0, 33], dtype) for _ in range(steps + 1))
    for g in gradients:
        g[2] = None if rng.random() < 0.3 else g[2]
    rate = case.schedule(SCHEDULE)
    opt = case.make(params, rate, weight_decay=0.1)
    at = min(at, steps - 1)
    for g in gradients[:at]:
        opt.step(g)
    restore, before = saved(case, params, opt), whole(opt, params)
    for g in gradients[at:]:
        opt.step(g)
    twin_params, twin = restore()
    assert whole(twin, twin_params) == before
    for k, g in enumerate(gradients[at:], start=at):
        assert (twin.steps, twin.lr) == (k, rate(k) if callable(rate) else rate)
        twin.step(g)
    assert whole(twin, twin_params) == whole(opt, params)
    assert (twin.steps, twin.lr) == (opt.steps, opt.lr) == (steps, rate(steps) if callable(rate) else rate)


@each_case
@few
@given(dtype=dtypes, seed=seeds)
def test_none_gradient_keeps_parameter_state_and_count(case, dtype, seed):
    rng = generator(case, seed)
    (p, q), *gradients = (numbers(rng, [7, 30], dtype) for _ in range(5))
    alone = q.copy()
    opt, other = case.make({"p": p, "q": q}, weight_decay=0.1), case.make(alone, weight_decay=0.1)
    for k, (g, h) in enumerate(gradients):
        kept = bits([q, *(x["q"] for x in opt.state.values())])
        opt.step({"p": g, "q": h if k % 2 else None})
        if k % 2:
            other.step(h)
        else:
            assert bits([q, *(x["q"] for x in opt.state.values())]) == kept
    assert bits([q, *(x["q"] for x in opt.state.values())]) == bits([alone, *other.state.values()])
    assert opt.state_dict()["counts"].tolist() == [4, 2]


@pytest.mark.parametrize("case", [case for case in CASES if not case.row.moves], ids=lambda case: case.name)
@few
@example(n=90_001, dtype=np.float64, seed=0)
@given(n=lengths, dtype=dtypes, seed=seeds)
def test_zero_gradients_move_nothing_from_a_fresh_state(case, n, dtype, seed):
    (p,) = numbers(generator(case, seed), [n], dtype, special=False)
    start = p.tobytes()
    opt = case.make(p)
    for _ in range(3):
        opt.step(np.zeros(n, dtype))
    assert p.tobytes() == start


@each_case
@few
@example(n=90_001, dtype=np.float32, seed=0, exponent=-9)
@given(n=lengths, dtype=dtypes, seed=seeds, exponent=st.integers(-10, 10))
def test_maximize_and_inv_scale_are_exact(case, n, dtype, seed, exponent):
    """Maximizing is minimizing with -g. A loss scale that is a power of two does not change the bits."""
    rng = generator(case, seed)
    (start,), (g,) = (numbers(rng, [n], dtype, special=False) for _ in range(2))
    p, q, r = (start.copy() for _ in range(3))
    case.make(p, weight_decay=0.1).step(-g)
    case.make(q, weight_decay=0.1, maximize=True).step(g)
    case.make(r, weight_decay=0.1).step(-g * dtype(2.0**exponent), inv_scale=2.0**-exponent)
    assert p.tobytes() == q.tobytes() == r.tobytes()
