"""A function's own text: its syntax tree, its comments, and what the names in it stand for."""

import ast
import builtins
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable
from typing import Any


class Unprintable(Exception):
    """Python that cannot be printed. The message has file, line and reason."""


def scaled(numbers: Any, k: Any) -> Any:
    """Return each of the numbers times k: for `contract.make_element`, in Python and printed."""
    return type(numbers)(*(x * k for x in numbers))


class Source:
    """The text of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        code = getattr(function, "__code__", None)
        if code is None:
            raise Unprintable(f"{function!r}: only a Python function has a text to print")
        self.file, self.first = code.co_filename, code.co_firstlineno
        try:
            text = textwrap.dedent(inspect.getsource(function))
            tree = ast.parse(text).body[0]
        except (OSError, SyntaxError) as error:
            raise Unprintable(f"{self.file}:{self.first}: `{function.__name__}` has no text to read: {error}") from None
        if not isinstance(tree, ast.FunctionDef) or tree.name != function.__name__:
            raise Unprintable(f"{self.file}:{self.first}: only a function that is written with `def` can be printed")
        self.tree, self.name = tree, function.__name__
        self.own_line, self.end_of_line = _comments(text)
        self.names = self._names()

    def error(self, node: Any, problem: str) -> Unprintable:
        """Return the error for a place in the text."""
        line = self.first + getattr(node, "lineno", 1) - 1
        return Unprintable(f"{self.file}:{line}: in `{self.name}`: {problem}")

    def _names(self) -> dict[str, Any]:
        """Return what the names from outside stand for."""
        closure = inspect.getclosurevars(self.function)
        return {**closure.builtins, **closure.globals, **closure.nonlocals}

    def doc(self) -> str:
        """Return the docstring, or an empty text."""
        return inspect.cleandoc(self.function.__doc__ or "")

    def parameters(self) -> list[str]:
        """Return the names of the parameters."""
        given = self.tree.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs:
            raise self.error(self.tree, "only plain parameters can be printed")
        return [x.arg for x in given.args]


def _comments(text: str) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Return the comments: those before the statement in a line, and the one at a line's end."""
    own: dict[int, list[str]] = {}
    ends: dict[int, str] = {}
    waiting: list[str] = []
    has_code = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            said = token.string.lstrip("# ")
            if said.startswith(("fmt:", "noqa", "type:")):
                continue
            if has_code:
                ends[token.start[0]] = said
            else:
                waiting.append(said)
        elif token.type in (tokenize.NEWLINE, tokenize.NL):
            has_code = False
        elif token.type not in (tokenize.INDENT, tokenize.DEDENT):
            if waiting:
                own[token.start[0]] = waiting
                waiting = []
            has_code = True
    return own, ends


def is_builtin(value: Any, name: str) -> bool:
    """Whether a value is Python's own function of that name."""
    return value is getattr(builtins, name, None)
