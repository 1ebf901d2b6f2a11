"""The interface between an optimizer and its engine, and the choice of the engine."""

from collections.abc import Callable, Collection
from typing import Any, Protocol

from pyfastlr_kernels.compile.first_use import once


class Engine(Protocol):
    """Runs steps over the parameters, state and settings that it was built for.

    `launch(gradients, inv_scale, held, again)` is the ordinary step, the same call for every engine. It returns 0 if
    the step is done, or else a status for `settle`.
    """

    launch: Callable[..., int]

    def settle(self, status: int, gradients: Any, inv_scale: Any, held: Any, again: Any) -> None:
        """Do what the status of a launch requires and launch again, or raise the error that explains it."""

    def in_stream(self, stream: Any) -> Callable[..., int]:
        """Return a launch that runs in a device stream."""

    def changed(self) -> None:
        """Take note that the host wrote numbers of the settings, counts or state."""

    def renew(self) -> None:
        """Discard what was built for the settings, because something other than a number is about to change."""

    def check_replacement(self, old: Any, new: Any) -> None:
        """Raise the error that explains why these settings cannot replace the old ones."""

    def is_inside(self) -> bool:
        """Whether this thread is inside a step of this optimizer."""

    def refresh(self) -> None:
        """Bring counts and steps up to date on the host."""

    def step_rows(self, gradients: Any, inv_scale: Any) -> None:
        """Make a step in which gradients may be Rows (row_gradients.Given)."""

    def sync_rows(self, name: str, rows: Any) -> None:
        """Bring rows of an array, or with None all, up to date."""

    def sync(self) -> None:
        """Bring all rows up to date. The caller has the lock, and steps are paused."""

    def forgotten(self, kept: Collection[str]) -> list[tuple[Any, Any]]:
        """What `write` needs besides, if it replaces the state of all arrays but these: their rows miss nothing."""

    def write(self, pairs: Any, stores: Any = ()) -> None:
        """Copy arrays over state, counts and progress, and set attributes (object, name, value): all or none."""


@once
def engine_class(on_device: bool) -> Any:
    """Engine for host or device arrays. The device engine is imported only when needed."""
    if on_device:
        from .device import DeviceEngine

        return DeviceEngine
    from .host import HostEngine

    return HostEngine
