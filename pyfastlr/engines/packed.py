"""Packed state as the user sees it, and the choice of each array's format (pyfastlr_kernels/packing.py)."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import packing
from pyfastlr_kernels.packing import BFLOAT16, CODES, E4M4, LINEAR, NATIVE, SIGNED
from pyfastlr_kernels.rules import Rule, Slot

STATE_DTYPES = ("bfloat16", "int8")
#: Names of the formats, in saved states too.
FORMATS = {"bfloat16": BFLOAT16, "int8": SIGNED, "e4m4": E4M4, "uint8": LINEAR}
_NAMES = {kind: name for name, kind in FORMATS.items()}


class PackedArray:
    """A state array in fewer bytes, as ``opt.state`` has it with `state_dtype`. ``np.asarray`` unpacks it to float32.

    Attributes
    ----------
    format : {"bfloat16", "int8", "e4m4", "uint8"}
        "bfloat16": the codes are the upper 16 bits of a float32. The others have a scale per 256 elements, counted in
        C order: "int8" is ``code * scale / 127``, "uint8" is ``code * scale / 255``, and "e4m4" (second moments), with
        4 bits of exponent and 4 of mantissa, is ``2**((code - 255) // 16) * (1 + (code - 255) % 16 / 16) * scale``.
    codes : ndarray
        uint16, int8 or uint8, with the shape of the parameter. Views: steps update them.
    scales : ndarray or None
        float32, one per block of 256 elements; None for bfloat16.
    shape, size, nbytes
        Of the parameter, and the bytes that are used.

    Examples
    --------
    >>> import numpy as np, pyfastlr as flr
    >>> opt = flr.Adam(np.zeros(5000, np.float32), lr=0.1, state_dtype="int8")
    >>> opt.step(np.ones(5000, np.float32))
    >>> m = opt.state["exp_avg"]
    >>> m, m.nbytes
    (PackedArray(int8, shape=(5000,)), 5080)
    >>> np.asarray(m)[:3]
    array([0.1, 0.1, 0.1], dtype=float32)
    >>> m.codes[:3], m.scales[:3]
    (array([127, 127, 127], dtype=int8), array([0.1, 0.1, 0.1], dtype=float32))
    """

    __slots__ = ("codes", "format", "scales")

    def __init__(self, codes: Array, scales: Array | None, format: str) -> None:
        self.codes, self.scales, self.format = codes, scales, format

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        shape: tuple[int, ...] = self.codes.shape
        return shape

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.codes.size)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return int(self.codes.nbytes + (0 if self.scales is None else self.scales.nbytes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("`copy` must be True or None: unpacking a PackedArray makes a new array")
        found: Array = packing.unpack(self.codes, self.scales, FORMATS[self.format])
        return found if dtype is None else found.astype(dtype)

    def copy(self) -> "PackedArray":
        """Return one with its own codes and scales."""
        return PackedArray(self.codes.copy(), None if self.scales is None else self.scales.copy(), self.format)

    def __repr__(self) -> str:
        return f"PackedArray({self.format}, shape={self.shape})"


def format_of(slot: Slot, state_dtype: str | None, size: int) -> int:
    """Return the format of a slot of a tensor of so many elements."""
    if state_dtype is None or (state_dtype == "int8" and size < packing.SMALLEST):
        return NATIVE
    found: int = getattr(slot.packed, state_dtype)
    return found


def name_of(kind: int) -> str:
    """Return the name of a format."""
    return _NAMES[kind]


def code_dtype(kind: int) -> "np.dtype[Any]":
    """Return the dtype of a format's codes."""
    return CODES[kind]


def scale_count(kind: int, size: int) -> int:
    """Return the number of scales of an array of so many elements."""
    return 0 if kind in (NATIVE, BFLOAT16) else packing.blocks(size)


def packed_as(x: Any, kind: int) -> PackedArray:
    """Return float32 numbers in a format, rounded to nearest."""
    codes, scales = packing.pack(x, kind)
    return PackedArray(codes, scales, name_of(kind))


def checked(x: Any, kind: int, shape: Sequence[int], label: str) -> PackedArray:
    """Return a packed array of a saved state that has this format and shape, or raise the error."""
    if not isinstance(x, PackedArray) or x.format != name_of(kind):
        got = x.format if isinstance(x, PackedArray) else getattr(getattr(x, "dtype", None), "name", type(x).__name__)
        raise ValueError(f"`{label}` must be {name_of(kind)}, got {got}: cast=True converts it")
    check_parts(x, shape, label)
    return x


def check_parts(x: PackedArray, shape: Sequence[int], label: str) -> None:
    """Refuse a packed array whose codes and scales do not have the shapes and dtypes of its format."""
    kind = FORMATS.get(x.format) if isinstance(x.format, str) else None
    if kind is None:
        raise ValueError(f"`{label}` must have one of the formats {', '.join(FORMATS)}, got {x.format!r}")
    n = scale_count(kind, math.prod(shape))
    parts: tuple[tuple[str, Any, Any, tuple[int, ...]], ...] = (
        ("codes", x.codes, CODES[kind], tuple(shape)),
        ("scales", x.scales, np.dtype(np.float32), (n,)),
    )
    for part, value, dtype, need in parts:
        if part == "scales" and kind == BFLOAT16:
            fits = value is None
        else:
            fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.shape == need
        if not fits:
            got = f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
            wanted = "None" if part == "scales" and kind == BFLOAT16 else f"{dtype}{list(need)}"
            raise ValueError(f"`{label}.{part}` must be {wanted}, got {got}")
    if kind in (E4M4, LINEAR) and x.scales is not None and (x.scales < 0).any():
        raise ValueError(f"`{label}.scales` must be >= 0, got {x.scales[x.scales < 0][0]}")


# --- Arguments --------------------------------------------------------------------------------------------------------


def check_seed(seed: Any) -> int:
    """Check the seed of stochastic rounding."""
    need = "`seed` must be an integer from 0 to 2**64 - 1"
    if isinstance(seed, bool | np.bool_):
        raise TypeError(f"{need}, got {seed!r}")
    try:
        found = operator.index(seed)
    except TypeError:
        raise TypeError(f"{need}, got {seed!r}") from None
    if not 0 <= found < 1 << 64:
        raise ValueError(f"{need}, got {found}")
    return found


def check_state_dtype(value: Any, label: str, cls: str, rule: Rule, parameters: Parameters) -> str | None:
    """Check `state_dtype` for a rule and its parameters."""
    if value is None:
        return None
    known = ", ".join(map(repr, STATE_DTYPES))
    if not isinstance(value, str) or value not in STATE_DTYPES:
        raise ValueError(f"`{label}` must be None or one of {known}, got {value!r}")
    if not rule.slots:
        raise ValueError(f"`{label}` of {cls} must be None, got {value!r}: this {cls} has no state")
    for slot in rule.slots:
        if getattr(slot.packed, value) is None:
            others = [x for x in STATE_DTYPES if all(getattr(slot.packed, x) is not None for slot in rule.slots)]
            allowed = " or ".join(["None", *map(repr, others)])
            raise ValueError(
                f"`{label}` of this {cls} must be {allowed}, got {value!r}: its state has {slot.name!r}, and "
                f"{slot.packed.why}"
            )
    if parameters.device is not None:
        raise ValueError(f"`{label}` needs parameters in host memory, got arrays on a CUDA device")
    if parameters.dtype != np.dtype(np.float32):
        raise ValueError(f"`{label}` must be None for parameters of {parameters.dtype}, got {value!r}: use float32")
    return str(value)


def state_dtypes_of(
    given: Any, groups: Sequence[Any], members: Sequence[int], cls: str, rule: Rule, parameters: Parameters
) -> list[str | None]:
    """Return each tensor's `state_dtype`: its group's, or else the optimizer's. Those of the groups are checked."""
    base = check_state_dtype(given, "state_dtype", cls, rule, parameters)
    values = [base]
    for k, group in enumerate(groups):
        if "state_dtype" in group:
            value = group["state_dtype"]
            values.append(check_state_dtype(value, f"groups[{k}]['state_dtype']", cls, rule, parameters))
        else:
            values.append(base)
    return [values[k] for k in members]
