"""Ahead-of-time compilation: what the first step of an optimizer would compile, into the cache, now."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pyfastlr.arrays.host import DTYPES
from pyfastlr.engines.hyper import chosen
from pyfastlr.optimizers import registry


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
        None is every optimizer, float32 and float64, and each optimizer's own convention. Of every optimizer those are
        left out that a convention lacks; one that is named must be in each convention that is named.

    Raises
    ------
    ValueError
        For an unknown name, or an optimizer that a convention lacks.

    Examples
    --------
    >>> targets(["SGD"], ["float32"])[:2]
    [('sgd', 'torch', 'float32', False), ('momentum', 'torch', 'float32', False)]
    """
    by_name = {cls.__name__: cls for cls in registry}
    names = [chosen(name, list(by_name), "optimizer") for name in optimizers] if optimizers else list(by_name)
    kinds = [chosen(dtype, DTYPES, "dtype") for dtype in dtypes] if dtypes else list(DTYPES)
    libraries = [chosen(convention, ("torch", "keras", "optax"), "convention") for convention in conventions or ()]
    found = []
    for name in names:
        known = list(by_name[name].conventions)
        if optimizers and (missing := [x for x in libraries if x not in known]):
            raise ValueError(f"`convention` must be one of {', '.join(known)} for {name}, got {missing[0]!r}")
        for convention in [x for x in libraries if x in known] if libraries else known[:1]:
            found += [(rule, convention, dtype, by_element) for rule in by_name[name].rules for dtype in kinds]
    return list(dict.fromkeys(found))  # Adam and AdamW have one rule


def compile_all(
    wanted: "Sequence[tuple[str, str, str, bool]]",
) -> "Iterator[tuple[str, Callable[[], object]]]":
    """Yield the name of what every step needs and of each wanted drive, with the call that compiles or loads it."""
    from pyfastlr_kernels.cpu import load

    yield "launch", load.step_addresses
    for rule, convention, dtype, by_element in wanted:
        yield f"{rule} {convention} {dtype}", partial(load.drive_address, rule, convention, dtype, by_element)


def not_kept(names: Sequence[str]) -> list[str]:
    """Those of the functions compiled in this process that the cache's folder does not have."""
    from pyfastlr_kernels.compile import cache
    from pyfastlr_kernels.cpu import load

    there = {path.name for path in cache.files()}
    return [name for name in names if not any(f"{name}-{x}.o" in there for x in load.versions())]
