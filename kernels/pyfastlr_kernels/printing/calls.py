"""Calls: of printed functions, of the target's own, of parameters, and of NamedTuples."""

import ast
import math
from types import FunctionType
from typing import Any

import numpy as np

from .expressions import Expressions, Value, python
from .sources import Unprintable, is_builtin, scaled
from .types import FLOAT32, FLOAT64, INT64, Array, Callback, Native, Record, Scalar, is_empty, unified

_CASTS: dict[Any, Scalar] = {float: FLOAT64, np.float64: FLOAT64, np.float32: FLOAT32}


class Calls(Expressions):
    """Printing of the calls of one function."""

    def _of_Call(self, node: ast.Call) -> Value:
        if isinstance(node.func, ast.Name) and isinstance(self.types.get(node.func.id), Callback):
            return self.call_back(self.types[node.func.id], node)
        function = self.meaning(node.func)
        function = self.printer.natives.get(function, function) if callable(function) else function
        if isinstance(function, type) and issubclass(function, tuple):
            return self.record(function, node)
        given = [self.value(x) for x in node.args]
        if isinstance(function, Native):
            kinds = function.parameters
            if node.keywords or len(kinds) != len(given):
                raise self.source.error(node, f"{python(node)} must have {len(kinds)} arguments")
            given = [self.converted(x, kind, node) for x, kind in zip(given, kinds, strict=True)]
            return self.call(function.name, given, function.returns)
        if isinstance(function, FunctionType) and function is not scaled:
            return self.call_printed(function, given, node)
        if node.keywords:
            raise self.source.error(node, f"{python(node)} cannot be printed with keywords")
        return self.call_other(function, given, node)

    def call_other(self, function: Any, given: list[Value], node: ast.Call) -> Value:
        """Call something that is not a plain function of ours."""
        if function is scaled and len(given) == 2 and isinstance(given[0].type, Record):
            kind = given[0].type
            if is_empty(kind):
                return given[0]
            factor = self.converted(given[1], kind.item, node)
            return self.call(self.printer.scaling(kind), [given[0], factor], kind)
        if is_builtin(function, "len") and isinstance(given[0].type, Array):
            return Value(f"{given[0].text}_length", INT64)
        if isinstance(function, type) and function in _CASTS and isinstance(given[0].type, Scalar):
            real = _CASTS[function]
            if real == FLOAT64 or given[0].type == real:
                return self.converted(given[0], real, node)
            return self.cast(given[0], real)
        for name in self.target.functions:
            if function is getattr(math, name, None) or is_builtin(function, name):
                return self.known(name, given, node)
        raise self.source.error(node, f"the function {python(node.func)} is not in the target's table")

    def call_printed(self, function: FunctionType, given: list[Value], node: ast.Call) -> Value:
        """Call a function that is printed too, for the types of these arguments."""
        names = list(function.__code__.co_varnames[: function.__code__.co_argcount])
        values = dict(zip(names, given, strict=False))
        for keyword in node.keywords:
            if keyword.arg not in names or keyword.arg in values:
                raise self.source.error(node, f"{python(node)} does not fit `{function.__name__}`")
            values[keyword.arg] = self.value(keyword.value)
        defaults = function.__defaults__ or ()
        for name, x in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            values.setdefault(name, self.constant(x, node))
        if len(given) > len(names) or len(values) != len(names):
            raise self.source.error(node, f"{python(node)} does not fit `{function.__name__}`")
        ordered = [values[name] for name in names]
        try:
            printed = self.printer.function(function, [x.type for x in ordered])
        except Unprintable as error:
            raise Unprintable(f"{error}\n  called from {self.source.error(node, python(node))}") from None
        return Value(printed.call(*(self.whole(x).text for x in ordered)), printed.returns)

    def call_back(self, kind: Callback, node: ast.Call) -> Value:
        """Call a function that is a parameter."""
        if len(node.args) != 1 or node.keywords:
            raise self.source.error(node, f"{python(node)} must have one argument")
        x = self.converted(self.value(node.args[0]), kind.parameter, node)
        return Value(kind.call.format(f=self.value(node.func).text, x=x.text), kind.returns)

    def record(self, cls: type, node: ast.Call) -> Value:
        """Construct a NamedTuple."""
        fields: tuple[str, ...] = cls._fields  # type: ignore[attr-defined]
        given = dict(zip(fields, (self.value(x) for x in node.args), strict=False))
        for keyword in node.keywords:
            given[str(keyword.arg)] = self.value(keyword.value)
        if set(given) != set(fields) or len(node.args) + len(node.keywords) != len(fields):
            raise self.source.error(node, f"{python(node)} must have the fields {', '.join(fields)}")
        item: Any = FLOAT64
        if fields:
            item = given[fields[0]].type
            for x in given.values():
                item = unified(item, x.type)
        if not isinstance(item, Scalar) or not item.is_float:
            raise self.source.error(node, f"the fields of {cls.__name__} must be numbers of one type")
        kind = Record(cls, item)
        if not fields:
            return Value("", kind)
        parts = [self.converted(given[name], item, node).text for name in fields]
        return Value(self.structure(f"struct {self.printer.record_name(kind)}", list(fields), parts), kind)
