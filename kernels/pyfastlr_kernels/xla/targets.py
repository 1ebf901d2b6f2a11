"""The functions that XLA calls: for each rule, dtype and kind of step, and for each schedule, one that is never freed.

XLA calls a plain C function with its call frame. Ours is two instructions that add the address of a context and go to
the handler (handler.py). So no address is part of a compiled program, which a persistent cache may keep: the program
has the name of the target, and the process that runs it has registered that name.
"""

import ctypes
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

from pyfastlr_kernels.compile.cache import digest
from pyfastlr_kernels.compile.codegen import emit, link, load, machine
from pyfastlr_kernels.compile.first_use import once
from pyfastlr_kernels.cpu import load as cpu
from pyfastlr_kernels.cpu import pool
from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.tables import address

from .layout import CODES, CONTEXT, KINDS, MAJOR, MESSAGES, MINOR, row_fields

SOURCES = (*cpu.LAUNCH_SOURCES, "rules", "xla/layout.py", "xla/handler.py", "compile/codegen.py")
HANDLE, EVALUATE = "pyfastlr_xla_handle", "pyfastlr_xla_evaluate"
LAYOUT = 1  # raise it with any change of what a call has in it (layout.py)

# What XLA's threads may read while the interpreter ends and frees its modules: never freed.
_kept: list[Any] = []
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))


class Target(NamedTuple):
    """A function that XLA calls, and its name there."""

    name: str
    address: int


@once
def _messages() -> np.ndarray:
    """Return the addresses of the messages."""
    texts = [ctypes.create_string_buffer(text) for text in MESSAGES]
    table = np.array([ctypes.addressof(text) for text in texts], np.int64)
    _kept.append((texts, table))
    return table


def _handlers() -> dict[str, int]:
    """Return the addresses of the two handlers."""

    def make() -> bytes:
        from . import handler

        return emit(
            {HANDLE: (handler.make_handle(), handler.HANDLE), EVALUATE: (handler.make_evaluate(), handler.HANDLE)}
        )

    return load("xla", digest(SOURCES), make, (HANDLE, EVALUATE))


_STUB = """
define i64 @{name}(i64 %frame) {{
  %handler = inttoptr i64 {handler} to i64 (i64, i64)*
  %error = call i64 %handler(i64 %frame, i64 {context})
  ret i64 %error
}}
"""


def _target(name: str, handler: str, **fields: int) -> Target:
    """Make a target whose context has these fields."""
    context = np.zeros(1, CONTEXT)
    context["errors"], context["major"], context["minor"] = address(_messages()), MAJOR, MINOR
    for field, value in fields.items():
        context[field] = value
    _kept.append(context)
    text = _STUB.format(name="pyfastlr_xla_target", handler=_handlers()[handler], context=address(context))
    code = llvm.parse_assembly(text)
    code.triple = machine().triple
    return Target(name, link(name, machine().emit_object(code), ("pyfastlr_xla_target",))["pyfastlr_xla_target"])


@once
def step_target(rule: str, convention: str, dtype: str, kind: str) -> Target:
    """Return the target of a step: `kind` "update" writes new parameters, "change" what must be added to the old ones.

    Examples
    --------
    >>> step_target("adam", "torch", "float32", "update").name
    'pyfastlr-adam-adam_fold-float32-update-1'
    """
    fold = RULES[rule].folds[convention].__name__
    _kept.append(pool.shared())
    return _target(
        f"pyfastlr-{rule}-{fold}-{dtype}-{kind}-{LAYOUT}",
        HANDLE,
        drive=cpu.drive_address(rule, convention, dtype, False, kind == "change"),
        run=cpu.step_addresses()[cpu.RUN],
        pool=pool.shared().address,
        dtype=CODES[dtype],
        itemsize=np.dtype(dtype).itemsize,
        kind=KINDS[kind],
        n_states=len(RULES[rule].slots),
        n_carry=len(RULES[rule].carry),
        row_fields=len(row_fields(rule)),
    )


def schedule_target(name: str, curve: int) -> Target:
    """Return the target of a schedule whose compiled function, float64(int64), is at that address."""
    return _target(f"pyfastlr-schedule-{name}-{LAYOUT}", EVALUATE, curve=curve)
