"""`S.torch`, `S.keras`, ... without those libraries: golden values, the contract of a schedule, refusals."""

import copy
import json
import math
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foreign_schedules import INDICES, LR, NESTED, ROWS, ours
from pyfastlr import schedules as S
from pyfastlr.schedules import compat, fastai_annealing, timm_cycles, timm_wsd, transformers_cosines
from pyfastlr.schedules.torch import OneCycleMomentum

T, K, O, M, H, F = S.torch, S.keras, S.optax, S.timm, S.transformers, S.fastai  # noqa: E741
PARTS = compat, timm_cycles, timm_wsd, transformers_cosines, fastai_annealing
NAMES = {name: value for module in (*PARTS, S, T, K, O, M, H, F) for name, value in vars(module).items()}
NAMES |= {"OneCycleMomentum": OneCycleMomentum}
ROW = [(library, row) for library, rows in ROWS.items() for row in rows]
rows = pytest.mark.parametrize(("library", "row"), ROW, ids=[f"{library}-{row}" for library, row in ROW])


# --- Values ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "schedules.npz") as file:
        data = dict(file)
    return data | {"about": json.loads(str(data["about"]))}


def test_golden_file_has_exactly_the_rows(golden):
    assert golden["about"]["rows"] == ROWS
    assert golden["indices"].tolist() == INDICES


@rows
def test_golden(golden, library, row):
    theirs = golden[library][ROWS[library].index(row)]
    # torch's own rounding: see CosineAnnealingLR.
    tolerance = 3e-12 if "CosineAnnealingLR(" in row else 1e-12
    np.testing.assert_allclose(ours(library, row)(golden["indices"]), theirs, rtol=0, atol=tolerance * theirs.max())


def test_ends_are_exact():
    """Also where ``a + (b - a)*x`` would miss by a rounding."""
    a, b, n = 0.3, 0.85, 7
    assert T.CosineAnnealingLR(b, n, a)(np.array([0, n, 2 * n, 3 * n, 10**12 * n])).tolist() == [b, a, b, a, b]
    s = T.OneCycleLR(b, 20, pct_start=0.25, div_factor=3.0, final_div_factor=7.0, three_phase=True)
    assert s(np.array([0, 4, 8, 19, 10**12])).tolist() == [b / 3, b, b / 3, b / 3 / 7, b / 3 / 7]
    assert s.momentum()(np.array([0, 4, 8, 19, 20])).tolist() == [0.95, 0.85, 0.95, 0.95, 0.95]
    assert K.PolynomialDecay(b, n, a, 0.3, cycle=True)(np.array([0, n, 2 * n, 10**12 * n])).tolist() == [b, a, a, a]
    assert K.CosineDecayRestarts(b, n, 2.0, 1.0, 0.25)(np.array([0, n, 3 * n, 7 * n])).tolist() == [b] * 4
    assert O.cosine_decay_schedule(b, n, 0.25, 1.7)(np.array([0, n, 10**12])).tolist() == [b, b / 4, b / 4]
    s = O.piecewise_interpolate_schedule("cosine", 0.25, {n: 3.0, 2 * n: 0.5, 3 * n: 0.0})
    assert s(np.array([0, n, 2 * n, 3 * n, 10**12])).tolist() == [0.25, 0.75, 0.375, 0.0, 0.0]


def test_indices_of_1e12_lose_nothing():
    n = 10**12
    assert T.StepLR(1.0, n, 0.5)(np.array([n - 1, n])).tolist() == [1.0, 0.5]
    assert T.MultiStepLR(1.0, [n, n], 0.5)(np.array([n - 1, n])).tolist() == [1.0, 0.25]
    assert T.CosineAnnealingLR(1.0, 3)(6 * n + 3) == 0.0
    assert T.CosineAnnealingLR(1.0, 10)(20 * n + 3) == T.CosineAnnealingLR(1.0, 10)(3)
    assert T.CyclicLR(0.0, 1.0, 1, 2)(3 * n + 1) == 1.0
    scaled = T.CyclicLR(0.0, 1.0, 1, 2, scale_fn=lambda cycle: cycle)
    assert scaled(3 * n + 1) == n + 1
    assert T.OneCycleLR(1.0, 10 * n, pct_start=0.5, anneal_strategy="linear")(5 * n - 1) == 1.0
    assert T.SequentialLR([T.ConstantLR(1.0), T.LinearLR(1.0, 0.5, total_iters=2)], [n])(n + 1) == 0.75
    assert K.PiecewiseConstantDecay([n], [1.0, 2.0])(np.array([n, n + 1])).tolist() == [1.0, 2.0]
    assert K.PolynomialDecay(1.0, 3, 0.0, cycle=True)(3 * n + 1) == 2 / (3 * n + 3)
    assert K.InverseTimeDecay(1.0, n, 1.0, staircase=True)(np.array([n - 1, n])).tolist() == [1.0, 0.5]
    assert K.CosineDecayRestarts(1.0, 3, 1.0)(3 * n) == 1.0
    assert K.CosineDecayRestarts(1.0, 1, 2.0, 0.5)(2**40 - 1) == 2.0**-40
    assert K.CosineDecayRestarts(1.0, 2**40, 2.0**50)(2**40) == 1.0
    assert O.piecewise_constant_schedule(1.0, {n: 0.5})(np.array([n - 1, n])).tolist() == [1.0, 0.5]
    assert O.piecewise_interpolate_schedule("linear", 1.0, {2 * n: 0.0})(n) == 0.5
    assert O.linear_schedule(0.0, 1.0, 2 * n, transition_begin=n)(2 * n) == 0.5


@pytest.mark.parametrize("growth", [2, 3, 7, 10])
@pytest.mark.parametrize("period", [1, 10])
def test_every_restart_is_at_its_update(growth, period):
    """Up to 2^53, where a rounded logarithm would miss some, either way."""
    s, starts = K.CosineDecayRestarts(1.0, period, float(growth)), [0]
    while starts[-1] + (length := period * growth ** (len(starts) - 1)) < 2**53:
        starts.append(starts[-1] + length)
    assert s(np.array(starts)).tolist() == [1.0] * len(starts)
    assert (s(np.array(starts[4:]) - 1) < 0.2).all()  # the last of cycles of 8 and more


@pytest.mark.parametrize("growth", [1.0001, 1.1, 1.5, 2.5])
def test_restarts_of_fractional_length(growth):
    """Beside the sum of the lengths, one by one."""
    s, start, length = K.CosineDecayRestarts(1.0, 10, growth), 0.0, 10.0
    for n in range(5_000):
        if n >= start + length:
            start, length = start + length, length * growth
        x = (n - start) / length
        if 1e-9 < x < 1 - 1e-9:  # not where the last bit says which cycle it is
            assert s(n) == pytest.approx(math.cos(math.pi / 2 * x) ** 2, abs=1e-9)


# --- The contract ----------------------------------------------------------------------------------------------------


@rows
def test_forms(library, row):
    """Arrays, JSON, pickle, copies, repr and formula; a user's callable has no JSON form."""
    s = ours(library, row)
    n = np.arange(60).reshape(5, 12)
    values = s(n)
    assert values.dtype == np.float64
    assert values.ravel().tolist() == [s(i) for i in range(60)]
    assert type(s(7)) is float
    assert "\n" not in s.formula
    assert "{" not in s.formula
    assert s == ours(library, row) or "lambda" in row
    if "lambda" in row:
        with pytest.raises(TypeError, match="has no JSON form"):
            s.to_dict()
        with pytest.raises(TypeError, match="cannot be compiled"):
            assert s.compiled
        return
    for other in (S.from_dict(json.loads(json.dumps(s.to_dict()))), pickle.loads(pickle.dumps(s)),
                  copy.deepcopy(s), eval(repr(s), NAMES)):  # fmt: skip
        assert other == s
        assert hash(other) == hash(s)
        assert other(33) == s(33)


def reciprocal(n):
    return 1 / (n + 1)


@pytest.mark.parametrize(
    "s",
    [T.LambdaLR(0.3, reciprocal), T.MultiplicativeLR(0.3, reciprocal), T.CyclicLR(0.1, 0.3, 5, scale_fn=reciprocal)],
    ids=["LambdaLR", "MultiplicativeLR", "CyclicLR"],
)
def test_a_named_callable_is_pickled(s):
    other = pickle.loads(pickle.dumps(s))
    assert other == s
    assert hash(other) == hash(s)
    assert other(7) == s(7)


@pytest.mark.parametrize("s", [
    T.CyclicLR(0.1, 0.3, 5), T.CyclicLR(0.1, 0.3, 5, mode="exp_range", gamma=0.9), T.OneCycleLR(0.3, 40),
    T.OneCycleLR(0.3, 40, three_phase=True, anneal_strategy="linear"),
], ids=repr)  # fmt: skip
def test_momentum_is_a_schedule(s):
    m = s.momentum()
    assert m != s
    for other in (S.from_dict(m.to_dict()), pickle.loads(pickle.dumps(m)), eval(repr(m), NAMES)):
        assert other == m
        assert other(np.arange(50)).tolist() == m(np.arange(50)).tolist()
    low, high = s.parameters["base_momentum"], s.parameters["max_momentum"]
    assert (m(0), low <= m(np.arange(60)).min() < m(np.arange(60)).max()) == (high, True)
    assert f"{high:g}" in m.formula


def test_every_class_can_be_read_from_json():
    """One of each type occurs in the rows' JSON, or is in the tests above."""
    seen = {"OneCycleMomentum", "MultiplicativeLR"}
    for library, row in ROW:
        if "lambda" not in row:
            s = ours(library, row)
            for x in (s, s.native()) if isinstance(s, compat.Translated) else (s,):
                seen.update(re.findall(r'"type": "(\w+)"', json.dumps(x.to_dict())))
    modules = [vars(module) for module in (T, K, M, H, F, *PARTS)]
    classes = {name for module in modules for name, c in module.items()
               if isinstance(c, type) and issubclass(c, S.Schedule) and name not in vars(S)}  # fmt: skip
    assert classes <= seen


def curves_of(s):
    curve, parameters = s._bound()
    return {curve.__name__}.union(*(curves_of(x) for x in parameters if isinstance(x, S.Schedule)))


def one_of_each(schedules):
    """Of these schedules, those with a curve that none before has."""
    seen = set()
    for s in schedules:
        if curves_of(s) - seen:
            seen |= curves_of(s)
            yield s


COMPILED = [
    T.CosineAnnealingLR(0.3, 999, 0.01), T.CosineAnnealingLR(0.3, 1),
    T.CyclicLR(0.01, 0.3, 37, 11, "triangular2"), T.CyclicLR(0.01, 0.3, 37, scale_fn=S.InverseTime(1.0, 0.1)),
    T.CyclicLR(0.01, 0.3, 37, 5, scale_fn=S.Exponential(1.0, 0.999), scale_mode="iterations"),
    *(T.OneCycleLR(0.3, 100_003, pct_start=p, anneal_strategy=a, three_phase=three)
      for p, a, three in [(0.3, "cos", False), (0.25, "linear", True), (0.0, "cos", True), (1.0, "linear", False)]),
    T.OneCycleLR(0.3, 5_000).momentum(),
    T.SequentialLR([T.LinearLR(0.3, total_iters=500), T.StepLR(0.3, 30), T.MultiStepLR(0.3, [9, 99])], [500, 4_000]),
    T.ChainedScheduler([T.ConstantLR(0.3, 0.5, 700), T.PolynomialLR(0.3, 9_999), T.ExponentialLR(0.3, 0.999)]),
    *(ours("torch", row) for row in NESTED[::7] if "lambda" not in row),
    *one_of_each(ours(library, row) for library in ("timm", "transformers", "fastai") for row in ROWS[library]),
    K.PolynomialDecay(0.3, 10 / 3, 0.01, 0.5, cycle=True), K.CosineDecayRestarts(0.3, 900 / 7, 1.0, 1.1, 0.1),
    K.PolynomialDecay(0.3, 37, 0.01, 0.5, cycle=True), K.PolynomialDecay(0.3, 10_007, 0.01, 2.0),
    *(K.CosineDecayRestarts(0.3, 17, t, 0.5, 0.1) for t in (1.0, 1.37, 2.0, 3.0)),
    K.CosineDecay(0.01, 1_009, 0.2, warmup_target=0.3, warmup_steps=100),
    *(O.cosine_decay_schedule(0.3, 10_007, 0.1, x) for x in (0.5, 1.7, 2.0)),
    O.piecewise_interpolate_schedule("cosine", 0.3, {900: 0.5, 50: 3.0, 7_000: 0.0}),
    O.piecewise_interpolate_schedule("linear", 0.3),
    O.linear_onecycle_schedule(9_000, 0.3), O.exponential_decay(0.3, 101, 0.5, 20, end_value=1e-3),
]  # fmt: skip


@pytest.mark.parametrize("s", COMPILED, ids=map(repr, COMPILED))
def test_compiled_has_the_same_bits(s):
    draw = random.Random(repr(s))
    n = np.array([*range(1_000), *(int(math.exp(draw.uniform(0, math.log(1e12)))) for _ in range(4_000))])
    values = np.fromiter(map(s.compiled, n.tolist()), np.float64)
    assert values.tobytes() == s(n).tobytes()


def test_multiplicative_calls_once_an_update():
    """The bits are the same in any order, and an error does not leave a wrong product behind."""
    calls = []

    def factor(n):
        calls.append(n)
        if n == 7 and len(calls) == 7:
            raise ZeroDivisionError
        return 1 - 1 / (n + 2)

    s = T.MultiplicativeLR(0.3, factor)
    with pytest.raises(ZeroDivisionError):
        [s(n) for n in range(10)]
    assert calls == [1, 2, 3, 4, 5, 6, 7]
    assert s(9) == T.MultiplicativeLR(0.3, lambda n: 1 - 1 / (n + 2))(9)
    assert calls[7:] == [7, 8, 9]
    assert (s(3), s(9)) == (T.MultiplicativeLR(0.3, lambda n: 1 - 1 / (n + 2))(3), s(9))


# --- Same as ours ----------------------------------------------------------------------------------------------------


def test_native():
    """A class that is one of ours under another name says so."""
    assert T.StepLR(0.3, 30).native() == S.Exponential(0.3, 0.1, 30, staircase=True)
    assert T.MultiStepLR(0.5, [7, 3, 3], 0.5).native() == S.Piecewise([3, 7], [0.5, 0.125, 0.0625])
    assert T.SWALR(0.3, 0.05).native() == S.Cosine(0.3, 10, 0.05)
    assert K.CosineDecay(0.0, 90, warmup_target=0.3, warmup_steps=9).native() == S.Cosine(0.3, 90).warmup(9)
    assert O.warmup_cosine_decay_schedule(0.0, 0.3, 9, 99) == S.Cosine(0.3, 90).warmup(9)
    assert O.cosine_onecycle_schedule(100, 0.3) == S.OneCycle(0.3, 100)
    assert O.join_schedules([0.1, 0.2], [3]) == S.join([0.1, 0.2], [3])
    assert T.LambdaLR(0.3, reciprocal) == 0.3 * S.as_schedule(reciprocal)
    assert T.OneCycleLR(0.3, epochs=5, steps_per_epoch=8) == T.OneCycleLR(0.3, 40)
    s = T.StepLR(0.3, 30)
    assert T.SequentialLR([T.ConstantLR(0.3), s], [0]).native() == T.ChainedScheduler([s]).native() == s
    assert T.ChainedScheduler([s, T.ExponentialLR(0.3, 0.9)]).native() == s * T.ExponentialLR(1.0, 0.9)
    assert T.SequentialLR([T.ConstantLR(0.3), s], [9]).native() == T.ConstantLR(0.3).then(s, at=9)
    assert M.CosineLRScheduler(0.3, 90, 0.1, warmup_t=9, warmup_prefix=True).native() == S.Cosine(0.3, 90, 0.1).warmup(
        9
    )
    assert M.WSDLRScheduler(0.3, 90, 20, warmup_t=9).native() == S.WSD(0.3, 0, 70, 20).warmup(9)
    assert H.get_linear_schedule_with_warmup(0.3, 9, 99) == S.Linear(0.3, 0.0, 90).warmup(9)
    assert H.get_inverse_sqrt_schedule(0.3, 9) == S.InverseSqrt(0.3, 9)
    assert F.combined_cos(0.25, 0.1, 0.3, 0.0, 8)(np.arange(9)).tolist() == (
        S.Cosine(0.1, 2, 0.3).then(S.Cosine(0.3, 6), at=2)(np.arange(9)).tolist()
    )
    assert s != s.native()  # equal values under another name


def test_no_library_is_imported():
    code = "import sys; from pyfastlr import schedules as S; S.torch.StepLR(1, 9)(3); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pyfastlr.schedules.torch" in loaded
    assert not {"torch", "keras", "optax", "jax", "timm", "transformers", "fastai", "numba"} & set(loaded)


# --- Refusals --------------------------------------------------------------------------------------------------------

nan, inf = math.nan, math.inf
lr_first = [
    lambda x: T.LambdaLR(x, abs), lambda x: T.MultiplicativeLR(x, abs), lambda x: T.StepLR(x, 3),
    lambda x: T.MultiStepLR(x, [3]), T.ConstantLR, T.LinearLR, lambda x: T.ExponentialLR(x, 0.9), T.PolynomialLR,
    lambda x: T.CosineAnnealingLR(x, 9), lambda x: T.CosineAnnealingWarmRestarts(x, 9), lambda x: T.SWALR(x, 0.1),
]  # fmt: skip
initial_first = [
    lambda x: K.ExponentialDecay(x, 9, 0.5), lambda x: K.PolynomialDecay(x, 9), lambda x: K.InverseTimeDecay(x, 9, 0.5),
    lambda x: K.CosineDecay(x, 9), lambda x: K.CosineDecayRestarts(x, 9),
]  # fmt: skip
init_value = [
    lambda x: O.polynomial_schedule(x, 0.1, 1.0, 9), lambda x: O.linear_schedule(x, 0.1, 9),
    lambda x: O.exponential_decay(x, 9, 0.5), O.piecewise_constant_schedule,
    lambda x: O.piecewise_interpolate_schedule("linear", x), lambda x: O.cosine_decay_schedule(x, 9),
    lambda x: O.warmup_constant_schedule(x, 0.1, 9), lambda x: O.warmup_cosine_decay_schedule(x, 0.1, 9, 19),
    lambda x: O.warmup_exponential_decay_schedule(x, 0.1, 9, 9, 0.5),
]  # fmt: skip
dicts = [
    lambda x: O.piecewise_constant_schedule(0.1, x), lambda x: O.piecewise_interpolate_schedule("linear", 0.1, x),
]  # fmt: skip
sequences = [lambda x: T.SequentialLR(x, [3]), lambda x: O.join_schedules(x, [3])]
lr = 0.3
BAD = [
    *((name, error, values, makes)
      for name, makes in [("lr", lr_first), ("initial_learning_rate", initial_first), ("init_value", init_value),
                          ("value", [O.constant_schedule]), ("base_lr", [lambda x: T.CyclicLR(x, 0.1)]),
                          ("max_lr", [lambda x: T.CyclicLR(0.1, x), lambda x: T.OneCycleLR(x, 9)]),
                          ("swa_lr", [lambda x: T.SWALR(0.1, x)]),
                          ("peak_value", [lambda x: O.cosine_onecycle_schedule(9, x),
                                          lambda x: O.linear_onecycle_schedule(9, x),
                                          lambda x: O.warmup_constant_schedule(0.1, x, 9)])]
      for error, values in [(ValueError, [-1.0, nan, inf]), (TypeError, ["0.1", None, True])]),
    ("lr_lambda", TypeError, [0.5, None, [abs]], [lambda x: T.LambdaLR(lr, x), lambda x: T.MultiplicativeLR(lr, x)]),
    ("scale_fn", TypeError, [0.5], [lambda x: T.CyclicLR(0.1, lr, scale_fn=x)]),
    ("step_size", ValueError, [0], [lambda x: T.StepLR(lr, x)]),
    ("step_size", TypeError, [2.0], [lambda x: T.StepLR(lr, x)]),
    ("gamma", ValueError, [0.0, -0.5, nan], [lambda x: T.StepLR(lr, 3, x), lambda x: T.MultiStepLR(lr, [3], x),
                                             lambda x: T.ExponentialLR(lr, x)]),
    ("gamma", ValueError, [1.5], [lambda x: T.CyclicLR(0.1, lr, gamma=x)]),
    ("values", ValueError, [1e200], [lambda x: T.MultiStepLR(lr, [1, 2], x)]),
    ("milestones", ValueError, [[-1, 3]], [lambda x: T.MultiStepLR(lr, x)]),
    ("milestones", TypeError, [3, [1.5], "12", [True], {3}], [lambda x: T.MultiStepLR(lr, x)]),
    ("milestones", ValueError, [[5, 3], [3], [-1, 3]], [lambda x: T.SequentialLR([lr, lr, lr], x)]),
    ("factor", ValueError, [0.0, 1.1], [lambda x: T.ConstantLR(lr, x)]),
    ("start_factor", ValueError, [0.0, 1.1], [lambda x: T.LinearLR(lr, x)]),
    ("end_factor", ValueError, [-0.1, 1.1], [lambda x: T.LinearLR(lr, end_factor=x)]),
    ("total_iters", ValueError, [-1], [lambda x: T.ConstantLR(lr, total_iters=x), lambda x: T.PolynomialLR(lr, x),
                                       lambda x: T.LinearLR(lr, total_iters=x)]),
    ("power", ValueError, [0.0], [lambda x: T.PolynomialLR(lr, power=x), lambda x: K.PolynomialDecay(lr, 9, power=x),
                                  lambda x: O.polynomial_schedule(lr, 0.1, x, 9)]),
    ("T_max", ValueError, [0], [lambda x: T.CosineAnnealingLR(lr, x)]),
    ("T_0", ValueError, [0], [lambda x: T.CosineAnnealingWarmRestarts(lr, x)]),
    ("T_mult", ValueError, [0], [lambda x: T.CosineAnnealingWarmRestarts(lr, 9, x)]),
    ("T_mult", TypeError, [1.5], [lambda x: T.CosineAnnealingWarmRestarts(lr, 9, x)]),
    ("eta_min", ValueError, [-0.1], [lambda x: T.CosineAnnealingLR(lr, 9, x),
                                     lambda x: T.CosineAnnealingWarmRestarts(lr, 9, eta_min=x)]),
    ("anneal_epochs", ValueError, [-1], [lambda x: T.SWALR(lr, 0.1, x)]),
    ("anneal_strategy", ValueError, ["cosine"], [lambda x: T.SWALR(lr, 0.1, anneal_strategy=x),
                                                 lambda x: T.OneCycleLR(lr, 9, anneal_strategy=x)]),
    ("step_size_up", ValueError, [0], [lambda x: T.CyclicLR(0.1, lr, x)]),
    ("step_size_down", ValueError, [0], [lambda x: T.CyclicLR(0.1, lr, 5, x)]),
    ("mode", ValueError, ["sine"], [lambda x: T.CyclicLR(0.1, lr, mode=x)]),
    ("scale_mode", ValueError, ["cycles"], [lambda x: T.CyclicLR(0.1, lr, scale_mode=x)]),
    ("cycle_momentum", ValueError, [False], [lambda x: T.CyclicLR(0.1, lr, cycle_momentum=x).momentum(),
                                             lambda x: T.OneCycleLR(lr, 9, cycle_momentum=x).momentum()]),
    ("cycle_momentum", TypeError, [None], [lambda x: T.OneCycleLR(lr, 9, cycle_momentum=x)]),
    ("base_momentum", ValueError, [-0.1], [lambda x: T.CyclicLR(0.1, lr, base_momentum=x),
                                           lambda x: T.OneCycleLR(lr, 9, base_momentum=x)]),
    ("total_steps", TypeError, [None, 9.0], [lambda x: T.OneCycleLR(lr, x), lambda x: T.OneCycleLR(lr, x, epochs=3)]),
    ("steps_per_epoch", ValueError, [0], [lambda x: T.OneCycleLR(lr, epochs=3, steps_per_epoch=x)]),
    ("pct_start", ValueError, [-0.1, 1.1, 0.1], [lambda x: T.OneCycleLR(lr, 10, pct_start=x)]),
    ("div_factor", ValueError, [0.0], [lambda x: T.OneCycleLR(lr, 9, div_factor=x),
                                       lambda x: O.cosine_onecycle_schedule(9, lr, div_factor=x)]),
    ("schedulers[1]", TypeError, [None, "0.1"], [lambda x: T.SequentialLR([lr, x], [3])]),
    ("schedulers[1]", ValueError, [T.LinearLR(lr, total_iters=0), T.PolynomialLR(lr, 0)],
     [lambda x: T.SequentialLR([lr, x], [3])]),
    ("schedulers[1]", TypeError, [lr, S.Constant(lr), T.CyclicLR(0.1, lr), T.SWALR(lr, 0.1), T.OneCycleLR(lr, 9)],
     [lambda x: T.ChainedScheduler([T.StepLR(lr, 3), x])]),
    ("schedulers[1]", ValueError, [T.ExponentialLR(0.1, 0.9), T.CosineAnnealingLR(lr, 9, 0.1)],
     [lambda x: T.ChainedScheduler([T.StepLR(lr, 3), x])]),
    ("schedulers", ValueError, [[]], [T.ChainedScheduler]),
    ("schedulers", TypeError, [T.StepLR(lr, 3)], [T.ChainedScheduler, lambda x: T.SequentialLR(x, [])]),
    ("decay_steps", ValueError, [0], [lambda x: K.ExponentialDecay(lr, x, 0.5), lambda x: K.PolynomialDecay(lr, x),
                                      lambda x: K.InverseTimeDecay(lr, x, 0.5), lambda x: K.CosineDecay(lr, x),
                                      lambda x: O.cosine_decay_schedule(lr, x)]),
    ("decay_steps", ValueError, [9, 8], [lambda x: O.warmup_cosine_decay_schedule(0.0, lr, 9, x)]),
    ("first_decay_steps", ValueError, [0], [lambda x: K.CosineDecayRestarts(lr, x)]),
    ("decay_rate", ValueError, [-0.5, nan], [lambda x: K.ExponentialDecay(lr, 9, x),
                                             lambda x: K.InverseTimeDecay(lr, 9, x),
                                             lambda x: O.exponential_decay(lr, 9, x)]),
    ("staircase", TypeError, [1], [lambda x: K.ExponentialDecay(lr, 9, 0.5, x),
                                   lambda x: K.InverseTimeDecay(lr, 9, 0.5, x),
                                   lambda x: O.exponential_decay(lr, 9, 0.5, staircase=x)]),
    ("boundaries", ValueError, [[3, 3], [4, 3]], [lambda x: K.PiecewiseConstantDecay(x, [1, 2, 3])]),
    ("values", ValueError, [[1], [1, -2]], [lambda x: K.PiecewiseConstantDecay([5], x)]),
    ("end_learning_rate", ValueError, [-0.1], [lambda x: K.PolynomialDecay(lr, 9, x)]),
    ("cycle", TypeError, [1], [lambda x: K.PolynomialDecay(lr, 9, cycle=x)]),
    ("alpha", ValueError, [-0.1], [lambda x: K.CosineDecay(lr, 9, x), lambda x: K.CosineDecayRestarts(lr, 9, alpha=x),
                                   lambda x: O.cosine_decay_schedule(lr, 9, x)]),
    ("warmup_target", ValueError, [-0.1], [lambda x: K.CosineDecay(lr, 9, warmup_target=x)]),
    ("warmup_steps", ValueError, [-1], [lambda x: K.CosineDecay(lr, 9, warmup_target=0.5, warmup_steps=x),
                                        lambda x: O.warmup_constant_schedule(0.0, lr, x),
                                        lambda x: O.warmup_cosine_decay_schedule(0.0, lr, x, 9),
                                        lambda x: O.warmup_exponential_decay_schedule(0.0, lr, x, 9, 0.5)]),
    ("t_mul", ValueError, [0.9, inf], [lambda x: K.CosineDecayRestarts(lr, 9, x)]),
    ("m_mul", ValueError, [0.0, inf], [lambda x: K.CosineDecayRestarts(lr, 9, m_mul=x)]),
    ("alpha", ValueError, [1.1], [lambda x: K.CosineDecayRestarts(lr, 9, m_mul=1.1, alpha=x)]),
    ("decay_steps", ValueError, [2.4], [lambda x: K.InverseTimeDecay(lr, x, 0.5, staircase=True)]),
    ("boundaries", ValueError, [[2, 2.0], [-1.0]], [lambda x: K.PiecewiseConstantDecay(x, [0.1] * (len(x) + 1))]),
    ("boundaries", TypeError, [[False], ["1"], 3], [lambda x: K.PiecewiseConstantDecay(x, [0.1, 0.2])]),
    ("transition_steps", ValueError, [-1], [lambda x: O.linear_schedule(lr, 0.1, x),
                                            lambda x: O.exponential_decay(lr, x, 0.5),
                                            lambda x: O.polynomial_schedule(lr, 0.1, 1.0, x)]),
    ("transition_steps", ValueError, [0], [lambda x: O.cosine_onecycle_schedule(x, lr),
                                           lambda x: O.linear_onecycle_schedule(x, lr)]),
    ("transition_begin", ValueError, [-1], [lambda x: O.linear_schedule(lr, 0.1, 9, x),
                                            lambda x: O.exponential_decay(lr, 0, 0.5, x)]),
    ("end_value", ValueError, [-0.1], [lambda x: O.exponential_decay(lr, 9, 0.5, end_value=x),
                                       lambda x: O.warmup_cosine_decay_schedule(0.0, lr, 9, 19, x)]),
    ("exponent", ValueError, [0.0], [lambda x: O.cosine_decay_schedule(lr, 9, exponent=x)]),
    ("interpolate_type", ValueError, ["cos"], [lambda x: O.piecewise_interpolate_schedule(x, lr)]),
    ("boundaries_and_scales", TypeError, [[3], {3.5: 0.1}, {"3": 0.1}, {3: "0.1"}], dicts),
    ("boundaries_and_scales", ValueError, [{-3: 0.1}, {3: -0.1}], dicts),
    ("pct_final", ValueError, [0.3, 0.0, 1.0, 1.1], [lambda x: O.linear_onecycle_schedule(10, lr, 0.3, x)]),
    ("schedulers[0]", TypeError, [T.SWALR(lr, 0.1)],
     [lambda x: T.SequentialLR([T.SequentialLR([x, T.StepLR(lr, 3)], [9]), T.StepLR(lr, 3)], [20])]),
    ("schedulers[0]", ValueError, [T.PolynomialLR(lr, 0)],
     [lambda x: T.SequentialLR([T.ChainedScheduler([x, T.StepLR(lr, 3)]), T.StepLR(lr, 3)], [20])]),
    ("schedulers[1]", TypeError, [T.SequentialLR([T.StepLR(lr, 3), T.LambdaLR(lr, abs)], [3]), S.Constant(lr)],
     [lambda x: T.ChainedScheduler([T.StepLR(lr, 3), x])]),
    ("schedulers[1]", ValueError, [T.SequentialLR([T.StepLR(lr, 3), T.StepLR(0.1, 3)], [3]),
                                   T.SequentialLR([T.StepLR(lr, 3), T.CosineAnnealingLR(lr, 3, 0.1)], [3])],
     [lambda x: T.ChainedScheduler([T.StepLR(lr, 3), x])]),
    ("schedulers", ValueError, [10],
     [lambda x: T.ChainedScheduler([T.CosineAnnealingLR(lr, x),
                                    T.SequentialLR([T.StepLR(lr, 3), T.StepLR(lr, 3)], [10])])]),
    ("t_initial", ValueError, [0], [lambda x: M.CosineLRScheduler(lr, x), lambda x: M.WSDLRScheduler(lr, x, 1)]),
    ("cycle_mul", ValueError, [0.9, nan], [lambda x: M.CosineLRScheduler(lr, 9, cycle_mul=x),
                                           lambda x: M.PolyLRScheduler(lr, 9, cycle_mul=x)]),
    ("cycle_decay", ValueError, [0.0], [lambda x: M.TanhLRScheduler(lr, 9, cycle_decay=x)]),
    ("cycle_limit", ValueError, [-1], [lambda x: M.CosineLRScheduler(lr, 9, cycle_limit=x)]),
    ("warmup_t", ValueError, [-1], [lambda x: M.StepLRScheduler(lr, 9, warmup_t=x)]),
    ("warmup_prefix", TypeError, [1], [lambda x: M.StepLRScheduler(lr, 9, warmup_prefix=x)]),
    ("ub", ValueError, [-7.0, 301.0], [lambda x: M.TanhLRScheduler(lr, 9, ub=x)]),
    ("decay_t", ValueError, [[3, 2], [-1.0]], [lambda x: M.MultiStepLRScheduler(lr, x)]),
    ("decay_t", ValueError, [0, 10], [lambda x: M.WSDLRScheduler(lr, 9, x)]),
    ("stable_timescale", ValueError, [None, 0.0], [lambda x: M.WSDLRScheduler(lr, 9, 3, 0.0, "rsqrt", x)]),
    ("decay_fn", TypeError, [abs], [lambda x: M.WSDLRScheduler(lr, 9, 3, decay_fn=x)]),
    ("decay_ratio", ValueError, [0.0, 1.0], [lambda x: M.WSDLRScheduler(lr, 9, 3, decay_ratio=x)]),
    ("num_warmup_steps", ValueError, [-1], [lambda x: H.get_linear_schedule_with_warmup(lr, x, 9),
                                            lambda x: H.get_wsd_schedule(lr, x, 9, 99)]),
    ("num_training_steps", ValueError, [9, 8], [lambda x: H.get_polynomial_decay_schedule_with_warmup(lr, 9, x)]),
    ("num_training_steps", ValueError, [28], [lambda x: H.get_wsd_schedule(lr, 9, 20, x)]),
    ("num_training_steps", ValueError, [None], [lambda x: H.get_wsd_schedule(lr, 9, 20, x),
                                                lambda x: H.get_scheduler("cosine", lr, 3, x)]),
    ("lr_end", ValueError, [0.3, -0.1], [lambda x: H.get_polynomial_decay_schedule_with_warmup(lr, 9, 99, x)]),
    ("timescale", ValueError, [0], [lambda x: H.get_inverse_sqrt_schedule(lr, 9, x)]),
    ("min_lr", ValueError, [None, -0.1], [
        lambda x: H.get_cosine_with_min_lr_schedule_with_warmup(lr, 9, 99, min_lr=x),
        lambda x: H.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(lr, 9, 99, min_lr=x)]),
    ("min_lr_rate", ValueError, [0.1], [
        lambda x: H.get_cosine_with_min_lr_schedule_with_warmup(lr, 9, 99, min_lr=0.1, min_lr_rate=x)]),
    ("warmup_type", ValueError, ["log"], [lambda x: H.get_wsd_schedule(lr, 9, 20, 99, warmup_type=x)]),
    ("name", ValueError, ["greedy", 3], [lambda x: H.get_scheduler(x, lr, 3, 9)]),
    ("pcts", ValueError, [[0.3, 0.6], [1.5, -0.5]],
     [lambda x: F.combine_scheds(x, [F.SchedCos(lr, 0.1), F.SchedCos(lr, 0.1)], 9)]),
    ("scheds", ValueError, [[], [F.SchedCos(lr, 0.1)] * 3], [lambda x: F.combine_scheds([0.3, 0.7], x, 9)]),
    ("scheds[0]", TypeError, [S.Cosine(lr, 3)], [lambda x: F.combine_scheds([1.0], [x], 9)]),
    ("start", ValueError, [0.0], [lambda x: F.SchedExp(x, lr)]),
    ("cycle_mult", ValueError, [1, 0], [lambda x: F.fit_sgdr(lr, 3, 1, 10, cycle_mult=x)]),
    ("pct_start", ValueError, [0.0, 1.0], [lambda x: F.fit_one_cycle(lr, 9, pct_start=x)]),
    ("schedulers", TypeError, [3], sequences[:1]), ("schedules", TypeError, [3], sequences[1:]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "error", "value", "make"),
    [(name, error, value, make) for name, error, values, makes in BAD for value in values for make in makes],
)
def test_bad_argument_is_named(name, error, value, make):
    with pytest.raises(error, match=rf"`{re.escape(name)}(`|\[)"):
        make(value)


def test_keras_warmup_is_by_name_only():
    """Keras has `name` instead."""
    with pytest.raises(TypeError, match="positional"):
        K.CosineDecay(LR, 9, 0.1, 0.5)
