"""What scikit-learn's training loop calls instead of one of its own optimizers."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pyfastlr.arrays.host import describe
from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber
from pyfastlr.optimizers.saving.copies import Frozen
from pyfastlr.schedules import as_schedule

_SMALLEST = 1e-6  # scikit-learn's "adaptive" stops where the rate is not above this
_CUT = 5.0  # its divisor of the rate


class Recipe(NamedTuple):
    """How an estimator's parameters ask for an optimizer. All fields can be pickled if the estimator can."""

    factory: Callable[..., Any]
    arguments: dict[str, Any]
    rate: str  # "constant", "invscaling" or "adaptive"
    power: float  # of "invscaling"

    def build(self, params: dict[str, list[Any]]) -> Optimizer:
        """Build the optimizer. Controllers in the arguments are copied, so each training starts with new ones."""
        optimizer = self.factory(params, **copy.deepcopy(self.arguments))
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"`optimizer` must return an optimizer of pyfastlr, got {describe(optimizer)}")
        if optimizer.params is not params:
            raise ValueError("`optimizer` must return an optimizer of the parameters that it is called with")
        if self.rate != "constant":
            self._check_rate(optimizer)
        return optimizer

    def _check_rate(self, optimizer: Optimizer) -> None:
        start = f"`learning_rate` must be 'constant' with this optimizer, got {self.rate!r}: "
        field = optimizer.fields["lr"]
        if isinstance(field, StartNumber):
            raise ValueError(f"{start}its rate cannot change, because {field.why}")
        if any(name == "lr" for _, name in optimizer._hyper.controllers()):
            raise ValueError(f"{start}its `lr` is a controller, which changes the rate itself")


def named(params: Sequence[Any]) -> dict[str, list[Any]]:
    """Coefficients and intercepts, from scikit-learn's list of both. Their names are coefs.0, ..., intercepts.0, ..."""
    layers = len(params) // 2
    return {"coefs": list(params[:layers]), "intercepts": list(params[layers:])}


class Updates:
    """Updates an estimator's weights, and changes the rate after each epoch.

    Attributes
    ----------
    optimizer : Optimizer or Frozen
        Frozen in a copy, until it is used: joblib can load the weights as read-only memory maps.
    losses : list
        The estimator's `loss_curve_`, to which it adds the loss of each epoch.
    """

    def __init__(self, recipe: Recipe, params: Sequence[Any], losses: list[float]) -> None:
        self.recipe, self.losses = recipe, losses
        self.optimizer: Any = recipe.build(named(params))
        self.start = [group["lr"] for group in self.optimizer.groups]  # rates, before they are scaled

    def __getstate__(self) -> dict[str, Any]:
        own = self.optimizer
        return {**vars(self), "optimizer": own if isinstance(own, Frozen) else Frozen(own)}

    def update_params(self, params: Sequence[Any], grads: Sequence[Any]) -> None:
        """Make one update, in one call for all arrays."""
        optimizer = self.over(params)
        try:
            optimizer.step(named(grads))
        except TypeError:
            # Sample weights in float64 give float64 gradients of the intercepts, also for weights in float32.
            cast = [g.astype(p.dtype, copy=False) for p, g in zip(params, grads, strict=True)]
            if all(a is b for a, b in zip(cast, grads, strict=True)):
                raise
            optimizer.step(named(cast))

    def over(self, params: Sequence[Any]) -> Optimizer:
        """Return the optimizer. It continues with these arrays, which may be others.

        They are others in a copy, and after early stopping, which restores copies of the best ones.
        """
        own = self.optimizer
        if not isinstance(own, Frozen):
            if all(a is b for a, b in zip(params, own.params["coefs"] + own.params["intercepts"], strict=True)):
                return own  # type: ignore[no-any-return]
            own = Frozen(own)
        self.optimizer = own.over(named(params))
        return self.optimizer  # type: ignore[no-any-return]

    # --- After an epoch -----------------------------------------------------------------------------------------------

    def iteration_ends(self, samples: int) -> None:
        """Tell controllers the loss of the epoch, and scale the rate. `samples` is the number used so far."""
        controllers = {id(x): x for x in self.optimizer._hyper.controllers().values()}
        for controller in controllers.values():
            controller.observe(loss=self.losses[-1])
        if self.recipe.rate == "invscaling":
            self._set_rates([_over(lr, (samples + 1) ** self.recipe.power) for lr in self.start])

    def trigger_stopping(self, message: str, verbose: bool) -> bool:
        """Cut the rate, or return whether the training ends."""
        stops, reason = self.recipe.rate != "adaptive", ""
        if not stops and self.optimizer.lr <= _SMALLEST:
            stops, reason = True, " Learning rate too small."
        if not stops:
            self._set_rates([_over(group["lr"], _CUT) for group in self.optimizer.groups])
        if verbose:
            after = "Stopping." if stops else f"Setting learning rate to {self.optimizer.lr:f}"
            print(f"{message}{reason} {after}")  # noqa: T201  # as its own optimizers do with `verbose`
        return stops

    def _set_rates(self, rates: Sequence[Any]) -> None:
        for group, lr in zip(self.optimizer.groups, rates, strict=True):
            group["lr"] = lr


def _over(lr: Any, divisor: float) -> Any:
    """Return a rate, a number or a schedule, divided by a number."""
    return as_schedule(lr) * (1.0 / divisor) if callable(lr) else lr / divisor
