"""What an optimizer asks of an engine, and which engine it gets."""

from collections.abc import Callable
from typing import Any, Protocol

from pyfastlr_kernels.compile.first_use import once


class Call(Protocol):
    """Arguments of one step that an engine may need again: `Optimizer.step` makes it when a launch has not gone on."""

    gradients: Any
    inv_scale: Any
    held: Any
    again: Any


class Engine(Protocol):
    """A way to run steps over the parameters, state and settings that it was made for.

    `launch(gradients, inv_scale, held, again)` is the ordinary step, the same call for every engine: 0 if the step is
    done, else a status for `settle`.
    """

    launch: Callable[..., int]

    def settle(self, status: int, gradients: Any, inv_scale: Any, held: Any, again: Any) -> None:
        """Do what a launch asked for and have it try again, or raise the error that says what is wrong."""

    def in_stream(self, stream: Any) -> Callable[..., int]:
        """Launch in a stream of a device."""

    def changed(self) -> None:
        """Numbers of the settings, counts or state were written by the host."""

    def renew(self) -> None:
        """Forget what was prepared for the settings, because something but a number of them is about to change."""

    def refresh(self) -> None:
        """Have counts and steps on the host."""

    def write(self, pairs: Any) -> None:
        """Copy arrays over state, counts and progress: all of them, or none."""


@once
def engine_class(on_device: bool) -> Any:
    """Engine for where the arrays are; only a program that has arrays on a device imports that one."""
    if on_device:
        from .device import DeviceEngine

        return DeviceEngine
    from .host import HostEngine

    return HostEngine
