"""Shared parts of the controllers that observe gradients: tensors, dot products, bounds of the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from pyfastlr.arrays import tree
from pyfastlr.arrays.flat import Flat
from pyfastlr.arrays.host import Array, as_ndarray, check_memory, describe

from . import checks
from .base import RateLike
from .controller import Controller, Wrapper

Arrays = Sequence[Array | None]
BLOCK = 1 << 15  # elements that are converted to float64 at a time
WIDEST = 1e12  # a learned factor stays between 1/WIDEST and WIDEST, so that it can always recover


class Tensors(NamedTuple):
    """Named one-dimensional arrays. An array may be None.

    Attributes
    ----------
    names, shapes, arrays
        Name, original shape and flat array of each tensor. Shape and array may be None.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    arrays: tuple[Array | None, ...]

    @classmethod
    def of(cls, value: Any, argument: str) -> Self:
        """Views of an array, a dict or list of arrays, or a `Flat`."""
        if isinstance(value, Flat):
            layout = value._layout
            return cls(layout.names, layout.shapes, tuple(x.reshape(-1) for x in layout.views(value.buffer)))
        _, names, leaves = tree.flatten(value, argument)
        arrays = [
            None if x is None else _array(x, tree.label(argument, name)) for name, x in zip(names, leaves, strict=True)
        ]
        if all(x is None for x in arrays):
            raise TypeError(f"`{argument}` must have at least one array, got only None")
        shapes = tuple(None if x is None else x.shape for x in arrays)
        return cls(tuple(names), shapes, tuple(None if x is None else x.reshape(-1) for x in arrays))

    def in_order_of(self, names: Sequence[str], shapes: Sequence[Sequence[int] | None], argument: str) -> Self:
        """Return the tensors in the order of `names`. Refuse other names or shapes; None fits any shape."""
        places = {name: k for k, name in enumerate(self.names)}
        if set(places) != set(names):
            raise ValueError(
                f"`{argument}` must have the names {list(names)}, as observed before, got {list(self.names)}"
            )
        order = [places[name] for name in names]
        for k, shape in zip(order, shapes, strict=True):
            found = self.shapes[k]
            if shape is not None and found is not None and tuple(shape) != found:
                label = tree.label(argument, self.names[k])
                raise ValueError(f"`{label}` must have the shape {tuple(shape)}, as observed before, got {found}")
        return type(self)(
            tuple(names), tuple(self.shapes[k] for k in order), tuple(self.arrays[k] for k in order)
        )  # fmt: skip

    def copied(self) -> Self:
        """Copies of the tensors."""
        return self._replace(arrays=tuple(None if x is None else x.copy() for x in self.arrays))


def _array(x: Any, name: str) -> Array:
    need = "a float32 or float64 array in host memory"
    array = as_ndarray(x, name, need)
    check_memory(array, name, need, None)
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise TypeError(f"`{name}` must be {need}, got {describe(array)}")
    found: Array = array
    return found


def dot(a: Arrays, b: Arrays) -> float:
    """Dot product over all tensors that both sides have, in float64. NaN if it is not finite.

    The bits do not depend on the alignment of the arrays.
    """
    sums = []
    with np.errstate(all="ignore"):
        for x, y in zip(a, b, strict=True):
            if x is None or y is None:
                continue
            for k in range(0, x.size, BLOCK):
                u = x[k : k + BLOCK].astype(np.float64)
                u *= u if y is x else y[k : k + BLOCK]
                sums.append(float(np.add.reduce(u)))
    try:
        total = math.fsum(sums)
    except (OverflowError, ValueError):  # infinities of both signs, or overflow
        return math.nan
    return total if math.isfinite(total) else math.nan


def difference(a: Arrays, b: Arrays) -> list[Array | None]:
    """Differences a - b in float64."""
    with np.errstate(all="ignore"):
        return [
            None if x is None or y is None else np.subtract(x, y, dtype=np.float64) for x, y in zip(a, b, strict=True)
        ]


def cosine(product: float, a: float, b: float) -> float | None:
    """Cosine of two vectors from their product and their squared norms. None if one is zero or too small."""
    if not (a > 0.0 and b > 0.0):
        return None
    return min(1.0, max(-1.0, product / math.sqrt(a) / math.sqrt(b)))


# --- The base of the controllers --------------------------------------------------------------------------------------


class Bounded(Wrapper):
    """Base of controllers that learn a rate from gradients, within bounds.

    Parameters
    ----------
    base : float, Schedule, callable or Controller
    state : dict
        The initial state.
    low, high : float
        Bounds of the rate; `high` may be None.
    **arguments
        All other arguments of the constructor, already checked.
    """

    observes, acted = "rate", "gradient ignored: not finite"
    title = "the rate over the observations"
    defaults: ClassVar[Mapping[str, Any]] = {"low": 0.0, "high": None}

    def __init__(
        self, base: RateLike | Controller, state: dict[str, Any], low: float, high: float | None, **arguments: Any
    ) -> None:
        self._low: float = checks.nonnegative(low, "low")
        high = None if high is None else checks.positive(high, "high")
        if high is not None:
            checks.ordered(self._low, high)
        self._high: float = math.inf if high is None else high
        super().__init__(base, state, low=self._low, high=high, **arguments)

    def _rate(self, n: int) -> float:
        learned = self._learned(self._base_at(n), self.state)
        return min(max(learned, self._low), self._high)

    def _learned(self, base: float, state: dict[str, Any]) -> float:
        """Rate without bounds."""
        raise NotImplementedError

    def _take(self, state: dict[str, Any]) -> bool:
        """Store the new state, and return whether the rate changed."""
        before, self.state = self._rate(self._n), state
        after = self._rate(self._n)
        self.history.append((after, False))
        return after != before

    def _ignore(self) -> bool:
        self.history.append((self._rate(self._n), True))
        return False

    def _scaled(self, scale: float, factor: float) -> float:
        """Multiply the learned factor of the base, but keep the rate within its bounds."""
        base, scale = self._base_at(self._n), min(max(scale * factor, 1 / WIDEST), WIDEST)
        if base <= 0.0:
            return scale
        # If the base alone is out of bounds, a factor that brings the rate nearer is allowed.
        least, most = min(self._low / base, 1.0), max(self._high / base, 1.0)
        return min(max(scale, least), most)


class Sight(NamedTuple):
    """Comparison of a gradient with the last step.

    Attributes
    ----------
    kept
        The part of the state for the next comparison.
    product
        Dot product of the gradient and the direction of the last step; None if that direction is not known.
    cosine
        Cosine of the angle between them; None if one of them is zero or not known.
    moved
        Whether the direction is a change of the parameters, which includes the rate.
    """

    kept: dict[str, Any]
    product: float | None
    cosine: float | None
    moved: bool


class Remembering(Bounded):
    """A controller that compares a gradient with the direction of the last step.

    The direction is the last gradient or, if parameters are observed, their change. The state has the last values of
    one of the two: "of" says which, "names" and "shapes" describe the tensors, and "last" has the values. These three
    are None before the first observation.
    """

    nothing: ClassVar[Mapping[str, Any]] = {"names": None, "shapes": None, "last": None, "of": "grads"}

    def _look(self, grads: Any, params: Any) -> Sight | None:
        """Compare the gradient with the last step. None if a value is NaN or infinite."""
        g, state = self._observed(grads, "grads"), self.state
        moved = params is not None
        now = self._observed(params, "params").in_order_of(g.names, g.shapes, "params") if moved else g
        square = dot(g.arrays, g.arrays)
        if math.isnan(square) or (moved and math.isnan(dot(now.arrays, now.arrays))):
            return None
        kept = {**self._kept(now), "of": "params" if moved else "grads"}
        if state["last"] is None or state["of"] != kept["of"]:
            return Sight(kept, None, None, moved)
        step = difference(state["last"], now.arrays) if moved else state["last"]
        product = dot(g.arrays, step)
        return Sight(kept, product, cosine(product, square, dot(step, step)), moved)

    def _observed(self, value: Any, argument: str) -> Tensors:
        """Tensors in the order of the first observation."""
        found, state = Tensors.of(value, argument), self.state
        return found if state["names"] is None else found.in_order_of(state["names"], state["shapes"], argument)

    def _kept(self, tensors: Tensors) -> dict[str, Any]:
        """State with copies of these tensors."""
        known = self.state["shapes"] or ()
        shapes = tuple(old if new is None else new for new, old in zip_longest(tensors.shapes, known))
        return {"names": tensors.names, "shapes": shapes, "last": tensors.copied().arrays}

    def checked_state(self, d: Mapping[str, Any]) -> dict[str, Any]:
        """State whose tensors fit their shapes. Lists of numbers (from JSON) become arrays."""
        state = super().checked_state(d)
        if state["of"] not in ("grads", "params"):
            raise ValueError(
                f"the state 'of' of {type(self).__name__} must be 'grads' or 'params', got {state['of']!r:.60}"
            )
        parts = [state[key] for key in ("names", "shapes", "last")]
        if all(part is None for part in parts):
            return state
        name = type(self).__name__
        if (
            any(isinstance(part, str) or not isinstance(part, Sequence) for part in parts)
            or len(set(map(len, parts))) > 1
        ):
            raise TypeError(f"the state of {name} must have lists of equal length for 'names', 'shapes' and 'last'")
        shapes = tuple(None if x is None else _shape(x, name) for x in state["shapes"])
        if not all(isinstance(x, str) for x in state["names"]) or len(set(state["names"])) < len(state["names"]):
            raise TypeError(f"the state 'names' of {name} must be different strings, got {state['names']!r:.60}")
        arrays = vectors(state["last"], shapes, "last", name)
        if self.state["names"] is not None:
            known = list(zip(self.state["names"], self.state["shapes"], strict=True))
            given = list(zip(state["names"], shapes, strict=True))
            if [x for x, _ in known] != [x for x, _ in given] or any(
                None not in (a, b) and a != b for (_, a), (_, b) in zip(known, given, strict=True)
            ):
                raise ValueError(f"the state of {name} must have the tensors that it observed before, got others")
        return {**state, "names": tuple(state["names"]), "shapes": shapes, "last": arrays}


def vectors(values: Any, shapes: Sequence[tuple[int, ...] | None], key: str, name: str) -> tuple[Array | None, ...]:
    """Check vectors in a state, of tensors with these shapes. Lists of numbers become arrays."""
    if not isinstance(values, list | tuple) or len(values) != len(shapes):
        raise TypeError(f"the state {key!r} of {name} must be a list of {len(shapes)} vectors, got {values!r:.60}")
    arrays = tuple(None if x is None else _vector(x, key, name) for x in values)
    for shape, array in zip(shapes, arrays, strict=True):
        if array is not None and (shape is None or math.prod(shape) != array.size):
            raise ValueError(f"the state {key!r} of {name} must have arrays of the shapes in the state, got others")
    return arrays


def _shape(x: Any, name: str) -> tuple[int, ...]:
    if not isinstance(x, list | tuple):
        raise TypeError(f"the state 'shapes' of {name} must have lists of integers or None, got {x!r:.60}")
    return tuple(checks.natural(k, "state['shapes']") for k in x)


def _vector(x: Any, key: str, name: str) -> Array:
    try:
        array = np.array(x, x.dtype if isinstance(x, np.ndarray) else np.float64)
    except (TypeError, ValueError):
        array = np.array("")
    if array.ndim != 1 or array.dtype not in (np.float32, np.float64) or not np.isfinite(array).all():
        raise TypeError(f"the state {key!r} of {name} must have vectors of finite numbers or None, got {x!r:.60}")
    return array
