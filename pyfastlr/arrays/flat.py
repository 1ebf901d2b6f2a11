"""`Flat`: named arrays as views of one buffer."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from . import tree
from .host import Array, aligned, as_ndarray, check_memory, describe, parameter


class Layout:
    """Names and shapes of consecutive arrays in a buffer, and the structure of their original container."""

    __slots__ = ("names", "node", "shapes", "size", "sizes", "starts")

    def __init__(self, node: tree.Node, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        self.node, self.names, self.shapes = node, tuple(names), tuple(shapes)
        self.sizes = tuple(map(prod, self.shapes))
        self.starts = tuple(accumulate(self.sizes, initial=0))[:-1]
        self.size = sum(self.sizes)

    def same(self, other: "Layout") -> bool:
        """Whether both have the same arrays at the same places."""
        return self is other or (self.names == other.names and self.shapes == other.shapes)

    def views(self, buffer: Any) -> list[Any]:
        """Views of the layout's arrays in a buffer."""
        return [
            buffer[start : start + size].reshape(shape)
            for start, size, shape in zip(self.starts, self.sizes, self.shapes, strict=True)
        ]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{n!r}: {list(s)}" for n, s in zip(self.names, self.shapes, strict=True)) + "}"


class Flat(Mapping[str, Array]):
    r"""Named arrays, copied once into one contiguous buffer and accessed through views of it.

    An optimizer updates a `Flat` as one array. A loop, another framework or C code can use `buffer` directly. There is
    no padding: each array starts right after the previous one. The buffer starts at a cache line (64 bytes).

    Parameters
    ----------
    arrays : dict or list of ndarray, nested freely
        All float32 or all float64, of any shape, including empty arrays. Names in nested dicts are joined by ".", and
        names in lists are indices: ``{"layer": {"w": w}}`` gives ``"layer.w"``, ``[w, b]`` gives ``"0"`` and ``"1"``.

    Attributes
    ----------
    buffer : float array[n]
        All elements, in the order of the names.
    names : tuple of str
        Names of the arrays, in the order of the buffer.

    Raises
    ------
    TypeError
        If something is not a float32 or float64 array, or if dtypes are mixed.
    ValueError
        If there is no array, or if one is not C-contiguous or not in native byte order.

    Examples
    --------
    >>> import numpy as np
    >>> import pyfastlr as flr
    >>> flat = flr.Flat({"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)})
    >>> flat.buffer
    array([1., 1., 1., 1., 1., 1., 0., 0., 0.], dtype=float32)
    >>> flat["b"] += 2  # a view: the buffer changes
    >>> flat.buffer[-1]
    np.float32(2.0)
    >>> grads = flat.like()
    >>> grads["w"].shape
    (2, 3)

    Notes
    -----
    torch's ``parameters_to_vector`` and optax's ``flatten`` copy at every step; `Flat` copies once.
    """

    __slots__ = ("_buffer", "_layout", "_views")

    def __init__(self, arrays: Any) -> None:
        if isinstance(arrays, Flat):
            arrays = dict(arrays)
        if tree.kind_of(arrays) == "leaf":
            raise TypeError(f"`arrays` must be a dict or list of arrays, got {describe(arrays)}")
        node, names, leaves = tree.flatten(arrays, "arrays")
        dtype = None
        checked = []
        for name, leaf in zip(names, leaves, strict=True):
            called = tree.label("arrays", name)
            x = as_ndarray(leaf, called, "a float32 or float64 ndarray")
            check_memory(x, called, "an ndarray", None)
            x = parameter(x if x.flags.writeable else x.copy(), called, dtype)  # read-only is fine: it is only copied
            dtype = x.dtype
            checked.append(x)
        layout = Layout(node, names, [x.shape for x in checked])
        self._lay_out(layout, aligned(layout.size, dtype))
        for view, x in zip(self._views.values(), checked, strict=True):
            view[...] = x

    def _lay_out(self, layout: Layout, buffer: Array) -> None:
        self._layout, self._buffer = layout, buffer
        self._views: dict[str, Array] = dict(zip(layout.names, layout.views(buffer), strict=True))

    def _over(self, buffer: Array) -> "Flat":
        """Use another buffer with the same layout, without a copy."""
        other = object.__new__(Flat)
        other._lay_out(self._layout, buffer)
        return other

    @property
    def buffer(self) -> Array:
        """All elements, in the order of the names. This is the live memory, not a copy."""
        return self._buffer

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the buffer."""
        return self._layout.names

    def like(self) -> "Flat":
        """Return zeros with the same layout, for gradients."""
        return self._over(aligned(self._buffer.size, self._buffer.dtype))

    def tree(self) -> Any:
        """Return the views in the original structure of nested dicts and lists."""
        return tree.rebuild(self._layout.node, list(self._views.values()))

    def __getitem__(self, name: str | int) -> Array:
        return self._views[str(name)]

    def __setitem__(self, name: str | int, value: Any) -> None:
        """Write to the view, so that ``flat["w"] -= x`` and ``flat["w"] = x`` change the buffer."""
        view = self[name]
        if value is not view:
            if np.shape(value) not in (view.shape, ()):
                raise ValueError(f"`{name}` must have shape {view.shape}, got {np.shape(value)}")
            view[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        parts = ", ".join(f"{name!r}: {list(view.shape)}" for name, view in self._views.items())
        return f"Flat({self._buffer.dtype}[{self._buffer.size}], {{{parts}}})"

    def __reduce__(self) -> Any:
        layout = self._layout
        return _unpickle, (tuple(layout.node), list(layout.names), list(layout.shapes), self._buffer)


def zeros(names: Sequence[str], shapes: Sequence[tuple[int, ...]], dtype: Any) -> Flat:
    """Return a `Flat` of zeros with these arrays."""
    flat = object.__new__(Flat)
    layout = Layout(tree.Node("dict", tuple(names), (tree.LEAF,) * len(names)), names, shapes)
    flat._lay_out(layout, aligned(layout.size, dtype))
    return flat


def _unpickle(node: Any, names: "list[str]", shapes: "list[tuple[int, ...]]", buffer: Array) -> Flat:
    flat = object.__new__(Flat)
    flat._lay_out(Layout(tree.Node(*node), names, shapes), aligned(buffer.size, buffer.dtype))
    flat.buffer[:] = buffer
    return flat
