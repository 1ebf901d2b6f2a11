"""Rules are pure scalar functions, keep their dtype, and run compiled exactly as they do in plain Python."""

import ast
import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from cases import CASES
from pyfastlr.engines.hyper import OFF
from pyfastlr_kernels import tables
from pyfastlr_kernels.rules import RULES, contract

ALLOWED = (
    ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.Tuple, ast.Name, ast.Load, ast.Store,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UnaryOp, ast.USub, ast.Compare, ast.Gt, ast.Lt, ast.Eq,
    ast.IfExp, ast.Call, ast.Expr, ast.Attribute,
)  # fmt: skip


def is_of_folds(helper):
    """Whether only folds call it. Folds take `c` or literals."""
    return any(helper.__name__ in fold.__code__.co_names for rule in RULES.values() for fold in called_by_folds(rule))


def called_by_folds(rule):
    """Folds of a rule, and its helpers that these call."""
    found, left = [], [*rule.folds.values()]
    while left:
        found.append(left.pop())
        left += [x for x in rule.helpers if x.__name__ in found[-1].__code__.co_names and x not in found]
    return found


HELPERS = {*contract.RULE_HELPERS, *(x for rule in RULES.values() for x in rule.helpers if not is_of_folds(x))}
MAY_CALL = {"sqrt", "abs", *(helper.__name__ for helper in HELPERS)}
AROUND = {
    contract.prologue,
    contract.prologue_undecayed,
    contract.epilogue,
    contract.epilogue_undecayed,
    contract.shrunk,
}
FUNCTIONS = {rule.update for rule in RULES.values()} | HELPERS | AROUND
DTYPES = ("float32", "float64")


@pytest.mark.parametrize("function", sorted(FUNCTIONS, key=lambda f: f.__name__), ids=lambda f: f.__name__)
def test_rule_is_pure_arithmetic_without_literals(function):
    body = ast.parse(inspect.getsource(function)).body[0]
    if ast.get_docstring(body):
        body.body = body.body[1:]
    for node in ast.walk(body):
        assert isinstance(node, ALLOWED), ast.dump(node)
        if isinstance(node, ast.Call):
            assert node.func.id in MAY_CALL
        if isinstance(node, ast.Attribute):
            assert node.value.id in ("h", "r")


def test_purity_test_sees_a_literal():
    tree = ast.parse("def rule(p):\n    return 0.5 * p")
    assert not all(isinstance(node, ALLOWED) for node in ast.walk(tree.body[0]))


def hyperparameters(opt):
    """Input of a fold, zero for hyperparameters that the convention lacks."""
    settings = opt._hyper.current
    numbers = {field: settings.source(0, field) for field in opt._hyper.fields if field not in OFF}
    return {**dict.fromkeys(RULES[opt.rule].hyper, 0.0), **tables.constants(opt._parameters.dtype), **numbers}


def folded(case, count, carry, **config):
    """h, r and carry of a case's fold for its defaults."""
    opt = case.make(np.zeros(1), **config)
    c = SimpleNamespace(**hyperparameters(opt))
    return RULES[opt.rule].folds[opt.convention](c, float(count), carry)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_returns_the_dtype_it_is_given(case, dtype):
    rule = RULES[case.make(np.zeros(1)).rule]
    real = np.dtype(dtype).type
    h, r, _ = folded(case, 3, rule.carry)
    h, r = type(h)(*map(real, h)), type(r)(*map(real, r))
    d, s = rule.update(real(0.5), real(0.25), (real(0.125),) * len(rule.slots), h, r)
    assert type(d) is real
    assert [type(x) for x in s] == [real] * len(rule.slots)


def plain_step(case, opt, p, g, states, count, carry, scale):
    """One step of the rule's Python source on numpy scalars, in the order of the driver."""
    rule, real, values = RULES[opt.rule], p.dtype.type, hyperparameters(opt)
    lr_scale = values["lr_scale"] if isinstance(values["lr_scale"], float) else 1.0
    c = SimpleNamespace(**{**values, "lr_scale": lr_scale})
    h, r, carry = rule.folds[opt.convention](c, float(count), carry)
    h, r = type(h)(*map(real, h)), type(r)(*(real(x * lr_scale) for x in r))
    kind, decay = values["decay"], values["weight_decay"]
    l2 = real(decay if kind == tables.COUPLED else 0.0)
    shrink = real(c.lr * lr_scale * decay if kind == tables.DECOUPLED else 0.0)
    shed = real(decay if kind == tables.INDEPENDENT else 0.0)
    new_p, new_s = p.copy(), [x.copy() for x in states]
    for i in range(p.size):
        k = None if scale is None else scale[i]
        r_i, shrink_i = (r, shrink) if k is None else (type(r)(*(x * k for x in r)), shrink * k)
        if l2 or shrink or shed:
            g_i = contract.prologue(p[i], g[i], real(1.0), l2)
            before = contract.shrunk(p[i], shrink_i + shed) if rule.sets else p[i]
            d, s = rule.update(before, g_i, tuple(x[i] for x in states), h, r_i)
            new_p[i] = d if rule.sets else contract.epilogue(p[i], d, shrink_i + shed)
        else:
            g_i = contract.prologue_undecayed(p[i], g[i], real(1.0))
            d, s = rule.update(p[i], g_i, tuple(x[i] for x in states), h, r_i)
            new_p[i] = d if rule.sets else contract.epilogue_undecayed(p[i], d)
        for x, value in zip(new_s, s, strict=True):
            x[i] = value
    return new_p, new_s, carry


def has_loops_of_its_own(case, dtype, by_element):
    """Not for float32 per-element rates in a second convention: its fold is float64's, its loops are the first's."""
    rule = RULES[case.make(np.zeros(1)).rule]
    return case.convention == next(iter(rule.folds)) or (dtype, by_element) != ("float32", True)


STEPS = [
    pytest.param(case, dtype, by_element, id=f"{case.name}-{dtype}-{'rate-by-element' if by_element else 'rate'}")
    for case in CASES
    for dtype in DTYPES
    for by_element in (False, True)
    if has_loops_of_its_own(case, dtype, by_element)
]


@pytest.mark.parametrize("weight_decay", [0.01, 0.0])
@pytest.mark.parametrize(("case", "dtype", "by_element"), STEPS)
def test_compiled_step_is_the_rule_in_plain_python_bit_for_bit(case, dtype, by_element, weight_decay):
    rng = np.random.default_rng(len(case.name))
    n = 67  # vectors of 16, and a remainder
    p = rng.standard_normal(n).astype(dtype)
    scale = rng.uniform(0.1, 2.0, n).astype(dtype) if by_element else None
    decay = case.row.decays[(case.row.decays.index(case.decay) + 1) % len(case.row.decays)]  # not the default
    opt = case.make(p, weight_decay=weight_decay, decay=decay, lr_scale=0.7 if scale is None else scale)
    rule = RULES[opt.rule]
    carry = rule.carry
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal]
    for count in range(1, 9):
        g = (rng.standard_normal(n) * 10.0 ** rng.uniform(-12, 2, n)).astype(dtype)
        if count == 8:
            g[: len(special)] = special
        states = [x.copy() for x in opt.state.values()]
        with np.errstate(all="ignore"):
            need_p, need_s, carry = plain_step(case, opt, p, g, states, count, carry, scale)
        opt.step(g)
        assert same_bits(p, need_p)
        for x, need in zip(opt.state.values(), need_s, strict=True):
            assert same_bits(x, need)
    assert opt.state_dict()["carry"][0].tolist() == list(carry)


def same_bits(a, b):
    """Equal bits, any NaN being equal to any other: which payload survives an addition is not specified."""
    nan = np.isnan(a)
    return np.array_equal(nan, np.isnan(b)) and a[~nan].tobytes() == b[~nan].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nan_gradient_makes_parameter_and_state_nan(case, bad):
    """A maximum or a clamp must not lose it; an infinite gradient leaves no finite state."""
    p = np.ones(40)
    opt = case.make(p)
    opt.step(np.full(40, 0.5))
    g = np.full(40, 0.5)
    g[17] = bad
    opt.step(g)
    assert np.isfinite(np.delete(p, 17)).all()
    if np.isnan(bad):
        assert np.isnan(p[17])
        assert all(np.isnan(x[17]) for x in opt.state.values())
    else:
        assert case.row.bounded or not any(np.isfinite(x[17]) for x in opt.state.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in CASES if not case.row.pulls], ids=lambda case: case.name)
def test_infinite_parameter_stays_infinite_without_decay(case, dtype):
    """0 * inf would make it NaN."""
    p = np.full(40, np.inf, dtype)
    opt = case.make(p)
    opt.step(np.ones(40, dtype))
    assert (p == np.inf).all()


def test_maximum_passes_nan_on_from_either_side():
    nan = float("nan")
    assert contract.maximum(1.0, 2.0) == contract.maximum(2.0, 1.0) == 2.0
    assert np.isnan(contract.maximum(nan, 1.0))
    assert np.isnan(contract.maximum(1.0, nan))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case", [case for case in CASES if {*case.state} - {*case.row.unflushed}], ids=lambda x: x.name
)
def test_subnormal_state_is_flushed(case, dtype):
    tiny = np.finfo(dtype).tiny
    p = np.ones(20, dtype)
    opt = case.make(p)
    for x in opt.state.values():
        x[:] = tiny * np.dtype(dtype).type(0.75)
    opt.step(np.zeros(20, dtype))
    for name in {*case.state} - {*case.row.unflushed}:
        x = opt.state[name]
        assert ((x == 0) | (np.abs(x) >= tiny)).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_flush_keeps_the_smallest_normal_number(dtype):
    real = np.dtype(dtype).type
    tiny, below = np.finfo(dtype).tiny, np.nextafter(np.finfo(dtype).tiny, real(0))
    limit = real(tables.constants(dtype)["tiny"])
    assert [contract.flush(x, limit) for x in (tiny, -tiny, below, -below)] == [tiny, -tiny, 0.0, 0.0]
    assert np.isnan(contract.flush(real(np.nan), limit))


@pytest.mark.parametrize("factor", [1.0, 1e10])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convention", ["torch", "keras", "optax"])
def test_normal_state_is_kept(convention, dtype, factor):
    """A momentum of 1 and a gradient of 0 do not change the buffer, down to 1.2e-38 and 2.2e-308."""
    import pyfastlr as flr

    small = np.finfo(dtype).tiny * np.dtype(dtype).type(factor)
    opt = flr.SGD(np.ones(20, dtype), lr=1.0, momentum=1.0, convention=convention)
    opt.state["momentum_buffer"][:10], opt.state["momentum_buffer"][10:] = small, -small
    opt.step(np.zeros(20, dtype))
    assert opt.state["momentum_buffer"].tolist() == [small] * 10 + [-small] * 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameter_is_rounded_once(dtype):
    """1 less two terms of 3/8 ulp each is 1 less an ulp below 1: one after the other they are lost."""
    import pyfastlr as flr

    one, ulp = np.ones(1, dtype), float(np.finfo(dtype).epsneg)  # distance to the next number below 1
    p = one.copy()
    opt = flr.SGD(p, lr=1.0, weight_decay=0.375 * ulp, decay="independent")
    opt.step(np.full(1, 0.375 * ulp, dtype))
    assert p[0] == 1.0 - ulp
    assert contract.epilogue(one[0], one.dtype.type(0.375 * ulp), one.dtype.type(0.375 * ulp)) == 1.0 - ulp


@pytest.mark.parametrize("count", [2**24, 2**25 + 1, 2**40 + 1])
def test_updates_are_counted_in_float64(count):
    """AdaGrad divides its rate by 1 + lr_decay*(t - 1); t - 1 is the number of previous updates."""
    import pyfastlr as flr

    p = np.zeros(1)
    opt = flr.AdaGrad(p, lr=1.0, lr_decay=1.0, eps=0.0)
    opt.load_state_dict({**opt.state_dict(), "counts": np.array([count])})
    opt.step(np.ones(1))
    assert p[0] == -1.0 / (1.0 + count)


def test_centered_variance_of_a_constant_gradient_is_not_negative():
    """torch gives NaN here, because rounding makes v - a*a negative."""
    import pyfastlr as flr

    p = np.ones(1000, np.float32)
    g = np.linspace(0.1, 3.0, 1000, dtype=np.float32)
    opt = flr.RMSProp(p, lr=1e-6, alpha=0.9, centered=True)
    for _ in range(400):
        opt.step(g)
    v, a = opt.state["square_avg"], opt.state["grad_avg"]
    assert (v.astype(np.float64) - a.astype(np.float64) ** 2 < 0).any()
    assert np.isfinite(p).all()
