"""Learning rates as pure functions of the update's index, with an algebra.

``s(n)`` is the rate of update n, counted from 0: ``s(0)`` is the first. Every schedule is immutable, comparable,
picklable and writable as JSON, and meets its ends to the bit. The formulas side by side: docs/schedules.md.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.Cosine(1e-3, steps=9_500).warmup(500)
>>> s(0), s(500), s(10_000)
(0.0, 0.001, 0.0)
"""

from pyfastlr.schedules._algebra import (
    Clip,
    Constant,
    Custom,
    Delay,
    Every,
    Product,
    Sum,
    Then,
    Warmup,
    as_schedule,
    join,
)
from pyfastlr.schedules._cycles import CosineRestarts, Cyclic
from pyfastlr.schedules._decays import Cosine, Exponential, InverseTime, Linear, Polynomial, TimeDecay
from pyfastlr.schedules._phases import WSD, InverseSqrt, OneCycle
from pyfastlr.schedules._schedule import RateLike, Schedule, from_dict
from pyfastlr.schedules._stairs import MultiStep, Piecewise, StepDecay

# They import the modules above, of which `_algebra` must be the first.
from pyfastlr.schedules import keras, optax, torch  # isort: skip

__all__ = [
    "WSD",
    "Clip",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Custom",
    "Cyclic",
    "Delay",
    "Every",
    "Exponential",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Product",
    "RateLike",
    "Schedule",
    "StepDecay",
    "Sum",
    "Then",
    "TimeDecay",
    "Warmup",
    "as_schedule",
    "from_dict",
    "join",
    "keras",
    "optax",
    "torch",
]
