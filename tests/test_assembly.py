"""The inner loops vectorise: packed arithmetic in the machine code that a step here runs."""

import inspect
import re

import capstone
import llvmlite.binding as llvm
import pytest

from pyfastlr_kernels.compile import codegen
from pyfastlr_kernels.cpu import load
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


def test_a_loop_that_checks_divisions_is_seen():
    """The test above can fail: with numba's default error model the loop stays scalar."""
    from numba import njit, types

    from pyfastlr_kernels.compile.intrinsics import pointer, put

    rule = njit(error_model="python")(lambda a, b: a / b)

    def loop(p, q, n):
        for i in range(n):
            put(pointer(p, 1.0), i, rule(pointer(p, 1.0)[i], pointer(q, 1.0)[i]))

    text = disassembled(codegen.emit({"loop": (loop, types.void(types.int64, types.int64, types.int64))}))
    assert packed(text, "div", "float64") == 0
    assert "divsd" in text
