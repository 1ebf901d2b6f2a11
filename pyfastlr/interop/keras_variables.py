"""Sort the variables of an optimizer of Keras: by their paths, or else by their order."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyfastlr.arrays.host import describe
from pyfastlr.optimizers import Optimizer

from .keras_names import ACCUMULATOR, AVERAGE, ENDINGS, ITERATION, KEPT, RATE
from .reading import on_host


class Sorted(NamedTuple):
    """Variables by what they are, each with its name in errors."""

    iteration: tuple[str, Any]
    rate: tuple[str, Any] | None
    product: tuple[str, Any] | None
    arrays: dict[str, list[tuple[str, Any]]]  # by ending, in the order of the model's variables
    models: list[str]  # names of the model's variables, if there are paths


def sort_variables(given: Any, opt: Optimizer) -> Sorted:
    """Sort variables, a dict of them by path or index, or an optimizer's."""
    given = getattr(given, "variables", given) if not isinstance(given, Mapping) else given
    if isinstance(given, Mapping):
        keys = [str(key) for key in given]
        if keys and all(key.isdecimal() for key in keys):
            by_index = {int(key): given[key] for key in given}
            if sorted(by_index) != list(range(len(by_index))):
                raise ValueError(f"`variables` must have the keys '0' to '{len(by_index) - 1}', got {sorted(by_index)}")
            return _by_order([by_index[k] for k in sorted(by_index)], opt)
        return _by_path([(key, given[key]) for key in given], opt)
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise TypeError(f"`variables` must be a list or dict of variables, got {describe(given)}")
    paths = [getattr(x, "path", None) for x in given]
    if given and all(isinstance(path, str) for path in paths):
        return _by_path(list(zip(map(str, paths), given, strict=True)), opt)
    return _by_order(list(given), opt)


def _by_path(entries: Sequence[tuple[str, Any]], opt: Optimizer) -> Sorted:
    """Sort by the ends of paths such as ``adam/dense_kernel_momentum``."""
    kept = KEPT[opt.rule]
    wanted = {ending for block in kept.blocks for ending in block} | {AVERAGE}
    found: dict[str, tuple[str, Any]] = {}
    arrays: dict[str, list[tuple[str, Any]]] = {}
    models: dict[str, list[str]] = {}
    for path, x in entries:
        label, name = f"variables[{path!r}]", str(path).rpartition("/")[2]
        plain = re.sub(r"_\d+$", "", name)
        if plain in (ITERATION, RATE) and plain not in found:
            found[plain] = label, x
            continue
        if kept.product and plain == "variable" and "product" not in found:
            found["product"] = label, x
            continue
        ending = next((e for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(f"_{e}")), None)
        if ending == ACCUMULATOR:
            raise ValueError(f"`{label}` must not be there: gradients that are being accumulated cannot be moved")
        if ending not in wanted:
            endings = " or ".join(map(repr, [ITERATION, RATE, *sorted(wanted - {AVERAGE})]))
            raise ValueError(
                f"`{label}` must be a variable of Keras' {opt.peers['keras']} like `opt` ({opt.rule}), with a name "
                f"that ends in {endings}, got {str(path)!r:.80}"
            )
        arrays.setdefault(ending, []).append((label, x))
        models.setdefault(ending, []).append(name.removesuffix(f"_{ending}"))
    if ITERATION not in found:
        raise ValueError(f"`variables` must have an {ITERATION!r}, got {[path for path, _ in entries][:5]}")
    if kept.product and "product" not in found:
        raise ValueError("`variables` must have Nadam's product, a variable without a name, got none")
    orders = list(models.values())
    if any(order != orders[0] for order in orders):
        raise ValueError("`variables` must have the model's variables in the same order for each kind of state")
    first = orders[0] if orders else []
    return Sorted(found[ITERATION], found.get(RATE), found.get("product"), arrays, first)


def _by_order(values: Sequence[Any], opt: Optimizer) -> Sorted:
    """Sort by the order in which Keras makes them."""
    kept, n = KEPT[opt.rule], len(opt._parameters.names)
    need = 1 + n * sum(map(len, kept.blocks)) + kept.product
    if len(values) not in (need, need + 1):
        raise ValueError(
            f"`variables` must be the {need} of Keras' {opt.peers['keras']} for the {n} arrays of `opt` ({opt.rule}), "
            f"and its rate if that is no schedule, got {len(values)}; averages (use_ema) need a dict by path"
        )
    entries = [(f"variables[{k}]", x) for k, x in enumerate(values)]
    rest = iter(entries)
    iteration = next(rest)
    rate = next(rest) if len(values) > need else None
    if rate is not None and on_host(rate[1], rate[0])[0].ndim:
        raise ValueError(f"`{rate[0]}` must be the rate, a number, got {describe(on_host(rate[1], rate[0])[0])}")
    arrays: dict[str, list[tuple[str, Any]]] = {}
    for block in kept.blocks:
        for _ in range(n):
            for ending in block:
                arrays.setdefault(ending, []).append(next(rest))
    return Sorted(iteration, rate, next(rest) if kept.product else None, arrays, [])
