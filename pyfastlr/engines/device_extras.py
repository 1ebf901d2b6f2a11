"""What a step on a CUDA device does besides the update: the options' tables in device memory.

The record is on the device while a step has options. The host's is a copy (`Mirrors`): `refresh` it before reading.
"""

from typing import Any

import numpy as np

from pyfastlr.arrays.host import Array
from pyfastlr.arrays.parameters import Parameters
from pyfastlr_kernels import tables
from pyfastlr_kernels.cuda.mirror import Mirrors
from pyfastlr_kernels.cuda.stages import OnDevice
from pyfastlr_kernels.cuda.tables import Around

from .extras import Extras, Options, averages
from .settings import Settings


class DeviceExtras(Extras):
    """Options of an optimizer whose parameters are on a device."""

    def __init__(self, parameters: Parameters, options: Options, convention: str) -> None:
        super().__init__(parameters, options, convention)
        self._mirrors: Any = None  # of the record; made by the first step with options

    # --- What is not there yet ----------------------------------------------------------------------------------------

    def refuse(self, settings: Settings, capturable: bool) -> None:
        """Raise the error for the first option that parameters on a device do not have, or not with `capturable`."""
        options = self.options
        used = {
            "accumulate": options.accumulate > 1,
        }
        for name, is_used in used.items():
            if is_used:
                raise ValueError(f"`{name}` needs parameters in host memory, got arrays on a CUDA device")
        if capturable and options.loss_scale is not None:
            raise ValueError("`loss_scale` must be left out with `capturable`, which cannot skip a step")
        if capturable and options.nonfinite != "propagate":
            raise ValueError('`nonfinite` must be "propagate" with `capturable`, got ' + repr(options.nonfinite))
        if capturable and averages(settings):
            raise ValueError(
                "`ema_decay` must be left out with `capturable`: a CUDA graph can be replayed while parameters and "
                "average are exchanged"
            )

    # --- For a step ---------------------------------------------------------------------------------------------------

    def on_device(self, settings: Settings, sign: float) -> OnDevice | None:
        """Tables for a step with these settings, or None if it does nothing but the update."""
        if not self.is_used(settings):
            self.unused()
            return None
        scale = self.options.loss_scale
        if self._mirrors is None:
            records = [self.record, *([] if scale is None else [scale._record])]
            self._mirrors = Mirrors(self._parameters.device, records)
        self._fill(settings)
        self.record["loss_scale"] = 0 if scale is None else self._mirrors.addresses[1]
        n, record = len(self._parameters.names), self.record[0]
        written = {"average": ("average", record["averages"]), "copy": ("copies", record["copies"])}
        others = tuple(name for name, (_, used) in written.items() if used)
        arrays = np.array([self._kept(written[name][0]) for name in others], np.int64).reshape(len(others), n)
        before = self._before() if record["update_norms"] else 0
        if before:
            others, arrays = (*others, "before"), np.vstack([arrays, self._kept("before")])
        self._mirrors.push()
        return OnDevice(
            record=self._mirrors.addresses[0],
            found=self._zeros("found", n, np.int64),
            around=self._zeros("around", n * len(Around._fields), self._parameters.dtype),
            arrays=self._table("arrays", arrays.T.reshape(-1)) if others else 0,
            others=others,
            norms=bool(record["norms"]),
            clamps=bool(record["value"]),
            each=bool(record["each"]) or "per_tensor" in self.options.measure,
            sign=sign,
            checks=self.options.nonfinite != "propagate",
            zeroes=self.options.zero_grad,
            before=before,
            params=bool(record["param_norms"]),
            refuse=self._refuse if self.options.nonfinite == "raise" else None,
        )

    def _before(self) -> int:
        """Table of the addresses where an update puts each tensor's old parameters."""
        start, itemsize = self._zeros("old", self._parts[0], self._parameters.dtype), self._parameters.dtype.itemsize
        return self._table("before", [start + part.start * itemsize for part in self._parts[1]])

    @property
    def may_skip(self) -> bool:
        """Whether only the device knows if a step was made."""
        return self.options.nonfinite == "skip"

    def _refuse(self) -> None:
        self.refresh()
        if self.record["status"][0] == tables.NOT_FINITE:
            self.explain_not_finite(self._parameters)

    def changed(self) -> None:
        """Copy to the device what the host has written."""
        if self.used:
            self._mirrors.push()

    def refresh(self) -> None:
        """Bring the host's record up to date; wait for the device."""
        if self.used:
            self._mirrors.pull()

    @property
    def has_average(self) -> bool:
        self.refresh()
        return super().has_average

    def results(self) -> dict[str, Any]:
        self.refresh()
        return super().results()

    def _kept(self, name: str) -> Array:
        return self._keep[name].copy()
