"""What a step does besides the update: the options' record, its tables, and the arrays that they need.

The compiled side is kernels/pyfastlr_kernels/cpu/stages.py. An optimizer without such options has none of this. What is
different for parameters on a device is in device_extras.py.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pyfastlr.arrays.halves import rounded
from pyfastlr.arrays.host import Array, address, address_range, aligned
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu.stages_layout import PRIVATE, SCRATCH, SCRATCH_OF_HALVES
from pyfastlr_kernels.reduce import FACTORS

from . import halves
from .copies import CopyTo
from .hyper import OFF
from .option_checks import POLICIES
from .settings import Settings
from .state import State

NO_CALL = -1  # status of a record before the first call


class Options(NamedTuple):
    """Arguments of the constructor that are not hyperparameters."""

    nonfinite: str = "propagate"
    zero_grad: bool = False
    accumulate: int = 1
    mean: bool = True
    measure: tuple[str, ...] = ()
    copies: CopyTo | None = None
    loss_scale: Any = None  # a LossScale
    catch_up: bool = False


class Extras:
    """The record of options of one optimizer, kept for its life, and the arrays that options need.

    Attributes
    ----------
    record
        OPTIONS (tables.py). It keeps what the last call did.
    summed
        For each tensor, 1 if its accumulated gradient has had one since the last update.
    last
        Results of the last call of the optimizer that this one is a copy of.
    """

    def __init__(self, parameters: Parameters, options: Options, convention: str) -> None:
        self._parameters, self.options = parameters, options
        self.record = np.zeros(1, tables.OPTIONS)
        blocks = [-(-size // tables.UNIT) for size in parameters.sizes]
        self._first_blocks = np.array(list(accumulate(blocks, initial=0)), np.int64)
        self._keep: dict[str, Array] = {}
        self._parts = parameters.parts()
        self.buffers: dict[str, Array] = {}  # "average", "accumulated": each like the parameters, in one buffer
        self.summed = np.zeros(len(parameters.sizes), np.int64)
        self.last: dict[str, Any] = {}
        self.used = False  # by the current launch
        self._asked = False  # whether an option asked for it, not only numbers of 16 bits
        record = self.record
        record["convention"] = list(FACTORS).index(convention)
        record["policy"] = tables.SKIP if options.loss_scale else POLICIES[options.nonfinite]
        record["every"], record["mean"], record["zero"] = options.accumulate, options.mean, options.zero_grad
        for name in ("grad_norm", "update_norm", "param_norm"):
            record[name] = tables.NOT_MEASURED
        record["status"] = NO_CALL
        if options.accumulate > 1:
            self.allocate("accumulated")

    # --- Memory -------------------------------------------------------------------------------------------------------

    def allocate(self, name: str) -> None:
        """Make a buffer of zeros like the parameters, if there is none yet."""
        if name not in self.buffers:
            self.buffers[name] = self._parameters.zeros(self._parts[0])

    def tensors(self, name: str) -> list[Array]:
        """The parts of a buffer, one per tensor, 1-D."""
        return [self.buffers[name][part] for part in self._parts[1]]

    def _table(self, name: str, values: Any, dtype: Any = np.int64) -> int:
        """Address of a table that lives as long as this object, or until it is replaced."""
        self._keep[name] = self._parameters.zeros(len(values), dtype)
        self._keep[name][:] = values
        return address(self._keep[name])

    def _zeros(self, name: str, n: int, dtype: Any = np.float64) -> int:
        if name not in self._keep or self._keep[name].size < n:
            self._keep[name] = self._parameters.zeros(max(1, n), dtype)
        return address(self._keep[name])

    # --- For a launch -------------------------------------------------------------------------------------------------

    def is_used(self, settings: Settings) -> bool:
        """Whether a step with these settings does anything but the update."""
        options = self.options
        return bool(
            options.nonfinite != "propagate"
            or options.zero_grad
            or options.accumulate > 1
            or options.measure
            or options.copies is not None
            or options.loss_scale
            or any(name in own for own in settings.own for name in OFF)
        )

    def prepare(self, settings: Settings, threads: int, gradient: Any, state: State) -> int:
        """Fill the record for these settings and gradients of this dtype, and return its address."""
        self._fill(settings)
        parameters, record, copies = self._parameters, self.record, self.options.copies
        found = halves.fields(parameters, gradient, None if copies is None else copies.dtype, state.precision)
        for name, value in found.items():
            record[name] = value
        record["rests"], record["keys"] = self._table("rests", state.rests()), self._table("keys", state.keys())
        numbers = SCRATCH_OF_HALVES if found["gradient"] or found["parameter"] else SCRATCH
        size = numbers * parameters.dtype.itemsize
        if "scratch" not in self._keep or self._keep["scratch"].nbytes < threads * size:
            self._keep["scratch"] = aligned(threads * numbers, parameters.dtype)
            self._keep["private"] = aligned(threads * PRIVATE // 8, np.dtype(np.int64))
        record["scratch"], record["scratch_size"] = tables.address(self._keep["scratch"]), size
        record["private"] = tables.address(self._keep["private"])
        record["loss_scale"] = tables.address(self.options.loss_scale._record) if self.options.loss_scale else 0
        record["summed"] = tables.address(self.summed)
        return tables.address(record)

    def _fill(self, settings: Settings) -> None:
        """Fill what the record has for any memory."""
        self.used, self._asked = True, self.is_used(settings)
        parameters, record, options = self._parameters, self.record, self.options
        n, n_blocks = len(parameters.names), int(self._first_blocks[-1])
        set_by = {
            name: any(name in own for own in settings.own) for name in ("clip_norm", "clip_norm_each", "clip_value")
        }
        measured = bool(options.measure or options.loss_scale)
        record["norms"] = (
            set_by["clip_norm"]
            or set_by["clip_norm_each"]
            or measured
            or (record["policy"][0] != 0 and options.accumulate == 1 and not set_by["clip_value"])
        )
        record["each"], record["value"] = set_by["clip_norm_each"], set_by["clip_value"]
        record["update_norms"] = "update_norm" in options.measure
        record["param_norms"] = "param_norm" in options.measure
        rows = settings.rows
        record["n_rows"], record["row_size"] = len(rows), rows.dtype.itemsize
        record["clip_rows"] = self._table(
            "clip_rows", [row if "clip_norm" in own else 0 for row, own in enumerate(settings.own)]
        )
        record["first_blocks"] = self._table("first_blocks", self._first_blocks)
        for name in ("squares", "update_squares", "param_squares"):
            record[name] = self._zeros(name, 2 * n_blocks)
        record["bad"] = self._zeros("bad", n, np.int64)
        for name in ("tensor_norms", "tensor_update_norms", "tensor_param_norms", "factors"):
            record[name] = self._zeros(name, n)
        record["row_norms"] = self._zeros("row_norms", len(rows))
        if averages(settings):
            self.allocate("average")
            record["averages"] = self._addresses("average")
        else:
            record["averages"] = 0
        record["sums"] = self._addresses("accumulated") if options.accumulate > 1 else 0
        record["copies"] = 0 if options.copies is None else self._table("copies", options.copies.addresses())

    def _addresses(self, name: str) -> int:
        """Table of the addresses of a buffer's parts. None is 0, so that a tensor without elements counts too."""
        start, itemsize = address(self.buffers[name]), self._parameters.dtype.itemsize
        return self._table(name, [start + part.start * itemsize for part in self._parts[1]])

    def unused(self) -> int:
        """Note that steps do nothing but the update. Return the address that says so, 0."""
        self.record["status"], self.last, self.used = NO_CALL, {}, False
        return 0

    def kept(self) -> tuple[Any, ...]:
        """Tables and arrays that a launch points to."""
        return self.record, self.summed, self.options, *self._keep.values(), *self.buffers.values()

    # --- The average --------------------------------------------------------------------------------------------------

    @property
    def has_average(self) -> bool:
        """Whether there has been an update with `ema_decay`."""
        return bool(self.record["averaged"][0])

    @property
    def swapped(self) -> int:
        """Not 0: parameters and average are exchanged, by `exchange` with this number."""
        return int(self.record["swapped"][0])

    def check_not_swapped(self, what: str = "step()") -> None:
        """Refuse what needs the parameters while they are exchanged with their average."""
        if self.swapped:
            raise RuntimeError(
                f"{what} is not possible while the average is swapped in: call swap_ema() again, or leave averaged()"
            )

    def exchange(self, swapped: int) -> list[tuple[Array, Array]]:
        """Copies that exchange parameters and average, in their order, and then set `swapped`."""
        if self._parameters.half is not None:
            return [*self._exchange_halves(bool(swapped)), (self.record["swapped"], np.array([swapped]))]
        spare = np.empty(max(self._parameters.sizes), self._parameters.dtype)
        pairs = []
        for average, p in zip(self.tensors("average"), self._parameters.inside_tensors(), strict=True):
            kept = spare[: p.size]
            pairs += [(kept, p), (p, average), (average, kept)]
        return [*pairs, (self.record["swapped"], np.array([swapped]))]

    def _exchange_halves(self, swap_in: bool) -> list[tuple[Array, Array]]:
        """The same with parameters of 16 bits: they get the nearest numbers, and the average itself is kept."""
        parameters, averages, half = self._parameters, self.tensors("average"), str(self._parameters.half)
        if swap_in:
            self._keep["swapped"] = self.buffers["average"].copy()
        kept = [self._keep["swapped"][part] for part in self._parts[1]]
        pairs: list[tuple[Array, Array]] = []
        for average, own, numbers, p in zip(
            averages, kept, parameters.numbers(), parameters.inside_tensors(), strict=True
        ):
            pairs += [(p.view(np.uint16), rounded(average, half)), (average, numbers if swap_in else own)]
        return pairs

    # --- Saved state (optimizers/saving/) -----------------------------------------------------------------------------

    def progress_pairs(self, calls: int, summed: Any, averaged: int) -> list[tuple[Any, Any]]:
        """Counts of calls and updates, each with its new value. The last call is forgotten."""
        record = self.record
        return [
            (record["calls"], np.array([calls])),
            (self.summed, np.array(summed, np.int64)),
            (record["averaged"], np.array([averaged])),
            (record["status"], np.array([NO_CALL])),
        ]

    def fresh(self) -> list[tuple[Any, Any]]:
        """Everything that a step changes here, with its value in a new optimizer."""
        scale, pairs = self.options.loss_scale, self.progress_pairs(0, np.zeros_like(self.summed), 0)
        if "accumulated" in self.buffers:
            pairs.append((self.buffers["accumulated"], np.zeros_like(self.buffers["accumulated"])))
        return [*pairs, *(() if scale is None else scale._pairs(None))]

    def snapshot(self) -> dict[str, Any]:
        """Everything that a step changes here, for `pairs_from` of a copy of the optimizer."""
        scale = self.options.loss_scale
        if self.options.copies is not None:
            self.options.copies.check_in_place()
        return {
            "buffers": {name: x.copy() for name, x in self.buffers.items()},
            "calls": int(self.record["calls"][0]),
            "summed": self.summed.copy(),
            "averaged": int(self.record["averaged"][0]),
            "copies": [x.copy() for x in self.copied],
            "loss_scale": None if scale is None else scale._export(),
            "last": self.results(),
        }

    def pairs_from(self, snapshot: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """Everything that a step changes here, with its value in the snapshot."""
        for name in snapshot["buffers"]:
            self.allocate(name)
        pairs: list[tuple[Any, Any]] = [(self.buffers[name], x) for name, x in snapshot["buffers"].items()]
        pairs += zip(self.copied, snapshot["copies"], strict=False)
        pairs += self.progress_pairs(snapshot["calls"], snapshot["summed"], snapshot["averaged"])
        scale = self.options.loss_scale
        return [*pairs, *(() if scale is None else scale._pairs(snapshot["loss_scale"]))]

    @property
    def copied(self) -> list[Array]:
        """For each tensor, the array of `copy_to`. Empty without it."""
        return [] if self.options.copies is None else self.options.copies.parts

    def explain_not_finite(self, parameters: Parameters) -> NoReturn:
        """Raise the error that names the first array with an element that is not finite."""
        k = int(self.record["first_bad"][0])
        here = int(self._kept("bad")[k])
        others = int(self.record["nonfinite"][0]) - here
        elements = "element that is" if here == 1 else "elements that are"
        more = f" (and {others} in other arrays)" if others else ""
        raise FloatingPointError(
            f'`{parameters.gradient_label(k)}` must be finite (nonfinite="raise"), got {here} {elements} infinite or '
            f"NaN{more}; nothing was changed"
        )

    def labelled(self) -> list[tuple[str, Array]]:
        """Arrays that a step writes besides parameters and state, with their names in errors."""
        names = {"average": "ema", "accumulated": "the accumulated gradient"}
        buffers = [(names[name], x) for name, x in self.buffers.items()]
        copies = self.options.copies
        return [*buffers, *(() if copies is None else ((x.label, x.watched.array) for x in copies.arrays))]

    def written(self, settings: Settings) -> list[tuple[int, int]]:
        """Address ranges that a gradient must not overlap, besides parameters and state."""
        arrays = [x for _, x in self.labelled()]
        if self.options.zero_grad:  # it would set the rates to zero
            arrays += [rates.array for rates in settings.rates if rates is not None]
        return merged(address_range(x) for x in arrays)

    # --- What the last call did ---------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """Numbers of the last call, None where they were not measured. Empty before the first call."""
        record, options = self.record[0], self.options
        if record["status"] == NO_CALL or not self._asked:
            return dict(self.last)
        skipped = record["status"] == tables.HELD and record["nonfinite"] > 0
        measured = bool(record["norms"]) and record["grad_norm"] != tables.NOT_MEASURED  # not after a mere accumulation
        found: dict[str, Any] = {
            "grad_norm": _measured(record["grad_norm"]) if measured else None,
            "update_norm": _measured(record["update_norm"]) if "update_norm" in options.measure else None,
            "param_norm": _measured(record["param_norm"]) if "param_norm" in options.measure else None,
            "clipped": bool(record["clipped"]) if measured else None,
            "skipped": bool(skipped),
            # A value clips an infinity before anything is measured.
            "nonfinite": int(record["nonfinite"]) if (measured and not record["value"]) or record["policy"] else None,
        }
        if "per_tensor" in options.measure:
            found["per_tensor"] = {name: self._of_tensor(k, found) for k, name in enumerate(self._parameters.names)}
        return found

    def _kept(self, name: str) -> Array:
        """The numbers of a table, one for each tensor."""
        return self._keep[name]

    def _of_tensor(self, k: int, whole: Mapping[str, Any]) -> dict[str, Any]:
        keys = {"grad_norm": "tensor_norms", "update_norm": "tensor_update_norms", "param_norm": "tensor_param_norms"}
        numbers = {name: None if whole[name] is None else float(self._kept(x)[k]) for name, x in keys.items()}
        return {**numbers, "nonfinite": None if whole["nonfinite"] is None else int(self._kept("bad")[k])}


def _measured(norm: Any) -> float | None:
    return None if norm == tables.NOT_MEASURED else float(norm)


def averages(settings: Settings) -> bool:
    """Whether a group keeps an average."""
    return any("ema_decay" in own for own in settings.own)


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint address ranges in ascending order that cover these."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start < found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def extras_of(given: Mapping[str, Any], parameters: Parameters, convention: str) -> Extras:
    """The options of an optimizer with these checked arguments."""
    copies = None if given["copy_to"] is None else CopyTo(parameters, given["copy_to"])
    kind: type[Extras] = Extras
    if parameters.device is not None:
        from .device_extras import DeviceExtras as kind
    return kind(
        parameters,
        Options(
            given["nonfinite"], given["zero_grad"], int(given["accumulate"]), given["accumulate_mode"] == "mean",
            tuple(given["measure"]), copies, given["loss_scale"], given["catch_up"],
        ),
        convention,
    )  # fmt: skip
