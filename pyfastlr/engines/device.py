"""Steps on a CUDA device: checks in Python, then one launch."""

import hashlib
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from pyfastlr.arrays.device import DeviceArray, place, stream_of
from pyfastlr.arrays.host import address, address_range
from pyfastlr.arrays.parameters import Parameters
from pyfastlr.schedules import Schedule
from pyfastlr.schedules.controller import is_controller
from pyfastlr_kernels import tables
from pyfastlr_kernels.compile.first_use import whole
from pyfastlr_kernels.cuda.graph_step import GraphStep
from pyfastlr_kernels.cuda.step import Step
from pyfastlr_kernels.cuda.tables import Curve
from pyfastlr_kernels.rules import RULES

from .device_extras import DeviceExtras
from .extras import merged
from .hyper import PUBLIC_NAMES, evaluation, inverse_scale, is_library_schedule, number
from .lock import StepLock
from .settings import Hyperparameters, Settings
from .state import State


class DeviceEngine:
    """Steps over arrays in the memory of a CUDA device.

    `launch` calls `_step`, which raises every error itself and always returns 0.
    """

    __slots__ = ("__weakref__", "_apart", "_capturable", "_convention", "_counts_there", "_device", "_extras",
                 "_gradients", "_hyper", "_lock", "_parameters", "_places", "_rule", "_sign", "_state",
                 "_step_on_device", "launch", "notify", "successor")  # fmt: skip

    def __init__(
        self,
        parameters: Parameters,
        state: State,
        hyper: Hyperparameters,
        lock: StepLock,
        rule: str,
        convention: str,
        sign: float,
        capturable: bool,
        extras: DeviceExtras,
    ) -> None:
        self._parameters, self._state, self._hyper, self._lock = parameters, state, hyper, lock
        self._rule, self._convention, self._sign, self._capturable = rule, convention, sign, capturable
        self._device, self._extras = parameters.device, extras
        self._counts_there = capturable or extras.may_skip  # counts, schedules and folds are on the device
        if self._counts_there:
            self._refuse_controllers(hyper.current)
        extras.refuse(hyper.current, capturable)
        self._step_on_device: Any = None  # built by the first step, and again after any change other than to a number
        self._places = [place(x) for x in parameters.given]
        self._gradients: list[tuple[Any, Any, int]] = [(None, None, 0)] * len(parameters.arrays)
        self._apart: list[int] | None = None  # addresses of gradients that may be set to zero
        self.successor: DeviceEngine | None = None  # the engine that has replaced this one (optimizers/adding.py)
        weak = weakref.proxy(self)  # no reference cycle: a dropped state is freed at once
        self.launch: Callable[..., int] = partial(DeviceEngine._step, weak)
        self.notify: Callable[[], None] | None = partial(DeviceEngine.changed, weak)

    # --- The interface to the optimizer (interface.py) ----------------------------------------------------------------

    def renew(self) -> None:
        self.refresh()  # the next step starts from the host's counts
        self._step_on_device = self._apart = None

    def changed(self) -> None:
        self._extras.changed()
        if self._step_on_device is not None:
            self._step_on_device.changed()

    def refresh(self) -> None:
        """Copy counts, steps and the options' record to the host, because the device may have written them."""
        self._extras.refresh()
        if self._step_on_device is not None:
            self._step_on_device.refresh()

    def is_inside(self) -> bool:
        return self._lock.is_mine()

    def check_replacement(self, old: Settings, new: Settings) -> None:
        """Refuse options of the host, and to change what a captured graph may contain: schedules and arrays."""
        self._extras.refuse(new, self._capturable)
        if self._counts_there:
            self._refuse_controllers(new)
        if not self._capturable or self._step_on_device is None:
            return
        for before, after in zip(old.own, new.own, strict=True):
            for field, value in after.items():
                if before.get(field) is not value and not (type(value) is float and type(before.get(field)) is float):
                    raise ValueError(
                        f"`{field}` must not change after the first step with `capturable`: a CUDA graph contains its "
                        f"schedules and arrays, so only a number can be replaced, and only by a number"
                    )

    def _refuse_controllers(self, settings: Settings) -> None:
        option = "`capturable`" if self._capturable else '`nonfinite="skip"`'
        where = "a CUDA graph evaluates its schedules" if self._capturable else "schedules are evaluated"
        for value, field, _ in settings.scheduled():
            if is_controller(value):
                name, got = PUBLIC_NAMES.get(field, field), type(value).__name__
                raise TypeError(
                    f"`{name}` must be a number or schedule with {option}, got the controller {got}: {where} "
                    f"on the device, and what reacts to the run is not there"
                )

    def in_stream(self, stream: Any) -> Callable[..., int]:
        return partial(self.launch, stream=stream)

    def settle(self, status: int, gradients: Any, inv_scale: Any, held: Any, grads: Any) -> None:
        raise AssertionError(f"a step on a device must return 0, got {status}")

    def step_rows(self, gradients: Any, inv_scale: Any) -> None:
        raise TypeError(f"a step with rows needs parameters in host memory, got them on {self._parameters.device}")

    def sync_rows(self, name: str, rows: Any) -> None:
        """Do nothing: no row is behind."""

    def sync(self) -> None:
        """Do nothing: no row is behind."""

    def forgotten(self, kept: Collection[str]) -> list[tuple[Any, Any]]:
        return []

    def write(self, pairs: Sequence[tuple[Any, Any]], stores: Sequence[tuple[Any, str, Any]] = ()) -> None:
        def work() -> None:
            self.refresh()  # `changed` copies to the device what differs from it
            for x, y in pairs:
                if x.size:
                    x[...] = y.copy() if isinstance(y, DeviceArray) else y
            for owner, name, value in stores:
                setattr(owner, name, value)

        whole(work)

    # --- The step -----------------------------------------------------------------------------------------------------

    def _step(self, gradients: Any, inv_scale: Any, held: Any, grads: Any, stream: Any = None) -> int:
        if self.is_inside():
            raise RuntimeError("a schedule or callable must not call step() of the optimizer that calls it")
        with self._lock.held:
            if self.successor is not None:
                parameters = self.successor._parameters
                return self.successor._step(parameters.gather(grads), inv_scale, parameters.held_now(), grads, stream)
            try:
                self._lock.own()
                self._bind_and_step(gradients, inv_scale, held, grads, stream)
            finally:
                self._lock.disown()
        return 0

    def _bind_and_step(self, gradients: Any, inv_scale: Any, held: Any, grads: Any, stream: Any) -> None:
        """Update the parameters, or raise before anything is changed."""
        steps = self._lock.progress["steps"]
        scale = self._sign * inverse_scale(inv_scale)
        addresses, first = self._bind(gradients, held)
        if not any(addresses):
            return
        handle = stream_of(stream, first, self._device.number)
        if self._step_on_device is None:
            self._extras.check_not_swapped()
            self._step_on_device = self._make_step(steps)
        if not self._counts_there:
            values = self._evaluate_schedules(int(steps[0]))
            if not all(is_library_schedule(call) for call, *_ in self._hyper.current.scheduled()):
                # A callable may have changed anything, so check all arrays again.
                addresses, first = self._bind(self._parameters.gather(grads), self._parameters.held_now())
            self._take_hyperparameters(values)
        self._step_on_device(addresses, scale, handle)
        if not self._counts_there:
            self._lock.used_lr[0] = self._step_on_device._rows["lr"][0]

    def _bind(self, gradients: Any, held: Sequence[Any] | None) -> tuple[list[int], Any]:
        """Check all arrays. Return the gradients' addresses and the first gradient."""
        self._check_parameters(held)
        copies = self._extras.options.copies
        if copies is not None:
            copies.check_container()
            copies.check_in_place()
        leaves = [gradients] if self._parameters.is_leaf else list(gradients)
        return self._addresses(leaves), next((x for x in leaves if x is not None), None)

    def _check_parameters(self, held: Sequence[Any] | None) -> None:
        for k, x in enumerate(self._parameters.given if held is None else held):
            if x is not self._parameters.given[k] or place(x) != self._places[k]:
                self._parameters.explain_moved(k, x)

    def _addresses(self, grads: Sequence[Any]) -> list[int]:
        """Address of each gradient, 0 for None. A gradient that has not moved since the last step is not rechecked."""
        addresses = []
        checked: Sequence[Any] | None = None
        for k, x in enumerate(grads):
            if x is None and not self._parameters.is_leaf:
                addresses.append(0)
                continue
            last, at, found = self._gradients[k]
            if last is None or x is not last or place(x) != at:
                if checked is None:
                    whole_or_each = self._parameters.checked(grads[0] if self._parameters.is_leaf else grads)
                    checked = [whole_or_each] if self._parameters.is_leaf else whole_or_each
                    self._refuse_overlap(checked)
                    self._apart = None
                found = address(checked[k])
                self._gradients[k] = x, place(x), found
            addresses.append(found)
        if self._extras.options.zero_grad and addresses != self._apart:
            self._refuse_shared(grads)
            self._apart = addresses
        return addresses

    def _refuse_shared(self, grads: Sequence[Any]) -> None:
        """Refuse gradients that cannot be set to zero. Each must be writeable, and overlap no other and no rates."""
        parameters = self._parameters
        leaves = parameters.checked(grads[0] if parameters.is_leaf else list(grads))
        parameters.check_zeroed(leaves)
        rates = [x for x in self._hyper.current.rates if x is not None]
        gradients = [x for x in ([leaves] if parameters.is_leaf else leaves) if x is not None]
        ranges = sorted([*map(address_range, gradients), *merged(address_range(x.array) for x in rates)])
        if any(end > start for (_, end), (start, _) in pairwise(ranges)):
            parameters.explain_overlap(leaves, [(x.label, x.array) for x in rates], apart=True)

    def _refuse_overlap(self, checked: Sequence[Any]) -> None:
        arrays = [*self._parameters.arrays, *self._state.buffers.values(), *(x for _, x in self._extras.labelled())]
        written = sorted(address_range(x) for x in arrays if x.size)
        starts = np.array([start for start, _ in written], np.int64)
        for x in checked:
            if x is not None and x.size:
                start, end = address_range(x)
                k = int(np.searchsorted(starts, end)) - 1
                if k >= 0 and written[k][1] > start:
                    leaves = checked[0] if self._parameters.is_leaf else list(checked)
                    states = [(f"state[{name!r}]", x) for name, x in self._state.buffers.items()]
                    named = [*(("params", x) for x in self._parameters.arrays), *states, *self._extras.labelled()]
                    self._parameters.explain_overlap(leaves, named)

    def _make_step(self, steps: Any) -> Any:
        """Build the step for the current settings."""
        for slot in RULES[self._rule].slots:
            if slot.storage is not None:
                raise TypeError(
                    f"state {slot.name!r} in {slot.storage} needs parameters in host memory, got CUDA arrays"
                )
        settings, parameters, copies = self._hyper.current, self._parameters, self._extras.options.copies
        if copies is not None:
            copies.check_apart(rates for rates in settings.rates if rates is not None)
        tensors = np.zeros(len(parameters.names), tables.TENSOR)
        tensors["size"], tensors["row"], tensors["p"] = parameters.sizes, self._hyper.members, parameters.addresses
        tensors["scale"] = [0 if rates is None else address(rates.array) for rates in settings.rates]
        for k, places in enumerate(self._state.addresses()):
            tensors[f"s{k}"] = places
        rows = settings.rows if self._counts_there else settings.rows.copy()
        common = (self._device, RULES[self._rule], self._convention, parameters.dtype.name, tensors, rows,
                  self._state.counts, steps, settings.may_freeze(),
                  self._extras.on_device(settings, self._sign))  # fmt: skip
        if self._counts_there:
            return GraphStep(*common, *compiled_schedules(settings), self._capturable)
        return Step(*common)

    def _evaluate_schedules(self, n: int) -> list[tuple[float, list[int]]]:
        """Value of each schedule and callable for update n, with the cells that it fills."""
        values = []
        settings = self._hyper.current
        for call, field, cells in settings.scheduled():
            value, allowed = evaluation(call)(n), self._hyper.ranges[field]
            if type(value) is not float or not allowed.low <= value <= allowed.high:
                where = f" from its schedule at update {n}"
                value = number(value, field, allowed, where, group=settings.label_of(cells[0]))
            values.append((value, cells))
        return values

    def _take_hyperparameters(self, values: Sequence[tuple[float, list[int]]]) -> None:
        """Fill the rows for this update with the numbers that were set and the values of the schedules."""
        rows = self._step_on_device._rows
        rows[:] = self._hyper.current.rows
        numbers = rows.view(np.float64)
        for value, cells in values:
            numbers[cells] = value


def compiled_schedules(settings: Settings) -> tuple[list[tuple[Curve, list[int]]], str | None]:
    """Schedules as curves with the cells that they fill, and a name for them all, for `GraphStep`."""
    found = [(_curve(value), cells) for value, _, cells in settings.scheduled() if isinstance(value, Schedule)]
    text = repr([(_named(curve), cells) for curve, cells in found])
    # The cache covers the sources of the library's own curves only.
    return found, None if "<" in text else hashlib.sha256(text.encode()).hexdigest()[:12]


def _curve(schedule: Schedule) -> Curve:
    function, parameters = schedule._bound()
    return Curve(function, tuple(_curve(x) if isinstance(x, Schedule) else x for x in parameters))


def _named(x: Any) -> Any:
    """Curve as names and numbers that identify it. A function not of the library stays, and its repr contains <."""
    if isinstance(x, Curve):
        return _named(x.function), *map(_named, x.parameters)
    return x.__name__ if callable(x) and x.__module__.startswith("pyfastlr_kernels.") else x
