"""Checks of the options of a step that are not hyperparameters."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyfastlr_kernels import tables

POLICIES = {"propagate": tables.PROPAGATE, "raise": tables.RAISE, "skip": tables.SKIP}
MEASURES = ("update_norm", "param_norm", "per_tensor")


def check_options(given: Mapping[str, Any]) -> None:
    """Check the arguments of the options that are not hyperparameters."""
    for name, known in (("nonfinite", POLICIES), ("accumulate_mode", ("mean", "sum"))):
        if not isinstance(given[name], str) or given[name] not in known:
            raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {given[name]!r}")
    value = given["accumulate"]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"`accumulate` must be an integer >= 1, got {value!r}")
    if not 1 <= value <= 2**31:
        raise ValueError(f"`accumulate` must be an integer >= 1, got {value!r}")
    measure, names = given["measure"], ", ".join(map(repr, MEASURES))
    if not isinstance(measure, list | tuple | set | frozenset):
        raise TypeError(f"`measure` must be a list or tuple of names from {names}, got {measure!r}")
    for name in measure:
        if name not in MEASURES:
            fix = ": that is measured with clip_norm=inf" if name == "grad_norm" else ""
            raise ValueError(f"`measure` must have only names from {names}, got {name!r}{fix}")
