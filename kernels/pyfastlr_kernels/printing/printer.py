"""The printer: functions with what they need, each once, in an order in which the target can read them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .expressions import Value
from .sources import Source, Unprintable
from .statements import Statements, mentions, wrapped
from .target import Target
from .types import FLOAT32, INT64, Array, Callback, Opaque, Record, Scalar, Struct, Tuple, is_empty


class Printed(NamedTuple):
    """A printed function: its name in the target, the type of what it returns, and what it uses.

    For each parameter, ``uses`` is 0 if the function does not use it, 2 for an array with its length, else 1.
    """

    name: str
    returns: Any
    uses: tuple[int, ...]

    def call(self, *given: str) -> str:
        """Return the text of a call with these arguments; those that the function does not use are left out."""
        parts = [x for x, used in zip(given, self.uses, strict=True) for x in (x, f"{x}_length")[:used]]
        return f"{self.name}({', '.join(parts)})"


class Printer:
    """Prints Python functions, and whatever they call, in a target language.

    Parameters
    ----------
    target : Target
        The language.
    constants : dict
        Names of constants in Python, with their values in the target.
    names : dict
        Python functions and NamedTuples, with the names that they get instead of their own.
    natives : dict
        Python functions, with the functions of the target that stand for them (`Native`).

    Attributes
    ----------
    parts : list of str
        What has been printed: declarations and functions, in order. The caller may take them, and add its own.
    suffix : str
        Of the names of functions without float32.
    selects : bool
        Whether a choice between two floats is printed as a call of `select`, for loops that must vectorise.

    Examples
    --------
    >>> from pyfastlr_kernels.curves import linear_fall
    >>> from pyfastlr_kernels.printing import C, FLOAT64, Printer
    >>> printer = Printer(C)
    >>> printer.function(linear_fall, [FLOAT64]).call("0.25")
    'linear_fall(0.25)'
    >>> print(printer.parts[-1])
    /* Straight line. */
    static inline double linear_fall(double x)
    {
        return 1.0 - x;
    }
    <BLANKLINE>
    """

    def __init__(
        self,
        target: Target,
        constants: Mapping[str, Value] | None = None,
        names: Mapping[Any, str] | None = None,
        natives: Mapping[Any, Any] | None = None,
    ) -> None:
        self.target, self.constants = target, dict(constants or {})
        self.names, self.natives = dict(names or {}), dict(natives or {})
        self.parts: list[str] = []
        self._functions: dict[Any, Printed] = {}
        self._structures: dict[Any, str] = {}
        self._tuples: dict[tuple[Any, ...], tuple[str, list[str]]] = {}
        self._taken: dict[str, Any] = {}
        self._needed: set[str] = set()
        self._open: list[Any] = []
        self.suffix = ""
        self.selects = False

    # --- Functions ----------------------------------------------------------------------------------------------------

    def function(
        self,
        function: Callable[..., Any],
        parameters: Sequence[Any],
        name: str | None = None,
        bound: Mapping[str, Any] | None = None,
        comment: str | None = None,
    ) -> Printed:
        """Print a function for parameters of these types, unless it has been.

        Parameters
        ----------
        function : function
            A plain function.
        parameters : sequence of types
            Of the parameters that are not bound.
        name : str, optional
            Its name in the target. By default its own, with a suffix if a parameter is a float32, else with `suffix`.
        bound : dict, optional
            Parameters that are constants.
        comment : str, optional
            Comment before it, if not its docstring.

        Raises
        ------
        Unprintable
            With file, line and reason.
        """
        bound = dict(bound or {})
        key = (function, tuple(parameters), tuple(sorted(bound.items())))
        if key in self._functions:
            return self._functions[key]
        if key in self._open:
            raise Unprintable(f"`{function.__name__}` calls itself")
        source = Source(function)
        free = [x for x in source.parameters() if x not in bound]
        if len(free) != len(parameters):
            raise source.error(source.tree, f"it has {len(free)} parameters, got {len(parameters)} types")
        body = Statements(self, source, bound)
        body.types = dict(zip(free, parameters, strict=True))
        self._open.append(key)
        try:
            lines, returns = body.body(source.tree.body)
        finally:
            self._open.remove(key)
        name = self._taken_name(name or self.names.get(function, function.__name__) + self._suffix(parameters), key)
        named = list(zip(map(self.variable, free), parameters, strict=True))
        uses = tuple(0 if is_empty(kind) else _use(kind, x, lines) for x, kind in named)
        given = [y for (x, kind), used in zip(named, uses, strict=True) for y in self._parameter(kind, x, used)]
        head = f"{self.target.linkage} {self.type_text(returns)} {name}({', '.join(given) or 'void'})"
        said = source.doc() if comment is None else comment
        self.parts.append("\n".join([*commented(said), *wrapped(head), "{", *lines, "}", ""]))
        printed = Printed(name, returns, uses)
        self._functions[key] = printed
        return printed

    def _suffix(self, parameters: Sequence[Any]) -> str:
        return self.target.suffixes[FLOAT32] if any(FLOAT32 in _scalars(x) for x in parameters) else self.suffix

    def _taken_name(self, name: str, key: Any) -> str:
        """Return the name, with the types of the parameters if the function has been printed for others."""
        other = self._taken.setdefault(name, key)
        if other == key:
            return name
        if other[0] is not key[0] or other[2] != key[2]:
            raise Source(key[0]).error(None, f"another function has the name {name} already: give it one in `names`")
        kinds = dict.fromkeys(x for kind in key[1] for x in sorted(_scalars(kind), key=lambda x: x.rank))
        return self._taken_name(name + "".join(self.target.suffixes[x] for x in kinds), key)

    def need(self, name: str) -> None:
        """Print a function that the language lacks, unless it has been."""
        text = self.target.helpers.get(name)
        if text is not None and name not in self._needed:
            self._needed.add(name)
            self.parts.append(text)

    def scaling(self, kind: Record) -> str:
        """Print the function that multiplies the fields of a record by a number; return its name."""
        name = f"scaled_{self.record_name(kind)}"
        if name not in self._needed:
            self._needed.add(name)
            lines = [f"    x.{field} *= k;" for field in kind.fields]
            given = f"{self.declared(kind, 'x')}, {self.declared(kind.item, 'k')}"
            head = f"{self.target.linkage} {self.type_text(kind)} {name}({given})"
            self.parts.append("\n".join([*wrapped(head), "{", *lines, "    return x;", "}", ""]))
        return name

    # --- Types --------------------------------------------------------------------------------------------------------

    def variable(self, name: str) -> str:
        """Return the name of a variable in the target."""
        return f"{name}_" if name in self.target.reserved else name

    def type_text(self, kind: Any) -> str:
        """Return a type's text."""
        if isinstance(kind, Scalar):
            return self.target.types[kind]
        if isinstance(kind, Record):
            return f"struct {self.record_name(kind)}"
        if isinstance(kind, Tuple):
            full = kind.full
            return self.type_text(full[0]) if len(full) == 1 else f"struct {self.tuple_form(kind)[0]}"
        if isinstance(kind, Struct | Opaque | Callback):
            return kind.text
        raise TypeError(f"{kind!r} has no text")

    def declared(self, kind: Any, name: str, constant: bool = False) -> str:
        """Return the declaration of a variable."""
        text = self.type_text(kind)
        return f"{'const ' if constant else ''}{text}{'' if text.endswith('*') else ' '}{name}"

    def _parameter(self, kind: Any, name: str, used: int) -> list[str]:
        if isinstance(kind, Array):
            both = [f"const {self.target.types[kind.item]} *{name}", self.declared(INT64, f"{name}_length")]
            return both[:used]
        return [self.declared(kind, name)] if used else []

    def record_name(self, kind: Record) -> str:
        """Print the structure of a NamedTuple, unless it has been; return its name."""
        if kind not in self._structures:
            name = self.names.get(kind.cls, kind.cls.__name__.lower()) + self.target.suffixes[kind.item]
            if name in self._structures.values():
                raise Unprintable(
                    f"{kind.cls!r}: another structure has the name {name} already: give it one in `names`"
                )
            self._structures[kind] = name
            fields = ", ".join(kind.fields)
            said = commented(inspect.cleandoc(kind.cls.__doc__ or ""))
            self.parts.append(
                "\n".join(
                    [*said, f"struct {name} {{", *wrapped(f"    {self.target.types[kind.item]} {fields};"), "};", ""]
                )
            )
        return self._structures[kind]

    def name_tuple(self, kind: Tuple, name: str, fields: Sequence[str], comment: str = "") -> None:
        """Print the structure of a tuple, with names for it and its items (those that are not empty)."""
        form = name, list(fields)
        if self._tuples.setdefault(kind.full, form) != form:
            raise ValueError(f"the tuple has the name {self._tuples[kind.full][0]} already, got {name}")
        lines = [f"    {self.declared(x, field)};" for x, field in zip(kind.full, fields, strict=True)]
        self.parts.append("\n".join([*commented(comment), f"struct {name} {{", *lines, "};", ""]))

    def tuple_form(self, kind: Tuple) -> tuple[str, list[str]]:
        """Print the structure of a tuple, unless it has been; return its name and its fields."""
        if kind.full not in self._tuples:
            parts = [self.type_text(x).removeprefix("struct ").replace(" ", "_") for x in kind.full]
            joined = f"{parts[0]}_{len(parts)}" if len(set(parts)) == 1 else "_and_".join(parts)
            for suffix in self.target.suffixes.values():
                if all(part.endswith(suffix) for part in parts):
                    joined = joined.replace(f"{suffix}_and_", "_and_")
            self.name_tuple(kind, joined, [f"x{k}" for k in range(len(parts))])
        return self._tuples[kind.full]

    def items(self, kind: Tuple, text: str) -> list[tuple[str, Any]]:
        """Return the text and type of each item of a tuple with that text. A tuple of one is the item itself."""
        if len(kind.full) < 2:
            return [("" if is_empty(x) else text, x) for x in kind.items]
        fields = iter(self.tuple_form(kind)[1])
        return [("" if is_empty(x) else f"{text}.{next(fields)}", x) for x in kind.items]


def _use(kind: Any, name: str, lines: list[str]) -> int:
    """Return how much of a parameter the lines use, as in `Printed.uses`."""
    if isinstance(kind, Array) and mentions(lines, f"{name}_length"):
        return 2
    return int(mentions(lines, name))


def _scalars(kind: Any) -> set[Any]:
    if isinstance(kind, Tuple):
        return {x for item in kind.items for x in _scalars(item)}
    return {kind.item} if isinstance(kind, Record | Array) else {kind} if isinstance(kind, Scalar) else set()


def commented(text: str) -> list[str]:
    """Return a text as a comment."""
    lines = text.replace("*/", "* /").splitlines()
    if not lines:
        return []
    if len(lines) == 1:
        return [f"/* {lines[0]} */"]
    return ["/*", *(f" * {line}".rstrip() for line in lines), " */"]
