"""Grid and random search: which parameters the trial with a certain index has."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from .space import Choices, Number, Numbers, Parts, Range, Space

Parameters = dict[str, Any]


def drawn(space: Space, seed: int, index: int) -> Parameters:
    """Return the random parameters of a trial. They depend on nothing but the arguments, so a search can be resumed."""
    draw = _Random(seed, index)
    space.build(draw)
    return draw.parameters


class _Random:
    """Draws uniformly. Each path has random numbers of its own, so the order of the paths does not matter."""

    def __init__(self, seed: int, index: int) -> None:
        self.seed, self.trial, self.parameters = seed, index, Parameters()

    def _uniform(self, path: str) -> float:
        return float(np.random.default_rng([self.seed, self.trial, *path.encode()]).random())

    def number(self, path: str, range: Range) -> Number:
        """Return a random number of the range."""
        value = self.parameters[path] = range.at(self._uniform(path))
        return value

    def index(self, path: str, labels: list[Any]) -> int:
        """Return a random choice."""
        k = int(self._uniform(path) * len(labels))
        self.parameters[path] = labels[k]
        return k


def grid(space: Space, trials: int) -> list[Parameters]:
    """Return all points of the grid. Ranges without `num` have as many points as fit into the number of trials.

    Raises
    ------
    ValueError
        If a grid with two points for each of these ranges has more than `trials` points.
    """

    def points(num: int) -> list[Parameters]:
        return _points(space.node, lambda x: x.points(x.num or num))

    least = _count(space.node, lambda x: x.num or 2)
    if least > trials:
        raise ValueError(f"`trials` must be at least {least} for the grid of this space, got {trials}")
    low, high = 2, trials + 1  # the number of points grows with num
    while high - low > 1:
        middle = (low + high) // 2
        if _count(space.node, partial(_number, middle)) <= trials:
            low = middle
        else:
            high = middle
    return points(low)


def _number(num: int, range: Range) -> int:
    return range.num or len(range.points(num))


def _count(node: Any, num: Callable[[Range], int]) -> int:
    """Return the number of points."""
    if isinstance(node, Numbers):
        return num(node.range)
    if isinstance(node, Choices):
        return sum(_count(option, num) for option in node.options)
    return math.prod(_count(part, num) for part in node.parts) if isinstance(node, Parts) else 1


def _points(node: Any, points: Callable[[Range], list[Number]]) -> list[Parameters]:
    if isinstance(node, Numbers):
        return [{node.path: x} for x in points(node.range)]
    if isinstance(node, Choices):
        return [
            {node.path: label, **inner}
            for label, option in zip(node.labels, node.options, strict=True)
            for inner in _points(option, points)
        ]
    if isinstance(node, Parts):
        inner = [_points(part, points) for part in node.parts]
        return [{name: x for part in row for name, x in part.items()} for row in product(*inner)]
    return [{}]
