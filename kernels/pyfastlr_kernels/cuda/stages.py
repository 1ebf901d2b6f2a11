"""The launches of a step with options: measure, decide, and the update with what goes around it.

The host's options are in stages too (cpu/stages.py). Here each stage is a launch, so nothing waits for the device.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pyfastlr_kernels.rules import Rule

from .launch import Launch
from .tables import BLOCKS, CHECKED, CHECKING, THREADS

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
    checks: bool  # whether elements must be finite
    zeroes: bool  # whether gradients are set to zero
    before: int  # address: for each tensor, where the update puts its old parameters, for their change's norm; or 0
    params: bool  # whether the norm of the parameters is needed
    refuse: Callable[[], None] | None  # waits for the device, and raises the error if they are not


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
        self.record = options.record

    def check(self, bindings: int, rows: int, scale: float) -> list[Launch]:
        """The launches that find out whether the gradient is finite, before anything is written; none if it may not be.

        `scale` is the loss scale's inverse, with the sign.
        """
        if not self._options.checks:
            return []
        return [*self._measure(bindings, rows, scale, clamps=False), self._decide(bindings, rows, scale, CHECKING)]

    def update(self, bindings: int, table: int, rows: int, scale: float) -> list[Launch]:
        """The launches of a step with these tables, after those of `check`."""
        o, found = self._options, []
        if o.norms and (o.clamps or not o.checks):  # otherwise the check has measured
            found += self._measure(bindings, rows, scale, o.clamps)
        found.append(self._decide(bindings, rows, scale, CHECKED if o.checks else 0))
        if self._grid:
            places = (self._tensors, self._chunks, bindings, table, o.record, o.around, o.arrays)
            found.append(Launch.of(self._update_kernel(), self._grid, THREADS, list(map(_I64, places))))
            found += self._measure_after(bindings)
            if o.zeroes:
                found.append(Launch.of(self._zero_kernel(), self._grid, THREADS, [_I64(self._chunks), _I64(bindings)]))
        return found

    @property
    def refuse(self) -> Callable[[], None] | None:
        """Waits for the check, and raises the error that it asks for. None: the host need not know."""
        return self._options.refuse

    def _measure(self, bindings: int, rows: int, scale: float, clamps: bool) -> list[Launch]:
        def make() -> Any:
            from .reduce import make_measure

            return make_measure(self._dtype, clamps)

        if not self._grid:
            return []
        o = self._options
        kernel = self._kernel("measure", "-clamped" if clamps else "", make, 4)
        places = (self._tensors, self._n_tensors, self._chunks, bindings, rows, o.record, o.found)
        return [Launch.of(kernel, self._grid, THREADS, [*map(_I64, places), _F64(scale * o.sign)])]

    def _decide(self, bindings: int, rows: int, scale: float, check: int) -> Launch:
        def make() -> Any:
            from .decide import make_decide

            return make_decide(self._dtype)

        o = self._options
        places = (self._tensors, self._n_tensors, bindings, rows, o.record, o.found, o.around, int(o.each), check)
        cells = [*map(_I64, places), _F64(scale * o.sign), _F64(o.sign)]
        return Launch.of(self._kernel("decide", "", make, 1), 1, THREADS, cells)

    def _measure_after(self, bindings: int) -> list[Launch]:
        """The launches that measure what an update did."""

        def make(differs: bool) -> Any:
            from .reduce import make_measure_after

            return make_measure_after(self._dtype, differs)

        def make_finish() -> Any:
            from .decide import make_finish

            return make_finish(self._dtype)

        o, found = self._options, []
        cells = [*map(_I64, (self._tensors, self._n_tensors, self._chunks, bindings, o.record, o.before))]
        for name, differs, used in (("update", True, bool(o.before)), ("params", False, o.params)):
            if used:
                kernel = self._kernel("measure", f"-{name}", partial(make, differs), 4)
                found.append(Launch.of(kernel, self._grid, THREADS, cells))
        if found:
            last = [*map(_I64, (self._n_tensors, o.record, int(o.each)))]
            found.append(Launch.of(self._kernel("finish", "", make_finish, 1), 1, THREADS, last))
        return found

    def _zero_kernel(self) -> Any:
        def make() -> Any:
            from .zero import make_zero

            return make_zero(self._dtype)

        return self._kernel("zero", "", make, 1)

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
        whole = f"{name}-{self._dtype}{variant}"
        if whole not in self._kernels:
            self._kernels[whole] = self._device.kernel(whole, make, (THREADS, blocks))
        return self._kernels[whole]
