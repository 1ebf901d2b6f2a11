"""Find the random generators that a user's functions and batches hold."""

import gc
import random
import sys
from collections import deque
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
MOST = 50_000  # objects to visit, the nearest first: a list may hold millions of batches
_ENDS = (
    ModuleType,
    type,
    CodeType,
    FrameType,
    np.ndarray,
    np.generic,
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    random.SystemRandom,
)  # SystemRandom has no state


def generators(*roots: Any) -> list[Any]:
    """Return the generators of numpy, Python and, if imported, torch that are reachable from these objects.

    The search follows attributes, items, closures, defaults, the globals that a function names, bound methods,
    `functools.partial`, the local variables of a generator, and references of C objects such as `map` and `zip`. It
    does not follow modules, classes and arrays.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def shuffled(n):
    ...     yield from rng.permutation(n)
    >>> generators(map(float, shuffled(10))) == [rng]
    True
    """
    found: list[Any] = []
    waiting, seen = deque(roots), {id(x) for x in roots}  # the roots keep the objects alive, so ids are unique
    held = list(roots)  # keeps objects alive whose ids are in `seen`
    torch = sys.modules.get("torch")
    kinds = (*GENERATORS, torch.Generator) if torch else GENERATORS
    while waiting and len(seen) < MOST:
        x = waiting.popleft()
        if issubclass(type(x), kinds):
            found.append(x)
            continue
        for y in _inside(x):
            if id(y) not in seen and not issubclass(type(y), _ENDS) and not _is_namespace(y):
                seen.add(id(y))
                held.append(y)
                waiting.append(y)
    return found


def _inside(x: Any) -> list[Any]:
    if type(x) is FunctionType:
        cells = [_content(cell) for cell in x.__closure__ or ()]
        names = (name for code in _codes(x.__code__) for name in code.co_names)
        named = [x.__globals__[name] for name in names if name in x.__globals__]
        return [*cells, *named, x.__defaults__, x.__kwdefaults__, x.__dict__]
    return gc.get_referents(x)


def _codes(code: CodeType) -> list[CodeType]:
    """Code of a function, and of the functions defined inside it."""
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return [code, *(y for x in inner for y in _codes(x))]


def _content(cell: CellType) -> Any:
    """Value of a closure variable; None if it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_namespace(x: Any) -> bool:
    """Whether this is a module's dict of globals."""
    return type(x) is dict and "__builtins__" in x
