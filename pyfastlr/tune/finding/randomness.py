"""Which random generators a user's functions and batches draw from: found where the objects hold them."""

import gc
import random
import sys
from collections import deque
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
MOST = 50_000  # objects to look at, the nearest first: a list may hold millions of batches
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
)  # which has no state


def generators(*roots: Any) -> list[Any]:
    """Generators of numpy, Python and, if it is imported, torch that are reachable from these objects.

    Looked through are attributes, items, closures, defaults, the globals that a function names, bound methods,
    `functools.partial`, the local variables of a generator, and what `map`, `zip` and others of C hold; not modules,
    classes, and arrays.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def shuffled(n):
    ...     yield from rng.permutation(n)
    >>> generators(map(float, shuffled(10))) == [rng]
    True
    """
    found: list[Any] = []
    waiting, seen = deque(roots), {id(x) for x in roots}  # objects are held by the roots, so no id comes twice
    held = list(roots)  # and these are what the ids below are of
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
    """Code of a function, and of those that it defines."""
    inner = [x for x in code.co_consts if isinstance(x, CodeType)]
    return [code, *(y for x in inner for y in _codes(x))]


def _content(cell: CellType) -> Any:
    """What a variable of a closure is; None if it has no value yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_namespace(x: Any) -> bool:
    """Whether this is a module's dict of globals."""
    return type(x) is dict and "__builtins__" in x
