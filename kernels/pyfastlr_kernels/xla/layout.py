"""The records of XLA's FFI as numpy dtypes, and what a call of ours has in them.

XLA's records are those of its header, xla/ffi/api/c_api.h, on 64-bit machines. Each starts with its size, and newer
versions only add fields at the end, so a record that is at least as large as ours has all of our fields.

A call has one attribute, "plan", an array of int64: the number of tensors, of rows, of operands, of cells and of
threads, and 1 if there are parameters; then a pair for each cell, the operand and the place of its value among all
numbers; then the row of each tensor.

Its arguments are the count (int32), the carry if the rule has one (two uint32 for each float64), the numbers (all rows,
then the factor of the gradient; two uint32 for each float64), the operands (numbers that are only known when the call
runs: float32, float64, or two uint32), and the arrays. A step of kind UPDATE has all parameters, all gradients, then
all arrays of each state. One of kind CHANGE has gradients, parameters (if there are any), states. The results are the
count, the carry, then the parameters or their changes, then the states.
"""

from typing import Any, NamedTuple

import numpy as np

from pyfastlr_kernels.rules import RULES
from pyfastlr_kernels.tables import row_dtype

_I, _H = np.int64, np.int32


def _with_head(*fields: Any) -> np.dtype:
    """Return the dtype of a record of XLA: its size and its extensions come first."""
    return np.dtype([("struct_size", _I), ("extension", _I), *fields])


def _list(name: str, *more: str) -> list[Any]:
    """Return the fields of a list inside the call frame."""
    return [(f"{name}_{field}", _I) for field in ("struct_size", "extension", "size", "types", *more, "items")]


FRAME = _with_head(
    ("api", _I),
    ("context", _I),
    ("stage", _H),
    ("_stage", _H),
    *_list("args"),
    *_list("rets"),
    *_list("attrs", "names"),
)
BUFFER = _with_head(("dtype", _H), ("_dtype", _H), ("data", _I), ("rank", _I), ("dims", _I))
ARRAY = np.dtype([("dtype", _H), ("_dtype", _H), ("size", _I), ("data", _I)])
EXTENSION = np.dtype([("struct_size", _I), ("type", _H), ("_type", _H), ("next", _I), ("metadata", _I)])
_VERSION = [("version_struct_size", _I), ("version_extension", _I), ("major", _H), ("minor", _H)]
METADATA = np.dtype([("struct_size", _I), *_VERSION, ("traits", _H), ("_traits", _H), ("state_type", _I)])
API = _with_head(*_VERSION, ("internal", _I), ("create_error", _I))
ERROR = _with_head(("message", _I), ("code", _H), ("_code", _H))
ERROR_SIZE = 28  # without the padding at the end

METADATA_EXTENSION = 1
EXECUTE = 3  # stage
ARRAY_ATTRIBUTE = 1
S32, S64, U32, F32, F64 = 4, 5, 8, 11, 12
CODES = {"float32": F32, "float64": F64}
MAJOR, MINOR = 0, 1  # of the FFI whose records these are

# What a target has besides the frame. It is never freed, because XLA may call a target until the process ends.
CONTEXT = np.dtype(
    [
        ("drive", _I),
        ("run", _I),
        ("pool", _I),
        ("curve", _I),  # address of a schedule's function, for targets of schedules
        ("dtype", _I),
        ("itemsize", _I),
        ("kind", _I),  # UPDATE or CHANGE
        ("n_states", _I),
        ("n_carry", _I),
        ("row_fields", _I),
        ("errors", _I),  # addresses of messages, by status
        ("major", _H),
        ("minor", _H),
    ]
)
UPDATE, CHANGE = 0, 1
KINDS = {"update": UPDATE, "change": CHANGE}

PLAN_TENSORS, PLAN_ROWS, PLAN_OPERANDS, PLAN_CELLS, PLAN_THREADS, PLAN_PARAMETERS, PLAN_HEAD = range(7)

# Statuses of a handler, with their messages.
OK, OLD, NO_PLAN, WRONG_COUNT, WRONG_ARRAY, WRONG_NUMBER, NO_MEMORY = range(7)
MESSAGES = (
    b"",
    b"pyfastlr: XLA's call frame is of a version that the handler does not know; use a version of jax that it supports",
    b"pyfastlr: the call must have one attribute, the plan of the step; it was made by another version of pyfastlr",
    b"pyfastlr: the call has another number of arguments or results than its plan; it was made by another version of "
    b"pyfastlr",
    b"pyfastlr: parameters, gradients and states must have one dtype, and each tensor's arrays one size",
    b"pyfastlr: count, carry and numbers must be int32 and pairs of uint32, rates float32, float64 or pairs of uint32",
    b"pyfastlr: there is no memory for the tables of a step",
)
INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 3, 8


class Plan(NamedTuple):
    """What a call must know when it is compiled."""

    rows: tuple[int, ...]  # the row of each tensor
    n_rows: int
    n_operands: int
    cells: tuple[tuple[int, int], ...]  # operand, place of its value
    threads: int
    has_parameters: bool

    def numbers(self) -> np.ndarray:
        """Return the attribute."""
        head = (
            len(self.rows), self.n_rows, self.n_operands, len(self.cells), self.threads, int(self.has_parameters)
        )  # fmt: skip
        return np.array([*head, *(x for cell in self.cells for x in cell), *self.rows], np.int64)


def row_fields(rule: str) -> tuple[str, ...]:
    """Return the names of the fields of a rule's row."""
    names = row_dtype(RULES[rule].hyper).names
    assert names is not None
    return names
