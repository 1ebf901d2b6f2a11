"""What a step does besides the update, on the host: the options' record, its tables, and the arrays that they need.

The compiled side is kernels/pyfastlr_kernels/cpu/stages.py. An optimizer without such options has none of this.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, address, address_range, aligned, describe
from pyfastlr.arrays.parameters import Parameters, Target
from pyfastlr_kernels import tables
from pyfastlr_kernels.cpu.stages_layout import PRIVATE
from pyfastlr_kernels.reduce import FACTORS

from .hyper import OFF
from .settings import Settings

POLICIES = {"propagate": tables.PROPAGATE, "raise": tables.RAISE, "skip": tables.SKIP}
MEASURES = ("update_norm", "param_norm", "per_tensor")
NOT_MEASURED = -1.0  # no norm is negative


class Options(NamedTuple):
    """Arguments of the constructor that are not hyperparameters."""

    nonfinite: str = "propagate"
    zero_grad: bool = False
    accumulate: int = 1
    mean: bool = True
    measure: tuple[str, ...] = ()
    copies: Any = None  # `copy_to`: one Target per tensor
    copy_to: Any = None  # the user's container of them
    scaled: bool = False  # by a loss scale: what is not finite is skipped, and the norm is measured


class Extras:
    """The record of options of one optimizer, kept for its life, and the arrays that options need.

    Attributes
    ----------
    record
        OPTIONS (tables.py). It keeps what the last call did.
    """

    def __init__(self, parameters: Parameters, options: Options, convention: str) -> None:
        self._parameters, self.options = parameters, options
        self.record = np.zeros(1, tables.OPTIONS)
        blocks = [-(-size // tables.UNIT) for size in parameters.sizes]
        self._first_blocks = np.array(list(accumulate(blocks, initial=0)), np.int64)
        self._keep: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}  # "average", "accumulated": each like the parameters, in one buffer
        self.used = False  # by the current launch
        copies = options.copies or []
        self.copies: list[Target] = list({id(x.watched.array): x for x in copies}.values())  # one per array of the user
        self._leaves: Callable[[Any], Any] | None = None
        if options.copies and tree.kind_of(options.copy_to) != "leaf" and not isinstance(options.copy_to, Flat):
            if parameters.layout is None:
                self._leaves = tree.gatherer(parameters.node, partial(tree.match, parameters.node, argument="copy_to"))
            else:
                self._leaves = partial(parameters.leaves_of, argument="copy_to")
        record = self.record
        record["convention"] = list(FACTORS).index(convention)
        record["policy"] = tables.SKIP if options.scaled else POLICIES[options.nonfinite]
        record["every"], record["mean"], record["zero"] = options.accumulate, options.mean, options.zero_grad
        for name in ("grad_norm", "update_norm", "param_norm"):
            record[name] = NOT_MEASURED
        if options.accumulate > 1:
            self.allocate("accumulated")

    # --- Memory -------------------------------------------------------------------------------------------------------

    def allocate(self, name: str) -> None:
        """Make a buffer of zeros like the parameters, if there is none yet."""
        if name not in self.buffers:
            self.buffers[name] = aligned(self._parameters.size, self._parameters.dtype)

    def tensors(self, name: str) -> list[Array]:
        """The parts of a buffer, one per tensor, 1-D."""
        starts = accumulate(self._parameters.sizes, initial=0)
        return [self.buffers[name][a : a + n] for a, n in zip(starts, self._parameters.sizes, strict=False)]

    def _table(self, name: str, values: Any, dtype: Any = np.int64) -> int:
        """Address of a table that lives as long as this object, or until it is replaced."""
        self._keep[name] = np.ascontiguousarray(values, dtype)
        return tables.address(self._keep[name])

    def _zeros(self, name: str, n: int, dtype: Any = np.float64) -> int:
        if name not in self._keep or len(self._keep[name]) < n:
            self._keep[name] = np.zeros(max(1, n), dtype)
        return tables.address(self._keep[name])

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
            or options.scaled
            or any(name in own for own in settings.own for name in OFF)
        )

    def refuse(self, settings: Settings) -> None:
        """Raise the error for the first option that is used: parameters on a device do not have them yet."""
        options = self.options
        used = {
            **{name: any(name in own for own in settings.own) for name in OFF},
            "nonfinite": options.nonfinite != "propagate",
            "zero_grad": options.zero_grad,
            "accumulate": options.accumulate > 1,
            "copy_to": options.copies is not None,
            "measure": bool(options.measure),
            "loss_scale": options.scaled,
        }
        for name, is_used in used.items():
            if is_used:
                raise ValueError(f"`{name}` needs parameters in host memory, got arrays on a CUDA device")

    def prepare(self, settings: Settings, threads: int) -> int:
        """Fill the record for these settings and return its address."""
        self.used = True
        parameters, record, options = self._parameters, self.record, self.options
        n, n_blocks = len(parameters.names), int(self._first_blocks[-1])
        set_by = {
            name: any(name in own for own in settings.own) for name in ("clip_norm", "clip_norm_each", "clip_value")
        }
        measured = bool(options.measure) or options.scaled
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
            record[name] = self._zeros(name, n_blocks)
        record["bad"] = self._zeros("bad", n, np.int64)
        record["summed"] = self._zeros("summed", n, np.int64)
        for name in ("tensor_norms", "tensor_update_norms", "tensor_param_norms", "factors"):
            record[name] = self._zeros(name, n)
        record["row_norms"] = self._zeros("row_norms", len(rows))
        if _averages(settings):
            self.allocate("average")
            record["averages"] = self._addresses("average")
        else:
            record["averages"] = 0
        record["sums"] = self._addresses("accumulated") if options.accumulate > 1 else 0
        record["copies"] = (
            0
            if options.copies is None
            else self._table("copies", [address(x.array) if x.array.size else 0 for x in options.copies])
        )
        itemsize = parameters.dtype.itemsize
        size = 2 * tables.CHUNK_LENGTH * itemsize
        if "scratch" not in self._keep or self._keep["scratch"].nbytes < threads * size:
            self._keep["scratch"] = aligned(threads * 2 * tables.CHUNK_LENGTH, parameters.dtype)
            self._keep["private"] = aligned(threads * PRIVATE // 8, np.dtype(np.int64))
        record["scratch"], record["scratch_size"] = tables.address(self._keep["scratch"]), size
        record["private"] = tables.address(self._keep["private"])
        return tables.address(record)

    def _addresses(self, name: str) -> int:
        """Table of the addresses of a buffer's parts. None is 0, so that a tensor without elements counts too."""
        start, itemsize = address(self.buffers[name]), self._parameters.dtype.itemsize
        starts = list(accumulate(self._parameters.sizes, initial=0))[:-1]
        return self._table(name, start + np.array(starts, np.int64) * itemsize)

    def kept(self) -> tuple[Any, ...]:
        """Tables and arrays that a launch points to."""
        return self.record, *self._keep.values(), *self.buffers.values(), *self.copies

    @property
    def swapped(self) -> bool:
        """Whether parameters and average are exchanged: no step is allowed then."""
        return bool(self.record["swapped"][0])

    @swapped.setter
    def swapped(self, value: bool) -> None:
        self.record["swapped"] = value

    def forget(self, settings: Settings) -> None:
        """Drop what options that are off now have left behind: a later average starts anew."""
        if not _averages(settings):
            self.record["averaged"] = 0
            self.buffers.pop("average", None)
        self.used = False  # until `prepare`

    def check_not_swapped(self) -> None:
        """Refuse a step while parameters and average are exchanged."""
        if self.swapped:
            self.explain_swapped()

    def explain_swapped(self) -> NoReturn:
        """Raise the error for a step while parameters and average are exchanged."""
        raise RuntimeError(
            "step() is not possible while the average is swapped in: call swap_ema() again, or leave averaged()"
        )

    def guarded(self, launch: Callable[..., int]) -> Callable[..., int]:
        """The launch, which first checks the container of `copy_to`, if there is one."""
        leaves, known = self._leaves, self.options.copies or []
        if leaves is None:
            return launch
        container = self.options.copy_to

        def guarded_launch(*arguments: Any) -> int:
            for x, copy in zip(leaves(container), known, strict=True):
                if x is not copy.given:
                    raise ValueError(
                        f"`{copy.label}` must be the array that the optimizer was built with, got "
                        f"another: build a new optimizer"
                    )
            return launch(*arguments)

        return guarded_launch

    def explain_moved(self, k: int) -> NoReturn:
        """Raise the error for an array of `copy_to` that has changed."""
        copy = self.copies[k]
        x = copy.watched.array
        writeable = "" if x.flags.writeable else ", read-only"
        raise ValueError(
            f"`{copy.label}` must stay as it was when the optimizer was built, a writeable array with the same memory, "
            f"shape and dtype, got {describe(x)} with strides {x.strides} bytes{writeable}"
        )

    def explain_not_finite(self, parameters: Parameters) -> NoReturn:
        """Raise the error that names the first array with an element that is not finite."""
        k, count = int(self.record["first_bad"][0]), int(self.record["nonfinite"][0])
        raise FloatingPointError(
            f'`{parameters.gradient_label(k)}` must be finite (nonfinite="raise"), got {self._keep["bad"][k]} elements '
            f"that are infinite or NaN, of {count} in all; nothing was changed"
        )

    def labelled(self) -> list[tuple[str, Array]]:
        """Arrays that a step writes besides parameters and state, with their names in errors."""
        names = {"average": "ema", "accumulated": "the accumulated gradient"}
        buffers = [(names[name], x) for name, x in self.buffers.items()]
        return [*buffers, *((x.label, x.array) for x in self.options.copies or ())]

    def written(self, settings: Settings) -> list[tuple[int, int]]:
        """Address ranges that a gradient must not overlap, besides parameters and state."""
        arrays = [x for _, x in self.labelled()]
        if self.options.zero_grad:  # it would set the rates to zero
            arrays += [rates.array for rates in settings.rates if rates is not None]
        return merged(address_range(x) for x in arrays)

    # --- What the last call did ---------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """Numbers of the last call, None where they were not measured."""
        record, options = self.record[0], self.options
        skipped = record["status"] == tables.HELD and record["nonfinite"] > 0
        measured = bool(record["norms"])
        found: dict[str, Any] = {
            "grad_norm": _measured(record["grad_norm"]) if measured else None,
            "update_norm": _measured(record["update_norm"]) if "update_norm" in options.measure else None,
            "param_norm": _measured(record["param_norm"]) if "param_norm" in options.measure else None,
            "clipped": bool(record["clipped"]) if measured else None,
            "skipped": bool(skipped),
            "nonfinite": int(record["nonfinite"]) if measured or record["policy"] else None,
        }
        if "per_tensor" in options.measure:
            found["per_tensor"] = {name: self._of_tensor(k, found) for k, name in enumerate(self._parameters.names)}
        return found

    def _of_tensor(self, k: int, whole: Mapping[str, Any]) -> dict[str, Any]:
        keys = {"grad_norm": "tensor_norms", "update_norm": "tensor_update_norms", "param_norm": "tensor_param_norms"}
        numbers = {name: None if whole[name] is None else float(self._keep[x][k]) for name, x in keys.items()}
        return {**numbers, "nonfinite": int(self._keep["bad"][k])}


def _measured(norm: Any) -> float | None:
    return None if norm == NOT_MEASURED else float(norm)


def _averages(settings: Settings) -> bool:
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


def check_options(given: Mapping[str, Any]) -> None:
    """Check the arguments of the options that are not hyperparameters."""
    for name, known in (("nonfinite", POLICIES), ("accumulate_mode", ("mean", "sum"))):
        if not isinstance(given[name], str) or given[name] not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {given[name]!r}")
    value = given["accumulate"]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"`accumulate` must be an integer >= 1, got {value!r}")
    if not 1 <= value <= 2**31:
        raise ValueError(f"`accumulate` must be an integer >= 1, got {value!r}")
    measure = given["measure"]
    if isinstance(measure, str) or not isinstance(measure, list | tuple | set | frozenset):
        raise TypeError(f"`measure` must be a sequence of names, of {', '.join(MEASURES)}, got {measure!r}")
    for name in measure:
        if name not in MEASURES:
            raise ValueError(f"`measure` must have only {', '.join(map(repr, MEASURES))}, got {name!r}")


def extras_of(given: Mapping[str, Any], parameters: Parameters, convention: str) -> Extras:
    """The options of an optimizer with these checked arguments."""
    copies = None
    if given["copy_to"] is not None:  # on a device, the engine refuses it
        copies = parameters.targets(given["copy_to"], "copy_to") if parameters.device is None else []
    return Extras(
        parameters,
        Options(
            given["nonfinite"], given["zero_grad"], int(given["accumulate"]), given["accumulate_mode"] == "mean",
            tuple(given["measure"]), copies, given["copy_to"],
        ),
        convention,
    )  # fmt: skip
