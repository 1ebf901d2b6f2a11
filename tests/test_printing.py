"""The printer: plain Python as C, or refused with file and line."""

import ctypes
import inspect
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pyfastlr_kernels import compat_curves, curves, reduce, stage_rules
from pyfastlr_kernels.printing import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    Array,
    C,
    Callback,
    Native,
    Opaque,
    Printer,
    Record,
    Struct,
    Tuple,
    Unprintable,
    scaled,
)
from pyfastlr_kernels.printing.expressions import Value
from pyfastlr_kernels.rules import RULES, asgd, contract, ftrl

HEAD = "#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n"
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror",
         "-Wno-unused-function")  # fmt: skip
SCHEDULE = Callback("struct schedule", INT64, FLOAT64, "{f}.at({f}.data, {x})")
FALL = Callback("struct fall", FLOAT64, FLOAT64, "{f}.at({f}.data, {x})")
CALLBACKS = """
struct schedule { double (*at)(const void *, int64_t); const void *data; };
struct fall { double (*at)(const void *, double); const void *data; };
"""
HYPER = sorted({name for rule in RULES.values() for name in rule.hyper})
ROW = Struct(
    "const struct row *",
    {**dict.fromkeys(("lr", "lr_scale", "weight_decay", "tiny", "half_ulp", *HYPER), FLOAT64), "decay": INT64},
)
ROW_TEXT = f"struct row {{ double {', '.join(name for name in ROW.fields if name != 'decay')}; int64_t decay; }};\n"
DECAYS = {"COUPLED": Value("0", INT64), "DECOUPLED": Value("1", INT64), "INDEPENDENT": Value("2", INT64)}
# Types of the curves' parameters by their names: integers, and what is special in some curves.
INTEGERS = {"n", "steps", "every", "warmup", "stable", "half", "period", "up", "down", "at", "last"}
SPECIAL = {
    "s": SCHEDULE, "t": SCHEDULE, "fall": FALL, "per_cycle": BOOL, "milestones": Array(INT64),
    "boundaries": Array(INT64), "values": Array(FLOAT64), "warmup_stable_decay.decay": INT64,
    "three_phases.up": FLOAT64, "three_phases.down": FLOAT64, "interpolated.boundaries": Array(FLOAT64),
}  # fmt: skip
PARTS = ("lerp", "grown", "linear_fall", "cosine_fall", "sqrt_fall", "square_fall", "atanh_rest", "stirling")
CURVES = {
    name: f
    for module in (curves, compat_curves)
    for name, f in vars(module).items()
    if inspect.isfunction(f) and f.__module__ == module.__name__
}


def kind_of(curve, name):
    if curve in PARTS:
        return FLOAT64
    own = SPECIAL.get(f"{curve}.{name}") or SPECIAL.get(name)
    return own or (INT64 if name in INTEGERS else FLOAT64)


def kinds_of(curve):
    return [kind_of(curve, name) for name in inspect.signature(CURVES[curve]).parameters]


def library(tmp_path, printer, *exported, head=""):
    """Compile what has been printed, with functions of that text that call it."""
    cc = shutil.which("cc") or pytest.skip("needs a C compiler")
    text = HEAD + head + "\n".join(printer.parts) + "\n".join(exported)
    (tmp_path / "printed.c").write_text(text)
    subprocess.run([cc, *FLAGS, "-fPIC", "-shared", "-o", "printed.so", "printed.c", "-lm"], cwd=tmp_path, check=True)
    return ctypes.CDLL(str(tmp_path / "printed.so"))


# --- Everything that there is to print prints, compiles without a warning, and gives the same bits --------------------


def test_every_rule_and_fold_prints(tmp_path):
    printer = Printer(C, constants=DECAYS, names={ftrl.Rates: "ftrl_rates"})
    for name, rule in RULES.items():
        for fold in rule.folds.values():
            h, r, _ = printer.function(fold, [ROW, FLOAT64, Tuple((FLOAT64,) * len(rule.carry))]).returns.items
        for kind in (FLOAT32, FLOAT64):
            for by_element in (False, True):
                element = contract.make_element(rule.update, scaled, by_element, lambda f: f, rule.sets)
                for decays in (False, True):
                    state = Tuple((kind,) * len(rule.slots))
                    printed = printer.function(
                        element,
                        [kind, kind, kind, state, Record(h.cls, kind), Record(r.cls, kind), kind,
                         Record(contract.Common, kind)],
                        name=f"{name}_{by_element}_{decays}{C.suffixes[kind]}",
                        bound={"decays": decays},
                    )  # fmt: skip
                    assert printed.returns == Tuple((kind, state))
    library(tmp_path, printer, head=ROW_TEXT)


def printed_curves():
    printer = Printer(C, names={curves.clip: "clip_schedule"})
    for name, f in CURVES.items():
        if name != "passed":
            printer.function(f, kinds_of(name))
    return printer


def test_every_curve_prints(tmp_path):
    library(tmp_path, printed_curves(), head=CALLBACKS)


def test_options_print(tmp_path):
    def itself(f):
        return f

    def sum_of(where, scale):
        raise NotImplementedError

    where = Opaque("const double *")
    printer = Printer(C, natives={sum_of: Native("sum_of", (where, FLOAT64), FLOAT64)})
    for factor in reduce.FACTORS.values():
        printer.function(factor, [FLOAT64] * 2)
    for kind in (FLOAT32, FLOAT64):
        printer.function(stage_rules.clamped, [kind] * 3)
        printer.function(stage_rules.continues, [INT64, kind])
        printer.function(stage_rules.moved_average, [kind] * 4)
    printer.function(stage_rules.make_factor(itself), [INT64, FLOAT64, FLOAT64, INT64, FLOAT64, FLOAT64])
    after_skip, after_update = stage_rules.make_scaling(itself)
    printer.function(after_skip, [FLOAT64, INT64, INT64, INT64, FLOAT64])
    printer.function(after_update, [FLOAT64, INT64, INT64, FLOAT64, FLOAT64, INT64])
    printer.function(stage_rules.make_rescaled(itself), [FLOAT64] * 3)
    printer.function(stage_rules.unscale, [INT64, INT64, FLOAT64])
    printer.function(stage_rules.make_norm(itself, sum_of, True), [where, FLOAT64])
    library(tmp_path, printer, head="double sum_of(const double *, double);\n")


EXAMPLES = {  # of curves that loop, branch and have arrays; the rest of the schedules is compared by their own tests
    "cosine_restarts": [(0.1, 3, 2.0, 0.9, 0.01), (0.1, 5, 1.0, 0.5, 0.0)],
    "cyclic": [(0.1, 0.5, 3, 4, 0.9, True), (0.1, 0.5, 2, 2, 0.99, False)],
    "time_decay": [(0.1, 0.01), (0.1, 0.5), (0.3, 1e-9)],
    "polynomial_cycle": [(0.1, 7, 0.01, 2.0)],
    "scaled_restarts": [(0.1, 3, 1.5, 0.9, 0.01), (0.1, 4, 1.0, 0.5, 0.0)],
    "multi_step": [(0.1, (3, 10, 20), 0.1)],
    "piecewise": [((3, 10), (0.1, 0.2, 0.3))],
    "exponential": [(0.1, 2.0, 1), (0.1, 0.9, 7)],
    "staircase": [(0.1, 0.9, 7)],
    "step_decay": [(0.1, 0.5, 4)],
    "cosine_wave": [(0.1, 6, 0.01)],
}


def c_argument(kind, x):
    if isinstance(kind, Array):
        item = C.types[kind.item]
        return f"(const {item}[]){{{', '.join(map(repr, x))}}}, {len(x)}" if len(x) else "NULL, 0"
    return str(x).lower() if kind == BOOL else repr(x)


@pytest.mark.parametrize("curve", EXAMPLES)
def test_printed_curves_have_pythons_bits(curve, tmp_path):
    printer = Printer(C)
    printed = printer.function(CURVES[curve], kinds_of(curve))
    calls = []
    for k, given in enumerate(EXAMPLES[curve]):
        parts = [c_argument(kind, x) for kind, x in zip(kinds_of(curve)[1:], given, strict=True)]
        parts = [
            x.rpartition(",")[0] if isinstance(kind, Array) and use == 1 else x
            for x, kind, use in zip(parts, kinds_of(curve)[1:], printed.uses[1:], strict=True)
        ]
        calls.append(f"double at{k}(int64_t n) {{ return {printed.name}({', '.join(['n', *parts])}); }}")
    lib = library(tmp_path, printer, *calls)
    for k, given in enumerate(EXAMPLES[curve]):
        f = lib[f"at{k}"]
        f.restype, f.argtypes = ctypes.c_double, [ctypes.c_int64]
        for n in [*range(60), 1000, 12_345]:
            assert f(n).hex() == float(CURVES[curve](n, *given)).hex(), (given, n)


def quotients(a, b):
    return a // b, a % b


def float_quotient(x, y):
    return x // y


def order(x, y):
    return max(x, y), min(x, y)


def test_pythons_division_and_order(tmp_path):
    printer = Printer(C)
    printed = printer.function(quotients, [INT64, INT64])
    printer.function(float_quotient, [FLOAT64, FLOAT64])
    both = printer.function(order, [FLOAT64, FLOAT64])
    lib = library(
        tmp_path,
        printer,
        f"int64_t q(int64_t a, int64_t b) {{ return {printed.name}(a, b).x0; }}",
        f"int64_t r(int64_t a, int64_t b) {{ return {printed.name}(a, b).x1; }}",
        "double f(double a, double b) { return float_quotient(a, b); }",
        f"double larger(double a, double b) {{ return {both.name}(a, b).x0; }}",
        f"double smaller(double a, double b) {{ return {both.name}(a, b).x1; }}",
    )
    for f in (lib.q, lib.r):
        f.restype, f.argtypes = ctypes.c_int64, [ctypes.c_int64] * 2
    for f in (lib.f, lib.larger, lib.smaller):
        f.restype, f.argtypes = ctypes.c_double, [ctypes.c_double] * 2
    for a in (-7, -6, 0, 5, 6, 7):
        for b in (-3, -2, 2, 3):
            assert (lib.q(a, b), lib.r(a, b)) == (a // b, a % b)
            for x, y in ((a, b), (a + 0.1, b + 0.3), (a * 1e17, b)):
                assert lib.f(x, y).hex() == (float(x) // float(y)).hex()
    nan = math.nan
    for x, y in ((1.0, 2.0), (2.0, 1.0), (0.0, -0.0), (-0.0, 0.0), (nan, 1.0), (1.0, nan)):
        assert lib.larger(x, y).hex() == max(x, y).hex()
        assert lib.smaller(x, y).hex() == min(x, y).hex()


# --- Types, literals and statements -----------------------------------------------------------------------------------


def exchanged(a, b):
    a, b = b, a
    return a - b


def counted(n):
    found = 0
    while found * found < n:
        found = found + 1
    for k in range(2, 4):
        found += k
    return found


def either(n):
    if n > 3:
        x = 1.5
    elif n > 2:
        x = 2.5
    else:
        x, n = 0.5, n + 1
    return x * n


ZERO = np.float32(0)


def masked(x, low):
    return ZERO if abs(x) < low and not x > 1.0 else x


@pytest.mark.parametrize(
    ("f", "kinds", "examples"),
    [
        (exchanged, [FLOAT64, FLOAT64], [(1.0, 3.0)]),
        (counted, [INT64], [(0,), (26,)]),
        (either, [INT64], [(1,), (3,), (4,)]),
        (masked, [FLOAT64, FLOAT64], [(0.5, 1.0), (2.0, 3.0), (-2.0, 1.0)]),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_statements(f, kinds, examples, tmp_path):
    printer = Printer(C)
    printed = printer.function(f, kinds)
    names = [f"x{k}" for k in range(len(kinds))]
    given = ", ".join(f"{C.types[kind]} {x}" for kind, x in zip(kinds, names, strict=True))
    call = f"{C.types[printed.returns]} call({given}) {{ return {printed.call(*names)}; }}"
    lib = library(tmp_path, printer, call)
    c = {INT64: ctypes.c_int64, FLOAT64: ctypes.c_double}
    lib.call.restype, lib.call.argtypes = c[printed.returns], [c[x] for x in kinds]
    for example in examples:
        assert lib.call(*example) == f(*example)


def test_one_text_for_two_types():
    printer = Printer(C)
    printer.function(contract.maximum, [FLOAT32, FLOAT32])
    printer.function(contract.maximum, [FLOAT64, FLOAT64])
    assert printer.parts[0].replace("_f32", "").replace("float", "double") == printer.parts[1]
    printer.function(contract.maximum, [FLOAT64, FLOAT64])
    assert len(printer.parts) == 2  # each once


def test_comments_are_those_of_the_text():
    printer = Printer(C)
    adagrad = RULES["adagrad"]
    h, r = (Record(type(x), FLOAT32) for x in contract.numbers_like(adagrad, adagrad.folds["torch"], float))
    printer.function(adagrad.update, [FLOAT32, FLOAT32, Tuple((FLOAT32,)), h, r])
    text = "\n".join(printer.parts)
    assert "// The sum is not flushed. It never decays" in text
    assert "/* Numbers of AdaGrad. */" in text


def test_printing_is_the_same_in_every_process():
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests'); import test_printing as t;"
        "print(hashlib.sha256(''.join(t.printed_curves().parts).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1


def test_printing_loads_no_compiler():
    modules = "sys, pyfastlr_kernels.printing, pyfastlr_kernels.rules"
    code = f"import {modules}; assert not {{'numba', 'llvmlite'}} & {{*sys.modules}}"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- What is refused --------------------------------------------------------------------------------------------------


def tried(x):
    try:
        return x
    finally:
        pass


def listed(x):
    return [x][0]


def text(x):
    return "a"


def chained(x):
    return 0.0 < x < 1.0


def truth(x):
    return 1.0 if x else 2.0


def powered(x):
    return x**2


def unknown(x):
    return math.gamma(x)


def named_call(x):
    return abs(x=x)


def nothing(x):
    y = x  # noqa: F841


def mixed(x):
    return (x, x) if x > 0.0 else x


def widened(x):
    y = 1
    y = x
    return y


def stepped(x):
    for _ in range(0, 4, 2):
        x = x + 1.0
    return x


def recursive(x):
    return recursive(x)


def starred(*x):
    return 1.0


def missing_name(x):
    return x + not_there  # noqa: F821


def shifted(x):
    return x << 1


def deleted(x):
    del x
    return 1.0


REFUSED = {
    tried: "Try cannot be printed",
    listed: r"Subscript|List",
    text: "the constant 'a' cannot be printed",
    chained: "only one of two numbers",
    truth: "a condition must be true or false",
    powered: "must be float64",
    unknown: r"`math.gamma` is not in the target's table",
    named_call: "with keywords",
    nothing: "it returns nothing",
    mixed: "no common type",
    widened: "float64 does not convert to int64",
    stepped: "without a step",
    recursive: "calls itself",
    starred: "only plain parameters",
    missing_name: "`not_there` is not known",
    shifted: "LShift cannot be printed",
    deleted: "Delete cannot be printed",
}


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_refused_with_file_and_line(f):
    printer = Printer(C)
    with pytest.raises(Unprintable, match=REFUSED[f]) as error:
        printer.function(f, [FLOAT64] * f.__code__.co_argcount)
    first = f.__code__.co_firstlineno
    lines = range(first, first + len(inspect.getsource(f).splitlines()))
    assert any(f"{__file__}:{line}: in `{f.__name__}`" in str(error.value) for line in lines)
    assert not printer.parts


@pytest.mark.parametrize("f", [max, lambda x: x, np.sin], ids=["builtin", "lambda", "ufunc"])
def test_refused_what_is_no_plain_function(f):
    with pytest.raises(Unprintable, match=r"can be printed|has a text"):
        Printer(C).function(f, [FLOAT64])


def test_refused_where_it_is_called_from():
    def inner(x):
        return x if x else 1.0

    def outer(x):
        return inner(x) + 1.0

    with pytest.raises(Unprintable, match=r"in `inner`: .*\n  called from .*in `outer`: `inner\(x\)`"):
        Printer(C).function(outer, [FLOAT64])


def test_a_name_is_given_once():
    def clip(x):
        return x

    printer = Printer(C)
    printer.function(clip, [FLOAT64])
    with pytest.raises(Unprintable, match="another function has the name clip already"):
        printer.function(curves.clip, [INT64, SCHEDULE, FLOAT64, FLOAT64])


def test_a_structure_has_its_own_name():
    printer = Printer(C)
    printer.record_name(Record(ftrl.Rates, FLOAT64))
    with pytest.raises(Unprintable, match="another structure has the name rates_f64 already"):
        printer.record_name(Record(asgd.Rates, FLOAT64))
