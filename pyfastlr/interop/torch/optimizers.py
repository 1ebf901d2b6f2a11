"""The optimizers, each with the arguments of torch's class of the same name."""

from collections.abc import Mapping
from typing import Any

import torch

from .base import CompiledStep
from .plan import Kind


def _sgd(group: Mapping[str, Any]) -> str:
    if group["momentum"] == 0.0:
        return "sgd"
    return "nesterov" if group["nesterov"] else "momentum"


def _rmsprop(group: Mapping[str, Any]) -> str:
    centered = "_centered" if group["centered"] else ""
    return f"rmsprop{centered}{'_momentum' if group['momentum'] > 0.0 else ''}"


def _adam(group: Mapping[str, Any]) -> str:
    return "amsgrad" if group["amsgrad"] else "adam"


_BETAS = ("betas", "eps")
ADAM = Kind("torch", _adam, _BETAS, ("amsgrad",))


class SGD(
    CompiledStep,
    torch.optim.SGD,
    kind=Kind("torch", _sgd, ("momentum", "dampening"), ("nesterov",), is_counted=False),
):
    """SGD of torch with a compiled step.

    Arguments, groups and state are those of ``torch.optim.SGD``. `lr` may also be a schedule of pyfastlr.

    Examples
    --------
    >>> import torch
    >>> from pyfastlr.interop.torch import SGD
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> opt = SGD([w], lr=0.1, momentum=0.9)
    >>> (w * torch.tensor([1.0, 2.0])).sum().backward()
    >>> opt.step()
    >>> w.data
    tensor([0.9000, 0.8000])
    """


class RMSprop(
    CompiledStep,
    torch.optim.RMSprop,
    kind=Kind("torch", _rmsprop, ("alpha", "eps", "momentum"), ("centered",)),
):
    """RMSprop of torch with a compiled step: see `SGD`."""


class Adagrad(
    CompiledStep,
    torch.optim.Adagrad,
    kind=Kind("torch", lambda group: "adagrad", ("lr_decay", "eps"), initial=(("sum", "initial_accumulator_value"),)),
):
    """Adagrad of torch with a compiled step: see `SGD`."""


class Adam(CompiledStep, torch.optim.Adam, kind=ADAM):
    """Adam of torch with a compiled step: see `SGD`."""


class AdamW(CompiledStep, torch.optim.AdamW, kind=ADAM._replace(decoupled=True)):
    """AdamW of torch with a compiled step: see `SGD`."""


class NAdam(
    CompiledStep,
    torch.optim.NAdam,
    kind=Kind("torch", lambda group: "nadam", (*_BETAS, "momentum_decay"), carried="mu_product"),
):
    """NAdam of torch with a compiled step: see `SGD`."""


class RAdam(CompiledStep, torch.optim.RAdam, kind=Kind("torch", lambda group: "radam", _BETAS)):
    """RAdam of torch with a compiled step: see `SGD`."""


class Adamax(CompiledStep, torch.optim.Adamax, kind=Kind("torch", lambda group: "adamax", _BETAS)):
    """Adamax of torch with a compiled step: see `SGD`."""


class Adadelta(CompiledStep, torch.optim.Adadelta, kind=Kind("torch", lambda group: "adadelta", ("rho", "eps"))):
    """Adadelta of torch with a compiled step: see `SGD`."""
