"""Lion, which torch does not have."""

from collections.abc import Iterable
from typing import Any

import torch

from pyfastlr.engines.hyper import AT_LEAST_ZERO, BELOW_ONE

from .base import CompiledStep
from .plan import Kind, checked_number, checked_pair


class _Arguments(torch.optim.Optimizer):
    def __init__(
        self,
        params: Iterable[Any],
        lr: Any,
        betas: tuple[Any, Any] = (0.9, 0.99),
        weight_decay: float = 1e-3,
        *,
        maximize: bool = False,
    ) -> None:
        checked_number(lr, "lr", AT_LEAST_ZERO)
        checked_pair(betas, "betas", BELOW_ONE)
        checked_number(weight_decay, "weight_decay", AT_LEAST_ZERO)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})


class Lion(
    CompiledStep,
    _Arguments,
    kind=Kind("optax", lambda group: "lion", ("betas",), decoupled=True, is_counted=False),
):
    """Lion with a compiled step, as an optimizer of torch.

    Parameters
    ----------
    params : iterable
        Parameters, named parameters or groups, as for every optimizer of torch.
    lr : float >= 0, tensor, Schedule or callable
        Required, as in `pyfastlr.Lion`. Use a rate three to ten times smaller than for Adam.
    betas : pair of float in [0, 1), default (0.9, 0.99)
    weight_decay : float >= 0, default 1e-3
        Decoupled.
    maximize : bool, default False

    Examples
    --------
    >>> import torch
    >>> from pyfastlr.interop.torch import Lion
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> opt = Lion([w], lr=0.1, weight_decay=0.0)
    >>> w.grad = torch.tensor([3.0, -1e-9])
    >>> opt.step()
    >>> w.data
    tensor([0.9000, 1.1000])

    Notes
    -----
    State: exp_avg, without a count. The formula and the source are those of `pyfastlr.Lion`.
    """
