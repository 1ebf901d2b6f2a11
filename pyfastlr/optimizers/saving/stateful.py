"""What `save` and `Checkpoints` need of an optimizer."""

from typing import Any

from pyfastlr.engines.lock import StepLock


class Stateful:
    """An object whose state is saved to files: an `Optimizer` or `LBFGS`."""

    __slots__ = ()

    _lock: StepLock

    @property
    def steps(self) -> int:
        """Number of steps done."""
        raise NotImplementedError

    def _check_outside(self, what: str) -> None:
        """Refuse what a function that a step or save of this object calls must not do: `what`."""
        raise NotImplementedError

    def _live_state(self) -> tuple[dict[str, Any], Any]:
        """Return the `state_dict` with live arrays, and how the parameters are nested: a `Node` or `Layout`.

        The caller has exclusive access, as long as it reads the arrays.
        """
        raise NotImplementedError
