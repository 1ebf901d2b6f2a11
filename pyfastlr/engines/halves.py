"""Parameters and gradients of 16 bits: what the state has of them, and the fields of a step's record for them."""

from typing import Any

from pyfastlr.arrays.halves import HALVES, half_of
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import tables
from pyfastlr_kernels.packing import BFLOAT16, FLOAT16, NATIVE
from pyfastlr_kernels.rules import Slot

KINDS = {None: NATIVE, "bfloat16": BFLOAT16, "float16": FLOAT16}
PRECISIONS = {"master": tables.MASTER, "stochastic": tables.STOCHASTIC, "kahan": tables.KAHAN}
#: Names of the state for parameters of 16 bits.
SLOTS = {"master": "master", "kahan": "compensation"}
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


def slot_of(precision: str | None) -> Slot | None:
    """The state that keeps what the parameters' 16 bits lack. None if there is none."""
    storage = {"master": "float32", "kahan": "int16"}
    return Slot(SLOTS[precision], storage=storage[precision]) if precision in SLOTS else None


def fields(parameters: Parameters, gradient: Any, copies: Any, precision: str | None) -> dict[str, int]:
    """Fields of the record for numbers of 16 bits. `gradient`: dtype of the gradients; `copies`: of `copy_to`."""
    uint16_as = None if parameters.halves is None else parameters.halves.uint16_as
    return {
        "gradient": KINDS[half_of(gradient, uint16_as)],
        "parameter": KINDS[parameters.half],
        "copy": KINDS[None if copies is None else half_of(copies, uint16_as)],
        "precision": 0 if precision is None else PRECISIONS[precision],
    }
