"""The arguments of `LBFGS`: their checks, and those of other optimizers that it cannot have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyfastlr.schedules import checks

from .iterations import Settings

if TYPE_CHECKING:
    from .optimizer import LBFGS

_LOSS = "put it into the closure's loss and gradient, because the line search compares losses"
_GRADIENT = "change the gradient, and the loss with it, in the closure"
REFUSED = {
    "groups": "all arrays are one vector with one rate, as in torch",
    "lr_scale": "all arrays are one vector with one rate, as in torch",
    "weight_decay": _LOSS,
    "decay": _LOSS,
    "maximize": "return minus the loss and minus the gradient",
    "clip_norm": _GRADIENT,
    "clip_norm_each": _GRADIENT,
    "clip_value": _GRADIENT,
    "loss_scale": "divide the gradients by the scale in the closure",
    "ema_decay": "average the parameters between steps",
    "accumulate": "add up the losses and gradients of all batches in the closure",
    "nonfinite": "a step does not go where the loss is not finite",
    "convention": 'its iterations are those of torch, with `line_search`="strong_wolfe" or None',
    "threads": "its sums use the threads of numpy",
    "history_size": "it is called `history` here",
    "line_search_fn": "it is called `line_search` here",
}

_optional_count = checks.optional(checks.positive_integer)


def settings_of(values: Mapping[str, Any], label: str = "{}") -> Settings:
    """Check the arguments, all of them. `label` is the form of their names in errors."""

    def checked(name: str, check: checks.Check) -> Any:
        return check(values[name], label.format(name))

    return Settings(
        checked("history", checks.positive_integer),
        checked("line_search", _line_search),
        checked("max_iter", checks.positive_integer),
        checked("max_eval", _optional_count),
        checked("tolerance_grad", checks.nonnegative),
        checked("tolerance_change", checks.nonnegative),
        checked("min_curvature", checks.nonnegative),
    )


def _line_search(value: Any, name: str) -> str | None:
    if value is not None and not (isinstance(value, str) and value == "strong_wolfe"):
        raise ValueError(f"`{name}` must be 'strong_wolfe' or None, got {value!r:.60}")
    return value


class Setting:
    """An argument as an attribute that can be set."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, optimizer: "LBFGS | None", owner: type) -> Any:
        return self if optimizer is None else getattr(optimizer._settings, self._name)

    def __set__(self, optimizer: "LBFGS", value: Any) -> None:
        optimizer._change(**{self._name: value})
