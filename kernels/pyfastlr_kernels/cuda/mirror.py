"""Tables that host and device both write: an array on the host and its copy on the device.

The host's is as old as the last `pull`. Pull before the host writes, and push after it: what the host has not written
stays as it is on the device.
"""

from collections.abc import Sequence
from typing import Any

from pyfastlr_kernels.compile.first_use import whole


class Mirrors:
    """Arrays on the host with their copies on a device. No interrupt comes between the copies of a pull or push."""

    def __init__(self, device: Any, arrays: Sequence[Any]) -> None:
        self._device, self._arrays = device, tuple(arrays)
        self._memory = [device.allocate(x.nbytes) for x in arrays]
        self._known: list[bytes | None] = [None] * len(arrays)  # contents when both sides last agreed
        self.addresses: list[int] = [memory.address for memory in self._memory]

    def push(self) -> None:
        """Copy to the device what the host has written."""
        if [x.tobytes() for x in self._arrays] != self._known:
            whole(self._push)

    def _push(self) -> None:
        for k, x in enumerate(self._arrays):
            if x.tobytes() != self._known[k]:
                self._device.fill(self.addresses[k], x)
                self._known[k] = x.tobytes()

    def pull(self) -> None:
        """Copy everything to the host, after all that is under way on the device."""
        whole(self._pull)

    def _pull(self) -> None:
        for k, x in enumerate(self._arrays):
            self._device.read(self.addresses[k], x)
            self._known[k] = x.tobytes()
