"""Expressions: their text and their types."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .sources import Source
from .types import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    Array,
    Record,
    Scalar,
    Struct,
    Tuple,
    is_empty,
    unified,
)

if TYPE_CHECKING:
    from .printer import Printer

# How tightly an operator binds, in C. The numbers are only compared.
_CHOICE, _OR, _AND, _EQUAL, _ORDER, _SUM, _PRODUCT, _SIGN, _POSTFIX = range(9)
_OPERATORS = {ast.Add: ("+", _SUM), ast.Sub: ("-", _SUM), ast.Mult: ("*", _PRODUCT), ast.Div: ("/", _PRODUCT)}
_FLOORED = {ast.FloorDiv: "floor quotient", ast.Mod: "floor remainder"}
_COMPARISONS = {
    ast.Lt: ("<", _ORDER), ast.LtE: ("<=", _ORDER), ast.Gt: (">", _ORDER), ast.GtE: (">=", _ORDER),
    ast.Eq: ("==", _EQUAL), ast.NotEq: ("!=", _EQUAL),
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """An expression: its text, type and outermost operator. For constants also the number, for tuples the items."""

    text: str
    type: Any
    binds: int = _POSTFIX
    constant: bool | int | float | None = None
    items: tuple[Value, ...] | None = None


class Expressions:
    """Printing of the expressions of one function, whose names have the types in `types`. `Calls` adds calls."""

    def __init__(self, printer: Printer, source: Source, bound: dict[str, Any]) -> None:
        self.printer, self.target, self.source = printer, printer.target, source
        self.types: dict[str, Any] = {}
        self.bound = bound

    # --- Values -------------------------------------------------------------------------------------------------------

    def constant(self, x: Any, node: ast.AST) -> Value:
        """Return the value of a number or truth value."""
        if isinstance(x, bool | np.bool_):
            return Value("true" if x else "false", BOOL, constant=bool(x))
        kind = FLOAT32 if isinstance(x, np.float32) else FLOAT64 if isinstance(x, float) else INT64
        if not isinstance(x, int | float | np.float32):
            raise self.source.error(node, f"the constant {x!r} cannot be printed")
        return self.literal(int(x) if kind == INT64 else float(x), kind, node)

    def literal(self, x: int | float, kind: Scalar, node: ast.AST) -> Value:
        """Return a number in that type."""
        if kind != INT64 and not math.isfinite(x):
            text = self.target.constants.get(abs(x))
            if text is None:
                raise self.source.error(node, f"the constant {x!r} cannot be printed")
        else:
            text = self.target.literal(abs(x), kind)
        negative = x < 0 or (x == 0 and math.copysign(1.0, x) < 0)
        return Value(f"-{text}" if negative else text, kind, _SIGN if negative else _POSTFIX, x)

    def inside(self, value: Value, binds: int) -> str:
        """Return the text for an operand of an operator that binds that tightly."""
        return value.text if value.binds >= binds else f"({value.text})"

    def converted(self, value: Value, kind: Any, node: ast.AST) -> Value:
        """Return the value in a type, to which it must convert without loss."""
        if value.type == kind:
            return value
        if unified(value.type, kind) != kind:
            raise self.source.error(node, f"{named(value.type)} does not convert to {named(kind)}")
        if value.constant is not None:
            return self.literal(value.constant, kind, node)
        return self.cast(value, kind) if value.type == INT64 else replace(value, type=kind)

    def cast(self, value: Value, kind: Scalar) -> Value:
        """Return the value rounded to a type."""
        text = self.target.cast.format(type=self.target.types[kind], x=self.inside(value, _SIGN))
        return Value(text, kind, _SIGN)

    def together(self, a: Value, b: Value, node: ast.AST) -> tuple[Value, Value, Any]:
        """Return both values in the type that both convert to."""
        kind = unified(a.type, b.type)
        if kind is None:
            raise self.source.error(node, f"{named(a.type)} and {named(b.type)} have no common type")
        return self.converted(a, kind, node), self.converted(b, kind, node), kind

    # --- Expressions --------------------------------------------------------------------------------------------------

    def value(self, node: ast.AST) -> Value:
        """Return the value of an expression."""
        method = getattr(self, f"_of_{type(node).__name__}", None)
        if method is None:
            raise self.source.error(node, f"{type(node).__name__} ({python(node)}) cannot be printed")
        found: Value = method(node)
        return found

    def condition(self, node: ast.AST) -> Value:
        """Return the value of an expression that must be true or false."""
        value = self.value(node)
        if value.type != BOOL:
            raise self.source.error(node, f"a condition must be true or false, {python(node)} is {named(value.type)}")
        return value

    def _of_Constant(self, node: ast.Constant) -> Value:
        return self.constant(node.value, node)

    def _of_Name(self, node: ast.Name) -> Value:
        if node.id in self.bound:
            return self.constant(self.bound[node.id], node)
        if node.id in self.types:
            return Value(self.printer.variable(node.id), self.types[node.id])
        if node.id in self.printer.constants:
            return self.printer.constants[node.id]
        return self.constant(self.meaning(node), node)

    def _of_Attribute(self, node: ast.Attribute) -> Value:
        if isinstance(node.value, ast.Name) and isinstance(self.source.names.get(node.value.id), ModuleType):
            return self.constant(self.meaning(node), node)
        value = self.value(node.value)
        if isinstance(value.type, Struct) and node.attr in value.type.fields:
            return Value(f"{value.text}->{node.attr}", value.type.fields[node.attr])
        if isinstance(value.type, Record) and node.attr in value.type.fields:
            return Value(f"{self.inside(value, _POSTFIX)}.{node.attr}", value.type.item)
        raise self.source.error(node, f"{named(value.type)} has no field {node.attr!r}")

    def _of_BinOp(self, node: ast.BinOp) -> Value:
        a, b = self.value(node.left), self.value(node.right)
        for one in (a, b):
            if not isinstance(one.type, Scalar) or one.type == BOOL:
                raise self.source.error(node, f"{named(one.type)} is not a number")
        if isinstance(node.op, ast.Pow):
            if FLOAT32 in (a.type, b.type) or INT64 in (a.type, b.type):
                raise self.source.error(node, "base and exponent of a power must be float64: others have other bits")
            return self.known("pow", [a, b], node)
        a, b, kind = self.together(a, b, node)
        if type(node.op) in _FLOORED:
            return self.known(_FLOORED[type(node.op)], [a, b], node)
        if type(node.op) not in _OPERATORS:
            raise self.source.error(node, f"the operator {type(node.op).__name__} cannot be printed")
        if isinstance(node.op, ast.Div) and kind == INT64:
            a, b, kind = self.converted(a, FLOAT64, node), self.converted(b, FLOAT64, node), FLOAT64
        sign, binds = _OPERATORS[type(node.op)]
        return Value(f"{self.inside(a, binds)} {sign} {self.inside(b, binds + 1)}", kind, binds)

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            value = self.condition(node.operand)
            if value.constant is not None:
                return self.constant(not value.constant, node)
            return Value(f"!{self.inside(value, _SIGN)}", BOOL, _SIGN)
        value = self.value(node.operand)
        if not isinstance(node.op, ast.USub) or not isinstance(value.type, Scalar) or value.type == BOOL:
            raise self.source.error(node, f"{type(node.op).__name__} of {named(value.type)} cannot be printed")
        if value.constant is not None:
            return self.literal(-value.constant, value.type, node)
        inner = value.text if value.binds >= _SIGN and not value.text.startswith("-") else f"({value.text})"
        return Value(f"-{inner}", value.type, _SIGN)

    def _of_Compare(self, node: ast.Compare) -> Value:
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            raise self.source.error(node, f"the comparison {python(node)} cannot be printed: only one of two numbers")
        left, right = node.left, node.comparators[0]
        a, b, kind = self.together(self.value(left), self.value(right), node)
        if not isinstance(kind, Scalar):
            raise self.source.error(node, f"{named(kind)} cannot be compared")
        # A rule has no literals, so it writes x > -x. For every number and NaN that is x > 0, which takes less time.
        if isinstance(right, ast.UnaryOp) and ast.dump(right.operand) == ast.dump(left) and kind.is_float:
            b = self.literal(0.0, kind, node)
        sign, binds = _COMPARISONS[type(node.ops[0])]
        return Value(f"{self.inside(a, _SUM)} {sign} {self.inside(b, _SUM)}", BOOL, binds)

    def _of_BoolOp(self, node: ast.BoolOp) -> Value:
        is_or = isinstance(node.op, ast.Or)
        parts = []
        for one in node.values:
            value = self.condition(one)
            if value.constant is is_or:
                return self.constant(is_or, node)
            if value.constant is None:
                parts.append(value)
        if not parts:
            return self.constant(not is_or, node)
        if len(parts) == 1:
            return parts[0]
        sign, binds = ("||", _OR) if is_or else ("&&", _AND)
        return Value(f" {sign} ".join(self.inside(x, _EQUAL) for x in parts), BOOL, binds)

    def _of_IfExp(self, node: ast.IfExp) -> Value:
        test = self.condition(node.test)
        if test.constant is not None:
            return self.value(node.body if test.constant else node.orelse)
        a, b, kind = self.together(self.value(node.body), self.value(node.orelse), node)
        a, b = self.whole(a), self.whole(b)
        if self.printer.selects and isinstance(kind, Scalar) and kind.is_float:
            name = self.target.functions["select"][kind]
            self.printer.need(name)
            return self.call(name, [test, a, b], kind)
        text = f"{self.inside(test, _OR)} ? {self.inside(a, _OR)} : {self.inside(b, _OR)}"
        return Value(text, kind, _CHOICE)

    def _of_Tuple(self, node: ast.Tuple) -> Value:
        items = tuple(self.value(x) for x in node.elts)
        return Value("", Tuple(tuple(x.type for x in items)), items=items)

    def _of_Subscript(self, node: ast.Subscript) -> Value:
        value, index = self.value(node.value), self.value(node.slice)
        if not isinstance(value.type, Array) or index.type != INT64:
            raise self.source.error(node, f"only arrays have items: {python(node)} cannot be printed")
        return Value(f"{value.text}[{index.text}]", value.type.item)

    def whole(self, value: Value) -> Value:
        """Return the value as one text, also if it is a tuple."""
        if value.items is None or is_empty(value.type):
            return value
        parts = [self.whole(x) for x in value.items if not is_empty(x.type)]
        if len(parts) == 1:
            return replace(parts[0], type=value.type, constant=None)
        name, fields = self.printer.tuple_form(value.type)
        return Value(self.structure(f"struct {name}", fields, [x.text for x in parts]), value.type)

    def structure(self, kind: str, fields: list[str], parts: list[str]) -> str:
        """Return the text of a structure with these fields."""
        inner = ", ".join(self.target.field.format(name=n, x=x) for n, x in zip(fields, parts, strict=True))
        return self.target.construct.format(type=kind, fields=inner)

    def known(self, name: str, given: list[Value], node: ast.AST) -> Value:
        """Call a function of the target's table; all its arguments have one type."""
        kind = given[0].type
        for x in given[1:]:
            kind = unified(kind, x.type)
        table = self.target.functions[name]
        if kind == INT64 and INT64 not in table:
            kind = FLOAT64
        if not isinstance(kind, Scalar) or kind not in table:
            raise self.source.error(node, f"the target has no `{name}` for {named(kind)}")
        self.printer.need(table[kind])
        return self.call(table[kind], [self.converted(x, kind, node) for x in given], kind)

    def call(self, name: str, given: list[Value], returns: Any) -> Value:
        """Return the call of a function by its name in the target."""
        return Value(f"{name}({', '.join(self.whole(x).text for x in given)})", returns)

    def meaning(self, node: ast.AST) -> Any:
        """Return what a name from outside the function stands for."""
        if isinstance(node, ast.Name):
            if node.id in self.source.names:
                return self.source.names[node.id]
            raise self.source.error(node, f"the name `{node.id}` is not known")
        if isinstance(node, ast.Attribute):
            owner = self.meaning(node.value)
            if isinstance(owner, ModuleType) and hasattr(owner, node.attr):
                return getattr(owner, node.attr)
        raise self.source.error(node, f"{python(node)} cannot be printed")


def python(node: ast.AST) -> str:
    """Return an expression's own text, for errors."""
    return f"`{ast.unparse(node)}`"


def named(kind: Any) -> str:
    """Return a type's name, for errors."""
    if kind is None:
        return "no common type"
    return kind.name if isinstance(kind, Scalar) else type(kind).__name__.lower()
