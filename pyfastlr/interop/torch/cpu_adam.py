"""Adam for parameters that are kept in host memory while the model is on a device."""

from collections.abc import Iterable
from typing import Any

import torch

from pyfastlr.engines.hyper import AT_LEAST_ZERO, BELOW_ONE, boolean

from .base import CompiledStep
from .optimizers import ADAM
from .plan import checked_number, checked_pair


class _Arguments(torch.optim.Optimizer):
    def __init__(
        self,
        model_params: Iterable[Any],
        lr: Any = 1e-3,
        bias_correction: bool = True,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        adamw_mode: bool = True,
        fp32_optimizer_states: bool = True,
    ) -> None:
        checked_number(lr, "lr", AT_LEAST_ZERO)
        checked_pair(betas, "betas", BELOW_ONE)
        checked_number(eps, "eps", AT_LEAST_ZERO)
        checked_number(weight_decay, "weight_decay", AT_LEAST_ZERO)
        boolean(fp32_optimizer_states, "fp32_optimizer_states")
        if not boolean(bias_correction, "bias_correction"):
            raise ValueError("`bias_correction` must be True, got False: the compiled rule always corrects the bias")
        super().__init__(
            model_params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "bias_correction": True,
                "amsgrad": boolean(amsgrad, "amsgrad"),
                "decoupled_weight_decay": boolean(adamw_mode, "adamw_mode"),
            },
        )  # fmt: skip


class CPUAdam(CompiledStep, _Arguments, kind=ADAM):
    """Adam with the arguments of DeepSpeedCPUAdam, without a compiler at installation.

    Parameters
    ----------
    model_params : iterable
        Parameters in host memory, or groups of them.
    lr : float >= 0, tensor, Schedule or callable, default 1e-3
    bias_correction : bool, default True
        Must be True.
    betas : pair of float in [0, 1), default (0.9, 0.999)
    eps : float >= 0, default 1e-8
    weight_decay : float >= 0, default 0
    amsgrad : bool, default False
        As in torch. DeepSpeed refuses it.
    adamw_mode : bool, default True
        Whether weight decay is decoupled, as in AdamW.
    fp32_optimizer_states : bool, default True
        Without effect: parameters are float32 or float64, and the state has their dtype.

    Examples
    --------
    >>> import torch
    >>> from pyfastlr.interop.torch import CPUAdam
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> opt = CPUAdam([w], lr=0.1)
    >>> w.grad = torch.tensor([3.0, -1.0])
    >>> opt.step()
    >>> w.data
    tensor([0.9000, 1.1000])
    """
