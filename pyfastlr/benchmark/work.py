"""The measured work: an optimizer over arrays of given shapes, with the data that every contender gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from pyfastlr import schedules as S
from pyfastlr_kernels.cpu.pool import default_threads

from .variants import Variant

POOL = 2  # gradients, used in turns, so that the moments settle neither at zero nor at one gradient
STEPS = 10_000_000  # of the cosine: more than any run makes, so that the rate changes at every step
DECAY = 0.01  # weight decay of the optimizers that are named for it or recommended with it

# What a step may do besides the update; every contender does it in its own way.
EXTRAS = ("clip_norm", "inv_scale", "ema_decay")
EMA_DECAY = 0.999
INV_SCALES = (0.5, 2.0)  # in turns: a library that unscales gradients in place then neither shrinks nor grows them

Gradients = list[list[Any]]  # a pool; each entry has one array for each parameter


@dataclass(frozen=True)
class Layout:
    """Shapes of the parameters."""

    name: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """Total number of elements."""
        return sum(map(prod, self.shapes))


def one(n: int) -> Layout:
    """Return the layout of one buffer of n elements."""
    return Layout(f"n{n}", ((n,),))


def _transformer(layers: int = 14, width: int = 160, vocabulary: int = 4096, context: int = 128) -> Iterator[Any]:
    yield from ((vocabulary, width), (context, width))
    for _ in range(layers):
        yield from ((width,), (width,)) * 2  # two norms
        yield from ((width, width), (width,)) * 4  # query, key, value, output
        yield from ((4 * width, width), (4 * width,), (width, 4 * width), (width,))


TRANSFORMER = Layout("transformer-226", tuple(_transformer()))  # 5,005,760 elements
TINY = Layout("tiny-226", ((64,),) * 226)


@dataclass(frozen=True, eq=False)
class Work:
    """An optimizer over a layout, on this many threads if the library can use them."""

    variant: Variant
    layout: Layout
    dtype: str = "float32"
    threads: int = field(default_factory=default_threads)
    extra: tuple[str, ...] = ()  # of EXTRAS

    @property
    def name(self) -> str:
        """Name for messages and test names."""
        return f"{'+'.join((self.variant.name, *self.extra))}-{self.layout.name}-{self.dtype}"

    @property
    def optimizer(self) -> str:
        """Name in reports."""
        return " + ".join((self.variant.name, *self.extra))

    @property
    def bytes(self) -> int:
        """Bytes that a step must move: it reads parameters, gradients and state, and writes parameters and state.

        To clip the norm it must read the gradients once more. An average is read and written.
        """
        arrays = 3 + 2 * self.variant.states + ("clip_norm" in self.extra) + 2 * ("ema_decay" in self.extra)
        return arrays * np.dtype(self.dtype).itemsize * self.layout.size

    @property
    def max_norm(self) -> float:
        """Limit of the norm: between half and twice the norm of a gradient, so that `INV_SCALES` make a difference."""
        return float(np.sqrt(self.layout.size))

    @property
    def weight_decay(self) -> float:
        """Weight decay of every contender."""
        return DECAY if self.variant.cls in ("AdamW", "Lion") else 0.0

    @property
    def rate(self) -> S.Schedule:
        """Rate of every contender; constant if the optimizer takes only a number."""
        return S.Cosine(self.variant.lr, steps=STEPS) if self.variant.scheduled else S.Constant(self.variant.lr)

    def params(self) -> list[Any]:
        """Return new arrays, with the same values at every call."""
        return self._normal(seed=0)

    def gradients(self) -> Gradients:
        """Return a pool of gradients, none below 0.1 in size: scikit-learn and thinc add eps in another place."""
        pool = [self._normal(seed=1 + k) for k in range(POOL)]
        for g in chain(*pool):
            g += np.copysign(g.dtype.type(0.1), g)
        return pool

    def _normal(self, seed: int) -> list[Any]:
        rng, dtype = np.random.default_rng(seed), np.dtype(self.dtype)
        return [rng.standard_normal(shape, dtype) for shape in self.layout.shapes]
