"""The C library has the Python driver's bits, for every optimizer; and refuses what is wrong before it writes."""

import ctypes
import math
import re
from itertools import chain, cycle, pairwise

import numpy as np
import pytest

from c_library import BY_NAME, CONVENTIONS, ERRORS, OK, Optimizer, Tensor, compiler, config_type, library, span, tensor
from cases import CASES
from pyfastlr.capi.source import header, source, version_number
from pyfastlr.capi.source_errors import NAMES, texts
from pyfastlr.optimizers.base import registry

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
SIZES = (0, 1, 3, 7, 33)
DTYPES = ("float32", "float64")
RUNS = [(case, dtype) for case in CASES for dtype in DTYPES]


def run_id(run):
    return "-".join(x if isinstance(x, str) else x.name for x in run)


def c_optimizer(case, dtype, **values):
    """The C optimizer of a case, without weight decay unless it is given."""
    return Optimizer(case.cls, dtype, case.convention, **{"lr": case.lr, "weight_decay": 0.0, **case.kwargs, **values})


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


def change(opt, x, values):
    """Set the same hyperparameters in both."""
    for name, value in values.items():
        setattr(opt, name, value)
    x.set(**values)


def compare(case, dtype, sizes, updates, seed=0, every=25, **options):
    """Step both, while rate and weight decay change, and compare every bit now and then.

    The kinds of weight decay follow each other, each with a decay and without.
    """
    rng = np.random.default_rng(seed)
    p = start(rng, dtype, sizes)
    q = {k: x.copy() for k, x in p.items()}
    opt, x = case.make(p, **options), c_optimizer(case, dtype, **options)
    state = {k: x.state(a.size) for k, a in q.items()}
    decays = cycle([(kind, wd) for kind in case.row.decays for wd in (0.0, 0.03)])
    for t in range(1, updates + 1):
        if t % every == 1:
            kind, wd = next(decays)
            change(opt, x, {"decay": kind, "weight_decay": wd})
        if case.row.lr != "start" and t % 9 == 0:
            change(opt, x, {"lr": case.lr * float(rng.uniform(0.2, 1.5))})
        g = gradients(rng, {k: a.size for k, a in q.items()}, dtype)
        opt.step(g)
        for k, a in q.items():
            assert x.step(t, a, g[k], state[k]) == OK
        x.next(t)
        if t % every == 0 or t < 4 or t == updates:
            check_equal(opt, p, x, q, state)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_the_drivers_bits_over_1000_updates(run):
    compare(*run, SIZES, 1000)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_the_drivers_bits_of_long_arrays(run):
    compare(*run, (4097,), 7, seed=1, every=1)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_the_drivers_bits_uphill_scaled_and_slowed(run):
    case, dtype = run
    rng = np.random.default_rng(2)
    p = start(rng, dtype)
    q = {k: a.copy() for k, a in p.items()}
    opt = case.make(p, maximize=True, lr_scale=0.3)
    x = c_optimizer(case, dtype, maximize=1, lr_scale=0.3, inv_scale=1 / 1024)
    state = {k: x.state(a.size) for k, a in q.items()}
    for t in range(1, 21):
        if t in (8, 14):  # frozen for a while: parameters keep their bits, and state changes
            change(opt, x, {"lr_scale": 0.0 if t == 8 else 0.7})
        g = {k: a * 1024 for k, a in gradients(rng, {k: a.size for k, a in q.items()}, dtype).items()}
        before = {k: a.copy() for k, a in q.items()}
        opt.step(g, inv_scale=1 / 1024)
        for k, a in q.items():
            assert x.step(t, a, g[k], state[k]) == OK
            assert same_bits(a, before[k]) or not 8 <= t < 14
        x.next(t)
        check_equal(opt, p, x, q, state)


def test_a_long_frozen_array_keeps_its_bits():
    case, rng = next(x for x in CASES if x.name == "adam"), np.random.default_rng(3)
    p = {"0": rng.standard_normal(1000).astype("f4")}
    q, g = p["0"].copy(), rng.standard_normal(1000).astype("f4")
    opt, x = case.make(p, lr_scale=0.0), c_optimizer(case, "float32", lr_scale=0.0)
    state = {"0": x.state(1000)}
    opt.step({"0": g})
    assert x.step(1, q, g, state["0"]) == OK
    check_equal(opt, p, x, {"0": q}, state)


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_rates_per_element(run):
    case, dtype = run
    rng = np.random.default_rng(4)
    p = start(rng, dtype)
    scale = {k: np.where(rng.random(a.size) < 0.3, 0.0, rng.uniform(0, 2, a.size)).astype(dtype) for k, a in p.items()}
    q = {k: a.copy() for k, a in p.items()}
    opt, x = case.make(p, lr_scale=scale), c_optimizer(case, dtype)
    state = {k: x.state(a.size) for k, a in q.items()}
    for t in range(1, 9):
        kind = case.row.decays[t % len(case.row.decays)]
        change(opt, x, {"decay": kind, "weight_decay": 0.03 * (t % 2)})
        g = gradients(rng, {k: a.size for k, a in q.items()}, dtype)
        opt.step(g)
        for k, a in q.items():
            assert x.step(t, a, g[k], state[k], lr_scale=scale[k]) == OK
        x.next(t)
        check_equal(opt, p, x, q, state)


# --- Ranges and tables of tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_any_split_gives_the_same_bits(run):
    case, dtype = run
    rng = np.random.default_rng(5)
    size, cuts = 101, (0, 1, 8, 8, 25, 64, 101)
    p = rng.standard_normal(size).astype(dtype)
    whole, parts = p.copy(), p.copy()
    x = c_optimizer(case, dtype, weight_decay=0.02, decay=case.row.decays[-1])
    a, b = x.state(size), x.state(size)
    for t in range(1, 6):
        g = gradients(rng, {"0": size}, dtype)["0"]
        assert x.step(t, whole, g, a) == OK
        for begin, end in pairwise(cuts):
            assert x.step(t, parts, g, b, begin, end) == OK
        x.next(t)
        assert same_bits(whole, parts)
        assert all(same_bits(i, j) for i, j in zip(a, b, strict=True))


@pytest.mark.parametrize("run", RUNS, ids=run_id)
def test_a_table_of_tensors_is_as_its_arrays(run):
    case, dtype = run
    rng = np.random.default_rng(6)
    x = c_optimizer(case, dtype, weight_decay=0.02, decay=case.row.decays[0])
    sizes = (5, 0, 17, 1, 64, 3)
    single = [rng.standard_normal(n).astype(dtype) for n in sizes]
    table = [a.copy() for a in single]
    scales = [None, None, rng.uniform(0, 2, 17).astype(dtype), None, None, None]
    a, b = ([x.state(n) for n in sizes] for _ in range(2))
    for t in range(1, 5):
        gs = [gradients(rng, {"0": n}, dtype)["0"] for n in sizes]
        gs[4] = None if t == 2 else gs[4]  # without a gradient, an array keeps its value and state
        for p, g, s, k in zip(single, gs, a, scales, strict=True):
            if g is not None:
                assert x.step(t, p, g, s, lr_scale=k) == OK
        rows = [tensor(p, g, s, k) for p, g, s, k in zip(table, gs, b, scales, strict=True)]
        for begin, end in ((0, 3), (3, 30), (30, 30), (30, 90)):
            assert x.step_tensors(t, rows, begin, end) == OK
        x.next(t)
        for i, j in zip(chain(single, *a), chain(table, *b), strict=True):
            assert same_bits(i, j)


def test_an_error_of_a_table_writes_nothing():
    x = Optimizer("Adam", lr=0.1)
    ps, g = [np.ones(4, "f4"), np.ones(4, "f4")], np.ones(4, "f4")
    good, bad = x.state(4), x.state(4)
    bad[1] = None
    rows = [tensor(ps[0], g, good), tensor(ps[1], g, bad)]
    assert x.step_tensors(1, rows, 0, 8) == ERRORS["EXP_AVG_SQ"]
    assert x.step_tensors(1, rows[:1], 0, 5) == ERRORS["RANGE"]
    assert x.step_tensors(1, rows[:1], 3, 2) == ERRORS["RANGE"]
    assert all((p == 1).all() for p in ps)
    assert not good[0].any()
    assert x.call("step_tensors", *x.time(1), None, ctypes.c_size_t(1), *span(0, 1)) == ERRORS["TENSORS"]
    assert x.call("step_tensors", *x.time(1), None, ctypes.c_size_t(0), *span(0, 0)) == OK


def test_sizes_whose_sum_overflows():
    x = Optimizer("Adam", lr=0.1)
    p, g, most = np.ones(4, "f4"), np.ones(4, "f4"), 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
    left = [Tensor(size) for size in (most - 1, 9)]  # without a gradient
    for begin in (0, most - 1):
        assert x.step_tensors(1, [*left, tensor(p, g, x.state(4))], begin, most) == OK
    assert (p == 1).all()


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_every_class_is_there():
    assert {c.cls for c in BY_NAME.values()} == {x for x in registry if x.__module__.startswith("pyfastlr.")}


def test_codes_and_texts():
    lib = library()
    lib.fastlr_error_text.restype = ctypes.c_char_p
    assert lib.fastlr_version() == version_number()
    assert lib.fastlr_error_text(0) == b"no error"
    for name, text in texts().items():
        assert lib.fastlr_error_text(ERRORS[name]).decode() == text
        assert re.match(r"`[a-z0-9_, ]+` must ", text)
    assert lib.fastlr_error_text(-1) == lib.fastlr_error_text(10_000) == b"unknown error"
    assert len({*NAMES}) == len(NAMES)
    used = {*re.findall(r"FASTLR_ERROR_(\w+)", source())}
    assert used == {*NAMES}
    for c in BY_NAME.values():
        assert {x.upper() for x in (*c.numbers, *c.flags, *c.states)} <= {*NAMES}


# Values that Python's classes refuse, and some that they accept.
TRIED = (-math.inf, -1.0, -0.5, -5e-324, 0.0, 5e-324, 1e-3, 0.5, math.nextafter(1, 0), 1.0, math.nextafter(1, 2), 1.5,
         math.inf, math.nan)  # fmt: skip


def number_runs():
    for c in BY_NAME.values():
        for convention in c.conventions:
            for name in c.numbers:
                yield c, convention, name


@pytest.mark.parametrize("run", list(number_runs()), ids=lambda run: f"{run[0].name}-{run[1]}-{run[2]}")
def test_numbers_are_refused_as_in_python(run):
    c, convention, name = run
    p, g = np.ones(3), np.ones(3)
    for value in TRIED:
        for k in range(1 + c.is_pair(name)):
            x = Optimizer(c.name, "float64", convention)
            if math.isnan(x.config.lr):
                x.set(lr=0.1)
            state = x.state(3)
            given = value
            if c.is_pair(name):
                given = tuple(value if j == k else getattr(x.config, name)[j] for j in range(2))
            lacking = (
                name in c.own_numbers and name not in c.conventions[convention] and c.cls.fields[name].of_convention
            )
            if lacking:
                refused = value != 0.0
            else:
                base = {"lr": 0.1} if c.conventions[convention]["lr"] is None else {}
                try:
                    c.cls(np.ones(3), convention=convention, **{**base, name: given})
                    refused = False
                except ValueError:
                    refused = True
            if name in x.config.__class__.__dict__:
                x.set(**{name: given})
            before = [a.copy() for a in (p, *state)]
            error = x.step(1, p.copy(), g, state)
            assert error == (ERRORS[name.upper()] if refused else OK), (value, error)
            if refused:
                assert all(same_bits(a, b) for a, b in zip(before, (p, *state), strict=True))
                assert (
                    x.call("state_init_f64", *[a.ctypes.data_as(ctypes.c_void_p) for a in state], *span(0, 3)) == error
                )


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arguments_that_are_wrong(name, dtype):
    x = Optimizer(name, dtype)
    if math.isnan(x.config.lr):
        p, g = np.ones(3, dtype), np.ones(3, dtype)
        assert x.step(1, p, g, [np.zeros(3, dtype) for _ in x.c.states]) == ERRORS["LR"]
        x.set(lr=0.1)
    p, g, state = np.ones(3, dtype), np.ones(3, dtype), x.state(3)
    assert x.step(0, p, g, state) == x.step(-5, p, g, state) == ERRORS["T"]
    assert x.step(1, None, g, state, 0, 3) == ERRORS["P"]
    assert x.step(1, p, None, state) == ERRORS["G"]
    assert x.step(1, p, g, state, 2, 1) == ERRORS["RANGE"]
    assert x.step(1, None, None, [None for _ in state], 2, 2) == OK
    used = c_rule_states(x)
    for k, slot in enumerate(x.c.states):
        broken = [None if j == k else s for j, s in enumerate(state)]
        assert x.step(1, p.copy(), g, broken) == (ERRORS[slot.upper()] if slot in used else OK)
    for field, value, code in (
        ("convention", 3, "CONVENTION"), ("convention", -1, "CONVENTION"), ("maximize", 2, "MAXIMIZE"),
        ("inv_scale", 0.0, "INV_SCALE"), ("inv_scale", math.nan, "INV_SCALE"), ("inv_scale", math.inf, "INV_SCALE"),
        ("struct_size", 8, "STRUCT_SIZE"), ("struct_size", x.config.struct_size + 8, "STRUCT_SIZE"),
    ):  # fmt: skip
        y = Optimizer(name, dtype, lr=0.1)
        setattr(y.config, field, value)
        assert y.step(1, p, g, state) == ERRORS[code], field
    for flag in x.c.flags:
        y = Optimizer(name, dtype, lr=0.1, **{flag: -1})
        assert y.step(1, p, g, state) == ERRORS[flag.upper()]
    for by, convention in enumerate(CONVENTIONS):
        y = Optimizer(name, dtype, lr=0.1)
        if convention not in x.c.conventions:
            y.config.convention = by
            assert y.step(1, p, g, state) == ERRORS["CONVENTION"]
            assert y.call("config_init_for", by) == ERRORS["CONVENTION"]
            continue
        y = Optimizer(name, dtype, convention, lr=0.1)
        assert y.step(1, p.copy(), g, y.state(3)) == OK
    for kind in range(4):
        y = Optimizer(name, dtype, lr=0.1)
        y.config.decay = kind
        known = kind < 3 and ("coupled", "decoupled", "independent")[kind] in x.c.cls.decays
        assert y.step(1, p.copy(), g, state) == (OK if known else ERRORS["DECAY"])
    assert (p == 1).all()


def c_rule_states(x):
    """States that a configuration with the defaults uses."""
    rule = next(iter(x.c.rules.values()))
    return rule.state_names


def test_null_and_sizes():
    lib, c = library(), BY_NAME["AdamW"]
    config = config_type(c)()
    size = ctypes.sizeof(config)
    assert lib.fastlr_adamw_config_init(None) == ERRORS["CONFIG"]
    assert lib.fastlr_adamw_config_init(ctypes.byref(config)) == OK
    assert (config.struct_size, config.lr, config.weight_decay) == (size, 1e-3, 1e-2)
    assert tuple(config.betas) == (0.9, 0.999)
    sized = lib.fastlr_adamw_config_init_sized
    for wrong in (0, size - 8, size + 8):
        assert sized(ctypes.byref(config), ctypes.c_size_t(wrong), 1) == ERRORS["STRUCT_SIZE"]
    assert config.weight_decay == 1e-2
    assert sized(ctypes.byref(config), ctypes.c_size_t(size), 1) == OK
    assert config.weight_decay == 4e-3
    assert lib.fastlr_adamw_step(None, ctypes.c_int64(1), *[None] * 4, *span(0, 0)) == ERRORS["CONFIG"]
    assert lib.fastlr_nadam_carry_init(None) == ERRORS["CARRY"]


def test_carry_is_needed():
    x = Optimizer("NAdam")
    p = np.ones(1, "f4")
    arrays = [p.ctypes.data_as(ctypes.c_void_p)] * 4
    assert x.call("step", ctypes.c_int64(1), None, *arrays, *span(0, 1)) == ERRORS["CARRY"]
    assert x.call("next", ctypes.c_int64(1), None) == ERRORS["CARRY"]
    before = x.carry[0]
    assert x.call("next", ctypes.c_int64(0), x.carry) == ERRORS["T"]
    assert x.carry[0] == before == 1.0


def test_nesterov_needs_momentum_and_no_dampening():
    p, g = np.ones(2, "f4"), np.ones(2, "f4")
    for values, code in (
        ({"nesterov": 1}, "NESTEROV"),
        ({"nesterov": 1, "momentum": 0.9, "dampening": 0.1}, "NESTEROV"),
        ({"nesterov": 1, "momentum": 0.9}, None),
    ):
        x = Optimizer("SGD", lr=0.1, **values)
        assert x.step(1, p.copy(), g, [np.zeros(2, "f4")]) == (ERRORS[code] if code else OK)
    x = Optimizer("SGD", convention="keras", lr=0.1, nesterov=1)  # as in Keras, plain descent without momentum
    assert x.step(1, p, g, [None]) == OK
    assert (p == np.float32(1) - np.float32(0.1)).all()


def test_a_clip_factor_may_be_zero_or_nan():
    for factor in (0.0, math.nan):
        x, p = Optimizer("SGD", lr=0.1, clip_factor=factor), np.ones(2, "f4")
        assert x.step(1, p, p.copy(), [None]) == OK
        assert (p == 1).all() or math.isnan(factor)
        assert np.isnan(p).all() == math.isnan(factor)


# --- The text ---------------------------------------------------------------------------------------------------------


def test_a_field_says_what_it_may_be():
    asgd = header().partition("typedef struct fastlr_asgd_config {")[2].partition("}")[0]
    assert "convention;        /* FASTLR_TORCH: whose formula is used */" in asgd
    assert "decay;             /* FASTLR_COUPLED: what weight_decay does */" in asgd
    assert "maximize;          /* 1 ascends" in asgd
    sgd = header().partition("typedef struct fastlr_sgd_config {")[2].partition("}")[0]
    assert "/* FASTLR_TORCH, FASTLR_KERAS or FASTLR_OPTAX: whose formula is used */" in sgd
    assert "/* torch: a finite number; keras, optax: 0 */" in sgd


def test_the_text_is_plain_and_the_same_each_time():
    for text in (header(), source()):
        text.encode("ascii")
        assert "\t" not in text
        assert max(map(len, text.splitlines())) <= 121
        for comment in re.findall(r"/\*.*?\*/", text, re.DOTALL):
            assert all(line.lstrip().startswith("*") for line in comment.splitlines()[1:]), comment
    assert (header(), source()) == (header(), source())
