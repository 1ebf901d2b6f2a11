"""Convert nested dicts and lists of arrays to a flat list of named leaves, and back."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple


class Node(NamedTuple):
    """Structure of a container: its keys and the node under each. A leaf has no keys."""

    kind: str  # "dict", "list" or "leaf"
    keys: tuple[Any, ...] = ()
    children: "tuple[Node, ...]" = ()


LEAF = Node("leaf")


def kind_of(x: Any) -> str:
    """Kind of the node for x."""
    return "dict" if isinstance(x, Mapping) else "list" if isinstance(x, list | tuple) else "leaf"


def type_name(x: object) -> str:
    """Name of an object's type in errors; None is called None."""
    return "None" if x is None else type(x).__name__


def label(argument: str, name: str) -> str:
    """Name of a leaf in errors: ``grads['layer.w']``, ``grads[0]``, or only ``grads``."""
    return argument if not name else f"{argument}[{name}]" if name.isdecimal() else f"{argument}[{name!r}]"


def flatten(x: Any, argument: str) -> tuple[Node, list[str], list[Any]]:
    """Structure, names joined by ".", and leaves of a container. A single leaf has an empty name."""
    names: list[str] = []
    leaves: list[Any] = []
    open_containers: set[int] = set()

    def walk(x: Any, path: str) -> Node:
        kind = kind_of(x)
        if kind == "leaf":
            names.append(path)
            leaves.append(x)
            return LEAF
        if id(x) in open_containers:
            raise ValueError(f"`{argument}` must be a tree, got a container that contains itself")
        open_containers.add(id(x))
        items = list(x.items()) if kind == "dict" else list(enumerate(x))
        for key, _ in items:
            if not isinstance(key, str | int):
                raise TypeError(f"`{argument}` must have str or int keys, got {key!r}")
        prefix = f"{path}." if path else ""
        parts = [walk(value, f"{prefix}{key}") for key, value in items]
        open_containers.discard(id(x))
        return Node(kind, tuple(key for key, _ in items), tuple(parts))

    node = walk(x, "")
    if not leaves:
        raise ValueError(f"`{argument}` must contain at least one array, got an empty {kind_of(x)}")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        doubled = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
        raise ValueError(f"`{argument}` must have one array per name, got more than one for {doubled}")
    return node, names, leaves


def match(node: Node, x: Any, argument: str) -> list[Any]:
    """Leaves of x, which must have that structure, in the structure's order. The order of dict keys is free."""
    leaves: list[Any] = []

    def walk(node: Node, x: Any, path: str) -> None:
        if node.kind == "leaf":
            leaves.append(x)
            return
        _check_node(node, x, label(argument, path))
        prefix = f"{path}." if path else ""
        for key, child in zip(node.keys, node.children, strict=True):
            walk(child, x[key], f"{prefix}{key}")

    walk(node, x, "")
    return leaves


def _check_node(node: Node, x: Any, here: str) -> None:
    if kind_of(x) != node.kind:
        raise TypeError(f"`{here}` must be a {node.kind} like the parameters, got {type_name(x)}")
    if node.kind == "dict":
        if len(x) == len(node.keys) and all(key in x for key in node.keys):
            return
        known = set(node.keys)
        missing, unknown = [key for key in node.keys if key not in x], [key for key in x if key not in known]
        found = {"missing keys": missing, "unknown keys": unknown}
        raise ValueError(
            f"`{here}` must have the keys of the parameters, got "
            + " and ".join(f"{what} {keys!r}" for what, keys in found.items() if keys)
        )
    if len(x) != len(node.keys):
        raise ValueError(f"`{here}` must have {len(node.keys)} entries like the parameters, got {len(x)}")


def rebuild(node: Node, leaves: Sequence[Any]) -> Any:
    """Container of that structure with these leaves. A tuple becomes a list."""
    rest = iter(leaves)

    def walk(node: Node) -> Any:
        if node.kind == "leaf":
            return next(rest)
        parts = [walk(child) for child in node.children]
        return dict(zip(node.keys, parts, strict=True)) if node.kind == "dict" else parts

    return walk(node)


# --- The fast path ----------------------------------------------------------------------------------------------------

_FEW = 8  # keys; up to here, fetching them one by one costs less than an itemgetter


def gatherer(node: Node, otherwise: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """Build a fast `match`: a function that returns the leaves in a new list.

    It calls `otherwise` for containers that it does not know. It is generated code, with a few lines per container: 226
    arrays in 113 nested dicts take 6 us, while traversing the structure took 1.4 ms.
    """
    lines: list[str] = []
    values: dict[str, Any] = {"OrderedDict": OrderedDict, "LISTS": (list, tuple), "otherwise": otherwise}

    def named(value: Any) -> str:
        """Name of a constant in the generated code."""
        name = f"value{len(values)}"
        values[name] = value
        return name

    def walk(node: Node, name: str) -> str:
        """Write the lines that unpack the container of that name. Return its leaves as part of a list display."""
        if node.kind == "leaf":
            return name
        count, is_dict = len(node.keys), node.kind == "dict"
        # A dict of another class may create missing keys. A list or tuple of another class is safe.
        other = (
            f"type({name}) is not dict and type({name}) is not OrderedDict"
            if is_dict
            else f"not isinstance({name}, LISTS)"
        )
        lines.append(f"if {other} or len({name}) != {count}: return otherwise(x)")
        flat = all(child.kind == "leaf" for child in node.children)
        if not is_dict and flat:
            return f"*{name}"
        if is_dict and flat and count > _FEW:
            lines.append(f"{name}_ = {named(itemgetter(*node.keys))}({name})")
            return f"*{name}_"
        parts = [f"{name}_{k}" for k in range(count)]
        if is_dict and count <= _FEW:
            for part, key in zip(parts, node.keys, strict=True):
                lines.append(f"{part} = {name}[{repr(key) if type(key) in (str, int) else named(key)}]")
        elif parts:
            lines.append(f"{', '.join(parts)}, = {f'{named(itemgetter(*node.keys))}({name})' if is_dict else name}")
        inside = [walk(child, part) for child, part in zip(node.children, parts, strict=True)]
        return ", ".join(x for x in inside if x)  # an empty container has no leaves

    leaves = walk(node, "x")
    text = ["def gather(x):", " try:", *(f"  {line}" for line in lines), f"  return [{leaves}]"]
    exec("\n".join([*text, " except LookupError: return otherwise(x)"]), values)  # all names in it are generated
    gather: Callable[[Any], list[Any]] = values["gather"]
    return gather
