"""An optimizer that a tool uses temporarily and then restores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Optimizer


class Borrowed:
    """Saves an optimizer's state, counts, stats, copies and hyperparameters of every group, and restores them.

    Raises
    ------
    ValueError
        If a group has its own rate while the base group's rate is zero, so that their ratio is undefined.
    """

    def __init__(self, optimizer: "Optimizer") -> None:
        self.optimizer = optimizer
        self._ratios = _ratios(optimizer)
        self._state: Mapping[str, Any] = optimizer.state_dict()
        self._used_lr = optimizer._lock.used_lr[0]
        self._last = optimizer._extras.results()
        self._copies = [(x, x.copy()) for x in optimizer._extras.copied]  # of `copy_to`
        self._settings = optimizer._hyper.saved()

    def set_rate(self, lr: float) -> None:
        """Set the base group's rate. Groups with their own rate keep their initial ratio to it."""
        for row, ratio in self._ratios.items():
            self.optimizer.groups[row]["lr"] = lr * ratio

    def restore(self) -> None:
        """Restore everything, to the bit."""
        self.optimizer._hyper.restore(self._settings)
        self.optimizer.load_state_dict(self._state, hyperparameters=False)
        self.optimizer._lock.used_lr[0] = self._used_lr
        self.optimizer._extras.last = self._last
        if self.optimizer._extras.options.copies is not None:
            self.optimizer._extras.options.copies.check_in_place()
        for array, before in self._copies:
            array[...] = before


def _ratios(optimizer: "Optimizer") -> dict[int, float]:
    """Ratio to the base group's rate, by index, for each group with its own rate (including the base group)."""
    base, *others = optimizer.lrs
    own = optimizer._hyper.current.own
    ratios = {0: 1.0}
    for row, lr in enumerate(others, 1):
        if "lr" in own[row]:
            if not base:
                raise ValueError(
                    f"the base group's `lr` must be positive, so that groups keep their ratio to it, got {base}"
                )
            ratios[row] = lr / base
    return ratios
