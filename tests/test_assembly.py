"""The inner loops vectorise: packed arithmetic in the machine code that a step here runs."""

import inspect
import re

import capstone
import llvmlite.binding as llvm
import numpy as np
import pytest
from numba import njit, types
from numba.np.numpy_support import from_dtype

from pyfastlr_kernels.compile import codegen
from pyfastlr_kernels.compile.intrinsics import pointer, put
from pyfastlr_kernels.cpu import halves, load
from pyfastlr_kernels.cpu.elementwise import make_loops
from pyfastlr_kernels.packing import BFLOAT16, FLOAT16
from pyfastlr_kernels.rules import RULES


def texts(rule):
    """Source of a rule and of the helpers that it calls."""
    called = [x for x in rule.helpers if x.__name__ in rule.update.__code__.co_names]
    return "".join(inspect.getsource(x) for x in (rule.update, *called))


ROOTS = {name for name, rule in RULES.items() if "sqrt(" in texts(rule)}
DIVISIONS = {name for name, rule in RULES.items() if " / " in texts(rule)}
assert {"adam", "rmsprop"} <= ROOTS < {*ROOTS, "adamax"} <= DIVISIONS
LOOPS = 4  # with decay or without, one rate or one for each element
SUFFIX = {"float32": "ps", "float64": "pd"}


def packed(text, operation, dtype):
    """Number of packed instructions of that kind, with AVX or without."""
    return len(re.findall(rf"\bv?{operation}{SUFFIX[dtype]}\b", text))


def disassembled(image):
    """Mnemonics of an object's code, a line each."""
    x86 = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    x86.skipdata = True  # continue past bytes that are not instructions
    parts = [part.data() for part in llvm.ObjectFileRef.from_data(image).sections() if part.is_text()]
    return "\n".join(mnemonic for part in parts for _, _, mnemonic, _ in x86.disasm_lite(part, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_rule_is_vectorised(name, dtype):
    convention = next(iter(RULES[name].folds))
    text = disassembled(load.drive_object(name, convention, dtype, True))
    assert "ret" in text
    assert packed(text, "mul", dtype) >= 4 * LOOPS
    if name in ROOTS:
        assert packed(text, "sqrt", dtype) >= LOOPS
    if name in DIVISIONS:
        assert packed(text, "div", dtype) >= LOOPS
    if dtype == "float32":
        widened = re.findall(r"\bv?cvtps2pd\b", text)
        assert not widened, "the inner loop computes in float64"


# Packed instructions of each loop of the stages.
LOOPS_OF_STAGES = {
    "add_scaled": ("mul", "add"),
    "clamp": ("mul", "(?:min|cmplt)", "(?:max|cmplt)"),
    "difference": ("sub",),
    "move_average": ("mul", "add"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOOPS_OF_STAGES)
def test_loop_of_the_stages_is_vectorised(name, dtype):
    """Of what comes before and after an update."""
    loop, zero = getattr(make_loops(dtype), name), np.dtype(dtype).type(0)
    numbers = len(inspect.signature(loop.py_func).parameters) - 3
    text = disassembled(codegen.emit({"loop": emitted(loop, zero, numbers)}))
    for operation in LOOPS_OF_STAGES[name]:
        assert packed(text, operation, dtype), operation
    assert not re.findall(r"\bv?cvtps2pd\b", text)
    # All of them are in the code that a step runs, none of it in another form.
    whole = disassembled(load.stages_object(dtype))
    for operation in LOOPS_OF_STAGES[name]:
        assert packed(whole, operation, dtype) >= packed(text, operation, dtype)


# Of each loop over numbers of 16 bits, packed instructions of integers that it cannot do without.
LOOPS_OF_HALVES = {
    "widen": (2, r"vpmovzxwd|pmovzxwd|punpck[lh]wd|vpunpck[lh]wd"),
    "nearest": (2, r"v?psrld|v?paddd"),
    "follow": (2, r"v?psrld|v?paddd"),
    "join": (3, r"v?paddd"),
    "split": (3, r"v?psrld|v?paddd"),
    "random": (4, r"v?pmulld|v?pmuludq"),
}


@pytest.mark.parametrize("kind", [BFLOAT16, FLOAT16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", LOOPS_OF_HALVES)
def test_loop_over_numbers_of_16_bits_is_vectorised(name, kind):
    numbers, operation = LOOPS_OF_HALVES[name]
    loop = getattr(halves, name)
    bodies = {
        2: lambda n, a, b, c, d: loop(kind, n, a, b),
        3: lambda n, a, b, c, d: loop(kind, n, a, b, c),
        4: lambda n, a, b, c, d: loop(kind, n, a, b, c, d),
    }
    signature = types.void(*[types.int64] * 5)
    text = disassembled(codegen.emit({"loop": (bodies[numbers], signature)}, widest=True))
    assert len(re.findall(rf"^(?:{operation})$", text, re.MULTILINE)) >= 2


def emitted(loop, zero, numbers):
    """A loop by addresses, with that many numbers besides, and its signature."""
    real = from_dtype(zero.dtype)
    bodies = {
        0: lambda n, out, x: loop(n, pointer(out, zero), pointer(x, zero)),
        1: lambda n, out, x, a: loop(n, pointer(out, zero), pointer(x, zero), a),
        2: lambda n, out, x, a, b: loop(n, pointer(out, zero), pointer(x, zero), a, b),
    }
    return bodies[numbers], types.void(types.int64, types.int64, types.int64, *[real] * numbers)


def test_a_loop_that_checks_divisions_is_seen():
    """The test above can fail: with numba's default error model the loop stays scalar."""
    rule = njit(error_model="python")(lambda a, b: a / b)

    def loop(p, q, n):
        for i in range(n):
            put(pointer(p, 1.0), i, rule(pointer(p, 1.0)[i], pointer(q, 1.0)[i]))

    text = disassembled(codegen.emit({"loop": (loop, types.void(types.int64, types.int64, types.int64))}))
    assert packed(text, "div", "float64") == 0
    assert "divsd" in text


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", ["adam", "momentum", "rmsprop", "adamax"])
def test_packed_state_is_vectorised(name, form):
    """No element of packed state is computed alone, except at the end of a loop."""
    convention = next(iter(RULES[name].folds))
    text = disassembled(load.packed_drive_object(name, convention, (form,)))
    lines = text.splitlines()
    narrowed = sum(bool(re.match(r"v?p(mov\w*(dw|db)|ack(us|ss)\w+|shuf\w+)$", x)) for x in lines)
    assert narrowed >= 2 * len(RULES[name].slots), "codes are not stored as vectors"
    assert packed(text, "mul", "float32") >= 8
    if name in ROOTS:
        assert packed(text, "sqrt", "float32") >= 2  # with decay or without
