"""`copy_to`: arrays besides the parameters that each update writes, and the checks that they are still the same."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.device import place
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, address, address_range, describe, shaped
from pyfastlr.arrays.parameters import Parameters, Target


class CopyTo:
    """The arrays of `copy_to`.

    Attributes
    ----------
    parts
        For each tensor, its part, 1-D.
    arrays
        For each array of the user, what is known of it.
    targets
        The same for each tensor.
    container
        What the user gave. `contents` is what will be in it, if that is not there yet.
    """

    def __init__(self, parameters: Parameters, contents: Any, container: Any = None) -> None:
        self.container = contents if container is None else container
        targets = parameters.targets(contents, "copy_to")
        self.parts: list[Array] = [x.array for x in targets]
        self.arrays: list[Target] = list({id(x.watched.array): x for x in targets}.values())
        self.targets = targets
        self.dtype = targets[0].array.dtype
        for x in targets:
            if x.array.dtype != self.dtype:
                need = shaped(self.dtype, x.watched.shape)
                raise TypeError(f"`{x.label}` must be {need} like the others, got {describe(x.watched.array)}")
        self._places = None if parameters.device is None else [place(x.given) for x in self.arrays]
        self._leaves: Callable[[Any], Any] | None = None
        if tree.kind_of(contents) != "leaf" and not isinstance(contents, Flat):
            if parameters.layout is None:
                self._leaves = tree.gatherer(parameters.node, partial(tree.match, parameters.node, argument="copy_to"))
            else:
                self._leaves = partial(parameters.leaves_of, argument="copy_to")

    def addresses(self) -> Array:
        """Address of each tensor's part, 0 for an empty one."""
        return np.array([address(x) if x.size else 0 for x in self.parts], np.int64)

    def check_container(self) -> None:
        """Raise the error for an array that was replaced in the user's container."""
        if self._leaves is None:
            return
        for x, copy in zip(self._leaves(self.container), self.targets, strict=True):
            if x is not copy.given:
                raise ValueError(
                    f"`{copy.label}` must be the array that the optimizer was built with, got another: build a new "
                    f"optimizer"
                )

    def guarded(self, launch: Callable[..., int]) -> Callable[..., int]:
        """The launch, which first checks that the container has the same arrays. The launch checks the arrays."""
        if self._leaves is None:
            return launch
        check = self.check_container

        def guarded_launch(*arguments: Any) -> int:
            check()
            return launch(*arguments)

        return guarded_launch

    def check_apart(self, rates: Iterable[Any]) -> None:
        """Refuse per-element rates in this memory: an update would replace them by the parameters."""
        ranges = sorted((*address_range(x.watched.array), x.label) for x in self.arrays if x.array.size)
        starts = [start for start, *_ in ranges]
        for x in rates:
            start, end = address_range(x.array)
            k = bisect_left(starts, end) - 1
            if k >= 0 and start < ranges[k][1] and start < end:
                raise ValueError(f"`{x.label}` and `{ranges[k][2]}` must not overlap, got arrays that share memory")

    def check_in_place(self) -> None:
        """Raise the error for an array whose memory is not what it was, or which is read-only."""
        for k, copy in enumerate(self.arrays):
            if self._places is not None:
                if place(copy.given) != self._places[k]:
                    self.explain_moved(k)
                continue
            x, known = copy.watched.array, copy.watched
            if (address(x), x.shape, x.dtype) != (known.address, known.shape, known.dtype) or not x.flags.carray:
                self.explain_moved(k)

    def explain_moved(self, k: int) -> NoReturn:
        """Raise the error for an array that has changed."""
        copy = self.arrays[k]
        x = copy.watched.array
        if self._places is not None:
            got = f"{type(copy.given).__name__} with other memory, shape or dtype"
        else:
            writeable = "" if x.flags.writeable else ", read-only"
            got = f"{describe(x)} with strides {x.strides} bytes{writeable}"
        raise ValueError(
            f"`{copy.label}` must stay as it was when the optimizer was built, a writeable array with the same memory, "
            f"shape and dtype, got {got}"
        )
