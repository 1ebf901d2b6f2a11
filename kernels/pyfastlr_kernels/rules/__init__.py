"""Every optimizer's arithmetic: a rule, which runs once per element, beside its folds, which run once per step.

`contract` defines both. Each family has one file; `RULES` has all rules by name.
"""

from . import adabelief, adagrad, adam, asgd, ftrl, lion, rmsprop, rprop, sgd, yogi
from .contract import Rule as Rule
from .contract import Slot as Slot

_FAMILIES = (sgd, rmsprop, adagrad, adam, lion, adabelief, yogi, rprop, asgd, ftrl)
RULES: dict[str, Rule] = {name: rule for family in _FAMILIES for name, rule in family.RULES.items()}
