"""The step of an optimizer whose parameters are on a CUDA device: checks in Python, then one launch."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyfastlr_kernels.cuda._capture import GraphStep
from pyfastlr_kernels.cuda._launch import Step
from pyfastlr_kernels.cuda._tables import Curve
from pyfastlr_kernels.rules import Rule

from ._arrays import span
from ._device import DeviceArray, place, stream_of
from ._groups import Group
from ._hyper import inverse_scale
from ._params import Parameters
from ._table import Table
from .schedules import Schedule


class DeviceStep:
    """Step of one optimizer; its tables are those of `Table`, copied to the device by `Step`."""

    def __init__(
        self,
        parameters: Parameters,
        table: Table,
        states: dict[str, DeviceArray],
        rule: Rule,
        convention: str,
        capturable: Sequence[Group] | None,
    ) -> None:
        self._parameters, self._table, self._states = parameters, table, states
        self._device = parameters.buffers[0].device
        self._steps, self._used_lr = table.job["steps"], table.job["used_lr"]
        self._sign = float(table.job["sign"][0])
        common = (
            self._device, rule, convention, parameters.dtype.name, table.tensors, table.rows, table.counts, self._steps
        )  # fmt: skip
        self._captures = capturable is not None
        self._launch = GraphStep(*common, *scheduled(capturable, table)) if capturable is not None else Step(*common)
        self.changed, self.refresh = self._launch.changed, self._launch.refresh
        self._params_at = [place(x) for x in parameters.given]
        self._grads: list[tuple[Any, Any, int]] = [(None, None, 0)] * len(parameters.buffers)

    def __call__(self, leaves: Any, inv_scale: Any, held: Sequence[Any] | None, stream: Any) -> None:
        """Update the parameters, or raise before anything is changed."""
        parameters = self._parameters
        scale = self._sign * inverse_scale(inv_scale)
        for k, x in enumerate(parameters.given if held is None else held):
            if x is not parameters.given[k] or place(x) != self._params_at[k]:
                parameters.explain_moved(k, held)
        grads = [leaves] if parameters.one else list(leaves)
        addresses = self._addresses(grads)
        first = next((x for x in grads if x is not None), parameters.given[0])
        handle = stream_of(stream, first, self._device.number)
        if self._captures:  # asks on the device
            self._launch(addresses, scale, handle)
        else:
            self._ask()
            self._launch(addresses, scale, handle)
            self._used_lr[0] = self._table.rows["lr"][0]

    def _addresses(self, grads: Sequence[Any]) -> list[int]:
        """Address of each gradient, 0 for None. One that is where it was at the last step is not checked again."""
        addresses = []
        checked: Sequence[Any] | None = None
        for k, x in enumerate(grads):
            if x is None and not self._parameters.one:
                addresses.append(0)
                continue
            last, at, address = self._grads[k]
            if last is None or x is not last or place(x) != at:
                if checked is None:
                    whole = self._parameters.checked(grads[0] if self._parameters.one else grads)
                    checked = [whole] if self._parameters.one else whole
                    self._refuse_overlap(checked)
                address = checked[k].address
                self._grads[k] = x, place(x), address
            addresses.append(address)
        return addresses

    def _refuse_overlap(self, checked: Sequence[Any]) -> None:
        written = sorted(span(x) for x in (*self._parameters.buffers, *self._states.values()) if x.size)
        starts = np.array([start for start, _ in written], np.int64)
        for x in checked:
            if x is not None and x.size:
                k = int(np.searchsorted(starts, span(x)[1])) - 1
                if k >= 0 and written[k][1] > span(x)[0]:
                    self._parameters.explain_overlap(
                        checked[0] if self._parameters.one else checked, self._states
                    )  # fmt: skip

    def _ask(self) -> None:
        """Ask every schedule and callable for its number of this update, then write them all."""
        n = int(self._steps[0])
        values = []
        for call, convert, low, high, places in self._table.asked:
            value = call(n)
            if type(value) is not float or not low <= value <= high:
                value = convert(value)
            values.append((value, places))
        numbers = self._table.rows.view(np.float64)
        for value, places in values:
            numbers[places] = value


def scheduled(groups: Sequence[Group], table: Table) -> tuple[list[tuple[Curve, list[int]]], str | None]:
    """Schedules of the groups as curves, with the places that they write, and a name for them: `GraphStep`'s."""
    found: list[tuple[Curve, list[int]]] = []
    for row, group in enumerate(groups):
        for field in group.fields[:-1]:
            value = group.source(field)
            if isinstance(value, Schedule):
                found.append((_curve(value), [table.place(row, field)]))
    text = repr([(_named(curve), places) for curve, places in found])
    # The cache knows the sources of the library's own curves alone.
    return found, None if "<" in text else hashlib.sha256(text.encode()).hexdigest()[:12]


def _curve(schedule: Schedule) -> Curve:
    function, parameters = schedule._bound()
    return Curve(function, tuple(_curve(x) if isinstance(x, Schedule) else x for x in parameters))


def _named(x: Any) -> Any:
    """Curve in a form that says all of it, if its functions are the library's own; else with a < of their repr."""
    if isinstance(x, Curve):
        return _named(x.function), *map(_named, x.parameters)
    return x.__name__ if callable(x) and x.__module__.startswith("pyfastlr_kernels.") else x
