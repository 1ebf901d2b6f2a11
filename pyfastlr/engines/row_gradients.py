"""The gradients of a step over rows: checked, each row once. Nothing here writes what a step writes."""

import ctypes
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.host import Array, address, aligned, describe, shaped
from pyfastlr.arrays.rows import Rows, row_numbers

from .hyper import OFF
from .settings import Settings

if TYPE_CHECKING:
    from .host import HostEngine

_MOST = 2**31 - 1  # rows in one gradient: places are int32


class GivenTree(NamedTuple):
    """The gradients of `step`: of each array, or Rows, or None."""

    grads: Any

    def leaves(self, parameters: Any) -> list[Any]:
        """Gradients now, one for each tensor of the parameters."""
        leaves = parameters.gather(self.grads)
        if parameters.layout is not None and type(leaves) is not list:
            raise TypeError(f"`grads` must be a dict with Rows under their names, got {describe(leaves)} for a Flat")
        return [leaves] if parameters.is_leaf or type(leaves) is not list else leaves

    def label(self, parameters: Any, k: int, part: str = "") -> str:
        """Name of a gradient in errors, or of a part of it."""
        name: str = parameters.gradient_label(k)
        return f"{name}.{part}" if part else name


class GivenRows(NamedTuple):
    """The gradients of `step_rows`: Rows of the array of that name, None for all others."""

    name: Any
    rows: Rows

    def leaves(self, parameters: Any) -> list[Any]:
        """Gradients, one for each tensor of the parameters."""
        leaves: list[Any] = [None] * len(parameters.names)
        leaves[tensor_of(parameters, self.name)] = self.rows
        return leaves

    def label(self, parameters: Any, k: int, part: str = "") -> str:
        """Name of a part of the gradient in errors."""
        return part


Given = GivenTree | GivenRows


class Prepared(NamedTuple):
    """The gradients of a step."""

    given: list[tuple[int, Array | None, Any]]  # tensor, its rows, each once, or None for all; and their values
    dense: list[tuple[int, Any]]  # tensor and gradient


class Ranges(NamedTuple):
    """Disjoint address ranges in ascending order, which a step writes."""

    starts: list[int]
    ends: list[int]


class RowGradients:
    """Checks gradients for one engine, with scratch memory for each tensor."""

    def __init__(self) -> None:
        self._marks: dict[int, Array] = {}  # of check_rows
        self._places: dict[int, Array] = {}  # of sum_rows

    def prepare(self, engine: "HostEngine", ranges: Ranges, gradients: Given) -> Prepared:
        """Check parameters and gradients. Nothing is written."""
        parameters, prepared = engine._parameters, Prepared([], [])
        parameters.check_in_place()
        for k, leaf in enumerate(gradients.leaves(parameters)):
            if isinstance(leaf, Rows):
                labels = gradients.label(parameters, k, "rows"), gradients.label(parameters, k, "values")
                prepared.given.append((k, *self._rows_of(engine, ranges, k, leaf, *labels)))
            elif leaf is not None:
                label = gradients.label(parameters, k)
                x = parameters.operand(leaf, label, parameters.shapes[k])
                _check_apart(engine, ranges, x, label)
                prepared.dense.append((k, x))
        return prepared

    def _rows_of(
        self, engine: "HostEngine", ranges: Ranges, k: int, given: Rows, rows_label: str, values_label: str
    ) -> tuple[Array, Any]:
        """Rows of a gradient, each once, and their values."""
        parameters = engine._parameters
        index = self.index(engine, k, given.rows, rows_label)
        values, shape = given.values, (len(index), *parameters.shapes[k][1:])
        is_plain = type(values) is np.ndarray and values.dtype is parameters.dtype and values.shape == shape
        if not (is_plain and values.flags.c_contiguous and values.flags.aligned):  # the common case takes 1 us, not 18
            values = parameters.operand(values, values_label, shape)
        _check_apart(engine, ranges, values, values_label)
        different = self.check_range(engine, k, index, given.rows, rows_label)
        if different == len(index):
            return index, values
        if k not in self._places:
            self._places[k] = np.zeros(parameters.shapes[k][0], np.int32)
        once = np.zeros(different, np.int64)
        summed = aligned(different * values.size // len(index), parameters.dtype)
        add = compiled(f"sum_rows_{parameters.dtype}", 7, None)
        add(address(index), len(index), address(values) if values.size else 0, values.size // len(index),
            address(self._places[k]), address(once), address(summed) if summed.size else 0)  # fmt: skip
        return once, summed

    def index(self, engine: "HostEngine", k: int, rows: Any, label: str) -> Array:
        shape = engine._parameters.shapes[k]
        if not shape:
            name = tree.label("params", engine._parameters.names[k])
            raise ValueError(f"`{name}` must have rows, got {shaped(engine._parameters.dtype, shape)}")
        index: Array = row_numbers(rows, label, shape[0])
        if len(index) > _MOST:
            raise ValueError(f"`{label}` must have at most {_MOST} row numbers, got {len(index)}")
        return index

    def check_range(self, engine: "HostEngine", k: int, index: Array, rows: Any, label: str) -> int:
        """Number of different rows, or raise the error for one out of range."""
        n_rows = engine._parameters.shapes[k][0]
        if k not in self._marks:
            self._marks[k] = np.zeros(n_rows, np.int8)
        found: int = compiled("check_rows", 4)(address(index), len(index), n_rows, address(self._marks[k]))
        if found < 0:
            at = -1 - found
            got = f"{rows[at]}" if isinstance(rows, list | tuple | np.ndarray) else f"{index[at]}"
            need = f"be from 0 to {n_rows - 1}" if n_rows else "be empty for an array without rows"
            raise ValueError(f"`{label}` must {need}, got {got} at index {at}")
        return found


def _check_apart(engine: "HostEngine", ranges: Ranges, x: Array, label: str) -> None:
    """Refuse a gradient in memory that the step writes."""
    if not x.size:
        return
    start = address(x)
    before = bisect_left(ranges.starts, start + x.nbytes) - 1  # the last range that starts before the end
    if before < 0 or ranges.ends[before] <= start:
        return
    written = [("params", p) for p in engine._parameters.arrays]
    written += [(f"state[{name!r}]", s) for name, s in engine._state.buffers.items()]
    for what, other in written:
        if address(other) < start + x.nbytes and start < address(other) + other.nbytes:
            raise ValueError(f"`{label}` must not overlap `{what}`, got {describe(x)} that shares its memory")


def refuse_options(engine: "HostEngine", settings: Settings) -> None:
    """Refuse options of a step that need the whole gradient."""
    options = engine._extras.options
    used = [name for name in OFF if any(name in own for own in settings.own)]
    used += [
        name
        for name, value, off in (
            ("loss_scale", options.loss_scale, None), ("nonfinite", options.nonfinite, "propagate"),
            ("zero_grad", options.zero_grad, False),
            ("accumulate", options.accumulate, 1), ("measure", options.measure, ()),
            ("copy_to", options.copies, None),
        )
        if value != off
    ]  # fmt: skip
    if used:
        raise ValueError(
            f"`{used[0]}` must be left out for a step with rows: it needs the whole gradient, or each element of "
            f"the parameters; pass an array with zeros in the other rows"
        )
    if any(rates is not None for rates in settings.rates):
        raise TypeError("`lr_scale` must be a number, schedule or callable for a step with rows, got arrays")
    if engine._parameters.half is not None:
        raise ValueError(f"`params` must be float32 or float64 for a step with rows, got {engine._parameters.half}")
    state_dtypes = [x for x in engine._state.state_dtypes if x is not None]
    if state_dtypes:
        raise ValueError(f"`state_dtype` must be None for a step with rows, in all groups, got {state_dtypes[0]!r}")
    for name, buffer in engine._state.buffers.items():
        if buffer.dtype != engine._parameters.dtype:
            raise TypeError(
                f"`state[{name!r}]` must have the dtype of the parameters, {engine._parameters.dtype}, for a step "
                f"with rows, got {buffer.dtype}"
            )


def has_rows(leaves: Any) -> bool:
    """Whether a gradient is Rows: of a list with one for each tensor, or the only one."""
    return any(isinstance(x, Rows) for x in leaves) if type(leaves) is list else isinstance(leaves, Rows)


def tensor_of(parameters: Any, name: Any) -> int:
    """Index of an array, by its name."""
    if not isinstance(name, str) or name not in parameters.names:
        names = parameters.names[:5]
        known = ", ".join(map(repr, names)) + (", ..." if len(parameters.names) > 5 else "")
        raise ValueError(f"`name` must be the name of an array, one of {known}, got {name!r}")
    found: int = parameters.names.index(name)
    return found


def extent(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Number of rows, and of elements in each."""
    return shape[0], size // shape[0] if shape[0] else 0


def compiled(name: str, n: int, result: Any = ctypes.c_int64) -> Any:
    """Compiled function of n int64 that keeps the interpreter lock."""
    if name not in _functions:
        _functions[name] = ctypes.PYFUNCTYPE(result, *(ctypes.c_int64,) * n)(load_rows()[name])
    return _functions[name]


def load_rows() -> dict[str, int]:
    """Addresses of the compiled code."""
    if not _addresses:
        from .host import load_code

        _addresses.update(load_code().rows_addresses())
    return _addresses


_functions: dict[str, Any] = {}
_addresses: dict[str, int] = {}
