"""Parameters and gradients of 16 bits: what the state has of them, and the fields of a step's record for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.halves import HALVES, half_of
from pyfastlr.arrays.host import Array, aligned
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu.stages_layout import PRIVATE, SCRATCH_OF_HALVES
from pyfastlr_kernels.packing import BFLOAT16, FLOAT16, NATIVE
from pyfastlr_kernels.rules import Slot

KINDS = {None: NATIVE, "bfloat16": BFLOAT16, "float16": FLOAT16}
PRECISIONS = {"master": tables.MASTER, "stochastic": tables.STOCHASTIC, "kahan": tables.KAHAN}
MASTER = "master"
#: Names of the state for parameters of 16 bits. The unit of a compensation depends on their dtype.
SLOTS = (MASTER, *(f"compensation_{half}" for half in HALVES))
CHUNK_LENGTH = 4096  # elements: what a thread widens, 16 KiB of parameters and of gradients, stays in a 48 KiB L1 cache


def check_uint16_as(value: Any) -> None:
    """Check `uint16_as`."""
    if value is not None and (not isinstance(value, str) or value not in HALVES):
        raise ValueError(f"`uint16_as` must be None, 'bfloat16' or 'float16', got {value!r}")


def check_precision(value: Any, parameters: Parameters) -> str | None:
    """Check `precision` for these parameters. None is "master" for those of 16 bits."""
    if value is not None and (not isinstance(value, str) or value not in PRECISIONS):
        raise ValueError(f"`precision` must be None or one of {', '.join(map(repr, PRECISIONS))}, got {value!r}")
    if parameters.half is None:
        if value is not None:
            raise ValueError(
                f"`precision` must be None for parameters of {parameters.dtype}, got {value!r}: it is for bfloat16 and "
                f"float16"
            )
        return None
    return value or "master"


def slot_of(precision: str | None, half: str | None) -> Slot | None:
    """The state that keeps what the parameters' 16 bits lack. None if there is none."""
    if precision == "kahan":
        return Slot(f"compensation_{half}", storage="int16")
    return Slot(MASTER, storage="float32") if precision == "master" else None


def fields(parameters: Parameters, gradient: Any, copies: Any, precision: str | None) -> dict[str, int]:
    """Fields of the record for numbers of 16 bits. `gradient`: dtype of the gradients; `copies`: of `copy_to`."""
    uint16_as = None if parameters.halves is None else parameters.halves.uint16_as
    return {
        "gradient": KINDS[half_of(gradient, uint16_as)],
        "parameter": KINDS[parameters.half],
        "copy": KINDS[None if copies is None else half_of(copies, uint16_as)],
        "precision": 0 if precision is None else PRECISIONS[precision],
    }


class MasterOptions:
    """The record of a step by addresses whose parameters and gradients are `half`, with float32 masters.

    Attributes
    ----------
    address
        Of the record, whose tables live as long as this object.
    """

    def __init__(self, half: str, masters: Sequence[int], threads: int) -> None:
        n, record = len(masters), np.zeros(1, tables.OPTIONS)
        scratch = aligned(threads * SCRATCH_OF_HALVES, np.float32)
        self._keep: dict[str, Array] = {
            "rests": np.array(masters, np.int64), "keys": np.zeros(n, np.int64), "bad": np.zeros(n, np.int64),
            "factors": np.zeros(n), "scratch": scratch, "private": aligned(threads * PRIVATE // 8, np.int64),
        }  # fmt: skip
        for name, table in self._keep.items():
            record[name] = tables.address(table)
        record["every"], record["mean"], record["precision"] = 1, 1, tables.MASTER
        record["gradient"] = record["parameter"] = KINDS[half]
        record["scratch_size"] = scratch.nbytes // threads
        self._record, self.address = record, tables.address(record)
