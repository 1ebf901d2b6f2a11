"""The parameters of an optimizer as the table needs them, and what a caller hands over that must be like them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from . import _tree
from ._arrays import (
    Array,
    aligned,
    check_disjoint,
    check_memory,
    describe,
    device_of,
    operand,
    parameter,
    shaped,
    span,
)  # fmt: skip
from ._device import allocate
from .flat import Flat


class Parameters:
    """Named tensors in one buffer (a `Flat`) or each in its own (an array, dict or list).

    Attributes
    ----------
    buffers, given
        Arrays to update, and the objects that the caller's container holds for them.
    names, shapes, extents
        Of each tensor; an extent is (buffer, first element in it, size).
    one : bool
        Gradients come as one array.
    """

    def __init__(self, params: Any) -> None:
        self.params = params
        self.is_flat = isinstance(params, Flat)
        if self.is_flat:
            self._node, self.names = _tree.LEAF, list(params.names)
            self.given = self.buffers = [params.buffer]
            self.shapes = [view.shape for view in params.values()]
            sizes = [view.size for view in params.values()]
            starts = np.cumsum([0, *sizes]).tolist()
            self.extents = [(0, start, size) for start, size in zip(starts, sizes, strict=False)]
        else:
            self._node, self.names, self.given = _tree.flatten(params, "params")
            self.buffers = []
            for leaf, name in zip(self.given, self.labels("params"), strict=True):
                self.buffers.append(parameter(leaf, name, self.buffers[0].dtype if self.buffers else None))
            for x, name in zip(self.buffers, self.labels("params"), strict=True):
                check_memory(x, name, shaped(x.dtype, x.shape), device_of(self.buffers[0]))
            check_disjoint(self.buffers, self.labels("params"))
            self.shapes = [x.shape for x in self.buffers]
            self.extents = [(k, 0, x.size) for k, x in enumerate(self.buffers)]
        self.dtype = np.dtype(self.buffers[0].dtype.name)
        self.device = device_of(self.buffers[0])
        self.size = sum(x.size for x in self.buffers)
        self.one = self._node.kind == "leaf"
        self._gather = _tree.gatherer(self._node)

    def labels(self, argument: str) -> list[str]:
        """What errors call the tensors of an argument."""
        return [_tree.label(argument, name) for name in self.names]

    def leaves(self, tree: Any, argument: str) -> list[Any]:
        """Leaves of a container with the parameters' structure, in the table's order."""
        if self._gather is not None:
            try:
                return self._gather(tree)
            except LookupError:
                pass  # match says what is wrong
        return _tree.match(self._node, tree, argument)

    def checked(self, leaves: Any) -> Any:
        """Gradients as plain ndarrays (of a memmap, a DLPack object), or the error that says what is wrong with one."""
        if self.one:
            return self.operand(leaves, "grads", self.buffers[0].shape)
        return [
            None if x is None else self.operand(x, label, shape)
            for x, label, shape in zip(leaves, self.labels("grads"), self.shapes, strict=True)
        ]

    def operand(self, x: Any, name: str, shape: Sequence[int]) -> Any:
        """What a step reads, from the memory that the parameters are in."""
        array = operand(x, name, self.dtype, shape)
        check_memory(array, name, shaped(self.dtype, shape), self.device)
        return array

    def zeros(self, size: int) -> Any:
        """Memory for `size` numbers where the parameters are."""
        return aligned(size, self.dtype) if self.device is None else allocate(self.device, size, self.dtype)

    def per_tensor(self, value: Any, argument: str, anywhere: bool = False) -> list[Any]:
        """Arrays of an argument like the parameters, one for each tensor, 1-D; where they are, or in any memory."""
        if self.is_flat:
            whole = operand(value.buffer if isinstance(value, Flat) else value, argument, self.dtype, [self.size])
            return [whole[start : start + size] for _, start, size in self.extents]
        leaves = _tree.match(self._node, value, argument)
        check = partial(operand, dtype=self.dtype) if anywhere else self.operand
        return [
            check(x, label, shape=shape).reshape(-1)
            for x, label, shape in zip(leaves, self.labels(argument), self.shapes, strict=True)
        ]

    def like(self, tensors: Sequence[Array], buffer: Array) -> Any:
        """Container with the parameters' structure over 1-D tensors; for a `Flat` over the buffer that they are in."""
        if self.is_flat:
            return self.params._over(buffer)
        return _tree.rebuild(self._node, [x.reshape(shape) for x, shape in zip(tensors, self.shapes, strict=True)])

    def explain_moved(self, k: int, held: Any) -> NoReturn:
        """Raise the error for a parameter that is not where it was."""
        label = "params" if self.one else self.labels("params")[k]
        if held is not None and held[k] is not self.given[k]:
            raise ValueError(
                f"`{label}` must be the array that the optimizer was built with, got another: update it in place "
                f"(`x[...] = value`), or build a new optimizer"
            )
        raise ValueError(f"`{label}` must stay as it was, got an array that was resized or reshaped in place")

    def explain_overlap(self, leaves: Any, states: Mapping[str, Any]) -> NoReturn:
        """Raise the error for a gradient that shares memory with what a step writes."""
        written = [("params", x) for x in self.buffers] + [(f"state[{name!r}]", x) for name, x in states.items()]
        labels = ["grads"] if self.one else self.labels("grads")
        for x, label in zip([leaves] if self.one else leaves, labels, strict=True):
            for what, other in written:
                if x is not None and x.size and span(x)[0] < span(other)[1] and span(other)[0] < span(x)[1]:
                    raise ValueError(f"`{label}` must not overlap `{what}`, got {describe(x)} that shares its memory")
        raise RuntimeError("another thread changed the gradients during the call; nothing was updated")
