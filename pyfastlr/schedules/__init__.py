"""Learning-rate schedules: pure functions of the update index, with an algebra.

``s(n)`` is the rate of update n, counting from 0. Every schedule is immutable and can be compared, pickled and written
as JSON. Its first and last rates are exact to the bit. docs/schedules.md lists the formulas.

Examples
--------
>>> from pyfastlr import schedules as S
>>> s = S.Cosine(1e-3, steps=9_500).warmup(500)
>>> s(0), s(500), s(10_000)
(0.0, 0.001, 0.0)
"""

from typing import TYPE_CHECKING

from . import fastai, keras, optax, timm, torch, transformers
from .algebra import Advance, Clip, Constant, Custom, Delay, Every, Product, Sum, Then, Warmup, as_schedule, join
from .base import RateLike, Schedule, from_dict
from .checks import unknown_attribute
from .controller import Adjustable, Controller
from .cycles import WSD, CosineRestarts, Cyclic, InverseSqrt, Noam, OneCycle
from .decays import REX, Cosine, Exponential, InverseTime, Linear, Polynomial, Tanh, TimeDecay
from .hypergradient import GradientCosine, Hypergradient
from .noise_scale import NoiseScale
from .plateau import Plateau, RestartOnPlateau
from .step_sizes import BarzilaiBorwein, Polyak
from .steps import MultiStep, Piecewise, StepDecay

__all__ = [
    "REX",
    "WSD",
    "Adjustable",
    "Advance",
    "BarzilaiBorwein",
    "Clip",
    "Constant",
    "Controller",
    "Cosine",
    "CosineRestarts",
    "Custom",
    "Cyclic",
    "Delay",
    "Every",
    "Exponential",
    "GradientCosine",
    "Hypergradient",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "Noam",
    "NoiseScale",
    "OneCycle",
    "Piecewise",
    "Plateau",
    "Polyak",
    "Polynomial",
    "Product",
    "RateLike",
    "RestartOnPlateau",
    "Schedule",
    "StepDecay",
    "Sum",
    "Tanh",
    "Then",
    "TimeDecay",
    "Warmup",
    "as_schedule",
    "fastai",
    "from_dict",
    "join",
    "keras",
    "optax",
    "timm",
    "torch",
    "transformers",
]

if not TYPE_CHECKING:  # checkers know the names
    _elsewhere = {
        name: f"schedules.{library.__name__.rpartition('.')[2]}.{name}"
        for library in (fastai, transformers, timm, optax, keras, torch)
        for name in library.__all__
    }
    __getattr__ = unknown_attribute(__name__, __all__, _elsewhere)
