"""Optimizers for torch: subclasses of torch's own, with a compiled step. docs/torch.md describes them.

This module imports torch.
"""

from .cpu_adam import CPUAdam as CPUAdam
from .lion import Lion as Lion
from .optimizers import SGD as SGD
from .optimizers import Adadelta as Adadelta
from .optimizers import Adagrad as Adagrad
from .optimizers import Adam as Adam
from .optimizers import Adamax as Adamax
from .optimizers import AdamW as AdamW
from .optimizers import NAdam as NAdam
from .optimizers import RAdam as RAdam
from .optimizers import RMSprop as RMSprop

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "CPUAdam", "Lion", "NAdam", "RAdam", "RMSprop",
]  # fmt: skip
