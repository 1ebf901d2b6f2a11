"""Ahead-of-time compilation: what the first step of an optimizer would compile, into the cache, now."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyfastlr

from ._arrays import DTYPES
from ._hyper import chosen


def targets(
    optimizers: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    conventions: Sequence[str] | None = None,
    by_element: bool = False,
) -> "list[tuple[str, str, str, bool]]":
    """List what `compile_all` compiles: (rule, convention, dtype, whether with a rate for each element).

    Parameters
    ----------
    optimizers, dtypes, conventions
        None is every optimizer, float32 and float64, and each optimizer's own convention.

    Raises
    ------
    ValueError
        For a name that is none.

    Examples
    --------
    >>> targets(["SGD"], ["float32"])[:2]
    [('sgd', 'torch', 'float32', False), ('momentum', 'torch', 'float32', False)]
    """
    classes: list[Any] = [
        x for x in vars(pyfastlr).values() if isinstance(x, type) and issubclass(x, pyfastlr.Optimizer)
    ]
    by_name = {x.__name__: x for x in classes if x is not pyfastlr.Optimizer}
    names = [chosen(name, list(by_name), "optimizer") for name in optimizers] if optimizers else list(by_name)
    kinds = [chosen(dtype, DTYPES, "dtype") for dtype in dtypes] if dtypes else list(DTYPES)
    for convention in conventions or ():
        chosen(convention, ("torch", "keras", "optax"), "convention")
    found = []
    for name in names:
        known = list(by_name[name]._defaults)
        for convention in [c for c in conventions if c in known] if conventions else known[:1]:
            found += [(rule, convention, dtype, by_element) for rule in by_name[name]._rules for dtype in kinds]
    return list(dict.fromkeys(found))  # Adam and AdamW have one rule


def compile_all(wanted: "Sequence[tuple[str, str, str, bool]]") -> Iterator[str]:
    """Compile or load what every step needs and each of the wanted drives; yield the name of each when it is there."""
    from pyfastlr_kernels import jit

    jit.step()
    yield "launch"
    for rule, convention, dtype, by_element in wanted:
        jit.drive(rule, convention, dtype, by_element)
        yield f"{rule} {convention} {dtype}"
