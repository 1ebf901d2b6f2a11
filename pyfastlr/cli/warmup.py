"""Ahead-of-time compilation, into the cache, of what an optimizer's first step would compile."""

from collections.abc import Callable, Sequence
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
    """List the drives to compile: (rule, convention, dtype, whether rates are per element).

    Parameters
    ----------
    optimizers, dtypes, conventions
        None means every optimizer, float32 and float64, and each optimizer's default convention. Without named
        optimizers, those that a convention lacks are left out. A named optimizer must exist in each named convention.

    Raises
    ------
    ValueError
        If a name is unknown, or a named convention lacks a named optimizer.

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


def work(wanted: "Sequence[tuple[str, str, str, bool]]") -> "list[tuple[str, Callable[[], object]]]":
    """Return names, each with a function that compiles or loads it.

    First comes the launch, for all steps; then the checks of torch's tensors; then steps over rows; then the
    stages, for options such as `clip_norm`, and for numbers of 16 bits; then each wanted drive.
    """
    from pyfastlr_kernels.cpu import load

    dtypes = dict.fromkeys(dtype for _, _, dtype, _ in wanted)
    return [
        ("launch", load.step_addresses),
        ("objects", load.object_addresses),
        ("rows", load.rows_addresses),
        *((f"options {dtype}", partial(load.stages_address, dtype)) for dtype in dtypes),
        *((("16 bits", partial(load.stages_address, "float32-half")),) if "float32" in dtypes else ()),
        *((f"{x[0]} {x[1]} {x[2]}", partial(load.drive_address, *x)) for x in wanted),
    ]


def not_kept(names: Sequence[str]) -> list[str]:
    """Return the functions compiled in this process that are not in the cache's folder."""
    from pyfastlr_kernels.compile import cache
    from pyfastlr_kernels.cpu import load

    there = {path.name for path in cache.files()}
    return [name for name in names if not any(f"{name}-{x}.o" in there for x in load.versions())]
