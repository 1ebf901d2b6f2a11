"""The optimizers, from simple to complex. A class declares its arguments; its arithmetic is in pyfastlr_kernels.rules.

In the equations, :math:`g` is the gradient after ``inv_scale``, ``maximize`` and coupled decay, and :math:`t` counts
the array's own updates from 1. An argument that is None takes the convention's default. The classes' help gives the
defaults of the default convention; docs/conventions.md lists all. Non-finite gradients propagate to parameters and
state, as in torch.
"""

# The order is that of the tables, the help and the benchmark.
# ruff: noqa: I001
from .base import Optimizer as Optimizer
from .stats import Stats as Stats
from .base import registry as registry
from .loss_scale import LossScale as LossScale
from .lbfgs.optimizer import LBFGS as LBFGS
from .saving.flat_state import flatten_state as flatten_state
from .saving.flat_state import unflatten_state as unflatten_state
from .saving.files import Saved as Saved
from .saving.files import load as load
from .saving.files import save as save
from .saving.matching import Loaded as Loaded
from .saving.packed import PackedArray as PackedArray
from .sgd import SGD as SGD
from .rmsprop import RMSProp as RMSProp
from .adagrad import AdaGrad as AdaGrad
from .adam import Adam as Adam
from .adam import AdamW as AdamW
from .adam import AMSGrad as AMSGrad
from .adam import NAdam as NAdam
from .adam import Adamax as Adamax
from .adam import RAdam as RAdam
from .adagrad import AdaDelta as AdaDelta
from .lion import Lion as Lion
from .adabelief import AdaBelief as AdaBelief
from .yogi import Yogi as Yogi
from .rprop import Rprop as Rprop
from .asgd import ASGD as ASGD
from .ftrl import FTRL as FTRL
