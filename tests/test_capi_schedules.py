"""Schedules of the C library: the bits of the Python schedules; NaN for arguments that are out of range."""

import ctypes
import math

import pytest

from c_library import compiler, library
from foreign_schedules import ROWS, ours
from pyfastlr import schedules as S
from pyfastlr.capi.source_schedules import CURVES, SCHEDULE, SHAPE, schedules_header
from pyfastlr_kernels import curves
from pyfastlr_kernels.printing import BOOL, FLOAT64, INT64, Array
from test_schedules import EXAMPLES

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
FOREIGN = [ours(library, row) for library, rows in ROWS.items() for row in rows if "lambda" not in row]
SCALED = S.torch.CyclicLR(0.1, 0.5, 3, 4, scale_fn=lambda k: 1.0 / (k + 1.0), scale_mode="iterations")
ALL = {f"{type(s).__name__}-{k}": s for k, s in enumerate([*(s for s, _ in EXAMPLES), *FOREIGN, SCALED])}
AT = [*range(70), *range(70, 3000, 7), 12_345, 10**6, 2**40]
BY_FUNCTION = {c.function: c for c in CURVES}
SHAPES = {f: f"fastlr_shape_{name.removesuffix('_fall')}" for name, f in vars(curves).items() if name.endswith("_fall")}
AT_TYPE = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p, ctypes.c_int64)
TYPES = {INT64: ctypes.c_int64, FLOAT64: ctypes.c_double, BOOL: ctypes.c_int}


class Schedule(ctypes.Structure):
    """fastlr_schedule."""

    _fields_ = (("at", AT_TYPE), ("data", ctypes.c_void_p))


def c_arguments(kind, x):
    """Arguments of a function for one of Python's."""
    if kind.type is SCHEDULE:
        f = in_c(x) if isinstance(x, S.Schedule) else x
        return [Schedule(AT_TYPE(lambda data, n: f(n)), None)]
    if kind.type is SHAPE:
        return [ctypes.cast(getattr(library(), SHAPES[x]), ctypes.c_void_p)]
    if isinstance(kind.type, Array):
        array = (TYPES[kind.type.item] * max(len(x), 1))(*x)
        return [array] if kind.type.item == FLOAT64 else [array, ctypes.c_int64(len(x))]
    return [TYPES[kind.type](x)]


def in_c(s):
    """A schedule as a function of n that calls the library, also for the schedules inside it."""
    if type(s).__name__ in ("Custom", "MultiplicativeLR"):
        return s
    curve, given = s._bound()
    c = BY_FUNCTION[curve]
    f = getattr(library(), f"fastlr_schedule_{c.name}")
    f.restype = ctypes.c_double
    kinds = list(c.parameters.values())[1:]
    parts = [y for kind, x in zip(kinds, given, strict=True) for y in c_arguments(kind, x)]
    return lambda n: f(ctypes.c_int64(n), *parts)


@pytest.mark.parametrize("name", ALL)
def test_bits_of_the_python_schedule(name):
    s = ALL[name]
    f = in_c(s)
    assert [f(n).hex() for n in AT] == [s(n).hex() for n in AT]


def test_every_curve_is_tried():
    def inside(s):
        curve, given = s._bound()
        yield curve
        for x in given:
            if isinstance(x, S.Schedule):
                yield from inside(x)

    assert {c.function for c in CURVES} <= {f for s in ALL.values() for f in inside(s)}


@pytest.mark.parametrize(("f", "name"), SHAPES.items(), ids=SHAPES.values())
def test_shapes(f, name):
    shape = getattr(library(), name)
    shape.restype, shape.argtypes = ctypes.c_double, [ctypes.c_double]
    for k in range(101):
        assert shape(k / 100).hex() == f(k / 100).hex()


WRONG = {
    INT64: (-1, 2**53 + 1, -(2**63), 2**63 - 1),
    FLOAT64: (math.nan, math.inf, -math.inf),
    BOOL: (2, -1),
}


GOOD = {"low": 0, "ratio": 0.5}  # other parameters may be 1


@pytest.mark.parametrize("c", CURVES, ids=lambda c: c.name)
def test_wrong_arguments_give_nan(c):
    f = getattr(library(), f"fastlr_schedule_{c.name}")
    f.restype = ctypes.c_double
    good = {
        x: c_arguments(kind, (1, 2) if isinstance(kind.type, Array) else GOOD.get(x, 1))
        if kind.type not in (SCHEDULE, SHAPE)
        else c_arguments(kind, S.Constant(0.5) if kind.type is SCHEDULE else curves.cosine_fall)
        for x, kind in c.parameters.items()
    }
    assert not math.isnan(f(*(y for parts in good.values() for y in parts)))
    for x, kind in c.parameters.items():
        if kind.type is SCHEDULE:
            wrong = [[Schedule(AT_TYPE(), None)]]
        elif kind.type is SHAPE:
            wrong = [[ctypes.c_void_p()]]
        elif isinstance(kind.type, Array):
            wrong = [[ctypes.c_void_p(), *good[x][1:]]]
            wrong += [[good[x][0], ctypes.c_int64(-1)]] if len(good[x]) == 2 else []
        else:
            zero = [0] if "1 to" in kind.words or "> 0" in kind.words else []
            below = [-1.0] if ">" in kind.words else []
            wrong = [[TYPES[kind.type](y)] for y in (*WRONG[kind.type], *zero, *below)]
        for parts in wrong:
            assert math.isnan(f(*(y for parts_ in {**good, x: parts}.values() for y in parts_))), (x, parts)


def test_header_declares_all():
    text = schedules_header()
    for c in CURVES:
        assert f"FASTLR_API double fastlr_schedule_{c.name}(int64_t n" in text
    assert "fastlr_schedule_cosine(int64_t n, double lr, double steps, double end);" in text
