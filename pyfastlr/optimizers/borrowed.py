"""An optimizer that a tool uses for a while, and gives back as it was."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Optimizer


class Borrowed:
    """State, counts, last rate and every group's hyperparameters of an optimizer at one moment, to be restored.

    Raises
    ------
    ValueError
        If a group has a rate of its own and the base group's is zero now: they have no ratio.
    """

    def __init__(self, optimizer: "Optimizer") -> None:
        self.optimizer = optimizer
        self._ratios = _ratios(optimizer)
        self._state: Mapping[str, Any] = optimizer.state_dict()
        self._used_lr = optimizer._lock.used_lr[0]
        self._settings = optimizer._hyper.saved()

    def set_rate(self, lr: float) -> None:
        """Give the base group a rate; groups that have their own keep its ratio to the base group's at the start."""
        for row, ratio in self._ratios.items():
            self.optimizer.groups[row]["lr"] = lr * ratio

    def restore(self) -> None:
        """Write all of it back, to the bit."""
        self.optimizer._hyper.restore(self._settings)
        self.optimizer.load_state_dict(self._state)
        self.optimizer._lock.used_lr[0] = self._used_lr


def _ratios(optimizer: "Optimizer") -> dict[int, float]:
    """Index of each group that has a rate of its own, the base group's among them, and its ratio to the base's."""
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
