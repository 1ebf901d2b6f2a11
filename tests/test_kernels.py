"""`pyfastlr.kernels` in `@njit` code: same bits as the classes, vectorised whatever the caller's flags, never stale."""

import doctest
import inspect
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit, prange
from numba.core.runtime import _nrt_python, rtsys

import processes
import pyfastlr as flr
from cases import CASES
from pyfastlr import kernels
from pyfastlr import schedules as S
from pyfastlr.engines.hyper import PUBLIC_NAMES
from pyfastlr.kernels import entry
from pyfastlr.kernels.norms import NORMS
from pyfastlr.optimizers.functions import FUNCTIONS
from pyfastlr_kernels import njit as steps
from pyfastlr_kernels import stamps
from pyfastlr_kernels.rules import RULES
from test_assembly import DIVISIONS, ROOTS, packed
from test_rules import same_bits

ROOT = Path(__file__).resolve().parents[1]
DTYPES = ("float32", "float64")
RATE = S.Cosine(0.05, steps=12, end=0.01).warmup(3, start=0.01)  # positive everywhere: not all take a rate of 0
rate = RATE.compiled


def kernel_of(case, opt):
    """Name of the function for a case, and its arguments besides the rate."""
    name = "adamw" if case.cls == "AdamW" else opt.rule
    group = {key: value for key, value in opt.groups[0].items() if key not in ("params", "lr", "lr_scale", "decay")}
    if name == "nesterov":
        group.pop("dampening", None)
    return name, {**group, "convention": opt.convention}


def state_of(opt):
    carry = RULES[opt.rule].carry
    return (*(x.copy() for x in opt.state.values()), *([np.array(carry)] if carry else []))


def test_every_rule_and_class_is_offered():
    assert set(FUNCTIONS) == {*RULES, "adamw"}
    assert set(kernels.__all__) == {*FUNCTIONS, *NORMS}
    assert {x.cls for x in FUNCTIONS.values()} == {getattr(flr, case.cls) for case in CASES}


def test_the_types_are_those_of_the_functions():
    """If not: python scripts/kernel_stubs.py."""
    subprocess.run([sys.executable, ROOT / "scripts" / "kernel_stubs.py", "--check"], check=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_has_an_example(name):
    """It runs with the doctests of `pyfastlr.kernels`."""
    doc = getattr(kernels, name).__doc__
    assert doc == FUNCTIONS[name].doc()
    assert len(doctest.DocTestParser().get_examples(doc)) == 7


def test_the_doctests_of_the_module_are_the_functions():
    found = {x.name.rpartition(".")[2] for x in doctest.DocTestFinder(exclude_empty=True).find(kernels) if x.examples}
    assert found == set(kernels.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_those_of_the_class(name):
    given = list(inspect.signature(getattr(kernels, name).py_func).parameters)
    assert given[:5] == ["p", "g", "state", "n", "lr"]
    own = given[5:-4]
    fields = RULES[FUNCTIONS[name].rule].hyper
    need = list(dict.fromkeys(PUBLIC_NAMES.get(field, field).partition("[")[0] for field in fields))
    assert sorted(own) == sorted(set(need) - ({"dampening"} if name == "nesterov" else set()))
    assert given[-4:] == ["weight_decay", "decay", "convention", "lr_scale"]
    assert set(given[4:]) <= set(inspect.signature(FUNCTIONS[name].cls).parameters)
    assert ">>> " in getattr(kernels, name).__doc__


def training_loop(name, literals):
    """Source of a user's `@njit` loop over gradients. It is text because literals must be in the code."""
    words = "".join(f", {key}={value!r}" for key, value in literals.items())
    text = "def loop(p, grads, state):\n    for n in range(len(grads)):\n"
    text += f"        kernels.{name}(p, grads[n], state, n, rate(n){words})\n"
    scope = {"kernels": kernels, "rate": rate}
    exec(text, scope)
    return njit(scope["loop"])


DEFAULTS = [case for case in CASES if case.convention == next(iter(case.row.defaults))]
OTHERS = [case for case in CASES if case not in DEFAULTS]  # differ by their folds, which are in float64 always


def from_python(name, given):
    """The same loop in Python."""

    def loop(p, grads, state):
        for n, g in enumerate(grads):
            getattr(kernels, name)(p, g, state, n, rate(n), **given)

    return loop


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
def test_steps_from_python_have_the_bits_of_the_class(case):
    run_beside_the_class(case, "float64", from_python)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", DEFAULTS, ids=lambda case: case.name)
def test_loop_has_the_bits_of_the_class_and_is_vectorised(case, dtype):
    rule, loop = run_beside_the_class(case, dtype, training_loop)
    (text,) = loop.inspect_asm().values()
    assert packed(text, "mul", dtype) >= 2
    assert not (rule in ROOTS and packed(text, "sqrt", dtype) == 0)
    assert not (rule in DIVISIONS and packed(text, "div", dtype) == 0)
    assert dtype == "float64" or not re.search(r"\bv?cvtps2pd\b", text), "the inner loop computes in float64"


def run_beside_the_class(case, dtype, make):
    """Check that nine steps of the function and the class give equal bits. Return the rule and the loop from `make`."""
    rng = np.random.default_rng(len(case.name))
    p = rng.standard_normal((5, 21)).astype(dtype)
    q = p.copy()
    opt = case.make(q, lr=case.schedule(RATE), weight_decay=0.01)
    grads = (rng.standard_normal((9, *p.shape)) * 10.0 ** rng.uniform(-9, 2, (9, *p.shape))).astype(dtype)
    grads[8, 0, :4] = [np.nan, np.inf, -np.inf, np.finfo(dtype).smallest_subnormal]
    state = state_of(opt)
    name, given = kernel_of(case, opt)
    loop = make(name, given)
    loop(p, grads, state)
    for g in grads:
        opt.step(g)
    assert same_bits(p, q)
    for x, y in zip(state, opt.state.values(), strict=False):
        assert same_bits(x, y)
    if RULES[opt.rule].carry:
        assert state[-1].tolist() == opt.state_dict()["carry"][0].tolist()
    return opt.rule, loop


@pytest.mark.parametrize("decay", ["coupled", "decoupled", "independent"])
def test_kinds_of_decay_and_the_scale_of_the_rate_from_python(decay):
    p = np.linspace(-1, 1, 33)
    q = p.copy()
    opt = flr.Adam(q, 0.1, weight_decay=0.05, decay=decay, lr_scale=0.3)
    state = state_of(opt)
    for n in range(3):
        kernels.adam(p, np.cos(p), state, n, 0.1, weight_decay=0.05, decay=decay, lr_scale=0.3)
        opt.step(np.cos(q))
    assert p.tobytes() == q.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rate_scaled_by_zero_freezes_and_the_state_goes_on(dtype):
    p = np.linspace(-1, 1, 37).astype(dtype)
    g = np.cos(p)
    g[:3] = [np.nan, np.inf, 1e-30]
    before, q = p.copy(), p.copy()
    opt = flr.Adam(q, 0.1, weight_decay=0.5, decay="independent", lr_scale=0)
    state = state_of(opt)
    _nrt_python.memsys_enable_stats()
    alive = rtsys.get_allocation_stats()
    for n in range(3):
        kernels.adam(p, g, state, n, 0.1, weight_decay=0.5, decay="independent", lr_scale=0)
        opt.step(g)
    after = rtsys.get_allocation_stats()
    assert after.alloc - alive.alloc == after.free - alive.free >= 3, "what is set aside is freed"
    assert same_bits(p, before)
    assert all(same_bits(x, y) for x, y in zip(state, opt.state.values(), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the process in /proc")
def test_without_memory_to_set_frozen_parameters_aside_nothing_changes():
    script = """
        import resource
        import numpy as np, pyfastlr as flr
        p, g, m = np.ones(20_000_000), np.ones(20_000_000), np.zeros(20_000_000)
        step = flr.kernels.lion
        step(p[:3], g[:3], (m[:3],), 0, 0.1, lr_scale=0.0)  # compiled by now
        m[:3] = 0
        size = 4096 * int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000, -1))
        try:
            step(p, g, (m,), 0, 0.1, lr_scale=0.0)
        except MemoryError:
            print(p.min(), p.max(), m.max())
    """
    assert processes.run(script) == "1.0 1.0 0.0"


def test_unset_arguments_are_the_conventions():
    for convention in (None, "keras", "optax"):
        p = np.linspace(-1, 1, 33)
        q = p.copy()
        opt = flr.AdamW(q, 0.1, convention=convention)
        kernels.adamw(p, np.sin(p), state_of(opt), 0, 0.1, convention=convention)
        opt.step(np.sin(q))
        assert p.tobytes() == q.tobytes()


def test_numbers_of_other_types_are_computed_in_float64():
    """In numba, float(x) of a float32 is a float32, so a fold in it would be off by 1e-8."""
    p, q = np.ones(5, np.float32), np.ones(5, np.float32)
    moments = [(np.zeros(5, np.float32), np.zeros(5, np.float32)) for _ in range(2)]
    kernels.adam(p, p.copy(), moments[0], np.uint8(6), np.float32(0.25), (0.5, np.float32(0.75)), weight_decay=1)
    kernels.adam(q, q.copy(), moments[1], 6, 0.25, (0.5, 0.75), weight_decay=1.0)
    assert p.tobytes() == q.tobytes()


def test_literal_numbers_do_not_change_the_bits():
    """LLVM would make x*x of x**2.0: n is 1, so that the second beta is squared."""
    squares = [x for x in np.random.default_rng(0).uniform(0.5, 1, 100_000).tolist() if x**2.0 != x * x]
    assert squares  # one of a thousand

    @njit
    def literal(p, g, m, v, b):
        for k in range(len(p)):
            kernels.adam(p[k], g[k], (m[k], v[k]), 1, 0.1, (0.5, b[k]), 1e-8)

    b = np.array(squares)
    p, q = (np.zeros((len(b), 8)) for _ in range(2))
    g = np.random.default_rng(0).standard_normal(p.shape)
    literal(p, g, np.zeros_like(p), np.zeros_like(p), b)
    for k, beta in enumerate(squares):
        opt = flr.Adam(q[k], 0.1, betas=(0.5, beta))
        opt.load_state_dict({**opt.state_dict(), "counts": np.array([1])})
        opt.step(g[k])
    assert p.tobytes() == q.tobytes()


FLAGS = [{}, {"fastmath": True}, {"error_model": "python"}, {"parallel": True}, {"boundscheck": True}, {"debug": True},
         {"nogil": True}, {"forceinline": True}]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=repr)
def test_flags_of_the_first_caller_change_nothing(flags):
    """A dispatcher without its own options inherits fastmath from its first caller, for all callers."""
    steps.make_kernel.cache_clear()
    steps._update.cache_clear()
    fresh = entry.make(FUNCTIONS["radam"])

    @njit(**flags)
    def loop(p, g, state):
        total = 0.0
        for n in prange(1):
            fresh(p, g, state, n, 0.1, (0.9, 0.99), 1e-8)
            total += 1.0
        return total

    p = np.linspace(-3, 3, 64).astype(np.float32)
    p[5] = np.nan
    q, g = p.copy(), np.sin(p)
    loop(p, g, (np.zeros_like(p), np.zeros_like(p)))
    flr.RAdam(q, 0.1, betas=(0.9, 0.99)).step(g)
    assert same_bits(p, q)
    for text, code in zip(fresh.inspect_asm().values(), fresh.inspect_llvm().values(), strict=True):
        assert packed(text, "sqrt", "float32")
        assert not re.search(r"= f(add|mul|sub|div) (fast|nnan|reassoc)", code)


def test_models_side_by_side_in_a_parallel_loop():
    @njit(parallel=True)
    def train(p, g, m, v):
        for k in prange(len(p)):
            for n in range(5):
                flr.kernels.adam(p[k], g[k], (m[k], v[k]), n, 0.01)

    p = np.random.default_rng(0).standard_normal((16, 50))
    q, g = p.copy(), np.sin(p)
    train(p, g, np.zeros_like(p), np.zeros_like(p))
    opt = flr.Adam(q, 0.01)
    for _ in range(5):
        opt.step(g)
    assert p.tobytes() == q.tobytes()


# --- What is refused -------------------------------------------------------------------------------------------------

P = np.ones((4, 6))
READONLY = np.ones((4, 6))
READONLY.flags.writeable = False
MOMENTS = (np.zeros((4, 6)), np.zeros((4, 6)))


@pytest.mark.parametrize(
    ("error", "words", "arguments"),
    [
        (TypeError, "`p` must be a C-contiguous", {"p": P.T}),
        (TypeError, "`p` must be a C-contiguous", {"p": P[:, ::2]}),
        (TypeError, "`p` must be a C-contiguous", {"p": READONLY}),
        (TypeError, "`p` must be a C-contiguous", {"p": P.astype(np.int64)}),
        (TypeError, "`p` must be a C-contiguous", {"p": 1.0}),
        (
            TypeError,
            r"`g` must be like `p`, array\(float64, 2d, C\), got array\(float32, 2d, C\)",
            {"g": P.astype("f")},
        ),
        (TypeError, "`g` must be like `p`", {"g": P.ravel()}),
        (TypeError, "`g` must be like `p`", {"g": np.asfortranarray(P)}),
        (TypeError, r"`state` must be the tuple of 2 arrays \(exp_avg, exp_avg_sq\)", {"state": MOMENTS[:1]}),
        (TypeError, "`state` must be the tuple of 2 arrays", {"state": (*MOMENTS, np.ones(1))}),
        (TypeError, "`state` must be the tuple of 2 arrays", {"state": ()}),
        (TypeError, "`state` must be the tuple of 2 arrays", {"state": np.zeros((2, 4, 6))}),
        (TypeError, r"`state\[1\]` must be exp_avg_sq", {"state": (MOMENTS[0], np.zeros((4, 6), "f"))}),
        (TypeError, r"`state\[0\]` must be exp_avg", {"state": (READONLY, MOMENTS[1])}),
        (TypeError, "`n` must be an integer, got float64", {"n": 0.0}),
        (TypeError, "`lr` must be a number, got none", {"lr": None}),
        (TypeError, "`lr` must be a number, got unicode", {"lr": "0.1"}),
        (TypeError, "`betas` must be a pair of numbers", {"betas": (0.9,)}),
        (TypeError, "`betas` must be a pair of numbers", {"betas": 0.9}),
        (TypeError, r"`betas\[1\]` must be a number", {"betas": (0.9, "x")}),
        (ValueError, "`decay` must be 'coupled' or 'decoupled' or 'independent', got float64", {"decay": 1.0}),
        (ValueError, "`decay` must be 'coupled' or 'decoupled' or 'independent', got 'half'", {"decay": "half"}),
        (ValueError, "`convention` must be 'torch' or .*, got 'numpy'", {"convention": "numpy"}),
        (ValueError, "must have the shape of `p`", {"g": np.ones((4, 5))}),
        (ValueError, "must have the shape of `p`", {"state": (MOMENTS[0], np.zeros((3, 6)))}),
        (ValueError, "`n` must be >= 0", {"n": -1}),
    ],
)
def test_bad_argument_is_named_and_nothing_changes(error, words, arguments):
    before = [x.copy() for x in (P, *MOMENTS)]
    with pytest.raises(error, match=words):
        kernels.adam(**{"p": P, "g": np.ones((4, 6)), "state": MOMENTS, "n": 0, "lr": 0.1, **arguments})
    for x, y in zip((P, *MOMENTS), before, strict=True):
        assert np.array_equal(x, y)


def test_carry_is_checked():
    p = np.ones(3)
    for carry, error in ((np.ones(1, np.float32), TypeError), (np.ones(2), ValueError), (np.ones(0), ValueError)):
        with pytest.raises(error, match=r"state"):
            kernels.nadam(p, p.copy(), (np.zeros(3), np.zeros(3), carry), 0, 0.1)
    assert p.tolist() == [1.0, 1.0, 1.0]


def test_what_a_convention_lacks_is_refused():
    with pytest.raises(ValueError, match="`momentum_decay` must be left out: optax's NAdam does not have it"):
        kernels.nadam(np.ones(3), np.ones(3), (np.zeros(3), np.zeros(3), np.ones(1)), 0, 0.1, momentum_decay=0.1,
                      convention="optax")  # fmt: skip


def test_error_in_jitted_code_is_the_same():
    @njit
    def wrong(p, m):
        kernels.adam(p, p, (m,), 0, 0.1)

    with pytest.raises(TypeError, match="`state` must be the tuple of 2 arrays"):
        wrong(np.ones(3), np.zeros(3))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
def test_any_shape(shape):
    p = np.full(shape, 2.0)
    kernels.lion(p, np.ones(shape), (np.zeros(shape),), 0, 0.5, weight_decay=0.0)
    assert (p == 1.5).all()


# --- The disk cache of users' functions ------------------------------------------------------------------------------

RULE_PROGRAM = """
import numpy as np
from numba import njit
import pyfastlr as flr

@njit(cache=True)
def loop(p, g):
    for n in range(3):
        flr.kernels.sgd(p, g, (), n, 0.25)

p = np.ones(4)
loop(p, np.ones(4))
print(p[0], sum(loop.stats.cache_hits.values()))
"""
NORM_PROGRAM = """
import numpy as np
from numba import njit
import pyfastlr as flr

@njit(cache=True)
def clip(g):
    return flr.kernels.clip_by_global_norm(g, 2.5, convention="keras")

g = np.array([3.0, 4.0])
print(clip(g), g[0], sum(clip.stats.cache_hits.values()))
"""
SCHEDULE_PROGRAM = """
import sys
from numba import njit
from pyfastlr import schedules as S

rate = S.Constant(float(sys.argv[1])).compiled

@njit(cache=True)
def loop():
    return rate(0)

print(loop(), sum(loop.stats.cache_hits.values()))
"""


@pytest.fixture
def run(tmp_path):
    """Run a program in tmp_path, where it finds pyfastlr if it was copied there, and split what it prints."""

    def run(program, *arguments):
        (tmp_path / "program.py").write_text(program)
        paths = [str(tmp_path), *sys.path]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "program.py", *arguments]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return result.stdout.split()

    return run


def test_cached_caller_is_compiled_again_when_a_rule_changes(run, tmp_path):
    """Numba's key covers only the user's file: without the stamp, the third run prints 0.25 1."""
    for name, folder in (("pyfastlr", ROOT), ("pyfastlr_kernels", ROOT / "kernels")):
        shutil.copytree(folder / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(RULE_PROGRAM) == ["0.25", "0"]
    assert run(RULE_PROGRAM) == ["0.25", "1"]
    rules = tmp_path / "pyfastlr_kernels" / "rules" / "sgd.py"
    edited = rules.read_text(encoding="utf-8").replace("return r.lr * g, s", "return r.lr * (g + g), s")
    rules.write_text(edited, encoding="utf-8")
    assert run(RULE_PROGRAM) == ["-0.5", "0"]
    assert run(RULE_PROGRAM) == ["-0.5", "1"]


def test_cached_caller_is_compiled_again_when_the_norm_changes(run, tmp_path):
    for name, folder in (("pyfastlr", ROOT), ("pyfastlr_kernels", ROOT / "kernels")):
        shutil.copytree(folder / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert run(NORM_PROGRAM) == ["5.0", "1.5", "0"]
    assert run(NORM_PROGRAM) == ["5.0", "1.5", "1"]
    edited = tmp_path / "pyfastlr_kernels" / "reduce.py"
    text, line = edited.read_text(encoding="utf-8"), "return math.sqrt(total) * factor / scale"
    assert text.count(line) == 1
    edited.write_text(text.replace(line, "return 2 * math.sqrt(total)"), encoding="utf-8")
    assert run(NORM_PROGRAM) == ["10.0", "0.75", "0"]
    assert run(NORM_PROGRAM) == ["10.0", "0.75", "1"]


def test_cached_caller_does_not_keep_a_schedule(run):
    """Numba freezes a global but its key does not cover the value: without the stamp, the second run prints 0.5 1."""
    assert run(SCHEDULE_PROGRAM, "0.5") == ["0.5", "0"]
    assert run(SCHEDULE_PROGRAM, "0.25") == ["0.25", "0"]


def test_stamp_of_code_that_is_gone_is_a_missing_entry():
    for module, name in (("pyfastlr._gone", "digest"), ("pyfastlr.kernels.entry", "gone")):
        with pytest.raises(OSError, match="another pyfastlr"):
            stamps.renew(module, name, "")
    assert isinstance(pickle.loads(pickle.dumps(stamps.Stamp(entry.digest))), stamps.Stamp)
