"""What torch's optimizers call the things that ours have."""

from collections.abc import Mapping
from typing import Any

from pyfastlr.optimizers import Optimizer
from pyfastlr.optimizers.fields import StartNumber
from pyfastlr_kernels.rules import RULES

#: Keys by which a parameter group tells its class. RAdam and Adamax have none of these.
_TELLING = {
    "SGD": "nesterov",
    "RMSprop": "centered",
    "Adagrad": "lr_decay",
    "Adam or AdamW": "amsgrad",
    "NAdam": "momentum_decay",
    "Adadelta": "rho",
    "Rprop": "etas",
    "ASGD": "lambd",
}
_ALSO_WITHOUT_UPDATES = ("Adagrad",)  # torch's constructor makes their state

#: Numbers that torch keeps for each parameter and we carry to the next update.
CARRIED = {"nadam": "mu_product", "asgd": "eta"}


def peer(optimizer: Optimizer) -> str:
    """Name of the optimizer's class in torch."""
    return optimizer.peers["torch"].partition("(")[0]


def class_of(group: Mapping[str, Any]) -> str:
    """Name of the class that a parameter group is of, as far as its keys tell."""
    ours = [name for name, key in _TELLING.items() if key in group]
    return ours[0] if ours else "RAdam or Adamax" if "betas" in group else "no optimizer that pyfastlr knows"


def hyperparameters(optimizer: Optimizer) -> list[str]:
    """Hyperparameters of the class that torch has under the same names, and that may change."""
    known = [name for name, x in optimizer.fields.items() if x.is_hyperparameter and name != "decay"]
    known = [name for name in known if name in optimizer.conventions["torch"]]
    if peer(optimizer) == "Rprop":
        known.remove("weight_decay")  # torch's has none
    return [name for name in known if not isinstance(optimizer.fields[name], StartNumber)]


def flags(optimizer: Optimizer) -> dict[str, bool]:
    """Keys of each parameter group that must agree with how the optimizer was built."""
    name = peer(optimizer)
    found = {"maximize": bool(optimizer.maximize)}
    if name in ("Adam", "AdamW"):
        found["amsgrad"] = optimizer.rule == "amsgrad"
    if name == "SGD":
        found["nesterov"] = optimizer.rule == "nesterov"
    if name == "RMSprop":
        found["centered"] = "grad_avg" in RULES[optimizer.rule].state_names
    return found


def counts_updates(optimizer: Optimizer) -> bool:
    """Whether torch counts the updates of each parameter."""
    return peer(optimizer) != "SGD"


def has_state_at_once(optimizer: Optimizer) -> bool:
    """Whether torch's constructor makes the state, before the first update."""
    return peer(optimizer) in _ALSO_WITHOUT_UPDATES


def rows_of(optimizer: Optimizer) -> dict[int, list[int]]:
    """Tensors of each group that has any, by the group's index."""
    found: dict[int, list[int]] = {}
    for k, row in sorted(enumerate(optimizer._hyper.members), key=lambda entry: (entry[1], entry[0])):
        found.setdefault(row, []).append(k)
    return found


def check_rate_factor(optimizer: Optimizer, row: int, advice: str) -> None:
    """Refuse `lr_scale`, which no other library has."""
    value = optimizer._hyper.current.source(row, "lr_scale")
    if isinstance(value, float) and value == 1.0:
        return
    name = f"opt.groups[{row}]['lr_scale']"
    got = repr(value) if isinstance(value, float) or callable(value) else "arrays"
    raise ValueError(f"`{name}` must be 1, got {got}: other libraries have no factor of the rate. {advice}")
