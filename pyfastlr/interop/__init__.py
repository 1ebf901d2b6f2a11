"""Optimizer states of other libraries: import them, and export ours. docs/states.md describes what moves and what not.

No library is imported with this package. The `to_` functions import one only to make its arrays.
"""

from .keras_export import to_keras as to_keras
from .keras_import import from_keras as from_keras
from .optax_export import to_optax as to_optax
from .optax_import import from_optax as from_optax
from .torch_export import to_torch as to_torch
from .torch_import import from_torch as from_torch

__all__ = ["from_keras", "from_optax", "from_torch", "to_keras", "to_optax", "to_torch"]
