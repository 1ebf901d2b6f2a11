"""Trees of arrays: their leaves, checked."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

DTYPES = ("float32", "float64")
HALVES = ("bfloat16", "float16")  # of parameters and gradients, whose state is float32


class Leaves(NamedTuple):
    """Leaves of a tree of arrays, all of one dtype."""

    name: str  # in errors
    arrays: list[Any]
    structure: Any
    tree: Any

    def label(self, k: int) -> str:
        """Name of a leaf in errors."""
        path = jax.tree_util.tree_flatten_with_path(self.tree)[0][k][0]
        return f"`{self.name}{jax.tree_util.keystr(path)}`"

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return str(self.arrays[0].dtype)

    def like(self, arrays: Sequence[Any]) -> Any:
        """Return a tree of the same structure."""
        return jax.tree_util.tree_unflatten(self.structure, arrays)


def leaves_of(tree: Any, name: str, halves: bool = False) -> Leaves:
    """Return the leaves of a tree of arrays: float32 or float64, or with `halves` bfloat16 or float16."""
    known = (*DTYPES, *HALVES) if halves else DTYPES
    flat, structure = jax.tree_util.tree_flatten(tree)
    found = Leaves(name, flat, structure, tree)
    for k, x in enumerate(flat):
        if not isinstance(x, jax.Array):
            try:
                flat[k] = x = jnp.asarray(x)
            except (TypeError, ValueError):
                raise TypeError(f"{found.label(k)} must be an array, got {type(x).__name__}") from None
        if str(x.dtype) not in known:
            need = " or ".join([", ".join(known[:-1]), known[-1]])
            raise TypeError(
                f"{found.label(k)} must be {need}, got {x.dtype}: convert it, or leave it to an "
                "optimizer of optax by `optax.multi_transform`"
            )
        if x.dtype != flat[0].dtype:
            raise TypeError(
                f"`{name}` must have one dtype, got {flat[0].dtype} and, in {found.label(k)}, {x.dtype}: give each an "
                "optimizer of its own by `optax.multi_transform`"
            )
    return found


def check_like(x: Leaves, y: Leaves) -> None:
    """Check that a tree has the structure, shapes and dtype of another one."""
    if x.structure != y.structure:
        raise ValueError(
            f"`{x.name}` must have the structure of `{y.name}`, {y.structure}, got {x.structure} (to leave some "
            "parameters alone, use `optax.masked`)"
        )
    for k, (a, b) in enumerate(zip(x.arrays, y.arrays, strict=True)):
        if a.shape != b.shape:
            raise ValueError(f"{x.label(k)} must have the shape of {y.label(k)}, {b.shape}, got {a.shape}")
        if a.dtype != b.dtype:
            raise TypeError(f"{x.label(k)} must have the dtype of {y.label(k)}, {b.dtype}, got {a.dtype}")


def check_on_cpu(*trees: Leaves) -> None:
    """Check that arrays that have a place are in the CPU's memory."""
    for found in trees:
        for k, x in enumerate(found.arrays):
            if isinstance(x, jax.core.Tracer):
                continue
            platforms = {device.platform for device in x.devices()}
            if platforms != {"cpu"}:
                raise ValueError(f"{found.label(k)} must be on the CPU, got an array on {', '.join(sorted(platforms))}")
