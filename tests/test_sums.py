"""The order-fixed sum: the bits of its definition, in vector instructions on every target."""

import ctypes
import math
import re
from concurrent.futures import ThreadPoolExecutor

import llvmlite.binding as llvm
import numpy as np
import pytest

import sums
from pyfastlr_kernels import reduce, tables
from pyfastlr_kernels.compile import codegen
from pyfastlr_kernels.cpu import load
from pyfastlr_kernels.cpu import reduce as cpu_reduce
from test_assembly import disassembled, packed
from test_rules import same_bits

SIZES = (0, 1, 3, 7, 15, 16, 17, 1023, 1024, 1025, 4097, 100_003)
DTYPES = ("float32", "float64")
_I64 = ctypes.c_int64


def functions(dtype):
    """Return ``squares(start, size, partials, scale)`` and ``count(start, size, partials)``."""
    found = load.sum_addresses(dtype)
    squares = ctypes.CFUNCTYPE(None, _I64, _I64, _I64, ctypes.c_double)(found[load.SQUARES])
    return squares, ctypes.CFUNCTYPE(_I64, _I64, _I64, _I64)(found[load.NONFINITE])


def partials_of(x, scale=1.0):
    """Partial sums of an array, from compiled code. No memory beyond them is written."""
    out = np.full(-(-x.size // sums.UNIT) + 1, np.nan)
    functions(x.dtype.name)[0](x.ctypes.data, x.size, out.ctypes.data, scale)
    assert np.isnan(out[-1])
    return out[:-1]


def numbers(n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-30, 30, n)
    x[rng.random(n) < 0.1] *= 0.0  # some are -0.0
    return x.astype(dtype)


def test_the_facts_are_those_of_the_definition():
    assert (reduce.UNIT, reduce.LANES) == (sums.UNIT, sums.LANES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_partial_sums_have_the_bits_of_the_definition(n, dtype):
    for x in (numbers(n, dtype), np.random.default_rng(n).standard_normal(n).astype(dtype)):
        for scale in (1.0, 2.0**-600, 0.3):
            assert same_bits(partials_of(x, scale), sums.partial_sums(x, scale))


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    info = np.finfo(dtype)
    special = [np.nan, -np.nan, np.inf, -np.inf, -0.0, info.smallest_subnormal, -info.tiny / 2, info.max]
    for value in special:
        for at in (0, 17, 1023, 1024, 2050):
            x = numbers(2051, dtype)
            x[at] = value
            assert same_bits(partials_of(x), sums.partial_sums(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("length", "threads"), [(1024, 1), (3072, 2), (16384, 4)])
def test_bits_do_not_depend_on_chunks_and_threads(dtype, length, threads):
    """Chunks in random order, as threads claim them."""
    tensors = [numbers(n, dtype, n) for n in (*SIZES, 20_000)]
    firsts = np.cumsum([0, *(-(-x.size // sums.UNIT) for x in tensors)])
    partials = np.full(firsts[-1], np.nan)
    squares, _ = functions(dtype)
    chunks = tables.chunk_table([x.size for x in tensors], length)
    np.random.default_rng(0).shuffle(chunks)

    def work(chunk):
        k, first, size = chunk.tolist()
        out = partials.ctypes.data + 8 * (firsts[k] + first // sums.UNIT)
        squares(tensors[k].ctypes.data + first * tensors[k].itemsize, size, out, 1.0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, chunks))
    total = added(partials)
    assert total == sums.sum_of_squares(tensors)


def added(partials):
    """Total of partial sums, from compiled code."""
    address = codegen.load(
        "test-add", load.digest(load.SUM_SOURCES), lambda: codegen.emit({"add": (add, ADD)}), ("add",)
    )
    return ctypes.CFUNCTYPE(ctypes.c_double, _I64, _I64)(address["add"])(partials.ctypes.data, partials.size)


def add(partials, n):
    return cpu_reduce.add_partials(partials, n)


ADD = cpu_reduce.types.float64(cpu_reduce.types.int64, cpu_reduce.types.int64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elements_that_are_not_finite_are_counted(dtype):
    rng = np.random.default_rng(5)
    _, count = functions(dtype)
    for n in SIZES:
        x = rng.standard_normal(n).astype(dtype)
        for share in (0.0, 0.001, 0.5, 1.0):
            bad = rng.random(n) < share
            x[bad] = rng.choice([np.nan, np.inf, -np.inf], bad.sum())
            partials = partials_of(x)
            assert count(x.ctypes.data, n, partials.ctypes.data) == n - np.isfinite(x).sum()


def test_a_sum_that_overflows_has_no_element_that_is_not_finite():
    x = np.full(3000, 1e200)
    partials = partials_of(x)
    assert np.isinf(partials).all()
    assert functions("float64")[1](x.ctypes.data, x.size, partials.ctypes.data) == 0


def test_scale_is_exact_and_the_limits_are_safe():
    """With the scale, neither the largest nor the smallest number is lost, for up to 2**54 elements."""
    info = np.finfo(np.float64)
    down, up = reduce.scale_for(math.inf), reduce.scale_for(0.0)
    assert math.frexp(down)[0] == math.frexp(up)[0] == 0.5
    assert (float(info.max) * down) ** 2 * 2.0**54 < info.max
    assert (float(info.smallest_subnormal) * up) ** 2 > info.tiny
    assert (math.sqrt(reduce.SMALL) * up) ** 2 * 2.0**54 < info.max  # the largest element of a small sum
    assert [reduce.scale_for(x) for x in (reduce.SMALL, 1.0, float(info.max))] == [1.0] * 3
    assert reduce.scale_for(math.nan) == 1.0
    assert reduce.SMALL * 2.0**-53 >= 2.0**54 * 2.0**-1075  # what rounding subnormal squares can change


# --- Machine code ----------------------------------------------------------------------------------------------------

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
TARGETS = {
    "x86-64": (X86, "x86-64", "xmm"),
    "x86-64-v2": (X86, "x86-64-v2", "xmm"),
    "x86-64-v3": (X86, "x86-64-v3", "ymm"),
    "x86-64-v4": (X86, "x86-64-v4", "zmm"),
    "aarch64": (ARM, "generic", "2d"),
}
NUMBERS = {"xmm": 2, "ymm": 4, "zmm": 8, "2d": 2}  # float64 in a register
OPERATIONS = {X86: ("addpd", "mulpd", "cvtps2pd", "addsd"), ARM: ("fadd", "fmul", "fcvtl2?", r"fadd\td")}


@pytest.fixture(scope="module")
def codes():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return {dtype: str(codegen.module(load.sum_entries(dtype), codegen.machine())) for dtype in DTYPES}


def assembly(code, triple, cpu):
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="large")
    module = llvm.parse_assembly(code)
    module.triple = triple
    return machine.emit_assembly(module)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
def test_sums_are_packed_and_never_fused_on_every_target(codes, target, dtype):
    triple, cpu, register = TARGETS[target]
    text = assembly(codes[dtype], triple, cpu)
    add, multiply, convert, add_one = OPERATIONS[triple]

    def count(operation):
        return len(re.findall(rf"^\s+v?{operation}\t.*{register}", text, re.MULTILINE))

    a_row = sums.LANES // NUMBERS[register]
    assert count(add) >= 4 * a_row  # whole blocks and the last one, scaled or not
    assert count(multiply) >= 6 * a_row
    assert count(convert) >= 4 * a_row or dtype == "float64"
    # The sum of a block's lanes is in order, so it is scalar: 15 additions, at each of the four.
    assert len(re.findall(rf"^\s+v?{add_one}", text, re.MULTILINE)) <= 4 * 15 + 8
    assert not re.search(r"\bv?fn?m(add|sub|la|ls)", text)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_this_machine_are_packed(dtype):
    text = disassembled(codegen.emit(load.sum_entries(dtype)))
    assert packed(text, "add", "float64") >= 8
    assert packed(text, "mul", "float64") >= 12
    assert "fmadd" not in text
