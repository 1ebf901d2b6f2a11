"""pyfastlr: compiled optimizer steps over numpy arrays, with a learning rate for every step.

The import loads neither numba nor any framework and compiles nothing. The first step compiles, once per machine.
"""

from typing import TYPE_CHECKING, Any

from . import schedules as schedules
from .arrays.flat import Flat as Flat
from .arrays.rows import Rows as Rows
from .checkpoints import Checkpoints as Checkpoints
from .files import BadFile as BadFile
from .optimizers import ASGD as ASGD
from .optimizers import FTRL as FTRL
from .optimizers import LBFGS as LBFGS
from .optimizers import SGD as SGD
from .optimizers import AdaBelief as AdaBelief
from .optimizers import AdaDelta as AdaDelta
from .optimizers import AdaGrad as AdaGrad
from .optimizers import Adam as Adam
from .optimizers import Adamax as Adamax
from .optimizers import AdamW as AdamW
from .optimizers import AMSGrad as AMSGrad
from .optimizers import Lion as Lion
from .optimizers import Loaded as Loaded
from .optimizers import LossScale as LossScale
from .optimizers import NAdam as NAdam
from .optimizers import Optimizer as Optimizer
from .optimizers import PackedArray as PackedArray
from .optimizers import RAdam as RAdam
from .optimizers import RMSProp as RMSProp
from .optimizers import Rprop as Rprop
from .optimizers import Saved as Saved
from .optimizers import Stats as Stats
from .optimizers import Yogi as Yogi
from .optimizers import flatten_state as flatten_state
from .optimizers import load as load
from .optimizers import save as save
from .optimizers import unflatten_state as unflatten_state

if TYPE_CHECKING:
    from . import capi as capi
    from . import kernels as kernels
    from . import tune as tune
    from .interop import from_keras as from_keras
    from .interop import from_optax as from_optax
    from .interop import from_torch as from_torch
    from .interop import to_keras as to_keras
    from .interop import to_optax as to_optax
    from .interop import to_torch as to_torch

__version__ = "0.1.0"

__all__ = [
    "ASGD", "FTRL", "LBFGS", "SGD", "AMSGrad", "AdaBelief", "AdaDelta", "AdaGrad", "Adam", "AdamW", "Adamax", "BadFile",
    "Checkpoints", "Flat", "Lion", "Loaded", "LossScale", "NAdam", "Optimizer", "PackedArray", "RAdam", "RMSProp",
    "Rprop", "Saved", "Stats", "Yogi", "flatten_state", "from_keras", "from_optax", "from_torch", "load", "save",
    "schedules", "to_keras", "to_optax", "to_torch", "unflatten_state",
]  # fmt: skip


if not TYPE_CHECKING:  # checkers know the names

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name in ("capi", "interop", "kernels", "tune"):  # imported only when asked for: `kernels` needs numba
            return import_module(f".{name}", __name__)
        if name.startswith(("from_", "to_")) and name in __all__:
            return getattr(import_module(".interop", __name__), name)
        schedules.checks.unknown_attribute(__name__, __all__)(name)
