"""Arrays in dicts and lists, nested at will, as a flat list of named leaves, and back."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple


class Node(NamedTuple):
    """Shape of a container: its keys and what is under each; a leaf has no keys."""

    kind: str  # "dict", "list" or "leaf"
    keys: tuple[Any, ...] = ()
    children: "tuple[Node, ...]" = ()


LEAF = Node("leaf")


def kind_of(x: Any) -> str:
    """Kind of node that x is."""
    return "dict" if isinstance(x, Mapping) else "list" if isinstance(x, list | tuple) else "leaf"


def label(argument: str, name: str) -> str:
    """A leaf as an error calls it: ``grads['layer.w']``, ``grads[0]``, or ``grads`` alone."""
    return argument if not name else f"{argument}[{name}]" if name.isdecimal() else f"{argument}[{name!r}]"


def flatten(x: Any, argument: str) -> tuple[Node, list[str], list[Any]]:
    """Structure, names joined by ".", and leaves of a container, or of one leaf, whose name is empty."""
    names: list[str] = []
    leaves: list[Any] = []

    def walk(x: Any, path: str, inside: tuple[int, ...]) -> Node:
        kind = kind_of(x)
        if kind == "leaf":
            names.append(path)
            leaves.append(x)
            return LEAF
        if id(x) in inside:
            raise ValueError(f"`{argument}` must be a tree, got a container that contains itself")
        items = list(x.items()) if kind == "dict" else list(enumerate(x))
        for key, _ in items:
            if not isinstance(key, str | int):
                raise TypeError(f"`{argument}` must have str or int keys, got {key!r}")
        parts = [walk(value, f"{path}.{key}" if path else str(key), (*inside, id(x))) for key, value in items]
        return Node(kind, tuple(key for key, _ in items), tuple(parts))

    node = walk(x, "", ())
    if not leaves:
        raise ValueError(f"`{argument}` must hold at least one array, got an empty {kind_of(x)}")
    doubled = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if doubled:
        raise ValueError(f"`{argument}` must have one array per name, got more for {sorted(doubled)}")
    return node, names, leaves


def match(node: Node, x: Any, argument: str, path: str = "") -> list[Any]:
    """Leaves of x, which must have that structure, in the structure's order (that of a dict's keys is free)."""
    if node.kind == "leaf":
        return [x]
    here = label(argument, path)
    if kind_of(x) != node.kind:
        raise TypeError(f"`{here}` must be a {node.kind} like the parameters, got {type(x).__name__}")
    if node.kind == "dict":
        missing = [key for key in node.keys if key not in x]
        unknown = [key for key in x if key not in node.keys]
        if missing or unknown:
            raise ValueError(
                f"`{here}` must have the keys of the parameters, got "
                + " and ".join(f"{what} {keys!r}" for what, keys in (("no", missing), ("unknown", unknown)) if keys)
            )
    elif len(x) != len(node.keys):
        raise ValueError(f"`{here}` must have {len(node.keys)} entries like the parameters, got {len(x)}")
    leaves = []
    for key, child in zip(node.keys, node.children, strict=True):
        leaves += match(child, x[key], argument, f"{path}.{key}" if path else str(key))
    return leaves


def rebuild(node: Node, leaves: Sequence[Any]) -> Any:
    """Container of that structure with these leaves; a tuple comes back as a list."""
    rest = iter(leaves)

    def walk(node: Node) -> Any:
        if node.kind == "leaf":
            return next(rest)
        parts = [walk(child) for child in node.children]
        return dict(zip(node.keys, parts, strict=True)) if node.kind == "dict" else parts

    return walk(node)


def gatherer(node: Node) -> Callable[[Any], list[Any]] | None:
    """Quick `match` for a plain dict or list that is not nested; LookupError for anything that `match` must look at."""
    if node.kind == "leaf" or any(child.kind != "leaf" for child in node.children):
        return None
    keys, count = node.keys, len(node.keys)
    pick: Callable[[Any], Any] = itemgetter(*keys) if count > 1 else lambda x: (x[keys[0]],)

    def from_list(x: Any) -> list[Any]:
        if type(x) is not list or len(x) != count:
            raise LookupError
        return x

    def from_dict(x: Any) -> list[Any]:
        if type(x) is not dict or len(x) != count:
            raise LookupError
        return list(pick(x))

    return from_dict if node.kind == "dict" else from_list
