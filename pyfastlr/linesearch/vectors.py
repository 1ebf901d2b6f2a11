"""The parameters as one vector, and the products and sums of vectors that searches need.

All vectors are new contiguous arrays of the parameters' dtype that start at a cache line. Products are summed in
float64, whatever the dtype, block by block. A block has at most 8,192 elements: numpy's BLAS splits a product among
threads only above 10,000, so the bits do not depend on the number of threads. They may depend on the processor and on
numpy's BLAS. A block of three vectors stays in the cache, so the passes of `add_dot` cost one pass over the memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array, aligned
from pyfastlr.arrays.parameters import Parameters

BLOCK = 8192  # elements


@contextmanager
def quiet() -> Iterator[Callable[..., Any]]:
    """Switch numpy's floating-point warnings off for the sums here. Losses that overflow are no error.

    The block gets a function that calls a user's function with the warnings as they were.
    """
    before = np.geterr()

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        with np.errstate(**before):
            return function(*arguments)

    with np.errstate(all="ignore"):
        yield call


class Space:
    """The parameters of an optimizer or tool, read and written as one vector.

    Attributes
    ----------
    parameters : Parameters
        In host memory.
    size : int
        Number of elements.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters, self.size = parameters, parameters.size
        self._tensors = parameters.inside_tensors()
        starts = accumulate(parameters.sizes, initial=0)
        self._parts = [slice(a, a + n) for a, n in zip(starts, parameters.sizes, strict=False)]

    def empty(self) -> Array:
        """Return a new vector."""
        return aligned(self.size, self.parameters.dtype)

    def values(self) -> Array:
        """Return the parameters' values."""
        return self.joined(self._tensors)

    def joined(self, tensors: Any) -> Array:
        """Return 1-D tensors as one vector. None becomes zeros."""
        vector = self.empty()
        for part, x in zip(self._parts, tensors, strict=True):
            if x is not None:
                vector[part] = x
        return vector

    def vector(self, value: Any, argument: str) -> Array:
        """Return an argument like the parameters (a gradient, a direction) as a vector. A leaf None becomes zeros."""
        parameters = self.parameters
        leaves = None if parameters.is_leaf else parameters.leaves_of(value, argument)
        if leaves is None:
            return self.joined(parameters.per_tensor(value, argument))
        return self.joined(
            None if x is None else parameters.operand(x, label, shape).reshape(-1)
            for x, label, shape in zip(leaves, parameters.labels(argument), parameters.shapes, strict=True)
        )

    def views(self, vector: Array) -> list[Array]:
        """Parts of a vector, one per tensor."""
        return [vector[part] for part in self._parts]

    def write(self, x: Array) -> None:
        """Set the parameters, except those whose memory is gone because something has resized or moved them."""
        parameters = self.parameters
        in_place = [parameters.is_in_place(k) for k in range(len(parameters.arrays))]
        for k, (part, tensor) in enumerate(zip(self._parts, self._tensors, strict=True)):
            if in_place[0 if parameters.layout is not None else k]:
                tensor[...] = x[part]

    def write_moved(self, x: Array, rate: float, direction: Array) -> None:
        """Set the parameters to x + rate*direction."""
        for part, tensor in zip(self._parts, self._tensors, strict=True):
            _move(x[part], rate, direction[part], tensor)


def moved(x: Array, rate: float, direction: Array) -> Array:
    """Return x + rate*direction."""
    out = aligned(x.size, x.dtype)
    _move(x, rate, direction, out)
    return out


def _move(x: Array, rate: float, direction: Array, out: Array) -> None:
    """Write x + rate*direction to `out`. The bits are the same for any parts of a vector."""
    for k in range(0, x.size, BLOCK):
        part = slice(k, k + BLOCK)
        np.add(x[part], direction[part] * rate, out=out[part])


def dot(x: Array, y: Array) -> float:
    """Return the product, in float64."""
    if x.size <= BLOCK:
        return _block_dot(x, y)
    total = 0.0
    for k in range(0, x.size, BLOCK):
        total += _block_dot(x[k : k + BLOCK], y[k : k + BLOCK])
    return total


def add_dot(x: Array, factor: float, y: Array, z: Array | None) -> float:
    """Add factor*y to x in place; return the product of the new x and z, 0 without z."""
    if x.size <= BLOCK:
        x += y * factor
        return 0.0 if z is None else _block_dot(x, z)
    total = 0.0
    for k in range(0, x.size, BLOCK):
        part = slice(k, k + BLOCK)
        block = x[part]
        block += y[part] * factor
        if z is not None:
            total += _block_dot(block, z[part])
    return total


def _block_dot(x: Array, y: Array) -> float:
    if x.dtype != np.float64:
        x, y = x.astype(np.float64), y.astype(np.float64)
    return float(np.dot(x, y))


def sum_abs(x: Array) -> float:
    """Return the sum of absolute values, in float64."""
    return sum(float(np.abs(x[k : k + BLOCK]).sum(dtype=np.float64)) for k in range(0, x.size, BLOCK))


def max_abs(x: Array) -> float:
    """Return the largest absolute value: 0 without elements, NaN if one is NaN."""
    return float(max((np.abs(x[k : k + BLOCK]).max() for k in range(0, x.size, BLOCK)), key=_nan_last, default=0.0))


def _nan_last(value: Any) -> tuple[bool, Any]:
    return bool(value != value), value
