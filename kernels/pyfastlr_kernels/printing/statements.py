"""Statements of one function, with the declarations that the target needs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .calls import Calls
from .expressions import Value
from .types import INT64, Scalar, Tuple, is_empty, unified

_INDENT = "    "
_SHORT = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_WIDTH = 119


@dataclass
class Return:
    """A return statement, whose value is converted when the types of all are known."""

    value: Value
    depth: int
    node: ast.AST


class Statements(Calls):
    """Printing of a function's body."""

    lines: list[str | Return]

    def body(self, body: list[ast.stmt]) -> tuple[list[str], Any]:
        """Return the lines of the body, and the type that it returns."""
        self.homes, self.assigned = _homes(body)
        self.declared = set(self.types)
        self.lines, self.spare = [], 0
        self.block(body, (), 1)
        returns = [x for x in self.lines if isinstance(x, Return)]
        if not returns:
            raise self.source.error(self.source.tree, "it returns nothing")
        kind = returns[0].value.type
        for one in returns[1:]:
            kind = unified(kind, one.value.type)
        if kind is None:
            raise self.source.error(returns[-1].node, "it returns values without a common type")
        return _without_unread([line for x in self.lines for line in self.finished(x, kind)]), kind

    def finished(self, line: str | Return, kind: Any) -> list[str]:
        """Return the text of a line."""
        if isinstance(line, str):
            return wrapped(line)
        text = self.whole(self.converted(line.value, kind, line.node)).text
        return wrapped(f"{_INDENT * line.depth}return {text};")

    # --- Blocks -------------------------------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt], place: tuple[int, ...], depth: int) -> None:
        """Print the statements of a block."""
        for k, node in enumerate(body):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                continue
            start = len(self.lines)
            method = getattr(self, f"_put_{type(node).__name__}", None)
            if method is None:
                raise self.source.error(node, f"{type(node).__name__} cannot be printed")
            first = ["// " + said for said in self.source.own_line.get(node.lineno, ())]
            ends = self.source.end_of_line.get(node.lineno if hasattr(node, "body") else (node.end_lineno or 0))
            first += [f"// {ends}"] if ends else []
            inside = method(node, (*place, k), depth)
            # What is declared out here but first assigned inside.
            hoisted = [name for name in inside or () if name not in self.declared and self.homes[name] == place]
            self.declared.update(hoisted)
            first += [f"{self.printer.declared(self.types[x], self.printer.variable(x))};" for x in hoisted]
            self.lines[start:start] = [_INDENT * depth + x for x in first]
            if isinstance(node, ast.Return):
                return

    def put(self, depth: int, text: str) -> None:
        """Print one line."""
        self.lines.append(_INDENT * depth + text)

    def _put_If(self, node: ast.If, place: tuple[int, ...], depth: int) -> set[str] | None:
        test = self.condition(node.test)
        if test.constant is not None:
            self.block(node.body if test.constant else node.orelse, place[:-1], depth)
            return None
        self.put(depth, f"if ({test.text}) {{")
        self.block(node.body, (*place, 0), depth + 1)
        rest = node.orelse
        if rest:
            self.put(depth, "} else {")
            self.block(rest, (*place, 1), depth + 1)
        self.put(depth, "}")
        return _assigned_in(node)

    def _put_While(self, node: ast.While, place: tuple[int, ...], depth: int) -> set[str]:
        if node.orelse:
            raise self.source.error(node, "`else` of a loop cannot be printed")
        self.put(depth, f"while ({self.condition(node.test).text}) {{")
        self.block(node.body, (*place, 0), depth + 1)
        self.put(depth, "}")
        return _assigned_in(node)

    def _put_For(self, node: ast.For, place: tuple[int, ...], depth: int) -> set[str]:
        call, target = node.iter, node.target
        if (
            node.orelse or not isinstance(target, ast.Name) or not isinstance(call, ast.Call) or call.keywords
            or not isinstance(call.func, ast.Name) or self.meaning(call.func) is not range or len(call.args) > 2
        ):  # fmt: skip
            raise self.source.error(node, "only `for name in range(...)` without a step can be printed")
        bounds = [self.converted(self.value(x), INT64, node).text for x in call.args]
        start, stop = bounds if len(bounds) == 2 else ("0", bounds[0])
        name = self.printer.variable(target.id)
        self.types[target.id] = INT64
        self.declared.add(target.id)
        self.put(depth, f"for ({self.printer.declared(INT64, name)} = {start}; {name} < {stop}; {name}++) {{")
        self.block(node.body, (*place, 0), depth + 1)
        self.put(depth, "}")
        return _assigned_in(node)

    def _put_Return(self, node: ast.Return, place: tuple[int, ...], depth: int) -> None:
        if node.value is None:
            raise self.source.error(node, "a function must return a value")
        self.lines.append(Return(self.value(node.value), depth, node))

    # --- Assignments --------------------------------------------------------------------------------------------------

    def _put_AugAssign(self, node: ast.AugAssign, place: tuple[int, ...], depth: int) -> None:
        if not isinstance(node.target, ast.Name):
            raise self.source.error(node, "only a name can be assigned to")
        whole = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        for x in ast.walk(whole):
            ast.copy_location(x, node)
        sign = _SHORT.get(type(node.op))
        known, value = self.types.get(node.target.id), self.value(whole)
        if sign and known == value.type and node.target.id not in self.bound:
            part = self.converted(self.value(node.value), known, node)
            self.put(depth, f"{self.printer.variable(node.target.id)} {sign}= {part.text};")
        else:
            self.assign(node.target.id, value, place, depth, node)

    def _put_Assign(self, node: ast.Assign, place: tuple[int, ...], depth: int) -> None:
        target = node.targets[0]
        value = self.value(node.value)
        if len(node.targets) == 1 and isinstance(target, ast.Name):
            self.assign(target.id, value, place, depth, node)
            return
        if len(node.targets) != 1 or not isinstance(target, ast.Tuple) or not isinstance(value.type, Tuple):
            raise self.source.error(node, "only a name, or a tuple of names, can be assigned to")
        names = [x.id if isinstance(x, ast.Name) else "" for x in target.elts]
        if not all(names) or len(names) != len(value.type.items):
            raise self.source.error(node, f"{len(value.type.items)} values need as many names")
        for name, x in zip(names, self.parts(value, names, node, depth), strict=True):
            self.assign(name, x, place, depth, node)

    def parts(self, value: Value, names: list[str], node: ast.Assign, depth: int) -> list[Value]:
        """Return the items of a tuple, so that each may be assigned before the next one is read."""
        if value.items is None:
            text = value.text
            if not isinstance(node.value, ast.Name) and len(value.type.full) > 1:
                text = self.kept(value, depth)
            return [Value(x, kind) for x, kind in self.printer.items(value.type, text)]
        pieces = list(value.items)
        assert isinstance(node.value, ast.Tuple)
        for k, name in enumerate(names):
            for later in range(k + 1, len(names)):
                if _reads(node.value.elts[later], name) and pieces[later].constant is None:
                    if pieces[later].type != self.types.get(names[later], pieces[later].type):
                        raise self.source.error(node, f"`{names[later]}` changes its type")
                    pieces[later] = Value(self.kept(pieces[later], depth), pieces[later].type)
        return pieces

    def kept(self, value: Value, depth: int) -> str:
        """Print a variable that keeps the value, and return its name."""
        name = f"kept{self.spare or ''}"
        self.spare += 1
        self.put(depth, f"{self.printer.declared(value.type, name, True)} = {self.whole(value).text};")
        return name

    def assign(self, name: str, value: Value, place: tuple[int, ...], depth: int, node: ast.AST) -> None:
        """Print the assignment to a name, with its declaration if it is the first."""
        if name in self.bound:
            raise self.source.error(node, f"the constant `{name}` cannot be assigned to")
        known = self.types.get(name)
        if known is not None:
            value = self.converted(value, known, node)
        elif not isinstance(value.type, Scalar) and value.items is not None and is_empty(value.type):
            value = Value("", value.type)
        self.types[name] = value.type
        if is_empty(value.type):
            return
        text, variable = self.whole(value).text, self.printer.variable(name)
        if name not in self.declared and self.homes[name] == place[:-1]:
            self.declared.add(name)
            variable = self.printer.declared(value.type, variable, self.assigned[name] == 1)
        self.put(depth, f"{variable} = {text};")


# --- Where variables are declared -------------------------------------------------------------------------------------


def _occurrences(body: list[ast.stmt], place: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """Yield each name with the block in which it occurs, and whether it is assigned there."""
    for k, node in enumerate(body):
        inner = [(j, x) for j, x in enumerate((getattr(node, "body", []), getattr(node, "orelse", []))) if x]
        hidden = {id(y) for _, block in inner for x in block for y in ast.walk(x)}
        for x in ast.walk(node):
            if isinstance(x, ast.Name) and id(x) not in hidden:
                yield x.id, place, isinstance(x.ctx, ast.Store)
        for j, block in inner:
            yield from _occurrences(block, (*place, k, j))


def _homes(body: list[ast.stmt]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return for each name the innermost block that has all its occurrences, and how often it is assigned."""
    homes: dict[str, tuple[int, ...]] = {}
    assigned: dict[str, int] = {}
    for name, place, stores in _occurrences(body, ()):
        known = homes.get(name, place)
        same = 0
        while same < min(len(known), len(place)) and known[same] == place[same]:
            same += 1
        homes[name] = known[: same - same % 2]
        assigned[name] = assigned.get(name, 0) + stores
    return homes, assigned


def _assigned_in(node: ast.stmt) -> set[str]:
    """Return the names that are assigned inside a statement, in the order of the text."""
    names = [
        (x.lineno, x.col_offset, x.id)
        for x in ast.walk(node)
        if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)
    ]
    return dict.fromkeys(name for *_, name in sorted(names))  # type: ignore[return-value]


def _reads(node: ast.AST, name: str) -> bool:
    return any(isinstance(x, ast.Name) and x.id == name for x in ast.walk(node))


def mentions(lines: list[str], variable: str) -> bool:
    """Whether code, besides comments, has the variable."""
    return any(re.search(rf"(?<![\w.>]){variable}\b", x) for x in lines if not x.lstrip().startswith("//"))


def _without_unread(lines: list[str]) -> list[str]:
    """Leave out variables that constant conditions have left unread."""
    while True:
        for k, line in enumerate(lines):
            found = re.fullmatch(r" +const [^=]*?(\w+) = [^;]*;", line)
            if found and not mentions(lines[:k] + lines[k + 1 :], found[1]):
                lines = lines[:k] + lines[k + 1 :]
                break
        else:
            return lines


def wrapped(line: str) -> list[str]:
    """Break a line that is too long: after a comma, or else before an operator."""
    if len(line) <= _WIDTH or line.lstrip().startswith("//"):
        return [line]
    indent = len(line) - len(line.lstrip())
    rest, lines = line, []
    while len(rest) > _WIDTH:
        marks = (", ", " || ", " ? ", " : ", " && ", " + ", " - ", " * ")
        places = (rest.rfind(mark, indent + 8, _WIDTH) + (mark == ", ") for mark in marks)
        at = next((x for x in places if x > indent + 8), 0)
        if not at:
            break
        lines.append(rest[:at].rstrip())
        rest = " " * (indent + 8) + rest[at:].lstrip()
    return [*lines, rest]
