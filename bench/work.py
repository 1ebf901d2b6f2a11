"""What is measured: an optimizer over arrays of some shapes, with the data that every contender gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from cases import CASES, DEFAULTS, Case
from pyfastlr import schedules as S

POOL = 2  # gradients take turns, so that the moments settle neither at zero nor at one gradient
STEPS = 10_000_000  # of the cosine: more than any run makes, so that the rate changes at every step and never ends
DECAY = 0.01  # weight decay of the optimizers that are named for it or recommended with it


@dataclass(frozen=True)
class Layout:
    """Shapes of the parameters."""

    name: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        return sum(map(prod, self.shapes))


def one(n: int) -> Layout:
    """One buffer of n elements."""
    return Layout(f"n{n}", ((n,),))


def _transformer(layers: int = 14, width: int = 160, vocabulary: int = 4096, context: int = 128) -> Iterator[Any]:
    yield from ((vocabulary, width), (context, width))
    for _ in range(layers):
        yield from ((width,), (width,)) * 2  # two norms
        yield from ((width, width), (width,)) * 4  # query, key, value, output
        yield from ((4 * width, width), (4 * width,), (width, 4 * width), (width,))


TRANSFORMER = Layout("transformer-226", tuple(_transformer()))  # 5,005,760 elements
TINY = Layout("tiny-226", ((64,),) * 226)
LAYOUTS = (one(64), one(10_000), one(1_000_000), one(40_000_000), TRANSFORMER, TINY)


@dataclass(frozen=True, eq=False)
class Work:
    """An optimizer over a layout."""

    case: Case
    layout: Layout
    dtype: str = "float32"

    @property
    def name(self) -> str:
        return f"{self.case.name}-{self.layout.name}-{self.dtype}"

    @property
    def bytes(self) -> int:
        """Bytes that a step must move: it reads parameters, gradients and state, and writes all but the gradients."""
        return (3 + 2 * len(self.case.state)) * np.dtype(self.dtype).itemsize * self.layout.size

    @property
    def weight_decay(self) -> float:
        return DECAY if self.case.cls in ("AdamW", "Lion") else 0.0

    @property
    def rate(self) -> S.Schedule:
        return S.Cosine(self.case.lr, steps=STEPS)

    def params(self) -> list[Any]:
        """New arrays, the same at every call."""
        return self._normal(seed=0)

    def gradients(self) -> list[list[Any]]:
        """A pool of gradients, none below 0.1: scikit-learn's and thinc's eps is another where gradients are tiny."""
        pool = [self._normal(seed=1 + k) for k in range(POOL)]
        for g in chain(*pool):
            g += np.copysign(g.dtype.type(0.1), g)
        return pool

    def _normal(self, seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [rng.standard_normal(shape, self.dtype) for shape in self.layout.shapes]


# Rows under torch's convention in which optax, with its defaults, does the same.
SAME_IN_OPTAX = {"sgd", "sgd-momentum", "sgd-nesterov", "adam", "adamw", "adamax", "adadelta"}


def is_first(case: Case) -> bool:
    """Whether the row's convention is its optimizer's own."""
    return case.convention == next(iter(DEFAULTS[case.cls]))


def works(max_n: int) -> list[Work]:
    """Every optimizer over every layout of at most so many elements.

    A convention changes what is computed once per step, never the loop: others than the first come only where optax is
    to be met on its own formula.
    """
    optax = [x for x in CASES if x.convention == "optax" and x.name.removesuffix("-optax") not in SAME_IN_OPTAX]
    cases = dict.fromkeys(x.name for x in (*filter(is_first, CASES), *optax))
    return [Work(x, layout) for x in CASES if x.name in cases for layout in LAYOUTS if layout.size <= max_n]
