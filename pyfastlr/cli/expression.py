"""Schedules from text, such as ``Cosine(1e-3, steps=1000).warmup(100)``. The text is parsed, never executed."""

import ast
import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from pyfastlr import schedules as S
from pyfastlr.schedules import Schedule
from pyfastlr.schedules.checks import suggestion

LONGEST = 10_000  # characters
DEEPEST = 100  # schedules inside each other
LIBRARIES = ("torch", "keras", "optax", "timm", "transformers", "fastai")
METHODS = ("warmup", "then", "delay", "advance", "every", "clip", "momentum", "native")
NAMES: dict[str, Any] = {
    name: getattr(S, name)
    for name in S.__all__
    if isinstance(getattr(S, name), type) and issubclass(getattr(S, name), Schedule)
}
for _name in ("Schedule", "Custom"):  # the base class, and the one that wraps Python code
    del NAMES[_name]
NAMES["join"] = S.join
DOTTED = {f"{x}.{name}": getattr(getattr(S, x), name) for x in LIBRARIES for name in getattr(S, x).__all__}
WRITTEN = {dotted.partition(".")[2]: dotted for dotted in reversed(DOTTED)}


class ExpressionError(ValueError):
    """The text is no schedule. The message has three lines: what is wrong, the text, and a mark below the place."""


def schedule(text: str) -> Schedule:
    """Return the schedule that a text describes.

    The text may have names of schedules (``Cosine``, ``torch.StepLR``, both also with ``S.`` before them), calls of
    them and of the algebra's methods, numbers, strings, True, False, None, tuples, lists and dicts, ``+`` and ``*``,
    and ``-`` and ``/`` between numbers.

    Raises
    ------
    ExpressionError
        If it has anything else, or if a schedule refuses its arguments.

    Examples
    --------
    >>> schedule("0.5 * Cosine(1e-3, steps=1000).warmup(100)")(100)
    0.0005
    >>> try:
    ...     schedule("Cosine(1e-3, steps=1000).warm(100)")
    ... except ExpressionError as error:
    ...     print(error)
    a schedule has no method `warm`: did you mean `warmup`?
      Cosine(1e-3, steps=1000).warm(100)
                               ^^^^
    """
    # Line ends and tabs mean the same as spaces here; other control characters must not reach the terminal.
    shown = "".join(c if c.isprintable() else " " for c in text).strip()
    if len(shown) > LONGEST:
        raise ExpressionError(f"a schedule must have at most {LONGEST:,} characters, got {len(shown):,}")
    reader = _Reader(shown)
    try:
        return reader.whole()
    except (RecursionError, MemoryError):
        raise ExpressionError(f"a schedule must have at most {DEEPEST} parts inside each other, got more") from None


class _Reader:
    """Turns the tree of an expression into a schedule."""

    def __init__(self, text: str) -> None:
        self.text = text

    def whole(self) -> Schedule:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about an escape in a string, say
                tree = ast.parse(self.text, mode="eval")
        except SyntaxError as error:
            start = max((error.offset or 1) - 1, 0)
            self.refuse_at(f"this is not an expression: {error.msg}", start, (error.end_offset or 0) - 1)
        except ValueError as error:  # an integer of thousands of digits
            raise ExpressionError(f"this is not an expression: {error}") from None
        value = self.value(tree.body)
        try:
            result = S.as_schedule(value, "schedule")
        except (TypeError, ValueError):
            self.refuse(f"this must be a schedule or a number >= 0, got {_kind(value)}", tree.body)
        depth, level = 0, [result]
        while level:
            depth, level = depth + 1, [x for outer in level for x in S.base.inside(outer)]
            if depth > DEEPEST:
                raise ExpressionError(f"a schedule must have at most {DEEPEST} parts inside each other, got more")
        return result

    def refuse(self, message: str, node: Any) -> NoReturn:
        """Raise the error that marks a node."""
        start, end = (self.column(node, x) for x in ("col_offset", "end_col_offset"))
        self.refuse_at(message, start, end)

    def refuse_at(self, message: str, start: int, end: int) -> NoReturn:
        mark = " " * start + "^" * max(end - start, 1)
        raise ExpressionError(f"{message}\n  {self.text}\n  {mark}") from None

    def column(self, node: Any, which: str) -> int:
        """Return a column in characters: the tree counts bytes."""
        return len(self.text.encode()[: getattr(node, which)].decode())

    # --- Values ------------------------------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Any:
        """Return what a node means."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None):
                return node.value
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.key(key): self.value(value) for key, value in zip(keys, values, strict=True)}
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                operand = self.number(node.operand)
                return -operand if isinstance(node.op, ast.USub) else operand
            case ast.BinOp():
                return self.operation(node)
            case ast.Call():
                return self.call(node)
            case ast.Name() | ast.Attribute():
                self.function(node)  # refuses unknown names
                self.refuse(f"`{ast.unparse(node)}` must be called, as in {ast.unparse(node)}(...)", node)
        self.refuse(f"a schedule must not have {_part(node)} in it", node)

    def key(self, node: Any) -> Any:
        value = self.value(node)
        if isinstance(value, int | float | str | None):
            return value
        self.refuse(f"a key must be a number or a string, got {_kind(value)}", node)

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"this must be a number, got {_kind(value)}", node)
        return value

    def operation(self, node: ast.BinOp) -> Any:
        """Return a sum or a product, or a difference or quotient of numbers."""
        if isinstance(node.op, ast.Sub | ast.Div):
            left, right = self.number(node.left), self.number(node.right)
            if isinstance(node.op, ast.Sub):
                return left - right
            if right == 0:
                self.refuse("a number must not be divided by 0", node.right)
            return self.made(lambda: left / right, node, {})
        if not isinstance(node.op, ast.Add | ast.Mult):
            self.refuse("schedules can be combined by + and *, and numbers also by - and /", node)
        left, right = self.value(node.left), self.value(node.right)
        for value, operand in ((left, node.left), (right, node.right)):
            if isinstance(value, bool) or not isinstance(value, int | float | Schedule):
                self.refuse(f"this must be a number or a schedule, got {_kind(value)}", operand)
        return self.made(lambda: left + right if isinstance(node.op, ast.Add) else left * right, node, {})

    # --- Calls -------------------------------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> Any:
        """Return the schedule that a call makes."""
        function = self.function(node.func)
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                self.refuse("an argument must not have a star before it", argument)
        keywords: dict[str, ast.expr] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse("an argument must not have stars before it", keyword)
            keywords[keyword.arg] = keyword  # type: ignore[assignment]  # to mark its name too
        name = ast.unparse(node.func).rpartition(".")[2]
        signature = inspect.signature(function)
        for given, at in keywords.items():
            if given not in signature.parameters:
                self.refuse(f"`{name}` has no argument `{given}`{suggestion(given, signature.parameters)}", at)
        try:
            bound = signature.bind(*node.args, **keywords)
        except TypeError as error:
            self.refuse(f"`{name}({_arguments(signature)})`: {error}", node)
        places = bound.arguments
        values = [self.value(x) for x in node.args]
        named = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg}
        return self.made(lambda: function(*values, **named), node, places)

    def made(self, make: Callable[[], Any], node: ast.expr, places: dict[str, Any]) -> Any:
        """Return what `make` returns. An error marks the argument that it names, or the whole node."""
        try:
            return make()
        except (TypeError, ValueError, OverflowError) as error:
            message = str(error)
            found = re.match(r"`(\w+)", message)
            self.refuse(message, places.get(found[1], node) if found else node)

    def function(self, node: ast.expr) -> Callable[..., Any]:
        """Return the class or method that a name stands for."""
        match node:
            case ast.Name(id=name):
                return self.named(name, node)
            case ast.Attribute(value=ast.Name(id="S"), attr=name):
                return self.named(name, node)
            case ast.Attribute(value=ast.Name(id=library) | ast.Attribute(value=ast.Name(id="S"), attr=library)) if (
                library in LIBRARIES
            ):
                dotted = f"{library}.{node.attr}"
                if dotted in DOTTED:
                    return DOTTED[dotted]  # type: ignore[no-any-return]
                close = suggestion(node.attr, [x.partition(".")[2] for x in DOTTED if x.startswith(f"{library}.")])
                self.mark_end(f"`{library}` has no schedule `{node.attr}`{close}", node, node.attr)
            case ast.Attribute(value=receiver, attr=name):
                value = self.value(receiver)
                if not isinstance(value, Schedule):
                    self.refuse(f"this must be a schedule, got {_kind(value)}", receiver)
                if name in METHODS and hasattr(value, name):
                    return getattr(value, name)  # type: ignore[no-any-return]
                close = suggestion(name, [x for x in METHODS if hasattr(value, x)])
                self.mark_end(f"a schedule has no method `{name}`{close}", node, name)
        self.refuse(f"this must be the name of a schedule, got {_part(node)}", node)

    def named(self, name: str, node: ast.expr) -> Callable[..., Any]:
        if name in NAMES:
            return NAMES[name]  # type: ignore[no-any-return]
        if name in S.__all__ and isinstance(getattr(S, name), type) and hasattr(getattr(S, name), "observe"):
            self.mark_end(f"`{name}` is a controller: it reacts to a run, so there is no picture of it", node, name)
        self.mark_end(f"there is no schedule `{name}`{suggestion(name, NAMES, WRITTEN)}", node, name)

    def mark_end(self, message: str, node: ast.expr, name: str) -> NoReturn:
        """Refuse the name at the end of a node."""
        end = self.column(node, "end_col_offset")
        self.refuse_at(message, end - len(name), end)


def _arguments(signature: inspect.Signature) -> str:
    """Return a signature's arguments without types."""
    return ", ".join(
        name if p.default is p.empty else f"{name}={p.default!r}" for name, p in signature.parameters.items()
    )


def _kind(value: Any) -> str:
    """Return what a value is, for an error."""
    if isinstance(value, Schedule):
        return "a schedule"
    return f"a {type(value).__name__}" if isinstance(value, str | list | dict) else repr(value)


def _part(node: ast.AST) -> str:
    """Return what a part of an expression is, for an error."""
    names = {
        ast.Lambda: "a lambda",
        ast.JoinedStr: "an f-string",
        ast.Subscript: "an index",
        ast.Compare: "a comparison",
        ast.BoolOp: "`and` or `or`",
        ast.IfExp: "a condition",
        ast.NamedExpr: "an assignment",
        ast.Starred: "a star",
        ast.Set: "a set",
        ast.Call: "a call",
        ast.Constant: "such a constant",
    }
    return names.get(type(node), f"a {type(node).__name__}")
