"""The launches of a step with options: measure, decide, and the update with what goes around it.

The host's options are in stages too (cpu/stages.py). Here each stage is a launch, so nothing waits for the device.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pyfastlr_kernels.rules import Rule

from .launch import Launch
from .tables import BLOCKS, THREADS

_I64, _F64 = ctypes.c_int64, ctypes.c_double


class OnDevice(NamedTuple):
    """Options of a step whose tables are on the device."""

    record: int  # addresses: the OPTIONS record,
    found: int  # int64 per tensor, zero: counters of elements that are not finite,
    around: int  # the numbers of each tensor (tables.Around),
    arrays: int  # for each tensor its addresses of the `others`
    others: tuple[str, ...]  # arrays that an update writes besides parameters and state, by their names in around.py
    norms: bool
    clamps: bool
    each: bool  # whether the tensors' own norms are needed
    sign: float


class Stages:
    """The launches around the updates of one step, whose tables are at fixed addresses."""

    def __init__(
        self, device: Any, rule: Rule, fold: Callable[..., Any], dtype: str, by_element: bool, options: OnDevice,
        tensors: int, n_tensors: int, chunks: int, grid: int,
    ) -> None:  # fmt: skip
        self._device, self._rule, self._fold, self._dtype = device, rule, fold, dtype
        self._by_element, self._options = by_element, options
        self._tensors, self._n_tensors, self._chunks, self._grid = tensors, n_tensors, chunks, grid
        self._itemsize = 4 if dtype == "float32" else 8
        self._kernels: dict[str, Any] = {}

    def launches(self, bindings: int, table: int, rows: int, scale: float) -> list[Launch]:
        """The launches of a step with these tables. `scale` is the loss scale's inverse, with the sign."""
        o, inv_scale = self._options, scale * self._options.sign
        found: list[Launch] = []
        # Squares of float64 numbers may overflow or vanish. Then decide asks for other sums, and all others do nothing.
        for again in (0, 1) if self._itemsize == 8 and o.norms else (0,):
            if o.norms and self._grid:
                found.append(self._measure((self._tensors, self._chunks, bindings, rows, o.record, o.found), inv_scale,
                                           again))  # fmt: skip
            integers = (self._tensors, self._n_tensors, bindings, rows, o.record, o.found, o.around, int(o.each), again)
            found.append(self._decide(integers, inv_scale))
        if self._grid:
            places = (self._tensors, self._chunks, bindings, table, o.record, o.around, o.arrays)
            found.append(Launch.of(self._update_kernel(), self._grid, THREADS, list(map(_I64, places))))
        return found

    def _measure(self, places: Sequence[int], inv_scale: float, again: int) -> Launch:
        def make() -> Any:
            from .reduce import make_measure

            return make_measure(self._dtype, self._options.clamps)

        kernel = self._kernel("measure", "-clamped" if self._options.clamps else "", make, 4)
        return Launch.of(kernel, self._grid, THREADS, [*map(_I64, places), _F64(inv_scale), _I64(again)])

    def _decide(self, integers: Sequence[int], inv_scale: float) -> Launch:
        def make() -> Any:
            from .decide import make_decide

            return make_decide(self._dtype)

        cells = [*map(_I64, integers), _F64(inv_scale), _F64(self._options.sign)]
        return Launch.of(self._kernel("decide", "", make, 1), 1, THREADS, cells)

    def _update_kernel(self) -> Any:
        o = self._options

        def make() -> Any:
            from .around import make_update_around

            return make_update_around(self._rule, self._fold, self._dtype, self._by_element, o.others, o.clamps)

        variant = (
            *(("by-element",) if self._by_element else ()),
            "around",
            *o.others,
            *(("clamped",) if o.clamps else ()),
        )
        return self._kernel(self._rule.update.__name__, f"-{'-'.join(variant)}", make, BLOCKS[self._itemsize])

    def _kernel(self, name: str, variant: str, make: Callable[[], Any], blocks: int) -> Any:
        if name not in self._kernels:
            self._kernels[name] = self._device.kernel(f"{name}-{self._dtype}{variant}", make, (THREADS, blocks))
        return self._kernels[name]
