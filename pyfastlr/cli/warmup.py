"""Ahead-of-time compilation: what the first step of an optimizer would compile, into the cache, now."""

from collections.abc import Iterator, Sequence

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
        None is every optimizer, float32 and float64, and each optimizer's own convention.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> targets(["SGD"], ["float32"])[:2]
    [('sgd', 'torch', 'float32', False), ('momentum', 'torch', 'float32', False)]
    """
    by_name = {cls.__name__: cls for cls in registry}
    names = [chosen(name, list(by_name), "optimizer") for name in optimizers] if optimizers else list(by_name)
    kinds = [chosen(dtype, DTYPES, "dtype") for dtype in dtypes] if dtypes else list(DTYPES)
    for convention in conventions or ():
        chosen(convention, ("torch", "keras", "optax"), "convention")
    found = []
    for name in names:
        known = list(by_name[name].conventions)
        for convention in [c for c in conventions if c in known] if conventions else known[:1]:
            found += [(rule, convention, dtype, by_element) for rule in by_name[name].rules for dtype in kinds]
    return list(dict.fromkeys(found))  # Adam and AdamW have one rule


def compile_all(wanted: "Sequence[tuple[str, str, str, bool]]") -> Iterator[str]:
    """Compile or load what every step needs and each of the wanted drives; yield the name of each when it is there."""
    from pyfastlr_kernels.cpu import load

    load.step_addresses()
    yield "launch"
    for rule, convention, dtype, by_element in wanted:
        load.drive_address(rule, convention, dtype, by_element)
        yield f"{rule} {convention} {dtype}"
