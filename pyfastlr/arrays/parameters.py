"""The parameters of an optimizer, and checks of arguments that must have the same structure."""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import numpy as np

from . import tree
from .device import allocate
from .device import place as place_on_device
from .flat import Flat, Layout
from .halves import LENT, numbers_of
from .host import (
    LINE,
    Array,
    Halves,
    Watched,
    address,
    address_range,
    aligned,
    as_ndarray,
    check_disjoint,
    check_memory,
    describe,
    device_of,
    is_native,
    operand,
    parameter,
    shaped,
    target,
    watch,
)
from .lenders import lent, place


class Target(NamedTuple):
    """An array besides the parameters that a step writes, for one tensor."""

    label: str
    array: Any  # 1-D
    given: Any  # the user's object
    watched: Watched  # its array


class Parameters:
    """Named tensors, either in one buffer (a `Flat`) or in separate arrays (an array, dict or list).

    `container` is the user's, if `params` is what will be in it and is not there yet. `halves`: arrays may have numbers
    of 16 bits, as the gradients may.

    Attributes
    ----------
    dtype
        Of the arithmetic and of the state: float32 for arrays of 16 bits.
    memory
        Dtype of the arrays.
    half : {"bfloat16", "float16"} or None
        What they have, if they have numbers of 16 bits.
    params
        The user's argument.
    given, arrays
        The objects in it, and an array over the memory of each: one for a `Flat`, otherwise one per tensor.
    names, shapes, sizes
        Of each tensor.
    layout : Layout or None
        Of a `Flat`.
    is_single : bool
        The parameters are one ndarray, and so are the gradients. There is no container to traverse.
    """

    def __init__(self, params: Any, container: Any = None, halves: Halves | None = None) -> None:
        self.params = params if container is None else container
        self.halves = halves
        labels = ["params"]
        self.layout: Layout | None = params._layout if isinstance(params, Flat) else None
        if self.layout is not None:
            self.node, self.names = self.layout.node, list(self.layout.names)
            self.given: list[Any] = [params.buffer]
            self.arrays: list[Any] = self.given
            self.shapes, self.sizes = list(self.layout.shapes), list(self.layout.sizes)
        else:
            _refuse_iterators(params)
            self.node, self.names, self.given = tree.flatten(params, "params")
            labels = self.labels("params")
            self.arrays = []
            for leaf, label in zip(self.given, labels, strict=True):
                self.arrays.append(parameter(leaf, label, self.arrays[0].dtype if self.arrays else None, halves))
            device = device_of(self.arrays[0])
            for x, label in zip(self.arrays, labels, strict=True):
                if device_of(x) is not device:
                    check_memory(x, label, shaped(x.dtype, x.shape), device)
            self.shapes, self.sizes = [x.shape for x in self.arrays], [x.size for x in self.arrays]
        self.device = device_of(self.arrays[0])
        self.half = None if halves is None or self.device is not None else halves.of(self.arrays[0].dtype)
        self.dtype = np.dtype(np.float32 if self.half else self.arrays[0].dtype.name)
        self.memory = self.arrays[0].dtype if self.half else self.dtype
        self.addresses = [address(x) for x in self.arrays]
        check_disjoint(self.arrays, self.addresses, labels)
        self.size = sum(self.sizes)
        self._place_of = place if self.device is None else place_on_device
        self._places = [None if is_native(x) else self._place_of(x) for x in self.given]
        self.is_native = all(map(is_native, self.given))
        self.is_leaf = self.layout is None and self.node.kind == "leaf"
        self.is_single = self.is_leaf and self.is_native
        #: Leaves of the gradients in a new list, which no other code can change, or one array for all tensors.
        me = weakref.proxy(self)  # no cycle: memory that others lend is given back with the optimizer
        self.gather: Callable[[Any], Any] = tree.gatherer(self.node, partial(Parameters._match_gradients, me))
        #: Current contents of the container of parameters, with views of objects that are not ndarrays: a list (`held`)
        #: or a function that returns one (`hold`). Both are None if there is no container.
        self.held: list[Any] | None = None
        self.hold: Callable[[], list[Any]] | None = None
        current_views = partial(Parameters._current_views, me)
        if self.layout is not None:
            self.gather = partial(Parameters._flat_gradients, me)
        elif self.is_leaf:
            self.gather = _itself
            self.hold = None if self.is_native or self.device is not None else current_views
        elif self.is_native and type(self.params) is list and all(child is tree.LEAF for child in self.node.children):
            self.held = self.params
        elif self.is_native or self.device is not None:
            self.hold = partial(tree.gatherer(self.node, partial(Parameters._match_parameters, me)), self.params)
        else:
            self.hold = current_views

    def labels(self, argument: str) -> list[str]:
        """Names of an argument's tensors in errors."""
        return [tree.label(argument, name) for name in self.names]

    def array_label(self, k: int) -> str:
        """Name of parameter array k in errors."""
        return "params" if self.layout is not None or self.is_leaf else tree.label("params", self.names[k])

    # --- At every step ------------------------------------------------------------------------------------------------

    def _match_gradients(self, grads: Any) -> list[Any]:
        return tree.match(self.node, grads, "grads")

    def _match_parameters(self, params: Any) -> list[Any]:
        return tree.match(self.node, params, "params")

    def _flat_gradients(self, grads: Any) -> Any:
        """Return the buffer of a `Flat` with the same layout, a buffer, or the leaves of a dict or list."""
        layout = self.layout
        assert layout is not None
        if isinstance(grads, Flat):
            if not layout.same(grads._layout):
                raise ValueError(
                    f"`grads` must have the layout of the parameters, {layout}, got a Flat with {grads._layout}; "
                    f"params.like() makes one"
                )
            grads._layout = layout  # the same object, so that the next step need not compare
            return grads._buffer
        return grads if tree.kind_of(grads) == "leaf" else self._named(grads, "grads", layout)

    def _named(self, given: Any, argument: str, layout: Layout) -> list[Any]:
        """Leaves by the names of a `Flat`, or in the structure that it was built from."""
        is_named = tree.kind_of(given) == "dict" and not {str(key) for key in given} - set(layout.names)
        node = tree.Node("dict", layout.names, (tree.LEAF,) * len(layout.names)) if is_named else self.node
        return tree.match(node, given, argument)

    def _current_views(self) -> list[Any]:
        """Ndarrays in the container now, and views of its other objects."""
        found = [self.params] if self.is_leaf else self._match_parameters(self.params)
        return [self._view(k, x) for k, x in enumerate(found)]

    def inside(self) -> list[Any]:
        """Objects in the container of parameters now. Raise an error if its structure has changed."""
        return self._match_parameters(self.params) if self.layout is None else self.given

    def held_now(self) -> list[Any] | None:
        """Current contents of the container of parameters."""
        return self.held if self.hold is None else self.hold()

    def _view(self, k: int, x: Any) -> Any:
        """Array over the current memory of another library's object."""
        if x is not self.given[k]:
            self.explain_moved(k, x)
        if is_native(x):
            return x
        now = place(x)
        if now is None:
            return as_ndarray(x, self.array_label(k), shaped(self.memory, self.shapes[k]))
        if now != self._places[k]:
            self.explain_moved(k, x)
        return self.arrays[k]

    def views(self, leaves: Any) -> Any:
        """Gradients as plain ndarrays where that needs no copy (a memmap, a tensor, a scalar). Errors come later."""
        if type(leaves) is list and not self.is_leaf:
            found = [
                x if x is None or (type(x) is np.ndarray and x.dtype is self.dtype) else self._as_plain(x, k)
                for k, x in enumerate(leaves)
            ]
            return self._alike(found)
        return self._as_plain(leaves, 0 if self.is_leaf else None)

    def _alike(self, leaves: list[Any]) -> list[Any]:
        """Gradients that are all bfloat16, with one dtype: ml_dtypes', torch's and uint16 are different ones."""
        dtypes = {x.dtype for x in leaves if isinstance(x, np.ndarray)}
        if len(dtypes) < 2 or {self.half_of(x) for x in leaves if x is not None} != {"bfloat16"}:
            return leaves
        return [None if x is None else x.view(LENT) for x in leaves]

    def _as_plain(self, x: Any, k: int | None) -> Any:
        if isinstance(x, np.generic):
            return np.asarray(x) if k is not None and self.shapes[k] == () else x
        if not isinstance(x, np.ndarray):
            try:
                array = lent(x)
            except (BufferError, RuntimeError, TypeError, ValueError):
                array = None
            if array is not None and (array.dtype is self.dtype or self.half_of(array) is not None):
                return array
        name, shape = ("grads", [self.size]) if k is None else (self.gradient_label(k), self.shapes[k])
        return as_ndarray(x, name, shaped(self.dtype, shape))

    def gradient_label(self, k: int) -> str:
        """Name of gradient k in errors."""
        return tree.label("grads", self.names[k])

    def inside_tensors(self) -> list[Array]:
        """The parameters' arrays as they are, one per tensor, 1-D."""
        if self.layout is None:
            return [x.reshape(-1) for x in self.arrays]
        starts = accumulate(self.sizes, initial=0)
        return [self.arrays[0][a : a + n] for a, n in zip(starts, self.sizes, strict=False)]

    def numbers(self) -> list[Array]:
        """The parameters' numbers, one array per tensor, 1-D: the arrays themselves, or copies if they have 16 bits."""
        tensors = self.inside_tensors()
        return tensors if self.half is None else [numbers_of(x, self.half) for x in tensors]

    def check_in_place(self, in_container: bool = True) -> None:
        """Raise the error for an array that cannot be written to as when the optimizer was built.

        `in_container`: also for one that was replaced in its container.
        """
        for k, (now, given) in enumerate(zip(self.inside() if in_container else self.given, self.given, strict=True)):
            if now is not given or not self.is_in_place(k):
                self.explain_moved(k, now)

    def is_in_place(self, k: int) -> bool:
        """Whether array k can be written to as when the optimizer was built."""
        given, shape = self.given[k], self.shapes[k] if self.layout is None else (self.size,)
        x = given if isinstance(given, np.ndarray) else self.arrays[k]
        moved = self._places[k] is not None and self._place_of(given) != self._places[k]
        same = not moved and address(x) == self.addresses[k] and x.shape == shape and x.dtype == self.arrays[k].dtype
        return bool(same and x.flags.carray)

    # --- Arrays like the parameters -----------------------------------------------------------------------------------

    def operand(self, x: Any, name: str, shape: Sequence[int], dtype: Any = None) -> Any:
        """Array that a step reads, in the same memory as the parameters."""
        dtype = self.dtype if dtype is None else dtype
        array = operand(x, name, dtype, shape)
        check_memory(array, name, shaped(dtype, shape), self.device)
        return array

    def half_of(self, x: Any) -> str | None:
        """What a gradient of 16 bits has; None for any other."""
        if self.halves is None or self.device is not None or self.dtype != np.float32 or not isinstance(x, np.ndarray):
            return None
        return self.halves.of(x.dtype)

    def gradient_dtype(self, leaves: Any) -> Any:
        """Dtype that the gradients of a step must have: of the first one, if gradients may have it."""
        first = next((x for x in leaves if x is not None), None) if type(leaves) is list else leaves
        if not isinstance(first, np.ndarray) or not first.dtype.isnative:
            return self.memory
        is_wide = self.half is not None and first.dtype == self.dtype
        if is_wide or self.half_of(first) is not None:
            return first.dtype
        return self.memory

    def checked(self, leaves: Any) -> Any:
        """Gradients as plain arrays. Raise an error for an invalid one."""
        dtype = self.gradient_dtype(leaves)
        if type(leaves) is list and not self.is_leaf:
            labels = self.labels("grads")
            return [
                None if x is None else self.operand(x, label, shape, dtype)
                for x, label, shape in zip(leaves, labels, self.shapes, strict=True)
            ]
        return self.operand(leaves, "grads", self.shapes[0] if self.is_leaf else [self.size], dtype)

    def zeros(self, size: int, dtype: Any = None) -> Any:
        """Return `size` zeros in the same memory as the parameters."""
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        return aligned(size, dtype) if self.device is None else allocate(self.device, size, dtype)

    def parts(self, dtype: Any = None, sizes: Sequence[int] | None = None) -> tuple[int, list[slice]]:
        """Size of a buffer with a number for each element, and each tensor's part of it.

        Each part starts at a cache line, except in a `Flat`, which has no gaps. `sizes`: of the parts, if they are not
        those of the tensors.
        """
        has_gaps = self.layout is None or sizes is not None
        pad = LINE // np.dtype(self.dtype if dtype is None else dtype).itemsize if has_gaps else 1
        sizes = self.sizes if sizes is None else sizes
        starts = list(accumulate((-(-size // pad) * pad for size in sizes), initial=0))
        return starts[-1], [slice(a, a + n) for a, n in zip(starts, sizes, strict=False)]

    def leaves_of(self, value: Any, argument: str) -> list[Any] | None:
        """Leaves of an argument like the parameters, one per tensor. None if it is one buffer for a whole `Flat`."""
        if self.layout is None:
            return tree.match(self.node, value, argument)
        if isinstance(value, Flat) and not self.layout.same(value._layout):
            raise ValueError(f"`{argument}` must have the layout {self.layout}, got a Flat with {value._layout}")
        if isinstance(value, Flat) or tree.kind_of(value) == "leaf":
            return None
        return self._named(value, argument, self.layout)

    def per_tensor(self, value: Any, argument: str, anywhere: bool = False) -> list[Any]:
        """Arrays of an argument like the parameters, 1-D, one per tensor. `anywhere`: in any memory."""
        leaves = self.leaves_of(value, argument)
        check = partial(operand, dtype=self.dtype) if anywhere else self.operand
        if leaves is None:
            whole = check(value.buffer if isinstance(value, Flat) else value, argument, shape=[self.size])
            starts = accumulate(self.sizes, initial=0)
            return [whole[start : start + size] for start, size in zip(starts, self.sizes, strict=False)]
        return [
            check(x, label, shape=shape).reshape(-1)
            for x, label, shape in zip(leaves, self.labels(argument), self.shapes, strict=True)
        ]

    def targets(self, value: Any, argument: str) -> "list[Target]":
        """Arrays of an argument like the parameters that a step writes, one per tensor. They overlap nothing."""
        leaves = self.leaves_of(value, argument)
        halves = self.halves if self.device is None and self.dtype == np.float32 else None
        if leaves is None:
            given = value.buffer if isinstance(value, Flat) else value
            whole = target(given, argument, self.dtype, [self.size], halves)
            check_memory(whole, argument, shaped(self.dtype, [self.size]), self.device)
            starts = accumulate(self.sizes, initial=0)
            parts = [whole[start : start + size] for start, size in zip(starts, self.sizes, strict=False)]
            record = watch(given if is_native(given) else whole)
            found = [Target(argument, x, given, record) for x in parts]
        else:
            found = []
            for x, label, shape in zip(leaves, self.labels(argument), self.shapes, strict=True):
                array = target(x, label, self.dtype, shape, halves)
                check_memory(array, label, shaped(self.dtype, shape), self.device)
                found.append(Target(label, array.reshape(-1), x, watch(x if is_native(x) else array)))
        arrays = [*self.arrays, *(x.array for x in found)]
        labels = [*map(self.array_label, range(len(self.arrays))), *(x.label for x in found)]
        check_disjoint(arrays, [address(x) for x in arrays], labels)
        return found

    def like(self, tensors: Sequence[Array], buffer: Array) -> Any:
        """Container with the parameters' structure over 1-D tensors; for a `Flat`, over the buffer with them."""
        if self.layout is not None:
            return self.params._over(buffer)
        return tree.rebuild(self.node, [x.reshape(shape) for x, shape in zip(tensors, self.shapes, strict=True)])

    # --- Errors -------------------------------------------------------------------------------------------------------

    def explain_moved(self, k: int, now: Any) -> NoReturn:
        """Raise the error for a parameter that has changed. `now` is the object in its container."""
        label, need = self.array_label(k), shaped(self.arrays[k].dtype, self.arrays[k].shape)
        if now is not None and now is not self.given[k] and not (is_native(now) and not is_native(self.given[k])):
            raise ValueError(
                f"`{label}` must be the array that the optimizer was built with, got another: update it in place "
                f"(`x[...] = value`), or build a new optimizer"
            )
        x = self.given[k]
        if isinstance(x, np.ndarray):
            writeable = "" if x.flags.writeable else ", read-only"
            got = f"{describe(x)} with strides {x.strides} bytes{writeable}"
        else:
            got = f"{type(x).__name__} with other memory, shape or dtype"
        raise ValueError(
            f"`{label}` must stay as it was when the optimizer was built, a writeable {need} at the same address, got "
            f"{got}: something resized, reshaped, reinterpreted or replaced it in place"
        )

    def _labelled(self, leaves: Any) -> list[tuple[str, Any]]:
        """Gradients that have elements, with their names in errors."""
        several = type(leaves) is list
        labels = self.labels("grads") if several else ["grads"]
        found = zip(labels, leaves if several else [leaves], strict=True)
        return [(label, x) for label, x in found if x is not None and x.size]

    def check_zeroed(self, leaves: Any) -> None:
        """Refuse a gradient that cannot be set to zero."""
        for label, x in self._labelled(leaves):
            if not x.flags.writeable:
                raise ValueError(f"`{label}` must be writeable with zero_grad=True, got a read-only {describe(x)}")

    def explain_overlap(self, leaves: Any, written: Sequence[tuple[str, Any]], apart: bool = False) -> NoReturn:
        """Raise the error for a gradient that shares memory with an array that a step writes, or with another one.

        `written` has the names and arrays; `apart`: no two gradients may overlap.
        """
        gradients = self._labelled(leaves)
        for k, (label, x) in enumerate(gradients):
            for what, other in (*written, *(gradients[k + 1 :] if apart else ())):
                (a, b), (c, d) = address_range(x), address_range(other)
                if a < d and c < b:
                    why = " with zero_grad=True" if apart else ""
                    raise ValueError(
                        f"`{label}` must not overlap `{what}`{why}, got {describe(x)} that shares its memory"
                    )
        raise RuntimeError("another thread or a schedule changed the gradients during the call; nothing was updated")


def _refuse_iterators(params: Any) -> None:
    """Refuse iterators, models and torch's form of groups, and say what to write instead."""
    if hasattr(params, "__next__"):
        raise TypeError(
            f"`params` must be an array, a dict or a list of arrays, got {type(params).__name__}: pass list(...)"
        )
    if callable(getattr(params, "named_parameters", None)):
        raise TypeError(
            f"`params` must be an array, a dict or a list of arrays, got {type(params).__name__}: pass "
            f"{{name: x.detach() for name, x in model.named_parameters()}}, which shares their memory"
        )
    if isinstance(params, list | tuple) and params and all(isinstance(x, dict) and "params" in x for x in params):
        raise TypeError(
            "`params` must be arrays, got torch's list of groups: pass the arrays as `params` and the hyperparameters "
            'as `groups`, for example Adam({"w": w, "b": b}, groups=[{"params": "b", "lr": 1e-4}])'
        )


def _itself(grads: Any) -> Any:
    return grads
