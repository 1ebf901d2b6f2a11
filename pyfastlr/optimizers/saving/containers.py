"""How the parameters are nested, as JSON: "array", "flat", {"list": [...]} or {"dict": [[key, ...], ...]}."""

from collections.abc import Sequence
from typing import Any

from pyfastlr.arrays import tree

from .plain import short


def describe(structure: Any) -> Any:
    """JSON form of a node; for the layout of a `Flat`, "flat"."""
    if not isinstance(structure, tree.Node):
        return "flat"
    if structure.kind == "leaf":
        return "array"
    children = [describe(child) for child in structure.children]
    if structure.kind == "list":
        return {"list": children}
    return {"dict": [[key, child] for key, child in zip(structure.keys, children, strict=True)]}


def read(value: Any, names: Sequence[str], label: str) -> tree.Node | None:
    """Node of a container; None for a `Flat`."""
    if value == "flat":
        return None
    node = _read(value, label)
    if sorted(names_of(node)) != sorted(names):
        raise ValueError(f"`{label}` must have the arrays {short(list(names))}, got {short(value)}")
    return node


def _read(value: Any, label: str) -> tree.Node:
    if value == "array":
        return tree.LEAF
    if isinstance(value, dict) and len(value) == 1:
        ((kind, parts),) = value.items()
        if kind == "list" and isinstance(parts, list):
            return tree.Node("list", tuple(range(len(parts))), tuple(_read(x, label) for x in parts))
        if kind == "dict" and isinstance(parts, list) and all(isinstance(x, list) and len(x) == 2 for x in parts):
            keys = tuple(key for key, _ in parts)
            if all(type(key) in (str, int) for key in keys) and len(set(keys)) == len(keys):
                return tree.Node("dict", keys, tuple(_read(x, label) for _, x in parts))
    raise ValueError(f"`{label}` must be the structure of a container, got {short(value)}")


def names_of(node: tree.Node) -> list[str]:
    """Names of a structure's arrays, in its order."""
    return tree.flatten(tree.rebuild(node, [None] * _count(node)), "container")[1]


def _count(node: tree.Node) -> int:
    return 1 if node.kind == "leaf" else sum(map(_count, node.children))
